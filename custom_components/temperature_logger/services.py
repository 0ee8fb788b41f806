"""The actions, there before any device is set up."""

from typing import Final

from homeassistant.core import (
    HomeAssistant,
    ServiceCall,
    ServiceResponse,
    SupportsResponse,
    callback,
)
from homeassistant.helpers.importlib import async_import_module
from homeassistant.helpers.service import async_register_admin_service
import voluptuous as vol

from .const import DOMAIN
from .disk_guard.passes import async_preview

PREVIEWING: Final = "preview_thinning"
READING: Final = ("get_csv_link", "get_latest", "get_readings")
WRITING: Final = "write_csv"


@callback
def async_register_actions(hass: HomeAssistant) -> None:
    """Register the actions; each checks its data when it is called."""
    for name in READING:
        hass.services.async_register(
            DOMAIN, name, _async_call, supports_response=SupportsResponse.ONLY
        )
    async_register_admin_service(
        hass,
        DOMAIN,
        PREVIEWING,
        _async_preview,
        schema=vol.Schema({}),
        supports_response=SupportsResponse.ONLY,
    )
    async_register_admin_service(
        hass,
        DOMAIN,
        WRITING,
        _async_call,
        vol.Schema(dict),
        SupportsResponse.OPTIONAL,
    )


async def _async_preview(call: ServiceCall) -> ServiceResponse:
    """Return what thinning would delete now."""
    return await async_preview(call.hass)


async def _async_call(call: ServiceCall) -> ServiceResponse:
    """Perform an action; what that takes is imported with the first call."""
    await async_import_module(call.hass, f"{__package__}.service_calls")
    from .service_calls import async_perform

    return await async_perform(call)
