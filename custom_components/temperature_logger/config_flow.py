"""Pick a device from what is there; say where it is now. Or send readings on."""

from contextlib import AbstractAsyncContextManager, nullcontext, suppress
from typing import TYPE_CHECKING, Any, Final, override

from homeassistant.config_entries import (
    SOURCE_RECONFIGURE,
    ConfigEntry,
    ConfigEntryState,
    ConfigFlowResult,
    OptionsFlowWithReload,
)
from homeassistant.const import CONF_DEVICE
from homeassistant.core import callback
from homeassistant.helpers.selector import (
    BooleanSelector,
    SelectOptionDict,
    SelectSelector,
    SelectSelectorConfig,
    SelectSelectorMode,
)
from homeassistant.helpers.typing import DiscoveryInfoType
from homeassistant.loader import async_get_loaded_integration
import voluptuous as vol

from .const import (
    CONF_ADAPTER,
    CONF_FIRMWARE,
    CONF_KIND,
    CONF_QUANTITIES,
    CONF_SHAPE,
    CONF_THERMOMETER,
    DOMAIN,
    KIND_BME280,
    KIND_ENDPOINT,
    KIND_HOST,
    KIND_USB,
)
from .coordinator import TemperatureLoggerConfigEntry
from .devices.kinds import async_import_drivers, async_make_driver, driver_name, place
from .devices.options_flow import OptionsFlow
from .discovery.relocation import async_gives_way, async_move
from .discovery.search import (
    ADDRESSES,
    Candidate,
    Found,
    Hint,
    Problem,
    async_search,
    async_survey,
    sort_of,
)
from .drivers import (
    QUANTITIES,
    DriverError,
    Fault,
    Reading,
    i2c_place,
    in_order,
    within_deadline,
    without_probes,
)
from .drivers.usb.layouts import plausible
from .entries import is_endpoint
from .translation import async_explain, async_option
from .units import base_quantity
from .uploader.flow import EndpointFlow, EndpointOptionsFlow

type Fields = dict[vol.Marker, SelectSelector | BooleanSelector]

# What can be picked without anything being plugged in.
ALWAYS_THERE: Final = {KIND_ENDPOINT, KIND_HOST}


