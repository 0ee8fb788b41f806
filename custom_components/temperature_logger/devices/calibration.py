"""The calibration of a device, applied once to each reading."""

from collections.abc import Mapping

from ..const import CONF_FACTOR, CONF_OFFSET, DIGITS
from ..drivers import Reading, Value
from ..units import base_quantity

type Calibration = Mapping[str, Mapping[str, float]]
"""An offset in the unit of each quantity and, for temperatures, a factor."""


def calibrated(reading: Reading, calibration: Calibration) -> Reading:
    """Return the reading to publish: value x factor + offset, limited, rounded."""
    values: dict[str, Value] = {**reading.faults}
    for quantity, value in reading.values.items():
        correction = calibration.get(quantity, {})
        factor, offset = correction.get(CONF_FACTOR, 1), correction.get(CONF_OFFSET, 0)
        corrected = value * factor + offset
        if (limits := base_quantity(quantity).limits) is not None:
            lowest, highest = limits
            corrected = min(highest, max(lowest, corrected))
        values[quantity] = round(corrected, DIGITS)
    return Reading.of(values)
