"""The Diamex adapter for DS18B20 probes: one device, any number of probes.

It reports one probe after the other, each in a report of 64 bytes:

    N I P xx LL HH xx xx R1 .. R8     probe I of N, little-endian tenths of a degree,
                                      and the probe's ROM code

Source: tempsense by J. Szpilewski and elfalko/python-diamex-ds18b20; for the probes the
data sheet of the DS18B20 (19-7487), ROM code and CRC in sections "64-bit Lasered ROM
Code" and "CRC Generation".
"""

from typing import ClassVar, Final

from ..errors import BadFrameError, Fault, Invalid
from ..readings import Reading, Value, probe_quantity
from ..values import Range, checked
from .latest import LatestValues
from .models import DIAMEX
from .stream import Stream

DIAMEX_REPORT_BYTES: Final = 64
ROM_BYTES: Final = slice(8, 16)
DS18B20_FAMILY: Final = 0x28
DS18B20_RANGE_C: Final = Range(-55, 125)
# A probe that lost its supply reports this until it has measured.
POWER_ON_C: Final = 85.0
# A probe that really warms up to 85 °C gets there in smaller steps.
MAX_STEP_C: Final = 2.0
# A probe measures for 0.75 s; the adapter may start them one after the other.
DIAMEX_MAX_AGE_S: Final = 10.0
EXTRA_AGE_PER_PROBE_S: Final = 1.0
# After this time a reading leaves out the probes that have not reported.
ALL_PROBES_TIMEOUT_S: Final = 3.5


class Diamex:
    """Decodes the reports of one adapter and keeps the latest values of its probes."""

    def __init__(self) -> None:
        """Begin without values."""
        self.quantities: tuple[str, ...] = ()
        """The quantities of the probes in the last reading."""
        self._count = 0
        self._begin(0)

    def _begin(self, now: float) -> None:
        """Forget the probes and their values; wait for all probes again."""
        self._before: dict[str, tuple[float, float]] = {}
        """The last valid temperature of each probe, and its time, by ROM code."""
        self._roms: dict[int, str] = {}
        """The ROM code of each probe, by its number, which may change."""
        self.renew(now)

    def renew(self, now: float, /) -> None:
        """Forget the values: those of the next reading come from later reports.

        The last temperature of each probe is kept. It tells whether 85 °C is real.
        """
        self._began_at = now
        self._latest = LatestValues[str]()
        """The values by ROM code."""
        self._malformed: set[int] = set()
        """The numbers of the probes whose last report was malformed."""

    def feed(self, report: bytes, now: float) -> None:
        """Store the temperature in a report of 64 bytes, in °C, by the ROM code.

        Raises BadFrameError for a malformed report, and for a ROM code that is not that
        of a DS18B20.
        """
        count, number = report[:2] if len(report) == DIAMEX_REPORT_BYTES else (0, 0)
        quoted = report[: ROM_BYTES.stop].hex(" ")
        if not 1 <= number <= count:
            raise BadFrameError(Fault.BAD_REPORT, report=quoted)
        if count != self._count:
            # A probe was added or removed, and the others may have new numbers.
            self._count = count
            self._begin(now)
        code = report[ROM_BYTES]
        if code[:1] != bytes((DS18B20_FAMILY,)) or crc(code):
            self._malformed.add(number)
            raise BadFrameError(Fault.BAD_REPORT, report=quoted)
        self._malformed.discard(number)
        rom = code.hex()
        self._roms = {n: other for n, other in self._roms.items() if other != rom}
        self._roms[number] = rom
        tenths = int.from_bytes(report[4:6], "little", signed=True)
        self._latest.put(rom, self._checked(rom, tenths / 10, now), now)

    def reading(self, now: float) -> Reading | None:
        """Return the current values, once all probes have reported or timed out.

        A probe that has become silent, or sends invalid values, does not affect the
        others. Raises BadFrameError if all values are invalid.
        """
        current = self._latest.current(now, self._age)
        numbers = {n for n, rom in self._roms.items() if rom in current}
        reported = len(numbers | self._malformed)
        if not numbers or (
            reported < self._count and now - self._began_at < ALL_PROBES_TIMEOUT_S
        ):
            return None
        silent = Invalid.of(Fault.NO_ANSWER)
        values: dict[str, Value] = {
            probe_quantity(rom): current.get(rom, silent) for rom in self._roms.values()
        }
        self.quantities = tuple(sorted(values))
        return Reading.of(values)

    @property
    def _age(self) -> float:
        """The time in seconds for which a value is current."""
        return DIAMEX_MAX_AGE_S + EXTRA_AGE_PER_PROBE_S * self._count

    def _checked(self, rom: str, temperature: float, now: float) -> float | Invalid:
        """Return the temperature of a probe, or its fault if it is not measured."""
        value = checked("temperature", temperature, DS18B20_RANGE_C)
        if value == POWER_ON_C and not self._is_continuous(rom, temperature, now):
            return Invalid.of(Fault.PROBE_RESET, probe=rom)
        if not isinstance(value, Invalid):
            self._before[rom] = value, now
        return value

    def _is_continuous(self, rom: str, temperature: float, now: float) -> bool:
        """Return whether a probe reported about the same temperature just before."""
        if rom not in self._before:
            return False
        before, time = self._before[rom]
        return abs(temperature - before) <= MAX_STEP_C and now - time <= self._age


def crc(code: bytes) -> int:
    """Return the CRC-8 of the 1-Wire bus; 0 for a code that ends with a correct CRC."""
    remainder = 0
    for byte in code:
        remainder ^= byte
        for _ in range(8):
            remainder = remainder >> 1 ^ (0x8C if remainder & 1 else 0)
    return remainder


class DiamexStream(Stream):
    """The driver of one adapter."""

    DECODER: ClassVar = Diamex
    MODEL: ClassVar = DIAMEX
