"""An unplugged device is unavailable, and available again once it is replugged."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
import errno
import logging
from pathlib import Path
from threading import Event
from typing import Any, override

from aiousbwatcher import AIOUSBWatcher, InotifyNotAvailableError
from homeassistant.config_entries import ConfigEntryState
from homeassistant.const import EVENT_HOMEASSISTANT_STOP, STATE_UNAVAILABLE
from homeassistant.core import CoreState, HomeAssistant
from homeassistant.setup import async_setup_component
import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry

from custom_components.temperature_logger import coordinator
from custom_components.temperature_logger.const import DOMAIN
from custom_components.temperature_logger.discovery import hotplug
from custom_components.temperature_logger.drivers import Fault, within_deadline, workers
from custom_components.temperature_logger.drivers.errors import DeviceAccessError
from custom_components.temperature_logger.drivers.presence import (
    PresentDevice,
    PresentDevices,
    present_devices,
)
from custom_components.temperature_logger.shared import shared_object
from emulation.machine import Machine
from tests.conftest import (
    BME_PLACE,
    CHIP,
    CONTROLLER,
    GO_TEMP,
    GOLD,
    GOLD_PLACE,
    TWO_PLACE,
    X232,
    SetUp,
    pass_time,
)
from tests.drivers import waiting
from tests.drivers.conftest import AsNobody, Build, open_files

GOLD_ENTITY = "sensor.tempergold_temperature"
TINY = {
    "bus": 3,
    "usb": "tiny",
    "adapter": "i2c-tiny-usb at bus {bus:03} device {device:03}",
    "chips": [CHIP],
}


class NoWatcher(AIOUSBWatcher):
    """A watcher on a system without inotify."""

    @override
    def async_start(self) -> Callable[[], None]:
        """Raise the watcher's own error."""
        raise InotifyNotAvailableError


async def until(hass: HomeAssistant, condition: Callable[[], bool]) -> None:
    """Wait for the effects of the hardware's events, and for their follow-ups."""
    await waiting.until(condition)
    await hass.async_block_till_done(wait_background_tasks=True)


@pytest.mark.warns("No thermometer is plugged in")
@pytest.mark.parametrize(
    "access", [{}, {"hidraw_nodes": False}], ids=["hidraw", "libusb"]
)
async def test_unplugged_and_replugged(
    hass: HomeAssistant, build: Build, set_up: SetUp, access: dict[str, bool]
) -> None:
    """A stick is unavailable while unplugged, and back without a restart or a leak."""
    machine = build(GOLD | access)
    entry = await set_up(GOLD_PLACE)

    async def replug() -> None:
        machine.unplug("gold")
        await until(hass, lambda: hass.states.is_state(GOLD_ENTITY, STATE_UNAVAILABLE))
        machine.plug("gold")
        await until(hass, lambda: hass.states.is_state(GOLD_ENTITY, "19.87"))
        await asyncio.sleep(0)

    await replug()
    opened = open_files()
    for _ in range(2):
        await replug()
        await waiting.until(lambda: open_files() <= opened)
    assert entry.state is ConfigEntryState.LOADED


@pytest.mark.warns("No thermometer is plugged in")
async def test_back_while_set_up_is_retried(
    hass: HomeAssistant, machine: Machine, missing_gold: MockConfigEntry
) -> None:
    """A device that comes back before the retry of its set-up is set up at once."""
    machine.plug("gold")
    await until(hass, lambda: missing_gold.state is ConfigEntryState.LOADED)
    assert hass.states.is_state(GOLD_ENTITY, "19.87")


