"""The two ways to a stick, with one face."""

import asyncio
from collections.abc import Callable, Sequence
import os
from typing import TYPE_CHECKING, Final, Protocol

from .. import sysfs
from ..errors import DeviceAccessError, Fault
from ..sysfs import UsbDevice
from ..workers import Lane
from .hidraw import HidrawTransport, Node
from .models import INTERFACE, REPORTS_IN

if TYPE_CHECKING:
    from .libusb import Handle

type Opened = Node | Handle

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
    from .libusb import LibusbTransport

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
