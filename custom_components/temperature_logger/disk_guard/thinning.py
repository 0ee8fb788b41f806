"""Thins old readings: of each slot of time the first one stays.

What goes are rows of our own entities that hold a value. What stays: the first of them
in each slot, each entity's newest row, gaps, statistics, and every row of others. It is
done by the recorder's own thread, the only one that writes, some rows at a time.
"""

from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import batched
import time
from typing import Final, NamedTuple, override

from homeassistant.components.recorder.core import Recorder
from homeassistant.components.recorder.repack import repack_database
from homeassistant.components.recorder.tasks import CommitTask, RecorderTask
from homeassistant.components.recorder.util import periodic_db_cleanups
from homeassistant.core import HomeAssistant
from homeassistant.exceptions import HomeAssistantError
from homeassistant.helpers.recorder import session_scope
from sqlalchemy import Connection, delete, exists, func, select, update

from ..const import Refusal
from ..history.tables import (
    ROW,
    STATE_ATTRIBUTES,
    STATES,
    connected,
    translated,
)
from ..translation import refused
from ..units import number

type Done = Callable[[HomeAssistantError | None], object]
"""Takes what went wrong, if something did; called once, in the recorder's thread."""
type Until = Callable[[], float]
"""The Unix time before which readings may go; asked again before each hour."""

HOUR: Final = 3600
# Minutes; each is a step, taken only if those before were not enough. All of them are
# parts of an hour, so an hour is thinned without its neighbours.
SLOTS: Final = (10, 15, 30, 60)
# Entities whose rows of an hour are read together: thousands at the shortest interval.
ENTITIES: Final = 8
# Rows that are deleted in one transaction: some milliseconds.
ROWS: Final = 75
# Seconds after which the recorder gets on with what it has to write.
TURN: Final = 0.01


class Row(NamedTuple):
    """A row of the history: the columns of ROW."""

    state_id: int
    metadata_id: int
    time: float
    state: str | None
    attributes_id: int | None


@dataclass(kw_only=True)
class Tally:
    """What the steps so far deleted, or would delete."""

    minutes: int = 0
    """The slot of the last step."""
    rows: int = 0
    first: float | None = None
    """Unix time of the oldest of them."""
    last: float | None = None
    """Unix time of the newest of them."""

    def add(self, rows: Iterable[Row]) -> None:
        """Count some rows."""
        for row in rows:
            self.rows += 1
            self.first = row.time if self.first is None else min(row.time, self.first)
            self.last = row.time if self.last is None else max(row.time, self.last)


def preview(
    hass: HomeAssistant, metadata_ids: Sequence[int], until: Until
) -> list[Tally]:
    """Return what would be deleted by each step and those before it."""
    tallies = [Tally(minutes=minutes) for minutes in SLOTS]
    with connected(hass) as connection:
        stay = _newest(connection, metadata_ids)
        begin = _next_hour(connection, metadata_ids, 0)
        while begin is not None and begin + HOUR <= until():
            found = False
            for part in batched(metadata_ids, ENTITIES, strict=False):
                rows = _rows(connection, part, begin)
                found |= bool(rows)
                _count(rows, stay, tallies)
            begin += HOUR
            if not found:
                begin = _next_hour(connection, metadata_ids, begin)
    return tallies


def thin(
    instance: Recorder,
    metadata_ids: Sequence[int],
    until: Until,
    enough: Callable[[Connection, Tally], bool],
    tally: Tally,
) -> Generator[None]:
    """Thin step by step until it is enough; yield after each transaction.

    Raises HomeAssistantError where the database fails; the tally says what is gone.
    """
    for minutes in SLOTS:
        tally.minutes = minutes
        stay = set[int]()
        for part in batched(metadata_ids, ENTITIES, strict=False):
            with _transaction(instance) as connection:
                stay |= _newest(connection, part)
            yield
        begin = yield from _find_hour(instance, metadata_ids, 0)
        while begin is not None and begin + HOUR <= until():
            found = False
            for part in batched(metadata_ids, ENTITIES, strict=False):
                found |= yield from _thin_hour(
                    instance, part, begin, stay=stay, until=until, tally=tally
                )
            begin += HOUR
            if not found:  # The next one may be far.
                begin = yield from _find_hour(instance, metadata_ids, begin)
        with _transaction(instance) as connection:
            if enough(connection, tally):
                return


class ThinTask(RecorderTask):
    """Thinning between two things that the recorder has to write."""

    # It commits by itself: of what goes wrong then, somebody has to be told.
    commit_before = False

    def __init__(self, work: Generator[None], done: Done) -> None:
        """Take the work over."""
        self._done = done
        self._work = work

    @override
    def run(self, instance: Recorder) -> None:
        """Work for a moment, then wait for the next turn."""
        ends = time.monotonic() + TURN
        with _told(self._done):
            CommitTask().run(instance)
            while time.monotonic() < ends:
                try:
                    next(self._work)
                except StopIteration:
                    self._done(None)
                    return
            instance.queue_task(self)


class RepackTask(RecorderTask):
    """Gives what is free inside the database to the disk."""

    commit_before = False

    def __init__(self, done: Done) -> None:
        """Remember who is told."""
        self._done = done

    @override
    def run(self, instance: Recorder) -> None:
        """Do as a purge does; nothing is recorded meanwhile, but nothing is lost."""
        with _told(self._done):
            CommitTask().run(instance)
            with translated():
                repack_database(instance)
                # Only then what SQLite's journal took for it is given back, too.
                periodic_db_cleanups(instance)
            self._done(None)


