"""The table of quantities agrees with readings, units and sensors."""

from homeassistant.components.sensor import SensorDeviceClass
import pytest

from custom_components.temperature_logger.drivers.readings import (
    QUANTITIES,
    probe_quantity,
)
from custom_components.temperature_logger.units import (
    BASE_QUANTITIES,
    BaseQuantity,
    base_quantity,
    conversion,
)

rows = pytest.mark.parametrize("base", BASE_QUANTITIES.values(), ids=BASE_QUANTITIES)


def test_every_quantity_has_a_row() -> None:
    """Each field of a reading has a row in the table."""
    quantities = (*QUANTITIES, probe_quantity("285ebf799715039b"))
    bases = {base_quantity(quantity).name for quantity in quantities}
    assert bases == set(BASE_QUANTITIES)


@rows
def test_units_can_be_converted(base: BaseQuantity) -> None:
    """The converter of a row knows its unit and the units in JSON."""
    units = {base.unit, *base.json_units.values()}
    assert units <= base.converter.VALID_UNITS
    assert base.unit in base.json_units.values()


@rows
def test_calibration_has_an_offset(base: BaseQuantity) -> None:
    """A factor comes with an offset, and zero is an offset that changes nothing."""
    assert base.max_offset is None or base.max_offset > 0
    assert base.max_offset is not None or not base.has_factor


def test_device_classes_exist() -> None:
    """Each device class, given as text, is one of Home Assistant's."""
    classes = [base.device_class for base in BASE_QUANTITIES.values()]
    assert {SensorDeviceClass(name) for name in filter(None, classes)} == {
        SensorDeviceClass.ATMOSPHERIC_PRESSURE,
        SensorDeviceClass.CO2,
        SensorDeviceClass.DATA_SIZE,
        SensorDeviceClass.HUMIDITY,
        SensorDeviceClass.TEMPERATURE,
    }


def test_unknown_unit() -> None:
    """A unit that does not belong to a quantity has no conversion."""
    assert conversion("temperature", "%", "°C") is None
    convert = conversion("cpu_temperature", "°F", "°C")
    assert convert is not None
    assert convert(212.0) == pytest.approx(100)
