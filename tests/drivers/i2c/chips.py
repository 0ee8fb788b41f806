"""Bosch's chips on the pins of the board, and steps shared by the tests of drivers."""

from collections.abc import Callable
from dataclasses import dataclass, replace
import itertools
from typing import Any

import pytest

from custom_components.temperature_logger.drivers import Fault
from custom_components.temperature_logger.drivers.i2c import bosch
from custom_components.temperature_logger.drivers.i2c.bme280 import Bme280
from custom_components.temperature_logger.drivers.i2c.bme680 import Bme680
from custom_components.temperature_logger.drivers.i2c.bosch import BoschChip
from emulation import bme680, chips
from emulation.i2c import Bus, Message

PINS = "soc/i2c@7e804000"
ADDRESS = 0x76
# The transfers of a reading of an initialised chip; the last one only of a BME680.
TRIGGER_TRANSFER, PROOF_TRANSFER, VALUES_TRANSFER, SETTINGS_TRANSFER = range(4)
VALUES = {"temperature": 21.5, "pressure": 1013.25, "humidity": 45.0}
OTHER_VALUES = {"temperature": -7.25, "pressure": 987.6, "humidity": 80.5}
TOLERANCES = {"temperature": 0.01, "pressure": 0.05, "humidity": 0.05}


@dataclass(frozen=True, kw_only=True, slots=True)
class Model:
    """A model of chip, and the promises of its driver."""

    name: str
    driver: type[BoschChip]
    chip_id: str
    variant: int = 0
    """The registers that distinguish models with the same id."""
    probed: bosch.Chip
    """The model by the id alone."""
    quantities: tuple[str, ...]
    transfers: int
    """The transfers of a reading."""
    first_transfers: int
    """The transfers of the first reading, which initialises the chip."""
    settings: int
    """The registers that the driver sets before the first conversion."""
    all_ff: Fault
    """The model where the wire reads as ones."""
    calibrations: tuple[chips.Calibration, ...]

    def on_pins(self, **bus: Any) -> dict[str, Any]:  # noqa: ANN401 - as in a machine spec
        """Return the spec of the board's bus with one chip."""
        identity = {"chip_id": self.chip_id, "variant": self.variant}
        chip = {"name": "chip", "address": hex(ADDRESS), **identity, **VALUES}
        return {"bus": 1, "of_node": PINS, "chips": [chip], **bus}


BME280 = Model(
    name="BME280",
    driver=Bme280,
    chip_id="0x60",
    probed=bosch.Chip(driver="bme280", model="BME280"),
    quantities=("temperature", "humidity", "pressure"),
    transfers=3,
    first_transfers=10,
    settings=3,
    all_ff=Fault.BAD_REGISTERS,
    calibrations=chips.CALIBRATIONS,
)
BMP280 = replace(
    BME280,
    name="BMP280",
    chip_id="0x58",
    probed=bosch.Chip(driver="bme280", model="BMP280"),
    quantities=("temperature", "pressure"),
    first_transfers=8,
    settings=2,
)
BME680 = Model(
    name="BME680",
    driver=Bme680,
    chip_id="0x61",
    probed=bosch.Chip(driver="bme680", model="BME680 / BME688"),
    quantities=("temperature", "humidity", "pressure"),
    transfers=4,
    first_transfers=14,
    settings=5,
    all_ff=Fault.CONVERSION_LOST,
    calibrations=bme680.CALIBRATIONS,
)
MODELS = (BME280, BMP280, BME680)
# It differs from a BME680 only in its name.
BME688 = replace(BME680, name="BME688", variant=1)


async def assert_reads(driver: BoschChip, values: dict[str, float]) -> None:
    """Read once, and compare with the chip's values, to the promised accuracy."""
    reading = await driver.read()
    for quantity, value in values.items():
        near = pytest.approx(value, abs=TOLERANCES[quantity])
        expected = near if quantity in driver.quantities else None
        assert getattr(reading, quantity) == expected


async def assert_reads_without(driver: BoschChip, quantity: str) -> None:
    """Read once; one quantity is invalid, and the others are those of a room."""
    reading = await driver.read()
    assert reading.faults.keys() == {quantity}
    assert reading.faults[quantity].fault is Fault.BAD_REGISTERS
    assert reading.values.keys() == {*driver.quantities} - {quantity}
    for name, value in reading.values.items():
        assert value == pytest.approx(VALUES[name], abs=TOLERANCES[name])


def before_transfer(bus: Bus, number: int, action: Callable[[], object]) -> None:
    """Call a function before the transfer with this number, counted from now on."""
    strike, numbers = bus.strike, itertools.count()

    def counted(kind: str) -> Any:  # noqa: ANN401 - as the method that it covers
        if next(numbers) == number:
            action()
        return strike(kind)

    vars(bus)["strike"] = counted


def written(bus: Bus) -> list[Message]:
    """Return the messages that did more than name a register."""
    return [message for message in bus.log if not message.read and message.data[1:]]


def codes_of(chip: chips.Chip) -> list[int]:
    """Return the codes of temperature, pressure and humidity of a room."""
    return list(chips.codes(chip.calibration, (0, 0), **VALUES))


def publish(monkeypatch: pytest.MonkeyPatch, codes: list[int]) -> None:
    """Let every conversion end in the codes that the dictionary then has."""
    monkeypatch.setattr(chips, "codes", lambda *_: codes)
