"""A device that reports by itself is listened to, and old reports are not published."""

import asyncio
from collections.abc import Awaitable, Callable
import errno
from pathlib import Path
from threading import Event
from time import CLOCK_BOOTTIME, clock_gettime
from typing import Any

import pytest

from custom_components.temperature_logger.drivers import (
    DriverError,
    Fault,
    Invalid,
    Reading,
    Workers,
    within_deadline,
)
from custom_components.temperature_logger.drivers.errors import (
    BadFrameError,
    DeviceAccessError,
    DeviceNotFoundError,
)
from custom_components.temperature_logger.drivers.places import UsbPlace
from custom_components.temperature_logger.drivers.readings import Identity
from custom_components.temperature_logger.drivers.usb import hidraw, stream, zytemp
from custom_components.temperature_logger.drivers.usb.models import thermometers
from custom_components.temperature_logger.drivers.usb.stream import Stream, boot_time
from custom_components.temperature_logger.drivers.workers import Lane
from emulation.machine import Machine
from emulation.streams import Streamer
from tests.drivers.conftest import Build, Wake, open_files
from tests.drivers.kernel import Kernel, is_watched
from tests.drivers.waiting import first, until

CONTROLLER = "pci0000:00/0000:00:14.0"
MONITOR: dict[str, Any] = {
    "name": "monitor",
    "model": "USB-zyTemp",
    "temperature": 21.5375,
    "humidity": 45.5,
    "co2": 812,
}
READING = Reading(temperature=21.5375, humidity=45.5, co2=812)

type Made = Callable[[], None]


@pytest.fixture(autouse=True)
def short_timeouts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the waits to what an emulated device needs."""
    monkeypatch.setattr(stream, "VALUES_TIMEOUT_S", 0.5)


@pytest.fixture(name="machine")
def machine_fixture(build: Build) -> Machine:
    """Plug in a CO2 monitor."""
    return build(MONITOR)


def driver(lane: Lane, on_gone: Made = lambda: None) -> Stream:
    """Return the driver of the monitor."""
    return zytemp.ZyTempStream(lane, UsbPlace(CONTROLLER, "1"), {}, on_gone)


def node_of(machine: Machine) -> Path:
    """Return the node of the monitor."""
    node = machine.device("monitor").hidraw
    assert node is not None
    return node


async def first_poll(monitor: Stream, machine: Machine) -> asyncio.Task[Reading]:
    """Begin the first poll, and return once it waits for a report."""
    poll = asyncio.create_task(monitor.read())
    await until(lambda: is_watched(node_of(machine)))
    return poll


async def failure(work: Awaitable[object]) -> DriverError:
    """Return the error of a poll."""
    with pytest.raises(DriverError) as raised:
        await work
    return raised.value


async def test_read(machine: Machine, lane: Lane) -> None:
    """The node is opened once, and each poll returns the latest values."""
    monitor = driver(lane)
    reading = await monitor.read()
    assert reading.temperature == pytest.approx(21.5375, abs=0.05)
    assert reading.co2 == 812
    machine.stick("monitor").values["co2"] = 900
    await first(monitor.read, lambda reading: reading.co2 == 900)
    # The driver sends the key whenever it opens the node.
    assert machine.stick("monitor").commands == {"feature": 1}
    assert monitor.identity == Identity(
        manufacturer="ZyAura",
        model="CO2 monitor",
    )
    assert monitor.facts == {}
    assert monitor.raw["reports"].count(" / ") > 2
    await monitor.close()


def test_age_counts_sleep() -> None:
    """The age of a value includes the time that the machine slept."""
    before = clock_gettime(CLOCK_BOOTTIME)
    assert before <= boot_time() <= clock_gettime(CLOCK_BOOTTIME)


async def test_nothing_is_held_between_polls(machine: Machine, lane: Lane) -> None:
    """Listening occupies no worker between two polls."""
    monitor = driver(lane)
    await monitor.read()
    assert not lane.busy
    assert not lane.failing
    await monitor.close()


async def test_silence(machine: Machine, lane: Lane) -> None:
    """A silent device is an error; it is opened again and started again."""
    machine.stick("monitor").fail("silent")
    monitor = driver(lane)
    error = await failure(monitor.read())
    assert isinstance(error, BadFrameError)
    assert error.fault is Fault.NO_ANSWER
    assert lane.failing
    machine.stick("monitor").clear()
    assert (await monitor.read()).co2 == 812
    assert machine.stick("monitor").commands == {"feature": 2}
    await monitor.close()


async def test_too_old(
    machine: Machine, lane: Lane, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A value is valid for some time after its report, and no longer."""
    monitor = driver(lane)
    await monitor.read()
    machine.stick("monitor").fail("silent")
    await monitor.read()
    monkeypatch.setattr(zytemp, "ZYTEMP_MAX_AGE_S", -1)  # Whatever has come is too old.
    assert (await failure(monitor.read())).fault is Fault.NO_ANSWER
    monkeypatch.setattr(zytemp, "ZYTEMP_MAX_AGE_S", 15)
    machine.stick("monitor").clear()
    assert (await monitor.read()).co2 == 812
    await monitor.close()


