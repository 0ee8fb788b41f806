"""Bosch BME280 and BMP280.

Source: BME280 data sheet BST-BME280-DS001 (registers: section 5; measurement time:
9.1; humidity: section 8.1) and BMP280 data sheet BST-BMP280-DS001. Adafruit's library
computes temperature and pressure from an image of the registers. The driver computes
the humidity itself, as the library limits it: a dead sensor would then give 0 or 100 %.
The driver checks the codes first, because the formulas turn codes for "not measured"
into plausible values.
"""

import struct
from typing import ClassVar, Final, override

from ..errors import BadFrameError, Fault
from ..readings import Reading
from .blinka import import_bme280
from .bosch import (
    CHIP_ID_REGISTER,
    FORCED_MODE_X1,
    HUMIDITY_X1,
    MODE_BITS,
    SLEEP_MODE_X1,
    BoschChip,
    Sensor,
)
from .bus import PowerLostError, Registers

BME280_TRIMMING: Final = (0x88, 26)
"""First register and length: temperature, pressure, first humidity coefficient."""
BME280_TRIMMING_HUMIDITY: Final = (0xE1, 7)
# The humidity coefficients. Two of them have 12 bits: each has a byte, and half of the
# byte between these two.
BME280_HUMIDITY_FORMAT: Final = struct.Struct("<25x B hB bBb b")
BME280_CTRL_HUM: Final = 0xF2
BME280_STATUS: Final = 0xF3
BME280_CTRL_MEAS: Final = 0xF4
BME280_CONFIG: Final = 0xF5

BME280_MEASURING: Final = 0x08
# The filter is off. Forced conversions ignore the standby time; it differs from that
# after power-up, so that the register shows whether the chip lost its power.
BME280_CONFIG_VALUE: Final = 0xA0

# First register and length of the burst: STATUS, CTRL_MEAS, CONFIG, one reserved byte,
# and the codes of pressure, temperature and humidity.
BME280_BURST: Final = (BME280_STATUS, 12)
BMP280_BURST: Final = (BME280_STATUS, 10)
BME280_DATA: Final = 0xF7
BME280_PRESSURE: Final = 0xF7
BME280_TEMPERATURE: Final = 0xFA

# The longest conversion takes 1.25 ms, 2.3 ms for each quantity, and 0.575 ms more for
# each quantity but the temperature.
BME280_CONVERSION_S: Final = 0.0094
BMP280_CONVERSION_S: Final = 0.0065

# The library accepts only this chip id. For a BMP280 it gets this id, and blank
# coefficients for the humidity, which the driver then does not read.
BME280_CHIP_ID: Final = 0x60
BLANK_HUMIDITY_TRIMMING: Final = bytes(7)


class RegisterImage:
    """A copy of a chip's registers for Adafruit's library, which cannot write to it."""

    def __init__(self, trimming: bytes) -> None:
        """Fill in the chip id and the coefficients."""
        self._registers = bytearray(256)
        self._registers[CHIP_ID_REGISTER] = BME280_CHIP_ID
        length = BME280_TRIMMING[1]
        self._fill(BME280_TRIMMING[0], trimming[:length])
        self._fill(
            BME280_TRIMMING_HUMIDITY[0], trimming[length:] or BLANK_HUMIDITY_TRIMMING
        )

    def set_code(self, register: int, code: int) -> None:
        """Fill in the code of one quantity, which has 20 bits."""
        self._fill(register, (code << 4).to_bytes(3))

    def read_register(self, register: int, length: int) -> bytearray:
        """Return consecutive registers; called by the library."""
        return self._registers[register : register + length]

    def write_register_byte(self, register: int, value: int) -> None:
        """Ignore the settings of the library; the driver configures the chip itself."""

    def _fill(self, register: int, content: bytes) -> None:
        """Copy bytes into consecutive registers."""
        self._registers[register : register + len(content)] = content


