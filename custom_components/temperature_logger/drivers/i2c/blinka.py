"""The only imports of Adafruit's libraries.

adafruit_bme280 imports digitalio, which loads the pins of the board it runs on. That
needs gpiod on every Raspberry Pi, and fails on other boards even with gpiod. This
integration uses no pins, so environment variables tell Blinka that it runs on no known
board. Then it loads none. The package board is never imported: it may prompt on
standard input or run pip.
"""

from collections.abc import Iterator
from contextlib import contextmanager
import os
import sys
from threading import Lock
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from adafruit_blinka.microcontroller.generic_linux.i2c import I2C
    from adafruit_bme280.basic import Adafruit_BME280

NO_BOARD_ENVIRONMENT: Final = {
    "BLINKA_FORCEBOARD": "OS_AGNOSTIC_BOARD",
    "BLINKA_FORCECHIP": "OS_AGNOSTIC",
}
_IMPORT_LOCK: Final = Lock()


class Bme280Library(NamedTuple):
    """The parts of adafruit_bme280 that the driver uses."""

    bme280: type[Adafruit_BME280]
    normal_mode: int


def import_bus() -> type[I2C]:
    """Import Blinka's I2C bus; blocks, as the first import reads many files."""
    with _IMPORT_LOCK, no_board():
        from adafruit_blinka.microcontroller.generic_linux import i2c

    bus: type[I2C] = i2c.I2C
    return bus


def import_bme280() -> Bme280Library:
    """Import the library for a BME280; blocks, as the first import reads many files."""
    with _IMPORT_LOCK, no_board():
        from adafruit_bme280 import basic

    return Bme280Library(bme280=basic.Adafruit_BME280, normal_mode=basic.MODE_NORMAL)


@contextmanager
def no_board() -> Iterator[None]:
    """Tell Blinka that it runs on no board, unless it has loaded its pins already."""
    if "digitalio" in sys.modules:
        yield
        return
    before = {name: os.environ.get(name) for name in NO_BOARD_ENVIRONMENT}
    os.environ.update(NO_BOARD_ENVIRONMENT)
    try:
        yield
    finally:
        for name, value in before.items():
            _restore(name, value)


def _restore(name: str, value: str | None) -> None:
    """Set an environment variable to its previous value, or delete it."""
    if value is None:
        os.environ.pop(name, None)
    else:
        os.environ[name] = value
