"""The Go!Temp by Vernier, a steel probe on USB.

It sends a report of 8 bytes about twice a second, without a command:

    N C LL HH LL HH LL HH     N temperatures (1 to 3), counter C of the reports,
                              little-endian 1/128 °C

The endpoint may still hold a report from before the poll. The counter shows a gap
after such a report, so a temperature counts only if its report follows the one before.

Most kernels bind the device to their own driver ldusb, which makes no hidraw node.
Source: J. McMullan, gotemp.c, and G. Kroah-Hartman's kernel driver of 2005.
"""

import struct
from typing import ClassVar, Final

from ..errors import BadFrameError, Fault, Invalid
from ..readings import Reading
from ..values import Range, checked
from .latest import LatestValues
from .models import GOTEMP
from .stream import Stream

GOTEMP_REPORT_BYTES: Final = 8
MAX_TEMPERATURES: Final = 3
GOTEMP_ENDPOINT: Final = 0x81
# Several reports have to be lost before the last one is too old.
GOTEMP_MAX_AGE_S: Final = 5.0
GOTEMP_RANGE_C: Final = Range(-10, 110)
# All ones, from a missing sensor. As a value it would be -0.008 °C.
GOTEMP_NO_SENSOR_CODE: Final = -1


class GoTemp:
    """Decodes the reports of one Go!Temp and keeps the latest temperature."""

    quantities: Final = ("temperature",)

    def __init__(self) -> None:
        """Begin without a value."""
        self._counter: int | None = None
        self._latest = LatestValues[str]()
        """The temperature, if its report followed the one before."""

    def feed(self, report: bytes, now: float) -> None:
        """Store the temperatures in a report of 8 bytes, in °C.

        They count if the report follows the one before. Raises BadFrameError for a
        malformed report.
        """
        count, counter = report[:2] if len(report) == GOTEMP_REPORT_BYTES else (0, 0)
        if not 1 <= count <= MAX_TEMPERATURES:
            raise BadFrameError(Fault.BAD_REPORT, report=report.hex(" "))
        follows = self._counter is not None and counter == (self._counter + 1) % 256
        self._counter = counter
        if not follows:
            self._latest = LatestValues()
            return
        for code in struct.unpack(f"<{count}h", report[2:][: 2 * count]):
            self._latest.put("temperature", _temperature(code, report), now)

    def renew(self, _: float, /) -> None:
        """Forget the value: that of the next reading comes from a later report."""
        self._latest = LatestValues()

    def reading(self, now: float) -> Reading | None:
        """Return the temperature if it is certainly new and not too old.

        Raises BadFrameError if it is invalid.
        """
        values = self._latest.current(now, GOTEMP_MAX_AGE_S)
        return Reading.of(values) if values else None


def _temperature(code: int, report: bytes) -> float | Invalid:
    """Return the temperature of a code in a report, or its fault."""
    if code == GOTEMP_NO_SENSOR_CODE:
        return Invalid.of(Fault.BAD_REPORT, report=report.hex(" "))
    return checked("temperature", code / 128, GOTEMP_RANGE_C)


class GoTempStream(Stream):
    """The driver of one Go!Temp."""

    DECODER: ClassVar = GoTemp
    ENDPOINT: ClassVar = GOTEMP_ENDPOINT
    MODEL: ClassVar = GOTEMP
