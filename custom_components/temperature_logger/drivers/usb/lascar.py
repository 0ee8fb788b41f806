"""The EL-USB-RT by Lascar, sold by Omega as OM-EL-USB-RT, too.

It reports temperature and humidity in turn, one of them every half a second:

    03 LL HH     little-endian tenths of a degree, from -200 °C on
    02 HH        half percents

Source: Á. Sancho, lascar-usb-thermometer, and the driver of CINF/PyExpLabSys.
"""

from typing import ClassVar, Final

from ..errors import BadFrameError, Fault, out_of_range
from ..readings import Reading
from .models import LASCAR
from .stream import Stream

REPORTS_IN: Final = 0x81
HUMIDITY: Final = 2
TEMPERATURE: Final = 3
# What the sensor in it, one for both quantities, can measure at most.
RANGES: Final = {HUMIDITY: (0.0, 100.0), TEMPERATURE: (-40.0, 85.0)}
# Bytes of a report; more of them are padding.
SIZES: Final = {HUMIDITY: 2, TEMPERATURE: 3}
# Seconds; several reports are lost before a value is too old.
AGE: Final = 10.0


class Lascar:
    """The latest values of one EL-USB-RT."""

    quantities: Final = ("temperature", "humidity")

    def __init__(self) -> None:
        """Know nothing yet."""
        self._values: dict[int, tuple[float, float]] = {}
        """Value and time of each kind of report."""

    def take(self, report: bytes, now: float) -> None:
        """Keep the value in a report, °C or %.

        Raises BadFrameError for a report that is none and for a value that the sensor
        cannot measure.
        """
        kind = report[0] if report else 0
        if kind not in SIZES or len(report) < SIZES[kind]:
            raise BadFrameError(Fault.BAD_REPORT, report=report.hex(" "))
        code = int.from_bytes(report[1 : SIZES[kind]], "little")
        value = code / 2 if kind == HUMIDITY else (code - 2000) / 10
        low, high = RANGES[kind]
        if not low <= value <= high:
            raise out_of_range(f"{value:.1f}", low, high)
        self._values[kind] = (value, now)

    def reading(self, now: float) -> Reading | None:
        """Return the latest values if both are there and young."""
        values = {
            kind: value
            for kind, (value, time) in self._values.items()
            if now - time <= AGE
        }
        if len(values) < len(SIZES):
            return None
        return Reading(temperature=values[TEMPERATURE], humidity=values[HUMIDITY])


class LascarStream(Stream):
    """One EL-USB-RT at one place."""

    DECODER: ClassVar = Lascar
    ENDPOINT: ClassVar = REPORTS_IN
    MODEL: ClassVar = LASCAR
