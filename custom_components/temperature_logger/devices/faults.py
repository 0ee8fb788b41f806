"""Problems that an owner can mend, and that nothing else mends."""

from datetime import timedelta
from typing import Final, NamedTuple

from homeassistant.config_entries import ConfigEntry
from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers import issue_registry as ir

from ..const import CONF_ENTRY, DOMAIN
from ..drivers import DriverError, Fault
from .fault_durations import DATA_SINCE, Since
from .kinds import place

DEVICE_MISSING: Final = "device_missing"

AT_ONCE: Final = timedelta()
# Long enough for a system that starts, or a device that was just plugged in.
SOON: Final = timedelta(minutes=1)
A_DAY: Final = timedelta(days=1)


class Repair(NamedTuple):
    """What an owner is told of a fault that stays."""

    key: str
    after: timedelta
    fixable: bool = False
    """Whether the form for the device's place mends it."""


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
def async_update_issue(
    hass: HomeAssistant, entry: ConfigEntry, err: DriverError | None
) -> None:
    """Raise the issue of a device once its fault has stayed, or clear it."""
    repair = None if err is None else REPAIRS.get(err.fault)
    since = hass.data[DATA_SINCE]
    issue_id = f"device_{entry.entry_id}"
    if err is None or repair is None:
        since.async_forget(entry.entry_id)
        ir.async_delete_issue(hass, DOMAIN, issue_id)
        return
    passed = since.async_passed(entry.entry_id, repair.key)
    if not passed:
        ir.async_delete_issue(hass, DOMAIN, issue_id)  # That of another fault.
    if passed < repair.after.total_seconds():
        return
    ir.async_create_issue(
        hass,
        DOMAIN,
        issue_id,
        data={CONF_ENTRY: entry.entry_id},
        is_fixable=repair.fixable,
        severity=ir.IssueSeverity.ERROR,
        translation_key=repair.key,
        translation_placeholders=err.details
        | {"device": entry.title, "place": place(entry.data)},
    )


async def async_load_since(hass: HomeAssistant) -> None:
    """Go on counting where the last run of Home Assistant ended."""
    hass.data[DATA_SINCE] = since = Since(hass, DEVICE_MISSING)
    await since.async_load()


@callback
def async_forget(hass: HomeAssistant, entry: ConfigEntry) -> None:
    """Delete the issue of a device that was deleted or disabled."""
    async_update_issue(hass, entry, None)
