"""The value at an emulated sensor, and the raw code for it."""

from bisect import bisect_left
from collections.abc import Callable
import math
import time
import zlib

type Value = float | dict[str, float] | None

DAY = 86_400
WARMEST = 15 / 24
NOISE = 0.05
"""Share of the daily swing."""


def value_at(value: Value, timestamp: float) -> float | None:
    """Return a value of the machine spec at a Unix time.

    {"mean": 21.0, "daily": 2.5} is a sine over the day, warmest at 15:00 UTC, with a
    little noise that is always the same for the same second.
    """
    if not isinstance(value, dict):
        return value
    mean, daily = value["mean"], value.get("daily", 0.0)
    wave = math.cos(2 * math.pi * (timestamp / DAY - WARMEST))
    noise = zlib.crc32(f"{mean} {int(timestamp)}".encode()) / 2**31 - 1
    return round(mean + daily * (wave + NOISE * noise), 2)


def code_for(formula: Callable[[int], float], wanted: float, highest: int) -> int:
    """Return the code from 0 to highest that a monotonic formula maps nearest."""
    sign = 1 if formula(highest) > formula(0) else -1
    above = bisect_left(range(highest), sign * wanted, key=lambda c: sign * formula(c))
    return min(max(above - 1, 0), above, key=lambda code: abs(formula(code) - wanted))


def now() -> float:
    """Return monotonic seconds, also while a test has frozen the time module."""
    return time.clock_gettime(time.CLOCK_MONOTONIC)
