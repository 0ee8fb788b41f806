"""Drivers for thermometers on this machine, in asyncio without Home Assistant.

The module of a driver is imported for the first device that needs it.
"""

from .errors import DetailedError, DriverError, Fault
from .finder import (
    CHIP_ADDRESSES,
    Candidate,
    DeviceType,
    Finder,
    Problem,
    SearchResult,
    ValueAnswer,
    device_type,
)
from .places import HOST, I2cPlace, Label, Place, UsbPlace, addresses_label
from .presence import PresentDevices, present_devices, usb_nodes
from .readings import (
    QUANTITIES,
    Driver,
    Reading,
    in_order,
    is_quantity,
    probe_quantity,
    rom_of,
    without_probes,
)
from .registry import driver_class, module_of
from .workers import Workers, within_deadline

__all__ = [
    "CHIP_ADDRESSES",
    "HOST",
    "QUANTITIES",
    "Candidate",
    "DetailedError",
    "DeviceType",
    "Driver",
    "DriverError",
    "Fault",
    "Finder",
    "I2cPlace",
    "Label",
    "Place",
    "PresentDevices",
    "Problem",
    "Reading",
    "SearchResult",
    "UsbPlace",
    "ValueAnswer",
    "Workers",
    "addresses_label",
    "device_type",
    "driver_class",
    "in_order",
    "is_quantity",
    "module_of",
    "present_devices",
    "probe_quantity",
    "rom_of",
    "usb_nodes",
    "within_deadline",
    "without_probes",
]
