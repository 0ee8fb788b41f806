"""Offers of connected sticks: as a new device, or to an entry without its stick."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import Final

from homeassistant.config_entries import (
    SOURCE_INTEGRATION_DISCOVERY,
    ConfigEntry,
    ConfigFlowContext,
)
from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers import discovery_flow
from homeassistant.helpers import issue_registry as ir

from ..const import CONF_ENTRY, CONF_FIRMWARE, CONF_KIND, DOMAIN, KIND_USB
from ..devices import driver_name, place_data, place_name, place_of
from ..drivers.finder import Candidate, device_type
from ..shared import shared_object
from .in_use import flows_in_use
from .ports import Ports
from .relocation import PLACE_KEYS
from .search import async_search, candidate_label

type IssueData = dict[str, str | int | float | None]

STICK_MOVED: Final = "stick_moved"


async def async_offer_sticks(hass: HomeAssistant) -> None:
    """Offer each identified stick to its previous entry or as a new device.

    Withdraw the offers of sticks that are gone.
    """
    entries = hass.config_entries.async_entries(DOMAIN)
    owned_places = {entry.unique_id or "" for entry in entries}
    result = await async_search(hass, {KIND_USB}, owned_places)
    if not result.complete:
        return  # A stick that was not listed may still be there.
    candidates = [candidate for candidate in result.candidates if candidate.identified]
    moves = _moves(hass, _missing(entries, result.occupied_places), candidates)
    async_offer_moves(hass, moves)
    moved_places = {
        candidate.place.id
        for entry_id, candidate in moves.items()
        if not async_is_ignored(hass, entry_id)
    }
    free_places = result.connected_places - owned_places - moved_places
    _async_withdraw_offers(hass, free_places)
    _async_offer_devices(hass, (c for c in candidates if c.place.id in free_places))


@callback
def _async_withdraw_offers(hass: HomeAssistant, places: Collection[str]) -> None:
    """Withdraw the offers of sticks that are not at these places and not in use.

    An offer stays if its stick only has a problem, such as that another flow reads it.
    """
    flows = hass.config_entries.flow
    for flow in flows.async_progress_by_handler(
        DOMAIN, match_context={"source": SOURCE_INTEGRATION_DISCOVERY}
    ):
        is_in_use = flow["flow_id"] in flows_in_use(hass)
        if not is_in_use and flow["context"].get("unique_id") not in places:
            flows.async_abort(flow["flow_id"])


@callback
def _async_offer_devices(hass: HomeAssistant, candidates: Iterable[Candidate]) -> None:
    """Show devices under "Discovered"."""
    for candidate in candidates:
        # A flow keeps and changes its context, so each flow gets a new one.
        context = ConfigFlowContext(source=SOURCE_INTEGRATION_DISCOVERY)
        discovery_flow.async_create_flow(hass, DOMAIN, context, candidate._asdict())


def _missing(
    entries: Iterable[ConfigEntry], occupied_places: Collection[str]
) -> list[ConfigEntry]:
    """Return the entries whose sticks are not connected at their places."""
    return [
        entry
        for entry in entries
        if entry.data.get(CONF_KIND) == KIND_USB
        and entry.disabled_by is None
        and entry.unique_id not in occupied_places
    ]


def _moves(
    hass: HomeAssistant,
    missing: Collection[ConfigEntry],
    candidates: Collection[Candidate],
) -> dict[str, Candidate]:
    """Return the new stick for each entry that misses one of its type, by entry id.

    Only a stick that appeared after the loss can be the lost one. Sticks have no serial
    number, so a pair counts only if neither has another possible partner.
    """
    ports = shared_object(hass, Ports)
    owned_ports = {place_of(entry.data).hotplug_key for entry in missing}
    possible = [
        (entry.entry_id, candidate)
        for entry in missing
        for candidate in candidates
        if candidate.device_type
        == device_type(driver_name(entry.data), entry.data.get(CONF_FIRMWARE))
        and ports.async_may_have_moved(
            place_of(entry.data).hotplug_key, candidate.place.hotplug_key, owned_ports
        )
    ]
    entries = Counter(entry_id for entry_id, _ in possible)
    places = Counter(candidate.place.id for _, candidate in possible)
    return {
        entry_id: candidate
        for entry_id, candidate in possible
        if entries[entry_id] == places[candidate.place.id] == 1
    }


@callback
def async_offer_moves(hass: HomeAssistant, moves: Mapping[str, Candidate]) -> None:
    """Offer each entry, by its id, to follow its device; withdraw earlier offers."""
    for entry in hass.config_entries.async_entries(DOMAIN):
        issue_id = _issue_id(entry.entry_id)
        if (candidate := moves.get(entry.entry_id)) is None:
            ir.async_delete_issue(hass, DOMAIN, issue_id)
            continue
        data = _issue_data(hass, entry.entry_id, candidate)
        issue = ir.async_get(hass).async_get_issue(DOMAIN, issue_id)
        # Home Assistant does not keep the data of an ignored issue over a restart.
        if issue is not None and issue.data not in (None, data):
            ir.async_delete_issue(hass, DOMAIN, issue_id)  # It offered another stick.
        ir.async_create_issue(
            hass,
            DOMAIN,
            issue_id,
            data=data,
            is_fixable=True,
            severity=ir.IssueSeverity.WARNING,
            translation_key=STICK_MOVED,
            translation_placeholders={
                "device": entry.title,
                "place": place_name(hass, entry.data),
                "found": candidate_label(hass, candidate),
            },
        )


@callback
def async_is_ignored(hass: HomeAssistant, entry_id: str) -> bool:
    """Return whether the user ignored the offer, as the stick is another device."""
    issue = ir.async_get(hass).async_get_issue(DOMAIN, _issue_id(entry_id))
    return issue is not None and issue.dismissed_version is not None


@callback
def async_withdraw_move(hass: HomeAssistant, entry: ConfigEntry) -> None:
    """Delete the offer of a device that was deleted or disabled."""
    ir.async_delete_issue(hass, DOMAIN, _issue_id(entry.entry_id))


def _issue_data(hass: HomeAssistant, entry_id: str, candidate: Candidate) -> IssueData:
    """Return the data of an issue: the entry, and the new place of its device."""
    place = place_data(hass, candidate.place)
    return {CONF_ENTRY: entry_id} | {
        key: value for key, value in place.items() if key in PLACE_KEYS
    }


def _issue_id(entry_id: str) -> str:
    """Return the id of the issue that offers a new place to an entry."""
    return f"{STICK_MOVED}_{entry_id}"