@pytest.mark.warns("No thermometer is plugged in")
@pytest.mark.parametrize(
    "device", [X232, GO_TEMP], ids=lambda device: str(device["name"])
)
async def test_ready_without_a_hidraw_node(
    hass: HomeAssistant,
    build: Build,
    set_up: SetUp,
    as_nobody: AsNobody,
    monkeypatch: pytest.MonkeyPatch,
    scans: list[PresentDevices],
    device: dict[str, Any],
) -> None:
    """A device without a hidraw node is used as soon as its own node has permission."""
    monkeypatch.setattr(hotplug, "READY_TIMEOUT_S", 60)
    monkeypatch.setattr(coordinator, "FIRST_RETRY_DELAY", timedelta(minutes=5))
    machine, name = build(device), device["name"]
    entry = await set_up(f"usb-{CONTROLLER}-{device['ports']}")
    machine.unplug(name)
    await until(hass, lambda: not entry.runtime_data.last_update_success)
    machine.plug(name, hidraw_mode="600", usbfs_mode="600")
    before = len(scans)
    with as_nobody():  # The scans of the event, and two later ones.
        await until(hass, lambda: len(scans) > before + len(hotplug.SCAN_DELAYS_S) + 1)
    assert entry.runtime_data.last_exception.translation_key == "stick_not_found"
    machine.permit(name, hidraw=0o666, usbfs=0o666)
    with as_nobody():
        await until(hass, lambda: entry.runtime_data.last_update_success)


