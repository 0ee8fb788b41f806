"""The objects that live as long as Home Assistant: one of each class, in hass.data."""

from collections.abc import Callable
from typing import Any

from homeassistant.core import HomeAssistant
from homeassistant.util.hass_dict import HassKey

DATA_SHARED: HassKey[dict[Callable[[HomeAssistant], Any], Any]] = HassKey(__name__)


def shared_object[T](hass: HomeAssistant, make: Callable[[HomeAssistant], T]) -> T:
    """Return the object that a class or function makes; each call returns the same.

    Any thread may call it.
    """
    objects = hass.data.setdefault(DATA_SHARED, {})
    if make not in objects:
        objects.setdefault(make, make(hass))
    instance: T = objects[make]
    return instance
