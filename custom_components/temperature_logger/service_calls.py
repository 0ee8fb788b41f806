"""What each action does; imported when the first one is called.

Most starts of Home Assistant see no call, and need not wait for what answers it.
"""

from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from functools import partial
from pathlib import Path
import time
from typing import Any, Final

from homeassistant.const import ATTR_UNIT_OF_MEASUREMENT
from homeassistant.core import HomeAssistant, ServiceCall, ServiceResponse
from homeassistant.exceptions import UnknownUser
from homeassistant.helpers import config_validation as cv
from homeassistant.helpers.recorder import get_instance
from homeassistant.helpers.typing import VolSchemaType
import voluptuous as vol

from .history.query import CONF_FORMAT, FIELDS, UNIT_FIELDS, Query, async_query
from .history.readings import Series
from .history.targets import Target
from .http_answers import async_import_answers, async_link
from .units import conversion, number

type Perform = Callable[
    [HomeAssistant, Mapping[str, Any], Query], Awaitable[ServiceResponse]
]
"""What an action does, given its data and what they ask for."""

CONF_PATH: Final = "path"
CONF_VALID_FOR: Final = "valid_for"
FORMAT_ROWS: Final = "rows"
FORMATS: Final = (FORMAT_ROWS, "columns")
# An answer is made in memory, and passed through the event loop, in one piece.
LIMIT: Final = 50_000
# A link is a key that needs no login: enough to open it, or to read a mail on Monday.
VALID_FOR: Final = timedelta(hours=1)
LONGEST: Final = timedelta(days=7)

GET_CSV_LINK: Final = cv.make_entity_service_schema(
    {
        **FIELDS,
        vol.Optional(CONF_VALID_FOR, default=VALID_FOR): vol.All(
            cv.positive_time_period,
            vol.Range(min=timedelta(seconds=1), max=LONGEST),
        ),
    }
)
GET_LATEST: Final = cv.make_entity_service_schema({**UNIT_FIELDS})
GET_READINGS: Final = cv.make_entity_service_schema(
    {**FIELDS, vol.Optional(CONF_FORMAT, default=FORMAT_ROWS): vol.In(FORMATS)}
)
WRITE_CSV: Final = cv.make_entity_service_schema(
    {**FIELDS, vol.Required(CONF_PATH): cv.string}
)


async def async_perform(call: ServiceCall) -> ServiceResponse:
    """Perform an action; raise vol.Invalid or HomeAssistantError."""
    hass = call.hass
    schema, perform = CALLS[call.service]
    data = schema(dict(call.data))
    user_id = call.context.user_id
    # Without a user it is Home Assistant itself that asks.
    user = None if user_id is None else await hass.auth.async_get_user(user_id)
    if user_id is not None and user is None:
        raise UnknownUser(context=call.context)
    return await perform(hass, data, async_query(hass, data, user))


async def _async_get_csv_link(
    hass: HomeAssistant, data: Mapping[str, Any], request: Query
) -> ServiceResponse:
    """Return a link that gives the readings as CSV to whoever has it."""
    return async_link(hass, data, request, data[CONF_VALID_FOR])


async def _async_get_latest(
    hass: HomeAssistant,
    data: Mapping[str, Any],  # noqa: ARG001 - The request says all of it.
    request: Query,
) -> ServiceResponse:
    """Return the latest reading of each device."""
    shown = [_shown(hass, target, request) for target in request.targets]
    await async_import_answers(hass)
    from .history.export import latest

    return await get_instance(hass).async_add_executor_job(
        latest, hass, request, shown, time.time()
    )


async def _async_get_readings(
    hass: HomeAssistant, data: Mapping[str, Any], request: Query
) -> ServiceResponse:
    """Return the readings in a span of time."""
    await async_import_answers(hass)
    from .history.export import readings

    as_rows = data[CONF_FORMAT] == FORMAT_ROWS
    return await get_instance(hass).async_add_executor_job(
        partial(readings, hass, request, LIMIT, as_rows=as_rows)
    )


async def _async_write_csv(
    hass: HomeAssistant, data: Mapping[str, Any], request: Query
) -> ServiceResponse:
    """Write the readings to a file; return its path."""
    await async_import_answers(hass)
    from .history.export import write_csv

    path = Path(hass.config.path(data[CONF_PATH]))
    await get_instance(hass).async_add_executor_job(write_csv, hass, request, path)
    return {CONF_PATH: str(path)}


def _shown(hass: HomeAssistant, target: Target, request: Query) -> dict[str, Series]:
    """Return what a device shows now; the recorder's rows of it may still be due.

    All of it is of the last reading, which came when the oldest state was written: a
    new name or unit writes one anew.
    """
    values: dict[str, float] = {}
    times: list[float] = []
    for quantity, entity_id in target.entities.items():
        if (state := hass.states.get(entity_id)) is None:
            continue
        unit = state.attributes.get(ATTR_UNIT_OF_MEASUREMENT)
        formula = conversion(quantity, unit, request.units[quantity])
        if (value := number(state.state, formula)) is not None:
            values[quantity] = value
            times.append(state.last_updated_timestamp)
    return {quantity: Series([min(times)], [one]) for quantity, one in values.items()}


CALLS: Final[dict[str, tuple[VolSchemaType, Perform]]] = {
    "get_csv_link": (GET_CSV_LINK, _async_get_csv_link),
    "get_latest": (GET_LATEST, _async_get_latest),
    "get_readings": (GET_READINGS, _async_get_readings),
    "write_csv": (WRITE_CSV, _async_write_csv),
}
