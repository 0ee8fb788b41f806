"""Without a usable hidraw node, libusb claims interface 1 from the kernel."""

from collections.abc import Callable, Generator
import ctypes.util
import errno
from typing import override

import pytest
from usb.backend import libusb1
import usb.core

from custom_components.temperature_logger.drivers import Fault, sysfs
from custom_components.temperature_logger.drivers.errors import (
    BadFrameError,
    DeviceAccessError,
    DeviceNotFoundError,
)
from custom_components.temperature_logger.drivers.sysfs import UsbDevice
from custom_components.temperature_logger.drivers.usb import libusb
from custom_components.temperature_logger.drivers.usb.hidraw import MAX_DRAINED_REPORTS
from custom_components.temperature_logger.drivers.usb.libusb import (
    UNSETTLED_COMMANDS,
    Handle,
    reattach_driver,
)
from custom_components.temperature_logger.drivers.usb.models import USB_IDS
from emulation.machine import Machine
from tests.drivers.conftest import (
    LIMITS,
    READ_VALUES,
    REPORTS,
    SHORT_LIMITS,
    STALE_REPORT,
    AsNobody,
    Build,
)


@pytest.fixture(name="device")
def device_fixture(machine: Machine) -> UsbDevice:
    """Return the stick as sysfs shows it."""
    (device,) = sysfs.usb_devices(USB_IDS)
    assert device.usbfs == machine.device("two").node
    return device


@pytest.fixture(name="handle")
def handle_fixture(device: UsbDevice) -> Generator[Handle]:
    """Return the claimed stick."""
    handle = Handle(device)
    handle.open()
    yield handle
    handle.close()


def bound(machine: Machine) -> list[int]:
    """Return the interfaces that have their kernel driver."""
    return sorted(machine.device("two").bound)


def test_exchange(handle: Handle, machine: Machine) -> None:
    """A command is sent unchanged, and its reports are returned unchanged."""
    assert handle.exchange(READ_VALUES, LIMITS) == REPORTS
    assert list(machine.stick("two").log) == [READ_VALUES]


def test_only_interface_1_is_taken(handle: Handle, machine: Machine) -> None:
    """The keyboard's interface stays the kernel's, and interface 1 returns to it."""
    assert bound(machine) == [0]
    assert list(machine.device("two").claims) == [1]
    handle.close()
    assert bound(machine) == [0, 1]
    assert not machine.device("two").claims
    assert not machine.device("two").calls["set_configuration"]


def test_no_driver_to_give_back(build: Build) -> None:
    """An interface without a driver before the claim has none after the close."""
    machine = build({"name": "two", "model": "TEMPer2_V3.9", "bound": False})
    (device,) = sysfs.usb_devices(USB_IDS)
    handle = Handle(device)
    handle.open()
    handle.close()
    assert bound(machine) == [0]
    reattach_driver(device)
    assert bound(machine) == [0, 1]
    reattach_driver(device)  # Another program was quicker.
    assert bound(machine) == [0, 1]


def test_silence(handle: Handle, machine: Machine) -> None:
    """A silent stick ends the wait after its time limit."""
    machine.stick("two").fail("partial")
    assert handle.exchange(READ_VALUES, (1.0, 0.05)) == REPORTS[:1]
    machine.stick("two").fail("timeout")
    assert handle.exchange(READ_VALUES, SHORT_LIMITS) == []


def test_stale_before_opening(build: Build) -> None:
    """A report that waits in the stick is not returned as the first answer."""
    machine = build({"name": "x", "model": "TEMPerGold_V3.4", "bound": False})
    machine.send("x", STALE_REPORT, STALE_REPORT)
    (device,) = sysfs.usb_devices(USB_IDS)
    handle = Handle(device)
    handle.open()
    (report,) = handle.exchange(READ_VALUES, LIMITS[:1])
    handle.close()
    assert report.hex() != STALE_REPORT


