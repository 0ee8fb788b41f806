"""The drivers, by the names that config entries keep."""

from collections.abc import Callable
from importlib import import_module
from typing import Final, NamedTuple

from .readings import Driver


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


def driver_class(name: str) -> Callable[..., Driver]:
    """Return the class of a driver: lane, place, facts and on_gone give a driver.

    Its module is imported if it is not yet, which reads files.
    """
    module = import_module(module_of(name))
    found: Callable[..., Driver] = getattr(module, DRIVERS[name].name)
    return found


def chip_probe() -> Callable[..., tuple[str, str]]:
    """Return what reads the id of a chip: from an adapter and an address.

    It gives the name of the chip's driver and its model, writes nothing, and blocks.
    Raises DriverError where no chip with a driver answers.
    """
    module = import_module(f"{__package__}.i2c.bosch")
    probe: Callable[..., tuple[str, str]] = module.probe
    return probe
