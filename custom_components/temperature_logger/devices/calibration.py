"""The owner's correction of a reading, applied once."""

from collections.abc import Mapping

from ..const import CONF_FACTOR, CONF_OFFSET, DIGITS
from ..drivers import Reading

type Calibration = Mapping[str, Mapping[str, float]]
"""Per quantity an offset in its unit and, for a temperature, a factor."""


def calibrated(reading: Reading, calibration: Calibration) -> Reading:
    """Return the reading to publish: value x factor + offset, rounded.

    A humidity stays between 0 and 100 %, and CO2 above 0: there is nothing beyond.
    """
    values: dict[str, float | None] = {}
    for quantity, value in reading.values.items():
        correction = calibration.get(quantity, {})
        factor, offset = correction.get(CONF_FACTOR, 1), correction.get(CONF_OFFSET, 0)
        corrected = value * factor + offset
        if quantity.endswith("humidity"):
            corrected = min(100.0, max(0.0, corrected))
        elif quantity == "co2":
            corrected = max(0.0, corrected)
        values[quantity] = round(corrected, DIGITS)
    return Reading.of(values)
