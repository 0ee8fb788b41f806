"""The flows that use their stick, so that its offer is not withdrawn."""

from collections.abc import Iterator
from contextlib import contextmanager

from homeassistant.core import HomeAssistant

from ..shared import shared_object


def flows_in_use(hass: HomeAssistant) -> set[str]:
    """Return the ids of the flows that read their stick or set up its entry."""
    return shared_object(hass, _no_flows)


@contextmanager
def in_use(hass: HomeAssistant, flow_id: str) -> Iterator[None]:
    """Mark a flow as in use, until it shows a form or ends; an error ends the mark."""
    flows_in_use(hass).add(flow_id)
    try:
        yield
    except BaseException:
        flows_in_use(hass).discard(flow_id)
        raise


def _no_flows(_: HomeAssistant) -> set[str]:
    """Begin without flows."""
    return set()
