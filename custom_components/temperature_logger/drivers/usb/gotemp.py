"""The Go!Temp by Vernier, a probe of steel on USB.

It reports up to three temperatures about twice a second:

    N C LL HH LL HH LL HH     N of them, a rolling counter, little-endian 1/128 °C

Source: J. McMullan, gotemp.c, and G. Kroah-Hartman's kernel driver of 2005. Nothing is
sent to it. The endpoint may hold a report that waited since the last poll; what comes
after it does not follow its counter, and only a report that follows another counts.

Most kernels give it to a driver of their own, ldusb, which makes no hidraw node.
"""

import struct
from typing import ClassVar, Final

from ..errors import BadFrameError, Fault, out_of_range
from ..readings import Reading
from .models import GOTEMP
from .stream import Stream

SIZE: Final = 8
MOST: Final = 3
REPORTS_IN: Final = 0x81
# Seconds; several reports are lost before the last one is too old.
AGE: Final = 5.0
LOW: Final = -10.0
HIGH: Final = 110.0


class GoTemp:
    """What one Go!Temp reported last."""

    quantities: Final = ("temperature",)

    def __init__(self) -> None:
        """Know nothing yet."""
        self._counter: int | None = None
        self._latest: tuple[float, float] | None = None
        """Temperature and time of a report that followed another."""

    def take(self, report: bytes, now: float) -> None:
        """Keep the temperature in a report of 8 bytes, °C, if it follows another.

        Raises BadFrameError for a report that is none and for a value that the probe
        cannot measure.
        """
        count, counter = report[:2] if len(report) == SIZE else (0, 0)
        if not 1 <= count <= MOST:
            raise BadFrameError(Fault.BAD_REPORT, report=report.hex(" "))
        follows = self._counter is not None and counter == (self._counter + 1) % 256
        self._counter, self._latest = counter, None
        values = [
            code / 128 for code in struct.unpack(f"<{count}h", report[2:][: 2 * count])
        ]
        for value in values:
            if not LOW <= value <= HIGH:
                raise out_of_range(f"{value:.2f}", LOW, HIGH)
        if follows:
            self._latest = values[-1], now

    def reading(self, now: float) -> Reading | None:
        """Return the temperature if it is surely a new one, and young."""
        if self._latest is None:
            return None
        temperature, time = self._latest
        return Reading(temperature=temperature) if now - time <= AGE else None


class GoTempStream(Stream):
    """One Go!Temp at one place."""

    DECODER: ClassVar = GoTemp
    ENDPOINT: ClassVar = REPORTS_IN
    MODEL: ClassVar = GOTEMP
