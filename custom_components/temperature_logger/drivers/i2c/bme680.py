"""Bosch BME680 and BME688, without their gas sensor, whose heater stays off.

Source: BME680 data sheet BST-BME680-DS001 (modes and formulas: section 3, registers:
section 5); the variant and the measurement time are those of Bosch's BME68x Sensor API.

The values are computed here. Adafruit's library for this chip computes only what it
triggered itself, sleeps between its polls, answers from the previous reading when it is
asked too soon, and takes the low halves of two coefficients of the humidity for each
other's, which can be 2 % off at 50 %. The tests have it as a witness.
"""

import struct
from typing import ClassVar, Final, NamedTuple, Self, override

from ..errors import BadFrameError, Fault
from ..readings import Reading
from .bosch import (
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
    unsupported,
)
from .bus import PowerLostError, Registers

VARIANT: Final = 0xF0
VARIANTS: Final = {0: "BME680", 1: "BME688"}
# It has the chip id of the others, and other formulas.
OTHER_VARIANTS: Final = {2: "BME690"}
CHIP_ID: Final = 0x61

# The blocks and what they hold; x is a register that means nothing, or nothing here.
TRIMMING: Final = (0x8A, 23)
TRIMMING_FORMAT: Final = struct.Struct("<hbx Hhbx hhbb 2x hhB")
TRIMMING_HUMIDITY: Final = (0xE1, 14)
TRIMMING_HUMIDITY_FORMAT: Final = struct.Struct("<BBB bbb Bb H hbb")

STATUS: Final = 0x1D
CTRL_MEAS: Final = 0x74
NEW_DATA: Final = 0x80
MEASURING: Final = 0x20

# CTRL_GAS_0, CTRL_GAS_1, CTRL_HUM, one register of SPI, CTRL_MEAS, CONFIG.
SETTINGS: Final = (0x70, 6)
# The bits of them that outlast a conversion and are not reserved, and what we set them
# to: heater off, no gas, humidity once, filter off.
SETTINGS_BITS: Final = bytes((0x08, 0x30, 0x07, 0x00, 0x00, 0x1C))
CONFIGURED: Final = bytes((0x08, 0x00, HUMIDITY_X1, 0x00, 0x00, 0x00))

