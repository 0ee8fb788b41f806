"""Sets an endpoint up, and takes it down."""

from homeassistant.core import HomeAssistant
from homeassistant.helpers.start import async_at_started

from .coordinator import EndpointConfigEntry, EndpointCoordinator
from .cursor import async_cursor, async_forget
from .expiry import async_forget_issues


async def async_setup_endpoint(hass: HomeAssistant, entry: EndpointConfigEntry) -> None:
    """Go on sending where it ended, once Home Assistant has started."""
    cursor = await async_cursor(hass, entry.entry_id)
    entry.runtime_data = coordinator = EndpointCoordinator(hass, entry, cursor)

    # Or it would stop to send when the last of its sensors is disabled.
    entry.async_on_unload(coordinator.async_add_listener(lambda: None))

    async def begin(_: HomeAssistant) -> None:
        """Send what is waiting, as long as that takes."""
        entry.async_create_background_task(
            hass, coordinator.async_refresh(), f"{entry.title} - first delivery"
        )

    entry.async_on_unload(async_at_started(hass, begin))


async def async_remove_endpoint(hass: HomeAssistant, entry_id: str) -> None:
    """Leave nothing behind."""
    await async_forget(hass, entry_id)
    async_forget_issues(hass, entry_id)
