"""Chips on an I2C bus in Home Assistant, from the form to their entities."""

from typing import Any

from homeassistant.config_entries import ConfigEntryState
from homeassistant.const import STATE_UNAVAILABLE
from homeassistant.core import HomeAssistant
from homeassistant.helpers import device_registry as dr
from homeassistant.helpers import entity_registry as er
from homeassistant.helpers import issue_registry as ir
import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry

from custom_components.temperature_logger.const import DOMAIN
from emulation.chips import Chip

from .conftest import BME_PLACE, CHIP, CONTROLLER, PINS, SetUp, form_error, pass_time
from .drivers.conftest import Build
from .test_config_flow import begin, choices, submit

BME680 = CHIP | {"chip_id": "0x61"}


def values(hass: HomeAssistant, name: str) -> dict[str, float]:
    """Return the values that the sensors of a device show."""
    quantities = ("temperature", "humidity", "atmospheric_pressure")
    shown = {q: hass.states.get(f"sensor.{name}_{q}") for q in quantities}
    return {q: float(state.state) for q, state in shown.items() if state}


def near(temperature: float, humidity: float, pressure: float) -> dict[str, Any]:
    """Return approximately these values."""
    expected = {
        "temperature": temperature,
        "humidity": humidity,
        "atmospheric_pressure": pressure,
    }
    return {q: pytest.approx(value, abs=0.05) for q, value in expected.items()}


ROOM = near(21.5, 45.0, 1013.25)
"""The values that the sensors show for the chip in CHIP."""


async def move(hass: HomeAssistant, entry: MockConfigEntry, place: str) -> None:
    """Give the new place of an entry's chip in the form."""
    form = await begin(hass, entry)
    result = await submit(hass, form, device=place)
    assert result["reason"] == "reconfigure_successful"


@pytest.mark.parametrize(("variant", "model"), [(0, "BME680"), (1, "BME688")])
async def test_bme680(
    hass: HomeAssistant,
    build: Build,
    device_registry: dr.DeviceRegistry,
    *,
    variant: int,
    model: str,
) -> None:
    """The form lists two chips; the picked one becomes an entry with three sensors."""
    machine = build(i2c=[PINS | {"chips": [BME680 | {"variant": variant}]}])
    form = await begin(hass)
    label = "BME680 / BME688, I2C address 0x76 (soc/i2c@7e804000)"
    assert choices(form) == {BME_PLACE: label}
    assert machine.chip("bme").counters == {"transfers": 1}
    result = await submit(hass, form, device=BME_PLACE)
    assert result["title"] == model
    entry = result["result"]
    data = {"kind": "bme280", "driver": "bme680", "chip": model}
    assert entry.data.items() >= data.items()
    assert entry.unique_id == BME_PLACE
    assert values(hass, model.lower()) == ROOM
    (device,) = dr.async_entries_for_config_entry(device_registry, entry.entry_id)
    assert (device.manufacturer, device.model) == ("Bosch Sensortec", model)


async def test_move_a_bme680(hass: HomeAssistant, build: Build, set_up: SetUp) -> None:
    """A chip at its other address keeps its entry and its entities."""
    machine = build(i2c=[PINS | {"chips": [BME680]}])
    entry = await set_up(BME_PLACE)
    await hass.config_entries.async_unload(entry.entry_id)
    chips = machine.buses.numbered[1].chips
    chips[0x77] = chips.pop(0x76)
    place = BME_PLACE.replace("0x76", "0x77")
    await move(hass, entry, place)
    assert entry.unique_id == place
    assert entry.state is ConfigEntryState.LOADED
    assert values(hass, "bme680") == ROOM


@pytest.mark.warns("Error fetching BME680 data")
async def test_bme680_replaced_by_a_bme280(
    hass: HomeAssistant,
    build: Build,
    set_up: SetUp,
    entity_registry: er.EntityRegistry,
    issue_registry: ir.IssueRegistry,
) -> None:
    """A chip of another model is not read before its owner accepts it."""
    machine = build(i2c=[PINS | {"chips": [BME680]}])
    entry = await set_up(BME_PLACE)
    machine.buses.numbered[1].chips[0x76] = Chip(CHIP | {"temperature": 5.0})
    for _ in range(2):  # The first poll gets no answer; the second finds another chip.
        await pass_time(hass, 305)
    assert not entry.runtime_data.last_update_success
    issue = DOMAIN, f"device_{entry.entry_id}"
    assert issue_registry.async_get_issue(*issue)
    await move(hass, entry, BME_PLACE)
    assert (entry.data["driver"], entry.data["chip"]) == ("bme280", "BME280")
    assert values(hass, "bme680") == near(5.0, 45.0, 1013.25)
    assert not issue_registry.async_get_issue(*issue)
    assert len(er.async_entries_for_config_entry(entity_registry, entry.entry_id)) == 3


