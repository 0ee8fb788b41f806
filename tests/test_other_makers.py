"""Thermometers that are no TEMPer, from the form to the sensors."""

from typing import Any

from homeassistant.config_entries import SOURCE_USER
from homeassistant.core import HomeAssistant
from homeassistant.helpers import device_registry as dr
from homeassistant.helpers import entity_registry as er
import pytest
from pytest_homeassistant_custom_component.common import snapshot_platform
from syrupy.assertion import SnapshotAssertion

from custom_components.temperature_logger.const import DOMAIN

from .conftest import CONTROLLER, MONITOR, MONITOR_PLACE, SetUp, pass_time
from .drivers.conftest import Build, until


async def choices(hass: HomeAssistant) -> dict[str, str]:
    """Open the form; return what can be picked: values and labels."""
    form: Any = await hass.config_entries.flow.async_init(
        DOMAIN, context={"source": SOURCE_USER}
    )
    selector = form["data_schema"].schema["device"]
    hass.config_entries.flow.async_abort(form["flow_id"])
    return {option["value"]: option["label"] for option in selector.config["options"]}


@pytest.mark.usefixtures("known_id")
@pytest.mark.parametrize("device", [MONITOR], ids=lambda device: device["name"])
async def test_sensors(
    hass: HomeAssistant,
    build: Build,
    set_up: SetUp,
    device: dict[str, Any],
    entity_registry: er.EntityRegistry,
    device_registry: dr.DeviceRegistry,
    snapshot: SnapshotAssertion,
) -> None:
    """It is in the list without being touched, and each quantity is a sensor."""
    machine = build(device)
    place = f"usb-{CONTROLLER}-{device['ports']}"
    assert await choices(hass) == snapshot(name="choices")
    assert not machine.stick(device["name"]).log
    entry = await set_up(place)
    assert entry.data == snapshot(name="data")
    # What does not come at once comes with the next poll.
    await until(lambda: entry.runtime_data.driver.raw["reports"].count("/") > 5)
    await pass_time(hass, 305)
    await snapshot_platform(hass, entity_registry, snapshot, entry.entry_id)
    found = device_registry.async_get_device_by_identifier(
        (DOMAIN, entry.entry_id), entry.entry_id
    )
    assert found == snapshot(name="device")


async def test_monitor_without_humidity(
    hass: HomeAssistant, build: Build, set_up: SetUp
) -> None:
    """A monitor that does not measure humidity has no sensor for it."""
    build(MONITOR | {"humidity": None})
    await set_up(MONITOR_PLACE)
    await pass_time(hass, 305)
    assert sorted(hass.states.async_entity_ids("sensor")) == [
        "sensor.co2_monitor_carbon_dioxide",
        "sensor.co2_monitor_temperature",
    ]


@pytest.mark.warns("No stick is plugged in")
async def test_monitor_is_pulled_out(
    hass: HomeAssistant, build: Build, set_up: SetUp
) -> None:
    """It is unavailable at once, and back with what it measures then."""
    machine = build(MONITOR)
    entry = await set_up(MONITOR_PLACE)
    machine.unplug("monitor")
    co2 = "sensor.co2_monitor_carbon_dioxide"

    async def shown(state: str) -> None:
        await until(lambda: hass.states.is_state(co2, state))

    await shown("unavailable")
    machine.stick("monitor").values["co2"] = 650
    machine.plug("monitor")
    await entry.runtime_data.async_refresh()
    await shown("650.0")


async def test_calibrated_co2(hass: HomeAssistant, build: Build, set_up: SetUp) -> None:
    """An offset of CO2 counts, within limits, and there is no air without any."""
    build(MONITOR)
    entry = await set_up(MONITOR_PLACE)
    form = await hass.config_entries.options.async_init(entry.entry_id)
    values = {
        "interval": 10,
        "temperature_offset": 0,
        "temperature_factor": 1,
        "humidity_offset": 0,
        "co2_offset": 1001,
    }
    again: Any = await hass.config_entries.options.async_configure(
        form["flow_id"], values
    )
    assert again["errors"] == {"co2_offset": "co2_offset_out_of_range"}
    values["co2_offset"] = -900
    await hass.config_entries.options.async_configure(form["flow_id"], values)
    await hass.async_block_till_done()
    assert hass.states.is_state("sensor.co2_monitor_carbon_dioxide", "0.0")
