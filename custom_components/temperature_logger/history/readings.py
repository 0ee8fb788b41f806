"""Groups the values of one device into readings, as columns."""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from itertools import chain, islice, repeat
import math
from operator import sub
from typing import Final, Literal, NamedTuple

# A reading has the values of a device less than 2 s after its first one.
READING_SECONDS: Final = 2

type StatisticsPeriod = Literal["5minute", "hour", "day"]
type Forwards = Mapping[str, tuple[list[float], list[float]]]
"""The times and the values of each quantity, oldest first; none is empty."""
type Grouped = tuple[list[float], dict[str, list[float | None]]]
"""The start of each reading, and a column of values for each quantity."""


class Span(NamedTuple):
    """The readings of a device to return."""

    start: float
    """Unix time: the start of the span (inclusive)."""
    end: float
    """Unix time: the end of the span (exclusive)."""
    newest_first: bool
    limit: int
    """The maximum number of readings."""


class Series(NamedTuple):
    """The values of one entity, in the order of a span."""

    times: list[float]
    """Unix times."""
    values: list[float]
    is_complete: bool = True
    """False if only the values up to the limit were read."""


class Columns(NamedTuple):
    """The readings of one device, a list per quantity."""

    collected_at: list[int]
    """Unix times."""
    values: dict[str, list[float | None]]
    truncated: bool
    """Whether there are more readings than the limit."""


def reading_starts(times: Iterable[float]) -> list[float]:
    """Return the start of each reading of a device, given the times of all its values.

    The first value begins a reading. Values less than 2 s after the start of a reading
    belong to it; of several values of one quantity, the last one counts. The next value
    begins the next reading. The times may have any order.

    The times must start after a pause of 2 s: only then does the first one begin a
    reading, whatever came before.
    """
    starts: list[float] = []
    start = -math.inf
    for time in sorted(times):
        if time - start >= READING_SECONDS:
            start = time
            starts.append(time)
    return starts


def to_columns(
    quantities: Iterable[str], series: Mapping[str, Series], span: Span
) -> Columns:
    """Return the readings of a device that began in a span, in the order of the span.

    The series must start before the span, after a pause of 2 s, and end 2 s after the
    span.
    """
    step = -1 if span.newest_first else 1
    forwards = {
        quantity: (times[::step], values[::step])
        for quantity, (times, values, _) in series.items()
        if times
    }
    starts, columns = group_aligned(forwards) or group_all(forwards)
    inside = _inside(starts, forwards, series, span)
    collected_at = [*map(int, starts[inside][::step][: span.limit])]
    return Columns(
        collected_at=collected_at,
        values={
            quantity: columns[quantity][inside][::step][: span.limit]
            if quantity in columns
            else [None] * len(collected_at)
            for quantity in quantities
        },
        truncated=inside.stop - inside.start > span.limit
        or not all(entity.is_complete for entity in series.values()),
    )


def iso(time: float) -> str:
    """Return a Unix time as ISO 8601 in UTC, cut to the second."""
    return f"{datetime.fromtimestamp(int(time), UTC).isoformat()[:-6]}Z"


def _inside(
    starts: list[float], forwards: Forwards, series: Mapping[str, Series], span: Span
) -> slice:
    """Return the slice of completely read readings that began in a span.

    A series that ended at the limit lacks values, so the readings near its last value
    may not be complete.
    """
    first, end = span.start, span.end
    ends = [times[-1] for times, _, is_complete in series.values() if not is_complete]
    if ends and span.newest_first:
        unread = max(ends) + READING_SECONDS
        later = islice(starts, bisect_left(starts, unread), None)
        whole = (start for start in later if _is_after_pause(start, forwards))
        first = max(first, next(whole, math.inf))
    elif ends:
        end = min(end, min(ends) - READING_SECONDS)
    return slice(bisect_left(starts, first), bisect_left(starts, end))


def _is_after_pause(start: float, forwards: Forwards) -> bool:
    """Return whether the 2 s before the start of a reading have no value."""
    return all(
        bisect_right(times, start - READING_SECONDS) == bisect_left(times, start)
        for times, _ in forwards.values()
    )


def group_aligned(forwards: Forwards) -> Grouped | None:
    """Return the readings if each has one value of each quantity; None otherwise.

    Most devices have no gaps. This takes a quarter of the time of `group_all`
    and gives the same readings.
    """
    columns = [times for times, _ in forwards.values()]
    if len({*map(len, columns)}) != 1:
        return None
    starts, ends = _row_by_row(min, columns), _row_by_row(max, columns)
    lengths = map(sub, ends, starts, strict=True)
    distances = map(sub, islice(starts, 1, None), starts, strict=False)
    if (
        max(lengths) >= READING_SECONDS
        or min(distances, default=READING_SECONDS) < READING_SECONDS
    ):
        return None
    return starts, {quantity: [*values] for quantity, (_, values) in forwards.items()}


def _row_by_row(
    choose: Callable[..., float], columns: list[list[float]]
) -> list[float]:
    """Return the first or the last time of each row, as min or max chooses."""
    return columns[0] if len(columns) == 1 else [*map(choose, *columns, strict=True)]


def group_all(forwards: Forwards) -> Grouped:
    """Return the readings, with None where one has no value of a quantity."""
    all_times = chain.from_iterable(times for times, _ in forwards.values())
    starts = reading_starts(all_times)
    columns: dict[str, list[float | None]] = {}
    for quantity, (times, values) in forwards.items():
        column = columns[quantity] = [None] * len(starts)
        counts = map(bisect_right, repeat(starts), times)
        for count, value in zip(counts, values, strict=True):
            column[count - 1] = value
    return starts, columns
