"""The config entries of the integration: one for each device and each endpoint."""

from typing import TYPE_CHECKING, Any, TypeIs

from homeassistant.config_entries import ConfigEntry

from .const import CONF_KIND, KIND_ENDPOINT

if TYPE_CHECKING:
    from .coordinator import TemperatureLoggerConfigEntry
    from .uploader.coordinator import EndpointConfigEntry

type AnyConfigEntry = TemperatureLoggerConfigEntry | EndpointConfigEntry


def is_endpoint(entry: ConfigEntry[Any]) -> TypeIs[EndpointConfigEntry]:
    """Return whether an entry is an endpoint (a server for readings), not a device."""
    return entry.data.get(CONF_KIND) == KIND_ENDPOINT
