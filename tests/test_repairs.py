"""A fault that the owner can fix becomes a repair issue, and the issue ends with it."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from homeassistant.components.repairs.const import DOMAIN as REPAIRS_DOMAIN
from homeassistant.config_entries import ConfigEntryDisabler, ConfigEntryState
from homeassistant.const import EVENT_HOMEASSISTANT_FINAL_WRITE
from homeassistant.core import HomeAssistant
from homeassistant.data_entry_flow import FlowResultType
from homeassistant.helpers import issue_registry as ir
from homeassistant.setup import async_setup_component
import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry
from usb.backend import libusb1

from custom_components.temperature_logger.const import DOMAIN
from custom_components.temperature_logger.devices import FaultDurations
from custom_components.temperature_logger.devices import fault_durations as since
from custom_components.temperature_logger.devices.faults import (
    REPAIR_AFTER_DAY,
    REPAIR_AFTER_MINUTE,
    REPAIRS,
)
from custom_components.temperature_logger.drivers import Fault
from custom_components.temperature_logger.shared import shared_object
from emulation.machine import Machine

from .conftest import (
    BME_PLACE,
    CHIP,
    CONTROLLER,
    GOLD,
    GOLD_PLACE,
    PINS,
    TWO_PLACE,
    X232,
    SetUp,
)
from .drivers.conftest import AsNobody, Build
from .drivers.waiting import until

SHARED_ISSUES = {repair.key for repair in REPAIRS.values() if repair.shared}

type Act = Callable[[Machine], object]

TINY: dict[str, Any] = {
    "bus": 3,
    "usb": "tiny",
    "adapter": "i2c-tiny-usb at bus {bus:03} device {device:03}",
    "chips": [CHIP | {"name": "far"}],
}
# place, fault, and functions that cause and end it
MISSING_DEVICES: list[tuple[str, Fault, Act, Act]] = [
    (
        GOLD_PLACE,
        Fault.STICK_NOT_FOUND,
        lambda machine: machine.unplug("gold"),
        lambda machine: machine.plug("gold"),
    ),
    (
        f"i2c-{CONTROLLER}-9-0x76",
        Fault.BUS_NOT_FOUND,
        lambda machine: machine.unplug("tiny"),
        lambda machine: machine.plug("tiny"),
    ),
    (
        BME_PLACE,
        Fault.CHIP_NOT_FOUND,
        lambda machine: machine.chip("bme").fail("nack"),
        lambda machine: machine.chip("bme").clear(),
    ),
]


async def begin_repair(hass: HomeAssistant, issue_id: str) -> dict[str, Any]:
    """Open the form of a repair."""
    assert await async_setup_component(hass, REPAIRS_DOMAIN, {})
    await hass.async_block_till_done()
    manager = hass.data[REPAIRS_DOMAIN]["flow_manager"]
    form: Any = await manager.async_init(DOMAIN, context={"issue_id": issue_id})
    return dict(form)


async def submit_repair(
    hass: HomeAssistant, form: dict[str, Any], **choice: str
) -> dict[str, Any]:
    """Agree to a repair, or choose from its menu."""
    manager = hass.data[REPAIRS_DOMAIN]["flow_manager"]
    result: Any = await manager.async_configure(form["flow_id"], choice)
    await hass.async_block_till_done()
    return dict(result)


def issue(hass: HomeAssistant, entry: MockConfigEntry) -> str | None:
    """Return the issue of a device."""
    registry = ir.async_get(hass)
    own = registry.async_get_issue(DOMAIN, f"device_{entry.entry_id}")
    if own is not None:
        return own.translation_key
    shared = (registry.async_get_issue(DOMAIN, key) for key in SHARED_ISSUES)
    for each in shared:
        if each and entry.title in (each.translation_placeholders or {})["device"]:
            return each.translation_key
    return None


class Clocks:
    """The clocks that time the faults."""

    def __init__(self) -> None:
        """Start both clocks."""
        self.monotonic = 5.0
        self.today = 1.8e9

    def advance(self, seconds: float) -> None:
        """Advance both clocks."""
        self.monotonic += seconds
        self.today += seconds


@pytest.fixture(name="clock")
def clock_fixture(monkeypatch: pytest.MonkeyPatch) -> Clocks:
    """Return the clocks that time the faults."""
    clock = Clocks()
    monkeypatch.setattr(since, "monotonic", lambda: clock.monotonic)
    monkeypatch.setattr(since, "time", lambda: clock.today)
    return clock


async def read(entry: MockConfigEntry) -> None:
    """Read a device once."""
    await entry.runtime_data.async_refresh()


@pytest.mark.warns("Error fetching")
async def test_permission(
    hass: HomeAssistant,
    machine: Machine,
    set_up: SetUp,
    as_nobody: AsNobody,
    clock: Clocks,
) -> None:
    """A permission missing for a minute becomes an issue until it is granted."""
    entry = await set_up(GOLD_PLACE)
    machine.stick("gold").fail("zero", count=1)
    await read(entry)  # The next reading opens the node again.
    machine.permit("gold", hidraw=0o600, usbfs=0o600)
    with as_nobody():
        await read(entry)
        clock.advance(REPAIR_AFTER_MINUTE.total_seconds() - 1)
        await read(entry)
        assert issue(hass, entry) is None
        clock.advance(1)
        await read(entry)
        assert issue(hass, entry) == "no_permission"
    machine.permit("gold", hidraw=0o666)
    with as_nobody():
        await read(entry)
    assert issue(hass, entry) is None


@pytest.mark.warns("Error fetching")
async def test_one_issue_for_one_cause(
    hass: HomeAssistant,
    machine: Machine,
    set_up: SetUp,
    as_nobody: AsNobody,
    clock: Clocks,
) -> None:
    """Devices that all lack a permission share an issue, which lists them."""
    entries = [await set_up(place) for place in (GOLD_PLACE, TWO_PLACE)]
    for name in ("gold", "two"):
        machine.stick(name).fail("zero", count=1)
        machine.permit(name, hidraw=0o600, usbfs=0o600)
    with as_nobody():
        for entry in entries:
            await read(entry)
            await read(entry)
        clock.advance(REPAIR_AFTER_MINUTE.total_seconds())
        for entry in entries:
            await read(entry)
    assert [issue(hass, entry) for entry in entries] == ["no_permission"] * 2
    shared = ir.async_get(hass).async_get_issue(DOMAIN, "no_permission")
    assert shared is not None
    assert shared.translation_placeholders is not None
    assert shared.translation_placeholders["device"] == "TEMPerGold, TEMPer2"
    assert shared.translation_placeholders["node"].count("hidraw") == 2
    machine.permit("gold", hidraw=0o666)
    with as_nobody():
        await read(entries[0])
        assert [issue(hass, entry) for entry in entries] == [None, "no_permission"]
        await hass.config_entries.async_remove(entries[1].entry_id)
    assert ir.async_get(hass).async_get_issue(DOMAIN, "no_permission") is None


@pytest.mark.warns("Error fetching")
@pytest.mark.parametrize(
    ("device", "key"),
    [(GOLD, "no_libusb"), (GOLD, "no_node"), (X232, "no_port")],
    ids=["libusb", "node", "port"],
)
async def test_access(
    hass: HomeAssistant,
    build: Build,
    set_up: SetUp,
    monkeypatch: pytest.MonkeyPatch,
    clock: Clocks,
    device: dict[str, Any],
    key: str,
) -> None:
    """A stick that cannot be accessed for a minute is an issue until it can."""
    machine, name = build(device), device["name"]
    entry = await set_up(f"usb-{CONTROLLER}-{device['ports']}")
    nodes, hidden = machine.dev / "bus/usb/001", machine.dev / "bus/usb/hidden"
    machine.replug(name, hidraw_nodes=False, bound=key != "no_port")
    await read(entry)  # The open file is gone.
    with monkeypatch.context() as system:
        if key == "no_node":
            nodes.rename(hidden)
        elif key == "no_libusb":
            system.setattr(libusb1, "get_backend", lambda **_: None)
        await read(entry)
        assert entry.runtime_data.last_exception.translation_key == key
        assert issue(hass, entry) is None
        clock.advance(REPAIR_AFTER_MINUTE.total_seconds())
        await read(entry)
        assert issue(hass, entry) == key
    if key == "no_node":
        hidden.rename(nodes)
    elif key == "no_port":
        machine.replug(name, hidraw_nodes=True, bound=True)
    await read(entry)
    assert entry.runtime_data.last_update_success
    assert issue(hass, entry) is None


@pytest.mark.warns("Error fetching")
@pytest.mark.parametrize(("place", "fault", "away", "back"), MISSING_DEVICES)
async def test_missing_for_a_day(
    hass: HomeAssistant,
    build: Build,
    set_up: SetUp,
    clock: Clocks,
    place: str,
    fault: Fault,
    away: Act,
    back: Act,
) -> None:
    """An unplugged device is an issue after a day, until it is back."""
    machine = build(
        GOLD,
        {"name": "tiny", "model": "i2c-tiny-usb", "ports": "9"},
        i2c=[PINS, TINY],
    )
    entry = await set_up(place)
    away(machine)
    await read(entry)
    assert entry.runtime_data.last_exception.translation_key == fault
    clock.advance(REPAIR_AFTER_DAY.total_seconds() - 1)
    await read(entry)
    assert issue(hass, entry) is None
    clock.advance(1)
    await read(entry)
    assert issue(hass, entry) == "device_missing"
    back(machine)
    await read(entry)
    assert issue(hass, entry) is None


DAY = REPAIR_AFTER_DAY.total_seconds()
STORAGE_KEY = f"{DOMAIN}.since"


async def stop(hass: HomeAssistant) -> None:
    """Let Home Assistant write its stored data, as before it ends."""
    hass.bus.async_fire(EVENT_HOMEASSISTANT_FINAL_WRITE)
    await hass.async_block_till_done()


async def restart(hass: HomeAssistant, clock: Clocks, entry: MockConfigEntry) -> None:
    """Restart the machine, which restarts its monotonic clock."""
    await hass.config_entries.async_unload(entry.entry_id)
    await stop(hass)
    ir.async_delete_issue(hass, DOMAIN, f"device_{entry.entry_id}")
    clock.monotonic = 5.0
    await shared_object(hass, FaultDurations).async_load()
    await hass.config_entries.async_setup(entry.entry_id)
    await hass.async_block_till_done()


@pytest.mark.warns("Error fetching")
async def test_day_with_restarts(
    hass: HomeAssistant,
    machine: Machine,
    set_up: SetUp,
    clock: Clocks,
    hass_storage: dict[str, Any],
) -> None:
    """A restart does not restart the day, and a device that is back is forgotten."""
    entry = await set_up(GOLD_PLACE)
    machine.unplug("gold")
    await read(entry)
    clock.advance(DAY / 2)
    for _ in range(2):
        await restart(hass, clock, entry)
        assert issue(hass, entry) is None
        clock.advance(DAY / 4 - 1)
    await restart(hass, clock, entry)
    assert issue(hass, entry) is None
    clock.advance(2)
    await restart(hass, clock, entry)
    assert entry.state is ConfigEntryState.SETUP_RETRY
    assert issue(hass, entry) == "device_missing"
    machine.plug("gold")
    await hass.config_entries.async_reload(entry.entry_id)
    assert issue(hass, entry) is None
    await stop(hass)
    assert hass_storage[STORAGE_KEY]["data"] == {}


@pytest.mark.warns("Error fetching")
@pytest.mark.parametrize("jump", [-1e9, -2 * DAY, 2 * DAY, 1e9])
async def test_clock_that_jumps(
    hass: HomeAssistant, machine: Machine, set_up: SetUp, clock: Clocks, jump: float
) -> None:
    """A day is measured right though the time of day was set meanwhile."""
    entry = await set_up(GOLD_PLACE)
    machine.unplug("gold")
    await read(entry)
    await stop(hass)
    clock.today += jump
    clock.advance(DAY / 2)
    await read(entry)
    assert issue(hass, entry) is None
    await restart(hass, clock, entry)
    clock.advance(DAY / 2 - 1)
    await hass.config_entries.async_reload(entry.entry_id)
    assert issue(hass, entry) is None
    clock.advance(1)
    await hass.config_entries.async_reload(entry.entry_id)
    assert issue(hass, entry) == "device_missing"


@pytest.mark.warns("Error fetching")
async def test_clock_behind_at_a_restart(
    hass: HomeAssistant, machine: Machine, set_up: SetUp, clock: Clocks
) -> None:
    """A day is counted from the restart where the time of day is wrong."""
    entry = await set_up(GOLD_PLACE)
    machine.unplug("gold")
    await read(entry)
    clock.today = 0.0
    await restart(hass, clock, entry)
    clock.advance(DAY - 1)
    clock.today += 1.8e9  # The time comes over the network.
    await hass.config_entries.async_reload(entry.entry_id)
    assert issue(hass, entry) is None
    clock.advance(1)
    await restart(hass, clock, entry)
    assert issue(hass, entry) == "device_missing"


@pytest.mark.warns("Error fetching")
async def test_written_where_something_changed(
    hass: HomeAssistant,
    machine: Machine,
    set_up: SetUp,
    clock: Clocks,
    hass_storage: dict[str, Any],
) -> None:
    """A device that works, or is missing as before, causes no write."""
    entry = await set_up(GOLD_PLACE)
    await read(entry)
    await stop(hass)
    assert STORAGE_KEY not in hass_storage
    machine.unplug("gold")
    await read(entry)
    await stop(hass)
    stored = hass_storage.pop(STORAGE_KEY)
    assert stored["data"] == {entry.entry_id: clock.today}
    clock.advance(DAY)
    await read(entry)
    await stop(hass)
    assert issue(hass, entry) == "device_missing"
    assert STORAGE_KEY not in hass_storage
    await hass.config_entries.async_remove(entry.entry_id)
    await stop(hass)
    assert hass_storage[STORAGE_KEY]["data"] == {}


@pytest.mark.warns("Error fetching")
async def test_another_fault_has_its_own_time(
    hass: HomeAssistant, machine: Machine, set_up: SetUp, clock: Clocks
) -> None:
    """The time of one fault does not count for the next; no fault ends both."""
    entry = await set_up(GOLD_PLACE)
    machine.unplug("gold")
    await read(entry)
    clock.advance(REPAIR_AFTER_DAY.total_seconds())
    await read(entry)
    assert issue(hass, entry) == "device_missing"
    machine.plug("gold", hidraw_nodes=False, usbfs_mode="000")
    (machine.dev / "bus/usb/001").rename(machine.dev / "bus/usb/hidden")
    await read(entry)
    assert entry.runtime_data.last_exception.translation_key == "no_node"
    assert issue(hass, entry) is None
    clock.advance(REPAIR_AFTER_MINUTE.total_seconds())
    await read(entry)
    assert issue(hass, entry) == "no_node"
    (machine.dev / "bus/usb/hidden").rename(machine.dev / "bus/usb/001")
    machine.stick("gold").fail("zero")
    await read(entry)
    clock.advance(REPAIR_AFTER_DAY.total_seconds())
    await read(entry)
    assert entry.runtime_data.last_exception.translation_key == "bad_report"
    assert issue(hass, entry) is None


async def test_every_fault_of_the_table(
    hass: HomeAssistant, machine: Machine, set_up: SetUp
) -> None:
    """Each fault has its delay: none only where it does not pass by itself."""
    assert {fault for fault, repair in REPAIRS.items() if not repair.after} == {
        Fault.CHIP_CHANGED,
        Fault.CHIP_UNSUPPORTED,
        Fault.SILENT,
        Fault.STICK_CHANGED,
        Fault.UNKNOWN_FIRMWARE,
    }
    assert {repair.after for repair in REPAIRS.values()} == {
        timedelta(),
        REPAIR_AFTER_MINUTE,
        REPAIR_AFTER_DAY,
    }


@pytest.mark.warns("Error fetching")
@pytest.mark.parametrize(
    ("change", "key"),
    [
        ("held", "address_held"),
        ("off", "bus_disabled"),
        ("node", "bus_no_node"),
        ("chip", "chip_unsupported"),
        ("trimming", "chip_changed"),
    ],
)
async def test_bus_and_chip(
    hass: HomeAssistant,
    machine: Machine,
    set_up: SetUp,
    monkeypatch: pytest.MonkeyPatch,
    change: str,
    key: str,
) -> None:
    """A fault of a bus or its chip is an issue until it is over."""
    entry = await set_up(BME_PLACE)
    for fault, repair in REPAIRS.items():
        monkeypatch.setitem(REPAIRS, fault, repair._replace(after=timedelta()))
    chip = machine.chip("bme")
    calibration = chip.calibration
    if change == "held":
        machine.buses.numbered[1].kernel_addresses.add(0x76)
    elif change == "off":
        machine.unplug_bus(1)
    elif change == "node":
        machine.unplug_bus(1)
        machine.plug_bus(1, node=False)
    elif change == "chip":
        chip.chip_id = 0x55
    else:
        other = CHIP | {"calibration": 1}
        chip.calibration = type(chip)(other).calibration
    if change != "held":
        chip.fail("eio", count=1)  # The chip is identified again after an error.
    await read(entry)
    await read(entry)
    assert issue(hass, entry) == key
    chip.chip_id, chip.calibration = 0x60, calibration
    machine.buses.numbered[1].kernel_addresses.clear()
    if change == "node":
        machine.unplug_bus(1)
    if change in {"off", "node"}:
        machine.plug_bus(1, node=True)
    await read(entry)
    assert issue(hass, entry) is None


@pytest.mark.warns("Error fetching")
async def test_stick_with_another_firmware(
    hass: HomeAssistant, build: Build, set_up: SetUp
) -> None:
    """The issue opens the form, and the stick accepted there is read."""
    build(GOLD)
    entry = await set_up(GOLD_PLACE)
    await hass.config_entries.async_unload(entry.entry_id)
    build(GOLD | {"firmware": "TEMPerNew_V9.9"})
    await hass.config_entries.async_setup(entry.entry_id)
    assert issue(hass, entry) == "stick_changed"
    question = await begin_repair(hass, f"device_{entry.entry_id}")
    assert question["description_placeholders"]["found"] == "TEMPerNew_V9.9"
    result = await submit_repair(hass, question)
    assert result["type"] is FlowResultType.ABORT
    assert issue(hass, entry) == "stick_changed"
    flows = hass.config_entries.flow
    flow_id = result["next_flow"][1]
    form: Any = await flows.async_configure(flow_id, {})
    (field,) = form["data_schema"].schema
    assert field.description == {"suggested_value": GOLD_PLACE}
    form = await flows.async_configure(flow_id, {"device": GOLD_PLACE})
    assert form["step_id"] == "unknown_firmware"
    form = await flows.async_configure(flow_id, {"thermometer": True})
    assert form["step_id"] == "shape"
    form = await flows.async_configure(flow_id, {"shape": "one_100th"})
    await hass.async_block_till_done()
    assert form["reason"] == "reconfigure_successful"
    assert entry.state is ConfigEntryState.LOADED
    assert hass.states.is_state("sensor.tempergold_temperature", "19.87")
    assert issue(hass, entry) is None


@pytest.mark.warns("Error fetching")
async def test_disabled_device_has_no_issue(
    hass: HomeAssistant, build: Build, set_up: SetUp
) -> None:
    """A device that its owner disabled has no issue."""
    build(GOLD)
    entry = await set_up(GOLD_PLACE)
    await hass.config_entries.async_unload(entry.entry_id)
    build(GOLD | {"model": "TEMPerGold_V3.3"})
    await hass.config_entries.async_setup(entry.entry_id)
    assert issue(hass, entry) == "stick_changed"
    await hass.config_entries.async_set_disabled_by(
        entry.entry_id, ConfigEntryDisabler.USER
    )
    assert issue(hass, entry) is None


@pytest.mark.warns("Error fetching")
async def test_answer_to_a_solved_issue(
    hass: HomeAssistant, machine: Machine, set_up: SetUp
) -> None:
    """An answer to an issue that is solved already changes nothing."""
    entry = await set_up(BME_PLACE)
    chip = machine.chip("bme")
    calibration, chip.calibration = (
        chip.calibration,
        type(chip)(CHIP | {"calibration": 1}).calibration,
    )
    await hass.config_entries.async_reload(entry.entry_id)
    question = await begin_repair(hass, f"device_{entry.entry_id}")
    chip.calibration = calibration
    await hass.config_entries.async_reload(entry.entry_id)
    assert (await submit_repair(hass, question))["reason"] == "gone"


@pytest.mark.warns("Error fetching")
async def test_silent_stick(hass: HomeAssistant, build: Build, set_up: SetUp) -> None:
    """A stick that did not answer when it was plugged in has to be replugged."""
    machine = build(GOLD)
    entry = await set_up(GOLD_PLACE)
    machine.replug("gold")
    machine.stick("gold").fail("timeout", on="firmware", count=1)
    for _ in range(3):
        await read(entry)
    assert not entry.runtime_data.last_update_success
    assert issue(hass, entry) == "silent"
    machine.replug("gold")
    await until(lambda: entry.runtime_data.last_update_success)
    assert issue(hass, entry) is None
