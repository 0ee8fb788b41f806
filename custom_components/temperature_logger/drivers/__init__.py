"""Thermometers wired to this machine, in plain asyncio Python.

Each driver has a module of its own, which is imported when one is made or looked for.
"""

from .errors import (
    BadFrameError,
    DetailedError,
    DeviceAccessError,
    DeviceNotFoundError,
    DriverError,
    Fault,
)
from .readings import (
    QUANTITIES,
    Driver,
    Identity,
    Reading,
    in_order,
    is_quantity,
    probe_quantity,
    rom_of,
    without_probes,
)
from .sysfs import (
    HOST_MODEL,
    HOST_PLACE,
    i2c_attachment,
    i2c_place,
    i2c_port,
    usb_attachment,
    usb_place,
)
from .workers import Lane, Workers, within_deadline

__all__ = [
    "HOST_MODEL",
    "HOST_PLACE",
    "QUANTITIES",
    "BadFrameError",
    "DetailedError",
    "DeviceAccessError",
    "DeviceNotFoundError",
    "Driver",
    "DriverError",
    "Fault",
    "Identity",
    "Lane",
    "Reading",
    "Workers",
    "i2c_attachment",
    "i2c_place",
    "i2c_port",
    "in_order",
    "is_quantity",
    "probe_quantity",
    "rom_of",
    "usb_attachment",
    "usb_place",
    "within_deadline",
    "without_probes",
]
