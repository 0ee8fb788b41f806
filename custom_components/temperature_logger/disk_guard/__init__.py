"""The disk guard: watches the disk with Home Assistant's configuration."""

from typing import Final

from .guard import async_watch_disk
from .memory import async_memory
from .passes import async_preview

__all__ = ["async_memory", "async_preview", "async_watch_disk"]

LATE: Final = {"entities": ("THINNED_SENSOR", "ThinnedReadingsSensor")}
"""The module that the platform imports, with the names for it."""
