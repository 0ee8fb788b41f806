"""BME280 and BMP280 at the level of their registers.

Registers, times and formulas are those of the data sheet BST-BME280-DS002, sections
4.2 (trimming, compensation in double precision), 5 (registers) and 9 (times).
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
import os
import struct
import time
from typing import Any, ClassVar

from .faults import Faulty
from .values import Value, code_for, now, value_at

QUANTITIES = {"temperature": 21.5, "pressure": 1013.25, "humidity": 45.0}
BME280 = 0x60
TRIMMING, TRIMMING_HUMIDITY, CHIP_ID, RESET = 0x88, 0xE1, 0xD0, 0xE0
CTRL_HUM, STATUS, CTRL_MEAS, CONFIG, DATA, DATA_END = 0xF2, 0xF3, 0xF4, 0xF5, 0xF7, 0xFF
RESET_WORD = 0xB6
MEASURING, COPYING = 0x08, 0x01
SLEEP, NORMAL = 0, 3
SKIPPED, SKIPPED_HUMIDITY = 0x80000, 0x8000
OVERSAMPLING = (0, 1, 2, 4, 8, 16, 16, 16)
STANDBY = (0.0005, 0.0625, 0.125, 0.25, 0.5, 1.0, 0.01, 0.02)
START_UP = 0.002
"""Seconds after power-up until the trimming values can be read."""


@dataclass(frozen=True)
class Calibration:
    """The trimming values of one chip."""

    t: tuple[int, ...]
    p: tuple[int, ...]
    h: tuple[int, ...]

    @cached_property
    def registers(self) -> tuple[bytes, bytes]:
        """The contents from 0x88 and from 0xE1."""
        h1, h2, h3, h4, h5, h6 = self.h
        first = struct.pack("<HhhH8hBB", *self.t, *self.p, 0, h1)
        nibbles = (h4 & 15) | (h5 & 15) << 4
        second = struct.pack(
            "<hBBBBb", h2, h3, h4 >> 4 & 255, nibbles, h5 >> 4 & 255, h6
        )
        return first, second

    def t_fine(self, code: int) -> float:
        """Return the fine temperature, 1/5120 degrees."""
        t1, t2, t3 = self.t
        return (code / 16384 - t1 / 1024) * t2 + (code / 131072 - t1 / 8192) ** 2 * t3

    def temperature(self, code: int) -> float:
        """Return degrees Celsius."""
        return self.t_fine(code) / 5120

    def pressure(self, code: int, t_fine: float) -> float:
        """Return hectopascals."""
        p1, p2, p3, p4, p5, p6, p7, p8, p9 = self.p
        fine = t_fine / 2 - 64000
        offset = (fine * fine * p6 / 32768 + fine * p5 * 2) / 4 + p4 * 65536
        gain = (1 + (p3 * fine * fine / 524288 + p2 * fine) / 524288 / 32768) * p1
        pascal = (1048576 - code - offset / 4096) * 6250 / gain
        curve = p9 * pascal * pascal / 2147483648 + pascal * p8 / 32768 + p7
        return (pascal + curve / 16) / 100

    def humidity(self, code: int, t_fine: float) -> float:
        """Return percent."""
        h1, h2, h3, h4, h5, h6 = self.h
        fine = t_fine - 76800
        warm = 1 + h3 / 67108864 * fine
        gain = h2 / 65536 * (1 + h6 / 67108864 * fine * warm) * warm
        linear = (code - (h4 * 64 + h5 / 16384 * fine)) * gain
        return linear * (1 - h1 * linear / 524288)


BLANK_CALIBRATION = Calibration((0,) * 3, (0,) * 9, (0,) * 6)
CALIBRATIONS = (
    Calibration(
        (28485, 26735, 50),
        (36738, -10635, 3024, 6980, -4, -7, 9900, -10230, 4285),
        (75, 361, 0, 340, 0, 30),
    ),
    Calibration(
        (27504, 26435, -1000),
        (36477, -10685, 3024, 2855, 140, -7, 15500, -14600, 6000),
        (75, 370, 0, 313, 50, 30),
    ),
    # The negative H5 needs its twelve bits extended.
    Calibration(
        (28009, 25654, 50),
        (39145, -10750, 3024, 5667, -120, -7, 9900, -10230, 4285),
        (75, 355, 0, 333, -12, 30),
    ),
)


@dataclass(frozen=True, slots=True)
class Control:
    """The control registers that apply to one conversion."""

    meas: int = 0
    humidity: int = 0
    config: int = 0

    @property
    def mode(self) -> int:
        """Return the mode: 0 sleep, 1 and 2 forced, 3 normal."""
        return self.meas & 3

    @property
    def oversampling(self) -> tuple[int, int, int]:
        """Return the codes for temperature, pressure and humidity."""
        return self.meas >> 5, self.meas >> 2 & 7, self.humidity & 7

    @property
    def dropped(self) -> tuple[int, int]:
        """Return how many low bits of temperature and pressure are not resolved."""
        if self.config >> 2 & 7:
            return 0, 0
        t, p, _ = self.oversampling
        return max(5 - max(t, 1), 0), max(5 - max(p, 1), 0)

    @property
    def duration(self) -> float:
        """Return the longest time of a conversion, in seconds."""
        t, p, h = (OVERSAMPLING[code] for code in self.oversampling)
        extra = 0.575 * ((p > 0) + (h > 0))
        return (1.25 + 2.3 * (t + p + h) + extra) / 1000

    @property
    def cycle(self) -> float:
        """Return the time from one conversion to the next in normal mode."""
        return self.duration + STANDBY[self.config >> 5]


@lru_cache(4096)
def codes(
    calibration: Calibration,
    dropped: tuple[int, int],
    temperature: float,
    pressure: float,
    humidity: float,
) -> tuple[int, int, int]:
    """Return the ADC codes that the compensation turns into these values."""
    drop_t, drop_p = dropped
    t = code_for(
        lambda c: calibration.temperature(c << drop_t), temperature, 0xFFFFF >> drop_t
    )
    fine = calibration.t_fine(t << drop_t)
    p = code_for(
        lambda c: calibration.pressure(c << drop_p, fine), pressure, 0xFFFFF >> drop_p
    )
    h = code_for(lambda c: calibration.humidity(c, fine), humidity, 0xFFFF)
    return t << drop_t, p << drop_p, h


class Chip(Faulty):
    """One chip on a bus."""

    CALIBRATIONS: ClassVar[tuple[Calibration, ...]] = CALIBRATIONS
    CTRL_HUM: ClassVar = CTRL_HUM
    DATA: ClassVar = range(DATA, DATA_END)
    """The registers that hold the codes."""
    FAULTS: ClassVar = {
        **dict.fromkeys(
            ("gone", "nack", "timeout", "arb", "eio", "ff", "zero", "garbage"),
            frozenset({"transfer"}),
        ),
        **dict.fromkeys(("stuck", "lost-trigger", "nodata"), frozenset({"trigger"})),
        "lost-write": frozenset({"write"}),
        "zero-calibration": frozenset({"trimming"}),
        "dead-humidity": frozenset({"humidity"}),
        "dead-pressure": frozenset({"pressure"}),
        "locked-humidity": frozenset({"humidity-setting"}),
    }

    def __init__(self, spec: Mapping[str, Any]) -> None:
        """Build and power the chip of one "chips" entry of a machine spec."""
        self.name: str = spec["name"]
        self.address = int(spec.get("address", "0x76"), 0)
        self.chip_id = int(spec.get("chip_id", "0x60"), 0)
        self.calibration = self.CALIBRATIONS[spec.get("calibration", 0)]
        self.values: dict[str, Value] = {
            q: spec.get(q, QUANTITIES[q]) for q in QUANTITIES
        }
        self.fail_as(spec.get("fault"))
        self.outrun = False
        """Whether a conversion may end before the first look at the chip.

        On a bus of 100 kHz it does not; on a loaded machine the first look may be late.
        """
        self.counters: Counter[str] = Counter()
        """Transfers, conversions, resets, and early_reads while measuring."""
        self.power_cycle()

    def power_cycle(self) -> None:
        """Lose everything that was written, as after a brown-out."""
        self._pointer = 0
        self._ctrl_hum = 0
        self._control = Control()
        self._ready = now() + START_UP
        self._end: float | None = None
        self._has_been_read = False
        """Whether the chip has been read since the conversion began."""
        self._begun, self._cycles = 0.0, 0
        self._no_data = False
        self._publish(SKIPPED, SKIPPED, SKIPPED_HUMIDITY)

    def write(self, data: bytes) -> None:
        """Take the register pointer, and pairs of register and value."""
        self._pointer = data[0]
        for register, value in zip(data[::2], data[1::2], strict=False):
            if self.strike("write") is not None:
                continue
            if register != self.CTRL_HUM or self.strike("humidity-setting") is None:
                self._set(register, value)

    def read(self, length: int) -> bytes:
        """Return registers from the pointer on, and advance it."""
        busy = self._advance()
        self._has_been_read = True
        start, end = self._pointer, self._pointer + length
        self._pointer = end & 0xFF
        if busy and start < self.DATA.stop and end > self.DATA.start:
            self.counters["early_reads"] += 1
        return self._image(busy=busy)[start:end].ljust(length, b"\0")

    def _image(self, *, busy: bool) -> bytes:
        """Return all registers."""
        copying = now() < self._ready
        blank = copying or self.strike("trimming") is not None
        first, second = (BLANK_CALIBRATION if blank else self.calibration).registers
        image = bytearray(256)
        image[TRIMMING : TRIMMING + len(first)] = first
        image[CHIP_ID] = self.chip_id
        if self.chip_id == BME280:
            image[TRIMMING_HUMIDITY : TRIMMING_HUMIDITY + len(second)] = second
            image[CTRL_HUM] = self._ctrl_hum
        image[STATUS] = MEASURING * busy | COPYING * copying
        image[CTRL_MEAS], image[CONFIG] = self._control.meas, self._control.config
        image[DATA:DATA_END] = self._data
        return bytes(image)

    def _set(self, register: int, value: int) -> None:
        """Write one register."""
        self._advance()
        control = self._control
        if register == RESET and value == RESET_WORD:
            self._reset()
        elif register == CTRL_HUM and self.chip_id == BME280:
            # It takes effect only when ctrl_meas is written after it.
            self._ctrl_hum = value & 7
        elif register == CONFIG and control.mode != NORMAL:
            self._control = Control(control.meas, control.humidity, value & 0xFD)
        elif register == CTRL_MEAS:
            self._trigger(Control(value, self._ctrl_hum, control.config))

    def _reset(self) -> None:
        """Do what a reset does; it also ends a lock of the humidity's setting."""
        self.counters["resets"] += 1
        self.power_cycle()
        if self.fault is not None and self.fault.name == "locked-humidity":
            self.clear()

    def _trigger(self, control: Control) -> None:
        """Take a new ctrl_meas, and start the mode in it."""
        fault = self.strike("trigger") if control.mode != SLEEP else None
        if fault and fault.name == "lost-trigger":
            return
        self._no_data = fault is not None and fault.name == "nodata"
        previous, self._control = self._control, control
        if control.mode == NORMAL:
            if previous.mode != NORMAL:
                self._begun, self._cycles = now(), 0
        elif control.mode != SLEEP:
            stuck = fault is not None and fault.name == "stuck"
            self._end = float("inf") if stuck else now() + control.duration
            self._has_been_read = False

    def _advance(self) -> bool:
        """Bring the chip up to now; return whether it is measuring."""
        if self._end is not None:
            if now() < self._end or not (self._has_been_read or self.outrun):
                return True
            self._end = None
            self._convert(1)
            self._control = replace(self._control, meas=self._control.meas & ~3)
        if self._control.mode != NORMAL:
            return False
        cycles, position = divmod(now() - self._begun, self._control.cycle)
        busy = position < self._control.duration
        cycle_count = int(cycles) + (not busy)
        if cycle_count > self._cycles:
            self._convert(cycle_count - self._cycles)
            self._cycles = cycle_count
        return busy

    def _convert(self, conversions: int) -> None:
        """Finish conversions; only the last one's result stays."""
        self.counters["conversions"] += conversions
        timestamp = time.time()
        t, p, h = codes(
            self.calibration,
            self._control.dropped,
            *(value_at(self.values[q], timestamp) or 0.0 for q in QUANTITIES),
        )
        if isinstance(self.values["temperature"], dict):
            t += self.counters["conversions"] & 1  # The last digits are noise.
        osrs_t, osrs_p, osrs_h = self._control.oversampling
        if self._no_data:
            osrs_t = osrs_p = osrs_h = 0
        osrs_p *= self.strike("pressure") is None
        osrs_h *= self.strike("humidity") is None
        self._publish(
            t if osrs_t else SKIPPED,
            p if osrs_p else SKIPPED,
            h if osrs_h else SKIPPED_HUMIDITY,
        )

    def _publish(self, t: int, p: int, h: int) -> None:
        """Put codes into the data registers."""
        if self.chip_id != BME280:
            h = 0
        pressure, temperature = (p << 4).to_bytes(3), (t << 4).to_bytes(3)
        self._data = pressure + temperature + h.to_bytes(2)


def spoil(name: str, data: bytes) -> bytes:
    """Return the bytes that were read, changed by a fault."""
    match name:
        case "ff":
            return b"\xff" * len(data)
        case "zero":
            return bytes(len(data))
        case "garbage":
            return os.urandom(len(data))
    return data
