"""The binary sensor of an endpoint: whether the server receives the readings."""

from typing import Final, override

from homeassistant.components.binary_sensor import (
    BinarySensorEntity,
    BinarySensorEntityDescription,
)
from homeassistant.components.binary_sensor.const import BinarySensorDeviceClass
from homeassistant.core import HomeAssistant
from homeassistant.helpers.entity_platform import AddConfigEntryEntitiesCallback

from .uploader.coordinator import EndpointConfigEntry
from .uploader.entities import EndpointEntity

PARALLEL_UPDATES = 0

CONNECTION: Final = BinarySensorEntityDescription(
    key="connection", device_class=BinarySensorDeviceClass.CONNECTIVITY
)


async def async_setup_entry(
    hass: HomeAssistant,  # noqa: ARG001 - Home Assistant's own signature.
    entry: EndpointConfigEntry,
    async_add_entities: AddConfigEntryEntitiesCallback,
) -> None:
    """Add the binary sensor of an endpoint; devices have none."""
    async_add_entities([ConnectionSensor(entry.runtime_data, CONNECTION)])


class ConnectionSensor(EndpointEntity, BinarySensorEntity):
    """Whether the last batch of readings arrived."""

    @property
    @override
    def is_on(self) -> bool | None:
        """Return whether the last batch arrived; None before the first one."""
        return self.coordinator.is_connected
