"""The entities whose readings an endpoint sends."""

from collections.abc import Mapping
from typing import Any

from homeassistant.core import HomeAssistant, callback

from ..const import CONF_DEVICES, CONF_LABELS
from ..history import async_chosen
from .points import Source


@callback
def async_sources(hass: HomeAssistant, options: Mapping[str, Any]) -> dict[str, Source]:
    """Return the source of each selected entity, by entity id.

    The options of an endpoint's entry select devices and labels.
    """
    targets = async_chosen(
        hass, options.get(CONF_DEVICES, []), options.get(CONF_LABELS, [])
    )
    return {
        entity_id: Source(target.device_id, target.name, quantity)
        for target in targets
        for quantity, entity_id in target.entities.items()
    }
