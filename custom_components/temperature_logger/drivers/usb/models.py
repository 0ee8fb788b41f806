"""The USB devices that are thermometers, and how to recognise them.

Foot pedals, bare serial chips and self-built devices have the same vendor and product
ids. So a device also has to have the interfaces and names of its model, as the kernel
lists them.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

from .. import sysfs
from ..errors import DeviceAccessError, DeviceNotFoundError, Fault
from ..places import UsbPlace
from ..sysfs import Ids, UsbDevice, usb_device, usb_devices
from .descriptors import TEMPER_REPORT_BYTES, report_sizes

# Interface and endpoint of the reports, on sticks with two HID interfaces.
DATA_INTERFACE: Final = 1
DATA_ENDPOINT: Final = 0x82
HID_CLASS: Final = 0x03
VENDOR_CLASS: Final = 0xFF
# The driver of an interface that a program has claimed through libusb.
USBFS_DRIVER: Final = "usbfs"


class Model(NamedTuple):
    """One model of device, read by one driver."""

    driver: str
    """The name of its driver."""
    ids: Ids
    fits: Callable[[UsbDevice], bool]
    """Whether a device with one of the ids has the structure of this model."""
    interface: int | None = None
    """The interface whose hidraw node the driver reads; None if it reads no node."""
    name: str | None = None
    """The name for the user; None if only the firmware tells the model."""
    manufacturer: str = ""
    is_certain: bool = True
    """Whether ids and names identify the model; if not, the user has to confirm it."""

    def has(self, device: UsbDevice) -> bool:
        """Return whether a device has the ids and the structure of this model."""
        return (device.vendor_id, device.product_id) in self.ids and self.fits(device)

    def find(self, place: UsbPlace) -> UsbDevice:
        """Return the device of this model at a place; blocks.

        Raises DeviceNotFoundError if the place is empty or has another device.
        """
        device = usb_device(place, self.ids)
        if not self.has(device):
            raise DeviceNotFoundError(Fault.STICK_NOT_FOUND)
        return device

    def node(self, device: UsbDevice) -> Path:
        """Return the path of the hidraw node; raise DeviceAccessError without one."""
        interface = None if self.interface is None else device.interface(self.interface)
        if interface is None or interface.hidraw is None:
            raise DeviceAccessError(Fault.NO_NODE, node=str(sysfs.DEV / "hidraw*"))
        return sysfs.DEV / interface.hidraw


def _is_temper(device: UsbDevice) -> bool:
    """Return whether a device has two HID interfaces, the second one for data.

    The data interface has input and output reports of 8 bytes. Without the HID driver
    the kernel does not know the reports; the device then passes as well.
    """
    data = device.interface(DATA_INTERFACE)
    return (
        data is not None
        and _has_two_hid(device)
        and (
            not data.report_descriptor
            or report_sizes(data.report_descriptor)
            == (TEMPER_REPORT_BYTES, TEMPER_REPORT_BYTES)
        )
    )


def _has_two_hid(device: UsbDevice) -> bool:
    """Return whether a device has two HID interfaces and nothing else."""
    return [i.usb_class for i in device.interfaces] == 2 * [HID_CLASS]


def _is_hid(device: UsbDevice) -> bool:
    """Return whether the first interface of a device is a HID interface."""
    return _class_of(device) == HID_CLASS


def _class_of(device: UsbDevice) -> int | None:
    """Return the class of a device's first interface; None if it is not configured."""
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
    interface=DATA_INTERFACE,
)
# Many products with the same controller chip have this id.
ZYTEMP: Final = Model(
    driver="zytemp",
    ids=frozenset({(0x04D9, 0xA052)}),
    fits=lambda device: _is_hid(device) and device.product == "USB-zyTemp",
    interface=0,
    name="CO2 monitor",
    manufacturer="ZyAura",
)
# Every device that is built with a Teensy board has this id.
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
# Every serial adapter with a CH341 chip has this id.
TEMPERX232: Final = Model(
    driver="temperx232",
    ids=frozenset({(0x1A86, 0x5523)}),
    fits=lambda device: _class_of(device) == VENDOR_CLASS,
    name="TEMPerX232 on a serial adapter",
    is_certain=False,
)
# These sticks have no command for the firmware, and their other commands may be more
# than queries to a different device.
HIDTEMPER: Final = Model(
    driver="hidtemper",
    ids=frozenset({(0x1130, 0x660C)}),
    fits=_has_two_hid,
    interface=DATA_INTERFACE,
    name="HidTEMPer",
    is_certain=False,
)
USB_MODELS: Final = (TEMPER, ZYTEMP, DIAMEX, GOTEMP, LASCAR, TEMPERX232, HIDTEMPER)
USB_IDS: Final = frozenset().union(*(model.ids for model in USB_MODELS))


def thermometers() -> Iterator[tuple[Model, UsbDevice]]:
    """Yield the connected devices that match a model; blocks.

    Other devices with the same id are never opened.
    """
    for device in usb_devices(USB_IDS):
        model = next((model for model in USB_MODELS if model.has(device)), None)
        if model is not None:
            yield model, device
