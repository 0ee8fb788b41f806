"""How a place passes from one device to another."""

from collections.abc import Mapping
from typing import Any, Final

from homeassistant.config_entries import (
    SOURCE_IGNORE,
    ConfigEntry,
    ConfigEntryState,
)
from homeassistant.const import CONF_ADDRESS
from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers import issue_registry as ir
from homeassistant.helpers.update_coordinator import UpdateFailed

from ..const import (
    CONF_ADAPTER,
    CONF_ADAPTER_NAME,
    CONF_CONTROLLER,
    CONF_ENTRY,
    CONF_PORTS,
    DOMAIN,
)
from ..coordinator import TemperatureLoggerConfigEntry
from ..devices.kinds import attachment, place
from ..drivers import Fault
from .search import Candidate

type IssueData = dict[str, str | int | float | None]
type Moves = Mapping[str, Candidate]
"""What looks like a device that was moved, by the id of its entry."""

STICK_MOVED: Final = "stick_moved"
# What of an entry's data says where its device is.
PLACE: Final = {
    CONF_ADAPTER,
    CONF_ADAPTER_NAME,
    CONF_ADDRESS,
    CONF_CONTROLLER,
    CONF_PORTS,
}
# Faults of a device that is not where it was set up, though another one may be there.
ELSEWHERE: Final = {Fault.CHIP_CHANGED, Fault.STICK_CHANGED, Fault.STICK_NOT_FOUND}


@callback
def async_gives_way(entry: TemperatureLoggerConfigEntry) -> bool:
    """Return whether a device is elsewhere, so that its place is free for another."""
    if entry.state is not ConfigEntryState.LOADED:
        return entry.error_reason_translation_key in ELSEWHERE
    err = entry.runtime_data.last_exception
    return (
        not entry.runtime_data.last_update_success
        and isinstance(err, UpdateFailed)
        and err.translation_key in ELSEWHERE
    )


async def async_move(
    hass: HomeAssistant, entry: TemperatureLoggerConfigEntry, data: dict[str, Any]
) -> bool:
    """Put an entry at the place in its new data; return False if that is taken.

    What was ignored there is not ignored any more. An entry that gives way gets the
    place that becomes free. Entities and history belong to the entries, and stay.
    """
    entries = hass.config_entries
    unique_id = attachment(data)
    other = entries.async_entry_for_domain_unique_id(DOMAIN, unique_id)
    if other is not None and other.source == SOURCE_IGNORE:
        await entries.async_remove(other.entry_id)
        other = entries.async_entry_for_domain_unique_id(DOMAIN, unique_id)
    moved = [entry]
    if other is None or other is entry:
        entries.async_update_entry(entry, unique_id=unique_id, data=data)
    elif async_gives_way(other):
        moved.append(other)
        _async_exchange(hass, entry, other, data)
    else:
        return False
    for one in moved:  # Each gives back what the other is to open.
        if one.state is ConfigEntryState.LOADED:
            await entries.async_unload(one.entry_id)
    for one in moved:
        entries.async_schedule_reload(one.entry_id)
    return True


@callback
def _async_exchange(
    hass: HomeAssistant,
    entry: TemperatureLoggerConfigEntry,
    other: TemperatureLoggerConfigEntry,
    data: dict[str, Any],
) -> None:
    """Give an entry the place of another one, and that one the entry's own."""
    update = hass.config_entries.async_update_entry
    taken, free = other.unique_id, entry.unique_id
    rest = {key: value for key, value in other.data.items() if key not in PLACE}
    there = {key: value for key, value in entry.data.items() if key in PLACE}
    update(other, unique_id=None, data=rest | there)  # No id is ever there twice.
    update(entry, unique_id=taken, data=data)
    update(other, unique_id=free)


@callback
def async_update_moves(hass: HomeAssistant, moves: Moves) -> None:
    """Offer to each entry to follow its device; take back what was offered before."""
    for entry in hass.config_entries.async_entries(DOMAIN):
        issue_id = _moved_id(entry.entry_id)
        if (candidate := moves.get(entry.entry_id)) is None:
            ir.async_delete_issue(hass, DOMAIN, issue_id)
            continue
        data: IssueData = {
            CONF_ENTRY: entry.entry_id,
            CONF_CONTROLLER: candidate.data[CONF_CONTROLLER],
            CONF_PORTS: candidate.data[CONF_PORTS],
        }
        issue = ir.async_get(hass).async_get_issue(DOMAIN, issue_id)
        # Of an ignored issue from before a restart, the data is not kept.
        if issue is not None and issue.data not in (None, data):
            ir.async_delete_issue(hass, DOMAIN, issue_id)  # It was another stick.
        ir.async_create_issue(
            hass,
            DOMAIN,
            issue_id,
            data=data,
            is_fixable=True,
            severity=ir.IssueSeverity.WARNING,
            translation_key=STICK_MOVED,
            translation_placeholders={
                "device": entry.title,
                "place": place(entry.data),
                "found": candidate.label,
            },
        )


@callback
def async_is_another(hass: HomeAssistant, entry_id: str) -> bool:
    """Return whether what looks like a moved device is another one, as was said."""
    issue = ir.async_get(hass).async_get_issue(DOMAIN, _moved_id(entry_id))
    return issue is not None and issue.dismissed_version is not None


def _moved_id(entry_id: str) -> str:
    """Return the id of the issue that offers to follow a device."""
    return f"{STICK_MOVED}_{entry_id}"


@callback
def async_withdraw(hass: HomeAssistant, entry: ConfigEntry) -> None:
    """Delete the offer of a device that was deleted or disabled."""
    ir.async_delete_issue(hass, DOMAIN, _moved_id(entry.entry_id))
