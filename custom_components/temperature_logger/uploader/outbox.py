"""Reads the readings that are still to be sent from the recorder's database.

All functions block: call them in the recorder's executor. Rows are read in the order of
their ids, which ascend even if the clock is set back.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from homeassistant.core import HomeAssistant

from ..history.recorder import Connection, check_schema, connected
from ..history.rows import (
    StateRow,
    count_values_after,
    first_row_id,
    first_row_id_between,
    has_row_at,
    last_rows,
    metadata_ids,
    newest_row_id,
    next_rows,
    time_of,
    units,
)
from ..units import base_quantity, conversion, number
from .points import Page, Point, RowValue, Source, take_complete, take_ended, to_points

# Rows of selected entities that are read at a time. More rows would slow the event loop
# for more than some milliseconds, and start the garbage collector.
PAGE_ROWS: Final = 300
# A page grows up to this number of rows so that no reading is split.
MAX_PAGE_ROWS: Final = 20_000

type Sources = Mapping[str, Source]
"""The source of each entity, by entity id."""
type UnitFormula = Callable[[float], float] | None
"""Converts a value from the unit of its row; None if that unit is unknown."""


class Waiting(NamedTuple):
    """The readings after the cursor."""

    readings: int
    oldest: float | None
    """Unix time of the first value."""


class Outbox:
    """The rows of some entities after a cursor, up to the newest one at its opening."""

    newest: int
    """The id of the newest row at that time, of any entity."""
    newest_at: float | None
    """Its Unix time."""
    _sources_by_id: dict[int, Source]
    """The sources by the recorder's number of their entity, which survives a rename."""

    def __init__(self, hass: HomeAssistant, sources: Sources) -> None:
        """Select the entities; call open() next."""
        self._formulas: dict[tuple[str, int | None], UnitFormula] = {}
        self._hass = hass
        self._sources = sources

    def open(self) -> None:
        """Read the newest row id, then the recorder's numbers of the entities.

        In this order, the entity of each row up to the newest one is known.
        """
        check_schema(self._hass, "send")
        with connected(self._hass) as connection:
            self.newest = newest_row_id(connection)
            self.newest_at = time_of(connection, self.newest)
            ids = metadata_ids(connection, self._sources)
        self._sources_by_id = {
            ids[entity_id]: self._sources[entity_id] for entity_id in ids
        }

    def last(self, until: float) -> Point | None:
        """Return the newest reading, if it is among the newest rows."""
        with connected(self._hass) as connection:
            rows = last_rows(connection, self._sources_by_id, self.newest, PAGE_ROWS)
            points = to_points(self._values(connection, rows))
        complete, _ = take_complete(points, until, self.newest)
        return max(complete, key=lambda point: point.started, default=None)

    def waiting(self, cursor: int) -> Waiting:
        """Return the number of readings after the cursor, and the time of the first.

        A device has as many readings as its sensor with the most rows.
        """
        with connected(self._hass) as connection:
            counts = count_values_after(connection, self._sources_by_id, cursor)
        most: dict[str, int] = {}
        for count in counts:
            device = self._sources_by_id[count.metadata_id].device_id
            most[device] = max(count.rows, most.get(device, 0))
        return Waiting(
            readings=sum(most.values()),
            oldest=min((count.oldest for count in counts), default=None),
        )

    def has_new_row_ids(self, newest: int, newest_at: float | None) -> bool:
        """Return whether row ids are used again, as in a new database.

        The id of the previous newest row then belongs to another row, or to none while
        there are rows before it. If all rows before it are gone, too, the recorder has
        deleted them for their age.
        """
        with connected(self._hass) as connection:
            if (time := time_of(connection, newest)) is not None or newest == 0:
                return time != newest_at
            first = first_row_id(connection)
        return first is None or first < newest

    def before(self, since: float, until: float) -> int:
        """Return the row id before the first row of a period, or else the newest."""
        with connected(self._hass) as connection:
            first = first_row_id_between(connection, since, until)
        return self.newest if first is None else first - 1

    def has(self, time: float) -> bool:
        """Return whether the row with a Unix time is still there."""
        with connected(self._hass) as connection:
            return has_row_at(connection, time)

    def page(self, cursor: int, until: float, limit: int | None = None) -> Page:
        """Return the next complete readings after the cursor.

        The recorder has written all rows up to the Unix time `until`. `limit` is the id
        of the last row to read.
        """
        rows: list[StateRow] = []
        end, last = cursor, limit or self.newest
        ids = self._sources_by_id
        with connected(self._hass) as connection:
            while True:
                more, end = next_rows(connection, ids, end, last, PAGE_ROWS)
                rows += more
                points = to_points(self._values(connection, rows))
                if (is_last := end >= last) or len(rows) >= MAX_PAGE_ROWS:
                    break
                if (ended := take_ended(points)) is not None:
                    points, end = ended
                    break
        complete, end = take_complete(points, until, end)
        is_last = is_last or len(complete) < len(points)
        return Page(complete, max(end, cursor), is_last)

    def _values(
        self, connection: Connection, rows: Sequence[StateRow]
    ) -> Iterator[RowValue]:
        """Yield the values of rows, in the units in which they are sent."""
        self._look_up_formulas(connection, rows)
        for state_id, metadata_id, time, state, attributes_id in rows:
            source = self._sources_by_id[metadata_id]
            formula = self._formulas[source.quantity, attributes_id]
            if (value := number(state, formula)) is not None:
                yield RowValue(state_id, source, time, value)

    def _look_up_formulas(
        self, connection: Connection, rows: Sequence[StateRow]
    ) -> None:
        """Look up the conversion for each new pair of quantity and attributes."""
        pairs = {
            (self._sources_by_id[row.metadata_id].quantity, row.attributes_id)
            for row in rows
        }
        pairs -= self._formulas.keys()
        units_by_id = units(connection, {attributes_id for _, attributes_id in pairs})
        for quantity, attributes_id in pairs:
            unit = units_by_id.get(attributes_id)
            target_unit = base_quantity(quantity).unit
            self._formulas[quantity, attributes_id] = (
                float
                if unit == target_unit
                else conversion(quantity, unit, target_unit)
            )
