"""Uses internals of Home Assistant's recorder: connections, thread, caches and sizes.

Functions whose name does not begin with async_ block. They are called in the recorder's
executor or, where they say so, in its thread.
"""

import asyncio
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import partial
import time
from typing import Any, Final, override

from homeassistant.components.recorder.const import SupportedDialect
from homeassistant.components.recorder.core import Recorder
from homeassistant.components.recorder.repack import repack_database
from homeassistant.components.recorder.statistics import (
    get_metadata,
    statistics_during_period,
)
from homeassistant.components.recorder.tasks import (
    CommitTask,
    RecorderTask,
    SynchronizeTask,
)
from homeassistant.components.recorder.util import periodic_db_cleanups
from homeassistant.core import HomeAssistant, callback
from homeassistant.exceptions import HomeAssistantError
from homeassistant.helpers.recorder import get_instance, session_scope
import sqlalchemy
from sqlalchemy import (
    URL,
    delete,
    exists,
    func,
    inspect,
    make_url,
    select,
    text,
    update,
)
from sqlalchemy.exc import SQLAlchemyError

from ..const import Refusal
from ..shared import shared_object
from ..translation import async_text, refused
from .readings import StatisticsPeriod
from .tables import (
    NEEDED,
    STATE_ATTRIBUTES,
    STATES,
    STATISTICS_HOURLY,
    STATISTICS_SHORT,
    TIMES,
    Purpose,
)

type Connection = sqlalchemy.Connection
"""A connection to the recorder's database."""
type OnEnd = Callable[[HomeAssistantError | None], object]
"""Called when a task has ended, with its error or None."""

# Timeout for the recorder to write all states so far.
COMMIT_SECONDS: Final = 60
# Interval of the check that the recorder's thread is alive.
ALIVE_CHECK_SECONDS: Final = 60
# Duration of a turn of our work; then the recorder does its other tasks.
TURN_SECONDS: Final = 0.01

# Bytes of a row with its entries in the indexes, as measured on growing databases
# (benchmarks/row_sizes.py).
ROW_BYTES: Final[Mapping[str, Mapping[str, int]]] = {
    SupportedDialect.SQLITE: {
        "events": 129,
        "states": 155,
        "statistics": 90,
        "statistics_short_term": 90,
    },
    SupportedDialect.POSTGRESQL: {
        "events": 250,
        "states": 299,
        "statistics": 182,
        "statistics_short_term": 182,
    },
}
STATISTICS: Final = ("min", "mean", "max")
LOCAL_HOSTS: Final = {None, "", "localhost", "127.0.0.1", "::1"}


@contextmanager
def connected(hass: HomeAssistant) -> Generator[Connection]:
    """Give a connection for reading."""
    with _translated(), session_scope(hass=hass, read_only=True) as session:
        yield session.connection()


@contextmanager
def transaction(hass: HomeAssistant) -> Generator[Connection]:
    """Give the recorder's thread a connection, and commit at the end."""
    with _translated(), session_scope(hass=hass) as session:
        yield session.connection()


@contextmanager
def _translated() -> Generator[None]:
    """Raise HomeAssistantError for an error of the database."""
    try:
        yield
    except (RuntimeError, SQLAlchemyError) as err:
        raise _failed(str(err)) from err


def _failed(error: str) -> HomeAssistantError:
    """Return the error of a database that failed; it quotes one line of the reason."""
    return refused(Refusal.RECORDER_FAILED, error=error.partition("\n")[0])


def known_columns(_: HomeAssistant) -> set[str]:
    """Return the columns that were found in the database; none at first."""
    return set()


def check_schema(hass: HomeAssistant, purpose: Purpose) -> None:
    """Raise HomeAssistantError if a table or column that is needed is missing.

    The tables do not change while Home Assistant runs, so each is inspected once.
    """
    present = shared_object(hass, known_columns)
    names = [str(column) for column in NEEDED[purpose]]
    if present.issuperset(names):
        return
    with connected(hass) as connection:
        inspector = inspect(connection)
        columns = {
            f"{table}.{column['name']}"
            for table in {name.partition(".")[0] for name in names}
            if inspector.has_table(table)
            for column in inspector.get_columns(table)
        }
    missing = [name for name in names if name not in columns]
    if missing:
        raise refused(Refusal.RECORDER_CHANGED, missing=", ".join(missing))
    present.update(names)


