"""Readings as the recorder keeps them.

Everything here blocks and belongs into the recorder's executor. A row holds a value in
the unit that was shown when it was written; only the row's own attributes tell which
one that was. Rows whose unit is not known are left out, as are those without a value.
"""

from collections import deque
from collections.abc import (
    Callable,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import closing
from datetime import datetime
from itertools import pairwise
import math
from typing import TYPE_CHECKING, Any, Final

from homeassistant.components.recorder.const import SupportedDialect
from homeassistant.components.recorder.statistics import (
    get_metadata,
    statistics_during_period,
)
from homeassistant.core import HomeAssistant
from homeassistant.util import dt as dt_util
from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    func,
    select,
)

from ..const import DIGITS
from ..units import CONVERTERS, base, conversion, number, unit_of
from .query import StatisticsPeriod
from .readings import READING_SECONDS, Columns, Series, Span, to_columns
from .tables import (
    STATE_ATTRIBUTES,
    STATES,
    STATISTICS_HOURLY,
    STATISTICS_SHORT,
    connected,
    metadata_ids,
    translated,
)

# Rows of several devices at a time, in memory: some 64 bytes each, and as much again.
BATCH: Final = 250_000
# Rows at a time: as many objects at once as not to wake the garbage collector, which
# stops everything while it looks at all that Home Assistant has.
CHUNK: Final = 500
# Spans that are read one after the other, so that the pages with the rows of one are
# still in SQLite's cache, of 16 MiB, when the next entity is read.
PARTS: Final = 7
# Rows at a time that a server is asked for: it sends them all before the first is seen.
PAGE: Final = 10_000
STATISTICS: Final = ("min", "mean", "max")


def raw(
    hass: HomeAssistant,
    devices: Sequence[Mapping[str, str]],
    units: Mapping[str, str],
    span: Span,
) -> Iterator[Columns]:
    """Yield the readings of some devices, given their entities by quantity."""
    found = _read(hass, devices, units, span)
    # Each is let go before the next: to free all at once would stop every thread.
    for quantities in devices:
        series = found.popleft()
        yield to_columns(quantities, {q: one.found for q, one in series.items()}, span)


def _read(
    hass: HomeAssistant,
    devices: Sequence[Mapping[str, str]],
    units: Mapping[str, str],
    span: Span,
) -> deque[dict[str, _Reader]]:
    """Return the values of some devices."""
    with connected(hass) as connection:
        ids = metadata_ids(connection, _entities(devices))
        found = deque(
            {
                quantity: _Reader(connection, ids[entity], quantity, units[quantity])
                for quantity, entity in entities.items()
                if entity in ids
            }
            for entities in devices
        )
        readers = [reader for device in found for reader in device.values()]
        own = [[ids[e] for e in entities.values() if e in ids] for entities in devices]
        # Values less than 2 s after the span may belong to a reading that began in it.
        wide = span._replace(
            start=_begin(connection, own, span.start), end=span.end + READING_SECONDS
        )
        for part in _parts(connection, wide, len(readers)):
            for reader in readers:
                reader.read(part)
    return found


def _begin(
    connection: Connection, devices: Sequence[Sequence[int]], start: float
) -> float:
    """Return from when on to read devices, so that their readings in a span are known.

    That is the start of the span, unless rows of a device follow each other closely
    there: then the first of them decides which of the next ones begin a reading.
    """
    states = STATES.columns
    ids = [metadata_id for own in devices for metadata_id in own]
    statement = (
        select(states.metadata_id)
        .where(states.metadata_id.in_(ids))
        .where(*_within(start - READING_SECONDS, start))
    )
    close = set(connection.scalars(statement))
    begins = (
        _close_begin(connection, own, start)
        for own in devices
        if not close.isdisjoint(own)
    )
    return min(begins, default=start)


def _close_begin(connection: Connection, ids: Sequence[int], start: float) -> float:
    """Return when the rows began that follow each other within 2 s up to a time."""
    states = STATES.columns
    earliest = select(func.min(states.last_updated_ts)).where(
        states.metadata_id.in_(ids)
    )
    while True:
        close = _within(start - READING_SECONDS, start)
        if (first := connection.scalar(earliest.where(*close))) is None:
            return start
        start = first


