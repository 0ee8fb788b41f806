"""Values of one device as readings."""

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from heapq import merge
from itertools import repeat
import math
from operator import sub
from typing import Final, NamedTuple

from .query import Span

# Values of one device that are closer together, in seconds, are of one reading.
TOGETHER: Final = 2


class Series(NamedTuple):
    """The values of one entity, in the order asked for."""

    times: list[float]
    """Unix times."""
    values: list[float]
    is_complete: bool = True
    """Whether all were read, and not only those up to the limit."""


class Columns(NamedTuple):
    """The readings of one device, a list per quantity."""

    collected_at: list[int]
    """Unix times."""
    values: dict[str, list[float | None]]
    truncated: bool
    """Whether there were more than the limit."""


def merged(
    quantities: Iterable[str], found: Mapping[str, Series], span: Span
) -> Columns:
    """Return the readings of a device, those that began in a span, in its order.

    Which values belong together is decided forwards, so that it is the same whatever
    the order. What was read should be a little more than the span, on both sides.
    """
    step = -1 if span.newest_first else 1
    series = {
        quantity: (one.times[::step], one.values[::step])
        for quantity, one in found.items()
        if one.times
    }
    collected_at, values = _readings(series)
    start, end = span.start, span.end
    for one in found.values():
        if not one.is_complete and span.newest_first:
            start = max(start, one.times[-1] + TOGETHER)
        elif not one.is_complete:
            end = min(end, one.times[-1] - TOGETHER)
    inside = slice(bisect_left(collected_at, start), bisect_left(collected_at, end))
    kept = collected_at[inside][::step][: span.limit]
    return Columns(
        collected_at=kept,
        values={
            quantity: values[quantity][inside][::step][: span.limit]
            if quantity in values
            else [None] * len(kept)
            for quantity in quantities
        },
        truncated=inside.stop - inside.start > span.limit
        or not all(one.is_complete for one in found.values()),
    )


def _readings(
    series: Mapping[str, tuple[list[float], list[float]]],
) -> tuple[list[int], dict[str, list[float | None]]]:
    """Return times and columns, of times and values by quantity."""
    times = [stamps for stamps, _ in series.values()]
    if not _aligned(times):
        return _gathered(series)
    collected_at = [int(min(stamps)) for stamps in zip(*times, strict=True)]
    return collected_at, {
        quantity: [*column] for quantity, (_, column) in series.items()
    }


def _aligned(times: list[list[float]]) -> bool:
    """Return whether each reading has all its values, as it is but for gaps."""
    if not times:
        return False
    first, *others = times
    return (
        all(
            len(other) == len(first)
            and max(map(abs, map(sub, first, other, strict=True))) < TOGETHER
            for other in others
        )
        and min(map(sub, first[1:], first, strict=False), default=TOGETHER) >= TOGETHER
    )


def _gathered(
    series: Mapping[str, tuple[list[float], list[float]]],
) -> tuple[list[int], dict[str, list[float | None]]]:
    """Return times and columns where values are missing, None in their place."""
    events = merge(
        *(
            zip(stamps, repeat(quantity, len(stamps)), found, strict=True)
            for quantity, (stamps, found) in series.items()
        )
    )
    collected_at: list[int] = []
    values: dict[str, list[float | None]] = {quantity: [] for quantity in series}
    started = -math.inf
    for stamp, quantity, value in events:
        if stamp - started >= TOGETHER:
            started = stamp
            collected_at.append(int(stamp))
            for column in values.values():
                column.append(None)
        values[quantity][-1] = value
    return collected_at, values
