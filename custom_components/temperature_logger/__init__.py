"""Temperature Logger: sensors for thermometers on this machine."""

from homeassistant.config_entries import (
    SIGNAL_CONFIG_ENTRY_CHANGED,
    ConfigEntry,
    ConfigEntryChange,
)
from homeassistant.const import Platform
from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers import config_validation as cv
from homeassistant.helpers.dispatcher import async_dispatcher_connect
from homeassistant.helpers.importlib import async_import_module
from homeassistant.helpers.start import async_at_started
from homeassistant.helpers.typing import ConfigType

from .const import CONF_KIND, DOMAIN, KIND_BME280, KIND_HOST
from .coordinator import ReadingCoordinator, TemperatureLoggerConfigEntry
from .devices import FaultDurations, async_clear_fault, async_clear_values
from .discovery import HotPlug, Ports, async_offer_sticks, async_withdraw_move
from .entries import AnyConfigEntry, is_endpoint
from .history import async_watch_retention
from .http import ReadingsView
from .services import async_register_actions
from .shared import shared_object
from .translation import async_load_texts

PLATFORMS = [Platform.SENSOR]
ENDPOINT_PLATFORMS = [Platform.BINARY_SENSOR, Platform.SENSOR]
CONFIG_SCHEMA = cv.config_entry_only_config_schema(DOMAIN)


async def async_setup(
    hass: HomeAssistant,
    config: ConfigType,  # noqa: ARG001 - Home Assistant's own signature.
) -> bool:
    """Set up the history and the detection of devices, also without any entry."""
    await async_load_texts(hass)
    await shared_object(hass, FaultDurations).async_load()
    await shared_object(hass, Ports).async_load()
    await _async_protect_undelivered(hass)
    async_register_actions(hass)
    hass.http.register_view(ReadingsView)
    async_at_started(hass, async_watch_retention)
    _async_watch_disabled(hass)
    shared_object(hass, HotPlug).async_start(_async_offer)
    return True


async def async_setup_entry(hass: HomeAssistant, entry: AnyConfigEntry) -> bool:
    """Set up one device, or one endpoint."""
    if is_endpoint(entry):
        await async_import_module(hass, f"{__package__}.uploader.setup")
        from .uploader.setup import async_setup_endpoint

        await async_setup_endpoint(hass, entry)
    else:
        await _async_setup_device(hass, entry)
    await hass.config_entries.async_forward_entry_setups(entry, _platforms(entry))
    # Withdraw the offer of the device that is set up now.
    shared_object(hass, HotPlug).async_offer_soon()
    return True


async def async_unload_entry(hass: HomeAssistant, entry: AnyConfigEntry) -> bool:
    """Unload one entry; the coordinator closes its device when it shuts down."""
    return await hass.config_entries.async_unload_platforms(entry, _platforms(entry))


async def async_remove_entry(hass: HomeAssistant, entry: AnyConfigEntry) -> None:
    """Delete the repair issues and stored data of a removed entry."""
    if is_endpoint(entry):
        await async_import_module(hass, f"{__package__}.uploader.setup")
        from .uploader.setup import async_remove_endpoint

        await async_remove_endpoint(hass, entry.entry_id)
        return
    _async_delete_issues(hass, entry)
    if entry.data[CONF_KIND] == KIND_HOST:
        await async_import_module(hass, f"{__package__}.disk_guard")
        from .disk_guard import async_memory

        await (await async_memory(hass)).async_forget()
    shared_object(hass, HotPlug).async_offer_soon()


async def _async_setup_device(
    hass: HomeAssistant, entry: TemperatureLoggerConfigEntry
) -> None:
    """Make the coordinator of a device and read the device for the first time."""
    coordinator = ReadingCoordinator(hass, entry)
    await coordinator.async_config_entry_first_refresh()
    entry.runtime_data = coordinator
    if entry.data[CONF_KIND] == KIND_HOST:
        await async_import_module(hass, f"{__package__}.disk_guard")
        from .disk_guard import async_watch_disk

        await async_watch_disk(hass, coordinator)


async def _async_offer(hass: HomeAssistant) -> None:
    """Offer the connected sticks, and let entries follow their chips."""
    await async_offer_sticks(hass)
    entries = hass.config_entries.async_entries(DOMAIN)
    if any(entry.data.get(CONF_KIND) == KIND_BME280 for entry in entries):
        await async_import_module(hass, f"{__package__}.discovery.following")
        from .discovery.following import async_follow_chips

        await async_follow_chips(hass)


async def _async_protect_undelivered(hass: HomeAssistant) -> None:
    """Protect undelivered readings from thinning, also for unloaded endpoints."""
    entries: list[AnyConfigEntry] = hass.config_entries.async_entries(DOMAIN)
    endpoints = [entry for entry in entries if is_endpoint(entry)]
    if endpoints:
        await async_import_module(hass, f"{__package__}.uploader")
        from .uploader import async_cursor

        for entry in endpoints:
            await async_cursor(hass, entry.entry_id)


@callback
def _async_watch_disabled(hass: HomeAssistant) -> None:
    """Delete the repair issues of a device when the user disables it."""

    @callback
    def changed(_: ConfigEntryChange, entry: ConfigEntry) -> None:
        if entry.domain == DOMAIN and entry.disabled_by is not None:
            _async_delete_issues(hass, entry)

    async_dispatcher_connect(hass, SIGNAL_CONFIG_ENTRY_CHANGED, changed)


@callback
def _async_delete_issues(hass: HomeAssistant, entry: ConfigEntry) -> None:
    """Delete the repair issues of a device that was deleted or disabled."""
    async_clear_fault(hass, entry)
    async_clear_values(hass, entry)
    async_withdraw_move(hass, entry)


def _platforms(entry: AnyConfigEntry) -> list[Platform]:
    """Return the platforms on which an entry has entities."""
    return ENDPOINT_PLATFORMS if is_endpoint(entry) else PLATFORMS
