"""The facts about the history and the endpoints on the page System information."""

import math
import time
from typing import Any, Final

from homeassistant.components.system_health import SystemHealthRegistration
from homeassistant.config_entries import ConfigEntryState
from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers.importlib import async_import_module
from homeassistant.helpers.recorder import DATA_INSTANCE, get_instance
from homeassistant.util import dt as dt_util

from .const import DOMAIN
from .entries import is_endpoint
from .history import async_reading_entries
from .shared import shared_object

# Counting all rows takes a moment, so the page shows the last count for a while.
COUNT_MAX_AGE_S: Final = 600
UNLIMITED: Final = "∞"


class RowCount:
    """The facts that take a moment to count, and when they were counted."""

    def __init__(self, _: HomeAssistant) -> None:
        """Begin without facts."""
        self.at = -math.inf
        """Monotonic time in seconds."""
        self.facts: dict[str, Any] = {}


@callback
def async_register(
    hass: HomeAssistant,  # noqa: ARG001 - Home Assistant's own signature.
    register: SystemHealthRegistration,
) -> None:
    """Register the function that returns the facts."""
    register.async_register_info(_async_info)


async def _async_info(hass: HomeAssistant) -> dict[str, Any]:
    """Return the days of history, the number of rows and the oldest reading.

    With endpoints, also return the number of readings that wait for them.
    """
    if (recorder := hass.data.get(DATA_INSTANCE)) is None:
        return {"days_kept": 0}
    days = recorder.keep_days if recorder.auto_purge else UNLIMITED
    return {"days_kept": days, **await _async_row_count(hass), **_endpoints(hass)}


@callback
def _endpoints(hass: HomeAssistant) -> dict[str, Any]:
    """Return the number of endpoints, and the readings that wait for loaded ones."""
    entries = hass.config_entries.async_entries(DOMAIN)
    endpoints = [entry for entry in entries if is_endpoint(entry)]
    if not endpoints:
        return {}
    statuses = [
        entry.runtime_data.data
        for entry in endpoints
        if entry.state is ConfigEntryState.LOADED
    ]
    oldest = [status.oldest for status in statuses if status.oldest is not None]
    return {
        "endpoints": len(endpoints),
        "readings_waiting": sum(status.waiting or 0 for status in statuses),
        "oldest_waiting": dt_util.utc_from_timestamp(min(oldest)) if oldest else None,
    }


async def _async_row_count(hass: HomeAssistant) -> dict[str, Any]:
    """Return the number of rows and the oldest reading, counted again after a while."""
    count = shared_object(hass, RowCount)
    if time.monotonic() - count.at > COUNT_MAX_AGE_S:
        await async_import_module(hass, f"{__package__}.history.series")
        from .history.series import count_rows

        entity_ids = [entry.entity_id for entry in async_reading_entries(hass)]
        rows, oldest = await get_instance(hass).async_add_executor_job(
            count_rows, hass, entity_ids
        )
        count.at = time.monotonic()
        count.facts = {"rows": rows, "oldest_reading": oldest}
    return count.facts
