"""The objects that live as long as Home Assistant: one of each class, in hass.data."""

from collections.abc import Callable
from typing import Any

from homeassistant.core import HomeAssistant, callback
from homeassistant.util.hass_dict import HassKey

from .const import DOMAIN

DATA_SHARED: HassKey[dict[Callable[[HomeAssistant], Any], Any]] = HassKey(DOMAIN)


@callback
def async_shared[T](hass: HomeAssistant, make: Callable[[HomeAssistant], T]) -> T:
    """Return the object that a class or function makes; each call returns the same."""
    shared = hass.data.setdefault(DATA_SHARED, {})
    if make not in shared:
        shared[make] = make(hass)
    instance: T = shared[make]
    return instance
