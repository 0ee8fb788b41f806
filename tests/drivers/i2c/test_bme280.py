"""The behaviour of a BME280 alone; test_bosch.py tests what all chips share."""

import pytest

from custom_components.temperature_logger.drivers import Fault
from custom_components.temperature_logger.drivers.errors import BadFrameError
from custom_components.temperature_logger.drivers.i2c import bme280
from custom_components.temperature_logger.drivers.i2c.bosch import BoschChip
from emulation.chips import CALIBRATIONS, Chip

from .chips import BME280, OTHER_VALUES, Model, assert_reads


@pytest.fixture(name="model")
def model_fixture() -> Model:
    """Return the model of the chip."""
    return BME280


async def test_raw_registers(chip: Chip, driver: BoschChip) -> None:
    """The registers of the last reading are kept, even of a refused one."""
    trimming = b"".join(CALIBRATIONS[0].registers)
    assert bytes.fromhex(driver.raw["trimming"]) == trimming
    assert driver.raw["burst"].startswith("00 24 a0 00 ")
    chip.fail("nodata")
    with pytest.raises(BadFrameError, match=Fault.BAD_REGISTERS):
        await driver.read()
    assert driver.raw["burst"] == "00 24 a0 00 80 00 00 80 00 00 80 00"


async def test_stuck_conversion(chip: Chip, driver: BoschChip) -> None:
    """A conversion that never ends is ended by the next one."""
    chip.fail("stuck", count=1)
    with pytest.raises(BadFrameError, match=Fault.CONVERSION_UNFINISHED):
        await driver.read()
    chip.values |= OTHER_VALUES
    await assert_reads(driver, OTHER_VALUES)


async def test_humidity_switched_off(chip: Chip, driver: BoschChip) -> None:
    """A chip without its setting for humidity is configured again."""
    chip.values |= OTHER_VALUES
    chip.write(bytes((bme280.BME280_CTRL_HUM, 0)))
    await assert_reads(driver, OTHER_VALUES)
