"""Bosch BME280 and BMP280.

Source: BME280 data sheet BST-BME280-DS001 (registers: section 5; measurement time:
9.1) and BMP280 data sheet BST-BMP280-DS001. The values are computed by Adafruit's
library from an image of the registers, after the codes were judged: the library
turns codes that mean "nothing was measured" into plausible values.
"""

from typing import ClassVar, Final, override

from ..errors import BadFrameError, Fault
from ..readings import Reading
from .blinka import import_bme280
from .bosch import (
    CHIP_ID,
    FORCED_X1,
    HUMIDITY_X1,
    MODE,
    PRESSURE_RANGE,
    SLEEP_X1,
    TEMPERATURE_RANGE,
    BoschChip,
    Sensor,
    check,
    codes,
)
from .bus import PowerLostError, Registers

TRIMMING: Final = (0x88, 26)
"""Temperature, pressure and the first humidity coefficient: 0x88 to 0xA1."""
TRIMMING_HUMIDITY: Final = (0xE1, 7)
CTRL_HUM: Final = 0xF2
STATUS: Final = 0xF3
CTRL_MEAS: Final = 0xF4
CONFIG: Final = 0xF5

MEASURING: Final = 0x08
# The filter is off. The standby time means nothing to forced conversions; it is not
# the one after power-up, so a chip that lost its power shows.
CONFIGURATION: Final = 0xA0

# The burst: STATUS, CTRL_MEAS, CONFIG, one reserved byte, three codes.
BURST: Final = (STATUS, 12)
BURST_WITHOUT_HUMIDITY: Final = (STATUS, 10)
DATA: Final = 0xF7

# The longest conversions: 1.25 ms, 2.3 ms for each quantity, 0.575 ms more for each but
# the temperature.
CONVERSION: Final = 0.0094
CONVERSION_WITHOUT_HUMIDITY: Final = 0.0065

# What the library expects. Blank registers where a BMP280 has none make it compute for
# that, too; the humidity is never asked for.
BME280_ID: Final = 0x60
NEUTRAL_HUMIDITY: Final = bytes(7)


class RegisterImage:
    """Registers as Adafruit's library reads them; what it writes goes nowhere."""

    def __init__(self, trimming: bytes) -> None:
        """Fill in the trimming block of a chip."""
        self._registers = bytearray(256)
        # The library knows no other chip.
        self._registers[CHIP_ID] = BME280_ID
        length = TRIMMING[1]
        self._fill(TRIMMING[0], trimming[:length])
        self._fill(TRIMMING_HUMIDITY[0], trimming[length:] or NEUTRAL_HUMIDITY)

    def set_data(self, data: bytes) -> None:
        """Put in the codes of one conversion."""
        self._fill(DATA, data)

    def read_register(self, register: int, length: int) -> bytearray:
        """Return registers to the library."""
        return self._registers[register : register + length]

    def write_register_byte(self, register: int, value: int) -> None:
        """Accept what the library configures; the driver does that itself."""

    def _fill(self, register: int, content: bytes) -> None:
        """Put bytes into the image."""
        self._registers[register : register + len(content)] = content


class Bme280Sensor(Sensor):
    """A BME280 or BMP280; every call blocks."""

    CTRL_MEAS: ClassVar = CTRL_MEAS
    DRIVER: ClassVar = "bme280"
    # With everything sixteen times.
    LONGEST_CONVERSION: ClassVar = 0.113

    def __init__(self, registers: Registers, trimming_hash: str | None) -> None:
        """Read what the chip is, and prepare the library for it."""
        super().__init__(registers, trimming_hash)
        self.model = self.chip.model
        self.conversion = CONVERSION_WITHOUT_HUMIDITY
        self.quantities = ("temperature", "pressure")
        if self._has_humidity:
            self.conversion = CONVERSION
            self.quantities = ("temperature", "humidity", "pressure")
        self._image = RegisterImage(self.trimming)
        library = import_bme280()
        self._library = library.bme280(self._image)
        self._library.mode = library.normal_mode  # Only compute, never trigger.

    @property
    def _has_humidity(self) -> bool:
        """Whether it measures humidity."""
        return self.chip.model == "BME280"

    @override
    def collect(self) -> Reading:
        burst = BURST if self._has_humidity else BURST_WITHOUT_HUMIDITY
        self.burst = self.registers.read(*burst)
        status, control, config = self.burst[:3]
        if len(set(self.burst)) == 1:
            raise BadFrameError(Fault.BAD_REGISTERS)
        if config != CONFIGURATION:
            raise PowerLostError
        if status & MEASURING or control & MODE:
            raise BadFrameError(Fault.CONVERSION_UNFINISHED)
        if control != SLEEP_X1:  # Another program uses the chip, too.
            raise BadFrameError(Fault.BAD_REGISTERS)
        data = self.burst[DATA - STATUS :]
        codes(data)
        self._image.set_data(data)
        return self._compute()

    @override
    def _read_trimming(self) -> bytes:
        trimming = self._block(*TRIMMING)
        if self._has_humidity:
            trimming += self._block(*TRIMMING_HUMIDITY)
        return trimming

    @override
    def _configure(self) -> bool:
        self.registers.write(CTRL_MEAS, SLEEP_X1)
        self.registers.write(CONFIG, CONFIGURATION)
        if self._has_humidity:
            self.registers.write(CTRL_HUM, HUMIDITY_X1)
        humidity, _, _, config = self.registers.read(CTRL_HUM, 4)
        return config == CONFIGURATION and (
            humidity == HUMIDITY_X1 or not self._has_humidity
        )

    @override
    def _begun(self) -> tuple[bool, int]:
        status, control = self.registers.read(STATUS, 2)
        return bool(status & MEASURING) or control & MODE == FORCED_X1 & MODE, control

    def _compute(self) -> Reading:
        """Let the library compensate what stands in the image."""
        library = self._library
        try:
            temperature = library.temperature
            pressure = library.pressure
        except ArithmeticError as err:
            raise BadFrameError(Fault.BAD_REGISTERS) from err
        check("°C", temperature, TEMPERATURE_RANGE)
        check("hPa", pressure, PRESSURE_RANGE)
        humidity = library.humidity if self._has_humidity else None
        return Reading(temperature=temperature, humidity=humidity, pressure=pressure)


class Bme280(BoschChip):
    """One BME280 or BMP280 at one place."""

    SENSOR: ClassVar = Bme280Sensor