@pytest.mark.warns("No thermometer is plugged in")
async def test_late_permission(
    hass: HomeAssistant,
    machine: Machine,
    set_up: SetUp,
    as_nobody: AsNobody,
    scans: list[PresentDevices],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A node is not opened before the system has set its permissions."""
    entry = await set_up(GOLD_PLACE)
    machine.unplug("gold")
    await until(hass, lambda: hass.states.is_state(GOLD_ENTITY, STATE_UNAVAILABLE))
    machine.plug("gold", hidraw_mode="600", usbfs_mode="600")
    before = len(scans)
    with as_nobody():
        await until(hass, lambda: len(scans) > before + len(hotplug.SCAN_DELAYS_S))
    assert entry.runtime_data.last_exception.translation_key == "stick_not_found"
    machine.permit("gold", hidraw=0o666)
    with as_nobody():
        await until(hass, lambda: hass.states.is_state(GOLD_ENTITY, "19.87"))
    assert "may not use" not in caplog.text


@pytest.mark.warns("may not use")
@pytest.mark.warns("No thermometer is plugged in")
async def test_missing_permission(
    hass: HomeAssistant,
    machine: Machine,
    set_up: SetUp,
    as_nobody: AsNobody,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """After two seconds the missing permission is reported."""
    monkeypatch.setattr(hotplug, "READY_TIMEOUT_S", 0.3)
    entry = await set_up(GOLD_PLACE)
    machine.replug("gold", hidraw_mode="600", usbfs_mode="600")

    def is_told() -> bool:
        error = entry.runtime_data.last_exception
        return error is not None and error.translation_key == "no_permission"

    with as_nobody():
        await until(hass, is_told)
    assert hass.states.is_state(GOLD_ENTITY, STATE_UNAVAILABLE)


@pytest.mark.warns("may not use")
@pytest.mark.warns("No thermometer is plugged in")
@pytest.mark.parametrize(
    "state", [ConfigEntryState.LOADED, ConfigEntryState.SETUP_RETRY]
)
async def test_permission_after_the_fault(
    hass: HomeAssistant,
    machine: Machine,
    set_up: SetUp,
    as_nobody: AsNobody,
    monkeypatch: pytest.MonkeyPatch,
    state: ConfigEntryState,
) -> None:
    """A permission that comes much later is noticed at once, without a plug."""
    monkeypatch.setattr(hotplug, "READY_TIMEOUT_S", 0.3)
    monkeypatch.setattr(hotplug, "RESCAN_DELAY_S", 3600)
    entry = await set_up(GOLD_PLACE)
    if state is ConfigEntryState.SETUP_RETRY:
        await hass.config_entries.async_unload(entry.entry_id)
    machine.replug("gold", hidraw_mode="600", usbfs_mode="600")
    with as_nobody():
        if state is ConfigEntryState.SETUP_RETRY:
            await hass.config_entries.async_setup(entry.entry_id)
        await until(hass, lambda: no_permission(entry))
        assert entry.state is state
    machine.permit("gold", hidraw=0o666)
    with as_nobody():
        await until(hass, lambda: hass.states.is_state(GOLD_ENTITY, "19.87"))
    assert entry.state is ConfigEntryState.LOADED


def no_permission(entry: MockConfigEntry) -> bool:
    """Return whether a device fails because of its permissions."""
    if entry.state is ConfigEntryState.SETUP_RETRY:
        return entry.error_reason_translation_key == "no_permission"
    error = entry.runtime_data.last_exception
    return error is not None and error.translation_key == "no_permission"


@pytest.mark.warns("Error fetching")
async def test_unbound_and_bound(
    hass: HomeAssistant, machine: Machine, set_up: SetUp
) -> None:
    """A stick whose driver is unbound is unavailable at once; it returns as soon."""
    await set_up(GOLD_PLACE)
    (machine.dev / "bus/usb").rename(machine.dev / "bus/hidden")
    machine.unbind("gold")
    await until(hass, lambda: hass.states.is_state(GOLD_ENTITY, STATE_UNAVAILABLE))
    machine.bind("gold")
    await until(hass, lambda: hass.states.is_state(GOLD_ENTITY, "19.87"))


@pytest.mark.warns("bus")
async def test_bus_under_another_number(
    hass: HomeAssistant, machine: Machine, set_up: SetUp
) -> None:
    """A bus that is removed and comes back under another number is noticed at once."""
    await set_up(BME_PLACE)
    machine.unplug_bus(1)
    entity = "sensor.bme280_temperature"
    await until(hass, lambda: hass.states.is_state(entity, STATE_UNAVAILABLE))
    machine.renumber_bus(1, 7)
    machine.plug_bus(7)
    await until(hass, lambda: not hass.states.is_state(entity, STATE_UNAVAILABLE))


def test_claimed_device_is_not_plugged_in() -> None:
    """The node of a stick that is read through libusb goes with its claim."""
    free = {"stick": PresentDevice(number=1, ready=False)}
    claimed = {"stick": PresentDevice(number=1, ready=True, claimed=True)}
    for before, present in ((free, claimed), (claimed, free)):
        for is_ready in (True, False):
            changed = hotplug._changed_keys(  # noqa: SLF001 - Emulated users own nodes.
                before, present, is_ready=is_ready
            )
            assert not changed


async def test_watch_that_fails(
    hass: HomeAssistant,
    machine: Machine,
    set_up: SetUp,
    monkeypatch: pytest.MonkeyPatch,
    scans: list[PresentDevices],
) -> None:
    """If the nodes cannot be watched, a search runs every five seconds."""

    def used_up(_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(hotplug, "async_watch_nodes", used_up)
    await set_up(GOLD_PLACE)
    await until(hass, lambda: bool(scans))
    before = len(scans)
    await pass_time(hass, 6)
    assert len(scans) > before


async def test_other_nodes_cause_no_scan(
    hass: HomeAssistant,
    machine: Machine,
    set_up: SetUp,
    scans: list[PresentDevices],
) -> None:
    """A node of another kind is no event; many nodes at once are one."""
    await set_up(GOLD_PLACE)
    await until(hass, lambda: bool(scans))  # The scan at the start.
    before = len(scans)
    for name in ("sda1", "hidraw", "xhidraw1", "ttyS0", "i2c"):
        (machine.dev / name).touch()
    (machine.dev / "hidraw99").touch()
    for number in range(100):
        (machine.dev / f"ttyUSB{number}").touch()
    expected = len(hotplug.SCAN_DELAYS_S)
    await until(hass, lambda: len(scans) >= before + expected)
    assert len(scans) <= before + 2 * expected


@pytest.mark.warns("bus")
async def test_adapter_unplugged_and_replugged(
    hass: HomeAssistant, build: Build, set_up: SetUp
) -> None:
    """A chip on a USB adapter goes and returns with it, whatever the bus number."""
    machine = build({"name": "tiny", "model": "i2c-tiny-usb", "ports": "9"}, i2c=[TINY])
    await set_up("i2c-pci0000:00/0000:00:14.0-9-0x76")
    machine.unplug("tiny")
    entity = "sensor.bme280_temperature"
    await until(hass, lambda: hass.states.is_state(entity, STATE_UNAVAILABLE))
    machine.plug("tiny")
    await until(hass, lambda: not hass.states.is_state(entity, STATE_UNAVAILABLE))


@pytest.mark.warns("No thermometer is plugged in")
@pytest.mark.parametrize("missing", ["inotify", "folder"])
async def test_without_inotify(
    hass: HomeAssistant,
    build: Build,
    set_up: SetUp,
    monkeypatch: pytest.MonkeyPatch,
    scans: list[PresentDevices],
    missing: str,
) -> None:
    """Without inotify, or without the folder, a search runs every five seconds."""
    machine = build(GOLD)
    if missing == "inotify":
        monkeypatch.setattr(hotplug, "AIOUSBWatcher", NoWatcher)
    else:
        (machine.dev / "bus/usb").rename(machine.dev / "bus/hidden")
    entry = await set_up(GOLD_PLACE)
    if missing == "folder":
        (machine.dev / "bus/hidden").rename(machine.dev / "bus/usb")
    await hass.config_entries.async_unload(entry.entry_id)
    await until(hass, lambda: bool(scans))  # The search at the start.
    machine.unplug("gold")
    await pass_time(hass, 6)
    await hass.config_entries.async_setup(entry.entry_id)
    assert entry.state is ConfigEntryState.SETUP_RETRY
    machine.plug("gold")
    await pass_time(hass, 12)
    assert entry.state is ConfigEntryState.LOADED


async def test_port_that_blocks_a_search(
    hass: HomeAssistant,
    machine: Machine,
    set_up: SetUp,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A blocked search affects nothing else; the next one finds the devices."""
    await set_up(TWO_PLACE)
    await set_up(BME_PLACE)
    answers, given_up = Event(), Event()

    def look() -> PresentDevices:
        answers.wait()
        return present_devices()

    async def noted[T](work: Awaitable[T]) -> T:
        try:
            return await within_deadline(work)
        except DeviceAccessError:
            given_up.set()
            raise

    monkeypatch.setattr(workers, "DEVICE_TIMEOUT_S", 0.05)
    monkeypatch.setattr(hotplug, "present_devices", look)
    monkeypatch.setattr(hotplug, "within_deadline", noted)
    machine.replug("gold")
    await until(hass, given_up.is_set)
    answers.set()
    assert not hass.states.is_state(
        "sensor.temper2_internal_temperature", STATE_UNAVAILABLE
    )


async def test_search_after_a_blocked_one(
    hass: HomeAssistant,
    machine: Machine,
    missing_gold: MockConfigEntry,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A device that came during a blocked search is found later."""
    held_up = [True] * 4

    def look() -> PresentDevices:
        if held_up:
            held_up.pop()
            raise DeviceAccessError(Fault.HANGING)
        return present_devices()

    monkeypatch.setattr(hotplug, "present_devices", look)
    machine.plug("gold")
    await until(hass, lambda: missing_gold.state is ConfigEntryState.LOADED)
    assert not held_up


async def test_first_scan_is_blocked(
    hass: HomeAssistant, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Devices are offered again once the first scan knows which ports lost theirs."""
    held_up, offers = [True], list[HomeAssistant]()

    def look() -> PresentDevices:
        if held_up:
            held_up.pop()
            raise DeviceAccessError(Fault.HANGING)
        return present_devices()

    async def offer(hass: HomeAssistant) -> None:
        offers.append(hass)

    monkeypatch.setattr(hotplug, "present_devices", look)
    monkeypatch.setattr(hotplug, "RESCAN_DELAY_S", 2 * hotplug.OFFER_DELAY_S)
    hotplug.HotPlug(hass).async_start(offer)
    await until(hass, lambda: len(offers) == 2)
    hass.bus.async_fire(EVENT_HOMEASSISTANT_STOP)
    await hass.async_block_till_done(wait_background_tasks=True)
    assert machine.stick("gold").commands == {}


async def test_plugged_in_during_set_up(
    hass: HomeAssistant, machine: Machine, set_up: SetUp
) -> None:
    """An entry that is being set up is notified after that."""
    entry = await set_up(GOLD_PLACE)
    await hass.config_entries.async_unload(entry.entry_id)
    machine.stick("gold").fail("timeout", on="values", count=1)
    setting_up = hass.async_create_task(hass.config_entries.async_setup(entry.entry_id))
    await waiting.until(lambda: machine.stick("gold").fault is None)  # It is queried.
    assert entry.state is ConfigEntryState.SETUP_IN_PROGRESS
    machine.replug("gold")
    await setting_up
    await until(hass, lambda: entry.state is ConfigEntryState.LOADED)


async def test_unloaded_during_a_reading(
    hass: HomeAssistant, machine: Machine, set_up: SetUp
) -> None:
    """The stick of an unloaded entry is closed, and can be opened again."""
    entry = await set_up(GOLD_PLACE)
    coordinator = entry.runtime_data
    await coordinator.driver.close()
    reading = hass.async_create_task(coordinator.async_refresh())
    await asyncio.sleep(0)
    await hass.config_entries.async_reload(entry.entry_id)
    await reading
    await hass.async_block_till_done(wait_background_tasks=True)
    await entry.runtime_data.async_refresh()
    assert hass.states.is_state(GOLD_ENTITY, "19.87")


async def test_inotify_limit_reached(
    hass: HomeAssistant,
    machine: Machine,
    set_up: SetUp,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without a free inotify instance, a search runs every five seconds."""

    def used_up(**_: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr("asyncinotify.Inotify", used_up)
    entry = await set_up(GOLD_PLACE)
    await hass.config_entries.async_unload(entry.entry_id)
    machine.unplug("gold")
    await pass_time(hass, 6)
    await hass.config_entries.async_setup(entry.entry_id)
    assert entry.state is ConfigEntryState.SETUP_RETRY
    machine.plug("gold")
    await pass_time(hass, 12)
    await until(hass, lambda: entry.state is ConfigEntryState.LOADED)
    assert hass.states.is_state(GOLD_ENTITY, "19.87")


async def test_before_home_assistant_has_started(
    hass: HomeAssistant, machine: Machine
) -> None:
    """No device is offered before Home Assistant has started."""
    hass.set_state(CoreState.not_running)
    assert await async_setup_component(hass, DOMAIN, {})
    shared_object(hass, hotplug.HotPlug).async_offer_soon()
    await pass_time(hass, 2 * hotplug.OFFER_DELAY_S)
    assert machine.stick("gold").commands == {}


async def test_while_home_assistant_stops(
    hass: HomeAssistant,
    machine: Machine,
    set_up: SetUp,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No device is offered, and a blocked search is not repeated."""
    machine.unplug("gold")
    await set_up(TWO_PLACE)
    hass.set_state(CoreState.stopping)
    blocked: list[Fault] = []

    def look() -> PresentDevices:
        blocked.append(Fault.HANGING)
        raise DeviceAccessError(Fault.HANGING)

    monkeypatch.setattr(hotplug, "present_devices", look)
    machine.plug("gold")
    await until(hass, lambda: len(blocked) >= len(hotplug.SCAN_DELAYS_S))
    await pass_time(hass, 2 * hotplug.RESCAN_DELAY_S)  # Scans that are due still run.
    scans = len(blocked)
    shared_object(hass, hotplug.HotPlug).async_offer_soon()
    await pass_time(hass, 2 * hotplug.RESCAN_DELAY_S)
    assert len(blocked) == scans
    assert machine.stick("gold").commands == {}


def inotify_instances() -> int:
    """Return how many inotify instances this process has open."""
    files = Path("/proc/self/fd").iterdir()
    return sum(file.resolve().name == "anon_inode:inotify" for file in files)


async def test_stopped_before_the_start(
    hass: HomeAssistant, machine: Machine, caplog: pytest.LogCaptureFixture
) -> None:
    """The search for hot-plug ends even before the first announcement."""
    hass.set_state(CoreState.not_running)
    before = inotify_instances()
    assert await async_setup_component(hass, DOMAIN, {})
    await until(hass, lambda: inotify_instances() > before)
    hass.bus.async_fire(EVENT_HOMEASSISTANT_STOP)
    await until(hass, lambda: inotify_instances() <= before)
    assert machine.stick("gold").commands == {}
    assert not [r for r in caplog.records if r.levelno >= logging.ERROR]


async def test_stopped_during_the_first_scan(
    hass: HomeAssistant, machine: Machine, scans: list[PresentDevices]
) -> None:
    """A stop before the end of the first scan leaves no inotify instance open."""
    hass.set_state(CoreState.not_running)
    before = inotify_instances()
    offers: list[HomeAssistant] = []

    async def offer(hass: HomeAssistant) -> None:
        offers.append(hass)

    hotplug.HotPlug(hass).async_start(offer)
    hass.bus.async_fire(EVENT_HOMEASSISTANT_STOP)
    await until(hass, lambda: bool(scans) and inotify_instances() <= before)
    await pass_time(hass, 2 * hotplug.OFFER_DELAY_S)
    assert not offers
    assert machine.stick("gold").commands == {}
