"""The disk guard: watches the disk with Home Assistant's configuration."""

from .guard import async_watch_disk
from .memory import Memory, async_memory
from .passes import SIGNAL_THINNED, async_preview

__all__ = [
    "SIGNAL_THINNED",
    "Memory",
    "async_memory",
    "async_preview",
    "async_watch_disk",
]
