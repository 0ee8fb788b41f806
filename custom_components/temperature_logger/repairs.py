"""Problems that an owner can mend, and that nothing else mends."""

from typing import TYPE_CHECKING, Final

from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers import issue_registry as ir

from .const import DOMAIN
from .drivers import DriverError, Fault
from .kinds import place

if TYPE_CHECKING:
    from .coordinator import TemperatureLoggerConfigEntry

# Another device stands where the entry's was: nothing will be read until the owner
# says which one is meant.
REPAIRABLE: Final = {Fault.CHIP_CHANGED, Fault.STICK_CHANGED}


@callback
def async_update_issue(
    hass: HomeAssistant, entry: TemperatureLoggerConfigEntry, err: DriverError | None
) -> None:
    """Raise the issue of a device, or clear it."""
    issue_id = f"device_changed_{entry.entry_id}"
    if err is None or err.fault not in REPAIRABLE:
        ir.async_delete_issue(hass, DOMAIN, issue_id)
        return
    ir.async_create_issue(
        hass,
        DOMAIN,
        issue_id,
        is_fixable=False,
        severity=ir.IssueSeverity.ERROR,
        translation_key=err.fault,
        translation_placeholders=err.details
        | {"device": entry.title, "place": place(entry.data)},
    )
