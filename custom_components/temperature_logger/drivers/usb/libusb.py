"""Reports to and from a stick through libusb, where it has no usable hidraw node.

The worker that first needs this module imports it, as pyusb and libusb take memory and
time that a machine with hidraw nodes can save.
Source: HID 1.11, section 7.2.2 (SET_REPORT); the errors of libusb as pyusb raises them.
"""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
import ctypes.util
import errno
import time
from typing import Final

import libusb_package
from usb.backend import libusb1
import usb.core
import usb.util

from ..errors import (
    BadFrameError,
    DeviceAccessError,
    DeviceNotFoundError,
    DriverError,
    Fault,
)
from ..sysfs import UsbDevice
from ..workers import Lane
from .descriptors import TEMPER_REPORT_BYTES
from .hidraw import MAX_DRAINED_REPORTS
from .models import DATA_ENDPOINT, DATA_INTERFACE

CONTROL_TIMEOUT_MS: Final = 500
# After an exchange; the latest report was seen 0.15 s after the command.
DRAIN_DELAY_S: Final = 0.5
# The host polls an endpoint of a low-speed device every 10 ms.
DRAIN_TIMEOUT_MS: Final = 25
# An answer to a command of the program that used the stick before may still come during
# so many commands: the first ones ask for the firmware and the values.
UNSETTLED_COMMANDS: Final = 2
SET_REPORT: Final = (0x21, 0x09, 0x0200, DATA_INTERFACE)


class Handle:
    """One interface of one device, by default the second; every call blocks."""

    def __init__(
        self,
        device: UsbDevice,
        interface: int = DATA_INTERFACE,
        endpoint: int = DATA_ENDPOINT,
    ) -> None:
        """Find the device; interface and endpoint are those of its reports."""
        self._device = _find(device)
        self._detached = False
        self._endpoint = endpoint
        self._interface = interface
        self._node = str(device.usbfs)
        self._sent = 0.0
        self._unsettled = UNSETTLED_COMMANDS

    def open(self) -> None:
        """Detach the kernel's driver from the interface and claim it."""
        try:
            if self._device.is_kernel_driver_active(self._interface):
                self._device.detach_kernel_driver(self._interface)
                self._detached = True
            usb.util.claim_interface(self._device, self._interface)
        except usb.core.USBError as err:
            self.close()
            raise _libusb_error(err, self._node) from err

    def exchange(self, command: bytes, timeouts: Sequence[float]) -> list[bytes]:
        """Send 8 bytes and return up to one report for each timeout in seconds.

        Waiting reports are dropped before the first commands after opening.
        """
        reports: list[bytes] = []
        if self._unsettled:
            self.drain()
            self._unsettled -= 1
        try:
            self._device.ctrl_transfer(*SET_REPORT, command, CONTROL_TIMEOUT_MS)
            self._sent = time.monotonic()
            with suppress(usb.core.USBTimeoutError):
                for timeout in timeouts:
                    report = self._read(round(timeout * 1000))
                    reports.append(report)
        except usb.core.USBError as err:
            raise _libusb_error(err, self._node) from err
        return reports

    def listen(self, window_s: float) -> bytes | None:
        """Return a report beyond the answer within window_s of the command, if any."""
        left = self._sent + window_s - time.monotonic()
        try:
            return self._read(max(DRAIN_TIMEOUT_MS, round(left * 1000)))
        except usb.core.USBTimeoutError:
            return None
        except usb.core.USBError as err:
            raise _libusb_error(err, self._node) from err

    def collect(
        self, is_last: Callable[[bytes], bool], timeouts: Sequence[float]
    ) -> None:
        """Pass each new report to is_last, until that returns true.

        The reports end with the first timeout in seconds that passes, and there are at
        most as many as timeouts. Reports that wait already are dropped.
        """
        self.drain()
        try:
            with suppress(usb.core.USBTimeoutError):
                for timeout in timeouts:
                    if is_last(self._read(round(timeout * 1000))):
                        return
        except usb.core.USBError as err:
            raise _libusb_error(err, self._node) from err

    def close(self) -> None:
        """Return the interface to the kernel's driver."""
        with suppress(usb.core.USBError):
            usb.util.release_interface(self._device, self._interface)
        if self._detached:
            with suppress(usb.core.USBError):
                self._device.attach_kernel_driver(self._interface)
        usb.util.dispose_resources(self._device)

    def drain(self) -> list[bytes]:
        """Read the waiting reports until a read times out, and return them."""
        reports: list[bytes] = []
        try:
            for _ in range(MAX_DRAINED_REPORTS):
                report = self._read(DRAIN_TIMEOUT_MS)
                reports.append(report)
        except usb.core.USBTimeoutError:
            return reports
        except usb.core.USBError as err:
            raise _libusb_error(err, self._node) from err
        self._unsettled = UNSETTLED_COMMANDS
        raise BadFrameError(Fault.FLOODED)

    def _read(self, timeout_ms: int) -> bytes:
        """Read one report, clearing a stalled endpoint once."""
        try:
            return bytes(
                self._device.read(self._endpoint, TEMPER_REPORT_BYTES, timeout_ms)
            )
        except usb.core.USBError as err:
            if err.errno != errno.EPIPE:
                raise
        self._device.clear_halt(self._endpoint)
        return bytes(self._device.read(self._endpoint, TEMPER_REPORT_BYTES, timeout_ms))


