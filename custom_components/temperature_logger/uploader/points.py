"""Groups rows of the history into readings, and readings into batches."""

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain
import math
from operator import attrgetter
from typing import Final, NamedTuple

from ..history.readings import READING_SECONDS, reading_starts

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
    """The id of its first row."""
    last: int
    """The id of its last row."""
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
    """Some readings after the cursor; each is complete."""

    points: list[Point]
    end: int
    """The row id to which the cursor moves once they have arrived."""
    is_last: bool


class Batch(NamedTuple):
    """Some readings that are sent in one request."""

    points: list[Point]
    end: int | None
    """The row id to which the cursor moves once they have arrived.

    None if one of them has rows behind it: the cursor then waits for the next batch.
    """


def to_points(values: Iterable[RowValue]) -> list[Point]:
    """Group values into readings, ordered by their first rows.

    Queries of the history give the same readings. The values may have any order.
    """
    devices: dict[str, list[RowValue]] = {}
    for value in values:
        if math.isfinite(value.value):
            devices.setdefault(value.source.device_id, []).append(value)
    points = chain.from_iterable(map(_points_of_device, devices.values()))
    return sorted(points, key=attrgetter("first"))


def _points_of_device(values: list[RowValue]) -> Iterable[Point]:
    """Group the values of one device into readings, ordered by time."""
    values.sort(key=attrgetter("time"))
    starts = reading_starts(value.time for value in values)
    points: dict[float, Point] = {}
    for state_id, source, time, value in values:
        started = starts[bisect_right(starts, time) - 1]
        if (point := points.get(started)) is None:
            point = points[started] = Point(source, started, state_id, state_id, {})
        point.first = min(point.first, state_id)
        point.last = max(point.last, state_id)
        point.values[source.quantity] = value
    return points.values()


def first_batch(
    points: list[Point], size: int, open_until: int, end: int
) -> tuple[Batch, list[Point]]:
    """Split off a batch of `size` readings; return it and the rest.

    The batch ends before the first row of the rest. Its end is None if a reading of the
    batch, or an earlier one, has rows behind that. `open_until` is the last row of the
    earlier ones, and `end` the row id at which all readings end.
    """
    batch, rest = points[:size], points[size:]
    if not rest:
        return Batch(batch, end), []
    open_until = max(open_until, *(point.last for point in batch))
    first = rest[0].first
    return Batch(batch, first - 1 if open_until < first else None), rest


def take_complete(
    points: list[Point], until: float, end: int
) -> tuple[list[Point], int]:
    """Return the complete readings before the first incomplete one, and their end.

    All rows up to the Unix time `until` are there, so a reading that began 2 s before
    is complete. So is a reading far in the future: the clock was set back after it. The
    end is a row id; if all readings are complete, it is `end`.
    """
    for count, point in enumerate(points):
        if until - READING_SECONDS < point.started < until + MAX_AHEAD_SECONDS:
            return _take_before(points[:count], point.first)
    return points, end


def take_ended(points: list[Point]) -> tuple[list[Point], int] | None:
    """Return the readings that cannot get rows of the next page, and their end.

    None if all can.
    """
    for count in range(len(points) - 1, 0, -1):
        if abs(points[-1].started - points[count - 1].started) >= READING_SECONDS:
            ended, end = _take_before(points[:count], points[count].first)
            return (ended, end) if ended else None
    return None


def _take_before(points: list[Point], row_id: int) -> tuple[list[Point], int]:
    """Return the readings that end before a row, and the row id at which they end.

    Readings that continue behind that are left out.
    """
    while points and max(point.last for point in points) >= row_id:
        row_id = min(point.first for point in points if point.last >= row_id)
        points = [point for point in points if point.first < row_id]
    return points, row_id - 1
