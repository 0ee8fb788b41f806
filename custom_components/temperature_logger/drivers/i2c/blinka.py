"""The one place where Adafruit's libraries are imported.

adafruit_bme280 imports digitalio, which loads the pin module of the board that it
runs on. That needs gpiod on every Raspberry Pi and fails on other boards even with
it, for pins that nobody uses here. Told that it runs on no board in particular, it
loads none. Nothing ever imports board, which may ask on standard input or run pip.
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

NO_BOARD: Final = {
    "BLINKA_FORCEBOARD": "OS_AGNOSTIC_BOARD",
    "BLINKA_FORCECHIP": "OS_AGNOSTIC",
}
_ONE_AT_A_TIME: Final = Lock()


class Bme280Library(NamedTuple):
    """What is used of adafruit_bme280."""

    bme280: type[Adafruit_BME280]
    normal_mode: int


def import_bus() -> type[I2C]:
    """Import Blinka's bus; in a worker, as the first time reads many files."""
    with _ONE_AT_A_TIME, _no_board():
        from adafruit_blinka.microcontroller.generic_linux import i2c

    bus: type[I2C] = i2c.I2C
    return bus


def import_bme280() -> Bme280Library:
    """Import the library for a BME280, and only for that; in a worker, too."""
    with _ONE_AT_A_TIME, _no_board():
        from adafruit_bme280 import basic

    return Bme280Library(bme280=basic.Adafruit_BME280, normal_mode=basic.MODE_NORMAL)


@contextmanager
def _no_board() -> Iterator[None]:
    """Tell Blinka for a while that it runs on no board; nothing if it knows already."""
    if "digitalio" in sys.modules:
        yield
        return
    before = {name: os.environ.get(name) for name in NO_BOARD}
    os.environ.update(NO_BOARD)
    try:
        yield
    finally:
        for name, value in before.items():
            _restore(name, value)


def _restore(name: str, value: str | None) -> None:
    """Put a variable of the environment back."""
    if value is None:
        os.environ.pop(name, None)
    else:
        os.environ[name] = value
