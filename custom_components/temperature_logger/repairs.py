"""The repair flows, with which the user resolves issues."""

from typing import TYPE_CHECKING, ClassVar, Final

from homeassistant.components.repairs import RepairsFlow, RepairsFlowResult
from homeassistant.components.repairs.const import FlowType
from homeassistant.config_entries import (
    SOURCE_RECONFIGURE,
    ConfigEntry,
    ConfigEntryState,
)
from homeassistant.core import HomeAssistant
from homeassistant.helpers import issue_registry as ir
import voluptuous as vol

from .const import CONF_CONTROLLER, CONF_ENTRY, CONF_PORTS, DOMAIN
from .discovery import STICK_MOVED, HotPlug, IssueData, async_move
from .shared import shared_object
from .uploader import READINGS_REFUSED, async_cursor

STEP_AGAIN: Final = "again"
ABORT_CONTINUED: Final = "continued"
STEP_FOLLOW: Final = "follow"
ABORT_GONE: Final = "gone"
STEP_LEAVE: Final = "leave"
STEP_OTHER: Final = "other"
ABORT_TAKEN: Final = "taken"


class EntryRepairFlow(RepairsFlow):
    """The base of the repair flows of an entry."""

    def __init__(self, entry_id: str) -> None:
        """Keep the id of the entry of the device or endpoint."""
        self._entry_id = entry_id

    @property
    def _entry(self) -> ConfigEntry | None:
        """The entry; None if it is gone, or the issue has changed or was resolved."""
        if self._issue is None or self._issue.data != self.data:
            return None
        return self.hass.config_entries.async_get_entry(self._entry_id)

    @property
    def _issue(self) -> ir.IssueEntry | None:
        """The issue; None if it was resolved meanwhile."""
        return ir.async_get(self.hass).async_get_issue(DOMAIN, self.issue_id)

    @property
    def _placeholders(self) -> dict[str, str] | None:
        """The placeholders of the texts of the issue."""
        return None if self._issue is None else self._issue.translation_placeholders


class PlaceRepairFlow(EntryRepairFlow):
    """Opens the form for the place of a device."""

    async def async_step_init(self, _: object = None) -> RepairsFlowResult:
        """Begin with the confirmation."""
        return await self.async_step_confirm()

    async def async_step_confirm(
        self, user_input: dict[str, str] | None = None
    ) -> RepairsFlowResult:
        """Open the form after the user agreed; the next reading resolves the issue."""
        if (entry := self._entry) is None:
            return self.async_abort(reason=ABORT_GONE)
        if user_input is None:
            return self.async_show_form(
                step_id="confirm",
                data_schema=vol.Schema({}),
                description_placeholders=self._placeholders,
            )
        form = await self.hass.config_entries.flow.async_init(
            DOMAIN,
            context={"source": SOURCE_RECONFIGURE, "entry_id": entry.entry_id},
        )
        return self.async_abort(
            reason=ABORT_CONTINUED, next_flow=(FlowType.CONFIG_FLOW, form["flow_id"])
        )


class MenuRepairFlow(EntryRepairFlow):
    """Offers a menu of steps."""

    choices: ClassVar[list[str]]
    """The steps in the menu."""

    async def async_step_init(self, _: object = None) -> RepairsFlowResult:
        """Show the menu."""
        return self.async_show_menu(
            step_id="init",
            menu_options=self.choices,
            description_placeholders=self._placeholders,
        )


class MovedRepairFlow(MenuRepairFlow):
    """Moves an entry to the place of a similar stick, if the user confirms it."""

    choices: ClassVar = [STEP_FOLLOW, STEP_OTHER]

    async def async_step_follow(self, _: object = None) -> RepairsFlowResult:
        """Store the new place in the entry; its entities and history stay."""
        if (entry := self._entry) is None:
            return self.async_abort(reason=ABORT_GONE)
        if TYPE_CHECKING:
            assert self.data is not None
        place = {key: self.data[key] for key in (CONF_CONTROLLER, CONF_PORTS)}
        if not await async_move(self.hass, entry, {**entry.data, **place}):
            return self.async_abort(reason=ABORT_TAKEN)
        return self.async_create_entry(data={})

    async def async_step_other(self, _: object = None) -> RepairsFlowResult:
        """Keep the entry as it is, and offer the stick as a new device."""
        if self._entry is None:
            return self.async_abort(reason=ABORT_GONE)
        ir.async_ignore_issue(self.hass, DOMAIN, self.issue_id, ignore=True)
        shared_object(self.hass, HotPlug).async_offer_soon()
        return self.async_abort(
            reason=STEP_OTHER, description_placeholders=self._placeholders
        )


class RefusedRepairFlow(MenuRepairFlow):
    """Sends refused readings again, or skips them."""

    choices: ClassVar = [STEP_AGAIN, STEP_LEAVE]

    async def async_step_again(self, _: object = None) -> RepairsFlowResult:
        """Send again, from the first refused reading on."""
        return await self._async_answer(is_again=True)

    async def async_step_leave(self, _: object = None) -> RepairsFlowResult:
        """Skip the refused readings."""
        return await self._async_answer(is_again=False)

    async def _async_answer(self, *, is_again: bool) -> RepairsFlowResult:
        """Store the answer; an endpoint that is not loaded uses it later."""
        if (entry := self._entry) is None:
            return self.async_abort(reason=ABORT_GONE)
        cursor = await async_cursor(self.hass, entry.entry_id)
        await cursor.async_answer(is_again=is_again)
        if is_again and entry.state is ConfigEntryState.LOADED:
            entry.async_create_background_task(
                self.hass,
                entry.runtime_data.async_refresh(),
                f"{entry.title} - delivery of refused readings",
            )
        return self.async_create_entry(data={})


REPAIR_FLOWS: Final = {
    READINGS_REFUSED: RefusedRepairFlow,
    STICK_MOVED: MovedRepairFlow,
}
"""The repair flow by the start of the issue id; other issues use PlaceRepairFlow."""


async def async_create_fix_flow(
    hass: HomeAssistant,  # noqa: ARG001 - Home Assistant's own signature.
    issue_id: str,
    data: IssueData | None,
) -> RepairsFlow:
    """Return the repair flow of an issue."""
    flows = (flow for key, flow in REPAIR_FLOWS.items() if issue_id.startswith(key))
    return next(flows, PlaceRepairFlow)(str((data or {}).get(CONF_ENTRY)))
