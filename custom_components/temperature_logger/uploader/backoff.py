"""The pauses after deliveries that fail."""

import random
import time
from typing import Final

from .errors import DeliveryError

# The first pause after a failure, and the longest, in seconds.
MIN_RETRY_SECONDS: Final = 5
MAX_RETRY_SECONDS: Final = 300


class Backoff:
    """Decides when a server is tried again; all times are of the monotonic clock."""

    def __init__(self) -> None:
        """Start without a failure."""
        self.error: DeliveryError | None = None
        """The error of the last try, if that failed."""
        self.allowed_at = 0.0
        """The time before which the server asked not to be tried."""
        self._failures = 0
        self._retry_at = 0.0

    @property
    def is_allowed(self) -> bool:
        """Whether the server can be tried now."""
        return time.monotonic() >= self.allowed_at

    @property
    def retry_after(self) -> float:
        """The seconds until the next update, which also counts the waiting readings."""
        now = time.monotonic()
        # Home Assistant's timer may fire a second early.
        allowed_after = self.allowed_at - now + 1
        return min(max(self._retry_at - now, allowed_after), MAX_RETRY_SECONDS)

    def failed(self, error: DeliveryError) -> None:
        """Set the times for the next try, a longer pause after each failure."""
        now = time.monotonic()
        self.error = error
        self._retry_at = now + pause_after(self._failures)
        self.allowed_at = now + _spread(error.retry_after)
        self._failures += 1

    def batch_arrived(self) -> None:
        """Start again with the shortest pause."""
        self._failures = 0

    def succeeded(self) -> None:
        """Forget the last failure."""
        self._failures, self.error = 0, None


def pause_after(failures: int) -> float:
    """Return the seconds to wait after a failure, given the number of those before it.

    The random part keeps many machines from sending to one server at the same moment.
    """
    longest = min(MAX_RETRY_SECONDS, float(MIN_RETRY_SECONDS << min(failures, 10)))
    return longest * random.uniform(0.5, 1)  # noqa: S311 - It keeps no secret.


def _spread(seconds: float) -> float:
    """Return the pause that a server asks for, plus a random part of up to a tenth."""
    return seconds * random.uniform(1, 1.1)  # noqa: S311 - As above.