def is_sqlite(connection: Connection) -> bool:
    """Return whether the database is SQLite, a file on this machine."""
    return connection.dialect.name == SupportedDialect.SQLITE


def read_statistics(
    hass: HomeAssistant,
    entity_ids: set[str],
    period: StatisticsPeriod,
    span: tuple[datetime, datetime],
    units: dict[str, str],
) -> Mapping[str, Sequence[Mapping[str, Any]]]:
    """Return rows of statistics by entity id; `units` has one for each unit class."""
    with _translated():
        return statistics_during_period(
            hass, *span, entity_ids, period, units, set(STATISTICS)
        )


def has_statistics(
    hass: HomeAssistant, entity_ids: set[str], period: StatisticsPeriod
) -> bool:
    """Return whether any of these entities has statistics of a period."""
    with _translated():
        metadata = get_metadata(hass, statistic_ids=entity_ids)
    rows = STATISTICS_SHORT if period == "5minute" else STATISTICS_HOURLY
    ids = [metadata_id for metadata_id, _ in metadata.values()]
    statement = (
        select(rows.columns.metadata_id)
        .where(rows.columns.metadata_id.in_(ids))
        .limit(1)
    )
    with connected(hass) as connection:
        return connection.execute(statement).first() is not None


async def async_recorded(hass: HomeAssistant) -> None:
    """Wait until the rows of all states so far are in the database.

    Raises HomeAssistantError if the recorder takes too long.
    """
    future = hass.loop.create_future()
    get_instance(hass).queue_task(SynchronizeTask(future))
    try:
        async with asyncio.timeout(COMMIT_SECONDS):
            await future
    except TimeoutError as err:
        raise refused(Refusal.RECORDER_BUSY) from err


async def async_work(hass: HomeAssistant, work: Generator[None]) -> None:
    """Do work in the recorder's thread, in turns with the recorder's other tasks.

    The work yields after each transaction. Raises HomeAssistantError for its errors.
    """
    await _async_run(hass, partial(WorkTask, work))


async def async_repack(hass: HomeAssistant) -> None:
    """Repack the database, so that its free space becomes free space of the disk.

    Nothing is recorded meanwhile, and nothing is lost. Raises HomeAssistantError.
    """
    await _async_run(hass, RepackTask)


async def _async_run(
    hass: HomeAssistant, make_task: Callable[[OnEnd], RecorderTask]
) -> None:
    """Wait until the recorder's thread has done a task; raise the error of the task."""
    instance = get_instance(hass)
    ended: asyncio.Future[None] = hass.loop.create_future()

    def on_end(error: HomeAssistantError | None) -> None:
        """End the wait, from the recorder's thread."""
        hass.loop.call_soon_threadsafe(_end, ended, error)

    instance.queue_task(make_task(on_end))
    while not ended.done():
        await asyncio.wait([ended], timeout=ALIVE_CHECK_SECONDS)
        if not instance.is_alive():
            on_end(_failed(async_text(hass, "recorder_thread_ended")))
    ended.result()


@callback
def _end(ended: asyncio.Future[None], error: HomeAssistantError | None) -> None:
    """End a wait, unless it has ended."""
    if ended.done():
        return
    if error is None:
        ended.set_result(None)
    else:
        ended.set_exception(error)


class WorkTask(RecorderTask):
    """Work that takes turns with the other tasks of the recorder."""

    # The task commits by itself, to report the error if that fails.
    commit_before = False

    def __init__(self, work: Generator[None], on_end: OnEnd) -> None:
        """Keep the work, and the function to call at its end."""
        self._on_end = on_end
        self._work = work

    @override
    def run(self, instance: Recorder) -> None:
        """Work for one turn, then queue the rest."""
        ends = time.monotonic() + TURN_SECONDS
        with _reporting(self._on_end):
            CommitTask().run(instance)
            while time.monotonic() < ends:
                try:
                    next(self._work)
                except StopIteration:
                    self._on_end(None)
                    return
            instance.queue_task(self)


class RepackTask(RecorderTask):
    """Repacks the database as a purge does."""

    commit_before = False

    def __init__(self, on_end: OnEnd) -> None:
        """Keep the function to call at the end."""
        self._on_end = on_end

    @override
    def run(self, instance: Recorder) -> None:
        """Repack the database and the journal of SQLite."""
        with _reporting(self._on_end):
            CommitTask().run(instance)
            with _translated():
                repack_database(instance)
                # Only this shrinks the journal, which has grown by the repacking.
                periodic_db_cleanups(instance)
            self._on_end(None)


