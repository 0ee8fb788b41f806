"""Setting up and unloading a device."""

from homeassistant.config_entries import ConfigEntryState
from homeassistant.const import EVENT_HOMEASSISTANT_STOP
from homeassistant.core import HomeAssistant
from homeassistant.exceptions import HomeAssistantError
from homeassistant.helpers import issue_registry as ir
from homeassistant.setup import async_setup_component
import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry

from custom_components.temperature_logger.const import DOMAIN
from emulation.machine import Machine

from .conftest import BME_PLACE, GOLD, GOLD_PLACE, SetUp, pass_time
from .drivers.conftest import Build


@pytest.mark.parametrize("place", [GOLD_PLACE, BME_PLACE])
async def test_load_and_unload(
    hass: HomeAssistant, machine: Machine, set_up: SetUp, place: str
) -> None:
    """A device can be unloaded and loaded again."""
    entry = await set_up(place)
    assert entry.state is ConfigEntryState.LOADED
    assert await hass.config_entries.async_unload(entry.entry_id)
    assert entry.state is ConfigEntryState.NOT_LOADED
    assert await hass.config_entries.async_setup(entry.entry_id)
    assert entry.state is ConfigEntryState.LOADED


@pytest.mark.parametrize("way", ["unload", "stop"])
async def test_stick_returns_to_the_kernel(
    hass: HomeAssistant, build: Build, set_up: SetUp, way: str
) -> None:
    """A stick that was taken from the kernel is given back."""
    machine = build(GOLD | {"hidraw_nodes": False})
    entry = await set_up(GOLD_PLACE)
    assert set(machine.device("gold").bound) == {0}
    if way == "unload":
        await hass.config_entries.async_unload(entry.entry_id)
    else:
        hass.bus.async_fire(EVENT_HOMEASSISTANT_STOP)
        await hass.async_block_till_done(wait_background_tasks=True)
    assert set(machine.device("gold").bound) == {0, 1}


async def test_missing_device_is_retried(
    hass: HomeAssistant, machine: Machine, missing_gold: MockConfigEntry
) -> None:
    """A device missing at the start has its reason shown, and loads once it is back."""
    assert missing_gold.error_reason_translation_key == "stick_not_found"
    machine.plug("gold")
    await pass_time(hass, 30)
    assert missing_gold.state is ConfigEntryState.LOADED


async def test_first_retry_is_soon(
    hass: HomeAssistant, machine: Machine, set_up: SetUp
) -> None:
    """A chip that fails at the start is retried after 5 s, as other devices are."""
    entry = await set_up(BME_PLACE)
    machine.chip("bme").fail("nack")
    await hass.config_entries.async_reload(entry.entry_id)
    assert entry.state is ConfigEntryState.SETUP_RETRY
    machine.chip("bme").clear()
    await pass_time(hass, 6)
    assert entry.state is ConfigEntryState.LOADED


async def test_history_without_a_recorder(
    hass: HomeAssistant, machine: Machine, set_up: SetUp
) -> None:
    """Without a recorder the actions exist, and report what is missing."""
    assert await async_setup_component(hass, DOMAIN, {})
    await set_up(GOLD_PLACE)
    issue = ir.async_get(hass).async_get_issue(DOMAIN, "retention")
    assert issue is not None
    assert issue.translation_key == "recorder_missing"
    with pytest.raises(HomeAssistantError, match="recorder is not set up"):
        await hass.services.async_call(
            DOMAIN,
            "get_readings",
            {"entity_id": "sensor.tempergold_temperature"},
            blocking=True,
            return_response=True,
        )
