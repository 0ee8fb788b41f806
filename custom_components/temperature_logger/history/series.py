"""Reads the values of entities over time, and makes the readings of devices of them.

Everything here blocks. It is called in the recorder's executor. A row has the unit that
its entity had at that time, in its attributes. Rows without a number, or with an
unknown unit, are left out.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import pairwise
from typing import Any, Final

from homeassistant.core import HomeAssistant
from homeassistant.util import dt as dt_util

from ..units import conversion, number
from . import rows
from .readings import READING_SECONDS, Columns, Series, Span, to_columns
from .recorder import Connection, connected, is_sqlite
from .rows import CHUNK_ROWS, Values

# Maximum rows of a group of devices. The value of a row takes about 64 bytes of memory,
# and the readings that are made of all values take as much again.
GROUP_ROWS: Final = 250_000
# Rows that one statement reads. A database server sends all of them at once.
QUERY_ROWS: Final = 10_000
# Parts of a span that are read one after the other. Each is read for all entities: the
# SQLite pages of one part fit into the cache (16 MiB).
PARTS: Final = 7

type Devices = Sequence[Mapping[str, str]]
"""The entities of each device, by quantity."""


def read_readings(
    hass: HomeAssistant, devices: Devices, units: Mapping[str, str], span: Span
) -> Iterator[Columns]:
    """Yield the readings of each device, in these units."""
    readers = _read(hass, devices, units, span)
    # Free each device before the next: to free all at once would stop all threads.
    for quantities in devices:
        device = readers.popleft()
        series = {quantity: reader.series for quantity, reader in device.items()}
        yield to_columns(quantities, series, span)


def _read(
    hass: HomeAssistant, devices: Devices, units: Mapping[str, str], span: Span
) -> deque[dict[str, _Reader]]:
    """Read all entities; return their readers by device and quantity."""
    with connected(hass) as connection:
        ids = rows.metadata_ids(connection, _entity_ids(devices))
        readers = deque(
            {
                quantity: _Reader(connection, ids[entity], quantity, units[quantity])
                for quantity, entity in entities.items()
                if entity in ids
            }
            for entities in devices
        )
        every_reader = [reader for device in readers for reader in device.values()]
        ids_by_device = [
            [ids[entity] for entity in entities.values() if entity in ids]
            for entities in devices
        ]
        # Values less than 2 s after the span may belong to a reading that began in it.
        wide = span._replace(
            start=_first_time(connection, ids_by_device, span.start),
            end=span.end + READING_SECONDS,
        )
        for part in _parts(connection, wide, len(every_reader)):
            for reader in every_reader:
                reader.read(part)
    return readers


def _first_time(
    connection: Connection, devices: Sequence[Sequence[int]], start: float
) -> float:
    """Return the time from which to read, so that the readings of a span are complete.

    It is the start of the span, or earlier if a device has rows less than 2 s before:
    whether a row begins a reading depends on all rows since the last pause of 2 s.
    """
    all_ids = [metadata_id for ids in devices for metadata_id in ids]
    close = rows.count_by_entity(connection, all_ids, start - READING_SECONDS, start)
    times = [
        _time_after_pause(connection, ids, start)
        for ids in devices
        if not close.keys().isdisjoint(ids)
    ]
    return min(times, default=start)


def _time_after_pause(
    connection: Connection, ids: Sequence[int], start: float
) -> float:
    """Return the time of the first row after the last pause of 2 s, or the start."""
    while True:
        before = rows.first_time(connection, ids, start - READING_SECONDS, start)
        if before is None:
            return start
        start = before


def device_groups(hass: HomeAssistant, devices: Devices, span: Span) -> list[range]:
    """Return the groups of devices to read together, as indexes in their order.

    SQLite spends most of the time fetching pages, each with rows of all devices. A
    database server has the pages in memory, so each device is read alone.
    """
    with connected(hass) as connection:
        if not is_sqlite(connection):
            return [range(index, index + 1) for index in range(len(devices))]
        ids = rows.metadata_ids(connection, _entity_ids(devices))
        counts = rows.count_by_entity(connection, ids.values(), span.start, span.end)
    return _grouped(
        sum(counts.get(ids[e], 0) for e in entities.values() if e in ids)
        for entities in devices
    )


def _grouped(counts: Iterable[int]) -> list[range]:
    """Group neighbours up to GROUP_ROWS rows, given the rows of each device."""
    groups: list[range] = []
    start = end = total = 0
    for end, count in enumerate(counts, start=1):
        total += count
        if total > GROUP_ROWS and end - 1 > start:
            groups.append(range(start, end - 1))
            start, total = end - 1, count
    return [*groups, range(start, end)]


def count_rows(
    hass: HomeAssistant, entity_ids: Iterable[str]
) -> tuple[int, datetime | None]:
    """Return how many rows these entities have, and the time of the oldest."""
    with connected(hass) as connection:
        ids = rows.metadata_ids(connection, entity_ids)
        count, oldest = rows.count_all(connection, ids.values())
    return count, None if oldest is None else dt_util.utc_from_timestamp(oldest)


def _entity_ids(devices: Devices) -> list[str]:
    """Return the entities of all devices."""
    return [entity_id for entities in devices for entity_id in entities.values()]


def _parts(connection: Connection, span: Span, entities: int) -> list[Span]:
    """Split a span into parts that are read one after the other, in its order."""
    if entities == 1 or span.limit < CHUNK_ROWS or not is_sqlite(connection):
        return [span]
    length = (span.end - span.start) / PARTS
    edges = [span.start + length * index for index in range(PARTS)]
    parts = [
        span._replace(start=start, end=end)
        for start, end in pairwise([*edges, span.end])
    ]
    return parts[::-1] if span.newest_first else parts


class _Reader:
    """Reads the values of one entity."""

    def __init__(
        self, connection: Connection, metadata_id: int, quantity: str, unit: str
    ) -> None:
        """Begin without values."""
        self._connection = connection
        self._conversion = _Conversion(connection, quantity, unit)
        self._metadata_id = metadata_id
        self.series = Series([], [])
        """The values so far."""

    def read(self, span: Span) -> None:
        """Add the values in a span; stop soon after the limit."""
        times, values, is_complete = self.series
        if not is_complete:
            return
        page_rows = CHUNK_ROWS if span.limit < CHUNK_ROWS else QUERY_ROWS
        for chunk in rows.read_values(
            self._connection, self._metadata_id, span, page_rows
        ):
            stamps, states, attributes = zip(*chunk, strict=True)
            converted = self._conversion.convert_all(states, attributes)
            if converted is not None:
                times += stamps
                values += converted
            else:
                self._add(chunk)
            if len(times) > span.limit + 1:
                self.series = self.series._replace(is_complete=False)
                return

    def _add(self, chunk: Values) -> None:
        """Add the values of rows, except those without one."""
        for time, state, attributes_id in chunk:
            if (value := self._conversion.convert(state, attributes_id)) is not None:
                self.series.times.append(time)
                self.series.values.append(value)


class _Conversion:
    """Converts the states of one entity, each from its own unit, to one unit."""

    def __init__(self, connection: Connection, quantity: str, unit: str) -> None:
        """Set the unit to convert to."""
        self._connection = connection
        self._formulas: dict[int | None, Callable[[float], float] | None] = {None: None}
        self._in_unit: set[int | None] = set()
        """The attributes that already have the unit to convert to."""
        self._quantity = quantity
        self._unit = unit

    def convert_all(
        self, states: Sequence[Any], attributes: Sequence[int | None]
    ) -> list[float] | None:
        """Return the values if all are numbers in that unit already, else None."""
        for attributes_id in set(attributes):
            self._formula(attributes_id)
        if not self._in_unit.issuperset(attributes):
            return None
        try:
            return [*map(float, states)]
        except TypeError, ValueError:
            return None

    def convert(self, state: str | None, attributes_id: int | None) -> float | None:
        """Return the value; None for a gap or an unknown unit."""
        return number(state, self._formula(attributes_id))

    def _formula(self, attributes_id: int | None) -> Callable[[float], float] | None:
        """Return the formula for a state with these attributes."""
        if attributes_id not in self._formulas:
            unit = rows.units(self._connection, [attributes_id]).get(attributes_id)
            if unit == self._unit:
                self._in_unit.add(attributes_id)
            self._formulas[attributes_id] = conversion(self._quantity, unit, self._unit)
        return self._formulas[attributes_id]
