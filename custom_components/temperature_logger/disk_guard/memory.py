"""The memory of the disk guard, which survives a reload of the entry."""

from dataclasses import asdict
from typing import Any, Final

from homeassistant.const import EVENT_HOMEASSISTANT_STOP
from homeassistant.core import Event, HomeAssistant, callback
from homeassistant.helpers.storage import Store

from ..const import DOMAIN
from ..shared import shared_object
from .decision import Pass

STORE_KEY: Final = f"{DOMAIN}.disk_guard"
STORE_VERSION: Final = 1


class Memory:
    """The last pass, which is stored, and the state of the disk guard."""

    def __init__(self, hass: HomeAssistant) -> None:
        """Begin without a last pass."""
        self.has_cleared = False
        """Whether the disk was below the limit at any time since the last pass."""
        self.is_busy = False
        """Whether the database is being measured or thinned."""
        self.is_loaded = False
        """Whether the last pass was read from its file."""
        self.is_stopping = False
        """Whether Home Assistant is stopping."""
        self.last: Pass | None = None
        self.measure_after = 0.0
        """The monotonic time before which the database is not measured again."""
        self._hass = hass
        self._store = Store[dict[str, Any]](hass, STORE_VERSION, STORE_KEY)

    async def async_load(self) -> None:
        """Load the last pass."""
        self.is_loaded = True
        if (stored := await self._store.async_load()) is not None:
            self.last = Pass(**stored)
        self._hass.bus.async_listen(EVENT_HOMEASSISTANT_STOP, self._async_stop)

    async def async_remember(self, last: Pass) -> None:
        """Store the last pass."""
        self.last, self.has_cleared = last, False
        await self._store.async_save(asdict(last))

    async def async_forget(self) -> None:
        """Delete the last pass."""
        self.last = None
        await self._store.async_remove()

    @callback
    def _async_stop(self, _: Event) -> None:
        """End a running pass, as Home Assistant stops."""
        self.is_stopping = True


async def async_memory(hass: HomeAssistant) -> Memory:
    """Return the memory of the disk guard; load it at the first call."""
    memory = shared_object(hass, Memory)
    if not memory.is_loaded:
        await memory.async_load()
    return memory
