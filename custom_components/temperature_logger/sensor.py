"""The sensors: the values of a reading, and the progress of an endpoint."""

from functools import cache
from typing import TYPE_CHECKING, Final, override

from homeassistant.components.sensor import (
    SensorDeviceClass,
    SensorEntity,
    SensorEntityDescription,
    SensorStateClass,
)
from homeassistant.const import Platform
from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers import entity_registry as er
from homeassistant.helpers.entity_platform import AddConfigEntryEntitiesCallback
from homeassistant.helpers.importlib import async_import_module

from .const import (
    CONF_DISK_GUARD,
    CONF_KIND,
    CONF_QUANTITIES,
    DOMAIN,
    KIND_HOST,
    DiskGuard,
)
from .coordinator import ReadingCoordinator, TemperatureLoggerConfigEntry
from .drivers import in_order, rom_of
from .entity import TemperatureLoggerEntity
from .entries import AnyConfigEntry, is_endpoint
from .units import base_quantity

if TYPE_CHECKING:
    from .uploader.coordinator import EndpointConfigEntry

PARALLEL_UPDATES = 0

# The sensors of these quantities are added with their first value: some sticks and CO2
# monitors have a slot for a humidity that most of them do not measure.
OPTIONAL_QUANTITIES: Final = {"external_humidity", "humidity", "internal_humidity"}
PROBE_KEY: Final = "probe"


async def async_setup_entry(
    hass: HomeAssistant,
    entry: AnyConfigEntry,
    async_add_entities: AddConfigEntryEntitiesCallback,
) -> None:
    """Add the sensors of a device, or of an endpoint."""
    if is_endpoint(entry):
        await _async_add_progress(hass, entry, async_add_entities)
        return
    _async_add_readings(hass, entry, async_add_entities)
    if entry.data[CONF_KIND] == KIND_HOST:
        await _async_add_thinned(hass, entry, async_add_entities)


@callback
def _async_add_readings(
    hass: HomeAssistant,
    entry: TemperatureLoggerConfigEntry,
    async_add_entities: AddConfigEntryEntitiesCallback,
) -> None:
    """Add the sensors of a device; optional ones follow with their first value."""
    coordinator = entry.runtime_data
    registry = er.async_get(hass)
    added: set[str] = set()

    def is_due(quantity: str) -> bool:
        """Return whether a quantity always exists, has a value or fault, or had one."""
        return (
            quantity not in OPTIONAL_QUANTITIES
            or coordinator.data.value(quantity) is not None
            or quantity in coordinator.data.faults
            or registry.async_get_entity_id(
                Platform.SENSOR, DOMAIN, f"{entry.entry_id}_{quantity}"
            )
            is not None
        )

    @callback
    def add_due() -> None:
        """Add the sensors that are due now."""
        waiting = set(entry.data[CONF_QUANTITIES]) - added
        if due := in_order(filter(is_due, waiting)):
            added.update(due)
            async_add_entities(ReadingSensor(coordinator, quantity) for quantity in due)

    add_due()
    entry.async_on_unload(coordinator.async_add_listener(add_due))


async def _async_add_progress(
    hass: HomeAssistant,
    entry: EndpointConfigEntry,
    async_add_entities: AddConfigEntryEntitiesCallback,
) -> None:
    """Add the sensors of an endpoint."""
    await async_import_module(hass, f"{__package__}.uploader.entities")
    from .uploader.entities import ENDPOINT_SENSORS, EndpointSensor

    coordinator = entry.runtime_data
    async_add_entities(
        EndpointSensor(coordinator, description) for description in ENDPOINT_SENSORS
    )


async def _async_add_thinned(
    hass: HomeAssistant,
    entry: TemperatureLoggerConfigEntry,
    async_add_entities: AddConfigEntryEntitiesCallback,
) -> None:
    """Add the sensor of the disk guard, or remove it if the guard does not thin."""
    await async_import_module(hass, f"{__package__}.disk_guard.entities")
    from .disk_guard.entities import THINNED_SENSOR, ThinnedReadingsSensor

    registry = er.async_get(hass)
    if entry.options.get(CONF_DISK_GUARD) == DiskGuard.THIN:
        async_add_entities([ThinnedReadingsSensor(entry.runtime_data, THINNED_SENSOR)])
    elif thinned := registry.async_get_entity_id(
        Platform.SENSOR, DOMAIN, f"{entry.entry_id}_{THINNED_SENSOR.key}"
    ):
        registry.async_remove(thinned)


@cache
def describe(quantity: str) -> SensorEntityDescription:
    """Describe the sensor of a quantity, which is a field of a reading or a probe."""
    base = base_quantity(quantity)
    key = PROBE_KEY if rom_of(quantity) is not None else quantity
    return SensorEntityDescription(
        key=quantity,
        # The device class names the sensor of a plain base quantity.
        translation_key=None if key == base.name else key,
        device_class=SensorDeviceClass(base.device_class)
        if base.device_class
        else None,
        native_unit_of_measurement=base.unit,
        state_class=SensorStateClass.MEASUREMENT,
        suggested_display_precision=base.decimals,
    )


class ReadingSensor(TemperatureLoggerEntity, SensorEntity):
    """One value of a reading."""

    def __init__(self, coordinator: ReadingCoordinator, quantity: str) -> None:
        """Describe the quantity; the name of a probe contains its ROM code."""
        super().__init__(coordinator, describe(quantity))
        if (rom := rom_of(quantity)) is not None:
            self._attr_translation_placeholders = {PROBE_KEY: rom}

    @property
    @override
    def available(self) -> bool:
        """Return whether the last poll succeeded and the value is not invalid."""
        faults = self.coordinator.data.faults
        return super().available and self.entity_description.key not in faults

    @property
    @override
    def native_value(self) -> float | None:
        """Return the value of the last reading."""
        return self.coordinator.data.value(self.entity_description.key)

    @callback
    @override
    def _handle_coordinator_update(self) -> None:
        """Record a row for each reading, even with an equal value, but not for a gap.

        A state write for another reason, such as a new area, adds no row.
        """
        self._attr_force_update = self.available and self.native_value is not None
        super()._handle_coordinator_update()
        self._attr_force_update = False
