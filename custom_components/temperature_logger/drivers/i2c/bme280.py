"""Bosch BME280 and BMP280.

Source: BME280 data sheet BST-BME280-DS001 (registers: section 5; measurement time:
9.1) and BMP280 data sheet BST-BMP280-DS001. Adafruit's library computes the values from
an image of the registers. The driver checks the codes before, because the library turns
codes for "not measured" into plausible values.
"""

from typing import ClassVar, Final, override

from ..errors import BadFrameError, Fault
from ..readings import Reading
from .blinka import import_bme280
from .bosch import (
    CHIP_ID_REGISTER,
    FORCED_MODE_X1,
    HUMIDITY_X1,
    MODE_BITS,
    PRESSURE_RANGE_HPA,
    SLEEP_MODE_X1,
    TEMPERATURE_RANGE_C,
    BoschChip,
    Sensor,
    check_range,
    unpack_codes,
)
from .bus import PowerLostError, Registers

BME280_TRIMMING: Final = (0x88, 26)
"""First register and length: temperature, pressure, first humidity coefficient."""
BME280_TRIMMING_HUMIDITY: Final = (0xE1, 7)
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

    def set_data(self, data: bytes) -> None:
        """Fill in the codes of one conversion."""
        self._fill(BME280_DATA, data)

    def read_register(self, register: int, length: int) -> bytearray:
        """Return consecutive registers; called by the library."""
        return self._registers[register : register + length]

    def write_register_byte(self, register: int, value: int) -> None:
        """Ignore the settings of the library; the driver configures the chip itself."""

    def _fill(self, register: int, content: bytes) -> None:
        """Copy bytes into consecutive registers."""
        self._registers[register : register + len(content)] = content


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
        self._image = RegisterImage(self.trimming)
        library = import_bme280()
        self._library = library.bme280(self._image)
        # In this mode the library never triggers a conversion, but only computes.
        self._library.mode = library.normal_mode

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
        data = self.burst[BME280_DATA - BME280_STATUS :]
        unpack_codes(data)
        self._image.set_data(data)
        return self._compute()

    @override
    def _read_trimming(self) -> bytes:
        trimming = self._block(*BME280_TRIMMING)
        if self._has_humidity:
            trimming += self._block(*BME280_TRIMMING_HUMIDITY)
        return trimming

    @override
    def _configure(self) -> bool:
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

    def _compute(self) -> Reading:
        """Return the values that the library computes from the image."""
        library = self._library
        try:
            temperature = library.temperature
            pressure = library.pressure
        except ArithmeticError as err:
            raise BadFrameError(Fault.BAD_REGISTERS) from err
        check_range("°C", temperature, TEMPERATURE_RANGE_C)
        check_range("hPa", pressure, PRESSURE_RANGE_HPA)
        humidity = library.humidity if self._has_humidity else None
        return Reading(temperature=temperature, humidity=humidity, pressure=pressure)


class Bme280(BoschChip):
    """The driver of one BME280 or BMP280."""

    SENSOR: ClassVar = Bme280Sensor
