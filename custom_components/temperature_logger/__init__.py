"""Temperature Logger: thermometers wired to this machine, as sensors."""

from homeassistant.const import Platform
from homeassistant.core import HomeAssistant
from homeassistant.helpers import config_validation as cv
from homeassistant.helpers.start import async_at_started
from homeassistant.helpers.typing import ConfigType

from .actions import async_register_actions
from .const import CONF_KIND, DOMAIN, KIND_HOST
from .coordinator import ReadingCoordinator, TemperatureLoggerConfigEntry
from .guard import async_guard
from .issues import async_forget, async_load_since, async_watch_disabled
from .kinds import async_import_drivers, driver_name
from .retention import async_watch_retention
from .view import ReadingsView
from .watch import DATA_WATCH, Watch

PLATFORMS = [Platform.SENSOR]
CONFIG_SCHEMA = cv.config_entry_only_config_schema(DOMAIN)


async def async_setup(
    hass: HomeAssistant,
    config: ConfigType,  # noqa: ARG001 - Home Assistant's own signature.
) -> bool:
    """Offer the history, and look out for devices, while none is loaded, too."""
    await async_load_since(hass)
    async_register_actions(hass)
    hass.http.register_view(ReadingsView)
    async_at_started(hass, async_watch_retention)
    async_watch_disabled(hass)
    hass.data[DATA_WATCH] = watch = Watch(hass)
    watch.async_start()
    return True


async def async_setup_entry(
    hass: HomeAssistant, entry: TemperatureLoggerConfigEntry
) -> bool:
    """Set up one device."""
    await async_import_drivers(hass, {driver_name(entry.data)})
    coordinator = ReadingCoordinator(hass, entry)
    await coordinator.async_config_entry_first_refresh()
    entry.runtime_data = coordinator
    if entry.data[CONF_KIND] == KIND_HOST:
        (await async_guard(hass)).async_watch(coordinator)
    await hass.config_entries.async_forward_entry_setups(entry, PLATFORMS)
    # What is set up now is not to be offered any more.
    hass.data[DATA_WATCH].async_announce_soon()
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
    if entry.data[CONF_KIND] == KIND_HOST:
        await (await async_guard(hass)).async_forget()
    hass.data[DATA_WATCH].async_announce_soon()