def test_drain(handle: Handle, machine: Machine) -> None:
    """Surplus reports are dropped, and not returned as the next answer."""
    stick = machine.stick("two")
    stick.fail("extra", count=1)
    assert handle.exchange(READ_VALUES, LIMITS) == [
        bytes.fromhex(STALE_REPORT),
        REPORTS[0],
    ]
    handle.drain()
    stick.values |= {"temperature": 10.0, "external_temperature": 20.0}
    changed = [bytes.fromhex("808003e84e200000"), bytes.fromhex("800107d04e200000")]
    assert handle.exchange(READ_VALUES, LIMITS) == changed


def test_nothing_is_read_before_a_command(handle: Handle, machine: Machine) -> None:
    """After the first commands, a reading takes only its reports and no time-out."""
    for _ in range(UNSETTLED_COMMANDS):
        handle.exchange(READ_VALUES, LIMITS)
    machine.device("two").calls.clear()
    assert handle.exchange(READ_VALUES, LIMITS) == REPORTS
    assert machine.device("two").calls["interrupt_in"] == len(REPORTS)


def test_flooded_after_an_answer(handle: Handle, machine: Machine) -> None:
    """Reports left after a drain are dropped before the next command."""
    for _ in range(UNSETTLED_COMMANDS):
        handle.exchange(READ_VALUES, LIMITS)
    machine.send("two", *[STALE_REPORT] * (MAX_DRAINED_REPORTS + 1))
    with pytest.raises(BadFrameError, match=Fault.FLOODED):
        handle.drain()
    assert handle.exchange(READ_VALUES, LIMITS) == REPORTS


def test_flooded(handle: Handle, machine: Machine) -> None:
    """A stick that reports without end gets no command."""
    machine.send("two", *[STALE_REPORT] * MAX_DRAINED_REPORTS)
    with pytest.raises(BadFrameError, match=Fault.FLOODED):
        handle.exchange(READ_VALUES, LIMITS)
    assert not machine.stick("two").commands


def test_drain_of_a_stick_that_is_gone(handle: Handle, machine: Machine) -> None:
    """A drain notices an unplug."""
    machine.unplug("two")
    with pytest.raises(DeviceNotFoundError, match=Fault.STICK_NOT_FOUND):
        handle.drain()


