"""Groups rows of the history into readings, and readings into batches."""

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
import math
from operator import attrgetter
from typing import Final, NamedTuple

from ..history import READING_SECONDS, reading_starts

# A row further in the future was written before the clock was set back.
MAX_AHEAD_SECONDS: Final = 60


class Source(NamedTuple):
    """The device and the quantity that an entity shows."""

    device_id: str
    device: str
    """The name of the device."""
    quantity: str


class RowValue(NamedTuple):
    """A row of the history that holds a value."""

    state_id: int
    source: Source
    time: float
    """Unix time."""
    value: float
    """In the unit of its quantity in `units.py`."""


@dataclass(slots=True)
class Point:
    """A reading of one device."""

    source: Source
    """Of its first value."""
    started: float
    """The Unix time of its first value."""
    first: int
    """The number of its first row."""
    last: int
    """The number of its last row."""
    values: dict[str, float]
    """By quantity, in the units of `units.py`."""

    @property
    def collected_at(self) -> int:
        """The time of the reading, the same in every answer: Unix time."""
        return int(self.started)

    @property
    def collected_at_utc(self) -> str:
        """The time of the reading in UTC, as ISO 8601."""
        return f"{datetime.fromtimestamp(self.collected_at, UTC):%Y-%m-%dT%H:%M:%SZ}"


class Page(NamedTuple):
    """Some readings after the cursor, each of them whole."""

    points: list[Point]
    end: int
    """The row at which the cursor stands once they have arrived."""
    is_last: bool


class Batch(NamedTuple):
    """Some readings, and how far the cursor moves once they have arrived."""

    points: list[Point]
    end: int | None
    """None where one of these readings is not complete without the next batch."""


def points(values: Iterable[RowValue]) -> list[Point]:
    """Return the readings that values are of, in the order of their first rows.

    They are the same as in the answers of the history, whatever the order of the rows.
    """
    devices: dict[str, list[RowValue]] = {}
    for value in values:
        if math.isfinite(value.value):
            devices.setdefault(value.source.device_id, []).append(value)
    found = [point for own in devices.values() for point in _points_of_device(own)]
    return sorted(found, key=attrgetter("first"))


def _points_of_device(values: list[RowValue]) -> Iterable[Point]:
    """Return the readings of one device, in the order of time."""
    values.sort(key=attrgetter("time"))
    starts = reading_starts(value.time for value in values)
    found: dict[float, Point] = {}
    for state_id, source, time, value in values:
        started = starts[bisect_right(starts, time) - 1]
        if (point := found.get(started)) is None:
            point = found[started] = Point(source, started, state_id, state_id, {})
        point.first = min(point.first, state_id)
        point.last = max(point.last, state_id)
        point.values[source.quantity] = value
    return found.values()


def first_batch(
    found: list[Point], size: int, open_until: int, end: int
) -> tuple[Batch, list[Point]]:
    """Return so many readings as a batch, and those that are left.

    The cursor cannot stand in the middle of a reading, neither of these nor of those
    that went before and end at some row. The end is that of all readings.
    """
    batch, rest = found[:size], found[size:]
    if not rest:
        return Batch(batch, end), []
    open_until = max(open_until, *(point.last for point in batch))
    first = rest[0].first
    return Batch(batch, first - 1 if open_until < first else None), rest


def complete(found: list[Point], until: float, end: int) -> tuple[list[Point], int]:
    """Return the readings that no further row belongs to, and where they end.

    A reading is complete if it began some seconds before the time until which all rows
    are there. One of the future was written before the clock was put back.
    """
    for count, point in enumerate(found):
        if until - READING_SECONDS < point.started < until + MAX_AHEAD_SECONDS:
            return _up_to(found[:count], point.first)
    return found, end


def whole(found: list[Point]) -> tuple[list[Point], int] | None:
    """Return the readings before the last ones, which may go on with the next rows.

    None where all may.
    """
    for count in range(len(found) - 1, 0, -1):
        if abs(found[-1].started - found[count - 1].started) >= READING_SECONDS:
            kept, end = _up_to(found[:count], found[count].first)
            return (kept, end) if kept else None
    return None


def _up_to(found: list[Point], first: int) -> tuple[list[Point], int]:
    """Return the readings that end before a row, with those that go on left out."""
    while found and max(point.last for point in found) >= first:
        first = min(point.first for point in found if point.last >= first)
        found = [point for point in found if point.first < first]
    return found, first - 1
