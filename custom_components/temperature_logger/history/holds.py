"""Holds: how long readings stay whole, before they may be thinned."""

from collections.abc import Callable
import time
from typing import Final

from homeassistant.core import HomeAssistant
from homeassistant.util.hass_dict import HassKey

from ..const import DAY_SECONDS, DOMAIN

DATA_HOLDS: Final[HassKey[dict[str, Callable[[], float]]]] = HassKey(f"{DOMAIN}_holds")
"""By the name of a holder, a function that returns the Unix time from which on readings
have to stay whole; it is called in any thread."""


def thinnable_until(hass: HomeAssistant) -> float:
    """Return the Unix time up to which readings may be thinned; in any thread.

    The newest 24 hours always stay whole.
    """
    # A copy, as a holder may be added meanwhile.
    holds = list(hass.data.get(DATA_HOLDS, {}).values())
    return min([time.time() - DAY_SECONDS, *(hold() for hold in holds)])
