"""Watches the nodes of devices in /dev.

USB has no event for a node that gets its permissions, a driver that is bound or
unbound, or an I2C bus that comes back.
"""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from homeassistant.core import CALLBACK_TYPE, callback

from ..drivers.presence import node_folder

if TYPE_CHECKING:
    from asyncinotify import Event

NODE_PREFIXES: Final = ("hidraw", "i2c-", "ttyUSB")


@callback
def async_watch_nodes(on_change: Callable[[], None]) -> CALLBACK_TYPE:
    """Call on_change when a node appears, vanishes or changes its permissions.

    Several changes at once make one call. Return the function that ends the watch.
    Raises OSError if the system has no inotify instance left.
    """
    from asyncinotify import Inotify, Mask

    loop = asyncio.get_running_loop()
    inotify = Inotify(sync_timeout=0)  # Without it, reading blocks.

    def receive() -> None:
        """Read all events that the kernel has."""
        is_changed = False
        while (event := inotify.sync_get()) is not None:
            is_changed |= _is_of_node(event)
        if is_changed:
            on_change()

    def stop() -> None:
        """End the watch."""
        loop.remove_reader(inotify.fd)
        inotify.close()

    try:
        inotify.add_watch(node_folder(), Mask.ATTRIB | Mask.CREATE | Mask.DELETE)
    except OSError:
        inotify.close()
        raise
    loop.add_reader(inotify.fd, receive)
    return stop


def _is_of_node(event: Event) -> bool:
    """Return whether an event is about a node, or says that events were lost."""
    return event.name is None or event.name.name.startswith(NODE_PREFIXES)
