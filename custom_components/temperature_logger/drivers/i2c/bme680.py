"""Bosch BME680 and BME688, without their gas sensor: its heater stays off.

Source: BME680 data sheet BST-BME680-DS001 (modes and formulas: section 3, registers:
section 5); variant and measurement time from Bosch's BME68x Sensor API.

The driver computes the values itself. Adafruit's library for this chip computes only
conversions that it triggered itself, sleeps between its polls, and returns the previous
reading if a read comes too soon. It also confuses the low halves of two humidity
coefficients, an error of up to 2 % at 50 %. The tests compare with it.
"""

import struct
from typing import ClassVar, Final, NamedTuple, Self, override

from ..errors import BadFrameError, Fault
from ..readings import Reading
from .bosch import (
    FORCED_MODE_X1,
    HUMIDITY_X1,
    MODE_BITS,
    SLEEP_MODE_X1,
    BoschChip,
    Sensor,
    unsupported_chip,
)
from .bus import PowerLostError, Registers

VARIANT_REGISTER: Final = 0xF0
BME680_VARIANTS: Final = {0: "BME680", 1: "BME688"}
# Same chip id, but different formulas.
UNSUPPORTED_VARIANTS: Final = {2: "BME690"}
BME680_CHIP_ID: Final = 0x61

# First register and length of the coefficients, and their format. An x in the format is
# a register without a meaning for this driver.
BME680_TRIMMING: Final = (0x8A, 23)
BME680_TRIMMING_FORMAT: Final = struct.Struct("<hbx Hhbx hhbb 2x hhB")
BME680_TRIMMING_HUMIDITY: Final = (0xE1, 14)
BME680_TRIMMING_HUMIDITY_FORMAT: Final = struct.Struct("<BBB bbb Bb H hbb")

BME680_STATUS: Final = 0x1D
BME680_CTRL_MEAS: Final = 0x74
BME680_NEW_DATA: Final = 0x80
BME680_MEASURING: Final = 0x20

# First register and length: CTRL_GAS_0, CTRL_GAS_1, CTRL_HUM, one register for SPI,
# CTRL_MEAS, CONFIG.
BME680_SETTINGS: Final = (0x70, 6)
# The bits of these registers that a conversion keeps and that are not reserved; and
# their setting: heater off, no gas measurement, one humidity sample, filter off.
BME680_SETTINGS_MASK: Final = bytes((0x08, 0x30, 0x07, 0x00, 0x00, 0x1C))
BME680_SETTINGS_VALUE: Final = bytes((0x08, 0x00, HUMIDITY_X1, 0x00, 0x00, 0x00))

# First register and length of the burst: STATUS, one register that counts, and the
# codes of pressure, temperature and humidity.
BME680_BURST: Final = (BME680_STATUS, 10)


class Trimming(NamedTuple):
    """The coefficients of one chip, under the names of the data sheet."""

    t1: int
    t2: int
    t3: int
    p: tuple[int, ...]
    """p1 to p10."""
    h: tuple[int, ...]
    """h1 to h7."""

    @classmethod
    def of(cls, block: bytes) -> Self:
        """Extract the coefficients from the two blocks of registers."""
        length = BME680_TRIMMING[1]
        t2, t3, p1, p2, p3, p4, p5, p7, p6, p8, p9, p10 = BME680_TRIMMING_FORMAT.unpack(
            block[:length]
        )
        h2, shared, h1, h3, h4, h5, h6, h7, t1, *_ = (
            BME680_TRIMMING_HUMIDITY_FORMAT.unpack(block[length:])
        )
        return cls(
            t1=t1,
            t2=t2,
            t3=t3,
            p=(p1, p2, p3, p4, p5, p6, p7, p8, p9, p10),
            h=(h1 << 4 | shared & 0x0F, h2 << 4 | shared >> 4, h3, h4, h5, h6, h7),
        )

    def temperature(self, code: int) -> float:
        """Return the temperature in °C; section 3.3.1."""
        linear = (code / 16384 - self.t1 / 1024) * self.t2
        square = (code / 131072 - self.t1 / 8192) ** 2 * self.t3 * 16
        return (linear + square) / 5120

    def pressure(self, code: int, temperature: float) -> float:
        """Return the pressure in hPa; section 3.3.2.

        Raises ArithmeticError if the coefficients are impossible.
        """
        p1, p2, p3, p4, p5, p6, p7, p8, p9, p10 = self.p
        fine = temperature * 2560 - 64000
        offset = (p6 * fine**2 / 131072 + p5 * fine * 2) / 4 + p4 * 65536
        gain = (1 + (p3 * fine**2 / 16384 + p2 * fine) / 524288 / 32768) * p1
        pascal = (1048576 - code - offset / 4096) * 6250 / gain
        square = p9 * pascal**2 / 2147483648
        cube = p10 * (pascal / 256) ** 3 / 131072
        return (pascal + (square + p8 * pascal / 32768 + cube + p7 * 128) / 16) / 100

    def humidity(self, code: int, temperature: float) -> float:
        """Return the relative humidity in %, not limited to 0 to 100; section 3.3.3."""
        h1, h2, h3, h4, h5, h6, h7 = self.h
        offset = h1 * 16 + h3 / 2 * temperature
        gain = 1 + h4 / 16384 * temperature + h5 / 1048576 * temperature**2
        linear = (code - offset) * h2 / 262144 * gain
        return linear + (h6 / 16384 + h7 / 2097152 * temperature) * linear**2


