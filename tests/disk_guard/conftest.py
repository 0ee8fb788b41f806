"""A Home Assistant that records into a database on a disk."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

from homeassistant.core import HomeAssistant
from homeassistant.helpers.recorder import get_instance
import pytest
from pytest_socket import enable_socket
from sqlalchemy import URL, Connection, Delete, Executable, event, text

from custom_components.temperature_logger.history.tables import STATE_ATTRIBUTES, STATES
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


@contextmanager
def refused_deletions(
    hass: HomeAssistant, is_refused: Callable[[set[int]], bool]
) -> Generator[None]:
    """Let the database fail after it deleted some rows, given by their ids.

    It has deleted their attributes as well, and has not committed anything.
    """
    state_ids: set[int] = set()

    def executed(connection: Connection, statement: Executable, *_: object) -> None:
        if not isinstance(statement, Delete):
            return
        if statement.table is STATES:
            state_ids.clear()
            state_ids.update(*statement.compile().params.values())
        elif statement.table is STATE_ATTRIBUTES and is_refused(set(state_ids)):
            connection.execute(text("DELETE FROM no_such_table"))

    engine = get_instance(hass).engine
    event.listen(engine, "after_execute", executed)
    try:
        yield
    finally:
        event.remove(engine, "after_execute", executed)
