"""What each quantity is measured in, and how a unit becomes another one."""

from collections.abc import Callable
from typing import Final

from homeassistant.const import (
    ATTR_UNIT_OF_MEASUREMENT,
    UnitOfInformation,
    UnitOfPressure,
    UnitOfRatio,
    UnitOfTemperature,
)
from homeassistant.util.json import json_loads_object
from homeassistant.util.unit_conversion import (
    BaseUnitConverter,
    InformationConverter,
    PressureConverter,
    TemperatureConverter,
    UnitlessRatioConverter,
)

from .const import DIGITS

CONVERTERS: Final[dict[str, type[BaseUnitConverter]]] = {
    "co2": UnitlessRatioConverter,
    "humidity": UnitlessRatioConverter,
    "pressure": PressureConverter,
    "space": InformationConverter,
    "temperature": TemperatureConverter,
    "usage": UnitlessRatioConverter,
}
UNITS: Final[dict[str, str]] = {
    "co2": UnitOfRatio.PARTS_PER_MILLION,
    "humidity": UnitOfRatio.PERCENTAGE,
    "pressure": UnitOfPressure.HPA,
    "space": UnitOfInformation.GIBIBYTES,
    "temperature": UnitOfTemperature.CELSIUS,
    "usage": UnitOfRatio.PERCENTAGE,
}


def base(quantity: str) -> str:
    """Return what a quantity is of: internal_temperature is a temperature."""
    return quantity.rpartition("_")[2]


def conversion(
    quantity: str, shown: str | None, wanted: str
) -> Callable[[float], float] | None:
    """Return what makes a shown value one in another unit; None if that is unknown."""
    converter = CONVERTERS[base(quantity)]
    if shown is None or shown not in converter.VALID_UNITS:
        return None
    return converter.converter_factory(shown, wanted)


def unit_of(attributes: str | None) -> str | None:
    """Return the unit that was shown with attributes, as the recorder keeps them."""
    known = json_loads_object(attributes) if attributes else {}
    unit = known.get(ATTR_UNIT_OF_MEASUREMENT)
    return unit if isinstance(unit, str) else None


def number(state: str | None, formula: Callable[[float], float] | None) -> float | None:
    """Return the value of a state; None for a gap and for a unit that is not known.

    With float as the formula the value is what was written; any other rounds it.
    """
    if state is None or formula is None:
        return None
    try:
        value = float(state)
    except ValueError:
        return None
    return value if formula is float else round(formula(value), DIGITS)
