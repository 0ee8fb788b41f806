"""The Diamex adapter for DS18B20 probes: one device, any number of probes.

It reports one probe after the other, each in 64 bytes:

    N I P xx LL HH xx xx R1 .. R8     probe I of N, little-endian tenths of a degree,
                                      and the probe's ROM code

Source: tempsense by J. Szpilewski and elfalko/python-diamex-ds18b20; for the probes the
data sheet of the DS18B20 (19-7487), ROM code and CRC in sections "64-bit Lasered ROM
Code" and "CRC Generation".
"""

from typing import ClassVar, Final, NamedTuple

from ..errors import BadFrameError, Fault, out_of_range
from ..readings import Reading, probe_quantity
from .models import DIAMEX
from .stream import Stream

SIZE: Final = 64
ROM: Final = slice(8, 16)
DS18B20: Final = 0x28
LOW: Final = -55.0
HIGH: Final = 125.0
# What a probe says that has lost its supply and not measured since.
POWER_ON: Final = 85.0
# °C. A probe that was there already comes to 85 °C in steps smaller than this.
STEP: Final = 2.0
# Seconds. A probe measures for 0.75, perhaps one after the other.
AGE: Final = 10.0
AGE_PER_PROBE: Final = 1.0
# Seconds after which the probes that have reported are a reading, without the others.
ENOUGH: Final = 3.5


class Value(NamedTuple):
    """What a probe said."""

    rom: str
    temperature: float
    time: float


class Diamex:
    """The latest values of the probes of one adapter."""

    def __init__(self) -> None:
        """Know of no probe yet."""
        self._began = 0.0
        self._count = 0
        self._refused: dict[int, float] = {}
        """When a probe last said what cannot be, by its number."""
        self._values: dict[int, Value] = {}
        """By the number that the adapter gives a probe, which may change."""
        self.quantities: tuple[str, ...] = ()
        """Those of the probes that the last reading had."""

    def take(self, report: bytes, now: float) -> None:
        """Keep the temperature in a report of 64 bytes: °C, by the probe's ROM code.

        Raises BadFrameError for a report that is none, a ROM code that is not that of
        a DS18B20, and a value that it cannot have measured.
        """
        count, number = report[:2] if len(report) == SIZE else (0, 0)
        if not 1 <= number <= count:
            raise BadFrameError(Fault.BAD_REPORT, report=report[: ROM.stop].hex(" "))
        if count != self._count:
            # A probe was added or taken away, and the others may be numbered anew.
            self._values.clear()
            self._refused.clear()
            self._count, self._began = count, now
        try:
            value = self._value(report, now)
        except BadFrameError:
            self._refused[number] = now
            raise
        self._refused.pop(number, None)
        self._values = {
            own: other for own, other in self._values.items() if other.rom != value.rom
        } | {number: value}

    def _value(self, report: bytes, now: float) -> Value:
        """Return what a probe says; raise BadFrameError for what cannot be."""
        rom = report[ROM]
        if rom[:1] != bytes((DS18B20,)) or crc(rom):
            raise BadFrameError(Fault.BAD_REPORT, report=report[: ROM.stop].hex(" "))
        value = Value(
            rom=rom.hex(),
            temperature=int.from_bytes(report[4:6], "little", signed=True) / 10,
            time=now,
        )
        if not LOW <= value.temperature <= HIGH:
            raise out_of_range(f"{value.temperature:.1f}", LOW, HIGH)
        if value.temperature == POWER_ON and not self._led_to(value):
            raise BadFrameError(Fault.PROBE_RESET, probe=value.rom)
        return value

    def reading(self, now: float) -> Reading | None:
        """Return the young values, once all probes have reported or had their time.

        A probe that says what cannot be, or nothing, costs the others nothing.
        """
        young = {
            number: value
            for number, value in self._values.items()
            if now - value.time <= self._age and number not in self._refused
        }
        values = young.values()
        heard = len(young.keys() | self._refused.keys())
        if not values or (heard < self._count and now - self._began < ENOUGH):
            return None
        probes = {value.rom: value.temperature for value in values}
        self.quantities = tuple(map(probe_quantity, sorted(probes)))
        return Reading(probes=probes)

    @property
    def _age(self) -> float:
        """Seconds that a value counts."""
        return AGE + AGE_PER_PROBE * self._count

    def _led_to(self, value: Value) -> bool:
        """Return whether a probe was about as warm just before."""
        return any(
            other.rom == value.rom
            and abs(other.temperature - value.temperature) <= STEP
            and value.time - other.time <= self._age
            for other in self._values.values()
        )


def crc(code: bytes) -> int:
    """Return the CRC-8 of the 1-Wire bus; 0 for a code that ends in its own."""
    remainder = 0
    for byte in code:
        remainder ^= byte
        for _ in range(8):
            remainder = remainder >> 1 ^ (0x8C if remainder & 1 else 0)
    return remainder


class DiamexStream(Stream):
    """One adapter at one place."""

    DECODER: ClassVar = Diamex
    MODEL: ClassVar = DIAMEX