class Bme280Compensation:
    """The formulas of a BME280 or BMP280."""

    def __init__(self, trimming: bytes) -> None:
        """Prepare the library. On a BMP280, the humidity has no coefficients."""
        self._image = RegisterImage(trimming)
        library = import_bme280()
        self._library = library.bme280(self._image)
        # In this mode the library never triggers a conversion, but only computes.
        self._library.mode = library.normal_mode
        block = trimming.ljust(BME280_HUMIDITY_FORMAT.size, b"\0")
        h1, h2, h3, h4, shared, h5, h6 = BME280_HUMIDITY_FORMAT.unpack(block)
        h4, h5 = h4 << 4 | shared & 0x0F, h5 << 4 | shared >> 4
        self._h: tuple[int, ...] = (h1, h2, h3, h4, h5, h6)

    def temperature(self, code: int) -> float:
        """Return the temperature in °C."""
        self._image.set_code(BME280_TEMPERATURE, code)
        temperature: float = self._library.temperature
        return temperature

    def pressure(self, code: int, _: float) -> float:
        """Return the pressure in hPa, for the temperature that was computed last.

        Raises ArithmeticError if the coefficients are impossible.
        """
        self._image.set_code(BME280_PRESSURE, code)
        pressure: float = self._library.pressure
        return pressure

    def humidity(self, code: int, temperature: float) -> float:
        """Return the relative humidity in %, not limited to 0 to 100."""
        h1, h2, h3, h4, h5, h6 = self._h
        fine = temperature * 5120 - 76800
        warm = 1 + h3 / 67108864 * fine
        gain = h2 / 65536 * warm * (1 + h6 / 67108864 * fine * warm)
        linear = (code - h4 * 64 - h5 / 16384 * fine) * gain
        return linear * (1 - h1 * linear / 524288)


class Bme280Sensor(Sensor):
    """An initialised BME280 or BMP280; every call blocks."""

    CTRL_MEAS: ClassVar = BME280_CTRL_MEAS
    DRIVER: ClassVar = "bme280"
    # With the oversampling of all quantities at its maximum of 16.
    LONGEST_CONVERSION_S: ClassVar = 0.113

    def __init__(self, registers: Registers, trimming_hash: str | None) -> None:
        """Identify the chip, and prepare the library for it."""
        super().__init__(registers, trimming_hash)
        self.model = self.chip.model
        self.conversion_s = BMP280_CONVERSION_S
        self.quantities = ("temperature", "pressure")
        if self._has_humidity:
            self.conversion_s = BME280_CONVERSION_S
            self.quantities = ("temperature", "humidity", "pressure")
        self.compensation = Bme280Compensation(self.trimming)

    @property
    def _has_humidity(self) -> bool:
        """Whether the chip measures humidity."""
        return self.chip.model == "BME280"

    @override
    def collect(self) -> Reading:
        burst = BME280_BURST if self._has_humidity else BMP280_BURST
        self.burst = self.registers.read(*burst)
        status, control, config = self.burst[:3]
        if len(set(self.burst)) == 1:
            raise BadFrameError(Fault.BAD_REGISTERS)
        if config != BME280_CONFIG_VALUE:
            raise PowerLostError
        if status & BME280_MEASURING or control & MODE_BITS:
            raise BadFrameError(Fault.CONVERSION_UNFINISHED)
        if control != SLEEP_MODE_X1:  # Another program also uses the chip.
            raise BadFrameError(Fault.BAD_REGISTERS)
        return self._compute(self.burst[BME280_DATA - BME280_STATUS :])

    @override
    def _read_trimming(self) -> bytes:
        trimming = self._block(*BME280_TRIMMING)
        if self._has_humidity:
            trimming += self._block(*BME280_TRIMMING_HUMIDITY)
        return trimming

    @override
    def configure(self) -> bool:
        self.registers.write(BME280_CTRL_MEAS, SLEEP_MODE_X1)
        self.registers.write(BME280_CONFIG, BME280_CONFIG_VALUE)
        if self._has_humidity:
            self.registers.write(BME280_CTRL_HUM, HUMIDITY_X1)
        humidity, _, _, config = self.registers.read(BME280_CTRL_HUM, 4)
        return config == BME280_CONFIG_VALUE and (
            humidity == HUMIDITY_X1 or not self._has_humidity
        )

    @override
    def _conversion_state(self) -> tuple[bool, int]:
        status, control = self.registers.read(BME280_STATUS, 2)
        return bool(
            status & BME280_MEASURING
        ) or control & MODE_BITS == FORCED_MODE_X1 & MODE_BITS, control


class Bme280(BoschChip):
    """The driver of one BME280 or BMP280."""

    SENSOR: ClassVar = Bme280Sensor
