"""What the page of the system's information says of the history, and of endpoints."""

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

# To count all rows takes a moment; a page that is opened again need not wait for it.
SECONDS_KEPT: Final = 600
FOR_EVER: Final = "∞"


class Counted:
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
    """Offer the facts."""
    register.async_register_info(_async_info)


async def _async_info(hass: HomeAssistant) -> dict[str, Any]:
    """Return for how many days readings are kept, how many, and since when.

    And, if they are sent on, how many are not yet.
    """
    if (recorder := hass.data.get(DATA_INSTANCE)) is None:
        return {"days_kept": 0}
    days = recorder.keep_days if recorder.auto_purge else FOR_EVER
    return {"days_kept": days, **await _async_counted(hass), **_endpoints(hass)}


@callback
def _endpoints(hass: HomeAssistant) -> dict[str, Any]:
    """Return how many endpoints there are, and what waits for those that are loaded."""
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


async def _async_counted(hass: HomeAssistant) -> dict[str, Any]:
    """Return the number of rows and the oldest, counted some minutes ago at most."""
    counted = shared_object(hass, Counted)
    if time.monotonic() - counted.at > SECONDS_KEPT:
        await async_import_module(hass, f"{__package__}.history.series")
        from .history.series import count_rows

        entity_ids = [entry.entity_id for entry in async_reading_entries(hass)]
        rows, oldest = await get_instance(hass).async_add_executor_job(
            count_rows, hass, entity_ids
        )
        counted.at = time.monotonic()
        counted.facts = {"rows": rows, "oldest_reading": oldest}
    return counted.facts
