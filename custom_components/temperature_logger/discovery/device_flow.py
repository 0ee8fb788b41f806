"""The flow steps for one device: read it once, then set it up or move its entry."""

from contextlib import AbstractAsyncContextManager, nullcontext, suppress
from typing import TYPE_CHECKING, Any, override

from homeassistant.config_entries import (
    SOURCE_RECONFIGURE,
    ConfigEntryState,
    ConfigFlow,
    ConfigFlowResult,
)
from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers.selector import (
    BooleanSelector,
    SelectOptionDict,
)
from homeassistant.helpers.typing import DiscoveryInfoType
from homeassistant.loader import async_get_loaded_integration
import voluptuous as vol

from ..const import CONF_QUANTITIES, CONF_SHAPE, CONF_THERMOMETER, DOMAIN
from ..coordinator import TemperatureLoggerConfigEntry
from ..devices import async_make_driver, model_name
from ..drivers import (
    DriverError,
    Fault,
    Reading,
    UsbPlace,
    in_order,
    rom_of,
    within_deadline,
)
from ..drivers.finder import Candidate
from ..translation import async_label, async_load_texts, async_option, unused_title
from ..units import base_quantity
from .forms import DeviceFields, Hint, Message, fault_message, list_field
from .in_use import flows_in_use, in_use
from .relocation import async_move
from .search import candidate_data, candidate_label, finder


