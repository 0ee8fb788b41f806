"""Sends readings to a server; the recorder's database is the queue.

The rows of the database have ascending ids. A cursor is the id of the row up to which a
server has all readings, so an outage only makes the next query longer.
"""

from typing import Final

from .cursor import async_cursor
from .expiry import READINGS_REFUSED

LATE: Final = ("coordinator", "entities", "flow", "setup")
"""Modules for others to import with their first use: they need aiohttp or the recorder,
or are for platforms."""

__all__ = ["LATE", "READINGS_REFUSED", "async_cursor"]
