"""The progress of an endpoint: entities, diagnostics, system information."""

from typing import Any

from homeassistant.components.recorder.core import Recorder
from homeassistant.const import Platform
from homeassistant.core import HomeAssistant
from homeassistant.helpers import device_registry as dr
from homeassistant.helpers import entity_registry as er
from homeassistant.setup import async_setup_component
from homeassistant.util import dt as dt_util
import pytest
from pytest_homeassistant_custom_component.common import (
    MockConfigEntry,
    get_system_health_info,
    snapshot_platform,
)
from pytest_homeassistant_custom_component.components.diagnostics import (
    get_diagnostics_for_config_entry,
)
from pytest_homeassistant_custom_component.typing import ClientSessionGenerator
from syrupy.assertion import SnapshotAssertion
from syrupy.filters import paths, props

from custom_components.temperature_logger.const import DOMAIN
from custom_components.temperature_logger.history.targets import async_reading_entries
from emulation.machine import Machine
from tests.conftest import GOLD_PLACE, SetUp, pass_time

from .proxy import ACCOUNT, Failure, Proxy
from .test_flow import LOGIN, RETRY_DELAY_S, add, made_earlier

NAME = "127_0_0_1_readings"
CONNECTION = f"binary_sensor.{NAME}_connectivity"
WAITING = f"sensor.{NAME}_readings_waiting"
OLDEST = f"sensor.{NAME}_oldest_waiting_reading"
DELIVERY = f"sensor.{NAME}_last_delivery"
DELIVERED = f"sensor.{NAME}_readings_delivered"
ALL = (CONNECTION, WAITING, OLDEST, DELIVERY, DELIVERED)


@pytest.fixture(autouse=True)
def custom_integrations(
    recorder_mock: Recorder, enable_custom_integrations: None
) -> None:
    """Run the recorder, and let Home Assistant find the integration."""


def states(hass: HomeAssistant) -> dict[str, str]:
    """Return the states of the endpoint's entities."""
    shown = {entity_id: hass.states.get(entity_id) for entity_id in ALL}
    return {entity_id: state.state for entity_id, state in shown.items() if state}


async def diagnostics(
    hass: HomeAssistant, hass_client: ClientSessionGenerator, entry: MockConfigEntry
) -> dict[str, Any]:
    """Download the diagnostics of the endpoint."""
    assert await async_setup_component(hass, "diagnostics", {})
    answer: Any = await get_diagnostics_for_config_entry(hass, hass_client, entry)
    return dict(answer)


@pytest.mark.usefixtures("known_id")
@pytest.mark.parametrize("platform", [Platform.BINARY_SENSOR, Platform.SENSOR])
async def test_before_the_first_reading(
    hass: HomeAssistant,
    machine: Machine,
    proxy: Proxy,
    entity_registry: er.EntityRegistry,
    device_registry: dr.DeviceRegistry,
    monkeypatch: pytest.MonkeyPatch,
    snapshot: SnapshotAssertion,
    platform: Platform,
) -> None:
    """There is a service with five entities before the first reading."""
    monkeypatch.setattr(
        "custom_components.temperature_logger.ENDPOINT_PLATFORMS", [platform]
    )
    entry = await add(hass, proxy)
    await snapshot_platform(hass, entity_registry, snapshot, entry.entry_id)
    (device,) = dr.async_entries_for_config_entry(device_registry, entry.entry_id)
    assert device == snapshot(name="device", exclude=props("configuration_url"))
    assert device.configuration_url == proxy.url


@pytest.mark.warns("Error fetching 127.0.0.1 readings data")
async def test_while_nothing_arrives(
    hass: HomeAssistant, machine: Machine, set_up: SetUp, proxy: Proxy
) -> None:
    """Entities show an outage with the number of waiting readings, and its end."""
    await set_up(GOLD_PLACE)
    await made_earlier(hass)
    entry = await add(hass, proxy)
    before = states(hass)
    delivered_at = dt_util.parse_datetime(before.pop(DELIVERY), raise_on_error=True)
    assert abs((dt_util.utcnow() - delivered_at).total_seconds()) < 60
    assert before == {
        CONNECTION: "on",
        WAITING: "0",
        OLDEST: "unknown",
        DELIVERED: "1",
    }
    attributes = hass.states.async_all({"sensor", "binary_sensor"})
    await proxy.fail(Failure.BROKEN)
    await pass_time(hass, RETRY_DELAY_S)
    await made_earlier(hass)
    await pass_time(hass, 2 * RETRY_DELAY_S)
    failing = states(hass)
    assert (failing[CONNECTION], failing[DELIVERED]) == ("off", "1")
    assert int(failing[WAITING]) >= 1
    oldest = dt_util.parse_datetime(failing[OLDEST], raise_on_error=True)
    assert oldest < dt_util.utcnow()
    assert entry.runtime_data.last_update_success is False
    await proxy.heal()
    await made_earlier(hass)
    await pass_time(hass, 3 * RETRY_DELAY_S)
    assert states(hass)[CONNECTION] == "on"
    assert int(states(hass)[DELIVERED]) > 1
    for state in attributes:
        now = hass.states.get(state.entity_id)
        assert now is not None
        assert now.attributes == state.attributes