class LibusbTransport:
    """One stick claimed through libusb; an exchange keeps a worker while it waits.

    Only a read that times out shows that no report waits, and a reading has no time for
    that. So reports beyond an answer are dropped between the readings, late enough that
    the last one has arrived. No other program can send commands to a claimed stick, so
    no further reports are known to come after that.
    """

    def __init__(self, lane: Lane, handle: Handle) -> None:
        """Use the claimed stick."""
        self.unsolicited: tuple[bytes, ...] = ()
        self._dropped: list[bytes] = []
        self._drain: asyncio.Task[None] | None = None
        self._drain_timer: asyncio.TimerHandle | None = None
        self._handle: Handle | None = handle
        self._lane = lane

    async def exchange(self, command: bytes, timeouts: Sequence[float]) -> list[bytes]:
        """Send 8 bytes and return up to one report for each timeout in seconds."""
        if self._drain_timer is not None:
            self._drain_timer.cancel()
        if self._drain is not None:
            await self._drain  # It uses the worker, but the device does not hang.
        self.unsolicited = tuple(self._dropped)
        self._dropped.clear()
        reports = await self._lane.run(
            lambda: self._claimed_handle.exchange(command, timeouts)
        )
        loop = asyncio.get_running_loop()
        self._drain_timer = loop.call_later(DRAIN_DELAY_S, self._drain_later)
        return reports

    async def listen(self, window_s: float) -> bytes | None:
        """Return a report beyond the answer within window_s of the command, if any."""
        return await self._lane.run(lambda: self._claimed_handle.listen(window_s))

    def close(self) -> asyncio.Future[None]:
        """Return the interface to the kernel; the future then completes."""
        if self._drain_timer is not None:
            self._drain_timer.cancel()
        handle, self._handle = self._handle, None
        done: Future[None] = Future()
        if handle is None:
            done.set_result(None)
        else:
            done = self._lane.finish(handle.close)
        return asyncio.wrap_future(done)

    @property
    def _claimed_handle(self) -> Handle:
        """The claimed stick; raises DeviceNotFoundError once it is closed.

        It can be closed while a job waits for the worker, and pyusb would then open
        it again. So each job reads this property when it runs.
        """
        if self._handle is None:
            raise DeviceNotFoundError(Fault.STICK_NOT_FOUND)
        return self._handle

    def _drain_later(self) -> None:
        """Begin to drop the reports beyond the answer."""
        self._drain = asyncio.get_running_loop().create_task(self._drain_now())

    async def _drain_now(self) -> None:
        """Drop the waiting reports; the next exchange repeats that after an error."""
        with suppress(DriverError):
            if self._handle is not None:
                self._dropped += await self._lane.run(self._read_waiting)

    def _read_waiting(self) -> list[bytes]:
        """Return the reports that wait; blocks."""
        return self._claimed_handle.drain()


def reattach_driver(device: UsbDevice) -> None:
    """Bind the kernel's driver to interface 1, if a killed program left it unbound."""
    handle = _find(device)
    with suppress(usb.core.USBError):
        handle.attach_kernel_driver(DATA_INTERFACE)
    usb.util.dispose_resources(handle)


def _find(device: UsbDevice) -> usb.core.Device:
    """Return the device in pyusb.

    Raises DeviceAccessError without libusb, and DeviceNotFoundError if it is gone.
    """
    backend = libusb1.get_backend(find_library=_find_library)
    if backend is None:
        raise DeviceAccessError(Fault.NO_LIBUSB)
    handle = usb.core.find(backend=backend, bus=device.bus, address=device.address)
    if not isinstance(handle, usb.core.Device):
        raise DeviceNotFoundError(Fault.STICK_NOT_FOUND)
    return handle


def _find_library(name: str) -> str | None:
    """Return the path of the system's libusb, or else of the packaged one."""
    return ctypes.util.find_library(name) or libusb_package.find_library(name)


def _libusb_error(err: usb.core.USBError, node: str) -> DriverError:
    """Return the DriverError for an error of libusb at a node."""
    if err.errno in {errno.EACCES, errno.EPERM}:
        return DeviceAccessError(Fault.NO_PERMISSION, node=node)
    if err.errno == errno.EBUSY:
        return DeviceAccessError(Fault.IN_USE, node=node)
    if err.errno in {errno.ENODEV, errno.ENOENT}:
        return DeviceNotFoundError(Fault.STICK_NOT_FOUND)
    if isinstance(err, usb.core.USBTimeoutError):
        return BadFrameError(Fault.NO_ANSWER)
    return BadFrameError(Fault.REFUSED, error=err.strerror or str(err))
