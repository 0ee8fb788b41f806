"""The readings in the recorder's database that still have to be sent.

Everything here blocks. It is called in the recorder's executor. Rows are read in the
order of their numbers, which no clock changes.
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
from ..units import UNITS, base, conversion, number
from .points import Point, Source, Value, complete, points, whole

# Rows of ours that are read at a time: as many as make the event loop wait for a few
# milliseconds at most, and do not wake the garbage collector.
PAGE: Final = 300
# Rows of ours that may have been written at once, before a reading may be cut in two.
BURST: Final = 20_000

type Sources = Mapping[str, Source]
"""What each entity shows, by its id."""
type Formula = Callable[[float], float] | None


class Page(NamedTuple):
    """Some readings after the cursor, none of them cut in two."""

    points: list[Point]
    end: int
    """Where the cursor stands once they have arrived."""
    is_last: bool


class Waiting(NamedTuple):
    """What is after the cursor."""

    readings: int
    oldest: float | None
    """Unix time of the first value."""


class Outbox:
    """The rows of some entities, from a cursor to the newest one when it was opened."""

    newest: int
    """The number of the newest row of all entities, when it was opened."""
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
        """Read the newest number before the entities: so all rows have a known one."""
        check_schema(self._hass, "send")
        with connected(self._hass) as connection:
            self.newest = newest_number(connection)
            self.newest_at = time_of(connection, self.newest)
            known = metadata_ids(connection, self._sources)
        self._own = {known[entity]: self._sources[entity] for entity in known}

    def last(self, until: float) -> Point | None:
        """Return the newest reading, if it is not long ago."""
        with connected(self._hass) as connection:
            rows = last_rows(connection, self._own, self.newest, PAGE)
            found = points(self._values(connection, rows))
        kept, _ = complete(found, until, self.newest)
        return max(kept, key=lambda point: point.started, default=None)

    def waiting(self, cursor: int) -> Waiting:
        """Return how many readings there are after the cursor, and since when.

        As many as of a device's sensors the one with the most rows has.
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

        It does in a new database, and if the newest rows were deleted: the database
        gives their numbers again. A row that is gone with all before it was just old.
        """
        with connected(self._hass) as connection:
            if (time := time_of(connection, newest)) is not None or newest == 0:
                return time != newest_at
            first = first_number(connection)
        return first is None or first < newest

    def before(self, since: float, until: float) -> int:
        """Return the number of the row before the first one between two Unix times."""
        with connected(self._hass) as connection:
            first = first_number_between(connection, since, until)
        return self.newest if first is None else first - 1

    def has(self, time: float) -> bool:
        """Return whether a row of some Unix time is still there."""
        with connected(self._hass) as connection:
            return has_row_at(connection, time)

    def page(self, cursor: int, until: float, limit: int | None = None) -> Page:
        """Return the next readings: those of which all rows are there.

        All rows until some Unix time are. The limit is the number of a row to end at.
        """
        rows: list[StateRow] = []
        end, newest = cursor, limit or self.newest
        with connected(self._hass) as connection:
            while True:
                more, end = next_rows(connection, self._own, end, newest, PAGE)
                rows += more
                found = points(self._values(connection, rows))
                if (is_last := end >= newest) or len(rows) >= BURST:
                    break
                if (ended := whole(found)) is not None:
                    found, end = ended
                    break
        kept, end = complete(found, until, end)
        return Page(kept, max(end, cursor), is_last or len(kept) < len(found))

    def _values(
        self, connection: Connection, rows: Sequence[StateRow]
    ) -> Iterator[Value]:
        """Yield the rows that hold a value, in the unit in which it is sent."""
        self._learn(connection, rows)
        for state_id, metadata_id, time, state, attributes_id in rows:
            source = self._own[metadata_id]
            formula = self._formulas[source.quantity, attributes_id]
            if (value := number(state, formula)) is not None:
                yield Value(state_id, source, time, value)

    def _learn(self, connection: Connection, rows: Sequence[StateRow]) -> None:
        """Find out what makes of a number with some attributes a value."""
        shown = {
            (self._own[row.metadata_id].quantity, row.attributes_id) for row in rows
        }
        pairs = shown - self._formulas.keys()
        known = units(connection, {attributes_id for _, attributes_id in pairs})
        for quantity, attributes_id in pairs:
            unit, sent = known.get(attributes_id), UNITS[base(quantity)]
            self._formulas[quantity, attributes_id] = (
                float if unit == sent else conversion(quantity, unit, sent)
            )
