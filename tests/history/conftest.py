"""A Home Assistant that records, on each kind of database."""

from collections.abc import Generator, Iterable, Mapping
import json
from typing import Any

from homeassistant.auth.models import Group
from homeassistant.components.recorder.core import Recorder
from homeassistant.components.recorder.db_schema import (
    StateAttributes,
    States,
    StatesMeta,
)
from homeassistant.core import Context, HomeAssistant
from homeassistant.helpers.recorder import get_instance, session_scope
import pytest
from pytest_homeassistant_custom_component.common import MockUser
from pytest_homeassistant_custom_component.components.recorder.common import (
    async_wait_recording_done,
)
from pytest_socket import enable_socket
from sqlalchemy import URL, select, text

from custom_components.temperature_logger.const import DOMAIN

from .servers import SERVERS, create_database, running

GOLD = "sensor.tempergold_temperature"
BME = tuple(
    f"sensor.bme280_{name}"
    for name in ("temperature", "humidity", "atmospheric_pressure")
)
NOON = 1_763_640_000.4
"""2025-11-20, 12:00 UTC."""
TIMES = {"start": "2025-11-20T12:00:00Z", "end": "2025-11-21T12:00:00Z"}

type Row = tuple[float, str | None, str | None]
"""Unix time, state and unit."""
type Answer = Any
"""Any value of JSON."""


@pytest.fixture(scope="session", params=["sqlite", *SERVERS])
def server(request: pytest.FixtureRequest) -> Generator[tuple[str, URL | None]]:
    """Run each kind of database server once; SQLite has no server."""
    if request.param == "sqlite":
        yield request.param, None
        return
    enable_socket()
    with running(request.param) as url:
        yield request.param, url


@pytest.fixture
def recorder_db_url(
    server: tuple[str, URL | None], hass_fixture_setup: list[bool]
) -> str:
    """Return the address of an empty database for the recorder."""
    # This fixture is set up first, so that the recorder is stopped before its server.
    assert not hass_fixture_setup
    kind, url = server
    if url is None:
        return "sqlite://"
    enable_socket()
    return create_database(kind, url).render_as_string(hide_password=False)


@pytest.fixture(autouse=True)
def custom_integrations(
    recorder_mock: Recorder, enable_custom_integrations: None
) -> None:
    """Record, and let Home Assistant find the integration."""


async def record(hass: HomeAssistant, rows: Mapping[str, Iterable[Row]]) -> None:
    """Write rows as the recorder would have written them."""

    def write() -> None:
        with session_scope(hass=hass) as session:
            for entity_id, entity_rows in rows.items():
                meta = session.scalars(
                    select(StatesMeta).where(StatesMeta.entity_id == entity_id)
                ).one()
                for time, state, unit in entity_rows:
                    shown = {"unit_of_measurement": unit} if unit else {}
                    attributes = StateAttributes(shared_attrs=json.dumps(shown))
                    row = States(
                        metadata_id=meta.metadata_id, last_updated_ts=time, state=state
                    )
                    row.state_attributes = attributes
                    session.add(row)

    await async_wait_recording_done(hass)
    await get_instance(hass).async_add_executor_job(write)


def restrict(user: MockUser, entity_id: str) -> None:
    """Let a user read nothing but one entity."""
    policy = {"entities": {"entity_ids": {entity_id: {"read": True}}}}
    user.groups = [Group(name="one sensor", policy=policy)]
    user.invalidate_cache()


async def execute(hass: HomeAssistant, statement: str) -> None:
    """Execute a statement in the recorder's database."""

    def change() -> None:
        with session_scope(hass=hass) as session:
            session.execute(text(statement))

    await get_instance(hass).async_add_executor_job(change)


async def ask(
    hass: HomeAssistant,
    data: dict[str, Any],
    context: Context | None = None,
    action: str = "get_readings",
) -> Answer:
    """Call an action."""
    return await hass.services.async_call(
        DOMAIN,
        action,
        data,
        blocking=True,
        return_response=True,
        context=context,
    )


async def readings(hass: HomeAssistant, **data: str | list[str]) -> Answer:
    """Return the readings of one device."""
    (device,) = (await ask(hass, TIMES | data))["devices"]
    return device["readings"]
