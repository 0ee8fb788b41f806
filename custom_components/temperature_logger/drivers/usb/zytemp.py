"""CO2 monitors with a ZyAura sensor, sold under many names.

The driver sends a key as a feature report. The monitor then sends one value after the
other, each in a report of 8 bytes:

    ID HH LL SUM 0d xx xx xx     big-endian code, SUM of the first three bytes

Older monitors encrypt their reports with the key, newer ones ignore it. Only the
reports show which of the two a monitor is. Source: hackaday.io/project/5301,
leorbs/airco2ntrol and vfilimonov/co2meter, from the traffic of the makers' own program.
"""

from collections.abc import Callable
from contextlib import suppress
from typing import ClassVar, Final, NamedTuple, override

from ..errors import BadFrameError, Fault, out_of_range
from ..readings import Reading
from .hidraw import Node
from .models import ZYTEMP
from .stream import Stream

# Any key works; this one is that of the makers' own program.
ENCRYPTION_KEY: Final = bytes.fromhex("c4c6c0924023dc96")
ENCRYPTION_WORD: Final = int.from_bytes(b"Htemp99e")
ENCRYPTION_ORDER: Final = (2, 4, 0, 7, 1, 6, 5, 3)
ZYTEMP_REPORT_BYTES: Final = 8
END_BYTE: Final = 0x0D
# A value comes every few seconds: three have to be lost before the last is too old.
ZYTEMP_MAX_AGE_S: Final = 15.0
# After this time a reading does not wait for a humidity any longer.
FIRST_ROUND_TIMEOUT_S: Final = 4.0
# Reports in a row that settle whether a monitor encrypts: of encrypted reports, one in
# 65,000 looks like a plain one.
FORMAT_REPORTS: Final = 3

CO2_ID: Final = 0x50
HUMIDITY_ID: Final = 0x41
OTHER_HUMIDITY_ID: Final = 0x44
TEMPERATURE_ID: Final = 0x42


class Item(NamedTuple):
    """One kind of value that a monitor reports."""

    formula: Callable[[int], float]
    low: float
    high: float
    """The range of the monitor; a value outside it is invalid."""


ZYTEMP_ITEMS: Final = {
    # ppm. The first value after power-up may be 25,000; 0 does not occur in air.
    CO2_ID: Item(formula=float, low=1, high=5000),
    # °C. The monitor is made for rooms of 0 to 50 °C.
    TEMPERATURE_ID: Item(formula=lambda code: code / 16 - 273.15, low=-10, high=60),
    HUMIDITY_ID: Item(formula=lambda code: code / 100, low=0, high=100),
    OTHER_HUMIDITY_ID: Item(formula=lambda code: code / 100, low=0, high=100),
}


class ZyTemp:
    """Decodes the reports of one monitor and keeps the latest values."""

    quantities: Final = ("temperature", "humidity", "co2")

    def __init__(self) -> None:
        """Begin without values."""
        self._encrypted: bool | None = None
        self._same_format = 0
        self._began_at: float | None = None
        self._undecided: list[tuple[bytes, float]] = []
        """The reports, decrypted if need be, until the encryption is certain."""
        self._has_repeat = False
        """Whether a value came a second time, so that a round is complete."""
        self._values: dict[int, tuple[float, float]] = {}
        """Value and time of each item, by id."""

    def feed(self, report: bytes, now: float) -> None:
        """Store the value in a report of 8 bytes, in °C, % or ppm.

        Raises BadFrameError for a report that is neither plain nor encrypted, and for
        a value that the monitor cannot measure.
        """
        if len(report) != ZYTEMP_REPORT_BYTES:
            raise BadFrameError(Fault.BAD_REPORT, report=report.hex(" "))
        self._undecided.append((self._plain_report(report), now))
        if self._began_at is None:
            self._began_at = now
        if self._same_format < FORMAT_REPORTS:
            return
        *earlier, (latest, _) = self._undecided
        self._undecided.clear()
        for plain, time in earlier:
            with suppress(BadFrameError):
                self._keep(plain, time)
        self._keep(latest, now)

    def _keep(self, plain: bytes, now: float) -> None:
        """Store the value in a plain report, if its id is known."""
        if (item := ZYTEMP_ITEMS.get(plain[0])) is None:
            return
        value = item.formula(int.from_bytes(plain[1:3]))
        if not item.low <= value <= item.high:
            raise out_of_range(f"{value:.2f}", item.low, item.high)
        self._has_repeat |= plain[0] in self._values
        self._values[plain[0]] = (value, now)

    def reading(self, now: float) -> Reading | None:
        """Return the current values, once temperature and CO2 are among them.

        A monitor that measures humidity sends it in each round.
        """
        if self._began_at is None or not (
            self._has_repeat or now - self._began_at >= FIRST_ROUND_TIMEOUT_S
        ):
            return None
        values = {
            item: value
            for item, (value, time) in self._values.items()
            if now - time <= ZYTEMP_MAX_AGE_S
        }
        if not {TEMPERATURE_ID, CO2_ID} <= set(values):
            return None
        humidity = values.get(HUMIDITY_ID)
        if HUMIDITY_ID not in self._values and self._has_repeat:
            # Some firmware uses only this id for the humidity.
            humidity = values.get(OTHER_HUMIDITY_ID)
        return Reading(
            temperature=values[TEMPERATURE_ID],
            # Monitors without a humidity sensor report 0 %, which no room has.
            humidity=humidity or None,
            co2=values[CO2_ID],
        )

    def _plain_report(self, report: bytes) -> bytes:
        """Return a report, decrypted if need be; count reports of the same format."""
        formats = {False: report, True: decrypt(report)}
        valid = {encrypted: r for encrypted, r in formats.items() if _is_valid(r)}
        if valid and self._same_format < FORMAT_REPORTS:
            if {self._encrypted} != set(valid):
                self._same_format, self._encrypted = 0, next(iter(valid))
                self._undecided.clear()
            self._same_format += 1
        if self._encrypted not in valid:
            raise BadFrameError(Fault.BAD_REPORT, report=report.hex(" "))
        return valid[self._encrypted]


def decrypt(report: bytes) -> bytes:
    """Decrypt a report of 8 bytes that an older monitor encrypted with the key."""
    number = int.from_bytes(bytes(report[place] for place in ENCRYPTION_ORDER))
    number ^= int.from_bytes(ENCRYPTION_KEY)
    number = (number >> 3 | number << 61) & (2**64 - 1)
    word = ENCRYPTION_WORD.to_bytes(ZYTEMP_REPORT_BYTES)
    return bytes(
        (byte - (letter << 4 | letter >> 4)) & 0xFF
        for byte, letter in zip(number.to_bytes(ZYTEMP_REPORT_BYTES), word, strict=True)
    )


class ZyTempStream(Stream):
    """The driver of one CO2 monitor."""

    DECODER: ClassVar = ZyTemp
    MODEL: ClassVar = ZYTEMP

    @override
    def _start(self, node: Node) -> None:
        """Send the key; the monitor then begins to report."""
        node.set_feature(ENCRYPTION_KEY)


def _is_valid(report: bytes) -> bool:
    """Return whether the checksum and the end byte of a plain report are right."""
    return report[3] == sum(report[:3]) & 0xFF and report[4] == END_BYTE
