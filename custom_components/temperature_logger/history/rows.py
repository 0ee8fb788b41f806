"""Reads rows of the states, over a connection that the caller has opened.

Answers and thinning find rows by entity and time. The uploader finds them by row id:
only the recorder's thread writes rows, so their ids ascend even if the clock is set
back. Everything here blocks.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
import math
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from sqlalchemy import ColumnElement, Connection, Select, func, select

from ..units import unit_of
from .readings import Span
from .tables import STATE_ATTRIBUTES, STATE_ROW, STATES, STATES_META

# Rows fetched at a time. More new objects would start the garbage collector, which
# stops all threads while it checks all objects of Home Assistant.
CHUNK_ROWS: Final = 500
# Row ids that one statement searches; it takes some milliseconds.
ROW_IDS_AT_ONCE: Final = 20_000
GAPS: Final = ("unknown", "unavailable")

type Values = Sequence[tuple[float, str | None, int | None]]
"""Unix times, states and ids of attributes."""


class StateRow(NamedTuple):
    """A row of the states; its fields are the columns of STATE_ROW."""

    state_id: int
    """The row id: later rows have higher ones."""
    metadata_id: int
    """The recorder's number of the entity."""
    time: float
    """Unix time."""
    state: str | None
    attributes_id: int | None


class Count(NamedTuple):
    """The rows of an entity that have a value."""

    metadata_id: int
    rows: int
    oldest: float
    """Unix time."""


def metadata_ids(connection: Connection, entity_ids: Iterable[str]) -> dict[str, int]:
    """Return the recorder's number of each entity that it knows."""
    meta = STATES_META.columns
    statement = select(meta.entity_id, meta.metadata_id).where(
        meta.entity_id.in_(sorted(entity_ids))
    )
    return {row.entity_id: row.metadata_id for row in connection.execute(statement)}


def units(
    connection: Connection, ids: Iterable[int | None]
) -> dict[int | None, str | None]:
    """Return the unit in each of these attributes, by their id."""
    attributes = STATE_ATTRIBUTES.columns
    statement = select(attributes.attributes_id, attributes.shared_attrs).where(
        attributes.attributes_id.in_(set(ids))
    )
    return {row[0]: unit_of(row[1]) for row in connection.execute(statement)}


def read_values(
    connection: Connection, metadata_id: int, span: Span, page_rows: int
) -> Iterator[Values]:
    """Yield the rows of an entity in a span, some at a time, in the order of the span.

    A database server sends all rows of a page before the first one can be used.
    """
    while True:
        # The rows of the database driver: those of SQLAlchemy take twice the time.
        cursor = connection.execute(_page(metadata_id, span, page_rows)).cursor
        if TYPE_CHECKING:
            assert cursor is not None
        missing = page_rows
        with closing(cursor):
            while rows := cursor.fetchmany(CHUNK_ROWS):
                missing -= len(rows)
                last = rows[-1][0]
                yield rows
        if missing:  # The span has no more rows.
            return
        if span.newest_first:
            span = span._replace(end=last)
        else:
            span = span._replace(start=math.nextafter(last, math.inf))


def _page(metadata_id: int, span: Span, page_rows: int) -> Select[Any]:
    """Return the statement for the first rows in a span."""
    states = STATES.columns
    order = states.last_updated_ts
    return (
        select(states.last_updated_ts, states.state, states.attributes_id)
        .where(states.metadata_id == metadata_id, *_between(span.start, span.end))
        .order_by(order.desc() if span.newest_first else order)
        .limit(page_rows)
    )


def _between(start: float, end: float) -> tuple[ColumnElement[bool], ...]:
    """Return the conditions for rows from a start (inclusive) to an end (exclusive)."""
    time = STATES.columns.last_updated_ts
    return time >= start, time < end


def count_by_entity(
    connection: Connection, ids: Iterable[int], start: float, end: float
) -> dict[int, int]:
    """Return how many rows each entity has between two Unix times."""
    states = STATES.columns
    statement = (
        select(states.metadata_id, func.count())
        .where(states.metadata_id.in_(ids), *_between(start, end))
        .group_by(states.metadata_id)
    )
    return dict(connection.execute(statement).tuples().all())


def count_all(connection: Connection, ids: Iterable[int]) -> tuple[int, float | None]:
    """Return how many rows these entities have, and the Unix time of the oldest."""
    states = STATES.columns
    statement = select(func.count(), func.min(states.last_updated_ts)).where(
        states.metadata_id.in_(ids)
    )
    rows, oldest = connection.execute(statement).one()
    return rows, oldest


def first_time(
    connection: Connection, ids: Iterable[int], start: float, end: float
) -> float | None:
    """Return the Unix time of the first row of some entities between two times."""
    states = STATES.columns
    statement = select(func.min(states.last_updated_ts)).where(
        states.metadata_id.in_(ids), *_between(start, end)
    )
    time: float | None = connection.scalar(statement)
    return time


def oldest_time(
    connection: Connection, since: float, metadata_id: int | None = None
) -> float | None:
    """Return the time of the first row since a Unix time, of one entity or of all."""
    states = STATES.columns
    statement = select(func.min(states.last_updated_ts)).where(
        states.last_updated_ts >= since
    )
    if metadata_id is not None:
        statement = statement.where(states.metadata_id == metadata_id)
    time: float | None = connection.scalar(statement)
    return time


