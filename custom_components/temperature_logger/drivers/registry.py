"""The drivers, by the names that config entries keep."""

from collections.abc import Callable
from importlib import import_module
from typing import Final, NamedTuple

from .places import Place
from .readings import Driver, Facts
from .sysfs import I2cAdapter
from .workers import Workers


class DriverClass(NamedTuple):
    """Where a driver is: it is imported for the first device that needs it."""

    module: str
    name: str


DRIVERS: Final = {
    "bme280": DriverClass("i2c.bme280", "Bme280"),
    "bme680": DriverClass("i2c.bme680", "Bme680"),
    "diamex": DriverClass("usb.diamex", "DiamexStream"),
    "gotemp": DriverClass("usb.gotemp", "GoTempStream"),
    "hidtemper": DriverClass("usb.hidtemper", "HidTemper"),
    "host": DriverClass("host", "Host"),
    "lascar": DriverClass("usb.lascar", "LascarStream"),
    "temper": DriverClass("usb.temper", "Temper"),
    "temperx232": DriverClass("usb.temperx232", "TemperX232"),
    "zytemp": DriverClass("usb.zytemp", "ZyTempStream"),
}


def module_of(name: str) -> str:
    """Return the full name of a driver's module."""
    return f"{__package__}.{DRIVERS[name].module}"


def make_driver(
    name: str,
    workers: Workers,
    place: Place,
    facts: Facts,
    on_gone: Callable[[], None] = lambda: None,
) -> Driver:
    """Return the driver of the device at a place; nothing is opened yet.

    Its module is imported if it is not yet, which reads files. on_gone is called when
    the device is unplugged between two readings.
    """
    module = import_module(module_of(name))
    lane = workers.lane(place.id)
    driver: Driver = getattr(module, DRIVERS[name].name)(lane, place, facts, on_gone)
    return driver


def probe_chip(bus: I2cAdapter, address: int) -> tuple[str, str]:
    """Read the id of the chip at an address; return its driver's name and its model.

    Nothing is written. Raises DriverError where no chip with a driver answers. Blocks.
    """
    module = import_module(f"{__package__}.i2c.bosch")
    chip: tuple[str, str] = module.probe(bus, address)
    return chip
