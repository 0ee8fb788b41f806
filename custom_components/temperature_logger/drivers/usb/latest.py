"""The latest values of a device that reports by itself."""

from typing import NamedTuple

from ..errors import Invalid


class Received(NamedTuple):
    """A value, and when it was received."""

    value: float | Invalid
    time: float
    """Seconds."""


class LatestValues[Key]:
    """The latest valid and the latest invalid value of each key.

    A valid value counts until it is too old, even if an invalid one follows.
    """

    def __init__(self) -> None:
        """Begin without values."""
        self._invalid: dict[Key, Received] = {}
        self._valid: dict[Key, Received] = {}

    def put(self, key: Key, value: float | Invalid, now: float) -> None:
        """Store a value that was received now."""
        values = self._invalid if isinstance(value, Invalid) else self._valid
        values[key] = Received(value, now)

    def current(self, now: float, max_age_s: float) -> dict[Key, float | Invalid]:
        """Return the value of each key that is not older than this."""
        return {
            key: received.value
            for values in (self._invalid, self._valid)
            for key, received in values.items()
            if now - received.time <= max_age_s
        }
