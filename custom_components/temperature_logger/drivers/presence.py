"""What is plugged in now, and whether the system has made its nodes yet."""

import os
from typing import Final, NamedTuple

from . import sysfs
from .sysfs import UsbDevice, i2c_adapters, i2c_port, usb_tty
from .usb.models import Family, thermometers

HID_DRIVER: Final = "usbhid"


class Plug(NamedTuple):
    """A thermometer on USB, or an I2C bus."""

    number: int
    """Another one each time that something is plugged in."""
    ready: bool
    """Whether its node is there and may be used."""


type Plugs = dict[str, Plug]
"""What is plugged in, by the name of its port."""


def plugs() -> Plugs:
    """Return what is plugged in; blocks."""
    found = {
        device.attachment: Plug(number=device.address, ready=_is_ready(family, device))
        for family, device in thermometers()
    }
    for adapter in i2c_adapters():
        found[i2c_port(adapter.key)] = Plug(
            number=adapter.number if adapter.plug is None else adapter.plug,
            ready=_is_usable(adapter.node),
        )
    return found


def _is_ready(family: Family, device: UsbDevice) -> bool:
    """Return whether the node through which a device is read may be used.

    The kernel tells of a device before it has made the node, and the system sets the
    node's permissions later still.
    """
    if family.interface is None:
        tty = usb_tty(device)
        return tty is not None and _is_usable(sysfs.DEV / tty)
    interface = device.interface(family.interface)
    if interface is not None and interface.hidraw is not None:
        return _is_usable(sysfs.DEV / interface.hidraw)
    # The HID driver is about to make a hidraw node. Any other one never does, so that
    # libusb reads the device.
    driver = interface and interface.driver
    return driver not in {None, HID_DRIVER} and _is_usable(device.usbfs)


def _is_usable(node: os.PathLike[str]) -> bool:
    """Return whether a node is there and may be used."""
    return os.access(node, os.R_OK | os.W_OK)
