"""How far an endpoint is, as sensors."""

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
from homeassistant.util import dt as dt_util

from .coordinator import Status
from .entity import EndpointEntity


@dataclass(frozen=True, kw_only=True)
class EndpointSensorDescription(SensorEntityDescription):
    """Describes a sensor of an endpoint."""

    value_fn: Callable[[Status], datetime | int | None]


def _time(at: float | None) -> datetime | None:
    """Return a Unix time as a sensor shows it."""
    return None if at is None else dt_util.utc_from_timestamp(at)


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
        value_fn=lambda status: _time(status.oldest),
    ),
    EndpointSensorDescription(
        key="last_delivery",
        translation_key="last_delivery",
        device_class=SensorDeviceClass.TIMESTAMP,
        value_fn=lambda status: _time(status.delivered_at),
    ),
    EndpointSensorDescription(
        key="readings_delivered",
        translation_key="readings_delivered",
        state_class=SensorStateClass.TOTAL_INCREASING,
        value_fn=lambda status: status.delivered,
    ),
)


class EndpointSensor(EndpointEntity, SensorEntity):
    """One fact of how far an endpoint is."""

    entity_description: EndpointSensorDescription

    @property
    @override
    def native_value(self) -> datetime | int | None:
        """Return the fact; None where there is nothing to tell."""
        return self.entity_description.value_fn(self.coordinator.data)
