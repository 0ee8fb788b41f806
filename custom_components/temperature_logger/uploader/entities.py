"""The entities of an endpoint, which show its progress."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final, override

from homeassistant.components.sensor import (
    SensorDeviceClass,
    SensorEntity,
    SensorEntityDescription,
    SensorStateClass,
)
from homeassistant.const import CONF_URL
from homeassistant.helpers.device_registry import DeviceEntryType, DeviceInfo
from homeassistant.helpers.entity import EntityDescription
from homeassistant.helpers.update_coordinator import CoordinatorEntity
from homeassistant.util import dt as dt_util

from ..const import CONF_PROTOCOL, DOMAIN
from .coordinator import EndpointCoordinator, Status
from .endpoints import ENDPOINTS


class EndpointEntity(CoordinatorEntity[EndpointCoordinator]):
    """Base of all entities of an endpoint."""

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
            model=ENDPOINTS[entry.data[CONF_PROTOCOL]].model,
            name=entry.title,
        )

    @property
    @override
    def available(self) -> bool:
        """Return true: the number of waiting readings matters most in an outage."""
        return True


@dataclass(frozen=True, kw_only=True)
class EndpointSensorDescription(SensorEntityDescription):
    """Describes a sensor of an endpoint."""

    value_fn: Callable[[Status], datetime | int | None]


def _datetime(timestamp: float | None) -> datetime | None:
    """Return a Unix time as the state of a timestamp sensor."""
    return None if timestamp is None else dt_util.utc_from_timestamp(timestamp)


ENDPOINT_SENSORS: Final = (
    EndpointSensorDescription(
        key="readings_waiting",
        translation_key="readings_waiting",
        state_class=SensorStateClass.MEASUREMENT,
        value_fn=lambda status: status.waiting,
    ),
    EndpointSensorDescription(
        key="oldest_waiting",
        translation_key="oldest_waiting",
        device_class=SensorDeviceClass.TIMESTAMP,
        value_fn=lambda status: _datetime(status.oldest),
    ),
    EndpointSensorDescription(
        key="last_delivery",
        translation_key="last_delivery",
        device_class=SensorDeviceClass.TIMESTAMP,
        value_fn=lambda status: _datetime(status.delivered_at),
    ),
    EndpointSensorDescription(
        key="readings_delivered",
        translation_key="readings_delivered",
        state_class=SensorStateClass.TOTAL_INCREASING,
        value_fn=lambda status: status.delivered,
    ),
)


class EndpointSensor(EndpointEntity, SensorEntity):
    """A sensor that shows one part of an endpoint's status."""

    entity_description: EndpointSensorDescription

    @property
    @override
    def native_value(self) -> datetime | int | None:
        """Return the value; None if the status does not have it yet."""
        return self.entity_description.value_fn(self.coordinator.data)
