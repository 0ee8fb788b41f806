"""The repair issues of values that have been invalid for an hour."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Final

from homeassistant.config_entries import ConfigEntry
from homeassistant.const import Platform
from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers import entity_registry as er
from homeassistant.helpers import issue_registry as ir

from ..const import CONF_QUANTITIES, DOMAIN
from ..drivers import Fault, Invalid, in_order
from ..shared import shared_object
from ..translation import async_explain
from .fault_durations import FaultDurations

# With these faults the device answers, but some of its values are invalid, or all.
VALUE_FAULTS: Final = {
    Fault.BAD_REGISTERS,
    Fault.CONTRADICTORY,
    Fault.CPU_UNREADABLE,
    Fault.DISK_CONTRADICTORY,
    Fault.DISK_HANGING,
    Fault.DISK_UNREADABLE,
    Fault.OUT_OF_RANGE,
    Fault.PROBE_RESET,
    Fault.SENSOR_MISSING,
}
VALUES_INVALID: Final = "values_invalid"
REPAIR_AFTER_HOUR: Final = timedelta(hours=1)


async def async_report_values(
    hass: HomeAssistant, entry: ConfigEntry, faults: Mapping[str, Invalid], place: str
) -> None:
    """Create an issue for each fault of values that have long been invalid.

    Values with the same fault share one issue. Delete the issues of values that are
    valid again. The place is its name for the user.
    """
    durations = shared_object(hass, FaultDurations)
    lasting: dict[Fault, list[str]] = defaultdict(list)
    for quantity in in_order({*entry.data[CONF_QUANTITIES], *faults}):
        subject = f"{entry.entry_id}_{quantity}"
        if (invalid := faults.get(quantity)) is None:
            durations.async_forget(subject)
            continue
        duration = durations.async_duration(subject, VALUES_INVALID)
        if duration >= REPAIR_AFTER_HOUR.total_seconds():
            lasting[invalid.fault].append(quantity)
    _async_delete_issues(hass, entry, VALUE_FAULTS - lasting.keys())
    for quantities in lasting.values():
        fault, details = faults[quantities[0]]
        reason = await async_explain(hass, fault, {**details, "place": place})
        _async_create_issue(hass, entry, fault, quantities, reason)


@callback
def async_clear_values(hass: HomeAssistant, entry: ConfigEntry) -> None:
    """Delete the issues of the values of a device that was deleted or disabled."""
    durations = shared_object(hass, FaultDurations)
    for quantity in entry.data.get(CONF_QUANTITIES, ()):  # An endpoint has none.
        durations.async_forget(f"{entry.entry_id}_{quantity}")
    _async_delete_issues(hass, entry, VALUE_FAULTS)


@callback
def _async_create_issue(
    hass: HomeAssistant,
    entry: ConfigEntry,
    fault: Fault,
    quantities: list[str],
    reason: str,
) -> None:
    """Create the issue of values with the same fault."""
    ir.async_create_issue(
        hass,
        DOMAIN,
        _issue_id(entry, fault),
        is_fixable=False,
        severity=ir.IssueSeverity.ERROR,
        translation_key=VALUES_INVALID,
        translation_placeholders={
            "device": entry.title,
            "values": ", ".join(_name(hass, entry, each) for each in quantities),
            "reason": reason,
        },
    )


def _name(hass: HomeAssistant, entry: ConfigEntry, quantity: str) -> str:
    """Return the name of the entity of a quantity."""
    registry = er.async_get(hass)
    entity_id = registry.async_get_entity_id(
        Platform.SENSOR, DOMAIN, f"{entry.entry_id}_{quantity}"
    )
    entity = None if entity_id is None else registry.async_get(entity_id)
    return (entity and (entity.name or entity.original_name)) or quantity


def _issue_id(entry: ConfigEntry, fault: Fault) -> str:
    """Return the id of the issue of values with a fault."""
    return f"{VALUES_INVALID}_{entry.entry_id}_{fault}"


@callback
def _async_delete_issues(
    hass: HomeAssistant, entry: ConfigEntry, faults: Iterable[Fault]
) -> None:
    """Delete the issues of values with these faults."""
    for fault in faults:
        ir.async_delete_issue(hass, DOMAIN, _issue_id(entry, fault))
