"""The two ways to a stick, with one face."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
import os
from typing import TYPE_CHECKING, Final, Protocol

from . import sysfs
from .errors import DeviceAccessError, DriverError, Fault
from .hidraw import HidrawTransport
from .sysfs import UsbDevice
from .workers import Lane

if TYPE_CHECKING:
    from .libusb import Handle

INTERFACE: Final = 1
DRAIN_DELAY: Final = 0.5
"""Seconds after an exchange; the latest report was seen after 0.15."""
USBFS_DRIVER: Final = "usbfs"


class Transport(Protocol):
    """An opened stick."""

    async def exchange(self, command: bytes, limits: Sequence[float]) -> list[bytes]:
        """Send 8 bytes and return up to one report per limit, each in seconds."""

    async def listen(self, limit: float) -> bytes | None:
        """Return a report beyond the answer, if one comes within the limit."""

    def close(self) -> asyncio.Future[None]:
        """Give the device back; the result tells when that is done."""


class LibusbTransport:
    """One stick claimed through libusb; an exchange holds a worker while it waits.

    To find that no report waits costs a time-out, which a reading has no time for. So
    what came beyond an answer is dropped after it, once nothing can come any more.
    """

    def __init__(self, lane: Lane, device: UsbDevice) -> None:
        """Name the device."""
        self._device = device
        self._drain: asyncio.Task[None] | None = None
        self._drain_timer: asyncio.TimerHandle | None = None
        self._handle: Handle | None = None
        self._lane = lane

    async def open(self) -> None:
        """Claim the stick's second interface."""
        self._handle = await self._lane.run(_claim, self._device, undo=_release)

    async def exchange(self, command: bytes, limits: Sequence[float]) -> list[bytes]:
        """Send 8 bytes and return up to one report per limit, each in seconds."""
        if TYPE_CHECKING:
            assert self._handle is not None
        if self._drain_timer is not None:
            self._drain_timer.cancel()
        if self._drain is not None:
            await self._drain  # It has the worker; that is not a device that hangs.
        reports = await self._lane.run(self._handle.exchange, command, limits)
        loop = asyncio.get_running_loop()
        self._drain_timer = loop.call_later(DRAIN_DELAY, self._drain_later)
        return reports

    async def listen(self, limit: float) -> bytes | None:
        """Return a report beyond the answer, if one comes within the limit."""
        if TYPE_CHECKING:
            assert self._handle is not None
        return await self._lane.run(self._handle.listen, limit)

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

    def _drain_later(self) -> None:
        """Begin to drop what came beyond the answer."""
        self._drain = asyncio.get_running_loop().create_task(self._drain_now())

    async def _drain_now(self) -> None:
        """Drop what came; an error shows at the next exchange."""
        with suppress(DriverError):
            if self._handle is not None:
                await self._lane.run(self._handle.drain)


async def connect(
    lane: Lane, device: UsbDevice, on_gone: Callable[[], None], *, unasked: bool = False
) -> Transport:
    """Open a stick: hidraw whenever it has a node, else libusb.

    Unasked, nothing is taken from the kernel: hidraw or nothing. Raises
    DeviceAccessError where it may not be opened.
    """
    interface = device.interface(INTERFACE)
    if interface is not None and interface.driver is None and not unasked:
        device = await lane.run(_given_back, device)
        interface = device.interface(INTERFACE)
    if interface is not None and interface.hidraw is not None:
        hidraw = HidrawTransport(lane, sysfs.DEV / interface.hidraw, on_gone)
        try:
            await hidraw.open()
        except DeviceAccessError as err:
            barred = err.fault in {Fault.NO_PERMISSION, Fault.NO_NODE}
            if unasked or not barred or not os.access(device.usbfs, os.W_OK):
                raise
        else:
            return hidraw
    libusb = LibusbTransport(lane, device)
    await libusb.open()
    return libusb


def _given_back(device: UsbDevice) -> UsbDevice:
    """Give the kernel an interface that a killed program left without a driver."""
    if os.access(device.usbfs, os.W_OK):
        from .libusb import give_back

        give_back(device)
    return sysfs.reread(device)


def _claim(device: UsbDevice) -> Handle:
    """Claim interface 1 through libusb."""
    node = str(device.usbfs)
    if not device.usbfs.exists():
        raise DeviceAccessError(Fault.NO_NODE, node=node)
    interface = device.interface(INTERFACE)
    if interface is not None and interface.driver == USBFS_DRIVER:
        raise DeviceAccessError(Fault.IN_USE, node=node)
    from .libusb import Handle

    handle = Handle(device)
    handle.open()
    return handle


def _release(handle: Handle) -> None:
    """Give interface 1 back to the kernel."""
    handle.close()
