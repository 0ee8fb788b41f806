"""The readings in the recorder: queries, targets, holds and retention.

Other rooms import names from here, and the modules in LATE. Most of these need the
recorder's package, and a start of Home Assistant does not need them: they are imported
in functions, after async_import_module.
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
    "LATE",
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

LATE: Final = ("export", "links", "recorder", "rows", "series")
