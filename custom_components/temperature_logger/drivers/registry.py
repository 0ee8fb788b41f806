"""The drivers, by the names that config entries keep."""

from typing import Final

MODULES: Final = {
    "bme280": "i2c.bme280",
    "bme680": "i2c.bme680",
    "bosch": "i2c.bosch",
    "diamex": "usb.diamex",
    "gotemp": "usb.gotemp",
    "host": "host",
    "hidtemper": "usb.hidtemper",
    "lascar": "usb.lascar",
    "temper": "usb.temper",
    "temperx232": "usb.temperx232",
    "zytemp": "usb.zytemp",
}
"""Where the module of each driver is; it is imported for the first such device."""


def module_of(name: str) -> str:
    """Return the full name of a driver's module."""
    return f"{__package__}.{MODULES[name]}"
