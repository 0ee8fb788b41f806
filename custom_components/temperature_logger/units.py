"""The table of quantities, and conversion between their units.

A new quantity is a field of Reading in drivers/readings.py, a row here and its texts.
"""

from collections.abc import Callable, Mapping
import math
from typing import Final, NamedTuple

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


class BaseQuantity(NamedTuple):
    """Properties that all quantities of one kind share, such as all temperatures."""

    name: str
    """The last word of the name of each quantity of this kind."""
    unit: str
    """The unit of readings, of calibration offsets and of answers by default."""
    converter: type[BaseUnitConverter]
    json_units: Mapping[str, str]
    """The units in the JSON that is sent to a server, by their keys there."""
    device_class: str | None = None
    """The device class of its sensors, as text: the enumeration is slow to import."""
    decimals: int = 1
    """Decimals that a sensor shows; the history has DIGITS."""
    max_offset: float | None = None
    """Largest calibration offset; None for a quantity that cannot be calibrated."""
    has_factor: bool = False
    """Whether the calibration has a factor."""
    limits: tuple[float, float] | None = None
    """Lowest and highest value after calibration, where physics sets limits."""
    max_change: float | None = None
    """Largest change per minute without a second reading; None if there is no limit."""


BASE_QUANTITIES: Final = {
    row.name: row
    for row in (
        BaseQuantity(
            name="co2",
            unit=UnitOfRatio.PARTS_PER_MILLION,
            converter=UnitlessRatioConverter,
            device_class="carbon_dioxide",
            decimals=0,
            max_offset=1000,
            limits=(0.0, math.inf),
            max_change=200,
            json_units={"ppm": UnitOfRatio.PARTS_PER_MILLION},
        ),
        BaseQuantity(
            name="humidity",
            unit=UnitOfRatio.PERCENTAGE,
            converter=UnitlessRatioConverter,
            device_class="humidity",
            max_offset=50,
            limits=(0.0, 100.0),
            max_change=5,
            json_units={"rh": UnitOfRatio.PERCENTAGE},
        ),
        BaseQuantity(
            name="pressure",
            unit=UnitOfPressure.HPA,
            converter=PressureConverter,
            device_class="atmospheric_pressure",
            max_offset=200,
            max_change=1,
            json_units={"hpa": UnitOfPressure.HPA},
        ),
        BaseQuantity(
            name="space",
            unit=UnitOfInformation.GIBIBYTES,
            converter=InformationConverter,
            device_class="data_size",
            json_units={"gib": UnitOfInformation.GIBIBYTES},
        ),
        BaseQuantity(
            name="temperature",
            unit=UnitOfTemperature.CELSIUS,
            converter=TemperatureConverter,
            device_class="temperature",
            max_offset=50,
            has_factor=True,
            max_change=1,
            json_units={
                "c": UnitOfTemperature.CELSIUS,
                "f": UnitOfTemperature.FAHRENHEIT,
            },
        ),
        BaseQuantity(
            name="usage",
            unit=UnitOfRatio.PERCENTAGE,
            converter=UnitlessRatioConverter,
            json_units={"percent": UnitOfRatio.PERCENTAGE},
        ),
    )
}


def base_quantity(quantity: str) -> BaseQuantity:
    """Return the base quantity: internal_temperature is a temperature."""
    return BASE_QUANTITIES[quantity.rpartition("_")[2]]


def max_change(quantity: str) -> float | None:
    """Return the largest change per minute; None if any change is possible."""
    if quantity == "cpu_temperature":
        return None
    return base_quantity(quantity).max_change


def conversion(
    quantity: str, unit: str | None, target_unit: str
) -> Callable[[float], float] | None:
    """Return the function that converts to a unit; None if the old unit is unknown."""
    converter = base_quantity(quantity).converter
    if unit is None or unit not in converter.VALID_UNITS:
        return None
    return converter.converter_factory(unit, target_unit)


def unit_of(attributes: str | None) -> str | None:
    """Return the unit of a state, from its attributes as the recorder keeps them."""
    values = json_loads_object(attributes) if attributes else {}
    unit = values.get(ATTR_UNIT_OF_MEASUREMENT)
    return unit if isinstance(unit, str) else None


def number(state: str | None, formula: Callable[[float], float] | None) -> float | None:
    """Return the value of a state; None for a gap and for an unknown unit.

    If the formula is `float`, the value is not rounded.
    """
    if state is None or formula is None:
        return None
    try:
        value = float(state)
    except ValueError:
        return None
    return value if formula is float else round(formula(value), DIGITS)
