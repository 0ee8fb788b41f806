"""What automations, scripts and small clients ask of the history."""

from datetime import timedelta
from functools import partial
from pathlib import Path
import time
from typing import Final

from homeassistant.auth.models import User
from homeassistant.const import ATTR_UNIT_OF_MEASUREMENT
from homeassistant.core import (
    HomeAssistant,
    ServiceCall,
    ServiceResponse,
    SupportsResponse,
    callback,
)
from homeassistant.helpers import config_validation as cv
from homeassistant.helpers.importlib import async_import_module
from homeassistant.helpers.recorder import get_instance
from homeassistant.helpers.service import async_register_admin_service
import voluptuous as vol

from .columns import Series
from .const import DOMAIN
from .request import CONF_FORMAT, FIELDS, UNIT_FIELDS, Request, async_request
from .units import conversion, number
from .view import async_link

ACTION_GET_CSV_LINK: Final = "get_csv_link"
ACTION_GET_LATEST: Final = "get_latest"
ACTION_GET_READINGS: Final = "get_readings"
ACTION_WRITE_CSV: Final = "write_csv"

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


@callback
def async_register_actions(hass: HomeAssistant) -> None:
    """Register the actions; they are there before any device is set up."""
    for name, answer, schema in (
        (ACTION_GET_CSV_LINK, _async_get_csv_link, GET_CSV_LINK),
        (ACTION_GET_LATEST, _async_get_latest, GET_LATEST),
        (ACTION_GET_READINGS, _async_get_readings, GET_READINGS),
    ):
        hass.services.async_register(
            DOMAIN, name, answer, schema, SupportsResponse.ONLY
        )
    async_register_admin_service(
        hass,
        DOMAIN,
        ACTION_WRITE_CSV,
        _async_write_csv,
        WRITE_CSV,
        SupportsResponse.OPTIONAL,
    )


async def _async_get_csv_link(call: ServiceCall) -> ServiceResponse:
    """Return a link that gives the readings as CSV to whoever has it."""
    user = await _async_user(call)
    request = async_request(call.hass, call.data, user)
    return async_link(call.hass, call.data, request, user, call.data[CONF_VALID_FOR])


async def _async_get_latest(call: ServiceCall) -> ServiceResponse:
    """Return the latest reading of each device."""
    hass = call.hass
    request = async_request(hass, call.data, await _async_user(call))
    shown = [
        {
            quantity: series
            for quantity, entity_id in target.entities.items()
            if (series := _shown(hass, entity_id, quantity, request)) is not None
        }
        for target in request.targets
    ]
    await _async_import_answers(hass)
    from .answers import latest

    return await get_instance(hass).async_add_executor_job(
        latest, hass, request, shown, time.time()
    )


async def _async_get_readings(call: ServiceCall) -> ServiceResponse:
    """Return the readings in a span of time."""
    hass = call.hass
    request = async_request(hass, call.data, await _async_user(call))
    await _async_import_answers(hass)
    from .answers import readings

    as_rows = call.data[CONF_FORMAT] == FORMAT_ROWS
    return await get_instance(hass).async_add_executor_job(
        partial(readings, hass, request, LIMIT, as_rows=as_rows)
    )


async def _async_write_csv(call: ServiceCall) -> ServiceResponse:
    """Write the readings to a file; return its path."""
    hass = call.hass
    request = async_request(hass, call.data, await _async_user(call))
    await _async_import_answers(hass)
    from .answers import write_csv

    path = Path(hass.config.path(call.data[CONF_PATH]))
    await get_instance(hass).async_add_executor_job(write_csv, hass, request, path)
    return {CONF_PATH: str(path)}


async def _async_import_answers(hass: HomeAssistant) -> None:
    """Import what needs the recorder, and so the packages that only it brings."""
    await async_import_module(hass, f"{__package__}.answers")


async def _async_user(call: ServiceCall) -> User | None:
    """Return who calls; None is Home Assistant itself."""
    user_id = call.context.user_id
    return None if user_id is None else await call.hass.auth.async_get_user(user_id)


def _shown(
    hass: HomeAssistant, entity_id: str, quantity: str, request: Request
) -> Series | None:
    """Return what an entity shows now; the recorder's row of it may still be due."""
    state = hass.states.get(entity_id)
    if state is None:
        return None
    unit = state.attributes.get(ATTR_UNIT_OF_MEASUREMENT)
    formula = conversion(quantity, unit, request.units[quantity])
    value = number(state.state, formula)
    return None if value is None else ([state.last_updated_timestamp], [value])
