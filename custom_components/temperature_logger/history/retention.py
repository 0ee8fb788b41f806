"""Whether the recorder keeps what is promised; said once where it does not.

And which readings nobody needs whole any more.
"""

from collections.abc import Callable
from enum import StrEnum
import time
from typing import Final

from homeassistant.core import Event, HomeAssistant, callback
from homeassistant.helpers import entity_registry as er
from homeassistant.helpers import issue_registry as ir
from homeassistant.helpers.recorder import DATA_INSTANCE
from homeassistant.util.hass_dict import HassKey

from ..const import DOMAIN, RETENTION
from .targets import async_reading_entries

DATA_HOLDS: HassKey[dict[str, Callable[[], float]]] = HassKey(f"{DOMAIN}_holds")
"""The Unix time from which on somebody holds readings back, by a name; each function
is called in any thread."""

A_DAY: Final = 86400
ISSUE: Final = "retention"
# What of an entity decides whether it is recorded.
MATTERS: Final = frozenset({"disabled_by", "entity_id"})


class Shortfall(StrEnum):
    """What is missing: the key of the text that names the line to add."""

    HISTORY_TOO_SHORT = "history_too_short"
    NOT_RECORDED = "not_recorded"
    RECORDER_MISSING = "recorder_missing"


def thinnable_until(hass: HomeAssistant) -> float:
    """Return the Unix time up to which our readings may be thinned; in any thread.

    The newest 24 hours stay whole, and so does what somebody holds back.
    """
    # A copy, as a hold may come while it is looked through.
    holds = list(hass.data.get(DATA_HOLDS, {}).values())
    return min([time.time() - A_DAY, *(hold() for hold in holds)])


@callback
def async_watch_retention(hass: HomeAssistant) -> None:
    """Check now, and whenever an entity of ours comes, goes or is renamed."""

    @callback
    def is_relevant(event_data: er.EventEntityRegistryUpdatedData) -> bool:
        """Return whether it may change what is recorded."""
        return event_data["action"] != "update" or not MATTERS.isdisjoint(
            event_data["changes"]
        )

    @callback
    def check(_event: Event[er.EventEntityRegistryUpdatedData]) -> None:
        """Check again."""
        async_check_retention(hass)

    hass.bus.async_listen(
        er.EVENT_ENTITY_REGISTRY_UPDATED, check, event_filter=is_relevant
    )
    async_check_retention(hass)


@callback
def async_check_retention(hass: HomeAssistant) -> None:
    """Raise the issue that names what is missing, or clear it."""
    if (shortfall := _shortfall(hass)) is None:
        ir.async_delete_issue(hass, DOMAIN, ISSUE)
        return
    key, placeholders = shortfall
    ir.async_create_issue(
        hass,
        DOMAIN,
        ISSUE,
        is_fixable=False,
        severity=ir.IssueSeverity.WARNING,
        translation_key=key,
        translation_placeholders={"days": str(RETENTION), **placeholders},
    )


def _shortfall(hass: HomeAssistant) -> tuple[Shortfall, dict[str, str]] | None:
    """Return the key of the issue and what it quotes, if something is missing."""
    recorder = hass.data.get(DATA_INSTANCE)
    if recorder is None:
        return Shortfall.RECORDER_MISSING, {}
    if recorder.auto_purge and recorder.keep_days < RETENTION:
        return Shortfall.HISTORY_TOO_SHORT, {"kept": str(recorder.keep_days)}
    # Not by the recorder's own function: its package is not there without a recorder.
    if (is_recorded := recorder.entity_filter) is None:
        return None
    left_out = sorted(
        entry.entity_id
        for entry in async_reading_entries(hass)
        if entry.disabled_by is None and not is_recorded(entry.entity_id)
    )
    if left_out:
        return Shortfall.NOT_RECORDED, {"entities": ", ".join(left_out)}
    return None
