"""The two ways to a stick, with one face."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Future
import os
from typing import TYPE_CHECKING, Final, Protocol

from . import sysfs
from .errors import DeviceAccessError, Fault
from .hidraw import HidrawTransport
from .sysfs import UsbDevice
from .workers import Lane

if TYPE_CHECKING:
    from .libusb import Handle

INTERFACE: Final = 1
USBFS_DRIVER: Final = "usbfs"


class Transport(Protocol):
    """An opened stick."""

    async def exchange(self, command: bytes, limits: Sequence[float]) -> list[bytes]:
        """Send 8 bytes and return up to one report per limit, each in seconds."""

    def close(self) -> asyncio.Future[None]:
        """Give the device back; the result tells when that is done."""


class LibusbTransport:
    """One stick claimed through libusb; an exchange holds a worker while it waits."""

    def __init__(self, lane: Lane, device: UsbDevice) -> None:
        """Name the device."""
        self._device = device
        self._handle: Handle | None = None
        self._lane = lane

    async def open(self) -> None:
        """Claim the stick's second interface."""
        self._handle = await self._lane.run(_claim, self._device, undo=_release)

    async def exchange(self, command: bytes, limits: Sequence[float]) -> list[bytes]:
        """Send 8 bytes and return up to one report per limit, each in seconds."""
        if TYPE_CHECKING:
            assert self._handle is not None
        return await self._lane.run(self._handle.exchange, command, limits)

    def close(self) -> asyncio.Future[None]:
        """Give the interface back to the kernel; the result tells when."""
        handle, self._handle = self._handle, None
        done: Future[None] = Future()
        if handle is None:
            done.set_result(None)
        else:
            done = self._lane.finish(handle.close)
        return asyncio.wrap_future(done)


async def connect(
    lane: Lane, device: UsbDevice, on_gone: Callable[[], None]
) -> Transport:
    """Open a stick: hidraw whenever it has a node, else libusb.

    Raises DeviceAccessError where neither may be used.
    """
    interface = device.interface(INTERFACE)
    if interface is not None and interface.driver is None:
        device = await lane.run(_given_back, device)
        interface = device.interface(INTERFACE)
    if interface is not None and interface.hidraw is not None:
        hidraw = HidrawTransport(lane, sysfs.DEV / interface.hidraw, on_gone)
        try:
            await hidraw.open()
        except DeviceAccessError as err:
            barred = err.fault in {Fault.NO_PERMISSION, Fault.NO_NODE}
            if not barred or not os.access(device.usbfs, os.W_OK):
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
