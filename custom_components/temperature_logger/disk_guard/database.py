"""Measures the space of the recorder's database.

Everything here blocks. It is called in the recorder's executor, or in its thread.
"""

from collections.abc import Sequence
import os
import shutil
import time
from typing import Final

from homeassistant.core import HomeAssistant

from ..const import DAY_SECONDS
from ..history.recorder import (
    Connection,
    check_schema,
    connected,
    database_bytes,
    database_path,
    free_bytes,
    is_sqlite,
    row_bytes,
    transaction,
    written_bytes,
)
from ..history.rows import metadata_ids, oldest_time
from .space import DatabaseSpace, Measurement

# Shortest period for computing the growth: for a while after a start, Home Assistant
# writes more than usual.
GROWTH_SECONDS: Final = 6 * 3600


def measure(hass: HomeAssistant, entity_ids: Sequence[str]) -> Measurement:
    """Measure the database, and look up these entities in it.

    Raises HomeAssistantError if the recorder fails.
    """
    check_schema(hass, "thin")
    with connected(hass) as connection:
        ids = metadata_ids(connection, entity_ids)
        return Measurement(tuple(ids.values()), _space(hass, connection))


def measure_space(hass: HomeAssistant) -> DatabaseSpace | None:
    """Measure the database; raise HomeAssistantError if the recorder fails."""
    with connected(hass) as connection:
        return _space(hass, connection)


def freed_bytes(hass: HomeAssistant, before: DatabaseSpace, rows: int) -> int:
    """Return the bytes inside the database that the deletion of rows freed."""
    with connected(hass) as connection:
        if is_sqlite(connection):
            return max(0, free_bytes(connection) - before.free)
        return rows * before.row


def is_enough(hass: HomeAssistant, before: DatabaseSpace, deleted_rows: int) -> bool:
    """Return whether the deletion freed enough; in the recorder's thread."""
    with transaction(hass) as connection:
        return before._replace(free=free_bytes(connection, deleted_rows)).is_enough


def _space(hass: HomeAssistant, connection: Connection) -> DatabaseSpace | None:
    """Return the space of the database, if it is on the disk of the configuration."""
    folder = hass.config.config_dir
    path = database_path(hass, connection)
    if path is None or not _on_one_disk(path, folder):
        return None
    return DatabaseSpace(
        size=database_bytes(connection),
        free=free_bytes(connection),
        growth=_growth(connection),
        row=row_bytes(connection),
        disk_free=shutil.disk_usage(folder).free,
    )


def _growth(connection: Connection) -> int:
    """Return the bytes written per day, measured over the last 24 hours.

    If the machine was off at first, the period begins with the first row.
    """
    now = time.time()
    first = oldest_time(connection, now - DAY_SECONDS)
    seconds = 0.0 if first is None else now - first
    written = written_bytes(connection, now - DAY_SECONDS)
    return int(written * DAY_SECONDS / max(GROWTH_SECONDS, seconds))


def _on_one_disk(path: str, folder: str) -> bool:
    """Return whether two paths are in one file system; False if a path is missing."""
    try:
        return os.stat(path).st_dev == os.stat(folder).st_dev  # noqa: PTH116
    except OSError:
        return False
