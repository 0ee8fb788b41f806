"""The rule for values: which ones are published, and which ones are invalid."""

from typing import Final, NamedTuple

from .errors import Fault, Invalid


class Range(NamedTuple):
    """The lowest and the highest value that a sensor can measure."""

    low: float
    high: float


HUMIDITY_RANGE_PERCENT: Final = Range(0, 100)
# The formulas of humidity sensors also give values outside 0 to 100 %. Up to this many
# percentage points, that is the error of the sensor: ±3 %, hysteresis and a reserve.
HUMIDITY_MARGIN_PERCENT: Final = 10.0
UNIT_TEXTS: Final = {
    "co2": "ppm",
    "humidity": "%",
    "pressure": "hPa",
    "temperature": "°C",
}


def checked(quantity: str, value: float, limits: Range) -> float | Invalid:
    """Return a computed value if the sensor can measure it, or else its fault.

    A humidity within the margin is limited to its range. The value must be unlimited.
    """
    low, high = limits
    base = quantity.rpartition("_")[2]
    margin = HUMIDITY_MARGIN_PERCENT if base == "humidity" else 0
    if not low - margin <= value <= high + margin:  # NaN is never in a range.
        return Invalid.of(
            Fault.OUT_OF_RANGE,
            value=f"{value:.2f} {UNIT_TEXTS[base]}",
            low=f"{low:g}",
            high=f"{high:g}",
        )
    return float(min(max(value, low), high))
