"""Hidraw is preferred to libusb, and either leaves the stick as it was."""

import asyncio
from collections.abc import Callable
import fcntl
import os
from threading import Event
from typing import Any

import pytest
from usb.backend import libusb1

from custom_components.temperature_logger.drivers import Fault, Workers, sysfs, workers
from custom_components.temperature_logger.drivers.errors import (
    DeviceAccessError,
    DeviceNotFoundError,
)
from custom_components.temperature_logger.drivers.sysfs import UsbDevice
from custom_components.temperature_logger.drivers.usb import libusb
from custom_components.temperature_logger.drivers.usb.hidraw import HidrawTransport
from custom_components.temperature_logger.drivers.usb.libusb import (
    Handle,
    LibusbTransport,
)
from custom_components.temperature_logger.drivers.usb.models import USB_IDS
from custom_components.temperature_logger.drivers.usb.transport import (
    Transport,
    connect,
)
from custom_components.temperature_logger.drivers.workers import Lane
from emulation.machine import Machine
from tests.drivers.conftest import (
    READ_VALUES,
    REPORTS,
    AsNobody,
    Build,
    open_files,
)
from tests.drivers.waiting import until

REPORT = REPORTS[0]


class Stick:
    """One plugged-in stick, as the system sees it."""

    def __init__(self, machine: Machine) -> None:
        """Find the stick of a machine."""
        self.machine = machine
        self.device = self.find()

    def find(self) -> UsbDevice:
        """Return the stick as it is now."""
        (device,) = sysfs.usb_devices(USB_IDS)
        return device

    @property
    def bound(self) -> list[int]:
        """The interfaces that have their kernel driver."""
        return sorted(self.machine.device("gold").bound)

    @property
    def usbfs_calls(self) -> dict[str, int]:
        """The calls that libusb got."""
        return dict(self.machine.device("gold").calls)


def plug(build: Build, **spec: Any) -> Stick:  # noqa: ANN401 - as in a machine spec
    """Return a stick that is plugged in."""
    gold = {"name": "gold", "model": "TEMPerGold_V3.4", "temperature": 20.0}
    return Stick(build(gold | spec))


async def opened(lane: Lane, find: Callable[[], UsbDevice]) -> Transport:
    """Open a stick and check that it answers."""
    _, transport = await connect(lane, find, lambda: None)
    assert await transport.exchange(READ_VALUES, (1.0,)) == [REPORT]
    return transport


async def abandon(lane: Lane, opening: asyncio.Task[Any], ends: Event) -> None:
    """Cancel an opening that hangs, and wait until it has ended."""
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    done = lane.finish(lambda: None)
    ends.set()
    await asyncio.wrap_future(done)


async def test_hidraw(build: Build, lane: Lane) -> None:
    """A stick with a hidraw node stays with the kernel."""
    stick = plug(build)
    transport = await opened(lane, stick.find)
    assert isinstance(transport, HidrawTransport)
    await transport.close()
    assert not stick.usbfs_calls
    assert stick.bound == [0, 1]


async def test_libusb_without_a_node(build: Build, lane: Lane) -> None:
    """Without a hidraw node the stick is claimed and given back."""
    stick = plug(build, hidraw_nodes=False)
    transport = await opened(lane, stick.find)
    assert isinstance(transport, LibusbTransport)
    assert stick.bound == [0]
    await transport.close()
    await transport.close()
    assert stick.bound == [0, 1]


@pytest.mark.parametrize("unplugged", [False, True])
async def test_drained_after_an_answer(
    build: Build, lane: Lane, monkeypatch: pytest.MonkeyPatch, *, unplugged: bool
) -> None:
    """Surplus reports are dropped; an error while dropping them shows later."""
    monkeypatch.setattr(libusb, "DRAIN_DELAY_S", 0.05)
    stick = plug(build, hidraw_nodes=False)
    opened_stick = await opened(lane, stick.find)
    drained, drain = Event(), Handle.drain

    def noted_drain(handle: Handle) -> list[bytes]:
        try:
            return drain(handle)
        finally:
            drained.set()

    monkeypatch.setattr(Handle, "drain", noted_drain)
    stick.machine.send("gold", "808000074e200000")
    if unplugged:
        stick.machine.unplug("gold")
    await until(drained.is_set)
    if unplugged:
        with pytest.raises(DeviceNotFoundError, match=Fault.STICK_NOT_FOUND):
            await opened_stick.exchange(READ_VALUES, (1.0,))
    else:
        assert await opened_stick.exchange(READ_VALUES, (1.0,)) == [REPORT]
    await opened_stick.close()