# The burst: STATUS, one register that counts, three codes.
BURST: Final = (STATUS, 10)
# Above saturation the formula goes on; so far, and as far below zero, it is the error
# of the sensor, ±3 % and the hysteresis with a margin. Further off, it is no humidity.
HUMIDITY_RANGE: Final = (0.0, 100.0)
HUMIDITY_MARGIN: Final = 10.0


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
        """Take the coefficients out of the registers."""
        length = TRIMMING[1]
        t2, t3, p1, p2, p3, p4, p5, p7, p6, p8, p9, p10 = TRIMMING_FORMAT.unpack(
            block[:length]
        )
        h2, both, h1, h3, h4, h5, h6, h7, t1, *_ = TRIMMING_HUMIDITY_FORMAT.unpack(
            block[length:]
        )
        return cls(
            t1=t1,
            t2=t2,
            t3=t3,
            p=(p1, p2, p3, p4, p5, p6, p7, p8, p9, p10),
            h=(h1 << 4 | both & 0x0F, h2 << 4 | both >> 4, h3, h4, h5, h6, h7),
        )

    def temperature(self, code: int) -> float:
        """Return degrees Celsius; section 3.3.1."""
        linear = (code / 16384 - self.t1 / 1024) * self.t2
        square = (code / 131072 - self.t1 / 8192) ** 2 * self.t3 * 16
        return (linear + square) / 5120

    def pressure(self, code: int, temperature: float) -> float:
        """Return hectopascals; section 3.3.2.

        Raises ArithmeticError for coefficients that do not compute.
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
        """Return percent, above saturation more than 100; section 3.3.3."""
        h1, h2, h3, h4, h5, h6, h7 = self.h
        offset = h1 * 16 + h3 / 2 * temperature
        gain = 1 + h4 / 16384 * temperature + h5 / 1048576 * temperature**2
        linear = (code - offset) * h2 / 262144 * gain
        return linear + (h6 / 16384 + h7 / 2097152 * temperature) * linear**2


class Bme680Sensor(Sensor):
    """A BME680 or BME688; every call blocks."""

    CTRL_MEAS: ClassVar = CTRL_MEAS
    DRIVER: ClassVar = "bme680"
    # A program that measures gas heats for 0.15 to 0.3 s as a rule.
    LONGEST_CONVERSION: ClassVar = 0.35

    # 1 ms to wake up, 1.963 ms for each quantity, nine times 0.477 ms for what is
    # between them.
    conversion = 0.0113
    quantities = ("temperature", "humidity", "pressure")

    def __init__(self, registers: Registers, trimming_hash: str | None) -> None:
        """Read what the chip is."""
        super().__init__(registers, trimming_hash)
        variant = registers.read(VARIANT, 1)[0]
        if variant not in VARIANTS:
            raise unsupported(OTHER_VARIANTS.get(variant, "?"), CHIP_ID)
        self.model = VARIANTS[variant]
        self._trimming = Trimming.of(self.trimming)

    @override
    def collect(self) -> Reading:
        data = self.registers.read(*BURST)
        # Read after the codes: they were measured with these settings.
        settings, control = self._settings()
        self.burst = data
        status = data[0]
        if len(set(data)) == 1:
            raise BadFrameError(Fault.BAD_REGISTERS)
        if settings != CONFIGURED:
            raise PowerLostError
        if status & MEASURING or control & MODE or not status & NEW_DATA:
            raise BadFrameError(Fault.CONVERSION_UNFINISHED)
        if control != SLEEP_X1:  # Another program uses the chip, too.
            raise BadFrameError(Fault.BAD_REGISTERS)
        return self._compute(*codes(data[2:]))

    @override
    def _read_trimming(self) -> bytes:
        # What means nothing becomes zero: it need not be the same the next time.
        blocks = (
            (TRIMMING, TRIMMING_FORMAT),
            (TRIMMING_HUMIDITY, TRIMMING_HUMIDITY_FORMAT),
        )
        return b"".join(
            form.pack(*form.unpack(self._block(*place))) for place, form in blocks
        )

    @override
    def _configure(self) -> bool:
        # A running conversion ignores what is written: the mode is the first.
        self.registers.write(CTRL_MEAS, SLEEP_X1)
        for register, value in enumerate(CONFIGURED, SETTINGS[0]):
            if SETTINGS_BITS[register - SETTINGS[0]]:
                self.registers.write(register, value)
        return self._settings() == (CONFIGURED, SLEEP_X1)

    @override
    def _begun(self) -> tuple[bool, int]:
        control = self.registers.read(CTRL_MEAS, 1)[0]
        return control & MODE == FORCED_X1 & MODE, control

    def _settings(self) -> tuple[bytes, int]:
        """Read the settings that outlast a conversion, and CTRL_MEAS."""
        registers = self.registers.read(*SETTINGS)
        settings = bytes(map(int.__and__, registers, SETTINGS_BITS, strict=True))
        return settings, registers[CTRL_MEAS - SETTINGS[0]]

    def _compute(self, pressure: int, temperature: int, humidity: int) -> Reading:
        """Turn the codes into values."""
        celsius = self._trimming.temperature(temperature)
        check("°C", celsius, TEMPERATURE_RANGE)
        try:
            hectopascal = self._trimming.pressure(pressure, celsius)
        except ArithmeticError as err:
            raise BadFrameError(Fault.BAD_REGISTERS) from err
        check("hPa", hectopascal, PRESSURE_RANGE)
        percent = self._trimming.humidity(humidity, celsius)
        limited = min(max(percent, HUMIDITY_RANGE[0]), HUMIDITY_RANGE[1])
        if abs(percent - limited) > HUMIDITY_MARGIN:
            check("%", percent, HUMIDITY_RANGE)
        return Reading(temperature=celsius, humidity=limited, pressure=hectopascal)


class Bme680(BoschChip):
    """One BME680 or BME688 at one place."""

    SENSOR: ClassVar = Bme680Sensor
