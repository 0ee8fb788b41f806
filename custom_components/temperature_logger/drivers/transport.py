"""The two ways to a stick, with one face."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
import os
from typing import TYPE_CHECKING, Final, Protocol

from . import sysfs
from .errors import DeviceAccessError, DeviceNotFoundError, DriverError, Fault
from .hidraw import HidrawTransport, Node
from .sysfs import UsbDevice
from .workers import Lane

if TYPE_CHECKING:
    from .libusb import Handle

type Opened = Node | Handle

INTERFACE: Final = 1
REPORTS_IN: Final = 0x82
DRAIN_DELAY: Final = 0.5
"""Seconds after an exchange; the latest report was seen after 0.15."""
USBFS_DRIVER: Final = "usbfs"


class Transport(Protocol):
    """An opened stick."""

    unasked: tuple[bytes, ...]
    """What came between the last two answers."""

    async def exchange(self, command: bytes, limits: Sequence[float]) -> list[bytes]:
        """Send 8 bytes and return up to one report per limit, each in seconds."""

    async def listen(self, limit: float) -> bytes | None:
        """Return a report beyond the answer, so many seconds after the command."""

    def close(self) -> asyncio.Future[None]:
        """Give the device back; the result tells when that is done."""


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
        reports = await self._lane.run(self._held.exchange, command, limits)
        loop = asyncio.get_running_loop()
        self._drain_timer = loop.call_later(DRAIN_DELAY, self._drain_later)
        return reports

    async def listen(self, limit: float) -> bytes | None:
        """Return a report beyond the answer, so many seconds after the command."""
        return await self._lane.run(self._held.listen, limit)

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
        """The claimed stick; it may be given back while somebody waits."""
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
                self._dropped += await self._lane.run(self._handle.drain)


async def connect(
    lane: Lane,
    find: Callable[[], UsbDevice],
    on_gone: Callable[[], None],
    *,
    unasked: bool = False,
) -> tuple[UsbDevice, Transport]:
    """Find and open a stick: hidraw whenever it has a node, else libusb.

    Unasked, nothing is taken from the kernel: hidraw or nothing. Raises what find
    does, and DeviceAccessError where the stick may not be opened.
    """
    device, opened = await lane.run(lambda: _open(find, unasked=unasked), undo=_close)
    if isinstance(opened, Node):
        return device, HidrawTransport(lane, opened, on_gone)
    return device, LibusbTransport(lane, opened)


def _open(find: Callable[[], UsbDevice], *, unasked: bool) -> tuple[UsbDevice, Opened]:
    """Find a stick and open it."""
    device = find()
    interface = device.interface(INTERFACE)
    if interface is not None and interface.driver is None and not unasked:
        device = _given_back(device)
        interface = device.interface(INTERFACE)
    if interface is not None and interface.hidraw is not None:
        try:
            return device, Node(sysfs.DEV / interface.hidraw)
        except DeviceAccessError as err:
            if unasked or not libusb_may(device, err):
                raise
    return device, claimed(device, INTERFACE, REPORTS_IN)


def libusb_may(device: UsbDevice, err: DeviceAccessError) -> bool:
    """Return whether libusb may open a device whose hidraw node could not be opened."""
    barred = err.fault in {Fault.NO_PERMISSION, Fault.NO_NODE}
    return barred and os.access(device.usbfs, os.W_OK)


def _close(opened: tuple[UsbDevice, Opened]) -> None:
    """Give back what was opened for nobody."""
    opened[1].close()


def _given_back(device: UsbDevice) -> UsbDevice:
    """Give the kernel an interface that a killed program left without a driver."""
    if os.access(device.usbfs, os.W_OK):
        from .libusb import give_back

        give_back(device)
    return sysfs.reread(device)


def claimed(device: UsbDevice, number: int, endpoint: int) -> Handle:
    """Claim an interface through libusb, and read from an endpoint of it."""
    node = str(device.usbfs)
    if not device.usbfs.exists():
        raise DeviceAccessError(Fault.NO_NODE, node=node)
    interface = device.interface(number)
    if interface is not None and interface.driver == USBFS_DRIVER:
        raise DeviceAccessError(Fault.IN_USE, node=node)
    from .libusb import Handle

    handle = Handle(device, number, endpoint)
    handle.open()
    return handle
