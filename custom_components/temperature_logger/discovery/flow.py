"""The flow steps that list the devices on this machine."""

from abc import abstractmethod
from typing import Any, ClassVar

from homeassistant.config_entries import (
    ConfigEntryState,
    ConfigFlow,
    ConfigFlowResult,
)
from homeassistant.const import CONF_DEVICE
from homeassistant.helpers.selector import SelectOptionDict
import voluptuous as vol

from ..const import (
    CONF_FIRMWARE,
    CONF_KIND,
    KIND_BME280,
    KIND_HOST,
    KIND_USB,
)
from ..coordinator import TemperatureLoggerConfigEntry
from ..devices import driver_name
from ..drivers.finder import Candidate, SearchResult, device_type
from ..translation import async_explain, async_load_texts, async_option, async_text
from .forms import Hint, Message, bus_message, list_field, reasons
from .relocation import async_gives_way
from .search import async_search, candidate_label


class SearchFlow(ConfigFlow):
    """Lists the devices to set up, or the possible places of a moved device."""

    OTHER_OPTIONS: ClassVar[tuple[str, ...]] = ()
    """The options besides devices; each one is the key of a text."""

    def __init__(self) -> None:
        """Begin without a search."""
        super().__init__()
        self._chosen_buses: set[str] = set()
        """The keys of the buses that the user has picked for probing."""
        self._search_result = SearchResult()

    @property
    @abstractmethod
    def _entry(self) -> TemperatureLoggerConfigEntry | None:
        """The entry whose device was moved; None if a device is set up."""

    @abstractmethod
    async def _async_set_up(self, candidate: Candidate) -> ConfigFlowResult | Message:
        """Set up a device or move the entry to it; return a message if that failed."""

    async def async_step_user(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Pick a device to set up."""
        return await self._async_step_pick("user", user_input)

    async def async_step_reconfigure_device(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Pick the new place of the device; this machine cannot move."""
        if self._get_reconfigure_entry().data[CONF_KIND] == KIND_HOST:
            return self.async_abort(reason="host_stays")
        return await self._async_step_pick("reconfigure", user_input)

    async def async_step_nothing_found(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Search again, or set up this machine, which is always there."""
        step_id = "reconfigure" if self._entry else "user"
        return await self._async_step_pick(step_id, user_input)

    async def _async_step_pick(
        self, step_id: str, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Search and show the devices; set up the picked one."""
        await async_load_texts(self.hass)
        choice = ""
        problem: Message | None = None
        if user_input is not None:
            choice = user_input.get(CONF_DEVICE, "")
            self._chosen_buses |= {choice} & {
                bus.key for bus in self._search_result.adapters
            }
            if choice not in self._chosen_buses:
                result = await self._async_use_choice(choice)
                if result is not None and not isinstance(result, Message):
                    return result
                problem = result
        self._search_result = await async_search(
            self.hass, self._kinds, self._owned_places(), self._chosen_buses
        )
        if choice in self._chosen_buses:
            problem = bus_message(self.hass, self._search_result, choice)
        return await self._async_show_list(step_id, choice, problem)

    async def _async_show_list(
        self, step_id: str, choice: str, problem: Message | None
    ) -> ConfigFlowResult:
        """Show the list, with hints on why a device may be missing."""
        messages = list(reasons(self.hass, self._kinds, self._search_result))
        options = await self._async_options()
        if not options or options[0]["value"] in {KIND_HOST, *self.OTHER_OPTIONS}:
            step_id = "nothing_found"
            messages = self._messages_of_a_move(messages)
        hints = [await async_explain(self.hass, *message) for message in messages]
        fields = (
            list_field(CONF_DEVICE, options, self._suggested_choice(choice))
            if options
            else {}
        )
        return self.async_show_form(
            step_id=step_id,
            data_schema=vol.Schema(fields),
            errors={} if problem is None else {"base": problem.key},
            description_placeholders={
                **({} if problem is None else problem.placeholders),
                "device": self._entry.title if self._entry else "",
                "hints": "\n".join(f"- {hint}" for hint in hints),
            },
        )

    @property
    def _kinds(self) -> set[str]:
        """The kinds of devices in the list."""
        if self._entry is None:
            return {KIND_BME280, KIND_HOST, KIND_USB}
        return {self._entry.data[CONF_KIND]}

    async def _async_use_choice(self, choice: str) -> ConfigFlowResult | Message | None:
        """Set up a device; return a message if that failed, None if it is gone."""
        matches = (c for c in self._search_result.candidates if c.place.id == choice)
        if (candidate := next(matches, None)) is None:
            return None
        # When this flow ends, Home Assistant also ends the offer with this unique id.
        await self.async_set_unique_id(candidate.place.id, raise_on_progress=False)
        unmoved = self._entry and self._entry.unique_id
        if choice != unmoved and choice in self._owned_places():  # In another window.
            return self.async_abort(reason="already_configured")
        return await self._async_set_up(candidate)

    def _messages_of_a_move(self, messages: list[Message]) -> list[Message]:
        """Return the hints for an empty list; those for a move name the device."""
        if self._entry is None:
            return messages
        placeholders = {"device": self._entry.title}
        if self._entry.unique_id in self._owned_places():
            return [Message(Hint.NOT_MOVED, placeholders)]
        return [
            Message(Hint.MOVED_NOWHERE, placeholders)
            if message.key is Hint.ALL_SET_UP
            else message
            for message in messages
        ]

    def _owned_places(self) -> set[str]:
        """Return the ids of the places of other entries, which the list omits."""
        return {
            entry.unique_id or ""
            for entry in self._async_current_entries(include_ignore=False)
            if not self._is_free(entry)
        }

    def _is_free(self, entry: TemperatureLoggerConfigEntry) -> bool:
        """Return whether the moved device may get the place of an entry."""
        if self._entry is None:
            return False
        if entry.entry_id != self._entry.entry_id:
            return async_gives_way(entry)
        loaded = entry.state is ConfigEntryState.LOADED
        return not loaded or not entry.runtime_data.last_update_success

    async def _async_options(self) -> list[SelectOptionDict]:
        """Return the options: devices, buses, this machine, and an endpoint."""
        options = [
            SelectOptionDict(
                value=candidate.place.id, label=candidate_label(self.hass, candidate)
            )
            for candidate in self._search_result.candidates
        ]
        options += [
            SelectOptionDict(
                value=bus.key,
                label=async_text(
                    self.hass,
                    "i2c_bus_with_number",
                    number=str(bus.number),
                    name=bus.name,
                ),
            )
            for bus in self._search_result.adapters
        ]
        options.sort(key=lambda option: option["value"] == KIND_HOST)
        for option in () if self._entry else self.OTHER_OPTIONS:
            label = await async_option(self.hass, CONF_DEVICE, option)
            options.append(SelectOptionDict(value=option, label=label))
        return options

    def _suggested_choice(self, choice: str) -> str | None:
        """Return the picked option, or else the likely place of a moved device."""
        places = [candidate.place.id for candidate in self._search_result.candidates]
        if choice in places:
            return choice
        if (entry := self._entry) is None:
            return None
        own_type = device_type(driver_name(entry.data), entry.data.get(CONF_FIRMWARE))
        same_type = [
            c.place.id
            for c in self._search_result.candidates
            if c.device_type == own_type
        ]
        if entry.unique_id in (same_type or places):
            return entry.unique_id
        return same_type[0] if len(same_type) == 1 else None
