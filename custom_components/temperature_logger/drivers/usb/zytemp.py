"""CO2 monitors with a ZyAura sensor, sold under many names.

The driver sends a key as a feature report. The monitor then sends one value after the
other, each in a report of 8 bytes:

    ID HH LL SUM 0d xx xx xx     big-endian code, SUM of the first three bytes

Older monitors encrypt their reports with the key, newer ones ignore it. Only the
reports show which of the two a monitor is. Source: hackaday.io/project/5301,
leorbs/airco2ntrol and vfilimonov/co2meter, from the traffic of the makers' own program.
"""

from collections.abc import Callable
import errno
from typing import ClassVar, Final, NamedTuple, override

from ..errors import BadFrameError, Fault
from ..readings import Reading, Value
from ..values import HUMIDITY_RANGE_PERCENT, Range, checked
from .hidraw import Node
from .latest import LatestValues
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

    quantity: str
    formula: Callable[[int], float]
    limits: Range


_HUMIDITY: Final = Item("humidity", lambda code: code / 100, HUMIDITY_RANGE_PERCENT)
ZYTEMP_ITEMS: Final = {
    # ppm. A real 6,228 was reported while the display said "Hi". The first values
    # after power-up are wrong, such as 25,000 and 37,407. 0 does not occur in air.
    CO2_ID: Item("co2", float, Range(1, 10_000)),
    # °C. The monitor is made for rooms of 0 to 50 °C.
    TEMPERATURE_ID: Item(
        "temperature", lambda code: code / 16 - 273.15, Range(-10, 60)
    ),
    HUMIDITY_ID: _HUMIDITY,
    OTHER_HUMIDITY_ID: _HUMIDITY,
}


class ZyTemp:
    """Decodes the reports of one monitor and keeps the latest values."""

    quantities: Final = ("temperature", "humidity", "co2")

    def __init__(self) -> None:
        """Begin without values."""
        self._encrypted: bool | None = None
        self._same_format = 0
        self._begin()

    def _begin(self) -> None:
        """Forget the values, and wait for a round of them."""
        self._began_at: float | None = None
        self._undecided: list[tuple[bytes, float]] = []
        """The reports, decrypted if need be, until the encryption is certain."""
        self._seen: set[int] = set()
        """The ids of the items that were received."""
        self._has_repeat = False
        """Whether an item was received twice, so that a round is complete."""
        self._latest = LatestValues[int]()
        """The values by the id of their item."""

    def renew(self, _: float, /) -> None:
        """Forget the values: those of the next reading come from later reports."""
        self._begin()

    def feed(self, report: bytes, now: float) -> None:
        """Store the value in a report of 8 bytes, in °C, % or ppm.

        Raises BadFrameError for a report that is neither plain nor encrypted.
        """
        if len(report) != ZYTEMP_REPORT_BYTES:
            raise BadFrameError(Fault.BAD_REPORT, report=report.hex(" "))
        self._undecided.append((self._plain_report(report), now))
        if self._began_at is None:
            self._began_at = now
        if self._same_format < FORMAT_REPORTS:
            return
        for plain, time in self._undecided:
            self._keep(plain, time)
        self._undecided.clear()

    def _keep(self, plain: bytes, now: float) -> None:
        """Store the value in a plain report, if its id is known."""
        if (item := ZYTEMP_ITEMS.get(plain[0])) is None:
            return
        value = item.formula(int.from_bytes(plain[1:3]))
        self._latest.put(plain[0], checked(item.quantity, value, item.limits), now)
        self._has_repeat |= plain[0] in self._seen
        self._seen.add(plain[0])

    def reading(self, now: float) -> Reading | None:
        """Return the current values, once temperature and CO2 are among them.

        A monitor that measures humidity sends it in each round. Raises BadFrameError if
        all values are invalid.
        """
        if self._began_at is None or not (
            self._has_repeat or now - self._began_at >= FIRST_ROUND_TIMEOUT_S
        ):
            return None
        current = self._latest.current(now, ZYTEMP_MAX_AGE_S)
        if not {TEMPERATURE_ID, CO2_ID} <= set(current):
            return None
        humidity: Value = current.get(HUMIDITY_ID)
        if HUMIDITY_ID not in self._seen and self._has_repeat:
            # Some firmware uses only this id for the humidity.
            humidity = current.get(OTHER_HUMIDITY_ID)
        values: dict[str, Value] = {
            "temperature": current[TEMPERATURE_ID],
            # Monitors without a humidity sensor report 0 %, which no room has.
            "humidity": humidity or None,
            "co2": current[CO2_ID],
        }
        return Reading.of(values)

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
        """Send the key; the monitor then begins to report.

        A monitor that refuses it may report without it.
        """
        try:
            node.set_feature(ENCRYPTION_KEY)
        except BadFrameError as err:
            cause = err.__cause__
            if not isinstance(cause, OSError) or cause.errno != errno.EPIPE:
                raise


def _is_valid(report: bytes) -> bool:
    """Return whether the checksum and the end byte of a plain report are right."""
    return report[3] == sum(report[:3]) & 0xFF and report[4] == END_BYTE
