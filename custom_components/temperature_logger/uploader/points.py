"""Rows of the history as readings to send. Nothing here asks anybody."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
import math
from typing import Final, NamedTuple

from ..history.readings import TOGETHER

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


def points(values: Iterable[Value]) -> list[Point]:
    """Return the readings that values are of, in the order of their first rows.

    Those of a device within two seconds belong together, as in every other answer. The
    rows of a reading follow one another, unless somebody has written them by himself.
    """
    found: list[Point] = []
    near: dict[tuple[str, int], Point] = {}
    for state_id, source, time, value in values:
        if not math.isfinite(value):
            continue
        slot = int(time // TOGETHER)
        for neighbour in (slot, slot - 1, slot + 1):
            point = near.get((source.device_id, neighbour))
            if point is not None and abs(time - point.started) < TOGETHER:
                break
        else:
            point = Point(source, time, state_id, state_id, {})
            near[source.device_id, slot] = point
            found.append(point)
        point.started = min(point.started, time)
        point.last = state_id
        point.values[source.quantity] = value
    return found


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
        if until - TOGETHER < point.started < until + FUTURE:
            return _up_to(found[:count], point.first)
    return found, end


def whole(found: list[Point]) -> tuple[list[Point], int] | None:
    """Return the readings before the last ones, which may go on with the next rows.

    None where all may.
    """
    for count in range(len(found) - 1, 0, -1):
        if abs(found[-1].started - found[count - 1].started) >= TOGETHER:
            kept, end = _up_to(found[:count], found[count].first)
            return (kept, end) if kept else None
    return None


def _up_to(found: list[Point], first: int) -> tuple[list[Point], int]:
    """Return the readings that end before a row, with those that go on left out."""
    while found and max(point.last for point in found) >= first:
        first = min(point.first for point in found if point.last >= first)
        found = [point for point in found if point.first < first]
    return found, first - 1
