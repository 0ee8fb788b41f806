"""The readings in the recorder's database that are still to be sent.

All functions block and have to run in the recorder's executor. Rows are read in the
order of their ids, which no clock changes: only the recorder's thread writes rows.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from homeassistant.core import HomeAssistant

from ..history.recorder import Connection, check_schema, connected
from ..history.rows import (
    StateRow,
    count_values_after,
    first_number,
    first_number_between,
    has_row_at,
    last_rows,
    metadata_ids,
    newest_number,
    next_rows,
    time_of,
    units,
)
from ..units import base_quantity, conversion, number
from .points import Page, Point, RowValue, Source, complete, points, whole

# Rows of selected entities that are read at once: few enough that the event loop waits
# for some milliseconds and the garbage collector does not run.
PAGE_ROWS: Final = 300
# A page grows up to this number of rows so that no reading is split.
MAX_PAGE_ROWS: Final = 20_000

type Sources = Mapping[str, Source]
"""The device and the quantity that each entity shows, by entity id."""
type UnitFormula = Callable[[float], float] | None
"""Converts a value from the unit of its row; None if that unit is unknown."""


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
        self._formulas: dict[tuple[str, int | None], UnitFormula] = {}
        self._hass = hass
        self._sources = sources

    def open(self) -> None:
        """Read the newest row id, then the entities' ids, so that all rows have one."""
        check_schema(self._hass, "send")
        with connected(self._hass) as connection:
            self.newest = newest_number(connection)
            self.newest_at = time_of(connection, self.newest)
            known = metadata_ids(connection, self._sources)
        self._own = {known[entity]: self._sources[entity] for entity in known}

    def last(self, until: float) -> Point | None:
        """Return the newest reading, if it is among the newest rows."""
        with connected(self._hass) as connection:
            rows = last_rows(connection, self._own, self.newest, PAGE_ROWS)
            found = points(self._values(connection, rows))
        kept, _ = complete(found, until, self.newest)
        return max(kept, key=lambda point: point.started, default=None)

    def waiting(self, cursor: int) -> Waiting:
        """Return the number of readings after the cursor, and the time of the first.

        The sensor with the most rows counts the readings of its device.
        """
        with connected(self._hass) as connection:
            counts = count_values_after(connection, self._own, cursor)
        most: dict[str, int] = {}
        for count in counts:
            device = self._own[count.metadata_id].device_id
            most[device] = max(count.rows, most.get(device, 0))
        return Waiting(
            readings=sum(most.values()),
            oldest=min((count.oldest for count in counts), default=None),
        )

    def is_numbered_anew(self, newest: int, newest_at: float | None) -> bool:
        """Return whether the number of the newest row belongs to another row now.

        A new database starts with the first id again, and the ids of deleted newest
        rows are used again. A row that is gone with all rows before it was just old.
        """
        with connected(self._hass) as connection:
            if (time := time_of(connection, newest)) is not None or newest == 0:
                return time != newest_at
            first = first_number(connection)
        return first is None or first < newest

    def before(self, since: float, until: float) -> int:
        """Return the id of the row before the first one between two Unix times."""
        with connected(self._hass) as connection:
            first = first_number_between(connection, since, until)
        return self.newest if first is None else first - 1

    def has(self, time: float) -> bool:
        """Return whether there is still a row with a Unix time."""
        with connected(self._hass) as connection:
            return has_row_at(connection, time)

    def page(self, cursor: int, until: float, limit: int | None = None) -> Page:
        """Return the next complete readings after the cursor.

        The recorder has written all rows up to the Unix time until. The limit is the id
        of the last row to read.
        """
        rows: list[StateRow] = []
        end, newest = cursor, limit or self.newest
        with connected(self._hass) as connection:
            while True:
                more, end = next_rows(connection, self._own, end, newest, PAGE_ROWS)
                rows += more
                found = points(self._values(connection, rows))
                if (is_last := end >= newest) or len(rows) >= MAX_PAGE_ROWS:
                    break
                if (ended := whole(found)) is not None:
                    found, end = ended
                    break
        kept, end = complete(found, until, end)
        return Page(kept, max(end, cursor), is_last or len(kept) < len(found))

    def _values(
        self, connection: Connection, rows: Sequence[StateRow]
    ) -> Iterator[RowValue]:
        """Yield the values in rows, in the units that are sent."""
        self._learn(connection, rows)
        for state_id, metadata_id, time, state, attributes_id in rows:
            source = self._own[metadata_id]
            formula = self._formulas[source.quantity, attributes_id]
            if (value := number(state, formula)) is not None:
                yield RowValue(state_id, source, time, value)

    def _learn(self, connection: Connection, rows: Sequence[StateRow]) -> None:
        """Look up the conversion for each new pair of quantity and attributes."""
        shown = {
            (self._own[row.metadata_id].quantity, row.attributes_id) for row in rows
        }
        pairs = shown - self._formulas.keys()
        known = units(connection, {attributes_id for _, attributes_id in pairs})
        for quantity, attributes_id in pairs:
            unit, sent = known.get(attributes_id), base_quantity(quantity).unit
            self._formulas[quantity, attributes_id] = (
                float if unit == sent else conversion(quantity, unit, sent)
            )
