"""BME680 and BME688 at the level of their registers.

Registers and formulas are those of the data sheet BST-BME680-DS001, sections 3 and 5:
the formulas are its integer ones, without their rounding. The times are those of
Bosch's own BME68x driver.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
import struct
from typing import Any, ClassVar, override

from .chips import (
    CHIP_ID,
    OVERSAMPLING,
    RESET,
    RESET_WORD,
    Calibration,
    Chip,
    Control,
)
from .values import now

BME680 = 0x61
STATUS, TRIMMING, TRIMMING_HUMIDITY, VARIANT = 0x1D, 0x8A, 0xE1, 0xF0
SETTINGS, CTRL_MEAS = range(0x70, 0x76), 0x74
NEW_DATA, MEASURING = 0x80, 0x20
FORCED = 1
UNUSED = 0x5A
"""The content of registers without a meaning."""


@dataclass(frozen=True)
class Calibration680(Calibration):
    """The trimming values of one chip: three, ten and seven of them."""

    @cached_property
    @override
    def registers(self) -> tuple[bytes, bytes]:
        """The contents from 0x8A and from 0xE1."""
        (t1, t2, t3), (h1, h2, *h) = self.t, self.h
        p1, p2, p3, p4, p5, p6, p7, p8, p9, p10 = self.p
        first = struct.pack("<hbBHhbB", t2, t3, UNUSED, p1, p2, p3, UNUSED)
        first += struct.pack("<hhbbH", p4, p5, p7, p6, UNUSED)
        first += struct.pack("<hhB", p8, p9, p10)
        halves = h2 % 16 << 4 | h1 % 16
        second = struct.pack("<BBBbbbBb", h2 >> 4, halves, h1 >> 4, *h)
        return first, second + struct.pack("<Hhbb", t1, -24754, -30, 18)

    @override
    def t_fine(self, code: int) -> float:
        """Return the fine temperature, 1/5120 degrees."""
        t1, t2, t3 = self.t
        distance = code / 8 - t1 * 2
        return distance * t2 / 2048 + (distance / 2) ** 2 / 4096 * (t3 * 16) / 16384

    @override
    def pressure(self, code: int, t_fine: float) -> float:
        """Return hectopascals."""
        p1, p2, p3, p4, p5, p6, p7, p8, p9, p10 = self.p
        distance = t_fine / 2 - 64000
        quarter = distance / 4
        second = quarter**2 / 2048 * p6 / 4 + distance * p5 * 2
        second = second / 4 + p4 * 65536
        first = quarter**2 / 8192 * (p3 * 32) / 8 + p2 * distance / 2
        first = (32768 + first / 262144) * p1 / 32768
        pascal = (1048576 - code - second / 4096) * 3125 * 2 / first
        curve = p9 * ((pascal / 8) ** 2 / 8192) / 4096
        curve += pascal / 4 * p8 / 8192
        curve += (pascal / 256) ** 3 * p10 / 131072
        return (pascal + (curve + p7 * 128) / 16) / 100

    @override
    def humidity(self, code: int, t_fine: float) -> float:
        """Return percent."""
        h1, h2, h3, h4, h5, h6, h7 = self.h
        hundredths = t_fine * 5 / 256
        square = hundredths * (hundredths * h5 / 100) / 64 / 100
        gain = h2 * (hundredths * h4 / 100 + square + 16384) / 1024
        product = (code - h1 * 16 - hundredths * h3 / 200) * gain
        curve = (h6 * 128 + hundredths * h7 / 100) / 16
        curve = curve * ((product / 16384) ** 2 / 1024) / 2
        return (product + curve) / 1024 / 4096


# The first two are those of chips whose owners published them.
CALIBRATIONS = (
    Calibration680(
        (26041, 26469, 3),
        (36673, -10515, 88, 7310, -129, 30, 46, -3177, -2379, 30),
        (676, 1029, 0, 45, 20, 120, -100),
    ),
    Calibration680(
        (26203, 26519, 3),
        (35008, -10284, 88, 9692, -202, 30, 24, -516, -3469, 30),
        (794, 1007, 0, 45, 20, 120, -100),
    ),
    # The low halves of H1 and H2 differ as much as possible.
    Calibration680(
        (25874, 26611, -2),
        (35512, -10391, 90, 8215, 61, 30, -12, 204, -4011, 31),
        (0x2BF, 0x3F0, -1, 46, 20, 120, -99),
    ),
)


@dataclass(frozen=True, slots=True)
class Control680(Control):
    """The control registers that apply to one conversion."""

    gas: int = 0

    @property
    @override
    def duration(self) -> float:
        """Return the longest time of a conversion, in seconds."""
        cycles = sum(OVERSAMPLING[code] for code in self.oversampling)
        heating = 150 if self.gas & 0x30 else 0
        return (1 + 1.963 * cycles + 9 * 0.477 + heating) / 1000


class Bme680(Chip):
    """One chip on a bus."""

    CALIBRATIONS: ClassVar = CALIBRATIONS
    CTRL_HUM: ClassVar = 0x72
    DATA: ClassVar = range(0x1F, 0x27)
    FAULTS: ClassVar = {**Chip.FAULTS, "unflagged": frozenset({"conversion"})}

    @override
    def __init__(self, spec: Mapping[str, Any]) -> None:
        """Build and power the chip of one "chips" entry of a machine spec."""
        self.variant: int = spec.get("variant", 0)
        super().__init__(spec)

    @override
    def power_cycle(self) -> None:
        """Lose everything that was written, as after a brown-out."""
        self._settings = bytearray(len(SETTINGS))
        self._new_data = False
        super().power_cycle()

    @override
    def _image(self, *, busy: bool) -> bytes:
        """Return all registers."""
        blank = now() < self._ready or self.strike("trimming") is not None
        first, second = self.calibration.registers
        image = bytearray(256)
        if not blank:
            image[TRIMMING : TRIMMING + len(first)] = first
            image[TRIMMING_HUMIDITY : TRIMMING_HUMIDITY + len(second)] = second
        image[CHIP_ID], image[VARIANT] = self.chip_id, self.variant
        image[SETTINGS.start : SETTINGS.stop] = self._settings
        image[CTRL_MEAS] = self._control.meas
        image[STATUS] = MEASURING * busy | NEW_DATA * self._new_data
        image[self.DATA.start : self.DATA.stop] = self._data
        return bytes(image)

    @override
    def _set(self, register: int, value: int) -> None:
        """Write one register; during a conversion only a reset takes effect."""
        busy = self._advance()
        if register == RESET and value == RESET_WORD:
            self._reset()
        elif busy:
            return
        elif register == CTRL_MEAS:
            gas, humidity, config = (self._settings[n] for n in (1, 2, 5))
            self._trigger(Control680(value, humidity, config, gas))
        elif register in SETTINGS:
            self._settings[register - SETTINGS.start] = value

    @override
    def _trigger(self, control: Control) -> None:
        """Take a new ctrl_meas, and start the mode in it."""
        super()._trigger(control)
        if self._end is not None:
            self._new_data = False

    @override
    def _convert(self, conversions: int) -> None:
        """Finish a conversion."""
        super()._convert(conversions)
        self._new_data = self.strike("conversion") is None
        self.counters["heated"] += bool(self._settings[1] & 0x30)

    @override
    def _publish(self, t: int, p: int, h: int) -> None:
        """Put codes into the data registers."""
        pressure, temperature = (p << 4).to_bytes(3), (t << 4).to_bytes(3)
        self._data = pressure + temperature + h.to_bytes(2)


def chip_of(spec: Mapping[str, Any]) -> Chip:
    """Return the chip of one "chips" entry of a machine spec."""
    kind = Bme680 if int(spec.get("chip_id", "0"), 0) == BME680 else Chip
    return kind(spec)
