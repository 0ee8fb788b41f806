"""The readings in the recorder: queries, targets, holds and retention.

Other rooms import names from here, and those in LATE from their modules. Most of these
modules need the recorder's package, and a start of Home Assistant does not need them:
they are imported in functions, after async_import_module.
"""

from typing import Final

from .holds import holds, thinnable_until
from .retention import async_watch_retention
from .targets import Target, async_chosen, async_reading_entries

__all__ = [
    "Target",
    "async_chosen",
    "async_reading_entries",
    "async_watch_retention",
    "holds",
    "thinnable_until",
]

LATE: Final = {
    "export": ("PIECES", "device_groups", "latest", "readings", "write_csv"),
    "links": ("async_link",),
    "query": (
        "QUERY_FIELDS",
        "TARGETS",
        "UNIT_FIELDS",
        "Query",
        "async_query",
    ),
    "readings": ("READING_SECONDS", "Series", "iso", "reading_starts"),
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
