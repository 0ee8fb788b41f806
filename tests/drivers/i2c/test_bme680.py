"""The behaviour of a BME680 alone; test_bosch.py tests what all chips share."""

from importlib import import_module
from typing import Any, override

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.strategies import DataObject, data
import pytest

from custom_components.temperature_logger.drivers import DriverError, Fault
from custom_components.temperature_logger.drivers.errors import (
    BadFrameError,
    DeviceNotFoundError,
)
from custom_components.temperature_logger.drivers.i2c import blinka, bme680, bosch
from custom_components.temperature_logger.drivers.i2c.bme680 import (
    Bme680Sensor,
    Trimming,
)
from custom_components.temperature_logger.drivers.i2c.bosch import BoschChip
from custom_components.temperature_logger.drivers.i2c.bus import (
    PowerLostError,
    Registers,
)
from custom_components.temperature_logger.drivers.values import HUMIDITY_RANGE_PERCENT
from emulation.bme680 import CALIBRATIONS, Calibration680
from emulation.bme680 import Bme680 as EmulatedBme680
from emulation.chips import Chip, codes
from emulation.i2c import Bus

from .chips import ADDRESS, BME680, OTHER_VALUES, VALUES, Model, assert_reads, written


@pytest.fixture(name="model")
def model_fixture() -> Model:
    """Return the model of the chip."""
    return BME680


@pytest.fixture(name="chip")
def chip_fixture(chip: Chip) -> EmulatedBme680:
    """Return the chip."""
    assert isinstance(chip, EmulatedBme680)
    return chip


# The values


def test_values_of_a_real_chip() -> None:
    """The values of a real chip agree with the tests of pimoroni/bme680-python."""
    trimming = Trimming(
        t1=26041,
        t2=26469,
        t3=3,
        p=(36673, -10515, 88, 7310, -129, 30, 46, -3177, -2379, 30),
        h=(676, 1029, 0, 45, 20, 120, -100),
    )
    temperature = trimming.temperature(501240)
    assert temperature == pytest.approx(26.69, abs=0.01)
    # These were computed in integers.
    assert trimming.pressure(353485, temperature) == pytest.approx(987.12, abs=0.1)
    assert trimming.humidity(19019, temperature) == pytest.approx(42.402, abs=0.02)


def image_of(
    calibration: Calibration680, data: bytes = b"", *, variant: int = 0
) -> bytearray:
    """Return the registers of a chip after one of the driver's conversions."""
    image = bytearray(256)
    first, second = calibration.registers
    image[0x8A : 0x8A + len(first)] = first
    image[0xE1 : 0xE1 + len(second)] = second
    image[0xD0], image[0xF0] = 0x61, variant
    image[0x1D] = bme680.BME680_NEW_DATA
    image[0x1F : 0x1F + len(data)] = data
    image[0x70:0x76] = bme680.BME680_SETTINGS_VALUE
    image[0x74] = bosch.SLEEP_MODE_X1
    return image


def data_of(temperature: int, pressure: int, humidity: int) -> bytes:
    """Return the registers of three codes."""
    words = (pressure << 4).to_bytes(3), (temperature << 4).to_bytes(3)
    return b"".join(words) + humidity.to_bytes(2)


class ImageBus:
    """The bus of Adafruit's library, with one chip that never changes."""

    def __init__(self, image: bytearray) -> None:
        """Take the chip's registers."""
        self._image = image
        self._pointer = 0

    def try_lock(self) -> bool:
        """Lock the bus."""
        return True

    def unlock(self) -> None:
        """Unlock the bus."""

    def writeto(self, _: int, buffer: bytes, **__: int) -> None:
        """Take the register pointer, and ignore what is written."""
        if buffer:
            self._pointer = buffer[0]

    def readfrom_into(self, _: int, buffer: bytearray, **__: int) -> None:
        """Return registers."""
        buffer[:] = self._image[self._pointer : self._pointer + len(buffer)]


def adafruits(image: bytearray) -> Any:  # noqa: ANN401 - the library has no types
    """Return Adafruit's library on a chip that never changes."""
    with blinka.no_board():
        library = import_module("adafruit_bme680")
    return library.Adafruit_BME680_I2C(ImageBus(image), ADDRESS, refresh_rate=1)


@settings(max_examples=30)
@given(
    calibration=st.sampled_from(CALIBRATIONS),
    temperature=st.floats(-39, 84),
    pressure=st.floats(310, 1090),
    humidity=st.floats(1, 99),
)
def test_adafruits_library_agrees(
    calibration: Calibration680, temperature: float, pressure: float, humidity: float
) -> None:
    """Adafruit's library gives the same values in other steps."""
    t, p, h = codes(calibration, (0, 0), temperature, pressure, humidity)
    image = image_of(calibration, data_of(t, p, h))
    reading = Bme680Sensor(Image(image), None).collect()
    # The library swaps the low halves of H1 and H2.
    image[0xE2] = image[0xE2] >> 4 | image[0xE2] << 4 & 0xF0
    library = adafruits(image)
    assert reading.temperature == pytest.approx(library.temperature, abs=0.01)
    assert reading.pressure == pytest.approx(library.pressure, abs=0.05)
    assert reading.humidity == pytest.approx(library.humidity, abs=0.15)


