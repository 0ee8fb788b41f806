"""The Diamex adapter for DS18B20 probes: one device, any number of probes.

It reports one probe after the other, each in a report of 64 bytes:

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

DIAMEX_REPORT_BYTES: Final = 64
ROM_BYTES: Final = slice(8, 16)
DS18B20_FAMILY: Final = 0x28
DS18B20_MIN_C: Final = -55.0
DS18B20_MAX_C: Final = 125.0
# A probe that lost its supply reports this until it has measured.
POWER_ON_C: Final = 85.0
# A probe that really warms up to 85 °C gets there in smaller steps.
MAX_STEP_C: Final = 2.0
# A probe measures for 0.75 s; the adapter may start them one after the other.
DIAMEX_MAX_AGE_S: Final = 10.0
EXTRA_AGE_PER_PROBE_S: Final = 1.0
# After this time a reading leaves out the probes that have not reported.
ALL_PROBES_TIMEOUT_S: Final = 3.5


class ProbeValue(NamedTuple):
    """The latest value of a probe."""

    rom: str
    temperature: float
    time: float
    """When it was received, in seconds."""


class Diamex:
    """Decodes the reports of one adapter and keeps the latest values of its probes."""

    def __init__(self) -> None:
        """Begin without values."""
        self._began_at = 0.0
        self._count = 0
        self._refused_at: dict[int, float] = {}
        """When a probe last sent an invalid report, by the number of the probe."""
        self._values: dict[int, ProbeValue] = {}
        """The latest values, by the number of the probe, which may change."""
        self.quantities: tuple[str, ...] = ()
        """The quantities of the probes in the last reading."""

    def feed(self, report: bytes, now: float) -> None:
        """Store the temperature in a report of 64 bytes, in °C, by the ROM code.

        Raises BadFrameError for a malformed report, for a ROM code that is not that of
        a DS18B20, and for a value that the probe cannot have measured.
        """
        count, number = report[:2] if len(report) == DIAMEX_REPORT_BYTES else (0, 0)
        if not 1 <= number <= count:
            raise BadFrameError(
                Fault.BAD_REPORT, report=report[: ROM_BYTES.stop].hex(" ")
            )
        if count != self._count:
            # A probe was added or removed, and the others may have new numbers.
            self._values.clear()
            self._refused_at.clear()
            self._count, self._began_at = count, now
        try:
            value = self._value(report, now)
        except BadFrameError:
            self._refused_at[number] = now
            raise
        self._refused_at.pop(number, None)
        self._values = {
            n: other for n, other in self._values.items() if other.rom != value.rom
        } | {number: value}

    def _value(self, report: bytes, now: float) -> ProbeValue:
        """Return the value in a report; raise BadFrameError for an invalid one."""
        rom = report[ROM_BYTES]
        if rom[:1] != bytes((DS18B20_FAMILY,)) or crc(rom):
            raise BadFrameError(
                Fault.BAD_REPORT, report=report[: ROM_BYTES.stop].hex(" ")
            )
        value = ProbeValue(
            rom=rom.hex(),
            temperature=int.from_bytes(report[4:6], "little", signed=True) / 10,
            time=now,
        )
        if not DS18B20_MIN_C <= value.temperature <= DS18B20_MAX_C:
            raise out_of_range(f"{value.temperature:.1f}", DS18B20_MIN_C, DS18B20_MAX_C)
        if value.temperature == POWER_ON_C and not self._is_continuous(value):
            raise BadFrameError(Fault.PROBE_RESET, probe=value.rom)
        return value

    def reading(self, now: float) -> Reading | None:
        """Return the current values, once all probes have reported or timed out.

        A silent probe, or one that sends invalid reports, does not affect the others.
        """
        current = {
            number: value
            for number, value in self._values.items()
            if now - value.time <= self._age and number not in self._refused_at
        }
        values = current.values()
        reported = len(current.keys() | self._refused_at.keys())
        if not values or (
            reported < self._count and now - self._began_at < ALL_PROBES_TIMEOUT_S
        ):
            return None
        probes = {value.rom: value.temperature for value in values}
        self.quantities = tuple(map(probe_quantity, sorted(probes)))
        return Reading(probes=probes)

    @property
    def _age(self) -> float:
        """The time in seconds for which a value is current."""
        return DIAMEX_MAX_AGE_S + EXTRA_AGE_PER_PROBE_S * self._count

    def _is_continuous(self, value: ProbeValue) -> bool:
        """Return whether a probe reported about the same temperature just before."""
        return any(
            other.rom == value.rom
            and abs(other.temperature - value.temperature) <= MAX_STEP_C
            and value.time - other.time <= self._age
            for other in self._values.values()
        )


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
