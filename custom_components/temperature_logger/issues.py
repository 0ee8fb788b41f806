"""Problems that an owner can mend, and that nothing else mends."""

from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

from homeassistant.config_entries import (
    SIGNAL_CONFIG_ENTRY_CHANGED,
    ConfigEntry,
    ConfigEntryChange,
)
from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers import issue_registry as ir
from homeassistant.helpers.dispatcher import async_dispatcher_connect

from .const import CONF_CONTROLLER, CONF_PORTS, DOMAIN
from .drivers import DriverError, Fault
from .kinds import place
from .since import DATA_SINCE, Since

if TYPE_CHECKING:
    from .coordinator import TemperatureLoggerConfigEntry
    from .discovery import Candidate

type IssueData = dict[str, str | int | float | None]
type Moves = Mapping[str, Candidate]
"""What looks like a device that was moved, by the id of its entry."""

DEVICE_MISSING: Final = "device_missing"
STICK_MOVED: Final = "stick_moved"
CONF_ENTRY: Final = "entry_id"

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
    hass: HomeAssistant, entry: TemperatureLoggerConfigEntry, err: DriverError | None
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


async def async_load_since(hass: HomeAssistant) -> None:
    """Go on counting where the last run of Home Assistant ended."""
    hass.data[DATA_SINCE] = since = Since(hass, DEVICE_MISSING)
    await since.async_load()


@callback
def async_is_another(hass: HomeAssistant, entry_id: str) -> bool:
    """Return whether what looks like a moved device is another one, as was said."""
    issue = ir.async_get(hass).async_get_issue(DOMAIN, _moved_id(entry_id))
    return issue is not None and issue.dismissed_version is not None


def _moved_id(entry_id: str) -> str:
    """Return the id of the issue that offers to follow a device."""
    return f"{STICK_MOVED}_{entry_id}"


@callback
def async_watch_disabled(hass: HomeAssistant) -> None:
    """Let the issues of a device go when its owner disables it."""

    @callback
    def changed(_: ConfigEntryChange, entry: ConfigEntry) -> None:
        if entry.domain == DOMAIN and entry.disabled_by is not None:
            async_forget(hass, entry)

    async_dispatcher_connect(hass, SIGNAL_CONFIG_ENTRY_CHANGED, changed)


@callback
def async_forget(hass: HomeAssistant, entry: TemperatureLoggerConfigEntry) -> None:
    """Take the issues of a device that was deleted or disabled away with it."""
    async_update_issue(hass, entry, None)
    ir.async_delete_issue(hass, DOMAIN, _moved_id(entry.entry_id))
