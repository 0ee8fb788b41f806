"""The values of a reading as sensors; and those of an endpoint."""

from typing import TYPE_CHECKING, Any, Final, override

from homeassistant.components.sensor import (
    SensorDeviceClass,
    SensorEntity,
    SensorEntityDescription,
    SensorStateClass,
)
from homeassistant.const import (
    EntityCategory,
    Platform,
    UnitOfInformation,
    UnitOfPressure,
    UnitOfRatio,
    UnitOfTemperature,
)
from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers import entity_registry as er
from homeassistant.helpers.dispatcher import async_dispatcher_connect
from homeassistant.helpers.entity_platform import AddConfigEntryEntitiesCallback
from homeassistant.helpers.importlib import async_import_module

from .const import CONF_DISK_GUARD, CONF_QUANTITIES, DOMAIN, DiskGuard
from .coordinator import ReadingCoordinator, TemperatureLoggerConfigEntry
from .disk_guard import DATA_GUARD, SIGNAL_THINNED
from .drivers import in_order, rom_of
from .entity import TemperatureLoggerEntity
from .entries import AnyConfigEntry, is_endpoint

if TYPE_CHECKING:
    pass

PARALLEL_UPDATES = 0


# Made only once there is a value: some sticks have a slot for a humidity that most
# probes do not measure, and so have CO2 monitors.
WAIT_FOR_VALUE: Final = {"external_humidity", "humidity", "internal_humidity"}
PROBE: Final = "probe"


def _temperature(
    key: str, translation_key: str | None = None
) -> SensorEntityDescription:
    """Describe a temperature."""
    return SensorEntityDescription(
        key=key,
        translation_key=None if key == "temperature" else translation_key or key,
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


def _space(key: str) -> SensorEntityDescription:
    """Describe an amount of disk space."""
    return SensorEntityDescription(
        key=key,
        translation_key=key,
        device_class=SensorDeviceClass.DATA_SIZE,
        native_unit_of_measurement=UnitOfInformation.GIBIBYTES,
        state_class=SensorStateClass.MEASUREMENT,
        suggested_display_precision=1,
    )


# Each key is the name of a reading's field; the probes of an adapter come beside them.
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
    SensorEntityDescription(
        key="co2",
        device_class=SensorDeviceClass.CO2,
        native_unit_of_measurement=UnitOfRatio.PARTS_PER_MILLION,
        state_class=SensorStateClass.MEASUREMENT,
        suggested_display_precision=0,
    ),
    _temperature("cpu_temperature"),
    _space("total_space"),
    _space("used_space"),
    _space("free_space"),
    SensorEntityDescription(
        key="space_usage",
        translation_key="space_usage",
        native_unit_of_measurement=UnitOfRatio.PERCENTAGE,
        state_class=SensorStateClass.MEASUREMENT,
        suggested_display_precision=1,
    ),
)
THINNED: Final = SensorEntityDescription(
    key="thinned_readings",
    translation_key="thinned_readings",
    entity_category=EntityCategory.DIAGNOSTIC,
)


async def async_setup_entry(
    hass: HomeAssistant,
    entry: AnyConfigEntry,
    async_add_entities: AddConfigEntryEntitiesCallback,
) -> None:
    """Add the sensors of a device, or of an endpoint."""
    if not is_endpoint(entry):
        _async_add_readings(hass, entry, async_add_entities)
        return
    await async_import_module(hass, f"{__package__}.uploader.sensors")
    from .uploader.sensors import ENDPOINT_SENSORS, EndpointSensor

    coordinator = entry.runtime_data
    async_add_entities(
        EndpointSensor(coordinator, description) for description in ENDPOINT_SENSORS
    )


@callback
def _async_add_readings(
    hass: HomeAssistant,
    entry: TemperatureLoggerConfigEntry,
    async_add_entities: AddConfigEntryEntitiesCallback,
) -> None:
    """Add the sensors of a device, and later those that get their first value."""
    coordinator = entry.runtime_data
    registry = er.async_get(hass)
    added: set[str] = set()

    def is_due(quantity: str) -> bool:
        """Return whether a sensor has, or once had, a value or needs none."""
        return (
            quantity not in WAIT_FOR_VALUE
            or coordinator.data.value(quantity) is not None
            or registry.async_get_entity_id(
                Platform.SENSOR, DOMAIN, f"{entry.entry_id}_{quantity}"
            )
            is not None
        )

    @callback
    def add_due() -> None:
        """Add the sensors that are due."""
        waiting = set(entry.data[CONF_QUANTITIES]) - added
        if due := in_order(filter(is_due, waiting)):
            added.update(due)
            async_add_entities(ReadingSensor(coordinator, quantity) for quantity in due)

    add_due()
    entry.async_on_unload(coordinator.async_add_listener(add_due))
    if entry.options.get(CONF_DISK_GUARD) == DiskGuard.THIN:
        async_add_entities([ThinnedReadingsSensor(coordinator, THINNED)])
    elif thinned := registry.async_get_entity_id(
        Platform.SENSOR, DOMAIN, f"{entry.entry_id}_{THINNED.key}"
    ):
        registry.async_remove(thinned)


def _description(quantity: str) -> SensorEntityDescription:
    """Describe the sensor of a quantity."""
    if rom_of(quantity) is not None:
        return _temperature(quantity, PROBE)
    return next(sensor for sensor in SENSORS if sensor.key == quantity)


class ReadingSensor(TemperatureLoggerEntity, SensorEntity):
    """One value of a reading."""

    def __init__(self, coordinator: ReadingCoordinator, quantity: str) -> None:
        """Show a quantity; a probe is called by its code until its owner names it."""
        super().__init__(coordinator, _description(quantity))
        if (rom := rom_of(quantity)) is not None:
            self._attr_translation_placeholders = {PROBE: rom}

    @property
    @override
    def native_value(self) -> float | None:
        """Return the value of the last reading."""
        return self.coordinator.data.value(self.entity_description.key)

    @callback
    @override
    def _handle_coordinator_update(self) -> None:
        """Write a row for every reading, the same value or not, but none for a gap.

        What else is written, such as after a change of the area, is no reading.
        """
        self._attr_force_update = self.available and self.native_value is not None
        super()._handle_coordinator_update()
        self._attr_force_update = False


class ThinnedReadingsSensor(TemperatureLoggerEntity, SensorEntity):
    """How many rows the last thinning deleted, and which."""

    @override
    async def async_added_to_hass(self) -> None:
        """Listen for the next one."""
        await super().async_added_to_hass()
        self.async_on_remove(
            async_dispatcher_connect(
                self.hass, SIGNAL_THINNED, self.async_write_ha_state
            )
        )

    @property
    @override
    def available(self) -> bool:
        """Return true: what was done is known, whatever the disk tells."""
        return True

    @property
    @override
    def native_value(self) -> int | None:
        """Return the rows; None before the first thinning."""
        last = self.hass.data[DATA_GUARD].last
        return None if last is None else last.rows

    @property
    @override
    def extra_state_attributes(self) -> dict[str, Any] | None:
        """Return what else there is to tell."""
        last = self.hass.data[DATA_GUARD].last
        if last is None:
            return None
        return {name: value for name, value in last.summary.items() if name != "rows"}
