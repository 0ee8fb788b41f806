"""Temperature Logger: thermometers wired to this machine, as sensors."""

from homeassistant.const import Platform
from homeassistant.core import HomeAssistant
from homeassistant.helpers import config_validation as cv
from homeassistant.helpers.start import async_at_started
from homeassistant.helpers.typing import ConfigType

from .actions import async_register_actions
from .announcement import async_announce
from .const import DOMAIN
from .coordinator import ReadingCoordinator, TemperatureLoggerConfigEntry
from .issues import async_forget
from .kinds import async_import_drivers, driver_name
from .retention import async_watch_retention
from .view import ReadingsView
from .watch import Watch

PLATFORMS = [Platform.SENSOR]
CONFIG_SCHEMA = cv.config_entry_only_config_schema(DOMAIN)


async def async_setup(
    hass: HomeAssistant,
    config: ConfigType,  # noqa: ARG001 - Home Assistant's own signature.
) -> bool:
    """Offer the history, and look out for devices, while none is loaded, too."""
    async_register_actions(hass)
    hass.http.register_view(ReadingsView)
    async_at_started(hass, async_watch_retention)
    Watch(hass).async_start()
    return True


async def async_setup_entry(
    hass: HomeAssistant, entry: TemperatureLoggerConfigEntry
) -> bool:
    """Set up one device."""
    await async_import_drivers(hass, {driver_name(entry.data)})
    coordinator = ReadingCoordinator(hass, entry)
    await coordinator.async_config_entry_first_refresh()
    entry.runtime_data = coordinator
    await hass.config_entries.async_forward_entry_setups(entry, PLATFORMS)
    async_announce(hass)  # What is set up now is not to be offered any more.
    return True


async def async_unload_entry(
    hass: HomeAssistant, entry: TemperatureLoggerConfigEntry
) -> bool:
    """Unload one device; the coordinator gives it back as it shuts down."""
    return await hass.config_entries.async_unload_platforms(entry, PLATFORMS)


async def async_remove_entry(
    hass: HomeAssistant, entry: TemperatureLoggerConfigEntry
) -> None:
    """Take a device's issues away with it."""
    async_forget(hass, entry)
    async_announce(hass)
