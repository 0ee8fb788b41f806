"""The move of an entry to the new place of its device."""

from collections.abc import Collection
from typing import Any, Final

from homeassistant.config_entries import (
    SOURCE_IGNORE,
    ConfigEntryState,
)
from homeassistant.const import CONF_ADDRESS
from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers.update_coordinator import UpdateFailed

from ..const import (
    CONF_ADAPTER,
    CONF_ADAPTER_NAME,
    CONF_CONTROLLER,
    CONF_MOVED_FROM,
    CONF_PORTS,
    DOMAIN,
)
from ..coordinator import TemperatureLoggerConfigEntry
from ..devices import place_of
from ..drivers import Fault

# The part of an entry's data that stores the place of its device.
PLACE_KEYS: Final = {
    CONF_ADAPTER,
    CONF_ADAPTER_NAME,
    CONF_ADDRESS,
    CONF_CONTROLLER,
    CONF_PORTS,
}
# With these faults the device is not at its place, and another one may be there.
ELSEWHERE_FAULTS: Final = {
    Fault.CHIP_CHANGED,
    Fault.STICK_CHANGED,
    Fault.STICK_NOT_FOUND,
}


@callback
def async_gives_way(entry: TemperatureLoggerConfigEntry) -> bool:
    """Return whether the device of an entry is elsewhere, so that its place is free."""
    return async_fails_with(entry, ELSEWHERE_FAULTS)


@callback
def async_fails_with(
    entry: TemperatureLoggerConfigEntry, faults: Collection[Fault]
) -> bool:
    """Return whether the last poll of a device failed with one of these faults."""
    if entry.state is not ConfigEntryState.LOADED:
        return entry.error_reason_translation_key in faults
    err = entry.runtime_data.last_exception
    return (
        not entry.runtime_data.last_update_success
        and isinstance(err, UpdateFailed)
        and err.translation_key in faults
    )


async def async_move(
    hass: HomeAssistant, entry: TemperatureLoggerConfigEntry, data: dict[str, Any]
) -> bool:
    """Move an entry to the place in its new data; return False if that is occupied.

    An ignored discovery of that place is removed. An entry whose device is elsewhere
    gets the old place in exchange. Entities and history stay with their entries.
    """
    entries = hass.config_entries
    unique_id = place_of(data).id
    other = entries.async_entry_for_domain_unique_id(DOMAIN, unique_id)
    if other is not None and other.source == SOURCE_IGNORE:
        await entries.async_remove(other.entry_id)
        other = entries.async_entry_for_domain_unique_id(DOMAIN, unique_id)
    entries_to_reload = [entry]
    if other is None or other is entry:
        entries.async_update_entry(entry, unique_id=unique_id, data=data)
    elif async_gives_way(other):
        entries_to_reload.append(other)
        _async_exchange(hass, entry, other, data)
    else:
        return False
    for each in entries_to_reload:  # Each closes the node that the other one opens.
        if each.state is ConfigEntryState.LOADED:
            await entries.async_unload(each.entry_id)
    for each in entries_to_reload:
        entries.async_schedule_reload(each.entry_id)
    return True


@callback
def _async_exchange(
    hass: HomeAssistant,
    entry: TemperatureLoggerConfigEntry,
    other: TemperatureLoggerConfigEntry,
    data: dict[str, Any],
) -> None:
    """Exchange the places of two entries; data is the new data of the first."""
    update = hass.config_entries.async_update_entry
    other_id, entry_id = other.unique_id, entry.unique_id
    left = PLACE_KEYS | {CONF_MOVED_FROM}
    rest = {key: value for key, value in other.data.items() if key not in left}
    place = {key: value for key, value in entry.data.items() if key in PLACE_KEYS}
    update(other, unique_id=None, data=rest | place)  # No id may exist twice.
    update(entry, unique_id=other_id, data=data)
    update(other, unique_id=entry_id)
