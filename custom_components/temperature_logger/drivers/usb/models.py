"""Which USB devices are thermometers, by what the kernel tells of them.

A vendor and product id is shared with foot pedals, bare serial chips and what people
build themselves: a device belongs to a model if it is built like one, too.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

from .. import sysfs
from ..errors import DeviceAccessError, DeviceNotFoundError, Fault
from ..places import UsbPlace
from ..sysfs import Ids, UsbDevice, usb_device, usb_devices
from .descriptors import REPORT_SIZE, report_sizes

# The data interface and its endpoint, of sticks with two HID interfaces.
INTERFACE: Final = 1
REPORTS_IN: Final = 0x82
HID_CLASS: Final = 0x03
VENDOR_CLASS: Final = 0xFF


class Model(NamedTuple):
    """One kind of device, read by one driver."""

    driver: str
    """The name of its module."""
    ids: Ids
    fits: Callable[[UsbDevice], bool]
    """Whether a device with one of the ids is built like these."""
    interface: int | None = None
    """The interface whose hidraw node is read, if one is."""
    name: str | None = None
    """Its name for people; None where only the firmware tells."""
    manufacturer: str = ""
    is_certain: bool = True
    """Whether the ids and names tell that it is one, and not only its owner."""

    def has(self, device: UsbDevice) -> bool:
        """Return whether a device is one of these, as far as the kernel knows."""
        return (device.vendor_id, device.product_id) in self.ids and self.fits(device)

    def find(self, place: UsbPlace) -> UsbDevice:
        """Return what is plugged in at a place; blocks.

        Raises DeviceNotFoundError if that is nothing of this model.
        """
        device = usb_device(place, self.ids)
        if not self.has(device):
            raise DeviceNotFoundError(Fault.STICK_NOT_FOUND)
        return device

    def node(self, device: UsbDevice) -> Path:
        """Return the hidraw node that is read; raise DeviceAccessError without one."""
        interface = None if self.interface is None else device.interface(self.interface)
        if interface is None or interface.hidraw is None:
            raise DeviceAccessError(Fault.NO_NODE, node=str(sysfs.DEV / "hidraw*"))
        return sysfs.DEV / interface.hidraw


def _is_temper(device: UsbDevice) -> bool:
    """Return whether a device has two HID interfaces and talks through the second.

    The second has reports of 8 bytes both ways, or no driver that would tell.
    """
    data = device.interface(INTERFACE)
    return (
        data is not None
        and _has_two_hid(device)
        and (
            not data.report_descriptor
            or report_sizes(data.report_descriptor) == (REPORT_SIZE, REPORT_SIZE)
        )
    )


def _has_two_hid(device: UsbDevice) -> bool:
    """Return whether a device has two HID interfaces and nothing else."""
    return [one.usb_class for one in device.interfaces] == 2 * [HID_CLASS]


def _is_hid(device: UsbDevice) -> bool:
    """Return whether the first interface of a device is a HID interface."""
    return _class_of(device) == HID_CLASS


def _class_of(device: UsbDevice) -> int | None:
    """Return the class of a device's first interface, if it is configured."""
    interface = device.interface(0)
    return interface and interface.usb_class


TEMPER: Final = Model(
    driver="temper",
    ids=frozenset(
        {
            (0x0C45, 0x7401),
            (0x0C45, 0x7402),
            (0x1A86, 0xE025),
            (0x3553, 0xA001),
            (0x413D, 0x2107),
        }
    ),
    fits=_is_temper,
    interface=INTERFACE,
)
# The id is that of a chip in many things.
ZYTEMP: Final = Model(
    driver="zytemp",
    ids=frozenset({(0x04D9, 0xA052)}),
    fits=lambda device: _is_hid(device) and device.product == "USB-zyTemp",
    interface=0,
    name="CO2 monitor",
    manufacturer="ZyAura",
)
# The id is that of everything built with a Teensy.
DIAMEX: Final = Model(
    driver="diamex",
    ids=frozenset({(0x16C0, 0x0480)}),
    fits=lambda device: (
        _is_hid(device)
        and device.manufacturer == "DIAMEX GmbH"
        and device.product == "Temp-Sensor-Tester"
    ),
    interface=0,
    name="DS18B20 adapter",
    manufacturer="Diamex",
)
GOTEMP: Final = Model(
    driver="gotemp",
    ids=frozenset({(0x08F7, 0x0002)}),
    fits=_is_hid,
    interface=0,
    name="Go!Temp",
    manufacturer="Vernier",
)
LASCAR: Final = Model(
    driver="lascar",
    ids=frozenset({(0x1781, 0x0EC4)}),
    fits=_is_hid,
    interface=0,
    name="EL-USB-RT",
    manufacturer="Lascar",
)
# The id is that of a serial port.
TEMPERX232: Final = Model(
    driver="temperx232",
    ids=frozenset({(0x1A86, 0x5523)}),
    fits=lambda device: _class_of(device) == VENDOR_CLASS,
    name="TEMPerX232 on a serial adapter",
    is_certain=False,
)
# They cannot be asked for a firmware, and what else they are asked is no question to
# another device.
HIDTEMPER: Final = Model(
    driver="hidtemper",
    ids=frozenset({(0x1130, 0x660C)}),
    fits=_has_two_hid,
    interface=INTERFACE,
    name="HidTEMPer",
    is_certain=False,
)
MODELS: Final = (TEMPER, ZYTEMP, DIAMEX, GOTEMP, LASCAR, TEMPERX232, HIDTEMPER)
USB_IDS: Final = frozenset().union(*(model.ids for model in MODELS))


def thermometers() -> Iterator[tuple[Model, UsbDevice]]:
    """Yield the plugged-in devices that are built like one; blocks.

    Anything else that shares an id is not even opened.
    """
    for device in usb_devices(USB_IDS):
        model = next((model for model in MODELS if model.has(device)), None)
        if model is not None:
            yield model, device
