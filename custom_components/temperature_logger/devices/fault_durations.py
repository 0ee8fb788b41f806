"""How long each device has had its fault, counted over restarts.

While Home Assistant runs, a monotonic clock counts. The begin of a lasting fault is
stored as Unix time: it is stored again after the wall clock jumped, and counts as new
where it lies in the future after a restart.
"""

from time import monotonic, time
from typing import Final

from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers.storage import Store

from ..const import DOMAIN

DEVICE_MISSING: Final = "device_missing"
"""The fault whose duration is counted over restarts."""
STORE_KEY: Final = f"{DOMAIN}.since"
STORE_VERSION: Final = 1
# Seconds until a change is written, together with all others of that time.
SAVE_DELAY_S: Final = 60
# Seconds by which the wall clock has jumped, and was not only adjusted.
CLOCK_JUMP_S: Final = 60


class FaultDurations:
    """How long each device has had the fault that it has now."""

    def __init__(self, hass: HomeAssistant) -> None:
        """Begin without faults."""
        self._began: dict[str, tuple[str, float]] = {}
        """The fault of each entry, and its begin by the monotonic clock."""
        self._stored: dict[str, float] = {}
        """The begin of the lasting fault of each entry, in Unix time."""
        self._store: Store[dict[str, float]] = Store(hass, STORE_VERSION, STORE_KEY)

    async def async_load(self) -> None:
        """Read the begins that the last run of Home Assistant stored."""
        self._stored = await self._store.async_load() or {}
        now, today = monotonic(), time()
        self._began = {
            entry_id: (DEVICE_MISSING, now - max(0.0, today - began))
            for entry_id, began in self._stored.items()
        }

    @callback
    def async_lasted(self, entry_id: str, fault: str) -> float:
        """Return for how many seconds an entry has had a fault; 0 if it is new."""
        now = monotonic()
        before, began = self._began.get(entry_id, ("", now))
        if before != fault:
            self.async_forget(entry_id)
            began = now
        self._began[entry_id] = fault, began
        lasted = now - began
        if fault == DEVICE_MISSING:
            self._remember(entry_id, time() - lasted)
        return lasted

    @callback
    def async_forget(self, entry_id: str) -> None:
        """Forget the fault of an entry, which is over."""
        self._began.pop(entry_id, None)
        if self._stored.pop(entry_id, None) is not None:
            self._save()

    @callback
    def _remember(self, entry_id: str, began: float) -> None:
        """Store the begin of a fault, unless it is stored already."""
        known = self._stored.get(entry_id)
        if known is None or abs(began - known) > CLOCK_JUMP_S:
            self._stored[entry_id] = began
            self._save()

    @callback
    def _save(self) -> None:
        """Write after a while, at the latest when Home Assistant stops."""
        self._store.async_delay_save(lambda: self._stored, SAVE_DELAY_S)
