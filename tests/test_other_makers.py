"""Thermometers of other makers, from the form to the sensors."""

import fcntl
from typing import Any

from homeassistant.config_entries import SOURCE_RECONFIGURE, SOURCE_USER
from homeassistant.core import HomeAssistant
from homeassistant.helpers import device_registry as dr
from homeassistant.helpers import entity_registry as er
from homeassistant.setup import async_setup_component
import pytest
from pytest_homeassistant_custom_component.common import (
    MockConfigEntry,
    snapshot_platform,
)
from pytest_homeassistant_custom_component.components.diagnostics import (
    get_diagnostics_for_config_entry,
)
from pytest_homeassistant_custom_component.typing import ClientSessionGenerator
from syrupy.assertion import SnapshotAssertion

from custom_components.temperature_logger.const import DOMAIN
from custom_components.temperature_logger.drivers.usb import hidtemper

from .conftest import (
    ADAPTER,
    ADAPTER_PLACE,
    CONTROLLER,
    GO_TEMP,
    HID_2,
    LASCAR,
    MONITOR,
    MONITOR_PLACE,
    OTHER_ROM,
    ROM,
    X232,
    X232_PLACE,
    SetUp,
    form_error,
    pass_time,
)
from .drivers.conftest import Build
from .drivers.waiting import until


@pytest.fixture(autouse=True)
def short_timeouts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the time that a real HidTEMPer needs."""
    monkeypatch.setattr(hidtemper, "ANSWER_DELAY_S", 0.05)


async def choices(hass: HomeAssistant) -> dict[str, str]:
    """Open the form; return the devices besides this machine."""
    form: Any = await hass.config_entries.flow.async_init(
        DOMAIN, context={"source": SOURCE_USER}
    )
    options = form["data_schema"].schema["device"].config["options"]
    hass.config_entries.flow.async_abort(form["flow_id"])
    return {
        o["value"]: o["label"]
        for o in options
        if o["value"] not in {"endpoint", "host"}
    }


@pytest.mark.usefixtures("known_id")
@pytest.mark.parametrize(
    "device",
    [MONITOR, ADAPTER, GO_TEMP, LASCAR, X232, HID_2],
    ids=lambda device: device["name"],
)
async def test_sensors(
    hass: HomeAssistant,
    build: Build,
    set_up: SetUp,
    device: dict[str, Any],
    entity_registry: er.EntityRegistry,
    device_registry: dr.DeviceRegistry,
    snapshot: SnapshotAssertion,
) -> None:
    """The device is listed without being touched, and each quantity is a sensor."""
    machine = build(device)
    place = f"usb-{CONTROLLER}-{device['ports']}"
    assert await choices(hass) == snapshot(name="choices")
    assert not machine.stick(device["name"]).log
    entry = await set_up(place)
    assert entry.data == snapshot(name="data")
    if device is MONITOR:  # Values that come later are there with the next poll.
        await until(lambda: entry.runtime_data.driver.raw["reports"].count("/") > 9)
        await pass_time(hass, 305)
    await snapshot_platform(hass, entity_registry, snapshot, entry.entry_id)
    device_entry = device_registry.async_get_device_by_identifier(
        (DOMAIN, entry.entry_id), entry.entry_id
    )
    assert device_entry == snapshot(name="device")


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


@pytest.mark.warns("No thermometer is plugged in")
async def test_monitor_is_unplugged(
    hass: HomeAssistant, build: Build, set_up: SetUp
) -> None:
    """An unplugged monitor is unavailable at once; replugged it has its new values."""
    machine = build(MONITOR)
    await set_up(MONITOR_PLACE)
    machine.unplug("monitor")
    co2 = "sensor.co2_monitor_carbon_dioxide"
    await until(lambda: hass.states.is_state(co2, "unavailable"))
    machine.stick("monitor").values["co2"] = 650
    machine.plug("monitor")
    await until(lambda: hass.states.is_state(co2, "650.0"))


async def test_probe_after_power_up(
    hass: HomeAssistant, build: Build, set_up: SetUp
) -> None:
    """A probe that says 85 °C after power-up is unavailable; the others are read."""
    machine = build(ADAPTER | {"probes": {ROM: 85.0, OTHER_ROM: 21.5}})
    entry = await set_up(ADAPTER_PLACE)
    registry = er.async_get(hass)

    def state(rom: str) -> str:
        unique_id = f"{entry.entry_id}_{rom}_temperature"
        entity_id = registry.async_get_entity_id("sensor", DOMAIN, unique_id)
        assert entity_id is not None
        found = hass.states.get(entity_id)
        assert found is not None
        return found.state

    assert (state(ROM), state(OTHER_ROM)) == ("unavailable", "21.5")
    machine.stick("adapter").values[ROM] = 20.0
    await until(lambda: " c8 00 " in entry.runtime_data.driver.raw["reports"])
    await pass_time(hass, 305)
    assert (state(ROM), state(OTHER_ROM)) == ("20.0", "21.5")


async def test_calibrated_co2(hass: HomeAssistant, build: Build, set_up: SetUp) -> None:
    """An offset of CO2 applies, within limits, and no value stays none."""
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


async def polled(hass: HomeAssistant, entry: MockConfigEntry, text: str) -> None:
    """Poll until the raw data of the adapter's reading contain a text."""
    driver = entry.runtime_data.driver
    await until(lambda: text in driver.raw["reports"].rpartition("/")[2])
    await entry.runtime_data.async_refresh()
    await hass.async_block_till_done()


