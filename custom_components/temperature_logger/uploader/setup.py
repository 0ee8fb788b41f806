"""Sets up and removes an endpoint."""

from homeassistant.core import HomeAssistant
from homeassistant.helpers.start import async_at_started

from .coordinator import EndpointConfigEntry, EndpointCoordinator
from .cursor import async_cursor, async_remove_cursor
from .expiry import async_delete_issues


async def async_setup_endpoint(hass: HomeAssistant, entry: EndpointConfigEntry) -> None:
    """Continue to send after the last row that arrived, once Home Assistant runs."""
    cursor = await async_cursor(hass, entry.entry_id)
    entry.runtime_data = coordinator = EndpointCoordinator(hass, entry, cursor)

    # Without a listener, the coordinator stops when the last sensor is disabled.
    entry.async_on_unload(coordinator.async_add_listener(lambda: None))

    async def start(_: HomeAssistant) -> None:
        """Send all waiting readings in the background."""
        entry.async_create_background_task(
            hass, coordinator.async_refresh(), f"{entry.title} - first delivery"
        )

    entry.async_on_unload(async_at_started(hass, start))


async def async_remove_endpoint(hass: HomeAssistant, entry_id: str) -> None:
    """Delete the stored progress and the issues of an endpoint."""
    await async_remove_cursor(hass, entry_id)
    async_delete_issues(hass, entry_id)
