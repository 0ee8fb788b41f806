"""What tests wait for: an event, as long as it takes, and never just a time.

The limits of drivers and of Home Assistant are times all the same. So that a test says
the same on a loaded machine, they count by a clock that such a machine holds up, too.
"""

import asyncio
from collections.abc import Awaitable, Callable
from threading import Lock
import time
from typing import Final

from emulation.loop import Loop
from emulation.values import now

LONGEST: Final = 100.0
"""Seconds after which what has not happened never will."""
PAUSE: Final = 0.001
"""Seconds between two looks."""
LONG_PAUSE: Final = 0.02
"""The same, where a look costs something."""
STEP: Final = 0.01
"""Seconds that pass at most between two looks at the patient clock."""

REAL: Final = time.monotonic


async def until(condition: Callable[[], bool]) -> None:
    """Wait until a condition holds; fail where it never does."""
    ends = now() + LONGEST
    while not condition():
        assert now() < ends, "What was waited for has not happened"
        await asyncio.sleep(PAUSE)


def block_until(condition: Callable[[], bool]) -> None:
    """Wait in a thread, or for another process, until a condition holds."""
    ends = now() + LONGEST
    while not condition():
        assert now() < ends, "What was waited for has not happened"
        time.sleep(LONG_PAUSE)


async def first[T](get: Callable[[], Awaitable[T]], wanted: Callable[[T], bool]) -> T:
    """Return the first result that is wanted; fail where none ever is."""
    ends = now() + LONGEST
    while not wanted(found := await get()):
        assert now() < ends, f"What was waited for has not come, but {found!r:.200}"
        await asyncio.sleep(LONG_PAUSE)
    return found


class PatientClock:
    """A clock for limits: it stands still while the process or its hardware does.

    A process that does not run can keep no limit, nor can it if the hardware is late
    that another thread emulates.
    """

    def __init__(self) -> None:
        """Begin now."""
        self._lock = Lock()
        self._looked = self._time = now()

    def __call__(self) -> float:
        """Return seconds; where a test has frozen the time, they stand still, too."""
        if time.monotonic is not REAL:
            return time.monotonic()
        with self._lock:
            looked = now()
            if not any(loop.late for loop in list(Loop.running)):
                self._time += min(looked - self._looked, STEP)
            self._looked = looked
            return self._time
