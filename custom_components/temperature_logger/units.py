"""What each quantity is measured in, and how a unit becomes another one."""

from typing import Final

from homeassistant.const import UnitOfPressure, UnitOfRatio, UnitOfTemperature
from homeassistant.util.unit_conversion import (
    BaseUnitConverter,
    PressureConverter,
    TemperatureConverter,
    UnitlessRatioConverter,
)

CONVERTERS: Final[dict[str, type[BaseUnitConverter]]] = {
    "humidity": UnitlessRatioConverter,
    "pressure": PressureConverter,
    "temperature": TemperatureConverter,
}
UNITS: Final[dict[str, str]] = {
    "humidity": UnitOfRatio.PERCENTAGE,
    "pressure": UnitOfPressure.HPA,
    "temperature": UnitOfTemperature.CELSIUS,
}


def base(quantity: str) -> str:
    """Return what a quantity is of: internal_temperature is a temperature."""
    return quantity.rpartition("_")[2]
