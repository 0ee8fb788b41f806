"""The base of the entities of a device."""

from homeassistant.core import HomeAssistant
from homeassistant.helpers.device_registry import DeviceInfo
from homeassistant.helpers.entity import EntityDescription
from homeassistant.helpers.update_coordinator import CoordinatorEntity

from .const import CONF_MOVED_FROM, DOMAIN
from .coordinator import ReadingCoordinator, TemperatureLoggerConfigEntry
from .devices import model_name, place_name
from .translation import async_text


class TemperatureLoggerEntity(CoordinatorEntity[ReadingCoordinator]):
    """One entity of one device.

    Its unique id begins with the id of the entry, which stays the same when the device
    moves. So the entities and their history also stay.
    """

    _attr_has_entity_name = True

    def __init__(
        self, coordinator: ReadingCoordinator, description: EntityDescription
    ) -> None:
        """Describe the entity and its device."""
        super().__init__(coordinator)
        self.entity_description = description
        entry, hass = coordinator.config_entry, coordinator.hass
        identity = coordinator.driver.identity
        self._attr_unique_id = f"{entry.entry_id}_{description.key}"
        self._attr_device_info = DeviceInfo(
            hw_version=_hardware(hass, entry),
            identifiers={(DOMAIN, entry.entry_id)},
            manufacturer=identity.manufacturer or None,
            model=model_name(hass, identity.model),
            name=entry.title,
            sw_version=identity.firmware,
        )


def _hardware(hass: HomeAssistant, entry: TemperatureLoggerConfigEntry) -> str:
    """Return the name of a device's place, and of its place before it was followed."""
    place = place_name(hass, entry.data)
    if (earlier := entry.data.get(CONF_MOVED_FROM)) is None:
        return place
    return async_text(hass, "moved_place", place=place, earlier=earlier)
