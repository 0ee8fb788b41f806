"""The drivers as synchronous callables, for measurements over a modelled bus.

A measurement puts a model of the device below Adafruit_PureIO or below pyusb, with a
virtual clock that time.sleep() advances, and calls one of these functions. It gets a
callable that does one reading with the unmodified driver.
"""

import asyncio
from collections.abc import Callable
import errno
from pathlib import Path
import tempfile
import time
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import usb.core

from custom_components.temperature_logger.drivers import Driver, Reading, Workers, sysfs
from custom_components.temperature_logger.drivers.i2c import bosch
from custom_components.temperature_logger.drivers.i2c.bme280 import Bme280
from custom_components.temperature_logger.drivers.places import I2cPlace, UsbPlace
from custom_components.temperature_logger.drivers.usb.temper import Temper
from custom_components.temperature_logger.drivers.workers import Lane
from emulation.tree import uevent, write

type Reader = Callable[[], tuple[float | None, ...]]

CONTROLLER = "platform/modelled"


def bme280(bus: int, address: int) -> Reader:
    """Return a callable that does one reading: °C, hPa, %."""
    root = _root()
    adapter = root / f"sys/devices/{CONTROLLER}/i2c-{bus}"
    write(adapter, name="modelled bus")
    _link(root / f"sys/bus/i2c/devices/i2c-{bus}", adapter)
    write(root / "dev", **{f"i2c-{bus}": ""})
    driver = Bme280(_lane(), I2cPlace(f"{CONTROLLER}/modelled bus", address), {})
    return _reader(driver, ("temperature", "pressure", "humidity"))


def temper() -> Reader:
    """Return a callable that does one reading: °C, and the stick's other quantities."""
    root = _root()
    device: Any = usb.core.find()  # pyusb sets the attributes of a device by name.
    if device is None:
        raise FileNotFoundError(errno.ENOENT, "No modelled stick is plugged in")
    path = root / f"sys/devices/{CONTROLLER}/usb1/1-1"
    event = uevent(
        PRODUCT=f"{device.idVendor:x}/{device.idProduct:x}/0",
        BUSNUM=f"{device.bus:03}",
        DEVNUM=f"{device.address:03}",
    )
    write(path, product=device.product or "", uevent=event)
    for number in range(2):
        interface = path / f"1-1:1.{number}"
        write(interface, uevent=uevent(INTERFACE="3/0/0"))
        _link(interface / "driver", root / "sys/bus/usb/drivers/modelled")
    _link(root / "sys/bus/usb/devices/1-1", path)
    write(root / f"dev/bus/usb/{device.bus:03}", **{f"{device.address:03}": ""})
    driver = Temper(_lane(), UsbPlace(CONTROLLER, "1"), {})
    _read(driver)  # An open stick has its quantities.
    temperature_first = sorted(driver.quantities, key=lambda q: "humidity" in q)
    return _reader(driver, tuple(temperature_first))


def _lane() -> Lane:
    """Return a lane of workers whose threads stay, as those of a loaded device do."""
    workers = Workers()
    workers.add_user()
    return Lane(workers)


def _root() -> Path:
    """Return an empty machine, which the drivers use from now on."""
    root = Path(tempfile.mkdtemp(prefix="modelled-"))
    (root / "sys/bus/usb/drivers/modelled").mkdir(parents=True)
    vars(sysfs).update(SYS=root / "sys", DEV=root / "dev")
    return root


def _link(path: Path, target: Path) -> None:
    """Make a link and the folder it is in."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(target)


def _reader(driver: Driver, quantities: tuple[str, ...]) -> Reader:
    """Return a callable that reads some quantities."""

    def read() -> tuple[float | None, ...]:
        reading = _read(driver)
        return tuple(reading.value(quantity) for quantity in quantities)

    return read


def _read(driver: Driver) -> Reading:
    """Do one reading on the virtual clock."""

    async def sleep(seconds: float) -> None:
        time.sleep(seconds)  # noqa: ASYNC251 - it advances the virtual clock.

    with (
        patch.object(asyncio, "sleep", sleep),
        patch.object(bosch, "time", SimpleNamespace(monotonic=_monotonic)),
    ):
        return asyncio.run(driver.read())


def _monotonic() -> float:
    """Return the virtual time of the model below Adafruit_PureIO."""
    from Adafruit_PureIO import smbus  # noqa: PLC0415 - the model is put in later.

    milliseconds: float = smbus.SMBus.model.now_ms
    return milliseconds / 1000