async def test_exchange_waits_for_the_drain(
    build: Build, lane: Lane, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reading during the drain is a reading, not a hang."""
    monkeypatch.setattr(libusb, "DRAIN_DELAY_S", 0)
    monkeypatch.setattr(workers, "JOB_GRACE_S", -1)  # A hang would show at once.
    stick = plug(build, hidraw_nodes=False)
    opened_stick = await opened(lane, stick.find)
    drains, goes_on, drain = Event(), Event(), Handle.drain

    def slow_drain(handle: Handle) -> list[bytes]:
        drains.set()
        goes_on.wait()
        return drain(handle)

    monkeypatch.setattr(Handle, "drain", slow_drain)
    await until(drains.is_set)
    assert lane.busy
    reading = asyncio.create_task(opened_stick.exchange(READ_VALUES, (1.0,)))
    await asyncio.sleep(0)
    goes_on.set()
    assert await reading == [REPORT]
    await opened_stick.close()


async def test_closed_before_the_drain(
    build: Build, lane: Lane, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stick that was given back gets no further transfers."""
    monkeypatch.setattr(libusb, "DRAIN_DELAY_S", 0)
    stick = plug(build, hidraw_nodes=False)
    opened_stick = await opened(lane, stick.find)
    calls, tasks = stick.usbfs_calls, len(asyncio.all_tasks())
    while len(asyncio.all_tasks()) == tasks:  # The drain gets the next turn.
        await asyncio.sleep(0)
    await opened_stick.close()
    await asyncio.sleep(0)
    assert stick.usbfs_calls.get("interrupt_in") == calls["interrupt_in"]
    assert stick.bound == [0, 1]


async def test_closed_while_the_drain_waits(
    build: Build, lane: Lane, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A drain that waits for the worker does not open a closed stick again."""
    monkeypatch.setattr(libusb, "DRAIN_DELAY_S", 0.05)
    stick = plug(build, hidraw_nodes=False)
    files = open_files()
    opened_stick = await opened(lane, stick.find)
    tasks, goes_on = len(asyncio.all_tasks()), Event()
    other = asyncio.create_task(lane.run(goes_on.wait))
    await until(lambda: len(asyncio.all_tasks()) == tasks + 2)  # One is the drain.
    closed = opened_stick.close()
    goes_on.set()
    await other
    await closed
    await until(lambda: len(asyncio.all_tasks()) == tasks)  # Both have had their turn.
    assert stick.usbfs_calls["open"] == 1
    assert stick.bound == [0, 1]
    await until(lambda: open_files() <= files)


async def test_given_back_while_waiting(build: Build, lane: Lane) -> None:
    """A wait on a stick that was given back ends with an error."""
    transport = await opened(lane, plug(build, hidraw_nodes=False).find)
    await transport.close()
    with pytest.raises(DeviceNotFoundError):
        await transport.exchange(READ_VALUES, (1.0,))
    with pytest.raises(DeviceNotFoundError):
        await transport.listen(0)


async def test_libusb_without_permission(
    build: Build, lane: Lane, as_nobody: AsNobody
) -> None:
    """With permission for the usbfs node only, libusb is used."""
    with as_nobody():
        stick = plug(build, hidraw_mode="000")
        transport = await opened(lane, stick.find)
    assert isinstance(transport, LibusbTransport)
    await transport.close()
    assert stick.bound == [0, 1]


async def test_no_permission(build: Build, lane: Lane, as_nobody: AsNobody) -> None:
    """Without permission for either node, the error names the hidraw node."""
    stick = plug(build, hidraw_mode="000", usbfs_mode="000")
    with (
        as_nobody(),
        pytest.raises(DeviceAccessError, match=Fault.NO_PERMISSION) as error,
    ):
        await connect(lane, stick.find, lambda: None)
    node = stick.machine.device("gold").hidraw
    assert error.value.details == {"node": str(node)}
    assert stick.bound == [0, 1]


async def test_no_node_in_the_container(
    build: Build, lane: Lane, as_nobody: AsNobody
) -> None:
    """The error names a missing hidraw node where libusb cannot be used."""
    stick = plug(build, hidraw_nodes=False, usbfs_mode="000")
    with as_nobody(), pytest.raises(DeviceAccessError, match=Fault.NO_NODE) as error:
        await connect(lane, stick.find, lambda: None)
    node = stick.machine.device("gold").hidraw
    assert error.value.details == {"node": str(node)}


async def test_in_use_over_hidraw(build: Build, lane: Lane) -> None:
    """A stick is not taken from another program."""
    stick = plug(build)
    node = stick.machine.device("gold").hidraw
    assert node is not None
    other = os.open(node, os.O_RDWR | os.O_NONBLOCK | os.O_NOCTTY)
    fcntl.flock(other, fcntl.LOCK_EX)
    with pytest.raises(DeviceAccessError, match=Fault.IN_USE):
        await connect(lane, stick.find, lambda: None)
    os.close(other)
    assert not stick.usbfs_calls


async def test_in_use_over_libusb(build: Build, lane: Lane) -> None:
    """A stick that another program claimed is not taken from it."""
    stick = plug(build)
    other = Handle(stick.device)
    other.open()
    with pytest.raises(DeviceAccessError, match=Fault.IN_USE):
        await connect(lane, stick.find, lambda: None)
    assert stick.bound == [0]
    other.close()
    assert stick.bound == [0, 1]


async def test_in_use_as_the_kernel_says(build: Build, lane: Lane) -> None:
    """A stick bound to the driver usbfs is in use, and is not touched."""
    stick = plug(build, bound=False)
    drivers = stick.machine.sys / "bus/usb/drivers/usbfs"
    drivers.mkdir()
    (stick.device.path / "1-1:1.1/driver").symlink_to(drivers)
    with pytest.raises(DeviceAccessError, match=Fault.IN_USE) as error:
        await connect(lane, stick.find, lambda: None)
    assert error.value.details == {"node": str(stick.device.usbfs)}
    assert not stick.usbfs_calls


async def test_left_without_a_driver(build: Build, lane: Lane) -> None:
    """A stick left without a driver gets it back, and is then read over hidraw."""
    stick = plug(build, bound=False)
    transport = await opened(lane, stick.find)
    assert isinstance(transport, HidrawTransport)
    assert stick.bound == [0, 1]
    await transport.close()
    assert stick.bound == [0, 1]


async def test_left_without_a_driver_or_permission(
    build: Build, lane: Lane, as_nobody: AsNobody
) -> None:
    """Where the driver cannot be restored, the error names the required node."""
    stick = plug(build, bound=False, usbfs_mode="000")
    with (
        as_nobody(),
        pytest.raises(DeviceAccessError, match=Fault.NO_PERMISSION) as error,
    ):
        await connect(lane, stick.find, lambda: None)
    assert error.value.details == {"node": str(stick.device.usbfs)}
    assert stick.bound == [0]


async def test_no_node(build: Build, lane: Lane) -> None:
    """Where the container has no node of the stick, the error names one."""
    stick = plug(build, bound=False)
    stick.device.usbfs.unlink()
    with pytest.raises(DeviceAccessError, match=Fault.NO_NODE) as error:
        await connect(lane, stick.find, lambda: None)
    assert error.value.details == {"node": str(stick.device.usbfs)}


async def test_not_configured_yet(build: Build, lane: Lane) -> None:
    """A stick that shows no interfaces yet has no hidraw node."""
    stick = plug(build)
    transport = await opened(lane, lambda: stick.device._replace(interfaces=()))
    assert isinstance(transport, LibusbTransport)
    await transport.close()
    assert stick.bound == [0, 1]


async def test_no_libusb(
    build: Build, lane: Lane, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without libusb the error names it."""
    stick = plug(build, hidraw_nodes=False)
    monkeypatch.setattr(libusb1, "get_backend", lambda **_: None)
    with pytest.raises(DeviceAccessError, match=Fault.NO_LIBUSB):
        await connect(lane, stick.find, lambda: None)


async def test_closed_unused(build: Build, lane: Lane) -> None:
    """A stick opened and not used is given back."""
    stick = plug(build, hidraw_nodes=False)
    _, transport = await connect(lane, stick.find, lambda: None)
    await transport.close()
    assert stick.bound == [0, 1]


async def test_abandoned_claim(
    build: Build, lane: Lane, workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stick claimed after the opening was cancelled is given back."""
    stick = plug(build, hidraw_nodes=False)
    hangs, ends = Event(), Event()
    get_backend = vars(libusb1)["get_backend"]

    def hang(**options: object) -> object:
        hangs.set()
        ends.wait()
        return get_backend(**options)

    monkeypatch.setattr(libusb1, "get_backend", hang)
    claiming = asyncio.create_task(connect(lane, stick.find, lambda: None))
    await Lane(workers).run(hangs.wait)
    await abandon(lane, claiming, ends)
    assert stick.usbfs_calls["claim_interface"] == 1
    assert stick.bound == [0, 1]


async def test_abandoned_node(
    build: Build, lane: Lane, workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A node opened after the opening was cancelled is closed again."""
    stick = plug(build)
    before = open_files()
    hangs, ends = Event(), Event()
    flock = fcntl.flock

    def hang(fd: int, operation: int) -> None:
        hangs.set()
        ends.wait()
        flock(fd, operation)

    with monkeypatch.context() as kernel:
        kernel.setattr(fcntl, "flock", hang)
        opening = asyncio.create_task(connect(lane, stick.find, lambda: None))
        await Lane(workers).run(hangs.wait)
    assert open_files() > before
    await abandon(lane, opening, ends)
    assert open_files() == before
    await (await opened(lane, stick.find)).close()
