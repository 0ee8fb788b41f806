"""The EL-USB-RT by Lascar, which Omega sells as OM-EL-USB-RT.

It sends temperature and humidity in turn, a report every half second:

    03 LL HH     temperature, little-endian tenths of a degree above -200 °C
    02 HH        humidity in steps of 0.5 %

Source: Á. Sancho, lascar-usb-thermometer, and the driver of CINF/PyExpLabSys.
"""

from typing import ClassVar, Final

from ..errors import BadFrameError, Fault, out_of_range
from ..readings import Reading
from .models import LASCAR
from .stream import Stream

LASCAR_ENDPOINT: Final = 0x81
HUMIDITY_REPORT: Final = 2
TEMPERATURE_REPORT: Final = 3
# The widest range of the sensor, which measures both quantities: % and °C.
LASCAR_RANGES: Final = {
    HUMIDITY_REPORT: (0.0, 100.0),
    TEMPERATURE_REPORT: (-40.0, 85.0),
}
# The bytes after these are padding.
LASCAR_REPORT_BYTES: Final = {HUMIDITY_REPORT: 2, TEMPERATURE_REPORT: 3}
# Several reports have to be lost before a value is too old.
LASCAR_MAX_AGE_S: Final = 10.0


class Lascar:
    """Decodes the reports of one EL-USB-RT and keeps the latest values."""

    quantities: Final = ("temperature", "humidity")

    def __init__(self) -> None:
        """Begin without values."""
        self._values: dict[int, tuple[float, float]] = {}
        """Value and time of each kind of report."""

    def feed(self, report: bytes, now: float) -> None:
        """Store the value in a report, in °C or %.

        Raises BadFrameError for a malformed report, and for a value that the sensor
        cannot measure.
        """
        kind = report[0] if report else 0
        if kind not in LASCAR_REPORT_BYTES or len(report) < LASCAR_REPORT_BYTES[kind]:
            raise BadFrameError(Fault.BAD_REPORT, report=report.hex(" "))
        code = int.from_bytes(report[1 : LASCAR_REPORT_BYTES[kind]], "little")
        value = code / 2 if kind == HUMIDITY_REPORT else (code - 2000) / 10
        low, high = LASCAR_RANGES[kind]
        if not low <= value <= high:
            raise out_of_range(f"{value:.1f}", low, high)
        self._values[kind] = (value, now)

    def reading(self, now: float) -> Reading | None:
        """Return the latest values if both have been received and are not too old."""
        values = {
            kind: value
            for kind, (value, time) in self._values.items()
            if now - time <= LASCAR_MAX_AGE_S
        }
        if len(values) < len(LASCAR_REPORT_BYTES):
            return None
        return Reading(
            temperature=values[TEMPERATURE_REPORT], humidity=values[HUMIDITY_REPORT]
        )


class LascarStream(Stream):
    """The driver of one EL-USB-RT."""

    DECODER: ClassVar = Lascar
    ENDPOINT: ClassVar = LASCAR_ENDPOINT
    MODEL: ClassVar = LASCAR
