"""What mends an issue when the owner says so."""

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
from .shared import async_shared
from .uploader.cursor import async_cursor
from .uploader.expiry import READINGS_REFUSED

AGAIN: Final = "again"
CONTINUED: Final = "continued"
FOLLOW: Final = "follow"
GONE: Final = "gone"
LEAVE: Final = "leave"
OTHER: Final = "other"
TAKEN: Final = "taken"


class EntryRepairFlow(RepairsFlow):
    """Asks before it does anything."""

    def __init__(self, entry_id: str) -> None:
        """Name the entry of the device or endpoint."""
        self._entry_id = entry_id

    @property
    def _entry(self) -> ConfigEntry | None:
        """The entry, unless what the owner is asked about is not so any more."""
        if self._issue is None or self._issue.data != self.data:
            return None
        return self.hass.config_entries.async_get_entry(self._entry_id)

    @property
    def _issue(self) -> ir.IssueEntry | None:
        """The issue, unless it was mended meanwhile."""
        return ir.async_get(self.hass).async_get_issue(DOMAIN, self.issue_id)

    @property
    def _placeholders(self) -> dict[str, str] | None:
        """What the question quotes."""
        return None if self._issue is None else self._issue.translation_placeholders


class PlaceRepairFlow(EntryRepairFlow):
    """Leads to the form for a device's place."""

    async def async_step_init(self, _: object = None) -> RepairsFlowResult:
        """Begin with the question."""
        return await self.async_step_confirm()

    async def async_step_confirm(
        self, user_input: dict[str, str] | None = None
    ) -> RepairsFlowResult:
        """Go on in that form once the owner agrees; reading it clears the issue."""
        if (entry := self._entry) is None:
            return self.async_abort(reason=GONE)
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
            reason=CONTINUED, next_flow=(FlowType.CONFIG_FLOW, form["flow_id"])
        )


class MenuRepairFlow(EntryRepairFlow):
    """Has the owner choose."""

    choices: ClassVar[list[str]]
    """The steps to choose from."""

    async def async_step_init(self, _: object = None) -> RepairsFlowResult:
        """Begin with the question."""
        return self.async_show_menu(
            step_id="init",
            menu_options=self.choices,
            description_placeholders=self._placeholders,
        )


class MovedRepairFlow(MenuRepairFlow):
    """Lets an entry follow its device, if it is that, as only its owner knows."""

    choices: ClassVar = [FOLLOW, OTHER]

    async def async_step_follow(self, _: object = None) -> RepairsFlowResult:
        """Put the new place into the entry; its entities and history stay."""
        if (entry := self._entry) is None:
            return self.async_abort(reason=GONE)
        if TYPE_CHECKING:
            assert self.data is not None
        place = {key: self.data[key] for key in (CONF_CONTROLLER, CONF_PORTS)}
        if not await async_move(self.hass, entry, {**entry.data, **place}):
            return self.async_abort(reason=TAKEN)
        return self.async_create_entry(data={})

    async def async_step_other(self, _: object = None) -> RepairsFlowResult:
        """Leave the entry as it is; the stick is offered as a new device."""
        if self._entry is None:
            return self.async_abort(reason=GONE)
        ir.async_ignore_issue(self.hass, DOMAIN, self.issue_id, ignore=True)
        async_shared(self.hass, HotPlug).async_offer_soon()
        return self.async_abort(
            reason=OTHER, description_placeholders=self._placeholders
        )


class RefusedRepairFlow(MenuRepairFlow):
    """Sends what a server refused once more, or leaves it out."""

    choices: ClassVar = [AGAIN, LEAVE]

    async def async_step_again(self, _: object = None) -> RepairsFlowResult:
        """Begin before the first of them, at once."""
        return await self._async_answer(is_again=True)

    async def async_step_leave(self, _: object = None) -> RepairsFlowResult:
        """Go on without them."""
        return await self._async_answer(is_again=False)

    async def _async_answer(self, *, is_again: bool) -> RepairsFlowResult:
        """Remember the answer; an endpoint that is disabled heeds it later."""
        if (entry := self._entry) is None:
            return self.async_abort(reason=GONE)
        cursor = await async_cursor(self.hass, entry.entry_id)
        await cursor.async_answer(is_again=is_again)
        if is_again and entry.state is ConfigEntryState.LOADED:
            entry.async_create_background_task(
                self.hass,
                entry.runtime_data.async_refresh(),
                f"{entry.title} - delivery of what was refused",
            )
        return self.async_create_entry(data={})


FLOWS: Final = {
    READINGS_REFUSED: RefusedRepairFlow,
    STICK_MOVED: MovedRepairFlow,
}
"""How an issue is mended, by the begin of its id, if not by a new place."""


async def async_create_fix_flow(
    hass: HomeAssistant,  # noqa: ARG001 - Home Assistant's own signature.
    issue_id: str,
    data: IssueData | None,
) -> RepairsFlow:
    """Return the flow that mends an issue."""
    flows = (flow for key, flow in FLOWS.items() if issue_id.startswith(key))
    return next(flows, PlaceRepairFlow)(str((data or {}).get(CONF_ENTRY)))
