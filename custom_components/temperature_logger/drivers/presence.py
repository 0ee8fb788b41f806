"""The devices that are connected now, and whether their nodes are ready."""

import os
from pathlib import Path
from typing import Final, NamedTuple

from . import sysfs
from .places import bus_key
from .sysfs import UsbDevice, i2c_adapters, usb_tty
from .usb.models import USBFS_DRIVER, Model, thermometers

HID_DRIVER: Final = "usbhid"


class PresentDevice(NamedTuple):
    """A connected thermometer on USB, or an I2C bus."""

    number: int
    """A number that changes each time the device is plugged in."""
    ready: bool
    """Whether its node exists and may be used."""
    claimed: bool = False
    """Whether a program has taken it from the kernel, to read it through libusb."""


type PresentDevices = dict[str, PresentDevice]
"""The connected devices, by hot-plug key."""


def usb_nodes() -> Path:
    """Return the folder in which the kernel makes a node for each USB device."""
    return sysfs.DEV / "bus/usb"


def node_folder() -> Path:
    """Return the folder of the hidraw nodes, I2C buses and serial ports."""
    return sysfs.DEV


def present_devices() -> PresentDevices:
    """Return the connected devices; blocks."""
    devices = {
        device.place.hotplug_key: PresentDevice(
            device.address,
            ready=_is_ready(model, device),
            claimed=any(i.driver == USBFS_DRIVER for i in device.interfaces),
        )
        for model, device in thermometers()
    }
    for adapter in i2c_adapters():
        devices[bus_key(adapter.key)] = PresentDevice(
            number=adapter.number
            if adapter.device_number is None
            else adapter.device_number,
            ready=_is_usable(adapter.node),
        )
    return devices


def _is_ready(model: Model, device: UsbDevice) -> bool:
    """Return whether the node of a device exists and may be used.

    The kernel lists a device before it makes the node, and the system sets the
    permissions of the node even later.
    """
    if model.interface is None:
        tty = usb_tty(device)
        return tty is not None and _is_usable(sysfs.DEV / tty)
    interface = device.interface(model.interface)
    if interface is not None and interface.hidraw is not None:
        return _is_usable(sysfs.DEV / interface.hidraw)
    # The HID driver will make a hidraw node. With any other driver there will be none,
    # and libusb reads the device.
    driver = interface and interface.driver
    return driver not in {None, HID_DRIVER} and _is_usable(device.usbfs)


def _is_usable(node: os.PathLike[str]) -> bool:
    """Return whether a node exists and may be used."""
    return os.access(node, os.R_OK | os.W_OK)
