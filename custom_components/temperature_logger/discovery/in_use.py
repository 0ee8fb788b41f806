"""The flows that use their stick, so that its offer must stay."""

from homeassistant.core import HomeAssistant

from ..shared import shared_object


def flows_in_use(hass: HomeAssistant) -> set[str]:
    """Return the ids of the flows that read their stick or set its entry up."""
    return shared_object(hass, _no_flows)


def _no_flows(_: HomeAssistant) -> set[str]:
    """Begin without flows."""
    return set()