async def test_probes_come_and_go(
    hass: HomeAssistant,
    build: Build,
    set_up: SetUp,
    entity_registry: er.EntityRegistry,
) -> None:
    """A new probe has a sensor at once; one that is removed is unknown."""
    machine = build(ADAPTER)
    entry = await set_up(ADAPTER_PLACE)
    coordinator = entry.runtime_data
    first = f"sensor.ds18b20_adapter_probe_{ROM}"
    second = f"sensor.ds18b20_adapter_probe_{OTHER_ROM}"
    assert hass.states.async_entity_ids("sensor") == [first]
    machine.stick("adapter").values[OTHER_ROM] = -3.5
    await polled(hass, entry, bytes.fromhex(OTHER_ROM).hex(" "))
    assert hass.states.is_state(second, "-3.5")
    quantities = [f"{ROM}_temperature", f"{OTHER_ROM}_temperature"]
    assert entry.data["quantities"] == quantities
    assert entry.runtime_data is coordinator
    machine.stick("adapter").values[ROM] = None
    await polled(hass, entry, "01 01 01")
    assert hass.states.is_state(first, "unknown")
    assert hass.states.is_state(second, "-3.5")
    # As after a start without the probe.
    await hass.config_entries.async_reload(entry.entry_id)
    await hass.async_block_till_done()
    assert hass.states.is_state(first, "unknown")
    entities = er.async_entries_for_config_entry(entity_registry, entry.entry_id)
    assert [entity.unique_id for entity in entities] == [
        f"{entry.entry_id}_{quantity}" for quantity in quantities
    ]


async def test_adapter_moves_with_other_probes(
    hass: HomeAssistant, build: Build, set_up: SetUp
) -> None:
    """At another port it is the same device, whatever probes it has."""
    machine = build(ADAPTER)
    entry = await set_up(ADAPTER_PLACE)
    await hass.config_entries.async_unload(entry.entry_id)
    machine.unplug("adapter")
    machine.stick("adapter").values |= {ROM: None, OTHER_ROM: 11.5}
    machine.plug("adapter", ports="5")
    form: Any = await hass.config_entries.flow.async_init(
        DOMAIN,
        context={"source": SOURCE_RECONFIGURE, "entry_id": entry.entry_id},
    )
    place = f"usb-{CONTROLLER}-5"
    result: Any = await hass.config_entries.flow.async_configure(
        form["flow_id"], {"device": place}
    )
    await hass.async_block_till_done()
    assert result["reason"] == "reconfigure_successful"
    assert entry.data["quantities"] == [
        f"{ROM}_temperature",
        f"{OTHER_ROM}_temperature",
    ]
    adapter = "sensor.ds18b20_adapter_probe_"
    assert hass.states.is_state(f"{adapter}{ROM}", "unknown")
    assert hass.states.is_state(f"{adapter}{OTHER_ROM}", "11.5")


def field_values(form: dict[str, Any]) -> dict[str, Any]:
    """Return the values in the fields of a form."""
    return {
        str(key): (key.description or {}).get("suggested_value")
        for key in form["data_schema"].schema
    }


