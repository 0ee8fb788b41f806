"""How much room the recorder's database has, and what thinning would free.

Everything here blocks, and belongs into the recorder's executor or thread.
"""

from collections.abc import Sequence
import os
import shutil
import time
from typing import Final, NamedTuple

from homeassistant.components.recorder.const import SupportedDialect
from homeassistant.core import HomeAssistant
from homeassistant.helpers.recorder import get_instance
from sqlalchemy import URL, Connection, func, make_url, select, text

from ..history.retention import A_DAY
from ..history.tables import (
    STATES,
    THINNED,
    WRITTEN,
    check_schema,
    connected,
    metadata_ids,
)

# Bytes of a row with its entries in the indexes, as databases grew by them
# (benchmarks/row_sizes.py).
ROWS: Final[dict[str, dict[str, int]]] = {
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
# Seconds; while Home Assistant starts, and for a while, more is written than later.
TYPICAL: Final = 6 * 3600
LOCAL: Final = {None, "", "localhost", "127.0.0.1", "::1"}


class Room(NamedTuple):
    """The room of a database on the disk of the configuration, in bytes."""

    size: int
    free: int
    """What it can take before it grows."""
    growth: int
    """What everybody writes in a day."""
    row: int
    """What one row of the history takes."""
    disk_free: int
    """What is free on the disk."""

    @property
    def can_repack(self) -> bool:
        """Whether what is used can be written anew; by SQLite twice for a moment."""
        return self.disk_free > max(self.size, 2 * (self.size - self.free))

    @property
    def told(self) -> dict[str, int]:
        """What is told of it."""
        return {
            "size": self.size,
            "free": self.free,
            "growth_per_day": self.growth,
            "free_on_disk": self.disk_free,
        }


class Survey(NamedTuple):
    """What there is to decide on."""

    metadata_ids: tuple[int, ...]
    """The recorder's numbers of the entities that may be thinned."""
    room: Room | None
    """None where the database is not on this disk, or of a kind not known here."""


def survey(hass: HomeAssistant, entity_ids: Sequence[str]) -> Survey:
    """Look at the database; raise HomeAssistantError where that fails."""
    check_schema(hass, THINNED)
    with connected(hass) as connection:
        own = tuple(metadata_ids(connection, entity_ids).values())
        return Survey(own, _room(hass, connection))


def room(hass: HomeAssistant) -> Room | None:
    """Return the room of the database; raise HomeAssistantError where that fails."""
    with connected(hass) as connection:
        return _room(hass, connection)


def _room(hass: HomeAssistant, connection: Connection) -> Room | None:
    """Return the room of the database, if it is on the disk of the configuration."""
    folder = hass.config.config_dir
    path = _path(connection, make_url(get_instance(hass).db_url))
    if path is None or not _on_one_disk(path, folder):
        return None
    return Room(
        size=_size(connection),
        free=free(connection),
        growth=_growth(connection),
        row=ROWS[connection.dialect.name]["states"],
        disk_free=shutil.disk_usage(folder).free,
    )


def _growth(connection: Connection) -> int:
    """Return the bytes that everybody writes in a day, as since yesterday.

    Or since the first row after that, as the machine may have been off before.
    """
    now, states = time.time(), STATES.columns
    sizes = ROWS[connection.dialect.name]
    counts = {
        name: select(func.count()).where(column >= now - A_DAY).scalar_subquery()
        for name, column in WRITTEN.items()
    }
    rows = connection.execute(select(*counts.values())).one()
    written = sum(count * sizes[name] for name, count in zip(counts, rows, strict=True))
    first = connection.scalar(
        select(func.min(states.last_updated_ts)).where(
            states.last_updated_ts >= now - A_DAY
        )
    )
    seconds = 0.0 if first is None else now - first
    return int(written * A_DAY / max(TYPICAL, seconds))


def free(connection: Connection, deleted: int = 0) -> int:
    """Return the bytes inside a database that new rows can take.

    SQLite knows its unused pages. PostgreSQL counts dead rows, but counts late, so
    those that were just deleted are given.
    """
    if connection.dialect.name == SupportedDialect.SQLITE:
        return _scalar(connection, "PRAGMA freelist_count") * _page_size(connection)
    dead = """SELECT coalesce(max(n_dead_tup), 0) FROM pg_stat_user_tables
        WHERE relid = 'states'::regclass"""
    return (
        max(_scalar(connection, dead), deleted)
        * ROWS[connection.dialect.name]["states"]
    )


def freed(hass: HomeAssistant, before: Room, rows: int) -> int:
    """Return the bytes that deleting some rows freed inside the database."""
    with connected(hass) as connection:
        if connection.dialect.name == SupportedDialect.SQLITE:
            return max(0, free(connection) - before.free)
        return rows * before.row


def _size(connection: Connection) -> int:
    """Return the bytes of the database."""
    if connection.dialect.name == SupportedDialect.SQLITE:
        return _scalar(connection, "PRAGMA page_count") * _page_size(connection)
    return _scalar(connection, "SELECT pg_database_size(current_database())")


def _page_size(connection: Connection) -> int:
    """Return the bytes of one of SQLite's pages."""
    return _scalar(connection, "PRAGMA page_size")


def _scalar(connection: Connection, statement: str) -> int:
    """Return the number that a statement gives."""
    return int(connection.execute(text(statement)).scalar_one())


def _path(connection: Connection, url: URL) -> str | None:
    """Return the path of a database on this machine; None if there is none."""
    match connection.dialect.name:
        case SupportedDialect.SQLITE:
            return url.database
        case SupportedDialect.POSTGRESQL if _is_local(url):
            # There is no row of it for a user who may not know it.
            known = "SELECT setting FROM pg_settings WHERE name = 'data_directory'"
            path: str | None = connection.execute(text(known)).scalar()
            return path
    return None


def _is_local(url: URL) -> bool:
    """Return whether a server is on this machine, by name or by a socket's folder."""
    host = url.query.get("host", url.host)
    return host in LOCAL or (isinstance(host, str) and host.startswith("/"))


def _on_one_disk(path: str, folder: str) -> bool:
    """Return whether two paths are of one file system; what is not there is not."""
    try:
        return os.stat(path).st_dev == os.stat(folder).st_dev  # noqa: PTH116
    except OSError:
        return False
