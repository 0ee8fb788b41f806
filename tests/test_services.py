"""The actions for the latest reading, links and files."""

import csv
from datetime import UTC, datetime, timedelta
import io
from pathlib import Path
import stat
import time
from typing import Any
from unittest.mock import patch

from aiohttp.test_utils import TestClient
from homeassistant.core import Context, HomeAssistant
from homeassistant.exceptions import (
    HomeAssistantError,
    ServiceValidationError,
    Unauthorized,
    UnknownUser,
)
from homeassistant.helpers import entity_registry as er
from homeassistant.util import dt as dt_util
from jwt import api_jwt
import pytest
from pytest_homeassistant_custom_component.common import MockUser
from pytest_homeassistant_custom_component.components.recorder.common import (
    async_wait_recording_done,
)
from pytest_homeassistant_custom_component.typing import ClientSessionGenerator

from emulation.machine import Machine

from .conftest import BME_PLACE, GOLD_PLACE, TWO_PLACE, SetUp, pass_time
from .history.conftest import (
    BME,
    GOLD,
    NOON,
    TIMES,
    ask,
    custom_integrations,
    execute,
    record,
    recorder_db_url,
    restrict,
    server,
)

__all__ = ["custom_integrations", "recorder_db_url", "server"]

ADDRESS = "http://10.10.10.10:8123"
"""The address of a Home Assistant in the tests."""


@pytest.mark.warns("No thermometer is plugged in")
async def test_latest(hass: HomeAssistant, machine: Machine, set_up: SetUp) -> None:
    """The latest reading is the one that is shown; without one, the last row."""
    gold = await set_up(GOLD_PLACE)
    await set_up(TWO_PLACE)
    machine.stick("two").values["external_temperature"] = None
    await pass_time(hass, 305)
    await async_wait_recording_done(hass)
    targets = {"entity_id": "all", "temperature_unit": "K"}
    two, stick = (await ask(hass, targets, action="get_latest"))["devices"]
    # The probe was in the reading before, not in the latest one.
    assert two["reading"]["internal_temperature"] == 302.15
    assert two["reading"]["external_temperature"] is None
    assert 0 <= two["age"] < 60
    assert stick["units"] == {"temperature": "K"}
    assert stick["reading"]["temperature"] == 293.02
    machine.unplug("gold")
    await gold.runtime_data.async_refresh()
    assert hass.states.is_state(GOLD, "unavailable")
    _, stick = (await ask(hass, targets, action="get_latest"))["devices"]
    assert stick["reading"]["temperature"] == 293.02
    assert 0 <= stick["age"] < 60
    hass.states.async_remove(GOLD)  # A disabled entity has no state.
    _, stick = (await ask(hass, targets, action="get_latest"))["devices"]
    assert stick["reading"]["temperature"] == 293.02


