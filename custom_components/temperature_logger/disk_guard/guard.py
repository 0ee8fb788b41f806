"""Watches how full the disk of the configuration is: warns, and thins readings."""

import time
from typing import TYPE_CHECKING, Final

from homeassistant.core import CoreState, HomeAssistant, callback
from homeassistant.exceptions import HomeAssistantError
from homeassistant.helpers import issue_registry as ir
from homeassistant.helpers.recorder import DATA_INSTANCE

from ..const import (
    CONF_DISK_GUARD,
    CONF_DISK_LIMIT,
    DEFAULT_DISK_LIMIT,
    DOMAIN,
    DiskGuard,
)
from .decision import Outcome, Pass, decide
from .memory import Memory, async_memory
from .passes import ThinningPass, async_measure, reason

if TYPE_CHECKING:
    from ..coordinator import ReadingCoordinator

DISK_ISSUE: Final = "disk_full"
# The issue ends only this far below the limit, so that temporary files, such as the
# journal of a database, do not create it again.
CLEAR_MARGIN_PERCENT: Final = 2
# Interval of the measurements of the database while the disk is full.
MEASURE_SECONDS: Final = 3600


async def async_watch_disk(
    hass: HomeAssistant, coordinator: ReadingCoordinator
) -> None:
    """Watch the disk while the entry of this machine is loaded."""
    Guard(hass, coordinator, await async_memory(hass)).async_start()


class Guard:
    """Watches the readings of this machine, with the options of its entry."""

    def __init__(
        self, hass: HomeAssistant, coordinator: ReadingCoordinator, memory: Memory
    ) -> None:
        """Set the readings to watch; nothing is watched yet."""
        options = coordinator.config_entry.options
        self._coordinator = coordinator
        self._entry = coordinator.config_entry
        self._hass = hass
        self._is_set_up = True
        self._limit: float = options.get(CONF_DISK_LIMIT, DEFAULT_DISK_LIMIT)
        self._memory = memory
        self._mode = options.get(CONF_DISK_GUARD, DiskGuard.OFF)

    @callback
    def async_start(self) -> None:
        """Check the last reading, and each later one."""
        self._memory.measure_after = 0.0
        self._entry.async_on_unload(self._async_end)
        self._entry.async_on_unload(
            self._coordinator.async_add_listener(self._async_check)
        )
        self._async_check()

    @callback
    def _async_end(self) -> None:
        """End a running pass early, and delete the issue."""
        self._is_set_up = False
        ir.async_delete_issue(self._hass, DOMAIN, DISK_ISSUE)

    def _is_wanted(self) -> bool:
        """Return whether the entry still has these options. Any thread may call it."""
        return self._is_set_up and not self._memory.is_stopping

    @property
    def _has_issue(self) -> bool:
        """Whether the disk is reported as full."""
        return ir.async_get(self._hass).async_get_issue(DOMAIN, DISK_ISSUE) is not None

    @callback
    def _async_check(self) -> None:
        """Create the issue of a full disk or delete it; thin if the user allows it."""
        if not self._is_wanted() or not self._coordinator.last_update_success:
            return
        usage = self._coordinator.data.space_usage
        if usage is None:  # Without a valid value, the disk may still be full.
            return
        if self._mode == DiskGuard.OFF or usage < self._limit - CLEAR_MARGIN_PERCENT:
            ir.async_delete_issue(self._hass, DOMAIN, DISK_ISSUE)
            self._memory.has_cleared = True
        elif usage >= self._limit:
            if not self._has_issue:
                self._create_issue(Outcome.DISK_FULL)
            if self._mode == DiskGuard.THIN and self._is_due():
                self._memory.is_busy = True
                self._hass.async_create_task(self._async_act())

    def _is_due(self) -> bool:
        """Return whether to measure the database now."""
        return (
            DATA_INSTANCE in self._hass.data
            and self._hass.state is CoreState.running
            and not self._memory.is_busy
            and time.monotonic() >= self._memory.measure_after
        )

    async def _async_act(self) -> None:
        """Measure the database, thin it if that helps, and report the outcome."""
        outcome, error = Outcome.UNKNOWN, ""
        try:
            outcome = await self._async_thin()
        except HomeAssistantError as err:
            error = reason(err)
        finally:
            self._memory.is_busy = False
            self._memory.measure_after = time.monotonic() + MEASURE_SECONDS
        # The issue is gone if the disk got free space meanwhile.
        if self._is_wanted() and self._has_issue:
            self._create_issue(outcome, error)

    async def _async_thin(self) -> Outcome:
        """Decide whether to thin; return the outcome."""
        memory = self._memory
        measurement = await async_measure(self._hass)
        decision = decide(
            measurement.space, memory.last, time.time(), has_cleared=memory.has_cleared
        )
        if isinstance(decision, Outcome):
            return decision
        return await ThinningPass(
            self._hass,
            measurement,
            decision,
            is_wanted=self._is_wanted,
            remember=self._async_remember,
        ).async_run()

    async def _async_remember(self, last: Pass) -> None:
        """Store the last pass, unless the entry was deleted meanwhile."""
        entries = self._hass.config_entries
        if entries.async_get_entry(self._entry.entry_id) is not None:
            await self._memory.async_remember(last)

    @callback
    def _create_issue(self, outcome: Outcome, error: str = "") -> None:
        """Create the issue that the disk is full, with the outcome."""
        last = self._memory.last or Pass(began=0.0)
        ir.async_create_issue(
            self._hass,
            DOMAIN,
            DISK_ISSUE,
            is_fixable=False,
            severity=ir.IssueSeverity.WARNING,
            translation_key=outcome,
            translation_placeholders={
                "error": error or last.error,
                "folder": self._hass.config.config_dir,
                "limit": f"{self._limit:g}",
                "minutes": str(last.minutes),
                "mib": f"{last.disk_bytes / 2**20:.1f}",
                "rows": str(last.rows),
            },
        )
