"""The values of a reading as sensors."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, override

from homeassistant.components.sensor import (
    SensorDeviceClass,
    SensorEntity,
    SensorEntityDescription,
    SensorStateClass,
)
from homeassistant.const import Platform, UnitOfPressure, UnitOfRatio, UnitOfTemperature
from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers import entity_registry as er
from homeassistant.helpers.entity_platform import AddConfigEntryEntitiesCallback

from .const import DOMAIN
from .coordinator import ReadingCoordinator, TemperatureLoggerConfigEntry
from .drivers import Reading
from .entity import TemperatureLoggerEntity

PARALLEL_UPDATES = 0


@dataclass(frozen=True, kw_only=True)
class ReadingSensorDescription(SensorEntityDescription):
    """Describes one value of a reading; the key is the name of its field."""

    state_class: SensorStateClass = SensorStateClass.MEASUREMENT
    value_fn: Callable[[Reading], float | None]
    waits_for_value: bool = False
    """Whether the entity is made only once there is a value: some sticks have a slot
    for a humidity that most probes do not measure."""


def _temperature(
    key: str, value_fn: Callable[[Reading], float | None]
) -> ReadingSensorDescription:
    """Describe a temperature."""
    return ReadingSensorDescription(
        key=key,
        translation_key=None if key == "temperature" else key,
        device_class=SensorDeviceClass.TEMPERATURE,
        native_unit_of_measurement=UnitOfTemperature.CELSIUS,
        suggested_display_precision=1,
        value_fn=value_fn,
    )


def _humidity(
    key: str, value_fn: Callable[[Reading], float | None]
) -> ReadingSensorDescription:
    """Describe a relative humidity."""
    return ReadingSensorDescription(
        key=key,
        translation_key=None if key == "humidity" else key,
        device_class=SensorDeviceClass.HUMIDITY,
        native_unit_of_measurement=UnitOfRatio.PERCENTAGE,
        suggested_display_precision=1,
        value_fn=value_fn,
        waits_for_value=key != "humidity",
    )


SENSORS: Final = (
    _temperature("temperature", lambda reading: reading.temperature),
    _humidity("humidity", lambda reading: reading.humidity),
    ReadingSensorDescription(
        key="pressure",
        device_class=SensorDeviceClass.ATMOSPHERIC_PRESSURE,
        native_unit_of_measurement=UnitOfPressure.HPA,
        suggested_display_precision=1,
        value_fn=lambda reading: reading.pressure,
    ),
    _temperature("internal_temperature", lambda reading: reading.internal_temperature),
    _humidity("internal_humidity", lambda reading: reading.internal_humidity),
    _temperature("external_temperature", lambda reading: reading.external_temperature),
    _humidity("external_humidity", lambda reading: reading.external_humidity),
    _temperature(
        "thermistor_temperature", lambda reading: reading.thermistor_temperature
    ),
)


async def async_setup_entry(
    hass: HomeAssistant,
    entry: TemperatureLoggerConfigEntry,
    async_add_entities: AddConfigEntryEntitiesCallback,
) -> None:
    """Add the sensors of a device, and later those that get their first value."""
    coordinator = entry.runtime_data
    registry = er.async_get(hass)
    waiting = {
        description
        for description in SENSORS
        if description.key in coordinator.driver.quantities
    }

    def is_due(description: ReadingSensorDescription) -> bool:
        """Return whether a sensor has, or once had, a value or needs none."""
        return (
            not description.waits_for_value
            or description.value_fn(coordinator.data) is not None
            or registry.async_get_entity_id(
                Platform.SENSOR, DOMAIN, f"{entry.entry_id}_{description.key}"
            )
            is not None
        )

    @callback
    def add_due() -> None:
        """Add the sensors that are due."""
        if due := {description for description in waiting if is_due(description)}:
            waiting.difference_update(due)
            async_add_entities(
                ReadingSensor(coordinator, description)
                for description in SENSORS
                if description in due
            )

    add_due()
    entry.async_on_unload(coordinator.async_add_listener(add_due))


class ReadingSensor(TemperatureLoggerEntity, SensorEntity):
    """One value of a reading."""

    entity_description: ReadingSensorDescription

    def __init__(
        self, coordinator: ReadingCoordinator, description: ReadingSensorDescription
    ) -> None:
        """Describe the sensor."""
        super().__init__(coordinator, description)

    @property
    @override
    def native_value(self) -> float | None:
        """Return the value of the last reading."""
        return self.entity_description.value_fn(self.coordinator.data)

    @property
    @override
    def force_update(self) -> bool:
        """Write a row for every reading, the same value or not, but none for a gap."""
        return self.available and self.native_value is not None