class Bme680Sensor(Sensor):
    """An initialised BME680 or BME688; every call blocks."""

    CTRL_MEAS: ClassVar = BME680_CTRL_MEAS
    DRIVER: ClassVar = "bme680"
    # Another program that measures gas usually heats for 0.15 to 0.3 s.
    LONGEST_CONVERSION_S: ClassVar = 0.35

    # 1 ms to wake up, 1.963 ms for each quantity, and nine times 0.477 ms for the steps
    # between the quantities.
    conversion_s = 0.0113
    quantities = ("temperature", "humidity", "pressure")

    def __init__(self, registers: Registers, trimming_hash: str | None) -> None:
        """Identify the chip and read its coefficients."""
        super().__init__(registers, trimming_hash)
        variant = registers.read(VARIANT_REGISTER, 1)[0]
        if variant not in BME680_VARIANTS:
            raise unsupported_chip(
                UNSUPPORTED_VARIANTS.get(variant, "?"), BME680_CHIP_ID
            )
        self.model = BME680_VARIANTS[variant]
        self.compensation = Trimming.of(self.trimming)

    @override
    def collect(self) -> Reading:
        data = self.registers.read(*BME680_BURST)
        # As they are read after the codes, these settings are those of the conversion.
        settings, control = self._settings()
        self.burst = data
        status = data[0]
        if len(set(data)) == 1:
            raise BadFrameError(Fault.BAD_REGISTERS)
        if settings != BME680_SETTINGS_VALUE:
            raise PowerLostError
        if (
            status & BME680_MEASURING
            or control & MODE_BITS
            or not status & BME680_NEW_DATA
        ):
            raise BadFrameError(Fault.CONVERSION_UNFINISHED)
        if control != SLEEP_MODE_X1:  # Another program also uses the chip.
            raise BadFrameError(Fault.BAD_REGISTERS)
        return self._compute(data[2:])

    @override
    def _read_trimming(self) -> bytes:
        # Registers without a meaning may change, so they become zero.
        blocks = (
            (BME680_TRIMMING, BME680_TRIMMING_FORMAT),
            (BME680_TRIMMING_HUMIDITY, BME680_TRIMMING_HUMIDITY_FORMAT),
        )
        return b"".join(
            form.pack(*form.unpack(self._block(*place))) for place, form in blocks
        )

    @override
    def configure(self) -> bool:
        # The mode comes first: during a conversion the chip ignores the other settings.
        self.registers.write(BME680_CTRL_MEAS, SLEEP_MODE_X1)
        for register, value in enumerate(BME680_SETTINGS_VALUE, BME680_SETTINGS[0]):
            if BME680_SETTINGS_MASK[register - BME680_SETTINGS[0]]:
                self.registers.write(register, value)
        return self._settings() == (BME680_SETTINGS_VALUE, SLEEP_MODE_X1)

    @override
    def _conversion_state(self) -> tuple[bool, int]:
        control = self.registers.read(BME680_CTRL_MEAS, 1)[0]
        return control & MODE_BITS == FORCED_MODE_X1 & MODE_BITS, control

    def _settings(self) -> tuple[bytes, int]:
        """Return the settings that a conversion keeps, and the register CTRL_MEAS."""
        registers = self.registers.read(*BME680_SETTINGS)
        settings = bytes(map(int.__and__, registers, BME680_SETTINGS_MASK, strict=True))
        return settings, registers[BME680_CTRL_MEAS - BME680_SETTINGS[0]]


class Bme680(BoschChip):
    """The driver of one BME680 or BME688."""

    SENSOR: ClassVar = Bme680Sensor
