"""What mends an issue when the owner says so."""

from typing import TYPE_CHECKING, Final

from homeassistant.components.repairs import RepairsFlow, RepairsFlowResult
from homeassistant.components.repairs.const import FlowType
from homeassistant.config_entries import SOURCE_RECONFIGURE, ConfigEntry
from homeassistant.core import HomeAssistant
from homeassistant.helpers import issue_registry as ir
import voluptuous as vol

from .const import CONF_CONTROLLER, CONF_PORTS, DOMAIN
from .issues import CONF_ENTRY, STICK_MOVED
from .moves import async_move

type IssueData = dict[str, str | int | float | None]

CONTINUED: Final = "continued"
GONE: Final = "gone"
TAKEN: Final = "taken"


class DeviceRepairFlow(RepairsFlow):
    """Asks before it does anything."""

    def __init__(self, entry_id: str) -> None:
        """Name the entry of the device."""
        self._entry_id = entry_id

    async def async_step_init(self, _: object = None) -> RepairsFlowResult:
        """Begin with the question."""
        return await self.async_step_confirm()

    async def async_step_confirm(
        self, user_input: dict[str, str] | None = None
    ) -> RepairsFlowResult:
        """Say what is to be done; do it once the owner agrees."""
        entry = self.hass.config_entries.async_get_entry(self._entry_id)
        issue = ir.async_get(self.hass).async_get_issue(DOMAIN, self.issue_id)
        if entry is None or issue is None or issue.data != self.data:
            return self.async_abort(reason=GONE)
        if user_input is not None:
            return await self._async_mend(entry)
        return self.async_show_form(
            step_id="confirm",
            data_schema=vol.Schema({}),
            description_placeholders=issue.translation_placeholders,
        )

    async def _async_mend(self, entry: ConfigEntry) -> RepairsFlowResult:
        """Go on in the form for the device's place; reading it clears the issue."""
        form = await self.hass.config_entries.flow.async_init(
            DOMAIN,
            context={"source": SOURCE_RECONFIGURE, "entry_id": entry.entry_id},
        )
        return self.async_abort(
            reason=CONTINUED, next_flow=(FlowType.CONFIG_FLOW, form["flow_id"])
        )


class MovedRepairFlow(DeviceRepairFlow):
    """Lets an entry follow its device."""

    async def _async_mend(self, entry: ConfigEntry) -> RepairsFlowResult:
        """Put the new place into the entry; its entities and history stay."""
        if TYPE_CHECKING:
            assert self.data is not None
        place = {key: self.data[key] for key in (CONF_CONTROLLER, CONF_PORTS)}
        data = {**entry.data, **place}
        if not await async_move(self.hass, entry, data):
            return self.async_abort(reason=TAKEN)
        return self.async_create_entry(data={})


async def async_create_fix_flow(
    hass: HomeAssistant,  # noqa: ARG001 - Home Assistant's own signature.
    issue_id: str,
    data: IssueData | None,
) -> RepairsFlow:
    """Return the flow that mends an issue of a device."""
    flow = MovedRepairFlow if issue_id.startswith(STICK_MOVED) else DeviceRepairFlow
    return flow(str((data or {}).get(CONF_ENTRY)))
