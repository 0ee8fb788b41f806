"""Holds: the times from which readings must not be thinned."""

from collections.abc import Callable
import time

from homeassistant.core import HomeAssistant

from ..const import DAY_SECONDS
from ..shared import shared_object

type Holds = dict[str, Callable[[], float]]
"""The holds by name. Each is a function that returns the Unix time from which readings
must stay whole; any thread may call it."""


def holds(hass: HomeAssistant) -> Holds:
    """Return the holds. A module that adds one must also remove it."""
    return shared_object(hass, _no_holds)


def _no_holds(_: HomeAssistant) -> Holds:
    """Begin without a hold."""
    return {}


def thinnable_until(hass: HomeAssistant) -> float:
    """Return the Unix time before which readings may be thinned.

    The newest 24 hours always stay whole. Any thread may call it.
    """
    # A copy, as the event loop may add a hold meanwhile.
    held_since = [hold() for hold in list(holds(hass).values())]
    return min([time.time() - DAY_SECONDS, *held_since])
