"""Waits of the tests: for an event, as long as it takes, and never for a time.

The limits of drivers and of Home Assistant are times all the same. They count by a
clock that stops while a loaded machine holds up the tests.
"""

import asyncio
from collections.abc import Awaitable, Callable
from threading import Lock
import time
from typing import Final

from emulation.loop import Loop
from emulation.values import now

MAX_WAIT_S: Final = 100.0
"""Seconds after which a wait fails."""
PAUSE: Final = 0.001
"""Seconds between two checks."""
LONG_PAUSE: Final = 0.02
"""Seconds between two checks that are expensive."""
STEP: Final = 0.01
"""Seconds that the patient clock advances at most between two readings."""

SYSTEM_CLOCK: Final = time.monotonic


async def until(condition: Callable[[], bool]) -> None:
    """Wait until a condition holds; fail after the time limit."""
    ends = now() + MAX_WAIT_S
    while not condition():
        assert now() < ends, "What was waited for has not happened"
        await asyncio.sleep(PAUSE)


def block_until(condition: Callable[[], bool]) -> None:
    """Wait in a thread, or for another process, until a condition holds."""
    ends = now() + MAX_WAIT_S
    while not condition():
        assert now() < ends, "What was waited for has not happened"
        time.sleep(LONG_PAUSE)


async def first[T](get: Callable[[], Awaitable[T]], wanted: Callable[[T], bool]) -> T:
    """Return the first result that is wanted; fail after the time limit."""
    ends = now() + MAX_WAIT_S
    while not wanted(result := await get()):
        assert now() < ends, f"What was waited for has not come, but {result!r:.200}"
        await asyncio.sleep(LONG_PAUSE)
    return result


class PatientClock:
    """A clock for time limits that stands still with the process or its hardware.

    A process that does not run cannot keep a time limit. Nor can it when the hardware
    that another thread emulates is late.
    """

    def __init__(self) -> None:
        """Begin now."""
        self._lock = Lock()
        self._looked = self._time = now()

    def __call__(self) -> float:
        """Return seconds; they stand still where a test has frozen the time."""
        if time.monotonic is not SYSTEM_CLOCK:
            return time.monotonic()
        with self._lock:
            looked = now()
            if not any(loop.late for loop in list(Loop.running)):
                self._time += min(looked - self._looked, STEP)
            self._looked = looked
            return self._time
