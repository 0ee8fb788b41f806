"""The EL-USB-RT by Lascar, which Omega sells as OM-EL-USB-RT.

It sends temperature and humidity in turn, a report every half second:

    03 LL HH     temperature, little-endian tenths of a degree above -200 °C
    02 HH        humidity in steps of 0.5 %

Source: Á. Sancho, lascar-usb-thermometer, and the driver of CINF/PyExpLabSys.
"""

from typing import ClassVar, Final

from ..errors import BadFrameError, Fault, Invalid
from ..readings import Reading
from ..values import HUMIDITY_RANGE_PERCENT, Range, checked
from .latest import LatestValues
from .models import LASCAR
from .stream import Stream

LASCAR_ENDPOINT: Final = 0x81
HUMIDITY_REPORT: Final = 2
TEMPERATURE_REPORT: Final = 3
# The widest range of the sensor, which measures both quantities: °C and %.
LASCAR_RANGES: Final = {
    "temperature": Range(-40, 85),
    "humidity": HUMIDITY_RANGE_PERCENT,
}
LASCAR_QUANTITIES: Final = {
    TEMPERATURE_REPORT: "temperature",
    HUMIDITY_REPORT: "humidity",
}
# The bytes after these are padding.
LASCAR_REPORT_BYTES: Final = {HUMIDITY_REPORT: 2, TEMPERATURE_REPORT: 3}
# Several reports have to be lost before a value is too old.
LASCAR_MAX_AGE_S: Final = 10.0


class Lascar:
    """Decodes the reports of one EL-USB-RT and keeps the latest values."""

    quantities: Final = tuple(LASCAR_RANGES)

    def __init__(self) -> None:
        """Begin without values."""
        self._latest = LatestValues[str]()
        """The values by quantity."""

    def feed(self, report: bytes, now: float) -> None:
        """Store the value in a report, in °C or %.

        Raises BadFrameError for a malformed report.
        """
        kind = report[0] if report else 0
        if kind not in LASCAR_REPORT_BYTES or len(report) < LASCAR_REPORT_BYTES[kind]:
            raise BadFrameError(Fault.BAD_REPORT, report=report.hex(" "))
        content = report[1 : LASCAR_REPORT_BYTES[kind]]
        self._latest.put(LASCAR_QUANTITIES[kind], _value(kind, content), now)

    def renew(self, _: float, /) -> None:
        """Forget the values: those of the next reading come from later reports."""
        self._latest = LatestValues()

    def reading(self, now: float) -> Reading | None:
        """Return the latest values if both have been received and are not too old.

        Raises BadFrameError if both are invalid.
        """
        values = self._latest.current(now, LASCAR_MAX_AGE_S)
        return Reading.of(values) if len(values) == len(self.quantities) else None


def _value(kind: int, content: bytes) -> float | Invalid:
    """Return the value in the code of a report of this kind, or its fault."""
    code = int.from_bytes(content, "little")
    if kind == HUMIDITY_REPORT:
        if not code:  # No air is so dry: the sensor has not measured.
            report = bytes((kind, code)).hex(" ")
            return Invalid.of(Fault.BAD_REPORT, report=report)
        return checked("humidity", code / 2, LASCAR_RANGES["humidity"])
    return checked("temperature", (code - 2000) / 10, LASCAR_RANGES["temperature"])


class LascarStream(Stream):
    """The driver of one EL-USB-RT."""

    DECODER: ClassVar = Lascar
    ENDPOINT: ClassVar = LASCAR_ENDPOINT
    MODEL: ClassVar = LASCAR
