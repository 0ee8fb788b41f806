"""The diagnostics of devices and endpoints, for reports of problems."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

from homeassistant.components.diagnostics import REDACTED, async_redact_data
from homeassistant.const import (
    CONF_HEADERS,
    CONF_PASSWORD,
    CONF_TOKEN,
    CONF_USERNAME,
)
from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers.importlib import async_import_module

from .const import (
    CONF_KIND,
    CONF_ORG,
    CONF_QUANTITIES,
    KIND_HOST,
)
from .coordinator import TemperatureLoggerConfigEntry
from .devices import place_name, place_of
from .discovery import finder
from .drivers import DriverError, Reading, UsbPlace
from .entries import AnyConfigEntry, is_endpoint

if TYPE_CHECKING:
    from .uploader.coordinator import EndpointConfigEntry

# On servers of InfluxData, the organisation is the user's mail address.
TO_REDACT: Final = {CONF_ORG, CONF_PASSWORD, CONF_TOKEN, CONF_USERNAME}


async def async_get_config_entry_diagnostics(
    hass: HomeAssistant,
    entry: AnyConfigEntry,
) -> dict[str, Any]:
    """Return the device of an entry, its last reading, and the data of that reading.

    Nothing in it is secret: the entry stores only places and facts about the device.
    """
    if is_endpoint(entry):
        return _endpoint_diagnostics(entry)
    coordinator = entry.runtime_data
    raw = coordinator.raw_reading
    return {
        "entry": {
            "data": dict(entry.data),
            "options": dict(entry.options),
            "title": entry.title,
        },
        "faults": {
            quantity: str(invalid.error)
            for quantity, invalid in coordinator.data.faults.items()
        },
        "identity": coordinator.driver.identity._asdict()
        | {"place": place_name(hass, entry.data)},
        "last_error": str(coordinator.last_exception or ""),
        "last_poll_succeeded": coordinator.last_update_success,
        "raw": coordinator.driver.raw,
        "reading": _values(entry, coordinator.data),
        "reading_before_calibration": _values(entry, raw) if raw else None,
        "last_thinning": await _async_last_thinning(hass, entry),
        "usb_device": await _async_usb_device(hass, entry),
    }


@callback
def _endpoint_diagnostics(entry: EndpointConfigEntry) -> dict[str, Any]:
    """Return settings, progress and status of an endpoint, without secrets."""
    coordinator = entry.runtime_data
    headers = dict.fromkeys(entry.data[CONF_HEADERS], REDACTED)
    secrets = [entry.data.get(name) for name in TO_REDACT]
    secrets += entry.data[CONF_HEADERS].values()

    def redact(text: str) -> str:
        """Return a text of the server without the secrets that it may quote."""
        for secret in filter(None, secrets):
            text = text.replace(secret, REDACTED)
        return text

    progress = asdict(coordinator.cursor.progress)
    for refusal in progress["refusals"]:
        refusal["reason"] = redact(refusal["reason"])
    return {
        "entry": {
            "data": async_redact_data(entry.data, TO_REDACT) | {CONF_HEADERS: headers},
            "options": dict(entry.options),
            "title": entry.title,
        },
        "is_connected": coordinator.is_connected,
        "last_error": redact(str(coordinator.last_exception or "")),
        "last_update_succeeded": coordinator.last_update_success,
        "progress": progress,
        "status": asdict(coordinator.data),
    }


async def _async_last_thinning(
    hass: HomeAssistant, entry: TemperatureLoggerConfigEntry
) -> dict[str, Any] | None:
    """Return the last thinning by the disk guard; None if there was none."""
    if entry.data[CONF_KIND] != KIND_HOST:
        return None
    await async_import_module(hass, f"{__package__}.disk_guard")
    from .disk_guard import async_memory

    last = (await async_memory(hass)).last
    return None if last is None else last.summary


async def _async_usb_device(
    hass: HomeAssistant, entry: TemperatureLoggerConfigEntry
) -> dict[str, Any] | None:
    """Return ids, names and interfaces of a USB device; None if it is not connected."""
    place = place_of(entry.data)
    if not isinstance(place, UsbPlace):
        return None
    try:
        device = await finder(hass).connected_device(place)
    except DriverError:
        return None
    return device.summary


def _values(
    entry: TemperatureLoggerConfigEntry, reading: Reading
) -> dict[str, float | None]:
    """Return the values of a reading by the quantities of the device."""
    return {q: reading.value(q) for q in entry.data[CONF_QUANTITIES]}
