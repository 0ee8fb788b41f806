"""The guard of the disk that Home Assistant's configuration is on."""

from .guard import async_watch_disk
from .memory import DATA_GUARD, async_memory
from .passes import SIGNAL_THINNED, async_preview

__all__ = [
    "DATA_GUARD",
    "SIGNAL_THINNED",
    "async_memory",
    "async_preview",
    "async_watch_disk",
]
