"""The sensor of the disk guard."""

from typing import Any, Final, override

from homeassistant.components.sensor import SensorEntity, SensorEntityDescription
from homeassistant.const import EntityCategory
from homeassistant.helpers.dispatcher import async_dispatcher_connect

from ..entity import TemperatureLoggerEntity
from ..shared import shared_object
from .memory import Memory
from .passes import SIGNAL_THINNED

THINNED_SENSOR: Final = SensorEntityDescription(
    key="thinned_readings",
    translation_key="thinned_readings",
    entity_category=EntityCategory.DIAGNOSTIC,
)


class ThinnedReadingsSensor(TemperatureLoggerEntity, SensorEntity):
    """The number of rows that the last thinning deleted, with details."""

    @override
    async def async_added_to_hass(self) -> None:
        """Listen for the next thinning."""
        await super().async_added_to_hass()
        self.async_on_remove(
            async_dispatcher_connect(
                self.hass, SIGNAL_THINNED, self.async_write_ha_state
            )
        )

    @property
    @override
    def available(self) -> bool:
        """Return true: the last thinning is known even if the disk cannot be read."""
        return True

    @property
    @override
    def native_value(self) -> int | None:
        """Return the number of deleted rows; None before the first thinning."""
        last = shared_object(self.hass, Memory).last
        return None if last is None else last.rows

    @property
    @override
    def extra_state_attributes(self) -> dict[str, Any] | None:
        """Return the details of the last thinning."""
        last = shared_object(self.hass, Memory).last
        if last is None:
            return None
        return {name: value for name, value in last.summary.items() if name != "rows"}
