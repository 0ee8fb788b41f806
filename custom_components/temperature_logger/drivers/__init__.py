"""Drivers for thermometers on this machine, in asyncio without Home Assistant.

Modules outside of this package import the names below: those in __all__ from here, and
those in OPEN from their modules. The module of a driver is imported for the first
device that needs it.
"""

from typing import Final

from .errors import DetailedError, DriverError, Fault, Invalid
from .places import HOST, I2cPlace, Label, Place, UsbPlace, addresses_label
from .readings import (
    Driver,
    Reading,
    Value,
    in_order,
    is_quantity,
    probe_quantity,
    rom_of,
)
from .registry import driver_class, module_of
from .workers import Workers, within_deadline

__all__ = [
    "HOST",
    "DetailedError",
    "Driver",
    "DriverError",
    "Fault",
    "I2cPlace",
    "Invalid",
    "Label",
    "Place",
    "Reading",
    "UsbPlace",
    "Value",
    "Workers",
    "addresses_label",
    "driver_class",
    "in_order",
    "is_quantity",
    "module_of",
    "probe_quantity",
    "rom_of",
    "within_deadline",
]

OPEN: Final = {
    "finder": (
        "CHIP_ADDRESSES",
        "Candidate",
        "Finder",
        "Problem",
        "SearchResult",
        "device_type",
    ),
    "presence": ("PresentDevices", "node_folder", "present_devices", "usb_nodes"),
}
"""The modules that only the discovery needs, with the names for it: they read sysfs."""
