"""Holds: how long readings stay whole, before they may be thinned."""

from collections.abc import Callable
import time

from homeassistant.core import HomeAssistant

from ..const import DAY_SECONDS
from ..shared import shared_object

type Holds = dict[str, Callable[[], float]]
"""By the name of a holder, a function that returns the Unix time from which on readings
have to stay whole; it is called in any thread."""


def holds(hass: HomeAssistant) -> Holds:
    """Return the holds. A module that adds one has to remove it too."""
    return shared_object(hass, _no_holds)


def _no_holds(_: HomeAssistant) -> Holds:
    """Begin without a hold."""
    return {}


def thinnable_until(hass: HomeAssistant) -> float:
    """Return the Unix time up to which readings may be thinned; in any thread.

    The newest 24 hours always stay whole.
    """
    # A copy, as a holder may be added meanwhile.
    begins = [hold() for hold in list(holds(hass).values())]
    return min([time.time() - DAY_SECONDS, *begins])
