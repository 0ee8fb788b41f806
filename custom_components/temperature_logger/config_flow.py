"""The config flow of devices and endpoints."""

from typing import Any, ClassVar, override

from homeassistant.config_entries import (
    ConfigEntry,
    ConfigFlowResult,
    OptionsFlowWithReload,
)
from homeassistant.const import CONF_DEVICE
from homeassistant.core import callback

from .const import DOMAIN, KIND_ENDPOINT
from .devices.options_flow import OptionsFlow
from .discovery.device_flow import DeviceFlow
from .discovery.flow import SearchFlow
from .entries import is_endpoint
from .uploader.flow import EndpointFlow, EndpointOptionsFlow


class TemperatureLoggerConfigFlow(DeviceFlow, SearchFlow, EndpointFlow, domain=DOMAIN):
    """Sets up a device or an endpoint, or changes the place of one."""

    OTHER_OPTIONS: ClassVar = (KIND_ENDPOINT,)
    VERSION = 1

    @staticmethod
    @callback
    @override
    def async_get_options_flow(config_entry: ConfigEntry) -> OptionsFlowWithReload:
        """Return the options flow of a device or of an endpoint."""
        return EndpointOptionsFlow() if is_endpoint(config_entry) else OptionsFlow()

    @override
    async def async_step_user(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Show the devices to set up, and the choice to send readings to a server."""
        if user_input and user_input.get(CONF_DEVICE) == KIND_ENDPOINT:
            return await self.async_step_endpoint()
        return await super().async_step_user(user_input)

    @override
    async def async_step_nothing_found(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Search again, or set up an endpoint, which needs no device."""
        if user_input and user_input.get(CONF_DEVICE) == KIND_ENDPOINT:
            return await self.async_step_endpoint()
        return await super().async_step_nothing_found(user_input)

    async def async_step_reconfigure(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Change the place of a device, or the server of an endpoint."""
        if is_endpoint(self._get_reconfigure_entry()):
            return await self.async_step_reconfigure_endpoint()
        return await self.async_step_reconfigure_device(user_input)
