"""The forms of an endpoint: its server, and the readings to send."""

from collections.abc import Mapping
import time
from typing import TYPE_CHECKING, Any, Final

from homeassistant.config_entries import (
    SOURCE_RECONFIGURE,
    ConfigEntry,
    ConfigFlow,
    ConfigFlowResult,
    OptionsFlowWithReload,
)
from homeassistant.const import (
    CONF_HEADERS,
    CONF_PASSWORD,
    CONF_TOKEN,
    CONF_URL,
    CONF_VERIFY_SSL,
)
from homeassistant.core import HomeAssistant
from homeassistant.data_entry_flow import section
from homeassistant.exceptions import HomeAssistantError
from homeassistant.helpers.aiohttp_client import async_get_clientsession
from homeassistant.helpers.importlib import async_import_module
from homeassistant.helpers.recorder import DATA_INSTANCE, get_instance
from homeassistant.helpers.selector import (
    BooleanSelector,
    DeviceSelector,
    DeviceSelectorConfig,
    EntityFilterSelectorConfig,
    LabelSelector,
    LabelSelectorConfig,
    NumberSelector,
    NumberSelectorConfig,
    NumberSelectorMode,
    Selector,
    TextSelector,
    TextSelectorConfig,
    TextSelectorType,
)
from homeassistant.util import dt as dt_util
import voluptuous as vol

from ..const import (
    CONF_BATCH_SIZE,
    CONF_DEVICES,
    CONF_GZIP,
    CONF_LABELS,
    CONF_PAST,
    CONF_PROTOCOL,
    CONF_SITE,
    DEFAULT_BATCH_SIZE,
    DOMAIN,
    MAX_BATCH_SIZE,
    MIN_BATCH_SIZE,
)
from ..translation import unused_title
from ..units import BASE_QUANTITIES
from .endpoints import ENDPOINTS, EndpointProtocol
from .errors import DeliveryError
from .settings import (
    ADVANCED,
    Settings,
    default_title,
    form_values,
    identity,
    read_login,
    read_server,
)
from .sources import async_sources

if TYPE_CHECKING:
    from .points import Point

type EndpointFields = dict[vol.Marker, Selector[Any] | section]

# Devices with readings have entities of these classes; devices of endpoints do not.
DEVICE_CLASSES: Final = sorted(
    base.device_class for base in BASE_QUANTITIES.values() if base.device_class
)
# With these statuses, a JSON server may reject the empty list that tests it.
EMPTY_LIST_STATUSES: Final = {"400", "422"}
SECRET_SELECTOR: Final = TextSelector(
    TextSelectorConfig(type=TextSelectorType.PASSWORD)
)
SELECTORS: Final[dict[str, Selector[Any]]] = {
    CONF_DEVICES: DeviceSelector(
        DeviceSelectorConfig(
            entity=EntityFilterSelectorConfig(
                integration=DOMAIN, device_class=DEVICE_CLASSES
            ),
            multiple=True,
        )
    ),
    CONF_HEADERS: TextSelector(TextSelectorConfig(multiline=True)),
    CONF_LABELS: LabelSelector(LabelSelectorConfig(multiple=True)),
    CONF_PASSWORD: SECRET_SELECTOR,
    CONF_TOKEN: SECRET_SELECTOR,
    CONF_URL: TextSelector(TextSelectorConfig(type=TextSelectorType.URL)),
}
BATCH_SIZE_PLACEHOLDERS: Final = {
    "max_batch_size": str(MAX_BATCH_SIZE),
    "min_batch_size": str(MIN_BATCH_SIZE),
}


