"""The forms of an endpoint: where readings are sent, and which."""

from collections.abc import Mapping
from itertools import chain, count
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
from ..translation import async_explain
from ..units import BASE_QUANTITIES
from .endpoints import ENDPOINTS, EndpointProtocol
from .errors import DeliveryError
from .settings import (
    ADVANCED,
    LOGIN,
    NAMES,
    Settings,
    default_title,
    identity,
    read_login,
    read_server,
    shown,
)
from .sources import async_sources

if TYPE_CHECKING:
    from .points import Point

type Fields = dict[vol.Marker, Selector[Any] | section]

# Devices with readings have entities of these classes; devices of endpoints do not.
DEVICE_CLASSES: Final = sorted(
    base.device_class for base in BASE_QUANTITIES.values() if base.device_class
)
EXAMPLES: Final = {
    EndpointProtocol.INFLUXDB_1: "http://192.168.1.5:8086",
    EndpointProtocol.INFLUXDB_2: "http://192.168.1.5:8086",
    EndpointProtocol.JSON: "https://example.com/api",
}
# What a server may say to no reading at all: it was understood, and is of no use.
NOTHING_TO_DO: Final = {"400", "422"}
SECRET: Final = TextSelector(TextSelectorConfig(type=TextSelectorType.PASSWORD))
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
    CONF_PASSWORD: SECRET,
    CONF_TOKEN: SECRET,
    CONF_URL: TextSelector(TextSelectorConfig(type=TextSelectorType.URL)),
}
LIMITS: Final = {
    "max_batch_size": str(MAX_BATCH_SIZE),
    "min_batch_size": str(MIN_BATCH_SIZE),
}


