"""A Home Assistant that records into a database on a disk."""

from pathlib import Path

import pytest
from pytest_socket import enable_socket
from sqlalchemy import URL

from tests.history.conftest import custom_integrations, server
from tests.history.servers import create_database

__all__ = ["custom_integrations", "server"]


@pytest.fixture
def recorder_db_url(
    server: tuple[str, URL | None], hass_fixture_setup: list[bool], tmp_path: Path
) -> str:
    """Return the address of an empty database; that of SQLite is a file."""
    assert not hass_fixture_setup
    kind, url = server
    if url is None:
        return f"sqlite:///{tmp_path}/home-assistant_v2.db"
    enable_socket()
    return create_database(kind, url).render_as_string(hide_password=False)
