"""The values of a reading as sensors."""

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
from .coordinator import TemperatureLoggerConfigEntry
from .entity import TemperatureLoggerEntity

PARALLEL_UPDATES = 0


# Made only once there is a value: some sticks have a slot for a humidity that most
# probes do not measure.
WAIT_FOR_VALUE: Final = {"external_humidity", "internal_humidity"}


def _temperature(key: str) -> SensorEntityDescription:
    """Describe a temperature."""
    return SensorEntityDescription(
        key=key,
        translation_key=None if key == "temperature" else key,
        device_class=SensorDeviceClass.TEMPERATURE,
        native_unit_of_measurement=UnitOfTemperature.CELSIUS,
        state_class=SensorStateClass.MEASUREMENT,
        suggested_display_precision=1,
    )


def _humidity(key: str) -> SensorEntityDescription:
    """Describe a relative humidity."""
    return SensorEntityDescription(
        key=key,
        translation_key=None if key == "humidity" else key,
        device_class=SensorDeviceClass.HUMIDITY,
        native_unit_of_measurement=UnitOfRatio.PERCENTAGE,
        state_class=SensorStateClass.MEASUREMENT,
        suggested_display_precision=1,
    )


# Each key is the name of a reading's field.
SENSORS: Final = (
    _temperature("temperature"),
    _humidity("humidity"),
    SensorEntityDescription(
        key="pressure",
        device_class=SensorDeviceClass.ATMOSPHERIC_PRESSURE,
        native_unit_of_measurement=UnitOfPressure.HPA,
        state_class=SensorStateClass.MEASUREMENT,
        suggested_display_precision=1,
    ),
    _temperature("internal_temperature"),
    _humidity("internal_humidity"),
    _temperature("external_temperature"),
    _humidity("external_humidity"),
    _temperature("thermistor_temperature"),
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

    def is_due(description: SensorEntityDescription) -> bool:
        """Return whether a sensor has, or once had, a value or needs none."""
        return (
            description.key not in WAIT_FOR_VALUE
            or getattr(coordinator.data, description.key) is not None
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

    @property
    @override
    def native_value(self) -> float | None:
        """Return the value of the last reading."""
        value: float | None = getattr(
            self.coordinator.data, self.entity_description.key
        )
        return value

    @callback
    @override
    def _handle_coordinator_update(self) -> None:
        """Write a row for every reading, the same value or not, but none for a gap.

        What else is written, such as after a change of the area, is no reading.
        """
        self._attr_force_update = self.available and self.native_value is not None
        super()._handle_coordinator_update()
        self._attr_force_update = False
