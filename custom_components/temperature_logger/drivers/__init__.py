"""Thermometers wired to this machine, in plain asyncio Python without Home Assistant.

Others import the names below, and those of the modules in OPEN. The module of each
driver is imported for the first device that needs it.
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
"""Places, the search for devices at them, hot-plug, and the names of quantities."""
