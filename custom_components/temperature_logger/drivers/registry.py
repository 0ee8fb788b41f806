"""The drivers, by the names that config entries store."""

from collections.abc import Callable
from importlib import import_module
from typing import Any, Final

# Module and class of each driver, for an import when a device needs it.
DRIVERS: Final = {
    "bme280": ("i2c.bme280", "Bme280"),
    "bme680": ("i2c.bme680", "Bme680"),
    "diamex": ("usb.diamex", "DiamexStream"),
    "gotemp": ("usb.gotemp", "GoTempStream"),
    "hidtemper": ("usb.hidtemper", "HidTemper"),
    "host": ("host", "Host"),
    "lascar": ("usb.lascar", "LascarStream"),
    "temper": ("usb.temper", "Temper"),
    "temperx232": ("usb.temperx232", "TemperX232"),
    "zytemp": ("usb.zytemp", "ZyTempStream"),
}


def module_of(name: str) -> str:
    """Return the full name of a driver's module."""
    module, _ = DRIVERS[name]
    return f"{__package__}.{module}"


def driver_class(name: str) -> Callable[..., Any]:
    """Return the class of a driver, which takes lane, place, facts and on_gone.

    Blocks if the module has to be imported.
    """
    _, class_name = DRIVERS[name]
    module = import_module(module_of(name))
    driver: Callable[..., Any] = getattr(module, class_name)
    return driver


def chip_probe() -> Callable[..., tuple[str, str]]:
    """Return the function that identifies the chip at an adapter and address.

    That function returns driver name and model of the chip. It blocks, writes nothing,
    and raises DriverError if no supported chip answers.
    """
    module = import_module(f"{__package__}.i2c.bosch")
    probe: Callable[..., tuple[str, str]] = module.probe
    return probe