class DeviceFlow(ConfigFlow):
    """Sets up a device, or moves an entry to the new place of its device."""

    def __init__(self) -> None:
        """Begin without a selected device."""
        super().__init__()
        self._candidate: Candidate | None = None
        self._readings: dict[str, Reading] = {}
        """The readings of the answer of an unknown stick, by shape."""
        self._reports: list[bytes] = []
        """The answer itself."""

    @property
    def _entry(self) -> TemperatureLoggerConfigEntry | None:
        """The entry whose device was moved; None if a device is set up."""
        if self.source != SOURCE_RECONFIGURE:
            return None
        return self._get_reconfigure_entry()

    @override
    async def async_step_integration_discovery(
        self, discovery_info: DiscoveryInfoType
    ) -> ConfigFlowResult:
        """Begin with a stick that discovery has found."""
        await async_load_texts(self.hass)
        self._candidate = Candidate(**discovery_info)
        await self.async_set_unique_id(self._candidate.place.id)
        self._abort_if_unique_id_configured()
        name = candidate_label(self.hass, self._candidate)
        self.context["title_placeholders"] = {"name": name}
        if not self._candidate.known:
            return await self.async_step_unknown_firmware()
        return await self.async_step_discovered()

    @override
    @callback
    def async_remove(self) -> None:
        """Forget that the flow uses its stick; it has ended."""
        flows_in_use(self.hass).discard(self.flow_id)

    async def async_step_discovered(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Set up the stick after the user confirmed it."""
        problem = None
        if user_input is not None:
            result = await self._async_set_up(self._device)
            if not isinstance(result, Message):
                return result
            problem = result
        self._set_confirm_only()
        return self._async_form("discovered", {}, problem)

    async def async_step_unknown_firmware(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Request the values after the user confirmed that it is a thermometer."""
        errors: dict[str, str] = {}
        problem = None
        place = self._device.place
        if TYPE_CHECKING:
            assert isinstance(place, UsbPlace)
        if user_input is not None and not user_input[CONF_THERMOMETER]:
            errors[CONF_THERMOMETER] = "no_thermometer"
        elif user_input is not None:
            try:
                with in_use(self.hass, self.flow_id):
                    answer = await finder(self.hass).request_values(place)
                self._reports, self._readings = answer
                return await self.async_step_shape()
            except DriverError as err:
                problem = self._message(err)
        field = vol.Required(CONF_THERMOMETER, default=False)
        fields: DeviceFields = {field: BooleanSelector()}
        return self._async_form("unknown_firmware", fields, problem, errors)

    async def async_step_shape(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Let the user pick the meaning of the answer."""
        errors: dict[str, str] = {}
        problem = None
        if user_input is not None and CONF_SHAPE not in user_input:
            errors[CONF_SHAPE] = "nothing_picked"
        elif user_input is not None:
            shape = user_input[CONF_SHAPE]
            result = await self._async_set_up(
                self._device._replace(shape=shape, known=True)
            )
            if not isinstance(result, Message):
                return result
            problem = result
        if not self._readings:
            return self.async_abort(
                reason="no_shape", description_placeholders=self._placeholders
            )
        options = [
            SelectOptionDict(
                value=shape, label=await self._async_shape_label(shape, reading)
            )
            for shape, reading in self._readings.items()
        ]
        fields = list_field(CONF_SHAPE, options, (user_input or {}).get(CONF_SHAPE))
        return self._async_form("shape", fields, problem, errors)

    @property
    def _device(self) -> Candidate:
        """The selected device."""
        if TYPE_CHECKING:
            assert self._candidate is not None
        return self._candidate

    @property
    def _placeholders(self) -> dict[str, str]:
        """The placeholders of the texts about one device."""
        integration = async_get_loaded_integration(self.hass, DOMAIN)
        reports = (report.hex(" ") for report in self._reports)
        return {
            "device": candidate_label(self.hass, self._device),
            "firmware": self._device.firmware or "",
            "issues": integration.issue_tracker or "",
            "reports": " / ".join(reports),
        }

    def _message(self, err: DriverError) -> Message:
        """Return the message for an error of the selected device."""
        label = self._device.place.label
        return fault_message(self.hass, err.fault, err.details, label)

    @callback
    def _async_form(
        self,
        step_id: str,
        fields: DeviceFields,
        problem: Message | None,
        errors: dict[str, str] | None = None,
    ) -> ConfigFlowResult:
        """Show a form about one device; until it is answered, it may be withdrawn."""
        flows_in_use(self.hass).discard(self.flow_id)
        placeholders = {} if problem is None else problem.placeholders
        return self.async_show_form(
            step_id=step_id,
            data_schema=vol.Schema(fields),
            errors=errors if problem is None else {"base": problem.key},
            description_placeholders={**placeholders, **self._placeholders},
        )

    async def _async_shape_label(self, shape: str, reading: Reading) -> str:
        """Return the values of the answer by a shape, with the name of the shape."""
        values = ", ".join(
            f"{value:.2f} {base_quantity(quantity).unit}"
            for quantity, value in reading.values.items()
        )
        return f"{values}: {await async_option(self.hass, CONF_SHAPE, shape)}"

    async def _async_set_up(self, candidate: Candidate) -> ConfigFlowResult | Message:
        """Read a device once, then set it up or move the entry to it.

        Return a message if reading failed. Before a stick with an unknown firmware is
        read, the user has to agree.
        """
        self._candidate = candidate
        if not candidate.known:
            return await self.async_step_unknown_firmware()
        try:
            with in_use(self.hass, self.flow_id):
                async with _async_paused(self.hass, candidate):
                    model, data = await _async_read(self.hass, candidate)
        except DriverError as err:
            if err.fault is Fault.UNKNOWN_FIRMWARE:  # It was not identified before.
                firmware = err.details["firmware"]
                return await self._async_set_up(
                    candidate._replace(firmware=firmware, known=False)
                )
            return self._message(err)
        if self._entry is not None:
            return await self._async_move(self._entry, data)
        self._abort_if_unique_id_configured()  # In another window.
        titles = {entry.title for entry in self._async_current_entries()}
        title = unused_title(titles, model_name(self.hass, model))
        return self.async_create_entry(title=title, data=data)

    async def _async_move(
        self, entry: TemperatureLoggerConfigEntry, data: dict[str, Any]
    ) -> ConfigFlowResult | Message:
        """Move the entry to its device; the probes may have been exchanged."""
        old, new = entry.data[CONF_QUANTITIES], data[CONF_QUANTITIES]
        changed = {*old} ^ {*new}
        if any(rom_of(quantity) is None for quantity in changed):
            place = async_label(self.hass, self._device.place.label)
            return Message(Hint.OTHER_MODEL, {"place": place})
        data[CONF_QUANTITIES] = in_order({*old, *new})
        moved = await async_move(self.hass, entry, data)
        reason = "reconfigure_successful" if moved else "already_configured"
        return self.async_abort(reason=reason)


@callback
def _async_paused(
    hass: HomeAssistant, candidate: Candidate
) -> AbstractAsyncContextManager[None]:
    """Pause the entry of a place while the flow reads the device there."""
    entry: TemperatureLoggerConfigEntry | None
    entry = hass.config_entries.async_entry_for_domain_unique_id(
        DOMAIN, candidate.place.id
    )
    if entry is None or entry.state is not ConfigEntryState.LOADED:
        return nullcontext()
    return entry.runtime_data.async_paused()


async def _async_read(
    hass: HomeAssistant, candidate: Candidate
) -> tuple[str, dict[str, Any]]:
    """Read a device once; return its model and the data of its entry."""
    data = candidate_data(hass, candidate)
    driver = await async_make_driver(hass, data)
    try:
        await within_deadline(driver.read())
        data |= driver.facts
        data[CONF_QUANTITIES] = list(driver.quantities)
        return driver.identity.model, data
    finally:
        with suppress(DriverError):
            await within_deadline(driver.close())
