"""Rows of the history as readings to send. Nothing here asks anybody."""

from collections.abc import Iterable
from dataclasses import dataclass
import math
from typing import Final, NamedTuple

from ..columns import TOGETHER

# Seconds from which on a row is not new, but from before the clock was put back.
FUTURE: Final = 60


class Source(NamedTuple):
    """What an entity shows."""

    device_id: str
    device: str
    """The name of the device."""
    quantity: str


class Value(NamedTuple):
    """A row of the history that holds a value."""

    state_id: int
    source: Source
    time: float
    """Unix time."""
    value: float
    """In °C, %, hPa, ppm or GiB."""


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
    """By quantity, in °C, %, hPa, ppm or GiB."""

    @property
    def collected_at(self) -> int:
        """The time of the reading, the same in every answer: Unix time."""
        return int(self.started)


class Batch(NamedTuple):
    """Some readings, and how far the cursor moves once they have arrived."""

    points: list[Point]
    end: int


def points(values: Iterable[Value]) -> list[Point]:
    """Return the readings that values are of, in the order in which they began.

    The values come in the order of their rows. Which belong together is decided as for
    every other answer: those of a device within two seconds.
    """
    found: list[Point] = []
    current: dict[str, Point] = {}
    for state_id, source, time, value in values:
        if not math.isfinite(value):
            continue
        point = current.get(source.device_id)
        if point is None or abs(time - point.started) >= TOGETHER:
            point = Point(source, time, state_id, state_id, {})
            current[source.device_id] = point
            found.append(point)
        point.started = min(point.started, time)
        point.last = state_id
        point.values[source.quantity] = value
    return found


def first_batch(found: list[Point], size: int, end: int) -> tuple[Batch, list[Point]]:
    """Return a batch of some size, or a little more, and the readings that are left.

    It ends where no reading has begun that is not complete, as the cursor cannot stand
    in the middle of one. The end is that of all readings.
    """
    last = 0
    for count, point in enumerate(found):
        if count >= size and point.first > last:
            return Batch(found[:count], point.first - 1), found[count:]
        last = max(last, point.last)
    return Batch(found, end), []


def complete(found: list[Point], until: float, end: int) -> tuple[list[Point], int]:
    """Return the readings that no further row belongs to, and where they end.

    A reading is complete if it began some seconds before the time until which all rows
    are there. One of the future was written before the clock was put back.
    """
    for count, point in enumerate(found):
        if until - TOGETHER < point.started < until + FUTURE:
            return _up_to(found[:count], point.first)
    return found, end


def whole(found: list[Point]) -> tuple[list[Point], int]:
    """Return the readings before the last ones, which may go on with the next rows.

    All of them if it cannot be told: there is no end to what is written at once.
    """
    newest = found[-1].started
    for count in range(len(found) - 1, 0, -1):
        if abs(newest - found[count - 1].started) >= TOGETHER:
            kept, end = _up_to(found[:count], found[count].first)
            if kept:
                return kept, end
            break
    return found, max(point.last for point in found)


def _up_to(found: list[Point], first: int) -> tuple[list[Point], int]:
    """Return the readings that end before a row, with those that go on left out."""
    while found and max(point.last for point in found) >= first:
        first = min(point.first for point in found if point.last >= first)
        found = [point for point in found if point.first < first]
    return found, first - 1
