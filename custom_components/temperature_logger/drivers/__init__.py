"""Thermometers wired to this machine, in plain asyncio Python without Home Assistant.

The module of each driver is imported for the first device that needs it.
"""

from .errors import DetailedError, DriverError, Fault
from .finder import ADDRESSES, Candidate, Finder, Found, Problem, Sort, Values, sort_of
from .places import HOST, I2cPlace, Label, Place, UsbPlace, addresses_label
from .presence import Plugs, plugs, usb_nodes
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
    "ADDRESSES",
    "HOST",
    "QUANTITIES",
    "Candidate",
    "DetailedError",
    "Driver",
    "DriverError",
    "Fault",
    "Finder",
    "Found",
    "I2cPlace",
    "Label",
    "Place",
    "Plugs",
    "Problem",
    "Reading",
    "Sort",
    "UsbPlace",
    "Values",
    "Workers",
    "addresses_label",
    "driver_class",
    "in_order",
    "is_quantity",
    "module_of",
    "plugs",
    "probe_quantity",
    "rom_of",
    "sort_of",
    "usb_nodes",
    "within_deadline",
    "without_probes",
]