class TemperatureLoggerConfigFlow(EndpointFlow, domain=DOMAIN):
    """Sets up a device, or finds it again at another place; or sets up an endpoint."""

    VERSION = 1

    def __init__(self) -> None:
        """Begin without a search."""
        super().__init__()
        self._candidate: Candidate | None = None
        self._chosen: set[str] = set()
        self._found = Found()
        self._reports: list[bytes] = []

    @staticmethod
    @callback
    @override
    def async_get_options_flow(config_entry: ConfigEntry) -> OptionsFlowWithReload:
        """Return the flow that changes how a device is read, or what is sent."""
        return EndpointOptionsFlow() if is_endpoint(config_entry) else OptionsFlow()

    @property
    def _entry(self) -> TemperatureLoggerConfigEntry | None:
        """The entry whose device was moved, unless a device is set up."""
        if self.source != SOURCE_RECONFIGURE:
            return None
        return self._get_reconfigure_entry()

    @property
    def _kinds(self) -> set[str]:
        """The kinds of devices that can be picked."""
        if self._entry is None:
            return {KIND_BME280, KIND_HOST, KIND_USB}
        return {self._entry.data[CONF_KIND]}

    async def async_step_user(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Pick a device to set up."""
        return await self._async_step_pick("user", user_input)

    async def async_step_reconfigure(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Pick the place where the device is now; this machine is where it is."""
        entry = self._get_reconfigure_entry()
        if is_endpoint(entry):
            return await self.async_step_reconfigure_endpoint()
        if entry.data[CONF_KIND] == KIND_HOST:
            return self.async_abort(reason="host_stays")
        return await self._async_step_pick("reconfigure", user_input)

    async def async_step_nothing_found(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Look again, or take this machine, which is always there."""
        step_id = "reconfigure" if self._entry else "user"
        return await self._async_step_pick(step_id, user_input)

    async def _async_step_pick(
        self, step_id: str, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Show what is there; take what was picked."""
        picked = problem = ""
        if user_input is not None:
            picked = user_input.get(CONF_DEVICE, "")
            if picked == KIND_ENDPOINT:
                return await self.async_step_endpoint()
            self._chosen |= {picked} & {a.key for a in self._found.adapters}
            if picked not in self._chosen:
                result = await self._async_picked(picked)
                if not isinstance(result, str):
                    return result
                problem = result
        self._found = await async_search(
            self.hass, self._kinds, self._owned(), self._chosen
        )
        if picked in self._chosen:
            problem = await self._async_missing_chip(picked)
        problems = self._found.problems
        options = await self._async_options()
        if not options or options[0]["value"] in ALWAYS_THERE:
            step_id = "nothing_found"
            problems = self._problems_of_a_move()
        hints = [await self._async_text(problem) for problem in problems]
        return self.async_show_form(
            step_id=step_id,
            data_schema=_pick_schema(options, self._suggested(picked)),
            errors={"base": "not_readable"} if problem else {},
            description_placeholders={
                "device": self._entry.title if self._entry else "",
                "hints": "\n".join(f"- {hint}" for hint in hints),
                "problem": problem,
            },
        )

    @override
    async def async_step_integration_discovery(
        self, discovery_info: DiscoveryInfoType
    ) -> ConfigFlowResult:
        """Begin with a stick that was plugged in."""
        self._candidate = Candidate(**discovery_info)
        await self.async_set_unique_id(self._candidate.attachment)
        self._abort_if_unique_id_configured()
        self.context["title_placeholders"] = {"name": self._candidate.label}
        if not self._candidate.known:
            return await self.async_step_unknown_firmware()
        return await self.async_step_discovered()

    async def async_step_discovered(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Ask whether the stick is to be set up; set it up."""
        problem = ""
        if user_input is not None:
            result = await self._async_take(self._taken)
            if not isinstance(result, str):
                return result
            problem = result
        self._set_confirm_only()
        return self._async_form("discovered", {}, problem)

    async def async_step_unknown_firmware(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Have the owner say that it is a thermometer; only then ask it for values."""
        errors: dict[str, str] = {}
        problem = ""
        if user_input is not None and not user_input[CONF_THERMOMETER]:
            errors[CONF_THERMOMETER] = "no_thermometer"
        elif user_input is not None:
            try:
                self._reports = await async_survey(self.hass, self._taken.data)
                return await self.async_step_shape()
            except DriverError as err:
                problem = await self._async_text(
                    Problem.of(err, place(self._taken.data))
                )
        field = vol.Required(CONF_THERMOMETER, default=False)
        fields: Fields = {field: BooleanSelector()}
        return self._async_form("unknown_firmware", fields, problem, errors)

    async def async_step_shape(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Have the owner pick what the answer means."""
        errors: dict[str, str] = {}
        problem = ""
        if user_input is not None and CONF_SHAPE not in user_input:
            errors[CONF_SHAPE] = "nothing_picked"
        elif user_input is not None:
            known = {
                CONF_FIRMWARE: self._taken.firmware,
                CONF_SHAPE: user_input[CONF_SHAPE],
            }
            candidate = self._taken._replace(data=self._taken.data | known, known=True)
            result = await self._async_take(candidate)
            if not isinstance(result, str):
                return result
            problem = result
        readings = plausible(self._reports)
        if not readings:
            return self.async_abort(
                reason="no_shape", description_placeholders=self._quoted
            )
        options = [
            SelectOptionDict(
                value=shape, label=await self._async_shape_label(shape, reading)
            )
            for shape, reading in readings.items()
        ]
        fields = _list_field(CONF_SHAPE, options, (user_input or {}).get(CONF_SHAPE))
        return self._async_form("shape", fields, problem, errors)

    @property
    def _taken(self) -> Candidate:
        """The device that the forms are about."""
        if TYPE_CHECKING:
            assert self._candidate is not None
        return self._candidate

    @property
    def _quoted(self) -> dict[str, str]:
        """What the texts about one device quote."""
        integration = async_get_loaded_integration(self.hass, DOMAIN)
        return {
            "device": self._taken.label,
            "firmware": self._taken.firmware or "",
            "issues": integration.issue_tracker or "",
            "reports": " / ".join(report.hex(" ") for report in self._reports),
        }

    def _async_form(
        self,
        step_id: str,
        fields: Fields,
        problem: str,
        errors: dict[str, str] | None = None,
    ) -> ConfigFlowResult:
        """Show a form about one device."""
        return self.async_show_form(
            step_id=step_id,
            data_schema=vol.Schema(fields),
            errors={"base": "not_readable"} if problem else errors,
            description_placeholders=self._quoted | {"problem": problem},
        )

    async def _async_shape_label(self, shape: str, reading: Reading) -> str:
        """Return what an answer may mean, with its values."""
        values = ", ".join(
            f"{value:.2f} {base_quantity(quantity).unit}"
            for quantity in QUANTITIES
            if (value := getattr(reading, quantity)) is not None
        )
        return f"{values}: {await async_option(self.hass, CONF_SHAPE, shape)}"

    async def _async_picked(self, picked: str) -> ConfigFlowResult | str:
        """Go on with the picked device; return the text of what went wrong, if so."""
        found = (c for c in self._found.candidates if c.attachment == picked)
        if (candidate := next(found, None)) is None:
            return ""  # It is gone; the list that follows is a new one.
        # It may be offered under "Discovered", too; that offer ends with this flow.
        await self.async_set_unique_id(candidate.attachment, raise_on_progress=False)
        own = self._entry and self._entry.unique_id
        if picked != own and picked in self._owned():  # Meanwhile, in another window.
            return self.async_abort(reason="already_configured")
        return await self._async_take(candidate)

    async def _async_take(self, candidate: Candidate) -> ConfigFlowResult | str:
        """Read a device once and set it up; return the text of what went wrong, if so.

        A stick with an unknown firmware is not read before its owner agreed.
        """
        self._candidate = candidate
        if not candidate.known:
            return await self.async_step_unknown_firmware()
        try:
            async with self._async_paused(candidate):
                model, data = await self._async_read(candidate)
        except DriverError as err:
            if err.fault is Fault.UNKNOWN_FIRMWARE:  # It was not asked before.
                firmware = err.details["firmware"]
                return await self._async_take(
                    candidate._replace(firmware=firmware, known=False)
                )
            return await self._async_text(Problem.of(err, place(candidate.data)))
        if self._entry is not None:
            return await self._async_move(self._entry, data)
        self._abort_if_unique_id_configured()  # Meanwhile, in another window.
        return self.async_create_entry(title=self._title(model), data=data)

    def _async_paused(self, candidate: Candidate) -> AbstractAsyncContextManager[None]:
        """Keep the entry of a place from reading what this flow reads there."""
        entry: TemperatureLoggerConfigEntry | None
        entry = self.hass.config_entries.async_entry_for_domain_unique_id(
            DOMAIN, candidate.attachment
        )
        if entry is None or entry.state is not ConfigEntryState.LOADED:
            return nullcontext()
        return entry.runtime_data.async_paused()

    async def _async_read(self, candidate: Candidate) -> tuple[str, dict[str, Any]]:
        """Read a device once; return its model, and the data of its entry."""
        await async_import_drivers(self.hass, {driver_name(candidate.data)})
        driver = async_make_driver(self.hass, candidate.data)
        try:
            await within_deadline(driver.read())
            data = candidate.data | driver.facts
            data[CONF_QUANTITIES] = list(driver.quantities)
            return driver.identity.model, data
        finally:
            with suppress(DriverError):
                await within_deadline(driver.close())

    async def _async_missing_chip(self, key: str) -> str:
        """Return the text for a bus that was picked and has no sensor."""
        if any(c.data.get(CONF_ADAPTER) == key for c in self._found.candidates):
            return ""
        details = {"place": i2c_place(key, *ADDRESSES)}
        return await self._async_text(
            Problem(key=Fault.CHIP_NOT_FOUND, details=details)
        )

    async def _async_move(
        self, entry: TemperatureLoggerConfigEntry, data: dict[str, Any]
    ) -> ConfigFlowResult | str:
        """Let the entry follow its device; probes may be others than before."""
        old, new = entry.data[CONF_QUANTITIES], data[CONF_QUANTITIES]
        if set(without_probes(old)) != set(without_probes(new)):
            return await self._async_text(
                Problem(key=Hint.OTHER_MODEL, details={"place": place(data)})
            )
        data[CONF_QUANTITIES] = in_order({*old, *new})
        moved = await async_move(self.hass, entry, data)
        reason = "reconfigure_successful" if moved else "already_configured"
        return self.async_abort(reason=reason)

    def _problems_of_a_move(self) -> list[Problem]:
        """Return why there is no place to pick, said of the device that was moved."""
        if self._entry is None:
            return self._found.problems
        details = {"device": self._entry.title}
        if self._entry.unique_id in self._owned():
            return [Problem(key=Hint.NOT_MOVED, details=details)]
        return [
            Problem(key=Hint.MOVED_NOWHERE, details=details)
            if problem.key is Hint.ALL_SET_UP
            else problem
            for problem in self._found.problems
        ]

    def _owned(self) -> set[str]:
        """Return the places that are not looked at: the device of an entry is there."""
        return {
            entry.unique_id or ""
            for entry in self._async_current_entries(include_ignore=False)
            if not self._gives_way(entry)
        }

    def _gives_way(self, entry: TemperatureLoggerConfigEntry) -> bool:
        """Return whether the place of an entry can be picked for what was moved."""
        if self._entry is None:
            return False
        if entry.entry_id != self._entry.entry_id:
            return async_gives_way(entry)
        loaded = entry.state is ConfigEntryState.LOADED
        return not loaded or not entry.runtime_data.last_update_success

    async def _async_options(self) -> list[SelectOptionDict]:
        """Return what can be picked: last this machine, and to send readings on."""
        devices = [
            SelectOptionDict(value=candidate.attachment, label=candidate.label)
            for candidate in self._found.candidates
        ]
        buses = [
            SelectOptionDict(
                value=adapter.key, label=f"I2C {adapter.number}: {adapter.name}"
            )
            for adapter in self._found.adapters
        ]
        options = sorted(
            devices + buses, key=lambda option: option["value"] == KIND_HOST
        )
        if self._entry is None:
            label = await async_option(self.hass, CONF_DEVICE, KIND_ENDPOINT)
            options.append(SelectOptionDict(value=KIND_ENDPOINT, label=label))
        return options

    def _suggested(self, picked: str) -> str | None:
        """Return what was picked, or the place where a moved device most likely is."""
        listed = [candidate.attachment for candidate in self._found.candidates]
        if picked in listed:
            return picked
        if (entry := self._entry) is None:
            return None
        sort = sort_of(entry.data)
        alike = [c.attachment for c in self._found.candidates if c.sort == sort]
        if entry.unique_id in (alike or listed):
            return entry.unique_id
        return alike[0] if len(alike) == 1 else None

    async def _async_text(self, problem: Problem) -> str:
        """Return what is wrong and what to do, in the language of the system."""
        return await async_explain(self.hass, problem.key, problem.details)


def _pick_schema(options: list[SelectOptionDict], suggested: str | None) -> vol.Schema:
    """Return the form with the list; empty where there is nothing to pick."""
    if not options:
        return vol.Schema({})
    return vol.Schema(_list_field(CONF_DEVICE, options, suggested))


def _list_field(
    name: str, options: list[SelectOptionDict], suggested: str | None
) -> Fields:
    """Return a list that shows all it has; of a required one, the first were picked."""
    config = SelectSelectorConfig(options=options, mode=SelectSelectorMode.LIST)
    field = vol.Optional(name, description={"suggested_value": suggested})
    return {field: SelectSelector(config)}
