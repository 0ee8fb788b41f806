"""The check of jumps: a value that changed faster than is likely is read again.

A bit that is lost on a bus, or a probe that is read while it starts, gives a wrong
value within the range of the sensor. Only the values before and after it show that.
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from itertools import pairwise
from time import monotonic
from typing import Final, NamedTuple

from ..drivers import (
    Driver,
    DriverError,
    Fault,
    Invalid,
    Reading,
    Value,
    within_deadline,
)
from ..units import max_change

# The limit of a change is the largest change per minute, times the minutes since the
# last reading, which count as at least this many.
MIN_ELAPSED_MINUTES: Final = 1.0
# After a longer gap, any value is possible.
MAX_GAP_INTERVALS: Final = 2
MAX_SAMPLES: Final = 3
# Samples of one poll agree if they differ by no more than the largest change in this
# many minutes, for each second between them. A probe that is put into hot water changes
# even faster, but in one direction only.
NEAR_MINUTES_PER_S: Final = 1.0
# It then changes slower and slower; the clock adds some error.
PLUNGE_MINUTES_PER_S: Final = 100.0
MAX_ACCELERATION: Final = 1.5
# No reading takes less.
MIN_STEP_S: Final = 0.001


class TimedValue(NamedTuple):
    """A value, and when it was measured."""

    value: float
    time: float
    """Seconds on the monotonic clock."""


class Sample(NamedTuple):
    """One of the readings in a poll, and when it was measured."""

    reading: Reading
    time: float

    def timed(self, quantity: str) -> TimedValue | None:
        """Return a value with its time; None if there is no valid value."""
        value = self.reading.value(quantity)
        return None if value is None else TimedValue(value, self.time)


class JumpCheck:
    """Finds jumps in the readings of one device, and decides which value is right."""

    def __init__(self, interval: timedelta) -> None:
        """Begin without values, so that the first ones are not jumps."""
        self._last: dict[str, TimedValue] = {}
        """The last published value of each quantity, before calibration."""
        self._max_gap_s = MAX_GAP_INTERVALS * interval.total_seconds()

    async def read(self, driver: Driver) -> Reading:
        """Return a reading; read up to two more times if a value jumped.

        If the three values contradict each other, the value is invalid. Raises
        DriverError if a reading fails, or if no valid value is left.
        """
        sample = Sample(await within_deadline(driver.read()), monotonic())
        reading, time = sample
        if any(self._has_jumped(*each, time) for each in reading.values.items()):
            reading, time = await self._read_again(driver, sample)
        for quantity, value in reading.values.items():
            self._last[quantity] = TimedValue(value, time)
        return reading

    async def _read_again(self, driver: Driver, first: Sample) -> Sample:
        """Return the values that the next samples confirm, and the time of the last."""
        samples = [first]
        settled = self._settled(samples)
        doubtful = first.reading.values.keys() - settled
        while len(samples) < MAX_SAMPLES and not doubtful <= settled.keys():
            try:
                reading = await within_deadline(driver.read_again())
            except DriverError:
                if not settled:
                    raise
                break  # The other values of the samples before are right.
            samples.append(Sample(reading, monotonic()))
            settled |= self._settled(samples)
            doubtful |= reading.values.keys() - settled
        return Sample(_merged(samples, settled), samples[-1].time)

    def _settled(self, samples: Sequence[Sample]) -> dict[str, float]:
        """Return the values of the newest sample that are right.

        Those have not jumped, or the samples before confirm them.
        """
        *earlier, (reading, time) = samples
        return {
            quantity: value
            for quantity, value in reading.values.items()
            if not self._has_jumped(quantity, value, time)
            or self._is_confirmed(
                quantity,
                [*filter(None, (sample.timed(quantity) for sample in earlier))],
                TimedValue(value, time),
            )
        }

    def _has_jumped(self, quantity: str, value: float, time: float) -> bool:
        """Return whether a value changed faster than is likely since the last poll."""
        limit, last = max_change(quantity), self._last.get(quantity)
        if limit is None or last is None:
            return False
        elapsed_s = time - last.time
        minutes = max(MIN_ELAPSED_MINUTES, elapsed_s / 60)
        return (
            elapsed_s <= self._max_gap_s and abs(value - last.value) > limit * minutes
        )

    def _is_confirmed(
        self, quantity: str, earlier: list[TimedValue], newest: TimedValue
    ) -> bool:
        """Return whether the values of this poll agree with one that jumped."""
        limit = max_change(quantity) or 0
        return any(_are_near(value, newest, limit) for value in earlier) or (
            len(earlier) == MAX_SAMPLES - 1
            and _is_plunge([self._last[quantity], *earlier, newest], limit)
        )


def _are_near(first: TimedValue, second: TimedValue, limit: float) -> bool:
    """Return whether two values, measured shortly after each other, agree."""
    seconds = second.time - first.time
    difference = abs(second.value - first.value)
    return difference <= limit * (MIN_ELAPSED_MINUTES + NEAR_MINUTES_PER_S * seconds)


def _is_plunge(values: Sequence[TimedValue], limit: float) -> bool:
    """Return whether values change fast in one direction, and slower and slower.

    The speed of the first step is not checked, as it may have begun at any time.
    """
    _, *steps = (
        (second.value - first.value, max(second.time - first.time, MIN_STEP_S))
        for first, second in pairwise(values)
    )
    sign = 1 if values[1].value > values[0].value else -1
    earlier, later = (sign * change / seconds for change, seconds in steps)
    return (
        0 <= later <= MAX_ACCELERATION * earlier
        and earlier <= limit * PLUNGE_MINUTES_PER_S
    )


def _merged(samples: Sequence[Sample], settled: Mapping[str, float]) -> Reading:
    """Return the newest settled value of each quantity.

    A quantity of the newest sample without a settled value is invalid.
    """
    newest = samples[-1].reading
    values: dict[str, Value] = {**newest.faults, **settled}
    for quantity in newest.values.keys() - settled.keys():
        listed = ", ".join(
            f"{value:.2f}"
            for sample in samples
            if (value := sample.reading.value(quantity)) is not None
        )
        values[quantity] = Invalid.of(Fault.CONTRADICTORY, values=listed)
    return Reading.of(values)
