"""Since when each device has had its fault, over a restart, too.

While Home Assistant runs, a clock counts that never jumps. What has to last is kept as
Unix time: anew after that has jumped, and what is in the future after a restart says
nothing.
"""

from time import monotonic, time
from typing import Final

from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers.storage import Store
from homeassistant.util.hass_dict import HassKey

from ..const import DOMAIN

VERSION: Final = 1
# Seconds until a change is written, with all others of that time.
DELAY: Final = 60
# Seconds by which the time of day has jumped, and not only been adjusted.
JUMP: Final = 60


class Since:
    """How long each device has had the fault that it has now."""

    def __init__(self, hass: HomeAssistant, lasting: str) -> None:
        """Know of nothing yet; the fault that is kept over a restart is named."""
        self._began: dict[str, tuple[str, float]] = {}
        """The fault of each entry, and since when by the clock that never jumps."""
        self._kept: dict[str, float] = {}
        """Since when each entry has had the lasting fault, in Unix time."""
        self._lasting = lasting
        self._store: Store[dict[str, float]] = Store(hass, VERSION, f"{DOMAIN}.since")

    async def async_load(self) -> None:
        """Go on with what was kept."""
        self._kept = await self._store.async_load() or {}
        now, today = monotonic(), time()
        self._began = {
            entry_id: (self._lasting, now - max(0.0, today - since))
            for entry_id, since in self._kept.items()
        }

    @callback
    def async_passed(self, entry_id: str, fault: str) -> float:
        """Return for how many seconds an entry has had a fault; 0 if it is new."""
        now = monotonic()
        before, began = self._began.get(entry_id, ("", now))
        if before != fault:
            self.async_forget(entry_id)
            began = now
        self._began[entry_id] = fault, began
        passed = now - began
        if fault == self._lasting:
            self._keep(entry_id, time() - passed)
        return passed

    @callback
    def async_forget(self, entry_id: str) -> None:
        """Forget an entry, which has no such fault any more."""
        self._began.pop(entry_id, None)
        if self._kept.pop(entry_id, None) is not None:
            self._save()

    @callback
    def _keep(self, entry_id: str, since: float) -> None:
        """Keep since when; nothing is written while that is the same."""
        known = self._kept.get(entry_id)
        if known is None or abs(since - known) > JUMP:
            self._kept[entry_id] = since
            self._save()

    @callback
    def _save(self) -> None:
        """Write a while later, at the latest when Home Assistant stops."""
        self._store.async_delay_save(lambda: self._kept, DELAY)


DATA_SINCE: HassKey[Since] = HassKey(f"{DOMAIN}_since")