@pytest.mark.parametrize("fault", ["garbage", "zero", "ff", "short", "no-end"])
async def test_bad_reports(machine: Machine, lane: Lane, fault: str) -> None:
    """Invalid reports give no value, and the error quotes the last one."""
    machine.stick("monitor").fail(fault)
    monitor = driver(lane)
    error = await failure(monitor.read())
    assert error.fault is Fault.BAD_REPORT
    assert error.details["report"] in monitor.raw["reports"]
    machine.stick("monitor").clear()
    assert (await monitor.read()).co2 == 812
    await monitor.close()


async def test_slow_device_is_not_restarted(machine: Machine, lane: Lane) -> None:
    """A device that has sent well-formed reports stays open, valid or not."""
    wrong = {"co2": 25000, "temperature": 99.0, "humidity": 150.0}
    right = dict(machine.stick("monitor").values)
    machine.stick("monitor").values |= wrong
    monitor = driver(lane)
    assert (await failure(monitor.read())).fault is Fault.OUT_OF_RANGE
    assert lane.failing
    machine.stick("monitor").values |= right
    assert (await monitor.read()).values
    assert machine.stick("monitor").commands == {"feature": 1}
    await monitor.close()


async def test_valid_value_is_waited_for(machine: Machine, lane: Lane) -> None:
    """A poll without a valid value goes on until the first one comes."""
    wrong = {"co2": 25000, "temperature": 99.0, "humidity": 150.0}
    machine.stick("monitor").values |= wrong
    monitor = driver(lane)
    poll = await first_poll(monitor, machine)
    await until(lambda: monitor.raw["reports"].count(" / ") > 4)
    machine.stick("monitor").values["co2"] = 812
    reading = await poll
    assert reading.values == {"co2": 812}
    assert set(reading.faults) == {"temperature", "humidity"}
    await monitor.close()


async def test_read_again(machine: Machine, lane: Lane) -> None:
    """A second reading has only values that were measured after its call."""
    monitor = driver(lane)
    await first(monitor.read, lambda reading: reading.humidity is not None)
    changed = {"co2": 900, "temperature": 30.0, "humidity": 60.0}
    machine.stick("monitor").values |= changed
    reading = await monitor.read_again()
    assert reading.values == pytest.approx(changed, abs=0.05)
    assert machine.stick("monitor").commands == {"feature": 1}
    await monitor.close()


async def test_read_again_without_one_value(machine: Machine, lane: Lane) -> None:
    """A value that does not come again in time has a fault, and the others are read."""
    monitor = driver(lane)
    await first(monitor.read, lambda reading: reading.humidity is not None)
    stick = machine.stick("monitor")
    assert isinstance(stick, Streamer)
    stick.humidity_id = 0x6E  # Not the id of a value.
    reading = await monitor.read_again()
    assert set(reading.values) == {"temperature", "co2"}
    assert reading.faults == {"humidity": Invalid(Fault.NO_ANSWER)}
    assert (await monitor.read()).faults == {}
    await monitor.close()


async def test_read_again_opens(machine: Machine, lane: Lane) -> None:
    """A device that is not open has no earlier values."""
    monitor = driver(lane)
    assert (await monitor.read_again()).co2 == 812
    await monitor.close()


async def test_unplugged_before_read_again(machine: Machine, lane: Lane) -> None:
    """A device that was unplugged meanwhile has no second reading."""
    monitor = driver(lane)
    await monitor.read()
    machine.unplug("monitor")
    assert (await failure(monitor.read_again())).fault is Fault.STICK_NOT_FOUND
    await monitor.close()


async def test_unplugged_between_polls(machine: Machine, lane: Lane) -> None:
    """An unplug is noticed at once, and earlier values are never published."""
    gone = asyncio.Event()
    monitor = driver(lane, gone.set)
    await monitor.read()
    machine.unplug("monitor")
    await until(gone.is_set)
    error = await failure(monitor.read())
    assert isinstance(error, DeviceNotFoundError)
    assert error.fault is Fault.STICK_NOT_FOUND
    machine.stick("monitor").values["co2"] = 900
    machine.plug("monitor")
    assert (await monitor.read()).co2 == 900
    await monitor.close()


