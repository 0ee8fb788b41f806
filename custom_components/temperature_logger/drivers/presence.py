"""What is plugged in now, and whether the system has made its nodes yet."""

import os
from pathlib import Path
from typing import Final, NamedTuple

from . import sysfs
from .places import bus_key
from .sysfs import UsbDevice, i2c_adapters, usb_tty
from .usb.models import Model, thermometers

HID_DRIVER: Final = "usbhid"


class Plug(NamedTuple):
    """A thermometer on USB, or an I2C bus."""

    number: int
    """Another one each time that something is plugged in."""
    ready: bool
    """Whether its node is there and may be used."""


type Plugs = dict[str, Plug]
"""What is plugged in, by the name of its port."""


def usb_nodes() -> Path:
    """Return the folder in which the kernel makes a node for each USB device."""
    return sysfs.DEV / "bus/usb"


def plugs() -> Plugs:
    """Return what is plugged in; blocks."""
    found = {
        device.place.hotplug_key: Plug(device.address, ready=_is_ready(model, device))
        for model, device in thermometers()
    }
    for adapter in i2c_adapters():
        found[bus_key(adapter.key)] = Plug(
            number=adapter.number if adapter.plug is None else adapter.plug,
            ready=_is_usable(adapter.node),
        )
    return found


def _is_ready(model: Model, device: UsbDevice) -> bool:
    """Return whether the node through which a device is read may be used.

    The kernel tells of a device before it has made the node, and the system sets the
    node's permissions later still.
    """
    if model.interface is None:
        tty = usb_tty(device)
        return tty is not None and _is_usable(sysfs.DEV / tty)
    interface = device.interface(model.interface)
    if interface is not None and interface.hidraw is not None:
        return _is_usable(sysfs.DEV / interface.hidraw)
    # The HID driver is about to make a hidraw node. Any other one never does, so that
    # libusb reads the device.
    driver = interface and interface.driver
    return driver not in {None, HID_DRIVER} and _is_usable(device.usbfs)


def _is_usable(node: os.PathLike[str]) -> bool:
    """Return whether a node is there and may be used."""
    return os.access(node, os.R_OK | os.W_OK)
