"""Thins old readings: keeps the first one in each slot of time.

Only rows with a value are deleted, and only those of this integration's sensors. Gaps,
the newest row of each sensor and statistics stay. The recorder's own thread deletes the
rows, a few at a time, as no other thread writes to the database.
"""

from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass
from itertools import batched
from typing import Final

from homeassistant.core import HomeAssistant

from ..history.recorder import Connection, connected, delete_rows, transaction
from ..history.rows import StateRow, newest_rows, oldest_time, rows_between
from ..units import number

type Until = Callable[[], float]
"""Returns the Unix time before which readings may be deleted; it may change."""

# The length of the slots in each step. A step follows only if those before freed too
# little. All lengths divide an hour, so that each hour is thinned on its own.
STEP_MINUTES: Final = (10, 15, 30, 60)
HOUR_SECONDS: Final = 3600
# Entities whose rows of an hour are read together: a few thousand rows at most.
ENTITIES_AT_ONCE: Final = 8
# Rows that one transaction deletes; it takes some milliseconds.
ROWS_AT_ONCE: Final = 75


@dataclass(kw_only=True)
class Tally:
    """Counts the rows that the steps so far deleted, or would delete."""

    minutes: int = 0
    """The length of the slots in the last step."""
    rows: int = 0
    first: float | None = None
    """Unix time of the oldest of these rows."""
    last: float | None = None
    """Unix time of the newest of these rows."""

    def add(self, rows: Iterable[StateRow]) -> None:
        """Count some rows."""
        for row in rows:
            self.rows += 1
            self.first = row.time if self.first is None else min(row.time, self.first)
            self.last = row.time if self.last is None else max(row.time, self.last)


def preview(
    hass: HomeAssistant, metadata_ids: Sequence[int], until: Until
) -> list[Tally]:
    """Return the rows that each step would delete, with those of the steps before.

    It blocks: call it in the recorder's executor.
    """
    tallies = [Tally(minutes=minutes) for minutes in STEP_MINUTES]
    with connected(hass) as connection:
        newest = newest_rows(connection, metadata_ids)
        hour = _next_hour(connection, metadata_ids, 0)
        while hour is not None and hour + HOUR_SECONDS <= until():
            has_rows = False
            for part in batched(metadata_ids, ENTITIES_AT_ONCE, strict=False):
                rows = rows_between(connection, part, hour, hour + HOUR_SECONDS)
                has_rows |= bool(rows)
                _count(rows, newest, tallies)
            hour += HOUR_SECONDS
            if not has_rows:  # The next hour with rows may be much later.
                hour = _next_hour(connection, metadata_ids, hour)
    return tallies


def thin(
    hass: HomeAssistant,
    metadata_ids: Sequence[int],
    until: Until,
    is_enough: Callable[[], bool],
    tally: Tally,
) -> Generator[None]:
    """Thin step by step until enough space is free; yield after each transaction.

    Run it in the recorder's thread. Raises HomeAssistantError if the database fails.
    The tally counts the rows that were deleted.
    """
    for minutes in STEP_MINUTES:
        tally.minutes = minutes
        newest = set[int]()
        for part in batched(metadata_ids, ENTITIES_AT_ONCE, strict=False):
            with transaction(hass) as connection:
                newest |= newest_rows(connection, part)
            yield
        hour = yield from _find_hour(hass, metadata_ids, 0)
        while hour is not None and hour + HOUR_SECONDS <= until():
            has_rows = False
            for part in batched(metadata_ids, ENTITIES_AT_ONCE, strict=False):
                has_rows |= yield from _thin_hour(
                    hass, part, hour, newest=newest, until=until, tally=tally
                )
            hour += HOUR_SECONDS
            if not has_rows:
                hour = yield from _find_hour(hass, metadata_ids, hour)
        if is_enough():
            return


def _thin_hour(
    hass: HomeAssistant,
    metadata_ids: Sequence[int],
    hour: int,
    *,
    newest: set[int],
    until: Until,
    tally: Tally,
) -> Generator[None, None, bool]:
    """Thin the rows of some entities in one hour; return whether there are any."""
    end = hour + HOUR_SECONDS
    with transaction(hass) as connection:
        rows = rows_between(connection, metadata_ids, hour, end)
    yield
    surplus = surplus_rows(rows, tally.minutes, newest)
    for part in batched(surplus, ROWS_AT_ONCE, strict=False):
        if end > until():  # A hold was added after the hour was read.
            break
        state_ids = {row.state_id for row in part}
        delete_rows(hass, state_ids, {row.attributes_id for row in part})
        tally.add(part)
        yield
    return bool(rows)


def _count(rows: list[StateRow], newest: set[int], tallies: Iterable[Tally]) -> None:
    """Count the rows that each step would delete, with those of the steps before."""
    deleted: list[StateRow] = []
    for tally in tallies:
        surplus = surplus_rows(rows, tally.minutes, newest)
        deleted += surplus
        tally.add(deleted)
        state_ids = {row.state_id for row in surplus}
        rows = [row for row in rows if row.state_id not in state_ids]


def surplus_rows(
    rows: Iterable[StateRow], minutes: int, newest: set[int]
) -> list[StateRow]:
    """Return the readings that are neither the first of their slot nor the newest.

    The rows are in the order of their entities and times. A gap is not a reading.
    """
    surplus: list[StateRow] = []
    previous: tuple[int, int] | None = None
    for row in rows:
        if number(row.state, float) is None:
            continue
        slot = row.metadata_id, int(row.time // (60 * minutes))
        if slot == previous and row.state_id not in newest:
            surplus.append(row)
        previous = slot
    return surplus


def _next_hour(
    connection: Connection, metadata_ids: Iterable[int], start: int
) -> int | None:
    """Return the start of the first hour with rows, at or after another hour."""
    times = [
        oldest_time(connection, start, metadata_id) for metadata_id in metadata_ids
    ]
    first = min((time for time in times if time is not None), default=None)
    return None if first is None else int(first // HOUR_SECONDS) * HOUR_SECONDS


def _find_hour(
    hass: HomeAssistant, metadata_ids: Sequence[int], start: int
) -> Generator[None, None, int | None]:
    """Return the same as `_next_hour`, but read some entities at a time."""
    hours: list[int] = []
    for part in batched(metadata_ids, ENTITIES_AT_ONCE, strict=False):
        with transaction(hass) as connection:
            hour = _next_hour(connection, part, start)
        hours += [] if hour is None else [hour]
        yield
    return min(hours, default=None)
