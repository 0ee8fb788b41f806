"""The readings in the recorder: queries, targets, holds and retention.

Other rooms import names from here, and those in LATE from their modules. Most of these
modules need the recorder's package, and a start of Home Assistant does not need them:
they are imported in functions, after async_import_module.
"""

from typing import Final

from .holds import holds, thinnable_until
from .query import (
    CONF_END,
    CONF_FORMAT,
    CONF_START,
    QUERY_FIELDS,
    TARGETS,
    UNIT_FIELDS,
    Query,
    async_query,
)
from .readings import READING_SECONDS, Series, iso, reading_starts
from .retention import async_watch_retention
from .targets import Target, async_chosen, async_reading_entries

__all__ = [
    "CONF_END",
    "CONF_FORMAT",
    "CONF_START",
    "QUERY_FIELDS",
    "READING_SECONDS",
    "TARGETS",
    "UNIT_FIELDS",
    "Query",
    "Series",
    "Target",
    "async_chosen",
    "async_query",
    "async_reading_entries",
    "async_watch_retention",
    "holds",
    "iso",
    "reading_starts",
    "thinnable_until",
]

LATE: Final = {
    "export": ("PIECES", "device_groups", "latest", "readings", "write_csv"),
    "links": ("async_link",),
    "recorder": (
        "Connection",
        "async_recorded",
        "async_repack",
        "async_work",
        "check_schema",
        "connected",
        "database_bytes",
        "database_path",
        "delete_rows",
        "free_bytes",
        "is_sqlite",
        "row_bytes",
        "transaction",
        "written_bytes",
    ),
    "rows": (
        "StateRow",
        "count_values_after",
        "first_row_id",
        "first_row_id_between",
        "has_row_at",
        "last_rows",
        "metadata_ids",
        "newest_row_id",
        "newest_rows",
        "next_rows",
        "oldest_time",
        "rows_between",
        "time_of",
        "units",
    ),
    "series": ("count_rows",),
}
"""The names of each of these modules that other rooms may import."""
