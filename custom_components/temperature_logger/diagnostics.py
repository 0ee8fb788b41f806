"""All that a report of a problem needs."""

from dataclasses import asdict
from typing import Any

from homeassistant.core import HomeAssistant

from .coordinator import TemperatureLoggerConfigEntry


async def async_get_config_entry_diagnostics(
    hass: HomeAssistant,  # noqa: ARG001 - Home Assistant's own signature.
    entry: TemperatureLoggerConfigEntry,
) -> dict[str, Any]:
    """Return the device, its last reading and what that was made from.

    Nothing in it is secret: the entry holds places and what a device says of itself.
    """
    coordinator = entry.runtime_data
    raw = coordinator.raw_reading
    return {
        "entry": {
            "data": dict(entry.data),
            "options": dict(entry.options),
            "title": entry.title,
        },
        "identity": coordinator.driver.identity._asdict(),
        "last_error": str(coordinator.last_exception or ""),
        "last_poll_succeeded": coordinator.last_update_success,
        "raw": coordinator.driver.raw,
        "reading": asdict(coordinator.data),
        "reading_before_calibration": asdict(raw) if raw else None,
    }
