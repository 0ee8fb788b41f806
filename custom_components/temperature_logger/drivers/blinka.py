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


class Blinka(NamedTuple):
    """What is used of the libraries."""

    bme280: type[Adafruit_BME280]
    bus: type[I2C]
    normal_mode: int


def import_blinka() -> Blinka:
    """Import the libraries; in a worker, as the first time reads many files."""
    with _ONE_AT_A_TIME, _no_board():
        from adafruit_blinka.microcontroller.generic_linux.i2c import I2C
        from adafruit_bme280 import basic

    return Blinka(bme280=basic.Adafruit_BME280, bus=I2C, normal_mode=basic.MODE_NORMAL)


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