def rows_between(
    connection: Connection, ids: Iterable[int], start: float, end: float
) -> list[StateRow]:
    """Return the rows of some entities between two Unix times, by entity and time."""
    states = STATES.columns
    statement = (
        select(*STATE_ROW)
        .where(states.metadata_id.in_(ids), *_between(start, end))
        .order_by(states.metadata_id, states.last_updated_ts, states.state_id)
    )
    return [StateRow(*row) for row in connection.execute(statement)]


def newest_rows(connection: Connection, ids: Iterable[int]) -> set[int]:
    """Return the id of the newest row of each entity."""
    states = STATES.columns
    row_ids: set[int] = set()
    for metadata_id in ids:
        statement = (
            select(states.state_id)
            .where(states.metadata_id == metadata_id)
            .where(states.last_updated_ts.is_not(None))
            .order_by(states.last_updated_ts.desc(), states.state_id.desc())
            .limit(1)
        )
        row_ids.update(connection.scalars(statement))
    return row_ids


def newest_row_id(connection: Connection) -> int:
    """Return the id of the newest row of all entities; 0 without any row."""
    return connection.scalar(select(func.max(STATES.columns.state_id))) or 0


def first_row_id(connection: Connection, after: int = 0) -> int | None:
    """Return the id of the first row after a row id, of all entities."""
    states = STATES.columns
    statement = select(func.min(states.state_id)).where(states.state_id > after)
    row_id: int | None = connection.scalar(statement)
    return row_id


def first_row_id_between(
    connection: Connection, start: float, end: float
) -> int | None:
    """Return the id of the first row between two Unix times, of all entities."""
    # `state_id + 0` keeps the planner off the primary key, so that it uses the index
    # on time.
    statement = select(func.min(STATES.columns.state_id + 0))
    row_id: int | None = connection.scalar(statement.where(*_between(start, end)))
    return row_id


def time_of(connection: Connection, state_id: int) -> float | None:
    """Return the Unix time of a row, or None if there is no such row."""
    states = STATES.columns
    statement = select(states.last_updated_ts).where(states.state_id == state_id)
    time: float | None = connection.scalar(statement)
    return time


def has_row_at(connection: Connection, time: float) -> bool:
    """Return whether any entity has a row with this Unix time."""
    states = STATES.columns
    statement = select(states.state_id).where(states.last_updated_ts == time).limit(1)
    return connection.execute(statement).first() is not None


def count_values_after(
    connection: Connection, ids: Iterable[int], after: int
) -> list[Count]:
    """Count the rows with a value that each entity has after a row id."""
    states = STATES.columns
    statement = (
        select(states.metadata_id, func.count(), func.min(states.last_updated_ts))
        .where(_is_of(ids), states.state_id > after)
        .where(states.state.is_not(None), states.state.not_in(GAPS))
        .group_by(states.metadata_id)
    )
    return [Count(*row) for row in connection.execute(statement)]


def last_rows(
    connection: Connection, ids: Iterable[int], upto: int, limit: int
) -> list[StateRow]:
    """Return the last rows of some entities up to a row id, in ascending order.

    Only the last ROW_IDS_AT_ONCE row ids are searched.
    """
    newest_first = STATES.columns.state_id.desc()
    statement = _rows_between_ids(ids, upto - ROW_IDS_AT_ONCE, upto)
    statement = statement.order_by(newest_first).limit(limit)
    rows = connection.execute(statement).all()
    return [StateRow(*row) for row in rows[::-1]]


def next_rows(
    connection: Connection, ids: Iterable[int], after: int, upto: int, limit: int
) -> tuple[list[StateRow], int]:
    """Return the next rows of some entities, and the row id up to which all are there.

    The row ids are above `after`, and at most `upto`.
    """
    rows: list[StateRow] = []
    # Before the first row, there may be millions of row ids without a row.
    after = (first_row_id(connection, after) or upto + 1) - 1
    while after < upto:
        end = min(after + ROW_IDS_AT_ONCE, upto)
        statement = _rows_between_ids(ids, after, end).order_by(STATES.columns.state_id)
        page = connection.execute(statement.limit(limit - len(rows)))
        rows += [StateRow(*row) for row in page]
        if len(rows) >= limit:
            return rows, rows[-1].state_id
        after = end
    return rows, upto


def _rows_between_ids(ids: Iterable[int], after: int, upto: int) -> Select[Any]:
    """Return the statement for the rows of some entities between two row ids."""
    states = STATES.columns
    return (
        select(*STATE_ROW)
        .where(_is_of(ids), states.last_updated_ts.is_not(None))
        .where(states.state_id > after, states.state_id <= upto)
    )


def _is_of(ids: Iterable[int]) -> ColumnElement[bool]:
    """Return the condition for a row of some entities.

    `metadata_id + 0` keeps the planner off the index on entity and time, so that it
    finds the rows by their id.
    """
    return (STATES.columns.metadata_id + 0).in_(list(ids))
