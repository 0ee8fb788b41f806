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

from ..errors import BadFrameError, Fault, out_of_range
from ..readings import Reading
from .models import GOTEMP
from .stream import Stream

GOTEMP_REPORT_BYTES: Final = 8
MAX_TEMPERATURES: Final = 3
GOTEMP_ENDPOINT: Final = 0x81
# Several reports have to be lost before the last one is too old.
GOTEMP_MAX_AGE_S: Final = 5.0
GOTEMP_MIN_C: Final = -10.0
GOTEMP_MAX_C: Final = 110.0


class GoTemp:
    """Decodes the reports of one Go!Temp and keeps the latest temperature."""

    quantities: Final = ("temperature",)

    def __init__(self) -> None:
        """Begin without a value."""
        self._counter: int | None = None
        self._latest: tuple[float, float] | None = None
        """Temperature and time of the last report, if it followed the one before."""

    def feed(self, report: bytes, now: float) -> None:
        """Store the temperature in a report of 8 bytes, in °C.

        It counts if the report follows the one before. Raises BadFrameError for a
        malformed report, and for a value that the probe cannot measure.
        """
        count, counter = report[:2] if len(report) == GOTEMP_REPORT_BYTES else (0, 0)
        if not 1 <= count <= MAX_TEMPERATURES:
            raise BadFrameError(Fault.BAD_REPORT, report=report.hex(" "))
        follows = self._counter is not None and counter == (self._counter + 1) % 256
        self._counter, self._latest = counter, None
        values = [
            code / 128 for code in struct.unpack(f"<{count}h", report[2:][: 2 * count])
        ]
        for value in values:
            if not GOTEMP_MIN_C <= value <= GOTEMP_MAX_C:
                raise out_of_range(f"{value:.2f}", GOTEMP_MIN_C, GOTEMP_MAX_C)
        if follows:
            self._latest = values[-1], now

    def reading(self, now: float) -> Reading | None:
        """Return the temperature if it is certainly new and not too old."""
        if self._latest is None:
            return None
        temperature, time = self._latest
        if now - time > GOTEMP_MAX_AGE_S:
            return None
        return Reading(temperature=temperature)


class GoTempStream(Stream):
    """The driver of one Go!Temp."""

    DECODER: ClassVar = GoTemp
    ENDPOINT: ClassVar = GOTEMP_ENDPOINT
    MODEL: ClassVar = GOTEMP
