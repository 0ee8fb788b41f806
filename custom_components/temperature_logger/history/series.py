"""The values of entities over time, and the readings of devices made of them.

Everything here blocks. It is called in the recorder's executor. A row holds a value in
the unit that was shown at its time; the unit stands in the attributes of the row. Rows
without a number, or with a unit that is not known, are left out.
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

# Rows of several devices that are read together: some 64 bytes each, and as much again.
BATCH_ROWS: Final = 250_000
# Rows of one request to a database server.
PAGE_ROWS: Final = 10_000
# The parts of a span that are read one after the other: the pages of SQLite that hold
# the rows of a part fit into its cache of 16 MiB, for the next entity.
PARTS: Final = 7

type Devices = Sequence[Mapping[str, str]]
"""The entities of each device, by quantity."""


def read_readings(
    hass: HomeAssistant, devices: Devices, units: Mapping[str, str], span: Span
) -> Iterator[Columns]:
    """Yield the readings of each device, in the unit of each quantity."""
    readers = _read(hass, devices, units, span)
    # Each device is freed before the next: to free all at once would stop all threads.
    for quantities in devices:
        device = readers.popleft()
        series = {quantity: reader.series for quantity, reader in device.items()}
        yield to_columns(quantities, series, span)


def _read(
    hass: HomeAssistant, devices: Devices, units: Mapping[str, str], span: Span
) -> deque[dict[str, _Reader]]:
    """Return the readers of each device, after they have read."""
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
        known = [
            [ids[entity] for entity in entities.values() if entity in ids]
            for entities in devices
        ]
        # Values less than 2 s after the span may belong to a reading that began in it.
        wide = span._replace(
            start=_begin(connection, known, span.start), end=span.end + READING_SECONDS
        )
        for part in _parts(connection, wide, len(every_reader)):
            for reader in every_reader:
                reader.read(part)
    return readers


def _begin(
    connection: Connection, devices: Sequence[Sequence[int]], start: float
) -> float:
    """Return from when on to read devices, so that their readings in a span are known.

    That is the start of the span, unless rows of a device follow each other closely
    there: then the first of them decides which of the next ones begin a reading.
    """
    all_ids = [metadata_id for ids in devices for metadata_id in ids]
    close = rows.count_by_entity(connection, all_ids, start - READING_SECONDS, start)
    begins = [
        _begin_of_close_rows(connection, ids, start)
        for ids in devices
        if not close.keys().isdisjoint(ids)
    ]
    return min(begins, default=start)


def _begin_of_close_rows(
    connection: Connection, ids: Sequence[int], start: float
) -> float:
    """Return the time of the first of the rows that are less than 2 s apart."""
    while True:
        before = rows.first_time(connection, ids, start - READING_SECONDS, start)
        if before is None:
            return start
        start = before


def batches(hass: HomeAssistant, devices: Devices, span: Span) -> list[range]:
    """Return which devices to read together, in their order.

    SQLite spends most of the time fetching pages, each with rows of all devices. A
    server has the pages in memory.
    """
    with connected(hass) as connection:
        if not is_sqlite(connection):
            return [range(number, number + 1) for number in range(len(devices))]
        ids = rows.metadata_ids(connection, _entity_ids(devices))
        counts = rows.count_by_entity(connection, ids.values(), span.start, span.end)
    return _grouped(
        sum(counts.get(ids[e], 0) for e in entities.values() if e in ids)
        for entities in devices
    )


def _grouped(counts: Iterable[int]) -> list[range]:
    """Return neighbours whose rows, taken together, are not too many for a batch."""
    groups: list[range] = []
    start = end = total = 0
    for end, count in enumerate(counts, start=1):
        total += count
        if total > BATCH_ROWS and end - 1 > start:
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
    """Return the spans to read one after the other, in the order of the whole span."""
    if entities == 1 or span.limit < CHUNK_ROWS or not is_sqlite(connection):
        return [span]
    length = (span.end - span.start) / PARTS
    edges = [span.start + length * number for number in range(PARTS)]
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
        self._convert = _Conversion(connection, quantity, unit)
        self._metadata_id = metadata_id
        self.series = Series([], [])
        """The values so far."""

    def read(self, span: Span) -> None:
        """Add the values in a span; beyond the limit only a few."""
        times, values, is_complete = self.series
        if not is_complete:
            return
        page_rows = CHUNK_ROWS if span.limit < CHUNK_ROWS else PAGE_ROWS
        for chunk in rows.read_values(
            self._connection, self._metadata_id, span, page_rows
        ):
            stamps, states, attributes = zip(*chunk, strict=True)
            if (converted := self._convert.all(states, attributes)) is not None:
                times += stamps
                values += converted
            else:
                self._add(chunk)
            if len(times) > span.limit + 1:
                self.series = self.series._replace(is_complete=False)
                return

    def _add(self, chunk: Values) -> None:
        """Add the rows that have a value."""
        for time, state, attributes_id in chunk:
            if (value := self._convert.one(state, attributes_id)) is not None:
                self.series.times.append(time)
                self.series.values.append(value)


class _Conversion:
    """Converts the states of one entity, each from its own unit, to one unit."""

    def __init__(self, connection: Connection, quantity: str, unit: str) -> None:
        """Keep the unit to convert to."""
        self._connection = connection
        self._formulas: dict[int | None, Callable[[float], float] | None] = {None: None}
        self._same: set[int | None] = set()
        """The attributes with the unit to convert to."""
        self._quantity = quantity
        self._unit = unit

    def all(
        self, states: Sequence[Any], attributes: Sequence[int | None]
    ) -> list[float] | None:
        """Return the values if all are numbers in the right unit, else None."""
        for attributes_id in set(attributes):
            self._formula(attributes_id)
        if not self._same.issuperset(attributes):
            return None
        try:
            return [*map(float, states)]
        except TypeError, ValueError:
            return None

    def one(self, state: str | None, attributes_id: int | None) -> float | None:
        """Return the value, or None for a gap or a unit that is not known."""
        return number(state, self._formula(attributes_id))

    def _formula(self, attributes_id: int | None) -> Callable[[float], float] | None:
        """Return the formula for a state with these attributes."""
        if attributes_id not in self._formulas:
            unit = rows.units(self._connection, [attributes_id]).get(attributes_id)
            if unit == self._unit:
                self._same.add(attributes_id)
            self._formulas[attributes_id] = conversion(self._quantity, unit, self._unit)
        return self._formulas[attributes_id]
