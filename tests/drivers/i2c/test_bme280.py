"""The behaviour of a BME280 alone; test_bosch.py tests what all chips share."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
import pytest

from custom_components.temperature_logger.drivers import Fault, Reading
from custom_components.temperature_logger.drivers.errors import BadFrameError
from custom_components.temperature_logger.drivers.i2c import bme280, bosch
from custom_components.temperature_logger.drivers.i2c.blinka import import_bme280
from custom_components.temperature_logger.drivers.i2c.bosch import BoschChip
from emulation.chips import CALIBRATIONS, Calibration, Chip
from tests.drivers import frames

from .chips import BME280, OTHER_VALUES, Model, assert_reads

HUMIDITY_CODE = 6
"""The first byte of its code in the data of a conversion."""

# The registers of two chips, as their owners read them: both blocks of coefficients,
# and the data of a conversion with its values.
OWNED_CHIPS = (
    (
        "1d 6e ad 66 32 00 1b 8f 38 d6 d0 0b 54 2b 0f ff f9 ff 0c 30 20 d1 88 13 00 4b",
        "52 01 00 17 2c 03 1e",
        "45 59 40 82 f3 00 89 6d",
        {"temperature": 26.7459, "pressure": 1003.9148, "humidity": 56.09},
    ),
    (
        "32 70 d0 68 32 00 3a 8e 1b d6 d0 0b 15 24 64 ff f9 ff 0c 30 20 d1 88 13 00 4b",
        "4c 01 00 19 20 03 1e",
        "4e ba c0 7f e3 00 8e 1a",
        {"temperature": 20.56, "pressure": 984.56, "humidity": 54.42},
    ),
)


def reading_of(first: str, second: str, data: bytes) -> Reading:
    """Return the driver's reading of the registers of a BME280."""
    burst = bytes.fromhex("0024a000") + data
    answer = bytes.fromhex(first), bytes.fromhex(second), burst
    return frames.bme280(0x60, "BME280").collect(answer)


@pytest.mark.parametrize(("first", "second", "data", "values"), OWNED_CHIPS)
def test_chips_of_owners(
    first: str, second: str, data: str, values: dict[str, float]
) -> None:
    """The registers of real chips give the values of their rooms."""
    reading = reading_of(first, second, bytes.fromhex(data))
    assert reading.values == pytest.approx(values, abs=0.01)


@pytest.mark.parametrize(
    ("code", "value"),
    [(0x0100, "-130.78 %"), (0xF000, "190.15 %")],
    ids=lambda value: f"{value:#06x}" if isinstance(value, int) else value,
)
def test_humidity_of_a_dead_sensor(code: int, value: str) -> None:
    """An impossible humidity is invalid, not 0 or 100 %."""
    first, second, data, values = OWNED_CHIPS[0]
    dead = bytes.fromhex(data)[:HUMIDITY_CODE] + code.to_bytes(2)
    reading = reading_of(first, second, dead)
    assert reading.faults.keys() == {"humidity"}
    fault, details = reading.faults["humidity"]
    assert fault is Fault.OUT_OF_RANGE
    assert details["value"] == value
    assert reading.temperature == pytest.approx(values["temperature"], abs=0.01)
    assert reading.pressure == pytest.approx(values["pressure"], abs=0.01)


def adafruits(trimming: bytes, codes: bosch.Codes) -> Any:  # noqa: ANN401 - the library has no types
    """Return Adafruit's library on a chip that never changes."""
    image = bme280.RegisterImage(trimming)
    image.set_code(bme280.BME280_PRESSURE, codes.pressure)
    image.set_code(bme280.BME280_TEMPERATURE, codes.temperature)
    # The humidity has 16 bits at the beginning of three bytes.
    image.set_code(0xFD, (codes.humidity or 0) << 4)
    library = import_bme280()
    sensor = library.bme280(image)
    sensor.mode = library.normal_mode
    return sensor


@settings(max_examples=50)
@given(
    calibration=st.sampled_from(CALIBRATIONS),
    codes=st.builds(
        bosch.Codes,
        pressure=st.integers(0x20000, 0x7FFFF),
        temperature=st.integers(0x50000, 0x9FFFF),
        humidity=st.integers(0x1000, 0xEFFF),
    ),
)
def test_adafruits_library_agrees(calibration: Calibration, codes: bosch.Codes) -> None:
    """The humidity is that of Adafruit's library, but for its limits."""
    trimming = b"".join(calibration.registers)
    compensation = bme280.Bme280Compensation(trimming)
    temperature = compensation.temperature(codes.temperature)
    assert codes.humidity is not None
    humidity = compensation.humidity(codes.humidity, temperature)
    library = adafruits(trimming, codes)
    limited = min(100, max(0, humidity))
    assert library.humidity == pytest.approx(limited, abs=1e-6)
    assert library.temperature == temperature
    assert library.pressure == compensation.pressure(codes.pressure, temperature)


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
