"""The two transports of a stick's reports, hidraw and libusb, as one interface."""

import asyncio
from collections.abc import Callable, Sequence
import os
from typing import TYPE_CHECKING, Protocol

from .. import sysfs
from ..errors import DeviceAccessError, Fault
from ..sysfs import UsbDevice
from ..workers import Lane
from .hidraw import HidrawTransport, Node
from .models import DATA_ENDPOINT, DATA_INTERFACE, USBFS_DRIVER

if TYPE_CHECKING:
    from .libusb import Handle

type UsbConnection = Node | Handle
"""An open device: its hidraw node, or its handle of libusb."""


class Transport(Protocol):
    """An open stick."""

    unsolicited: tuple[bytes, ...]
    """The reports that came between the last two answers."""

    async def exchange(self, command: bytes, timeouts: Sequence[float]) -> list[bytes]:
        """Send 8 bytes and return up to one report for each timeout in seconds."""

    async def listen(self, window_s: float) -> bytes | None:
        """Return a report beyond the answer within window_s of the command, if any."""

    def close(self) -> asyncio.Future[None]:
        """Close the device; the future completes once it is closed."""


async def connect(
    lane: Lane,
    find: Callable[[], UsbDevice],
    on_gone: Callable[[], None],
    *,
    hidraw_only: bool = False,
) -> tuple[UsbDevice, Transport]:
    """Find and open a stick: through hidraw if it has a node, or else through libusb.

    With hidraw_only the stick stays with the kernel's driver. Raises the errors of
    find, and DeviceAccessError if the stick cannot be opened.
    """
    device, connection = await lane.run(
        lambda: _open(find, hidraw_only=hidraw_only), undo=_close
    )
    if isinstance(connection, Node):
        return device, HidrawTransport(lane, connection, on_gone)
    from .libusb import LibusbTransport

    return device, LibusbTransport(lane, connection)


def _open(
    find: Callable[[], UsbDevice], *, hidraw_only: bool
) -> tuple[UsbDevice, UsbConnection]:
    """Find a stick and open it; blocks."""
    device = find()
    interface = device.interface(DATA_INTERFACE)
    if interface is not None and interface.driver is None and not hidraw_only:
        device = _reattached(device)
        interface = device.interface(DATA_INTERFACE)
    if interface is not None and interface.hidraw is not None:
        try:
            return device, Node(sysfs.DEV / interface.hidraw)
        except DeviceAccessError as err:
            if hidraw_only or not may_use_libusb(device, err):
                raise
    return device, claim(device, DATA_INTERFACE, DATA_ENDPOINT)


def may_use_libusb(device: UsbDevice, err: DeviceAccessError) -> bool:
    """Return whether libusb may open a device after this error of its hidraw node."""
    has_no_node = err.fault in {Fault.NO_PERMISSION, Fault.NO_NODE}
    return has_no_node and os.access(device.usbfs, os.W_OK)


def _close(connection: tuple[UsbDevice, UsbConnection]) -> None:
    """Close a device after its caller has given up."""
    connection[1].close()


def _reattached(device: UsbDevice) -> UsbDevice:
    """Return a device after binding the kernel's driver to its data interface.

    A program that was killed may have left the interface without a driver.
    """
    if os.access(device.usbfs, os.W_OK):
        from .libusb import reattach_driver

        reattach_driver(device)
    return sysfs.reread(device)


def claim(device: UsbDevice, number: int, endpoint: int) -> Handle:
    """Claim an interface through libusb to read from its endpoint; blocks.

    Raises DeviceAccessError without a node or permission, and if another program has
    claimed it.
    """
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