def batches(
    hass: HomeAssistant, devices: Sequence[Mapping[str, str]], span: Span
) -> list[range]:
    """Return which devices to read together, in their order.

    What SQLite needs most of its time for is to fetch a page with rows of all devices
    again for each of them. A server has them in memory.
    """
    states = STATES.columns
    with connected(hass) as connection:
        if connection.dialect.name != SupportedDialect.SQLITE:
            return [range(number, number + 1) for number in range(len(devices))]
        ids = metadata_ids(connection, _entities(devices))
        statement = (
            select(states.metadata_id, func.count())
            .where(states.metadata_id.in_(ids.values()), *_within(span.start, span.end))
            .group_by(states.metadata_id)
        )
        counted = dict(connection.execute(statement).tuples().all())
    return _grouped(
        sum(
            counted.get(ids[entity], 0) for entity in entities.values() if entity in ids
        )
        for entities in devices
    )


def statistics(
    hass: HomeAssistant,
    entities: Mapping[str, str],
    units: Mapping[str, str],
    span: Span,
    period: StatisticsPeriod,
) -> Columns:
    """Return minimum, mean and maximum of each period of a device."""
    found: dict[str, Any] = {}
    # One unit at a time: CO2 and humidity are both ratios to the recorder.
    for unit in {units[quantity] for quantity in entities}:
        own = {q: entity for q, entity in entities.items() if units[q] == unit}
        with translated():
            found |= statistics_during_period(
                hass,
                dt_util.utc_from_timestamp(span.start),
                dt_util.utc_from_timestamp(span.end),
                set(own.values()),
                period,
                {str(CONVERTERS[base(quantity)].UNIT_CLASS): unit for quantity in own},
                set(STATISTICS),
            )
    rows = _by_time(found, entities, span)
    times = sorted(rows, reverse=span.newest_first)
    kept = times[: span.limit]
    names = [statistic(quantity, kind) for quantity in entities for kind in STATISTICS]
    return Columns(
        collected_at=kept,
        values={name: [rows[time].get(name) for time in kept] for name in names},
        truncated=len(times) > len(kept),
    )


def statistic(quantity: str, kind: str) -> str:
    """Return what a column of statistics is called."""
    return f"{quantity}_{kind}"


def have_statistics(
    hass: HomeAssistant, entities: set[str], period: StatisticsPeriod
) -> bool:
    """Return whether there are statistics by a period of any of these entities."""
    with translated():
        known = get_metadata(hass, statistic_ids=entities)
    rows = STATISTICS_SHORT if period == "5minute" else STATISTICS_HOURLY
    statement = (
        select(rows.columns.metadata_id)
        .where(rows.columns.metadata_id.in_([number for number, _ in known.values()]))
        .limit(1)
    )
    with connected(hass) as connection:
        return connection.execute(statement).first() is not None


def count(
    hass: HomeAssistant, entity_ids: Iterable[str]
) -> tuple[int, datetime | None]:
    """Return how many rows there are of these entities, and the time of the oldest."""
    states = STATES.columns
    with connected(hass) as connection:
        ids = metadata_ids(connection, entity_ids)
        statement = select(func.count(), func.min(states.last_updated_ts)).where(
            states.metadata_id.in_(ids.values())
        )
        rows, oldest = connection.execute(statement).one()
    return rows, None if oldest is None else dt_util.utc_from_timestamp(oldest)


def _grouped(rows: Iterable[int]) -> list[range]:
    """Return neighbours whose rows, taken together, are not too many for a batch."""
    groups: list[range] = []
    start = end = total = 0
    for end, own in enumerate(rows, start=1):
        total += own
        if total > BATCH and end - 1 > start:
            groups.append(range(start, end - 1))
            start, total = end - 1, own
    return [*groups, range(start, end)]


def _entities(devices: Iterable[Mapping[str, str]]) -> list[str]:
    """Return all entities of some devices."""
    return [entity for entities in devices for entity in entities.values()]


def _by_time(
    found: Mapping[str, Any], entities: Mapping[str, str], span: Span
) -> dict[int, dict[str, float | None]]:
    """Return Home Assistant's statistics by their begin, named as columns."""
    rows: dict[int, dict[str, float | None]] = {}
    for quantity, entity in entities.items():
        for row in found.get(entity, []):
            # Home Assistant adds the days that a span only touches.
            if span.start <= row["start"] < span.end:
                values = rows.setdefault(int(row["start"]), {})
                values |= {
                    statistic(quantity, kind): round(value, DIGITS)
                    for kind in STATISTICS
                    if (value := row.get(kind)) is not None
                }
    return rows


def _within(start: float, end: float) -> tuple[ColumnElement[bool], ...]:
    """Return the conditions for a row between two Unix times."""
    time = STATES.columns.last_updated_ts
    return time >= start, time < end


