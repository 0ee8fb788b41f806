"""Offers of plugged-in sticks: as a new device, or to the entry that lost its own."""

from collections import defaultdict
from collections.abc import Collection, Iterable

from homeassistant.config_entries import (
    SOURCE_INTEGRATION_DISCOVERY,
    ConfigEntry,
    ConfigFlowContext,
)
from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers import discovery_flow

from ..const import CONF_FIRMWARE, CONF_KIND, DOMAIN, KIND_USB
from ..devices import driver_name
from ..drivers import Candidate, Sort, sort_of
from .relocation import async_is_ignored, async_offer_moves
from .search import async_search


async def async_offer_sticks(hass: HomeAssistant) -> None:
    """Offer each identified stick to its previous entry or as a new device.

    Offers for sticks that are gone are withdrawn.
    """
    entries = hass.config_entries.async_entries(DOMAIN)
    owned = {entry.unique_id or "" for entry in entries}
    found = await async_search(hass, {KIND_USB}, owned)
    if not found.complete:
        return  # A stick that was not listed may still be there.
    candidates = [candidate for candidate in found.candidates if candidate.identified]
    moves = _moves(_missing(entries, found.occupied), candidates)
    async_offer_moves(hass, moves)
    followed = {
        candidate.place.id
        for entry_id, candidate in moves.items()
        if not async_is_ignored(hass, entry_id)
    }
    new = [c for c in candidates if c.place.id not in followed]
    _async_offer_devices(hass, new)


@callback
def _async_offer_devices(hass: HomeAssistant, candidates: Iterable[Candidate]) -> None:
    """Show devices under "Discovered", and none that were shown and are gone."""
    by_place = {candidate.place.id: candidate for candidate in candidates}
    flows = hass.config_entries.flow
    for flow in flows.async_progress_by_handler(
        DOMAIN, match_context={"source": SOURCE_INTEGRATION_DISCOVERY}
    ):
        if flow["context"].get("unique_id") not in by_place:
            flows.async_abort(flow["flow_id"])
    for candidate in by_place.values():
        # The flow keeps its context, so each flow gets a new one.
        context = ConfigFlowContext(source=SOURCE_INTEGRATION_DISCOVERY)
        discovery_flow.async_create_flow(hass, DOMAIN, context, candidate._asdict())


def _missing(
    entries: Iterable[ConfigEntry], occupied: Collection[str]
) -> list[ConfigEntry]:
    """Return the entries whose sticks are not plugged in at their places."""
    return [
        entry
        for entry in entries
        if entry.data.get(CONF_KIND) == KIND_USB
        and entry.disabled_by is None
        and entry.unique_id not in occupied
    ]


def _moves(
    missing: Iterable[ConfigEntry], candidates: Iterable[Candidate]
) -> dict[str, Candidate]:
    """Return the new sticks that look like a missing one, by the id of its entry.

    Sticks carry no serial number, so two that are alike cannot be told apart.
    """
    lost: dict[Sort, list[str]] = defaultdict(list)
    come: dict[Sort, list[Candidate]] = defaultdict(list)
    for entry in missing:
        sort = sort_of(driver_name(entry.data), entry.data.get(CONF_FIRMWARE))
        lost[sort].append(entry.entry_id)
    for candidate in candidates:
        come[candidate.sort].append(candidate)
    return {
        lost[sort][0]: come[sort][0]
        for sort in lost.keys() & come.keys()
        if len(lost[sort]) == len(come[sort]) == 1
    }
