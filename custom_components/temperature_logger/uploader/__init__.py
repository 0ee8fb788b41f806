"""Sends readings to a server; the recorder's database is the queue.

The rows of the database have ascending ids. A cursor is the id of the row up to which a
server has all readings, so an outage only makes the next query longer.
"""

from typing import Final

from .cursor import async_cursor
from .expiry import READINGS_REFUSED

__all__ = ["READINGS_REFUSED", "async_cursor"]

LATE: Final = {
    "coordinator": ("EndpointConfigEntry",),
    "entities": ("ENDPOINT_SENSORS", "EndpointEntity", "EndpointSensor"),
    "flow": ("EndpointFlow", "EndpointOptionsFlow"),
    "setup": ("async_remove_endpoint", "async_setup_endpoint"),
}
"""The modules that others import with their first use, with the names for them: they
need aiohttp or the recorder, or are for platforms."""
