"""What automations, scripts and small clients ask of the history."""

from typing import Final

from homeassistant.auth.models import User
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
import voluptuous as vol

from .const import DOMAIN
from .request import CONF_FORMAT, FIELDS, async_request

ACTION_GET_READINGS: Final = "get_readings"
FORMAT_ROWS: Final = "rows"
FORMATS: Final = (FORMAT_ROWS, "columns")
# An answer is made in memory, and passed through the event loop, in one piece.
LIMIT: Final = 50_000

GET_READINGS: Final = cv.make_entity_service_schema(
    {**FIELDS, vol.Optional(CONF_FORMAT, default=FORMAT_ROWS): vol.In(FORMATS)}
)


@callback
def async_register_actions(hass: HomeAssistant) -> None:
    """Register the actions; they are there before any device is set up."""
    hass.services.async_register(
        DOMAIN,
        ACTION_GET_READINGS,
        _async_get_readings,
        GET_READINGS,
        SupportsResponse.ONLY,
    )


async def _async_get_readings(call: ServiceCall) -> ServiceResponse:
    """Return the readings in a span of time."""
    hass = call.hass
    request = async_request(hass, call.data, await _async_user(call))
    # It needs the recorder, and so the packages that only the recorder brings.
    await async_import_module(hass, f"{__package__}.answers")
    from .answers import readings

    return await get_instance(hass).async_add_executor_job(
        lambda: readings(
            hass, request, LIMIT, as_rows=call.data[CONF_FORMAT] == FORMAT_ROWS
        )
    )


async def _async_user(call: ServiceCall) -> User | None:
    """Return who calls; None is Home Assistant itself."""
    user_id = call.context.user_id
    return None if user_id is None else await call.hass.auth.async_get_user(user_id)
