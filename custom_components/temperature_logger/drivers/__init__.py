"""Drivers for thermometers on this machine, in asyncio without Home Assistant.

Modules outside of this package import the names below, or the modules in OPEN. The
module of a driver is imported for the first device that needs it.
"""

from typing import Final

from .errors import DetailedError, DriverError, Fault
from .readings import Driver, Reading
from .registry import driver_class, module_of
from .workers import Workers, within_deadline

__all__ = [
    "DetailedError",
    "Driver",
    "DriverError",
    "Fault",
    "Reading",
    "Workers",
    "driver_class",
    "module_of",
    "within_deadline",
]

OPEN: Final = ("finder", "places", "presence", "readings")
"""The modules about places, the search, connected devices, and readings."""
