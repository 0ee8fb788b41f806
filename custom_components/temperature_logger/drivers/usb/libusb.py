"""Reports to and from a stick through libusb, where it has no usable hidraw node.

This module is imported in the worker that first needs it: pyusb and libusb cost
memory and time that a machine with hidraw never pays.
Source: HID 1.11, section 7.2.2 (SET_REPORT); libusb's errors as pyusb gives them.
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
from .descriptors import REPORT_SIZE
from .hidraw import DRAIN_LIMIT
from .models import INTERFACE, REPORTS_IN

CONTROL_LIMIT_MS: Final = 500
DRAIN_DELAY: Final = 0.5
"""Seconds after an exchange; the latest report was seen after 0.15."""
# An endpoint of a low-speed device is asked every 10 ms.
DRAIN_LIMIT_MS: Final = 25
# An answer to who used the stick before may come until its first values are read.
UNSETTLED_COMMANDS: Final = 2
SET_REPORT: Final = (0x21, 0x09, 0x0200, INTERFACE)


class Handle:
    """One interface of one opened device, of a stick the second; every call blocks."""

    def __init__(
        self,
        device: UsbDevice,
        interface: int = INTERFACE,
        endpoint: int = REPORTS_IN,
    ) -> None:
        """Name the device, its interface, and where its reports come from."""
        self._device = _find(device)
        self._detached = False
        self._endpoint = endpoint
        self._interface = interface
        self._node = str(device.usbfs)
        self._sent = 0.0
        self._unsettled = UNSETTLED_COMMANDS

    def open(self) -> None:
        """Take the interface from the kernel and claim it."""
        try:
            if self._device.is_kernel_driver_active(self._interface):
                self._device.detach_kernel_driver(self._interface)
                self._detached = True
            usb.util.claim_interface(self._device, self._interface)
        except usb.core.USBError as err:
            self.close()
            raise _translated(err, self._node) from err

    def exchange(self, command: bytes, limits: Sequence[float]) -> list[bytes]:
        """Send 8 bytes and return up to one report per limit, each in seconds.

        What waits is dropped before the first commands after opening.
        """
        reports: list[bytes] = []
        if self._unsettled:
            self.drain()
            self._unsettled -= 1
        try:
            self._device.ctrl_transfer(*SET_REPORT, command, CONTROL_LIMIT_MS)
            self._sent = time.monotonic()
            with suppress(usb.core.USBTimeoutError):
                for limit in limits:
                    report = self._read(round(limit * 1000))
                    reports.append(report)
        except usb.core.USBError as err:
            raise _translated(err, self._node) from err
        return reports

    def listen(self, limit: float) -> bytes | None:
        """Return a report beyond the answer, so many seconds after the command."""
        left = self._sent + limit - time.monotonic()
        try:
            return self._read(max(DRAIN_LIMIT_MS, round(left * 1000)))
        except usb.core.USBTimeoutError:
            return None
        except usb.core.USBError as err:
            raise _translated(err, self._node) from err

    def collect(self, enough: Callable[[bytes], bool], limits: Sequence[float]) -> None:
        """Pass on what comes from now on, until a report is enough.

        That is up to one report per limit, each in seconds. What waits is dropped.
        """
        self.drain()
        try:
            with suppress(usb.core.USBTimeoutError):
                for limit in limits:
                    if enough(self._read(round(limit * 1000))):
                        return
        except usb.core.USBError as err:
            raise _translated(err, self._node) from err

    def close(self) -> None:
        """Give the interface back to the kernel."""
        with suppress(usb.core.USBError):
            usb.util.release_interface(self._device, self._interface)
        if self._detached:
            with suppress(usb.core.USBError):
                self._device.attach_kernel_driver(self._interface)
        usb.util.dispose_resources(self._device)

    def drain(self) -> list[bytes]:
        """Return the reports that wait, until none comes, which costs a time-out."""
        found: list[bytes] = []
        try:
            for _ in range(DRAIN_LIMIT):
                report = self._read(DRAIN_LIMIT_MS)
                found.append(report)
        except usb.core.USBTimeoutError:
            return found
        except usb.core.USBError as err:
            raise _translated(err, self._node) from err
        self._unsettled = UNSETTLED_COMMANDS
        raise BadFrameError(Fault.FLOODED)

    def _read(self, limit_ms: int) -> bytes:
        """Read one report, clearing a stalled endpoint once."""
        try:
            return bytes(self._device.read(self._endpoint, REPORT_SIZE, limit_ms))
        except usb.core.USBError as err:
            if err.errno != errno.EPIPE:
                raise
        self._device.clear_halt(self._endpoint)
        return bytes(self._device.read(self._endpoint, REPORT_SIZE, limit_ms))


class LibusbTransport:
    """One stick claimed through libusb; an exchange holds a worker while it waits.

    To find that no report waits costs a time-out, which a reading has no time for. So
    what came beyond an answer is dropped after it, once a late report would be there.
    Nobody else can ask a claimed stick, so nothing is known to come after that.
    """

    def __init__(self, lane: Lane, handle: Handle) -> None:
        """Take the claimed stick over."""
        self.unasked: tuple[bytes, ...] = ()
        self._dropped: list[bytes] = []
        self._drain: asyncio.Task[None] | None = None
        self._drain_timer: asyncio.TimerHandle | None = None
        self._handle: Handle | None = handle
        self._lane = lane

    async def exchange(self, command: bytes, limits: Sequence[float]) -> list[bytes]:
        """Send 8 bytes and return up to one report per limit, each in seconds."""
        if self._drain_timer is not None:
            self._drain_timer.cancel()
        if self._drain is not None:
            await self._drain  # It has the worker; that is not a device that hangs.
        self.unasked = tuple(self._dropped)
        self._dropped.clear()
        reports = await self._lane.run(lambda: self._held.exchange(command, limits))
        loop = asyncio.get_running_loop()
        self._drain_timer = loop.call_later(DRAIN_DELAY, self._drain_later)
        return reports

    async def listen(self, limit: float) -> bytes | None:
        """Return a report beyond the answer, so many seconds after the command."""
        return await self._lane.run(lambda: self._held.listen(limit))

    def close(self) -> asyncio.Future[None]:
        """Give the interface back to the kernel; the result tells when."""
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
    def _held(self) -> Handle:
        """The claimed stick.

        It may be given back while a job waits for its turn, and pyusb would open it
        again. So each job asks for it when it runs.
        """
        if self._handle is None:
            raise DeviceNotFoundError(Fault.STICK_NOT_FOUND)
        return self._handle

    def _drain_later(self) -> None:
        """Begin to drop what came beyond the answer."""
        self._drain = asyncio.get_running_loop().create_task(self._drain_now())

    async def _drain_now(self) -> None:
        """Drop what came; an error shows at the next exchange, which drains again."""
        with suppress(DriverError):
            if self._handle is not None:
                self._dropped += await self._lane.run(self._take)

    def _take(self) -> list[bytes]:
        """Return the reports that wait; blocks."""
        return self._held.drain()


def give_back(device: UsbDevice) -> None:
    """Let the kernel bind interface 1 again that a killed program left unbound."""
    handle = _find(device)
    with suppress(usb.core.USBError):
        handle.attach_kernel_driver(INTERFACE)
    usb.util.dispose_resources(handle)


def _find(device: UsbDevice) -> usb.core.Device:
    """Return pyusb's device; raise DeviceAccessError where there is no libusb."""
    backend = libusb1.get_backend(find_library=_find_library)
    if backend is None:
        raise DeviceAccessError(Fault.NO_LIBUSB)
    found = usb.core.find(backend=backend, bus=device.bus, address=device.address)
    if not isinstance(found, usb.core.Device):
        raise DeviceNotFoundError(Fault.STICK_NOT_FOUND)
    return found


def _find_library(name: str) -> str | None:
    """Prefer the system's libusb to the packaged one."""
    return ctypes.util.find_library(name) or libusb_package.find_library(name)


def _translated(err: usb.core.USBError, node: str) -> DriverError:
    """Return what an error of libusb means for the owner."""
    if err.errno in {errno.EACCES, errno.EPERM}:
        return DeviceAccessError(Fault.NO_PERMISSION, node=node)
    if err.errno == errno.EBUSY:
        return DeviceAccessError(Fault.IN_USE, node=node)
    if err.errno in {errno.ENODEV, errno.ENOENT}:
        return DeviceNotFoundError(Fault.STICK_NOT_FOUND)
    if isinstance(err, usb.core.USBTimeoutError):
        return BadFrameError(Fault.NO_ANSWER)
    return BadFrameError(Fault.REFUSED, error=err.strerror or str(err))