async def test_no_readings(
    hass: HomeAssistant, machine: Machine, set_up: SetUp, proxy: Proxy
) -> None:
    """Entities of an endpoint are not readings: they are not sent or thinned."""
    await add(hass, proxy)
    assert not async_reading_entries(hass)
    assert len(states(hass)) == len(ALL)


@pytest.mark.usefixtures("known_id")
async def test_diagnostics(
    hass: HomeAssistant,
    hass_client: ClientSessionGenerator,
    machine: Machine,
    proxy: Proxy,
    snapshot: SnapshotAssertion,
) -> None:
    """Diagnostics have everything but secrets, and only the names of headers."""
    entry = await add(hass, proxy, advanced={"headers": "X-Key: secret"}, site="cellar")
    answer = await diagnostics(hass, hass_client, entry)
    assert "secret" not in str(answer)
    assert LOGIN["token"] not in str(answer)
    names = "known_until", "newest", "newest_at", "oldest_after", "state_id"
    drifting = [f"progress.{name}" for name in names]
    assert answer == snapshot(exclude=paths(*drifting, "entry.data.url"))


@pytest.fixture(name="waiting")
async def waiting_fixture(
    hass: HomeAssistant, machine: Machine, set_up: SetUp, proxy: Proxy
) -> MockConfigEntry:
    """Return an endpoint with a waiting reading."""
    entry = await add(hass, proxy)
    await set_up(GOLD_PLACE)
    await made_earlier(hass)
    return entry


@pytest.mark.warns("Error fetching 127.0.0.1 readings data")
async def test_diagnostics_of_a_failing_endpoint(
    hass: HomeAssistant,
    hass_client: ClientSessionGenerator,
    proxy: Proxy,
    waiting: MockConfigEntry,
) -> None:
    """Diagnostics have the last error and the number of waiting readings."""
    await proxy.fail(Failure.BROKEN)
    await pass_time(hass, 65)
    answer = await diagnostics(hass, hass_client, waiting)
    assert "failed (500: " in answer["last_error"]
    assert answer["is_connected"] is answer["last_update_succeeded"] is False
    assert answer["status"]["waiting"] >= 1


@pytest.mark.warns("Error fetching 127.0.0.1 readings data")
async def test_diagnostics_hide_quoted_secrets(
    hass: HomeAssistant,
    hass_client: ClientSessionGenerator,
    proxy: Proxy,
    waiting: MockConfigEntry,
) -> None:
    """Secrets are hidden in the server's answers; an organization can be one."""
    proxy.account = ACCOUNT._replace(org="another one")
    await pass_time(hass, 65)
    refusal = {"reason": f"bad org {ACCOUNT.org}", "values": {"temperature": 20.0}}
    waiting.runtime_data.cursor.progress.refusals.append(refusal)
    answer = await diagnostics(hass, hass_client, waiting)
    assert 'organization name \\"**REDACTED**\\" not found' in answer["last_error"]
    assert answer["progress"]["refusals"][0]["reason"] == "bad org **REDACTED**"
    assert waiting.runtime_data.cursor.progress.refusals == [refusal]


async def test_system_health(
    hass: HomeAssistant, machine: Machine, set_up: SetUp, proxy: Proxy
) -> None:
    """The numbers of all loaded endpoints are added up."""
    await async_setup_component(hass, "system_health", {})
    await set_up(GOLD_PLACE)
    entries = [await add(hass, proxy, site=site) for site in ("", "cellar", "attic")]
    for entry, waiting, oldest in zip(entries, (2, 3, 4), (7.0, 5.0, 3.0), strict=True):
        progress = entry.runtime_data.cursor.progress
        assert progress.delivered == 0
        status = type(entry.runtime_data.data)(waiting=waiting, oldest=oldest)
        entry.runtime_data.async_set_updated_data(status)
    await hass.config_entries.async_unload(entries[-1].entry_id)
    health = await get_system_health_info(hass, DOMAIN)
    assert health["endpoints"] == 3
    assert health["readings_waiting"] == 5
    assert health["oldest_waiting"] == dt_util.utc_from_timestamp(5)
    for entry in entries[:-1]:
        entry.runtime_data.async_set_updated_data(type(entry.runtime_data.data)())
    health = await get_system_health_info(hass, DOMAIN)
    assert (health["readings_waiting"], health["oldest_waiting"]) == (0, None)
