"""The repair issues of devices: which faults become one, and after how long."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Final, NamedTuple

from homeassistant.config_entries import ConfigEntry
from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers import issue_registry as ir

from ..const import CONF_ENTRY, DOMAIN
from ..drivers import Fault
from ..shared import async_shared
from .fault_durations import DEVICE_MISSING, FaultDurations

AT_ONCE: Final = timedelta()
# Long enough for a system that starts, or a device that was just plugged in.
SOON: Final = timedelta(minutes=1)
A_DAY: Final = timedelta(days=1)


class Repair(NamedTuple):
    """The issue of a fault that lasts."""

    key: str
    after: timedelta
    fixable: bool = False
    """Whether the form for the device's place resolves it."""


REPAIRS: Final = {
    Fault.ADDRESS_HELD: Repair(key=Fault.ADDRESS_HELD, after=SOON),
    Fault.BUS_DISABLED: Repair(key=Fault.BUS_DISABLED, after=SOON),
    Fault.BUS_NO_NODE: Repair(key=Fault.BUS_NO_NODE, after=SOON),
    Fault.BUS_NOT_FOUND: Repair(key=DEVICE_MISSING, after=A_DAY, fixable=True),
    Fault.CHIP_CHANGED: Repair(key=Fault.CHIP_CHANGED, after=AT_ONCE, fixable=True),
    Fault.CHIP_NOT_FOUND: Repair(key=DEVICE_MISSING, after=A_DAY, fixable=True),
    Fault.CHIP_UNSUPPORTED: Repair(key=Fault.CHIP_UNSUPPORTED, after=AT_ONCE),
    Fault.NO_LIBUSB: Repair(key=Fault.NO_LIBUSB, after=SOON),
    Fault.NO_NODE: Repair(key=Fault.NO_NODE, after=SOON),
    Fault.NO_PERMISSION: Repair(key=Fault.NO_PERMISSION, after=SOON),
    Fault.NO_PORT: Repair(key=Fault.NO_PORT, after=SOON),
    Fault.STICK_CHANGED: Repair(key=Fault.STICK_CHANGED, after=AT_ONCE, fixable=True),
    Fault.STICK_NOT_FOUND: Repair(key=DEVICE_MISSING, after=A_DAY, fixable=True),
    Fault.UNKNOWN_FIRMWARE: Repair(
        key=Fault.UNKNOWN_FIRMWARE, after=AT_ONCE, fixable=True
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
    durations = async_shared(hass, FaultDurations)
    lasted = durations.async_lasted(entry.entry_id, repair.key)
    if not lasted:  # The issue, if there is one, is that of another fault.
        ir.async_delete_issue(hass, DOMAIN, _issue_id(entry))
    if lasted < repair.after.total_seconds():
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
    """Delete the repair issue of a device that works, or was deleted or disabled."""
    async_shared(hass, FaultDurations).async_forget(entry.entry_id)
    ir.async_delete_issue(hass, DOMAIN, _issue_id(entry))


def _issue_id(entry: ConfigEntry) -> str:
    """Return the id of a device's repair issue."""
    return f"device_{entry.entry_id}"
