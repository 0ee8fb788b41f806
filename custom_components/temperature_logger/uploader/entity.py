"""What every entity of an endpoint has."""

from typing import Final, override

from homeassistant.const import CONF_URL
from homeassistant.helpers.device_registry import DeviceEntryType, DeviceInfo
from homeassistant.helpers.entity import EntityDescription
from homeassistant.helpers.update_coordinator import CoordinatorEntity

from ..const import CONF_PROTOCOL, DOMAIN
from .coordinator import EndpointCoordinator
from .endpoints import Protocol

MODELS: Final = {
    Protocol.INFLUXDB_1: "InfluxDB 1 line protocol",
    Protocol.INFLUXDB_2: "InfluxDB 2 line protocol",
    Protocol.JSON: "JSON over HTTP",
}


class EndpointEntity(CoordinatorEntity[EndpointCoordinator]):
    """One entity of one endpoint."""

    _attr_has_entity_name = True

    def __init__(
        self, coordinator: EndpointCoordinator, description: EntityDescription
    ) -> None:
        """Describe the entity and its device."""
        super().__init__(coordinator)
        self.entity_description = description
        entry = coordinator.config_entry
        self._attr_unique_id = f"{entry.entry_id}_{description.key}"
        self._attr_device_info = DeviceInfo(
            configuration_url=entry.data[CONF_URL],
            entry_type=DeviceEntryType.SERVICE,
            identifiers={(DOMAIN, entry.entry_id)},
            model=MODELS[entry.data[CONF_PROTOCOL]],
            name=entry.title,
        )

    @property
    @override
    def available(self) -> bool:
        """Return true: what is waiting matters most while nothing arrives."""
        return True