async def test_unplugged_while_waiting(machine: Machine, lane: Lane) -> None:
    """The unplug ends a waiting poll with an error."""
    gone = asyncio.Event()
    machine.stick("monitor").fail("silent")
    monitor = driver(lane, gone.set)
    poll = await first_poll(monitor, machine)
    machine.unplug("monitor")
    assert (await failure(poll)).fault is Fault.STICK_NOT_FOUND
    assert not gone.is_set()
    await monitor.close()


async def test_closed_while_waiting(machine: Machine, lane: Lane) -> None:
    """A cancelled poll leaves nothing open."""
    machine.stick("monitor").fail("silent")
    monitor = driver(lane)
    before = open_files()
    poll = await first_poll(monitor, machine)
    poll.cancel()
    with pytest.raises(asyncio.CancelledError):
        await poll
    await monitor.close()
    assert open_files() == before


async def test_closed_while_opening(
    machine: Machine, lane: Lane, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A node opened for a cancelled poll is closed again."""
    opened, go_on = Event(), Event()

    def wait(_: int, __: int, report: bytearray) -> int:
        opened.set()
        go_on.wait()
        return len(report)

    before = open_files()
    with monkeypatch.context() as kernel:
        kernel.setattr(hidraw, "ioctl", wait)
        poll = asyncio.create_task(driver(lane).read())
        await until(opened.is_set)
    poll.cancel()
    with pytest.raises(asyncio.CancelledError):
        await poll
    assert open_files() > before
    go_on.set()
    await until(lambda: open_files() == before)


async def test_in_use(machine: Machine, lane: Lane, workers: Workers) -> None:
    """The error names the other program that listens."""
    first = driver(lane)
    await first.read()
    error = await failure(driver(Lane(workers)).read())
    assert isinstance(error, DeviceAccessError)
    assert error.fault is Fault.IN_USE
    await first.close()


async def test_no_node(build: Build, lane: Lane) -> None:
    """Without its driver the device has no node."""
    build(MONITOR | {"bound": False})
    assert (await failure(driver(lane).read())).fault is Fault.NO_NODE


async def test_key_is_refused(
    machine: Machine, lane: Lane, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A device that does not take the key is closed again."""

    def refuse(_: bytes) -> None:
        raise OSError(errno.EPROTO, "Protocol error")

    monkeypatch.setattr(machine.stick("monitor"), "set_feature", refuse)
    monitor = driver(lane)
    before = open_files()
    error = await failure(monitor.read())
    assert error.fault is Fault.REFUSED
    await until(lambda: open_files() == before)
    await monitor.close()


async def test_monitor_without_a_key(machine: Machine, lane: Lane) -> None:
    """A monitor that refuses the key is listened to all the same."""
    machine.stick("monitor").fail("no-key")
    monitor = driver(lane)
    assert (await monitor.read()).co2 == 812
    await monitor.close()


@pytest.mark.parametrize(
    "spec",
    [
        {"product": "Something else"},
        {"model": "ch340", "vid": "04d9", "pid": "a052", "product": "USB-zyTemp"},
    ],
)
async def test_other_device_with_the_id(
    build: Build, lane: Lane, spec: dict[str, Any]
) -> None:
    """Another device with the same USB id is not opened."""
    machine = build(MONITOR | spec)
    assert not list(thermometers())
    assert (await failure(driver(lane).read())).fault is Fault.STICK_NOT_FOUND
    assert not machine.stick("monitor").commands


async def test_node_that_fails(
    machine: Machine, lane: Lane, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A node that cannot be read is closed, and the next poll opens it again."""
    monitor = driver(lane)
    await monitor.read()
    with monkeypatch.context() as patch:
        patch.setattr(zytemp, "ZYTEMP_MAX_AGE_S", -1)  # Whatever has come is too old.
        poll = asyncio.create_task(monitor.read())
        await asyncio.sleep(0)  # It waits now.
        Kernel(patch, node_of(machine)).fail("read", errno.EPROTO)
        assert (await failure(within_deadline(poll))).fault is Fault.REFUSED
    assert (await monitor.read()).co2 == 812
    assert machine.stick("monitor").commands == {"feature": 2}
    await monitor.close()


async def test_woken_without_a_report(machine: Machine, lane: Lane, wake: Wake) -> None:
    """A wake-up without a report changes nothing."""
    monitor = driver(lane)
    machine.stick("monitor").fail("silent")
    poll = await first_poll(monitor, machine)
    wake()
    assert not poll.done()
    machine.stick("monitor").clear()
    assert (await poll).co2 == 812
    await monitor.close()