def test_why_adafruits_library_is_not_used() -> None:
    """With the halves ordered as in the data sheet, the library's humidity is wrong."""
    calibration = CALIBRATIONS[2]
    image = image_of(calibration, data_of(*codes(calibration, (0, 0), 20, 1000, 50)))
    reading = Bme680Sensor(Image(image), None).collect()
    library = adafruits(image)
    assert reading.humidity == pytest.approx(50, abs=0.01)
    assert library.humidity == pytest.approx(52.3, abs=0.1)


class Image(Registers):
    """The registers of a chip that never changes, without a bus."""

    def __init__(self, image: bytearray) -> None:
        """Take the chip's registers."""
        self._image = image

    @override
    def read(self, register: int, length: int, *, is_probe: bool = False) -> bytes:
        """Return registers."""
        return bytes(self._image[register : register + length])


@given(data())
def test_any_registers(draw: DataObject) -> None:
    """Any coefficients and any burst give values in range, or a driver error."""
    image = bytearray(draw.draw(st.binary(min_size=256, max_size=256)))
    image[0xD0], image[0xF0] = 0x61, 0
    if draw.draw(st.booleans()):
        # Let more of them pass: real coefficients, and valid flags.
        real = image_of(draw.draw(st.sampled_from(CALIBRATIONS)))
        codes = image[0x1F:0x27]
        image[:] = real
        image[0x1F:0x27] = codes
    try:
        reading = Bme680Sensor(Image(image), None).collect()
    except DriverError, PowerLostError:
        return
    limits = {
        "temperature": bosch.TEMPERATURE_RANGE_C,
        "humidity": HUMIDITY_RANGE_PERCENT,
        "pressure": bosch.PRESSURE_RANGE_HPA,
    }
    assert reading.temperature is not None
    assert {*reading.values, *reading.faults} == {*limits}
    for quantity, value in reading.values.items():
        assert limits[quantity].low <= value <= limits[quantity].high


def test_other_registers_do_not_make_another_chip() -> None:
    """Registers without a meaning may change."""
    image = image_of(CALIBRATIONS[0])
    before = Bme680Sensor(Image(image), None).trimming_hash
    for register in (0x8D, 0x93, 0x9A, 0x9B):
        image[register] ^= 0xFF
    assert Bme680Sensor(Image(image), before).trimming_hash == before
    image[0x8A] ^= 0x01
    with pytest.raises(DeviceNotFoundError, match=Fault.CHIP_CHANGED):
        Bme680Sensor(Image(image), before)


async def test_raw_registers(chip: EmulatedBme680, driver: BoschChip) -> None:
    """The registers of the last reading are kept, even of a refused one."""
    assert len(bytes.fromhex(driver.raw["trimming"])) == 37
    assert driver.raw["burst"].startswith("80 00 ")
    chip.fail("nodata")
    with pytest.raises(BadFrameError, match=Fault.BAD_REGISTERS):
        await driver.read()
    assert driver.raw["burst"] == "80 00 80 00 00 80 00 00 80 00"


async def test_codes_without_the_flag_for_new_data(
    chip: EmulatedBme680, driver: BoschChip
) -> None:
    """Codes that the chip does not flag as new are refused."""
    chip.fail("unflagged")
    with pytest.raises(BadFrameError, match=Fault.CONVERSION_UNFINISHED):
        await driver.read()


# A chip with another master, or another chip


@pytest.mark.parametrize(
    "setting", [(0x70, 0x00), (0x71, 0x10), (0x72, 0x00), (0x75, 0x08)]
)
async def test_settings_of_another_program(
    chip: EmulatedBme680, driver: BoschChip, setting: tuple[int, int]
) -> None:
    """A chip with the heater on, no humidity or a filter is configured again."""
    chip.values |= OTHER_VALUES
    chip.write(bytes(setting))
    try:
        await assert_reads(driver, OTHER_VALUES)
    except BadFrameError as err:  # It heats longer than the driver's conversion takes.
        assert setting[0] == 0x71
        assert err.fault is Fault.CONVERSION_UNFINISHED  # noqa: PT017
        await assert_reads(driver, OTHER_VALUES)


async def test_conversion_of_another_program(
    chip: EmulatedBme680, unread: BoschChip, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A write that a running conversion made the chip ignore is repeated."""
    monkeypatch.setattr(Bme680Sensor, "LONGEST_CONVERSION_S", 0.12)
    before = chip.counters.copy()
    chip.write(bytes((0x72, 0x05, 0x74, 0xB5)))  # Oversampling of 16 for each quantity.
    await assert_reads(unread, VALUES)
    assert (chip.counters - before)["conversions"] == 2


@pytest.mark.parametrize(("variant", "name"), [(2, "BME690"), (7, "?")])
async def test_other_variants(
    bus: Bus, chip: EmulatedBme680, unread: BoschChip, variant: int, name: str
) -> None:
    """A BME690 has the same id and another formula; nothing is written to it."""
    chip.variant = variant
    with pytest.raises(BadFrameError, match=Fault.CHIP_UNSUPPORTED) as error:
        await unread.read()
    assert error.value.details == {"chip": name, "chip_id": "0x61"}
    assert not written(bus)