def test_listen_with_a_slow_endpoint(
    handle: Handle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The endpoint is polled every 10 ms, and listening takes longer than that."""
    limits: list[int] = []

    def read(_: object, __: int, ___: int, timeout_ms: int) -> bytes:
        limits.append(timeout_ms)
        return b""

    handle.exchange(READ_VALUES, LIMITS)
    monkeypatch.setattr(usb.core.Device, "read", read)
    handle.listen(0)
    assert limits == [25]


def test_listen_to_a_stick_that_is_gone(handle: Handle, machine: Machine) -> None:
    """Listening notices an unplug."""
    handle.exchange(READ_VALUES, LIMITS)
    machine.unplug("two")
    with pytest.raises(DeviceNotFoundError, match=Fault.STICK_NOT_FOUND):
        handle.listen(0.05)


def test_stalled_input(handle: Handle, machine: Machine) -> None:
    """A stalled endpoint is cleared once."""
    machine.stick("two").halted.add(0x82)
    assert handle.exchange(READ_VALUES, LIMITS) == REPORTS
    assert machine.device("two").calls["clear_halt"] == 1


def test_stalled_input_for_ever(handle: Handle, machine: Machine) -> None:
    """An endpoint that stalls again is an error."""

    class Halted(set[int]):
        @override
        def discard(self, _: object, /) -> None:
            """Stay halted."""

    machine.stick("two").halted = Halted({0x82})
    with pytest.raises(BadFrameError, match=Fault.REFUSED):
        handle.exchange(READ_VALUES, LIMITS)


def test_refused_command(handle: Handle, machine: Machine) -> None:
    """A stalled command is an error that quotes the system's error."""
    machine.stick("two").fail("stall")
    with pytest.raises(BadFrameError, match=r"refused \(error Pipe error\)"):
        handle.exchange(READ_VALUES, LIMITS)


def test_command_without_answer(
    handle: Handle, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A dead control pipe is an error after its time limit."""
    monkeypatch.setattr(libusb, "CONTROL_TIMEOUT_MS", 50)
    machine.stick("two").fail("control-timeout")
    with pytest.raises(BadFrameError, match=Fault.NO_ANSWER):
        handle.exchange(READ_VALUES, LIMITS)


def test_unplugged(handle: Handle, machine: Machine) -> None:
    """An unplug is an error, and closing afterwards raises nothing."""
    machine.unplug("two")
    with pytest.raises(DeviceNotFoundError, match=Fault.STICK_NOT_FOUND):
        handle.exchange(READ_VALUES, LIMITS)
    handle.close()


def test_unplugged_before_opening(machine: Machine, device: UsbDevice) -> None:
    """A stick unplugged before it was opened is not found."""
    handle = Handle(device)
    machine.unplug("two")
    with pytest.raises(DeviceNotFoundError, match=Fault.STICK_NOT_FOUND):
        handle.open()
    with pytest.raises(DeviceNotFoundError, match=Fault.STICK_NOT_FOUND):
        Handle(device)


def test_in_use(handle: Handle, machine: Machine, device: UsbDevice) -> None:
    """A second program gets an error, and the first continues."""
    second = Handle(device)
    with pytest.raises(DeviceAccessError, match=Fault.IN_USE) as error:
        second.open()
    assert error.value.details == {"node": str(device.usbfs)}
    assert handle.exchange(READ_VALUES, LIMITS) == REPORTS
    handle.close()
    assert bound(machine) == [0, 1]


def test_no_permission(
    machine: Machine, device: UsbDevice, as_nobody: AsNobody
) -> None:
    """The error names a node that may not be opened."""
    machine.permit("two", usbfs=0)
    handle = Handle(device)
    with (
        as_nobody(),
        pytest.raises(DeviceAccessError, match=Fault.NO_PERMISSION) as error,
    ):
        handle.open()
    assert error.value.details == {"node": str(device.usbfs)}
    assert bound(machine) == [0, 1]


@pytest.mark.parametrize("number", [errno.EIO, None])
def test_other_errors(
    handle: Handle, monkeypatch: pytest.MonkeyPatch, number: int | None
) -> None:
    """Every other error of libusb is quoted."""

    def fail(*_: object) -> None:
        raise usb.core.USBError("Input/Output Error", None, number)

    monkeypatch.setattr(usb.core.Device, "ctrl_transfer", fail)
    with pytest.raises(BadFrameError, match=r"refused \(.*Input/Output Error\)"):
        handle.exchange(READ_VALUES, LIMITS)


def test_no_libusb(device: UsbDevice, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the library the error names it."""
    monkeypatch.setattr(libusb1, "get_backend", lambda **_: None)
    with pytest.raises(DeviceAccessError, match=Fault.NO_LIBUSB):
        Handle(device)


@pytest.mark.parametrize("system", ["libusb-1.0.so.0", None])
def test_which_libusb(
    device: UsbDevice, monkeypatch: pytest.MonkeyPatch, system: str | None
) -> None:
    """The system's library comes before the packaged one."""
    libraries: list[str] = []

    def get_backend(find_library: Callable[[str], str]) -> None:
        libraries.append(find_library("usb-1.0"))

    monkeypatch.setattr(ctypes.util, "find_library", lambda _: system)
    monkeypatch.setattr(libusb1, "get_backend", get_backend)
    with pytest.raises(DeviceAccessError, match=Fault.NO_LIBUSB):
        Handle(device)
    assert libraries == [system] if system else "libusb_package" in libraries[0]