async def open_options(hass: HomeAssistant, entry: MockConfigEntry) -> dict[str, Any]:
    """Open the options of a device; return the form."""
    form: Any = await hass.config_entries.options.async_init(entry.entry_id)
    return dict(form)


async def submit(
    hass: HomeAssistant, form: dict[str, Any], **values: object
) -> dict[str, Any]:
    """Send a form of the options; return the next one."""
    configure = hass.config_entries.options.async_configure
    result: Any = await configure(form["flow_id"], values)
    await hass.async_block_till_done()
    return dict(result)


async def test_calibrated_probe(
    hass: HomeAssistant, build: Build, set_up: SetUp
) -> None:
    """A probe is picked, then calibrated; entered values stay after an error."""
    build(ADAPTER | {"probes": {ROM: 24.7, OTHER_ROM: 10.0}})
    entry = await set_up(ADAPTER_PLACE)
    form = await open_options(hass, entry)
    assert field_values(form) == {"interval": 300, "probe": None}
    selector = form["data_schema"].schema["probe"]
    assert selector.config["options"] == [ROM, OTHER_ROM]
    form = await submit(hass, form, interval=9, probe=ROM)
    assert form["errors"] == {"interval": "interval_out_of_range"}
    assert field_values(form) == {"interval": 9, "probe": ROM}
    form = await submit(hass, form, interval=60, probe=ROM)
    assert form["step_id"] == "probe"
    assert form["description_placeholders"]["probe"] == ROM
    assert field_values(form) == {"temperature_offset": 0.0, "temperature_factor": 1.0}
    typed = {"temperature_offset": 51.0, "temperature_factor": 1.1}
    form = await submit(hass, form, **typed)
    assert form["errors"] == {"temperature_offset": "temperature_offset_out_of_range"}
    assert field_values(form) == typed
    await submit(hass, form, temperature_offset=-0.7, temperature_factor=1.0)
    correction = {"offset": -0.7, "factor": 1.0}
    calibration = {f"{ROM}_temperature": correction}
    assert entry.options == {"interval": 60, "calibration": calibration}
    adapter = "sensor.ds18b20_adapter_probe_"
    assert hass.states.is_state(f"{adapter}{ROM}", "24.0")
    assert hass.states.is_state(f"{adapter}{OTHER_ROM}", "10.0")
    # The other forms keep the calibration until it is reset to nothing.
    await submit(hass, await open_options(hass, entry), interval=30)
    assert entry.options == {"interval": 30, "calibration": calibration}
    form = await submit(hass, await open_options(hass, entry), interval=30, probe=ROM)
    assert field_values(form) == {"temperature_offset": -0.7, "temperature_factor": 1.0}
    await submit(hass, form, temperature_offset=0, temperature_factor=1)
    assert entry.options == {"interval": 30, "calibration": {}}


async def test_diagnostics_of_probes(
    hass: HomeAssistant,
    hass_client: ClientSessionGenerator,
    build: Build,
    set_up: SetUp,
) -> None:
    """The diagnostics have each probe by its code."""
    assert await async_setup_component(hass, "diagnostics", {})
    build(ADAPTER)
    entry = await set_up(ADAPTER_PLACE)
    diagnostics: Any = await get_diagnostics_for_config_entry(hass, hass_client, entry)
    assert diagnostics["reading"] == {f"{ROM}_temperature": 24.7}
    assert diagnostics["raw"]["reports"].startswith("01 01 01 00 f7 00")


async def test_other_device_on_a_serial_port(hass: HomeAssistant, build: Build) -> None:
    """Another device on a serial port, read when it is picked, becomes no entry.

    A port that another program has open is not taken from it.
    """
    machine = build(X232 | {"firmware": "Marlin 2.1"})
    form: Any = await hass.config_entries.flow.async_init(
        DOMAIN, context={"source": SOURCE_USER}
    )
    place = X232_PLACE
    configure = hass.config_entries.flow.async_configure
    again: Any = await configure(form["flow_id"], {"device": place})
    assert "something that is no reading" in form_error(again)
    assert machine.stick("x232").commands == {"Version": 1}
    node = machine.device("x232").hidraw
    assert node is not None
    with node.open("rb", buffering=0) as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        again = await configure(form["flow_id"], {"device": place})
    assert "Another program" in form_error(again)