@contextmanager
def _reporting(on_end: OnEnd) -> Generator[None]:
    """Report an error of a task, so that the wait for it ends."""
    try:
        yield
    except HomeAssistantError as err:
        on_end(err)
    except Exception as err:
        on_end(_failed(repr(err).partition("\\n")[0]))
        raise  # The recorder begins a new session, and logs the error.


def delete_rows(
    hass: HomeAssistant, state_ids: set[int], attributes_ids: set[int | None]
) -> None:
    """Delete rows, and those of their attributes that no other row has.

    Call it in the recorder's thread. Both are removed from the recorder's caches: its
    next row could refer to them otherwise.
    """
    with transaction(hass) as connection:
        unused = _delete(connection, state_ids, attributes_ids)
    instance = get_instance(hass)
    instance.states_manager.evict_purged_state_ids(state_ids)
    instance.state_attributes_manager.evict_purged(unused)


def _delete(
    connection: Connection, state_ids: set[int], attributes_ids: set[int | None]
) -> set[int]:
    """Delete rows and attributes; return the ids of the deleted attributes."""
    states, attributes = STATES.columns, STATE_ATTRIBUTES.columns
    connection.execute(
        update(STATES)
        .where(states.old_state_id.in_(state_ids))
        .values(old_state_id=None)
    )
    connection.execute(delete(STATES).where(states.state_id.in_(state_ids)))
    unused = set(
        connection.scalars(
            select(attributes.attributes_id).where(
                attributes.attributes_id.in_(attributes_ids),
                ~exists().where(states.attributes_id == attributes.attributes_id),
            )
        )
    )
    connection.execute(
        delete(STATE_ATTRIBUTES).where(attributes.attributes_id.in_(unused))
    )
    return unused


def database_path(hass: HomeAssistant, connection: Connection) -> str | None:
    """Return the path of a database on this machine, or None."""
    url = make_url(get_instance(hass).db_url)
    match connection.dialect.name:
        case SupportedDialect.SQLITE:
            return url.database
        case SupportedDialect.POSTGRESQL if _is_local(url):
            # The row is missing for a user who may not read this setting.
            statement = "SELECT setting FROM pg_settings WHERE name = 'data_directory'"
            path: str | None = connection.execute(text(statement)).scalar()
            return path
    return None


def _is_local(url: URL) -> bool:
    """Return whether a server is on this machine, by name or by a socket's folder."""
    host = url.query.get("host", url.host)
    return host in LOCAL_HOSTS or (isinstance(host, str) and host.startswith("/"))


def database_bytes(connection: Connection) -> int:
    """Return the size of the database."""
    if is_sqlite(connection):
        return _scalar(connection, "PRAGMA page_count") * _page_bytes(connection)
    return _scalar(connection, "SELECT pg_database_size(current_database())")


def free_bytes(connection: Connection, deleted_rows: int = 0) -> int:
    """Return the bytes that new rows can fill before the database grows.

    SQLite knows its unused pages. PostgreSQL counts dead rows with a delay, so the
    caller passes the number of rows that it just deleted.
    """
    if is_sqlite(connection):
        return _scalar(connection, "PRAGMA freelist_count") * _page_bytes(connection)
    dead_rows = """SELECT coalesce(max(n_dead_tup), 0) FROM pg_stat_user_tables
        WHERE relid = 'states'::regclass"""
    return max(_scalar(connection, dead_rows), deleted_rows) * row_bytes(connection)


def row_bytes(connection: Connection) -> int:
    """Return the size of a row of the states."""
    return ROW_BYTES[connection.dialect.name]["states"]


def written_bytes(connection: Connection, since: float) -> int:
    """Return the bytes of all rows that were written since a Unix time."""
    counts = [
        select(func.count()).where(column >= since).scalar_subquery()
        for column in TIMES.values()
    ]
    sizes = ROW_BYTES[connection.dialect.name]
    rows = connection.execute(select(*counts)).one()
    return sum(count * sizes[table] for table, count in zip(TIMES, rows, strict=True))


def _page_bytes(connection: Connection) -> int:
    """Return the size of a page of SQLite."""
    return _scalar(connection, "PRAGMA page_size")


def _scalar(connection: Connection, statement: str) -> int:
    """Return the number that a statement gives."""
    return int(connection.execute(text(statement)).scalar_one())
