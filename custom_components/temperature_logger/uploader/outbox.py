"""What of the recorder's database is still to be sent.

Everything here blocks, and belongs into the recorder's executor. Rows are read by their
number, which no clock changes: only the recorder's thread writes, one after the other.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from homeassistant.core import HomeAssistant
from sqlalchemy import ColumnElement, Connection, Select, func, select

from ..history.tables import (
    READ,
    ROW,
    STATE_ATTRIBUTES,
    STATES,
    check_schema,
    connected,
)
from ..history.tables import metadata_ids as numbers
from ..units import base_quantity, conversion, number, unit_of
from .points import Page, Point, Source, Value, complete, points, whole

# Rows of ours that are read at a time: as many as make the event loop wait for a few
# milliseconds at most, and do not wake the garbage collector.
PAGE: Final = 300
# Rows of ours that may have been written at once, before a reading may be cut in two.
BURST: Final = 20_000
# Rows of anybody that a page is looked for in at a time: some milliseconds.
WINDOW: Final = 20_000
GAPS: Final = ("unknown", "unavailable")
NEEDED: Final = (*READ, STATES.columns.state_id)

type Sources = Mapping[str, Source]
"""What each entity shows, by its id."""
type Formula = Callable[[float], float] | None


class Waiting(NamedTuple):
    """What is after the cursor."""

    readings: int
    oldest: float | None
    """Unix time of the first value."""


class Outbox:
    """The rows of some entities, from a cursor to the newest one when it was opened."""

    newest: int
    """The number of the newest row then, anybody's."""
    newest_at: float | None
    """Its Unix time."""
    _own: dict[int, Source]
    """What our rows show, by the recorder's number of their entity, which stays."""

    def __init__(self, hass: HomeAssistant, sources: Sources) -> None:
        """Choose the entities; nothing is asked yet."""
        self._formulas: dict[tuple[str, int | None], Formula] = {}
        self._hass = hass
        self._sources = sources

    def open(self) -> None:
        """Find out the numbers, of the newest row first: so it has its entity's."""
        check_schema(self._hass, NEEDED)
        with connected(self._hass) as connection:
            newest = select(func.max(STATES.columns.state_id))
            self.newest = connection.scalar(newest) or 0
            self.newest_at = _time(connection, self.newest)
            known = numbers(connection, self._sources)
        self._own = {known[entity]: self._sources[entity] for entity in known}

    def last(self, until: float) -> Point | None:
        """Return the newest reading, if it is not long ago."""
        statement = _select(self._own, self.newest - WINDOW, self.newest)
        newest_first = statement.order_by(STATES.columns.state_id.desc())
        with connected(self._hass) as connection:
            rows = connection.execute(newest_first.limit(PAGE)).all()
            found = points(self._values(connection, rows[::-1]))
        kept, _ = complete(found, until, self.newest)
        return max(kept, key=lambda point: point.started, default=None)

    def waiting(self, cursor: int) -> Waiting:
        """Return how many readings there are after the cursor, and since when.

        As many as of a device's sensors the one with the most rows has.
        """
        states = STATES.columns
        time = states.last_updated_ts
        with connected(self._hass) as connection:
            found = connection.execute(
                select(states.metadata_id, func.count(), func.min(time))
                .where(_is_ours(self._own), states.state_id > cursor)
                .where(states.state.is_not(None), states.state.not_in(GAPS))
                .group_by(states.metadata_id)
            ).all()
        most: dict[str, int] = {}
        for metadata_id, count, _ in found:
            device = self._own[metadata_id].device_id
            most[device] = max(count, most.get(device, 0))
        return Waiting(
            readings=sum(most.values()),
            oldest=min((row[2] for row in found), default=None),
        )

    def is_numbered_anew(self, newest: int, newest_at: float | None) -> bool:
        """Return whether a row that was the newest one is another one now, or gone.

        So it is in a new database, and where the newest rows were deleted: their
        numbers are given again. If it is gone with all before it, it was just old.
        """
        states = STATES.columns
        with connected(self._hass) as connection:
            if (time := _time(connection, newest)) is not None or newest == 0:
                return time != newest_at
            first = connection.scalar(select(func.min(states.state_id)))
        return first is None or first < newest

    def before(self, since: float, until: float) -> int:
        """Return the number of the row before the first one between two Unix times.

        Of a sum, which no index has: rows are to be found by their time alone.
        """
        states = STATES.columns
        time = states.last_updated_ts
        statement = select(func.min(states.state_id + 0))
        with connected(self._hass) as connection:
            first = connection.scalar(statement.where(time >= since, time < until))
        return self.newest if first is None else first - 1

    def has(self, time: float) -> bool:
        """Return whether a row of some Unix time is still there."""
        states = STATES.columns
        with connected(self._hass) as connection:
            statement = select(states.state_id).where(states.last_updated_ts == time)
            return connection.execute(statement.limit(1)).first() is not None

    def page(self, cursor: int, until: float, limit: int | None = None) -> Page:
        """Return the next readings: those of which all rows are there.

        All rows until some Unix time are. The limit is the number of a row to end at.
        """
        rows: list[Any] = []
        end, newest = cursor, limit or self.newest
        with connected(self._hass) as connection:
            while True:
                more, end = _rows(connection, self._own, end, newest)
                rows += more
                found = points(self._values(connection, rows))
                if (is_last := end >= newest) or len(rows) >= BURST:
                    break
                if (ended := whole(found)) is not None:
                    found, end = ended
                    break
        kept, end = complete(found, until, end)
        return Page(kept, max(end, cursor), is_last or len(kept) < len(found))

    def _values(self, connection: Connection, rows: Sequence[Any]) -> Iterator[Value]:
        """Yield the rows that hold a value, in the unit in which it is sent."""
        self._learn(connection, rows)
        for state_id, metadata_id, time, state, attributes_id in rows:
            source = self._own[metadata_id]
            formula = self._formulas[source.quantity, attributes_id]
            if (value := number(state, formula)) is not None:
                yield Value(state_id, source, time, value)

    def _learn(self, connection: Connection, rows: Sequence[Any]) -> None:
        """Find out what makes of a number with some attributes a value."""
        shown = {(self._own[row[1]].quantity, row[4]) for row in rows}
        pairs = shown - self._formulas.keys()
        attributes = STATE_ATTRIBUTES.columns
        statement = select(attributes.attributes_id, attributes.shared_attrs).where(
            attributes.attributes_id.in_({attributes_id for _, attributes_id in pairs})
        )
        known = {row[0]: unit_of(row[1]) for row in connection.execute(statement)}
        for quantity, attributes_id in pairs:
            unit, sent = known.get(attributes_id), base_quantity(quantity).unit
            self._formulas[quantity, attributes_id] = (
                float if unit == sent else conversion(quantity, unit, sent)
            )


