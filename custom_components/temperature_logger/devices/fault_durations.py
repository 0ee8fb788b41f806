"""The duration of each device's fault, across restarts.

A monotonic clock measures it while Home Assistant runs. For restarts, the time since
which a device is missing is stored as Unix time, and stored again after the wall clock
jumped. A time in the future after a restart counts as now.
"""

from time import monotonic, time
from typing import Final

from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers.storage import Store

from ..const import DOMAIN

DEVICE_MISSING: Final = "device_missing"
"""The only fault whose duration continues across restarts."""
FAULTS_STORE_KEY: Final = f"{DOMAIN}.since"
FAULTS_STORE_VERSION: Final = 1
# All changes within this time are written together.
SAVE_DELAY_S: Final = 60
# A larger difference is a jump of the wall clock, a smaller one an adjustment.
CLOCK_JUMP_S: Final = 60


class FaultDurations:
    """The durations of the present faults, by entry id, or by entry id and quantity."""

    def __init__(self, hass: HomeAssistant) -> None:
        """Begin without faults."""
        self._began_at: dict[str, tuple[str, float]] = {}
        """The fault of each entry and its start, by the monotonic clock."""
        self._stored: dict[str, float] = {}
        """The Unix time since which the device of each entry is missing."""
        self._store: Store[dict[str, float]] = Store(
            hass, FAULTS_STORE_VERSION, FAULTS_STORE_KEY
        )

    async def async_load(self) -> None:
        """Load the times that the last run of Home Assistant stored."""
        self._stored = await self._store.async_load() or {}
        now, today = monotonic(), time()
        self._began_at = {
            entry_id: (DEVICE_MISSING, now - max(0.0, today - began))
            for entry_id, began in self._stored.items()
        }

    @callback
    def async_duration(self, entry_id: str, fault: str) -> float:
        """Return the duration of an entry's fault in seconds; 0 for a new fault."""
        now = monotonic()
        before, began = self._began_at.get(entry_id, ("", now))
        if before != fault:
            self.async_forget(entry_id)
            began = now
        self._began_at[entry_id] = fault, began
        duration = now - began
        if fault == DEVICE_MISSING:
            self._store_start(entry_id, time() - duration)
        return duration

    @callback
    def async_forget(self, entry_id: str) -> None:
        """Forget the fault of an entry after its end."""
        self._began_at.pop(entry_id, None)
        if self._stored.pop(entry_id, None) is not None:
            self._save()

    @callback
    def _store_start(self, entry_id: str, began: float) -> None:
        """Store the start of a fault in Unix time, if it is new or the clock jumped."""
        known = self._stored.get(entry_id)
        if known is None or abs(began - known) > CLOCK_JUMP_S:
            self._stored[entry_id] = began
            self._save()

    @callback
    def _save(self) -> None:
        """Write the times a little later, or when Home Assistant stops."""
        self._store.async_delay_save(lambda: self._stored, SAVE_DELAY_S)