MCP2221: dict[str, Any] = {"name": "mcp", "model": "MCP2221", "ports": "1.2"}
MCP2221_BUS: dict[str, Any] = {
    "bus": 3,
    "usb": "mcp",
    "interface": 2,
    "adapter": "MCP2221 usb-i2c bridge on {hidraw}",
    "chips": [CHIP],
}
MCP2221_KEY = f"{CONTROLLER}-1.2"
CHIP_LABEL = "I2C address 0x76 (MCP2221 usb-i2c bridge at USB port 1.2, 0000:00:14.0)"


@pytest.mark.warns("Error fetching BME280 data")
async def test_usb_adapter(
    hass: HomeAssistant,
    build: Build,
    device_registry: dr.DeviceRegistry,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The list, the device and the errors name the adapter, plugged in or not."""
    machine = build(MCP2221, i2c=[MCP2221_BUS])
    form = await begin(hass)
    place = f"i2c-{MCP2221_KEY}-0x76"
    assert choices(form) == {place: f"BME280, {CHIP_LABEL}"}
    result = await submit(hass, form, device=place)
    entry = result["result"]
    assert entry.unique_id == place
    assert entry.data["adapter"] == MCP2221_KEY
    (device,) = dr.async_entries_for_config_entry(device_registry, entry.entry_id)
    assert device.hw_version == CHIP_LABEL
    machine.unplug("mcp")
    await pass_time(hass, 305)
    assert f"The I2C bus of {CHIP_LABEL} is not there any more." in caplog.text
    assert hass.states.is_state("sensor.bme280_temperature", STATE_UNAVAILABLE)
    machine.plug("mcp")
    await pass_time(hass, 20)
    assert values(hass, "bme280") == ROOM


async def test_usb_adapter_without_a_chip(hass: HomeAssistant, build: Build) -> None:
    """The form names an adapter without a chip."""
    build(MCP2221, i2c=[MCP2221_BUS | {"chips": []}])
    form = await begin(hass)
    assert form["step_id"] == "nothing_found"
    hints = form["description_placeholders"]["hints"]
    assert f"No chip answers at {CHIP_LABEL}." in hints


async def test_move_to_a_usb_adapter(
    hass: HomeAssistant, build: Build, set_up: SetUp
) -> None:
    """A chip moved from the board's pins to an adapter keeps its entities."""
    machine = build(MCP2221, i2c=[PINS, MCP2221_BUS | {"chips": []}])
    entry = await set_up(BME_PLACE)
    await hass.config_entries.async_unload(entry.entry_id)
    pins, adapter = machine.buses.all
    adapter.chips, pins.chips = pins.chips, {}
    await move(hass, entry, f"i2c-{MCP2221_KEY}-0x76")
    assert entry.state is ConfigEntryState.LOADED
    assert values(hass, "bme280") == ROOM


async def test_two_adapters_swapped(
    hass: HomeAssistant, build: Build, set_up: SetUp
) -> None:
    """Each entry reads the chip on its own adapter, whatever the bus number."""
    ports = {"one": "1", "two": "2"}
    buses = [
        {"bus": 3 + n, "usb": name, "chips": [CHIP | {"name": name, "temperature": n}]}
        for n, name in enumerate(ports)
    ]
    usb = [
        {"name": name, "model": "i2c-tiny-usb", "ports": port}
        for name, port in ports.items()
    ]
    machine = build(*usb, i2c=buses)
    for port in ports.values():
        await set_up(f"i2c-{CONTROLLER}-{port}-0x76")
    for name in ports:
        machine.unplug(name)
    for name in reversed(ports):
        machine.plug(name)
    await pass_time(hass, 305)
    assert values(hass, "bme280") == near(0.0, 45.0, 1013.25)
    assert values(hass, "bme280_2") == near(1.0, 45.0, 1013.25)


async def test_bme690(hass: HomeAssistant, build: Build) -> None:
    """A chip of another variant with the same id is named when it is picked."""
    build(i2c=[PINS | {"chips": [BME680 | {"variant": 2}]}])
    form = await submit(hass, await begin(hass), device=BME_PLACE)
    problem = form_error(form)
    assert "says that it is a BME690 (id 0x61)" in problem
