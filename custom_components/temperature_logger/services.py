"""The actions; they exist even before a device is set up."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from functools import cache, partial
from pathlib import Path
import time
from typing import TYPE_CHECKING, Any, Final

from homeassistant.const import ATTR_UNIT_OF_MEASUREMENT
from homeassistant.core import (
    HomeAssistant,
    ServiceCall,
    ServiceResponse,
    SupportsResponse,
    callback,
)
from homeassistant.exceptions import UnknownUser
from homeassistant.helpers import config_validation as cv
from homeassistant.helpers.importlib import async_import_module
from homeassistant.helpers.recorder import get_instance
from homeassistant.helpers.service import async_register_admin_service
from homeassistant.helpers.typing import VolDictType, VolSchemaType
import voluptuous as vol

from .const import CONF_FORMAT, DOMAIN
from .units import conversion, number

if TYPE_CHECKING:
    from .history import Target
    from .history.query import Query
    from .history.readings import Series

type Perform = Callable[
    [HomeAssistant, Mapping[str, Any], Query], Awaitable[ServiceResponse]
]
"""Performs an action, given its data and the query in them."""

CONF_PATH: Final = "path"
CONF_VALID_FOR: Final = "valid_for"
FORMAT_ROWS: Final = "rows"
FORMATS: Final = (FORMAT_ROWS, "columns")
GET_CSV_LINK: Final = "get_csv_link"
GET_LATEST: Final = "get_latest"
GET_READINGS: Final = "get_readings"
PREVIEW_THINNING: Final = "preview_thinning"
WRITE_CSV: Final = "write_csv"
# An answer is held in memory, and the event loop sends it in one piece.
MAX_READINGS: Final = 50_000
# A link needs no login, so it expires: after an hour by default, after a week at most.
DEFAULT_LINK_VALIDITY: Final = timedelta(hours=1)
MAX_LINK_VALIDITY: Final = timedelta(days=7)


@callback
def async_register_actions(hass: HomeAssistant) -> None:
    """Register the actions; each checks its data when it is called."""
    for name in (GET_CSV_LINK, GET_LATEST, GET_READINGS):
        hass.services.async_register(
            DOMAIN, name, _async_call, supports_response=SupportsResponse.ONLY
        )
    async_register_admin_service(
        hass,
        DOMAIN,
        PREVIEW_THINNING,
        _async_preview,
        schema=vol.Schema({}),
        supports_response=SupportsResponse.ONLY,
    )
    async_register_admin_service(
        hass,
        DOMAIN,
        WRITE_CSV,
        _async_call,
        vol.Schema(dict),
        SupportsResponse.OPTIONAL,
    )


async def _async_preview(call: ServiceCall) -> ServiceResponse:
    """Return what thinning would delete now."""
    await async_import_module(call.hass, f"{__package__}.disk_guard")
    from .disk_guard import async_preview

    return await async_preview(call.hass)


async def _async_call(call: ServiceCall) -> ServiceResponse:
    """Perform an action; raise vol.Invalid or HomeAssistantError."""
    hass = call.hass
    await async_import_module(hass, f"{__package__}.history.query")
    from .history.query import async_query

    data = _schemas()[call.service](dict(call.data))
    user_id = call.context.user_id
    # A call without a user comes from Home Assistant itself.
    user = None if user_id is None else await hass.auth.async_get_user(user_id)
    if user_id is not None and user is None:
        raise UnknownUser(context=call.context)
    query = async_query(hass, data, user)
    for module in ("export", "links"):
        await async_import_module(hass, f"{__package__}.history.{module}")
    return await PERFORM[call.service](hass, data, query)


@cache
def _schemas() -> dict[str, VolSchemaType]:
    """Return the schema of each action; the first call makes them."""
    from .history.query import QUERY_FIELDS, UNIT_FIELDS

    valid_for = vol.Optional(CONF_VALID_FOR, default=DEFAULT_LINK_VALIDITY)
    fields_by_action: dict[str, VolDictType] = {
        GET_CSV_LINK: {
            **QUERY_FIELDS,
            valid_for: vol.All(
                cv.positive_time_period,
                vol.Range(min=timedelta(seconds=1), max=MAX_LINK_VALIDITY),
            ),
        },
        GET_LATEST: {**UNIT_FIELDS},
        GET_READINGS: {
            **QUERY_FIELDS,
            vol.Optional(CONF_FORMAT, default=FORMAT_ROWS): vol.In(FORMATS),
        },
        WRITE_CSV: {**QUERY_FIELDS, vol.Required(CONF_PATH): cv.string},
    }
    return {
        action: cv.make_entity_service_schema(fields)
        for action, fields in fields_by_action.items()
    }


async def _async_get_csv_link(
    hass: HomeAssistant, data: Mapping[str, Any], query: Query
) -> ServiceResponse:
    """Return a link that needs no login to the readings as CSV."""
    from .history.links import async_link

    return async_link(hass, data, query, data[CONF_VALID_FOR])


async def _async_get_latest(
    hass: HomeAssistant,
    data: Mapping[str, Any],  # noqa: ARG001 - The query has all of it.
    query: Query,
) -> ServiceResponse:
    """Return the latest reading of each device."""
    from .history.export import latest

    current = [_current(hass, target, query) for target in query.targets]
    return await get_instance(hass).async_add_executor_job(
        latest, hass, query, current, time.time()
    )


async def _async_get_readings(
    hass: HomeAssistant, data: Mapping[str, Any], query: Query
) -> ServiceResponse:
    """Return the readings in a span of time."""
    from .history.export import readings

    as_rows = data[CONF_FORMAT] == FORMAT_ROWS
    return await get_instance(hass).async_add_executor_job(
        partial(readings, hass, query, MAX_READINGS, as_rows=as_rows)
    )


async def _async_write_csv(
    hass: HomeAssistant, data: Mapping[str, Any], query: Query
) -> ServiceResponse:
    """Write the readings to a file; return its path."""
    from .history.export import write_csv

    path = Path(hass.config.path(data[CONF_PATH]))
    await get_instance(hass).async_add_executor_job(write_csv, hass, query, path)
    return {CONF_PATH: str(path)}


PERFORM: Final[dict[str, Perform]] = {
    GET_CSV_LINK: _async_get_csv_link,
    GET_LATEST: _async_get_latest,
    GET_READINGS: _async_get_readings,
    WRITE_CSV: _async_write_csv,
}


def _current(hass: HomeAssistant, target: Target, query: Query) -> dict[str, Series]:
    """Return the current values of a device; their rows may not be written yet.

    All are of the last reading. Its time is that of the oldest state, as a change of
    name or unit writes a state again.
    """
    from .history.readings import Series

    values: dict[str, float] = {}
    times: list[float] = []
    for quantity, entity_id in target.entities.items():
        if (state := hass.states.get(entity_id)) is None:
            continue
        unit = state.attributes.get(ATTR_UNIT_OF_MEASUREMENT)
        formula = conversion(quantity, unit, query.units[quantity])
        if (value := number(state.state, formula)) is not None:
            values[quantity] = value
            times.append(state.last_updated_timestamp)
    return {q: Series([min(times)], [value]) for q, value in values.items()}