async def test_latest_after_a_new_name(
    hass: HomeAssistant,
    machine: Machine,
    set_up: SetUp,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A new name, which writes a state again, does not split a reading."""
    await set_up(BME_PLACE)
    before = await ask(hass, {"entity_id": "all"}, action="get_latest")
    time_of_day = time.time
    monkeypatch.setattr(time, "time", lambda: time_of_day() + 2.1)
    # The reading has the time of another state.
    er.async_get(hass).async_update_entity(BME[2], name="Attic")
    await hass.async_block_till_done()
    after = await ask(hass, {"entity_id": "all"}, action="get_latest")
    assert after["devices"][0]["reading"] == before["devices"][0]["reading"]


@pytest.mark.warns("No thermometer is plugged in")
async def test_latest_of_nothing(
    hass: HomeAssistant, machine: Machine, set_up: SetUp
) -> None:
    """Without any row there is no reading and no age."""
    gold = await set_up(GOLD_PLACE)
    machine.unplug("gold")
    await gold.runtime_data.async_refresh()
    await async_wait_recording_done(hass)
    await execute(hass, "UPDATE states SET state = 'unknown'")
    (stick,) = (await ask(hass, {"entity_id": GOLD}, action="get_latest"))["devices"]
    assert (stick["reading"], stick["age"]) == (None, None)


@pytest.fixture(name="browser")
async def browser_fixture(
    machine: Machine,
    set_up: SetUp,
    hass_client: ClientSessionGenerator,
    hass_client_no_auth: ClientSessionGenerator,
) -> TestClient[Any, Any]:
    """Set up two devices and log the user in; return a browser without a login."""
    await set_up(GOLD_PLACE)
    await set_up(BME_PLACE)
    await hass_client()
    return await hass_client_no_auth()


async def lines_of(client: TestClient[Any, Any], url: str) -> list[list[str]]:
    """Download CSV."""
    response = await client.get(url.removeprefix(ADDRESS))
    assert response.status == 200, await response.text()
    assert "readings.csv" in response.headers["Content-Disposition"]
    return list(csv.reader(io.StringIO(await response.text())))


@pytest.mark.warns("invalid authentication")
async def test_link(
    hass: HomeAssistant,
    browser: TestClient[Any, Any],
    hass_admin_user: MockUser,
) -> None:
    """A link gives the readings of its query, without a login."""
    await record(hass, {GOLD: [(NOON, "20", "°C")]})
    query = {
        "entity_id": [GOLD, "sensor.bme280_humidity"],
        "temperature_unit": "°F",
        **TIMES,
    }
    context = Context(user_id=hass_admin_user.id)
    answer = await ask(hass, query, context, action="get_csv_link")
    assert datetime.fromisoformat(answer["valid_until"]) > dt_util.utcnow()
    assert answer["url"].startswith(f"{ADDRESS}/api/")
    header, gold = await lines_of(browser, answer["url"])
    assert header == ["device", "collected_at", "temperature [°F]", "humidity [%]"]
    assert gold == ["TEMPerGold", "2025-11-20T12:00:00Z", "68.0", ""]
    # The signature does not cover another query.
    other = answer["url"].replace("sensor.bme280_humidity", "all")
    assert (await browser.get(other.removeprefix(ADDRESS))).status == 401


async def test_link_of_each_user(
    hass: HomeAssistant,
    browser: TestClient[Any, Any],
    hass_admin_user: MockUser,
) -> None:
    """A link gives the readings that the user who made it may read."""
    await async_wait_recording_done(hass)
    restrict(hass_admin_user, GOLD)
    everything = {"entity_id": "all"}
    context = Context(user_id=hass_admin_user.id)
    url = (await ask(hass, everything, context, action="get_csv_link"))["url"]
    assert {line[0] for line in await lines_of(browser, url)} == {
        "device",
        "TEMPerGold",
    }
    # Home Assistant itself, in an automation, may read everything.
    url = (await ask(hass, everything, action="get_csv_link"))["url"]
    assert len({line[0] for line in await lines_of(browser, url)}) == 3


@pytest.mark.warns("invalid authentication")
async def test_link_runs_out(
    hass: HomeAssistant,
    machine: Machine,
    set_up: SetUp,
    hass_client_no_auth: ClientSessionGenerator,
) -> None:
    """A link expires; it has no host if the address of Home Assistant is not known."""
    await set_up(GOLD_PLACE)
    hass.config.api = None
    query = {"entity_id": GOLD, "valid_for": {"minutes": 10}}
    path = (await ask(hass, query, action="get_csv_link"))["url"]
    assert path.startswith("/api/")
    browser = await hass_client_no_auth()
    assert (await browser.get(path)).status == 200
    with patch.object(api_jwt, "datetime", wraps=datetime) as clock:
        clock.now.return_value = datetime.now(UTC) + timedelta(minutes=11)
        assert (await browser.get(path)).status == 401


async def test_deleted_user(
    hass: HomeAssistant, machine: Machine, set_up: SetUp
) -> None:
    """A deleted user may not read anything."""
    await set_up(GOLD_PLACE)
    for action in ("get_readings", "get_latest", "get_csv_link"):
        with pytest.raises(UnknownUser):
            await ask(hass, {"entity_id": "all"}, Context(user_id="gone"), action)


async def test_link_needs_a_login(
    hass: HomeAssistant, machine: Machine, set_up: SetUp
) -> None:
    """A link belongs to a login; a user without a login gets none."""
    await set_up(GOLD_PLACE)
    user = MockUser(is_owner=True).add_to_hass(hass)
    with pytest.raises(HomeAssistantError, match="this user has none"):
        await ask(hass, {"entity_id": GOLD}, Context(user_id=user.id), "get_csv_link")


def names(folder: Path) -> list[str]:
    """Return the names of the files in a folder."""
    return sorted(path.name for path in folder.iterdir())


async def test_file(
    hass: HomeAssistant, machine: Machine, set_up: SetUp, tmp_path: Path
) -> None:
    """A file is written as a whole, and only where Home Assistant may write."""
    await set_up(GOLD_PLACE)
    await record(hass, {GOLD: [(NOON, "20", "°C")]})
    path = tmp_path / "www" / "readings.csv"
    query = {"entity_id": GOLD, "path": str(path), **TIMES}
    with pytest.raises(ServiceValidationError, match="allowlist_external_dirs"):
        await ask(hass, query, action="write_csv")
    hass.config.allowlist_external_dirs = {str(tmp_path)}
    assert await ask(hass, query, action="write_csv") == {"path": str(path)}
    path.write_text("yesterday's")
    assert await ask(hass, query, action="write_csv") == {"path": str(path)}
    assert path.read_text().splitlines() == [
        "device,collected_at,temperature [°C]",
        "TEMPerGold,2025-11-20T12:00:00Z,20.0",
    ]
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    with pytest.raises(HomeAssistantError, match="no statistics by day"):
        await ask(hass, query | {"period": "day"}, action="write_csv")
    with pytest.raises(HomeAssistantError, match="could not be written"):
        await ask(hass, query | {"path": str(path.parent)}, action="write_csv")
    assert names(path.parent) == ["readings.csv"]


async def test_file_is_for_administrators(
    hass: HomeAssistant,
    machine: Machine,
    set_up: SetUp,
    tmp_path: Path,
    hass_read_only_user: MockUser,
) -> None:
    """Only administrators may write files."""
    await set_up(GOLD_PLACE)
    hass.config.allowlist_external_dirs = {str(tmp_path)}
    query = {"entity_id": GOLD, "path": str(tmp_path / "readings.csv")}
    with pytest.raises(Unauthorized):
        await ask(
            hass, query, Context(user_id=hass_read_only_user.id), action="write_csv"
        )
    assert not names(tmp_path)
