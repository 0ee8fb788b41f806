"""The repair issues of devices, and the delay after which a fault creates one.

A fault of the machine, such as a missing permission, may affect several devices. These
share one issue.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Final, NamedTuple

from homeassistant.config_entries import ConfigEntry
from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers import issue_registry as ir

from ..const import CONF_ENTRY, DOMAIN
from ..drivers import Fault
from ..shared import shared_object
from .fault_durations import DEVICE_MISSING, FaultDurations

REPAIR_AT_ONCE: Final = timedelta()
# Long enough for the start of a system, or a device that was just plugged in.
REPAIR_AFTER_MINUTE: Final = timedelta(minutes=1)
REPAIR_AFTER_DAY: Final = timedelta(days=1)


class Repair(NamedTuple):
    """The repair issue of a lasting fault."""

    key: str
    after: timedelta
    fixable: bool = False
    """Whether the user can resolve it with the form for the place of the device."""
    shared: bool = False
    """Whether its cause is on the machine, so that affected devices share one issue."""


class SharedFaults:
    """The devices that each shared fault affects now."""

    def __init__(self, _: HomeAssistant) -> None:
        """Begin without faults."""
        self.affected: defaultdict[str, dict[str, dict[str, str]]] = defaultdict(dict)
        """The placeholders of each device by entry id, by the key of the fault."""


REPAIRS: Final = {
    Fault.ADDRESS_HELD: Repair(
        key=Fault.ADDRESS_HELD, after=REPAIR_AFTER_MINUTE, shared=True
    ),
    Fault.BUS_DISABLED: Repair(
        key=Fault.BUS_DISABLED, after=REPAIR_AFTER_MINUTE, shared=True
    ),
    Fault.BUS_NO_NODE: Repair(
        key=Fault.BUS_NO_NODE, after=REPAIR_AFTER_MINUTE, shared=True
    ),
    Fault.BUS_NOT_FOUND: Repair(
        key=DEVICE_MISSING, after=REPAIR_AFTER_DAY, fixable=True
    ),
    Fault.CHIP_CHANGED: Repair(
        key=Fault.CHIP_CHANGED, after=REPAIR_AT_ONCE, fixable=True
    ),
    Fault.CHIP_NOT_FOUND: Repair(
        key=DEVICE_MISSING, after=REPAIR_AFTER_DAY, fixable=True
    ),
    Fault.CHIP_UNSUPPORTED: Repair(key=Fault.CHIP_UNSUPPORTED, after=REPAIR_AT_ONCE),
    Fault.NO_LIBUSB: Repair(
        key=Fault.NO_LIBUSB, after=REPAIR_AFTER_MINUTE, shared=True
    ),
    Fault.NO_NODE: Repair(key=Fault.NO_NODE, after=REPAIR_AFTER_MINUTE, shared=True),
    Fault.NO_PERMISSION: Repair(
        key=Fault.NO_PERMISSION, after=REPAIR_AFTER_MINUTE, shared=True
    ),
    Fault.NO_PORT: Repair(key=Fault.NO_PORT, after=REPAIR_AFTER_MINUTE, shared=True),
    Fault.SILENT: Repair(key=Fault.SILENT, after=REPAIR_AT_ONCE),
    Fault.STICK_CHANGED: Repair(
        key=Fault.STICK_CHANGED, after=REPAIR_AT_ONCE, fixable=True
    ),
    Fault.STICK_NOT_FOUND: Repair(
        key=DEVICE_MISSING, after=REPAIR_AFTER_DAY, fixable=True
    ),
    Fault.UNKNOWN_FIRMWARE: Repair(
        key=Fault.UNKNOWN_FIRMWARE, after=REPAIR_AT_ONCE, fixable=True
    ),
}


@callback
def async_report_fault(
    hass: HomeAssistant,
    entry: ConfigEntry,
    fault: Fault,
    placeholders: Mapping[str, str],
) -> None:
    """Create the repair issue of a device once its fault has lasted long enough."""
    repair = REPAIRS.get(fault)
    if repair is None:
        async_clear_fault(hass, entry)
        return
    durations = shared_object(hass, FaultDurations)
    duration = durations.async_duration(entry.entry_id, repair.key)
    if not duration:  # A new fault: an issue that exists belongs to another one.
        _async_withdraw(hass, entry)
    if duration < repair.after.total_seconds():
        return
    if repair.shared:
        affected = shared_object(hass, SharedFaults).affected[repair.key]
        affected[entry.entry_id] = dict(placeholders)
        _async_update_shared(hass, repair.key)
        return
    ir.async_create_issue(
        hass,
        DOMAIN,
        _issue_id(entry),
        data={CONF_ENTRY: entry.entry_id},
        is_fixable=repair.fixable,
        severity=ir.IssueSeverity.ERROR,
        translation_key=repair.key,
        translation_placeholders={**placeholders, "device": entry.title},
    )


@callback
def async_clear_fault(hass: HomeAssistant, entry: ConfigEntry) -> None:
    """Delete the issue of a device that works again, or was deleted or disabled."""
    shared_object(hass, FaultDurations).async_forget(entry.entry_id)
    _async_withdraw(hass, entry)


@callback
def _async_withdraw(hass: HomeAssistant, entry: ConfigEntry) -> None:
    """Delete the issue of a device, and remove the device from the shared issues."""
    ir.async_delete_issue(hass, DOMAIN, _issue_id(entry))
    for key, affected in shared_object(hass, SharedFaults).affected.items():
        if affected.pop(entry.entry_id, None) is not None:
            _async_update_shared(hass, key)


@callback
def _async_update_shared(hass: HomeAssistant, key: str) -> None:
    """Create or update the issue of a shared fault; delete it if no device has it."""
    affected = shared_object(hass, SharedFaults).affected[key]
    if not affected:
        ir.async_delete_issue(hass, DOMAIN, key)
        return
    ir.async_create_issue(
        hass,
        DOMAIN,
        key,
        is_fixable=False,
        severity=ir.IssueSeverity.ERROR,
        translation_key=key,
        translation_placeholders=_listed(
            {**placeholders, "device": entry.title}
            for entry_id, placeholders in affected.items()
            if (entry := hass.config_entries.async_get_entry(entry_id)) is not None
        ),
    )


def _listed(placeholders: Iterable[Mapping[str, str]]) -> dict[str, str]:
    """Return the placeholders of one text, each with the values of all devices."""
    listed: dict[str, dict[str, None]] = {}
    for each in placeholders:
        for name, value in each.items():
            listed.setdefault(name, {})[value] = None
    return {name: ", ".join(values) for name, values in listed.items()}


def _issue_id(entry: ConfigEntry) -> str:
    """Return the id of the repair issue of a device."""
    return f"device_{entry.entry_id}"
