"""The check of jumps: a change that physics does not make is read again.

A bit that is lost on a bus, or a probe that is read while it starts, gives a value that
its sensor could measure. Only the values before and after it show that it is wrong.
"""

from collections.abc import Collection, Sequence
from datetime import timedelta
from itertools import pairwise
from time import monotonic
from typing import Final, NamedTuple

from ..drivers import Driver, Fault, Invalid, Reading, Value, within_deadline
from ..units import max_change

# The limit of a jump holds for the time since the last reading, but for this at least.
MIN_MINUTES: Final = 1.0
# After this number of intervals without a value, any value is possible.
MAX_GAP_INTERVALS: Final = 2
MAX_SAMPLES: Final = 3
# For each second between two samples they may differ by the change of one more minute.
# A probe that is put into hot water changes even faster, but in one direction only.
NEAR_MINUTES_PER_S: Final = 1.0
PLUNGE_MINUTES_PER_S: Final = 100.0


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
        """Begin without values, so that the first ones are no jumps."""
        self._last: dict[str, TimedValue] = {}
        """The last published value of each quantity, before calibration."""
        self._max_gap_s = MAX_GAP_INTERVALS * interval.total_seconds()

    async def read(self, driver: Driver) -> Reading:
        """Return a reading; read up to two more times if a value jumped.

        A value that three readings contradict is invalid. Raises DriverError if a
        reading fails, or if no value is left.
        """
        samples = [Sample(await within_deadline(driver.read()), monotonic())]
        doubtful = unsettled = self._unsettled(samples)
        while unsettled and len(samples) < MAX_SAMPLES:
            reading = await within_deadline(driver.read_again())
            samples.append(Sample(reading, monotonic()))
            missing = {q for q in unsettled if reading.value(q) is None}
            unsettled = self._unsettled(samples) | missing
            doubtful = doubtful | unsettled
        reading = _merged(samples, doubtful, unsettled)
        for quantity, value in reading.values.items():
            self._last[quantity] = TimedValue(value, samples[-1].time)
        return reading

    def _unsettled(self, samples: Sequence[Sample]) -> set[str]:
        """Return the jumps of the newest sample that no other sample confirms."""
        return {
            quantity
            for quantity in samples[-1].reading.values
            if not self._is_settled(quantity, samples)
        }

    def _is_settled(self, quantity: str, samples: Sequence[Sample]) -> bool:
        """Return whether the newest value is no jump, or other samples confirm it."""
        limit, last = max_change(quantity), self._last.get(quantity)
        *earlier, newest = (sample.timed(quantity) for sample in samples)
        if limit is None or last is None or newest is None:
            return True
        elapsed_s = newest.time - last.time
        minutes = max(MIN_MINUTES, elapsed_s / 60)
        if (
            elapsed_s > self._max_gap_s
            or abs(newest.value - last.value) <= limit * minutes
        ):
            return True
        known = [value for value in earlier if value is not None]
        return any(_are_near(value, newest, limit) for value in known) or (
            len(known) == MAX_SAMPLES - 1 and _is_plunge([last, *known, newest], limit)
        )


def _are_near(first: TimedValue, second: TimedValue, limit: float) -> bool:
    """Return whether two values, measured shortly after each other, agree."""
    seconds = second.time - first.time
    difference = abs(second.value - first.value)
    return difference <= limit * (MIN_MINUTES + NEAR_MINUTES_PER_S * seconds)


def _is_plunge(values: Sequence[TimedValue], limit: float) -> bool:
    """Return whether values change fast, but in one direction and not too fast.

    The time of the first step is not known.
    """
    steps = [
        (second.value - first.value, second.time - first.time)
        for first, second in pairwise(values)
    ]
    sign = 1 if steps[0][0] > 0 else -1
    return all(
        0 <= sign * change <= limit * PLUNGE_MINUTES_PER_S * seconds
        for change, seconds in steps[1:]
    )


def _merged(
    samples: Sequence[Sample], doubtful: Collection[str], unsettled: Collection[str]
) -> Reading:
    """Return the newest sample, with values that only the first one has.

    A sample of an adapter may lack a probe that has not measured again. Unsettled
    values are invalid.
    """
    first, newest = samples[0].reading, samples[-1].reading
    if first is newest:
        return first
    kept = {q: value for q, value in first.values.items() if q not in doubtful}
    values: dict[str, Value] = {**newest.faults, **kept, **newest.values}
    for quantity in filter(unsettled.__contains__, newest.values):
        listed = ", ".join(
            f"{value:.2f}"
            for sample in samples
            if (value := sample.reading.value(quantity)) is not None
        )
        values[quantity] = Invalid.of(Fault.CONTRADICTORY, values=listed)
    return Reading.of(values)