def _parts(connection: Connection, span: Span, entities: int) -> list[Span]:
    """Return the spans to read one after the other, in the order asked for."""
    if (
        entities == 1
        or span.limit < CHUNK
        or connection.dialect.name != SupportedDialect.SQLITE
    ):
        return [span]
    length = (span.end - span.start) / PARTS
    edges = [span.start + length * number for number in range(PARTS)]
    parts = [
        span._replace(start=start, end=end)
        for start, end in pairwise([*edges, span.end])
    ]
    return parts[::-1] if span.newest_first else parts


class _Reader:
    """What reads the values of one entity."""

    def __init__(
        self, connection: Connection, metadata_id: int, quantity: str, unit: str
    ) -> None:
        """Start with none."""
        self._connection = connection
        self._convert = _Conversion(connection, quantity, unit)
        self._metadata_id = metadata_id
        self.found = Series([], [])
        """What was read."""

    def read(self, span: Span) -> None:
        """Add the values in a span; a few more than the limit where there are."""
        times, values, is_complete = self.found
        if not is_complete:
            return
        for rows in self._chunks(span):
            stamps, states, attributes = zip(*rows, strict=True)
            if (found := self._convert.all(states, attributes)) is not None:
                times += stamps
                values += found
            else:
                self._add(rows)
            if len(times) > span.limit + 1:
                self.found = self.found._replace(is_complete=False)
                return

    def _add(self, rows: Iterable[Any]) -> None:
        """Add the rows that have a value."""
        for stamp, state, attributes_id in rows:
            if (value := self._convert.one(state, attributes_id)) is not None:
                self.found.times.append(stamp)
                self.found.values.append(value)

    def _chunks(self, span: Span) -> Iterator[Sequence[Any]]:
        """Yield the rows in a span, some at a time."""
        size = CHUNK if span.limit < CHUNK else PAGE
        while True:
            # Straight from the driver; the rows of SQLAlchemy take twice as long.
            cursor = self._connection.execute(self._page(span, size)).cursor
            if TYPE_CHECKING:
                assert cursor is not None
            left = size
            with closing(cursor):
                while rows := cursor.fetchmany(CHUNK):
                    left -= len(rows)
                    last = rows[-1][0]
                    yield rows
            if left:
                return
            if span.newest_first:
                span = span._replace(end=last)
            else:
                span = span._replace(start=math.nextafter(last, math.inf))

    def _page(self, span: Span, size: int) -> Select[Any]:
        """Return the statement for the first rows in a span."""
        states = STATES.columns
        order = states.last_updated_ts
        return (
            select(states.last_updated_ts, states.state, states.attributes_id)
            .where(
                states.metadata_id == self._metadata_id, *_within(span.start, span.end)
            )
            .order_by(order.desc() if span.newest_first else order)
            .limit(size)
        )


class _Conversion:
    """States of one entity, each in the unit of its time, to values in one unit."""

    def __init__(self, connection: Connection, quantity: str, unit: str) -> None:
        """Choose the unit."""
        self._connection = connection
        self._formulas: dict[int | None, Callable[[float], float] | None] = {None: None}
        self._same: set[int | None] = set()
        """The attributes that name the unit asked for."""
        self._quantity = quantity
        self._unit = unit

    def all(
        self, states: Sequence[Any], attributes: Sequence[int | None]
    ) -> list[float] | None:
        """Return the values if all are numbers in the unit asked for."""
        for attributes_id in set(attributes):
            self._formula(attributes_id)
        if not self._same.issuperset(attributes):
            return None
        try:
            return list(map(float, states))
        except TypeError, ValueError:
            return None

    def one(self, state: str | None, attributes_id: int | None) -> float | None:
        """Return the value, None for a gap and for a unit that is not known."""
        return number(state, self._formula(attributes_id))

    def _formula(self, attributes_id: int | None) -> Callable[[float], float] | None:
        """Return what makes of a number with these attributes a value."""
        if attributes_id not in self._formulas:
            unit = self._unit_of(attributes_id)
            if unit == self._unit:
                self._same.add(attributes_id)
            self._formulas[attributes_id] = conversion(self._quantity, unit, self._unit)
        return self._formulas[attributes_id]

    def _unit_of(self, attributes_id: int | None) -> str | None:
        """Return the unit that was shown with these attributes."""
        attributes = STATE_ATTRIBUTES.columns
        statement = select(attributes.shared_attrs).where(
            attributes.attributes_id == attributes_id
        )
        return unit_of(self._connection.execute(statement).scalar())
