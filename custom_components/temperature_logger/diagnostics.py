"""All that a report of a problem needs."""

from typing import Any

from homeassistant.core import HomeAssistant

from .const import CONF_QUANTITIES
from .coordinator import TemperatureLoggerConfigEntry
from .drivers import Reading


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
        "reading": _values(entry, coordinator.data),
        "reading_before_calibration": _values(entry, raw) if raw else None,
    }


def _values(
    entry: TemperatureLoggerConfigEntry, reading: Reading
) -> dict[str, float | None]:
    """Return the values of a reading that the device can have."""
    return {q: reading.value(q) for q in entry.data[CONF_QUANTITIES]}
