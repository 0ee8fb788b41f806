"""The readings in the recorder's database that are still to be sent.

All functions block and have to run in the recorder's executor. Rows are read in the
order of their ids, which no clock changes: only the recorder's thread writes rows.
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

# Rows of selected entities that are read at once: few enough that the event loop waits
# for some milliseconds and the garbage collector does not run.
PAGE_ROWS: Final = 300
# A page grows up to this number of rows so that no reading is split.
MAX_PAGE_ROWS: Final = 20_000
# Rows of all entities that one statement searches, in some milliseconds.
WINDOW_ROWS: Final = 20_000
GAP_STATES: Final = ("unknown", "unavailable")
NEEDED_COLUMNS: Final = (*READ, STATES.columns.state_id)

type Sources = Mapping[str, Source]
"""The device and the quantity that each entity shows, by entity id."""
type Formula = Callable[[float], float] | None


class Waiting(NamedTuple):
    """The readings after the cursor."""

    readings: int
    oldest: float | None
    """Unix time of the first value."""


class Outbox:
    """The rows of some entities, from a cursor to the newest one when it was opened."""

    newest: int
    """The id of the newest row at that time, of any entity."""
    newest_at: float | None
    """Its Unix time."""
    _own: dict[int, Source]
    """The sources by the recorder's id of their entity, which survives a rename."""

    def __init__(self, hass: HomeAssistant, sources: Sources) -> None:
        """Select the entities; open() has to follow."""
        self._formulas: dict[tuple[str, int | None], Formula] = {}
        self._hass = hass
        self._sources = sources

    def open(self) -> None:
        """Read the newest row id, then the entities' ids, so that all rows have one."""
        check_schema(self._hass, NEEDED_COLUMNS)
        with connected(self._hass) as connection:
            newest = select(func.max(STATES.columns.state_id))
            self.newest = connection.scalar(newest) or 0
            self.newest_at = _time(connection, self.newest)
            known = numbers(connection, self._sources)
        self._own = {known[entity]: self._sources[entity] for entity in known}

    def last(self, until: float) -> Point | None:
        """Return the newest reading, if it is among the newest rows."""
        statement = _select(self._own, self.newest - WINDOW_ROWS, self.newest)
        newest_first = statement.order_by(STATES.columns.state_id.desc())
        with connected(self._hass) as connection:
            rows = connection.execute(newest_first.limit(PAGE_ROWS)).all()
            found = points(self._values(connection, rows[::-1]))
        kept, _ = complete(found, until, self.newest)
        return max(kept, key=lambda point: point.started, default=None)

    def waiting(self, cursor: int) -> Waiting:
        """Return the number of readings after the cursor, and the time of the first.

        The sensor with the most rows counts the readings of its device.
        """
        states = STATES.columns
        time = states.last_updated_ts
        with connected(self._hass) as connection:
            found = connection.execute(
                select(states.metadata_id, func.count(), func.min(time))
                .where(_is_ours(self._own), states.state_id > cursor)
                .where(states.state.is_not(None), states.state.not_in(GAP_STATES))
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

        A new database starts with the first id again, and the ids of deleted newest
        rows are used again. A row that is gone with all rows before it was just old.
        """
        states = STATES.columns
        with connected(self._hass) as connection:
            if (time := _time(connection, newest)) is not None or newest == 0:
                return time != newest_at
            first = connection.scalar(select(func.min(states.state_id)))
        return first is None or first < newest

    def before(self, since: float, until: float) -> int:
        """Return the id of the row before the first one between two Unix times.

        state_id + 0 keeps the planner off the primary key, so that it uses the index on
        time.
        """
        states = STATES.columns
        time = states.last_updated_ts
        statement = select(func.min(states.state_id + 0))
        with connected(self._hass) as connection:
            first = connection.scalar(statement.where(time >= since, time < until))
        return self.newest if first is None else first - 1

    def has(self, time: float) -> bool:
        """Return whether there is still a row with a Unix time."""
        states = STATES.columns
        with connected(self._hass) as connection:
            statement = select(states.state_id).where(states.last_updated_ts == time)
            return connection.execute(statement.limit(1)).first() is not None

    def page(self, cursor: int, until: float, limit: int | None = None) -> Page:
        """Return the next complete readings after the cursor.

        The recorder has written all rows up to the Unix time until. The limit is the id
        of the last row to read.
        """
        rows: list[Any] = []
        end, newest = cursor, limit or self.newest
        with connected(self._hass) as connection:
            while True:
                more, end = _rows(connection, self._own, end, newest)
                rows += more
                found = points(self._values(connection, rows))
                if (is_last := end >= newest) or len(rows) >= MAX_PAGE_ROWS:
                    break
                if (ended := whole(found)) is not None:
                    found, end = ended
                    break
        kept, end = complete(found, until, end)
        return Page(kept, max(end, cursor), is_last or len(kept) < len(found))

    def _values(self, connection: Connection, rows: Sequence[Any]) -> Iterator[Value]:
        """Yield the values in rows, in the units that are sent."""
        self._learn(connection, rows)
        for state_id, metadata_id, time, state, attributes_id in rows:
            source = self._own[metadata_id]
            formula = self._formulas[source.quantity, attributes_id]
            if (value := number(state, formula)) is not None:
                yield Value(state_id, source, time, value)

    def _learn(self, connection: Connection, rows: Sequence[Any]) -> None:
        """Look up the conversion for each new pair of quantity and attributes."""
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
        end = min(cursor + WINDOW_ROWS, newest)
        statement = _select(own, cursor, end).order_by(states.state_id)
        found += connection.execute(statement.limit(PAGE_ROWS - len(found))).all()
        if len(found) >= PAGE_ROWS:
            return found, found[-1][0]
        cursor = end
    return found, newest