class EndpointFlow(ConfigFlow):
    """Sets up an endpoint, changes where it is, or asks anew who sends."""

    def __init__(self) -> None:
        """Begin with empty forms."""
        self._is_warned = False
        self._protocol = EndpointProtocol.INFLUXDB_2
        self._settings = Settings({}, {})
        self._typed: dict[str, Any] = {}

    @property
    def _old_entry(self) -> ConfigEntry | None:
        """The entry that is changed, unless an endpoint is set up."""
        if self.source != SOURCE_RECONFIGURE:
            return None
        return self._get_reconfigure_entry()

    async def async_step_endpoint(
        self,
        user_input: dict[str, Any] | None = None,  # noqa: ARG002 - It is a menu.
    ) -> ConfigFlowResult:
        """Pick what the server understands."""
        return self.async_show_menu(
            step_id="endpoint", menu_options=list(EndpointProtocol)
        )

    async def async_step_influxdb_2(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Ask for a server with the interface of InfluxDB 2."""
        return await self._async_step_server(EndpointProtocol.INFLUXDB_2, user_input)

    async def async_step_influxdb_1(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Ask for a server with the interface of InfluxDB 1."""
        return await self._async_step_server(EndpointProtocol.INFLUXDB_1, user_input)

    async def async_step_json(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Ask for a server of one's own."""
        return await self._async_step_server(EndpointProtocol.JSON, user_input)

    async def async_step_reconfigure_endpoint(self) -> ConfigFlowResult:
        """Ask where an endpoint is now; how far it is stays."""
        data = self._get_reconfigure_entry().data
        self._typed = shown(data)
        return await self._async_step_server(
            EndpointProtocol(data[CONF_PROTOCOL]), None
        )

    async def _async_step_server(
        self, protocol: EndpointProtocol, typed: dict[str, Any] | None
    ) -> ConfigFlowResult:
        """Ask for a server; go on with what was typed."""
        self._protocol = protocol
        if typed is None:
            return self._async_ask({})
        old = self._old_entry.data if self._old_entry else {}
        self._typed = typed
        self._settings = settings = read_server(protocol, typed, old)
        if settings.errors:
            return self._async_ask(settings.errors, header=settings.header)
        if settings.data[CONF_VERIFY_SSL] or not old.get(CONF_VERIFY_SSL, True):
            return await self._async_finish()
        return await self.async_step_insecure({} if self._is_warned else None)

    async def async_step_insecure(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Warn of a server that could be anybody; go on if that is really wanted."""
        if user_input is None:
            url = self._settings.data[CONF_URL]
            return self.async_show_form(
                step_id="insecure", description_placeholders={"url": url}
            )
        self._is_warned = True
        return await self._async_finish()

    async def async_step_reauth(
        self,
        entry_data: Mapping[str, Any],  # noqa: ARG002 - Home Assistant's own signature.
    ) -> ConfigFlowResult:
        """Begin after the server refused who sends."""
        return await self.async_step_reauth_confirm()

    async def async_step_reauth_confirm(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Ask who sends, and nothing else."""
        entry = self._get_reauth_entry()
        errors: dict[str, str] = {}
        problem = ""
        if user_input is not None:
            data, errors, _ = read_login(user_input, entry.data)
            if not errors:
                problem = await self._async_problem(data, entry.options)
                if not problem:
                    return self.async_update_reload_and_abort(entry, data=data)
                errors = {"base": "not_delivered"}
        fields = _fields(*LOGIN[entry.data[CONF_PROTOCOL]])
        return self.async_show_form(
            step_id="reauth_confirm",
            data_schema=self.add_suggested_values_to_schema(
                vol.Schema(fields), user_input or shown(entry.data)
            ),
            errors=errors,
            description_placeholders={"endpoint": entry.title, "problem": problem},
        )

    def _async_ask(self, errors: dict[str, str], **quoted: str) -> ConfigFlowResult:
        """Show the form of a server, with what was typed before."""
        schema = _server_schema(self._protocol, is_new=self._old_entry is None)
        return self.async_show_form(
            step_id=self._protocol,
            data_schema=self.add_suggested_values_to_schema(schema, self._typed),
            errors=errors,
            description_placeholders=quoted | {"example": EXAMPLES[self._protocol]},
        )

    async def _async_finish(self) -> ConfigFlowResult:
        """Try the server; only then set the endpoint up, or change it."""
        data, entry = self._settings.data, self._old_entry
        options = _chosen(self._typed) if entry is None else entry.options
        if problem := await self._async_problem(data, options):
            return self._async_ask({"base": "not_delivered"}, problem=problem)
        unique_id = identity(data)
        other = self.hass.config_entries.async_entry_for_domain_unique_id(
            DOMAIN, unique_id
        )
        if other is not None and other is not entry:
            return self._async_ask({"base": "sent_already"}, endpoint=other.title)
        if entry is None:
            await self.async_set_unique_id(unique_id, raise_on_progress=False)
            title = self._title(default_title(data))
            return self.async_create_entry(title=title, data=data, options=options)
        title = entry.title
        if title == default_title(entry.data):  # Nobody has called it otherwise.
            title = default_title(data)
        return self.async_update_reload_and_abort(
            entry, unique_id=unique_id, title=title, data=data
        )

    async def _async_problem(
        self, data: Mapping[str, Any], options: Mapping[str, Any]
    ) -> str:
        """Post a reading that there is, or none; return what went wrong, if so."""
        protocol = data[CONF_PROTOCOL]
        zone = dt_util.get_default_time_zone()
        endpoint = ENDPOINTS[protocol](data, zone)
        session = async_get_clientsession(self.hass, data[CONF_VERIFY_SSL])
        try:
            # A server of one's own may keep what it gets twice.
            points = (
                []
                if protocol == EndpointProtocol.JSON
                else await self._async_newest(options)
            )
            await endpoint.send(session, endpoint.prepare(points))
        except DeliveryError as err:
            if (
                protocol == EndpointProtocol.JSON
                and err.details.get("status") in NOTHING_TO_DO
            ):
                return ""
            return await async_explain(self.hass, err.failure, err.details)
        except HomeAssistantError as err:
            return await async_explain(
                self.hass, str(err.translation_key), err.translation_placeholders or {}
            )
        return ""

    async def _async_newest(self, options: Mapping[str, Any]) -> list[Point]:
        """Return the newest of the readings that are to be sent, if there is one."""
        if DATA_INSTANCE not in self.hass.data:
            return []
        await async_import_module(self.hass, f"{__package__}.outbox")
        from .outbox import Outbox

        outbox = Outbox(self.hass, async_sources(self.hass, options))
        job = get_instance(self.hass).async_add_executor_job
        await job(outbox.open)
        point = await job(outbox.last, time.time())
        return [] if point is None else [point]

    def _title(self, name: str) -> str:
        """Return the title of a new entry: its name, numbered from the second on."""
        titles = {entry.title for entry in self._async_current_entries()}
        names = chain([name], (f"{name} {number}" for number in count(2)))
        return next(name for name in names if name not in titles)


class EndpointOptionsFlow(OptionsFlowWithReload):
    """Changes which readings are sent, and how many at a time."""

    async def async_step_init(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Begin; the texts are those of an endpoint."""
        return await self.async_step_endpoint(user_input)

    async def async_step_endpoint(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Show the options; keep what was typed after an error."""
        errors: dict[str, str] = {}
        if user_input is not None:
            size = user_input[CONF_BATCH_SIZE]
            if MIN_BATCH_SIZE <= size <= MAX_BATCH_SIZE:
                chosen = _chosen(user_input)
                return self.async_create_entry(
                    data=chosen | {CONF_BATCH_SIZE: int(size)}
                )
            errors[CONF_BATCH_SIZE] = "batch_size_out_of_range"
        config = NumberSelectorConfig(mode=NumberSelectorMode.BOX, step=1)
        fields: Fields = {
            **_fields(CONF_DEVICES, CONF_LABELS),
            vol.Required(CONF_BATCH_SIZE): NumberSelector(config),
        }
        options = {CONF_BATCH_SIZE: DEFAULT_BATCH_SIZE, **self.config_entry.options}
        return self.async_show_form(
            step_id="endpoint",
            data_schema=self.add_suggested_values_to_schema(
                vol.Schema(fields), user_input or options
            ),
            errors=errors,
            description_placeholders=LIMITS,
        )


def _chosen(typed: Mapping[str, Any]) -> dict[str, Any]:
    """Return which readings are sent; all where nothing is chosen."""
    return {name: typed.get(name, []) for name in (CONF_DEVICES, CONF_LABELS)}


def _fields(*names: str) -> Fields:
    """Return fields that can be left empty."""
    text = TextSelector()
    return {vol.Optional(name): SELECTORS.get(name, text) for name in names}


def _server_schema(protocol: EndpointProtocol, *, is_new: bool) -> vol.Schema:
    """Return the form of a server; a new one's has which readings it gets, too."""
    yes, text = BooleanSelector(), TextSelector()
    fields: Fields = {vol.Required(CONF_URL): SELECTORS[CONF_URL]}
    fields |= {vol.Required(name): text for name in NAMES[protocol]}
    fields |= _fields(*LOGIN[protocol], CONF_SITE)
    if is_new:
        fields |= _fields(CONF_DEVICES, CONF_LABELS)
        fields |= {vol.Required(CONF_PAST, default=True): yes}
    advanced: Fields = {
        **_fields(CONF_HEADERS),
        vol.Required(CONF_GZIP, default=True): yes,
        vol.Required(CONF_VERIFY_SSL, default=True): yes,
    }
    folded = section(vol.Schema(advanced), {"collapsed": True})
    return vol.Schema(fields | {vol.Required(ADVANCED): folded})
