"""Thermometers wired to this machine, in plain asyncio Python."""

from .bme280 import Bme280
from .errors import (
    BadFrameError,
    DeviceAccessError,
    DeviceNotFoundError,
    DriverError,
    Fault,
)
from .readings import QUANTITIES, Driver, Identity, Reading
from .sysfs import i2c_attachment, i2c_place, usb_attachment, usb_place
from .temper import Temper
from .workers import Lane, Workers

__all__ = [
    "QUANTITIES",
    "BadFrameError",
    "Bme280",
    "DeviceAccessError",
    "DeviceNotFoundError",
    "Driver",
    "DriverError",
    "Fault",
    "Identity",
    "Lane",
    "Reading",
    "Temper",
    "Workers",
    "i2c_attachment",
    "i2c_place",
    "usb_attachment",
    "usb_place",
]
