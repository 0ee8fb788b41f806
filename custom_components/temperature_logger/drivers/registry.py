"""The drivers, by the names that config entries store."""

from collections.abc import Callable
from importlib import import_module
from typing import Final, NamedTuple

from .readings import Driver


class DriverClass(NamedTuple):
    """The module and class of a driver, for an import when a device needs it."""

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
    """Return the class of a driver; it takes lane, place, facts and on_gone.

    Blocks if the module has to be imported.
    """
    module = import_module(module_of(name))
    driver: Callable[..., Driver] = getattr(module, DRIVERS[name].name)
    return driver


def chip_probe() -> Callable[..., tuple[str, str]]:
    """Return the function that identifies the chip at an adapter and address.

    That function returns driver name and model of the chip. It blocks, writes nothing,
    and raises DriverError if no supported chip answers.
    """
    module = import_module(f"{__package__}.i2c.bosch")
    probe: Callable[..., tuple[str, str]] = module.probe
    return probe