@contextmanager
def _told(done: Done) -> Generator[None]:
    """Tell of what goes wrong, as somebody waits for the end; the recorder goes on."""
    try:
        yield
    except HomeAssistantError as err:
        done(err)
    except Exception as err:
        error = repr(err).partition("\\n")[0]
        done(refused(Refusal.RECORDER_FAILED, error=error))
        raise  # The recorder begins a new session, and writes it to the log.


@contextmanager
def _transaction(instance: Recorder) -> Generator[Connection]:
    """Give the recorder's thread a connection, and commit."""
    with translated(), session_scope(session=instance.get_session()) as session:
        yield session.connection()


def _thin_hour(
    instance: Recorder,
    metadata_ids: Sequence[int],
    begin: int,
    *,
    stay: set[int],
    until: Until,
    tally: Tally,
) -> Generator[None, None, bool]:
    """Thin the rows of some entities in one hour; return whether there are any."""
    with _transaction(instance) as connection:
        rows = _rows(connection, metadata_ids, begin)
    yield
    for part in batched(_surplus(rows, tally.minutes, stay), ROWS, strict=False):
        if begin + HOUR > until():  # Somebody holds them back since.
            break
        with _transaction(instance) as connection:
            unused = _delete(connection, part)
        # Or the next row that is written would refer to what is gone.
        instance.states_manager.evict_purged_state_ids({row.state_id for row in part})
        instance.state_attributes_manager.evict_purged(unused)
        tally.add(part)
        yield
    return bool(rows)


def _count(rows: list[Row], stay: set[int], tallies: Iterable[Tally]) -> None:
    """Count what each step, and those before it, would delete of some rows."""
    gone: list[Row] = []
    for tally in tallies:
        surplus = _surplus(rows, tally.minutes, stay)
        gone += surplus
        tally.add(gone)
        ids = {row.state_id for row in surplus}
        rows = [row for row in rows if row.state_id not in ids]


def _surplus(rows: Iterable[Row], minutes: int, stay: set[int]) -> list[Row]:
    """Return the readings that are not the first of their slot, nor have to stay.

    The rows are in the order of their entities and times. A gap is no reading.
    """
    found: list[Row] = []
    before: tuple[int, int] | None = None
    for row in rows:
        if number(row.state, float) is None:
            continue
        slot = row.metadata_id, int(row.time // (60 * minutes))
        if slot == before and row.state_id not in stay:
            found.append(row)
        before = slot
    return found


def _newest(connection: Connection, metadata_ids: Sequence[int]) -> set[int]:
    """Return the newest row of each entity."""
    states = STATES.columns
    found: set[int] = set()
    for own in metadata_ids:
        statement = (
            select(states.state_id)
            .where(states.metadata_id == own, states.last_updated_ts.is_not(None))
            .order_by(states.last_updated_ts.desc(), states.state_id.desc())
            .limit(1)
        )
        found.update(connection.scalars(statement))
    return found


def _next_hour(
    connection: Connection, metadata_ids: Sequence[int], begin: int
) -> int | None:
    """Return when the hour of the first row begins, from some hour on."""
    states = STATES.columns
    oldest = [
        connection.scalar(
            select(func.min(states.last_updated_ts)).where(
                states.metadata_id == own, states.last_updated_ts >= begin
            )
        )
        for own in metadata_ids
    ]
    start = min((time for time in oldest if time is not None), default=None)
    return None if start is None else int(start // HOUR) * HOUR


def _find_hour(
    instance: Recorder, metadata_ids: Sequence[int], begin: int
) -> Generator[None, None, int | None]:
    """Return the same, some entities at a time."""
    found: list[int] = []
    for part in batched(metadata_ids, ENTITIES, strict=False):
        with _transaction(instance) as connection:
            hour = _next_hour(connection, part, begin)
        found += [] if hour is None else [hour]
        yield
    return min(found, default=None)


def _rows(connection: Connection, metadata_ids: Sequence[int], begin: int) -> list[Row]:
    """Return the rows of some entities in one hour."""
    states = STATES.columns
    statement = (
        select(*ROW)
        .where(
            states.metadata_id.in_(metadata_ids),
            states.last_updated_ts >= begin,
            states.last_updated_ts < begin + HOUR,
        )
        .order_by(states.metadata_id, states.last_updated_ts, states.state_id)
    )
    return [Row(*row) for row in connection.execute(statement)]


def _delete(connection: Connection, rows: Sequence[Row]) -> set[int]:
    """Delete some rows; return the attributes that none has any more, deleted, too."""
    states, attributes = STATES.columns, STATE_ATTRIBUTES.columns
    ids = [row.state_id for row in rows]
    had = {row.attributes_id for row in rows}
    connection.execute(
        update(STATES).where(states.old_state_id.in_(ids)).values(old_state_id=None)
    )
    connection.execute(delete(STATES).where(states.state_id.in_(ids)))
    unused = set(
        connection.scalars(
            select(attributes.attributes_id).where(
                attributes.attributes_id.in_(had),
                ~exists().where(states.attributes_id == attributes.attributes_id),
            )
        )
    )
    connection.execute(
        delete(STATE_ATTRIBUTES).where(attributes.attributes_id.in_(unused))
    )
    return unused
