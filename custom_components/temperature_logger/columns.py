"""Values of one device as readings."""

from collections.abc import Mapping
from heapq import merge
from itertools import repeat
import math
from operator import sub
from typing import Final, NamedTuple

from .request import Span

type Series = tuple[list[float], list[float]]
"""Unix times and values, in the order asked for."""

# Values of one device that are closer together, in seconds, are of one reading.
TOGETHER: Final = 2


class Columns(NamedTuple):
    """The readings of one device, a list per quantity."""

    collected_at: list[int]
    """Unix times."""
    values: dict[str, list[float | None]]
    truncated: bool
    """Whether there were more than the limit."""


def merged(series: Mapping[str, Series], span: Span) -> Columns:
    """Return the readings of a device from the values of its entities."""
    times = [stamps for stamps, _ in series.values()]
    if _aligned(times, newest_first=span.newest_first):
        collected_at = [int(min(stamps)) for stamps in zip(*times, strict=True)]
        values: dict[str, list[float | None]] = {
            quantity: [*found] for quantity, (_, found) in series.items()
        }
    else:
        collected_at, values = _gathered(series, span)
    return Columns(
        collected_at=collected_at[: span.limit],
        values={quantity: column[: span.limit] for quantity, column in values.items()},
        truncated=len(collected_at) > span.limit,
    )


def _aligned(times: list[list[float]], *, newest_first: bool) -> bool:
    """Return whether each reading has all its values, as it is but for gaps."""
    if not times:
        return False
    first, *others = times
    later, earlier = (first, first[1:]) if newest_first else (first[1:], first)
    return (
        all(
            len(other) == len(first)
            and max(map(abs, map(sub, first, other, strict=True)), default=0) < TOGETHER
            for other in others
        )
        and min(map(sub, later, earlier, strict=False), default=TOGETHER) >= TOGETHER
    )


def _gathered(
    series: Mapping[str, Series], span: Span
) -> tuple[list[int], dict[str, list[float | None]]]:
    """Return times and columns where values are missing, None in their place."""
    events = merge(
        *(
            zip(stamps, repeat(quantity, len(stamps)), found, strict=True)
            for quantity, (stamps, found) in series.items()
        ),
        reverse=span.newest_first,
    )
    collected_at: list[float] = []
    values: dict[str, list[float | None]] = {quantity: [] for quantity in series}
    started = -math.inf
    for stamp, quantity, value in events:
        if abs(stamp - started) >= TOGETHER:
            started = stamp
            collected_at.append(stamp)
            for column in values.values():
                column.append(None)
        collected_at[-1] = min(collected_at[-1], stamp)
        values[quantity][-1] = value
    return list(map(int, collected_at)), values