def _time(connection: Connection, state_id: int) -> float | None:
    """Return the Unix time of a row, if it is there."""
    states = STATES.columns
    statement = select(states.last_updated_ts).where(states.state_id == state_id)
    time: float | None = connection.scalar(statement)
    return time


def _is_ours(own: Iterable[int]) -> ColumnElement[bool]:
    """Return what is true of a row of ours.

    By a sum, which no index has: rows are to be found by their numbers alone.
    """
    return (STATES.columns.metadata_id + 0).in_(list(own))


def _select(own: Iterable[int], after: int, upto: int) -> Select[Any]:
    """Return the statement for our rows between two numbers."""
    states = STATES.columns
    return (
        select(*ROW)
        .where(_is_ours(own), states.last_updated_ts.is_not(None))
        .where(states.state_id > after, states.state_id <= upto)
    )


def _rows(
    connection: Connection, own: Iterable[int], cursor: int, newest: int
) -> tuple[list[Any], int]:
    """Return the next rows, and the number up to which there are no more of ours."""
    states = STATES.columns
    found: list[Any] = []
    # Long before the first one there may be millions of numbers without a row.
    first = select(func.min(states.state_id)).where(states.state_id > cursor)
    cursor = (connection.scalar(first) or newest + 1) - 1
    while cursor < newest:
        end = min(cursor + WINDOW, newest)
        statement = _select(own, cursor, end).order_by(states.state_id)
        found += connection.execute(statement.limit(PAGE - len(found))).all()
        if len(found) >= PAGE:
            return found, found[-1][0]
        cursor = end
    return found, newest
