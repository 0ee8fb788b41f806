"""Announces thermometers that were plugged in and are not set up."""

from collections import defaultdict
from collections.abc import Iterable

from homeassistant.config_entries import (
    SOURCE_INTEGRATION_DISCOVERY,
    ConfigEntry,
    ConfigFlowContext,
)
from homeassistant.core import HomeAssistant
from homeassistant.helpers import discovery_flow

from ..const import CONF_KIND, DOMAIN, KIND_USB
from .relocation import Moves, async_is_another, async_update_moves
from .search import Candidate, Sort, async_search, sort_of


async def async_announce(hass: HomeAssistant) -> None:
    """Offer each stick that said what it is: to its own entry, or as a new device.

    What was offered and is gone is taken back.
    """
    entries = hass.config_entries.async_entries(DOMAIN)
    owned = {entry.unique_id or "" for entry in entries}
    found = await async_search(hass, {KIND_USB}, owned, set())
    if not found.listed:
        return  # Nobody knows what is gone.
    candidates = [candidate for candidate in found.candidates if candidate.asked]
    moves = _moves(
        (
            entry
            for entry in entries
            if entry.data.get(CONF_KIND) == KIND_USB
            and entry.disabled_by is None
            and entry.unique_id not in found.owned
        ),
        candidates,
    )
    async_update_moves(hass, moves)
    own = [c for entry_id, c in moves.items() if not async_is_another(hass, entry_id)]
    new = [candidate for candidate in candidates if candidate not in own]
    places = {candidate.attachment for candidate in new}
    flows = hass.config_entries.flow
    for flow in flows.async_progress_by_handler(
        DOMAIN, match_context={"source": SOURCE_INTEGRATION_DISCOVERY}
    ):
        if flow["context"].get("unique_id") not in places:
            flows.async_abort(flow["flow_id"])
    for candidate in new:
        # The flow keeps its context, so each gets one of its own.
        context = ConfigFlowContext(source=SOURCE_INTEGRATION_DISCOVERY)
        discovery_flow.async_create_flow(hass, DOMAIN, context, candidate._asdict())


def _moves(missing: Iterable[ConfigEntry], candidates: Iterable[Candidate]) -> Moves:
    """Return which new devices look like one that is missing.

    Sticks carry no serial number: of two alike, nobody can tell which one is which.
    """
    lost: dict[Sort, list[str]] = defaultdict(list)
    come: dict[Sort, list[Candidate]] = defaultdict(list)
    for entry in missing:
        lost[sort_of(entry.data)].append(entry.entry_id)
    for candidate in candidates:
        come[candidate.sort].append(candidate)
    return {
        lost[sort][0]: come[sort][0]
        for sort in lost.keys() & come.keys()
        if len(lost[sort]) == len(come[sort]) == 1
    }
