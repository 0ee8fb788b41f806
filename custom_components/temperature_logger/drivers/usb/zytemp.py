"""CO2 monitors with a ZyAura sensor, sold under many names.

After a feature report with a key they send one value after the other, each in a
report of 8 bytes:

    ID HH LL SUM 0d xx xx xx     big-endian code, SUM of the first three bytes

Older ones encrypt the report with the key, newer ones ignore it; nothing but the
report itself tells which. Source: hackaday.io/project/5301, leorbs/airco2ntrol and
vfilimonov/co2meter, from the traffic of the makers' own program.
"""

from collections.abc import Callable
from contextlib import suppress
from typing import ClassVar, Final, NamedTuple, override

from ..errors import BadFrameError, Fault, out_of_range
from ..readings import Reading
from .hidraw import Node
from .models import ZYTEMP
from .stream import Stream

# Any key does; this is the one of the makers' own program.
KEY: Final = bytes.fromhex("c4c6c0924023dc96")
WORD: Final = int.from_bytes(b"Htemp99e")
ORDER: Final = (2, 4, 0, 7, 1, 6, 5, 3)
SIZE: Final = 8
END: Final = 0x0D
# Seconds; each value comes every few seconds, so three are lost before one is too old.
AGE: Final = 15.0
# Seconds after which what was reported is a reading, without a humidity that may come.
ENOUGH: Final = 4.0
# One encrypted report in 65,000 looks like a plain one. So many in a row do not.
SURE: Final = 3

CO2: Final = 0x50
HUMIDITY: Final = 0x41
OTHER_HUMIDITY: Final = 0x44
TEMPERATURE: Final = 0x42


class Item(NamedTuple):
    """A value in a report."""

    formula: Callable[[int], float]
    low: float
    high: float
    """What the monitor can measure; anything else is no value."""


ITEMS: Final = {
    # The first value after power-up may be 25,000. There is no air without CO2.
    CO2: Item(formula=float, low=1, high=5000),
    # Made for rooms, 0 to 50 °C.
    TEMPERATURE: Item(formula=lambda code: code / 16 - 273.15, low=-10, high=60),
    HUMIDITY: Item(formula=lambda code: code / 100, low=0, high=100),
    OTHER_HUMIDITY: Item(formula=lambda code: code / 100, low=0, high=100),
}


class ZyTemp:
    """The latest values of one monitor."""

    quantities: Final = ("temperature", "humidity", "co2")

    def __init__(self) -> None:
        """Know nothing yet."""
        self._encrypted: bool | None = None
        self._alike = 0
        self._began: float | None = None
        self._held: list[tuple[bytes, float]] = []
        """What came until it is sure whether that is encrypted, in plain."""
        self._round = False
        """Whether a value came again, so that all others have come."""
        self._values: dict[int, tuple[float, float]] = {}
        """Value and time of each item."""

    def take(self, report: bytes, now: float) -> None:
        """Keep the value in a report of 8 bytes: °C, % or ppm.

        Raises BadFrameError for one that is neither plain nor encrypted, and for a
        value that the monitor cannot measure.
        """
        if len(report) != SIZE:
            raise BadFrameError(Fault.BAD_REPORT, report=report.hex(" "))
        self._held.append((self._plain(report), now))
        if self._began is None:
            self._began = now
        if self._alike < SURE:
            return
        *earlier, (latest, _) = self._held
        self._held.clear()
        for plain, time in earlier:
            with suppress(BadFrameError):
                self._keep(plain, time)
        self._keep(latest, now)

    def _keep(self, plain: bytes, now: float) -> None:
        """Keep the value in a plain report, if it is one that is known."""
        if (item := ITEMS.get(plain[0])) is None:
            return
        value = item.formula(int.from_bytes(plain[1:3]))
        if not item.low <= value <= item.high:
            raise out_of_range(f"{value:.2f}", item.low, item.high)
        self._round |= plain[0] in self._values
        self._values[plain[0]] = (value, now)

    def reading(self, now: float) -> Reading | None:
        """Return the young values, once temperature and CO2 are among them.

        Humidity comes in the same round or not at all.
        """
        if self._began is None or not (self._round or now - self._began >= ENOUGH):
            return None
        values = {
            item: value
            for item, (value, time) in self._values.items()
            if now - time <= AGE
        }
        if not {TEMPERATURE, CO2} <= set(values):
            return None
        humidity = values.get(HUMIDITY)
        if HUMIDITY not in self._values and self._round:
            # Some firmware calls it so, and then reports it by no other name.
            humidity = values.get(OTHER_HUMIDITY)
        return Reading(
            temperature=values[TEMPERATURE],
            # Monitors without a sensor for humidity report 0 %, which no room has.
            humidity=humidity or None,
            co2=values[CO2],
        )

    def _plain(self, report: bytes) -> bytes:
        """Return a report in plain, and count how many were encrypted alike."""
        ways = {False: report, True: decrypted(report)}
        found = {way: content for way, content in ways.items() if _is_whole(content)}
        if found and self._alike < SURE:
            if {self._encrypted} != set(found):
                self._alike, self._encrypted = 0, next(iter(found))
                self._held.clear()
            self._alike += 1
        if self._encrypted not in found:
            raise BadFrameError(Fault.BAD_REPORT, report=report.hex(" "))
        return found[self._encrypted]


def decrypted(report: bytes) -> bytes:
    """Return what an older monitor encrypted with the key: 8 bytes."""
    number = int.from_bytes(bytes(report[place] for place in ORDER))
    number ^= int.from_bytes(KEY)
    number = (number >> 3 | number << 61) & (2**64 - 1)
    word = WORD.to_bytes(SIZE)
    return bytes(
        (byte - (letter << 4 | letter >> 4)) & 0xFF
        for byte, letter in zip(number.to_bytes(SIZE), word, strict=True)
    )


class ZyTempStream(Stream):
    """One CO2 monitor at one place."""

    DECODER: ClassVar = ZyTemp
    MODEL: ClassVar = ZYTEMP

    @override
    def _start(self, node: Node) -> None:
        """Send the key, after which the monitor begins to report."""
        node.set_feature(KEY)


def _is_whole(report: bytes) -> bool:
    """Return whether the checksum and the end of a plain report are right."""
    return report[3] == sum(report[:3]) & 0xFF and report[4] == END