class EndpointFlow(ConfigFlow):
    """Sets up an endpoint, changes its server, or asks for another login.

    The whole config flow has further steps, which share no attribute with these.
    """

    def __init__(self) -> None:
        """Start with empty forms."""
        super().__init__()
        self._is_risk_accepted = False
        """Whether the user agreed to send without verifying the certificate."""
        self._protocol = EndpointProtocol.INFLUXDB_2
        self._settings = Settings({}, {})
        self._server_input: dict[str, Any] = {}
        """The values that the user entered in the form of a server."""

    @property
    def _endpoint_entry(self) -> ConfigEntry | None:
        """The entry to change; None while a new endpoint is set up."""
        if self.source != SOURCE_RECONFIGURE:
            return None
        return self._get_reconfigure_entry()

    async def async_step_endpoint(
        self,
        user_input: dict[str, Any] | None = None,  # noqa: ARG002 - It is a menu.
    ) -> ConfigFlowResult:
        """Choose the protocol of the server."""
        return self.async_show_menu(
            step_id="endpoint", menu_options=list(EndpointProtocol)
        )

    async def async_step_influxdb_2(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Ask for a server with the API of InfluxDB 2."""
        return await self._async_step_server(EndpointProtocol.INFLUXDB_2, user_input)

    async def async_step_influxdb_1(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Ask for a server with the API of InfluxDB 1."""
        return await self._async_step_server(EndpointProtocol.INFLUXDB_1, user_input)

    async def async_step_json(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Ask for a server that accepts JSON."""
        return await self._async_step_server(EndpointProtocol.JSON, user_input)

    async def async_step_reconfigure_endpoint(self) -> ConfigFlowResult:
        """Change the server of an endpoint; its progress stays."""
        data = self._get_reconfigure_entry().data
        self._server_input = form_values(data)
        return await self._async_step_server(
            EndpointProtocol(data[CONF_PROTOCOL]), None
        )

    async def _async_step_server(
        self, protocol: EndpointProtocol, user_input: dict[str, Any] | None
    ) -> ConfigFlowResult:
        """Ask for a server; warn before its certificate is no longer verified."""
        self._protocol = protocol
        if user_input is None:
            return self._async_show_server({})
        current = self._endpoint_entry.data if self._endpoint_entry else {}
        self._server_input = user_input
        self._settings = settings = read_server(protocol, user_input, current)
        if settings.errors:
            return self._async_show_server(settings.errors, header=settings.header)
        if settings.data[CONF_VERIFY_SSL] or not current.get(CONF_VERIFY_SSL, True):
            return await self._async_finish()
        return await self.async_step_insecure({} if self._is_risk_accepted else None)

    async def async_step_insecure(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Ask whether to send without verifying the certificate of the server."""
        if user_input is None:
            url = self._settings.data[CONF_URL]
            return self.async_show_form(
                step_id="insecure", description_placeholders={"url": url}
            )
        self._is_risk_accepted = True
        return await self._async_finish()

    async def async_step_reauth(
        self,
        entry_data: Mapping[str, Any],  # noqa: ARG002 - Home Assistant's own signature.
    ) -> ConfigFlowResult:
        """Start after the server refused the login."""
        return await self.async_step_reauth_confirm()

    async def async_step_reauth_confirm(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Ask for another login."""
        entry = self._get_reauth_entry()
        errors: dict[str, str] = {}
        details: dict[str, str] = {}
        if user_input is not None:
            data, errors, _ = read_login(user_input, entry.data)
            if not errors:
                errors, details = await _async_test_server(
                    self.hass, data, entry.options
                )
            if not errors:
                return self.async_update_reload_and_abort(entry, data=data)
        fields = _optional_fields(*ENDPOINTS[entry.data[CONF_PROTOCOL]].login_fields)
        return self.async_show_form(
            step_id="reauth_confirm",
            data_schema=self.add_suggested_values_to_schema(
                vol.Schema(fields), user_input or form_values(entry.data)
            ),
            errors=errors,
            description_placeholders=details | {"endpoint": entry.title},
        )

    def _async_show_server(
        self, errors: dict[str, str], **details: str
    ) -> ConfigFlowResult:
        """Show the form of a server, filled with the values that the user entered."""
        schema = server_schema(self._protocol, is_new=self._endpoint_entry is None)
        return self.async_show_form(
            step_id=self._protocol,
            data_schema=self.add_suggested_values_to_schema(schema, self._server_input),
            errors=errors,
            description_placeholders=details
            | {"example": ENDPOINTS[self._protocol].example_url},
        )

    async def _async_finish(self) -> ConfigFlowResult:
        """Set the endpoint up, or change it, if the server accepts a reading."""
        data, entry = self._settings.data, self._endpoint_entry
        options = _selection(self._server_input) if entry is None else entry.options
        errors, details = await _async_test_server(self.hass, data, options)
        if errors:
            return self._async_show_server(errors, **details)
        unique_id = identity(data)
        other = self.hass.config_entries.async_entry_for_domain_unique_id(
            DOMAIN, unique_id
        )
        if other is not None and other is not entry:
            return self._async_show_server(
                {"base": "sent_already"}, endpoint=other.title
            )
        if entry is None:
            await self.async_set_unique_id(unique_id, raise_on_progress=False)
            titles = {entry.title for entry in self._async_current_entries()}
            title = unused_title(titles, default_title(data))
            return self.async_create_entry(title=title, data=data, options=options)
        title = entry.title
        if title == default_title(entry.data):  # The user did not rename it.
            title = default_title(data)
        return self.async_update_reload_and_abort(
            entry, unique_id=unique_id, title=title, data=data
        )


class EndpointOptionsFlow(OptionsFlowWithReload):
    """Changes the selection of readings, and the batch size."""

    async def async_step_init(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Show the step of an endpoint, whose texts differ from those of a device."""
        return await self.async_step_endpoint(user_input)

    async def async_step_endpoint(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Show the options; after an error, with the values that the user entered."""
        errors: dict[str, str] = {}
        if user_input is not None:
            size = user_input[CONF_BATCH_SIZE]
            if MIN_BATCH_SIZE <= size <= MAX_BATCH_SIZE:
                return self.async_create_entry(
                    data=_selection(user_input) | {CONF_BATCH_SIZE: int(size)}
                )
            errors[CONF_BATCH_SIZE] = "batch_size_out_of_range"
        config = NumberSelectorConfig(mode=NumberSelectorMode.BOX, step=1)
        fields: EndpointFields = {
            **_optional_fields(CONF_DEVICES, CONF_LABELS),
            vol.Required(CONF_BATCH_SIZE): NumberSelector(config),
        }
        options = {CONF_BATCH_SIZE: DEFAULT_BATCH_SIZE, **self.config_entry.options}
        return self.async_show_form(
            step_id="endpoint",
            data_schema=self.add_suggested_values_to_schema(
                vol.Schema(fields), user_input or options
            ),
            errors=errors,
            description_placeholders=BATCH_SIZE_PLACEHOLDERS,
        )


async def _async_test_server(
    hass: HomeAssistant, data: Mapping[str, Any], options: Mapping[str, Any]
) -> tuple[dict[str, str], dict[str, str]]:
    """Send the newest reading, or none; return errors and details for their texts.

    The keys are those of exceptions, whose sentences are also under config.error:
    the frontend shows them in the language of the user.
    """
    protocol = data[CONF_PROTOCOL]
    zone = dt_util.get_default_time_zone()
    endpoint = ENDPOINTS[protocol](data, zone)
    session = async_get_clientsession(hass, data[CONF_VERIFY_SSL])
    try:
        # A JSON server may store a reading twice if it arrives twice.
        points = (
            []
            if protocol == EndpointProtocol.JSON
            else await _async_newest(hass, options)
        )
        await endpoint.send(session, endpoint.prepare(points))
    except DeliveryError as err:
        if (
            protocol == EndpointProtocol.JSON
            and err.details.get("status") in EMPTY_LIST_STATUSES
        ):
            return {}, {}
        return {"base": str(err.failure)}, err.details
    except HomeAssistantError as err:
        key = str(err.translation_key)
        return {"base": key}, err.translation_placeholders or {}
    return {}, {}


async def _async_newest(hass: HomeAssistant, options: Mapping[str, Any]) -> list[Point]:
    """Return the newest reading of the selected entities, if there is one."""
    if DATA_INSTANCE not in hass.data:
        return []
    await async_import_module(hass, f"{__package__}.outbox")
    from .outbox import Outbox

    outbox = Outbox(hass, async_sources(hass, options))
    job = get_instance(hass).async_add_executor_job
    await job(outbox.open)
    point = await job(outbox.last, time.time())
    return [] if point is None else [point]


def _selection(user_input: Mapping[str, Any]) -> dict[str, Any]:
    """Return the selected devices and labels; both lists are empty for all readings."""
    return {name: user_input.get(name, []) for name in (CONF_DEVICES, CONF_LABELS)}


def _optional_fields(*names: str) -> EndpointFields:
    """Return optional fields."""
    text = TextSelector()
    return {vol.Optional(name): SELECTORS.get(name, text) for name in names}


def server_schema(protocol: EndpointProtocol, *, is_new: bool) -> vol.Schema:
    """Return the form of a server, with the selection of readings for a new one."""
    endpoint = ENDPOINTS[protocol]
    switch, text = BooleanSelector(), TextSelector()
    fields: EndpointFields = {vol.Required(CONF_URL): SELECTORS[CONF_URL]}
    fields |= {vol.Required(name): text for name in endpoint.destination_fields}
    fields |= _optional_fields(*endpoint.login_fields, CONF_SITE)
    if is_new:
        fields |= _optional_fields(CONF_DEVICES, CONF_LABELS)
        fields |= {vol.Required(CONF_PAST, default=True): switch}
    advanced: EndpointFields = {
        **_optional_fields(CONF_HEADERS),
        vol.Required(CONF_GZIP, default=True): switch,
        vol.Required(CONF_VERIFY_SSL, default=True): switch,
    }
    folded = section(vol.Schema(advanced), {"collapsed": True})
    return vol.Schema(fields | {vol.Required(ADVANCED): folded})
