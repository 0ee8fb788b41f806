"""The repair issue for a recorder that does not keep all readings for 14 days."""

from enum import StrEnum
from functools import partial
from typing import Final

from homeassistant.const import EVENT_HOMEASSISTANT_STOP
from homeassistant.core import Event, HomeAssistant, callback
from homeassistant.helpers import entity_registry as er
from homeassistant.helpers import issue_registry as ir
from homeassistant.helpers.debounce import Debouncer
from homeassistant.helpers.recorder import DATA_INSTANCE

from ..const import DOMAIN, LOGGER, RETENTION
from .targets import async_reading_entries

RETENTION_ISSUE: Final = "retention"
# From a change of entities to the check, which looks at all of them: the set-up of many
# devices adds hundreds.
CHECK_DELAY_S: Final = 1.0
# The properties of an entity that decide whether it is recorded.
RECORDED_BY: Final = frozenset({"disabled_by", "entity_id"})


class Shortfall(StrEnum):
    """Why readings are not kept; each value is the key of a text with the remedy."""

    HISTORY_TOO_SHORT = "history_too_short"
    NOT_RECORDED = "not_recorded"
    RECORDER_MISSING = "recorder_missing"


@callback
def async_watch_retention(hass: HomeAssistant) -> None:
    """Check now, and soon after an entity was added, removed or renamed."""

    @callback
    def is_relevant(event_data: er.EventEntityRegistryUpdatedData) -> bool:
        """Return whether a change may affect which entities are recorded."""
        return event_data["action"] != "update" or not RECORDED_BY.isdisjoint(
            event_data["changes"]
        )

    debouncer = Debouncer(
        hass,
        LOGGER,
        cooldown=CHECK_DELAY_S,
        immediate=False,
        function=partial(async_check_retention, hass),
    )

    @callback
    def check_soon(_event: Event[er.EventEntityRegistryUpdatedData]) -> None:
        """Check again, once after several changes."""
        debouncer.async_schedule_call()

    @callback
    def stop(_event: Event) -> None:
        """Check no more."""
        debouncer.async_shutdown()

    hass.bus.async_listen(
        er.EVENT_ENTITY_REGISTRY_UPDATED, check_soon, event_filter=is_relevant
    )
    hass.bus.async_listen_once(EVENT_HOMEASSISTANT_STOP, stop)
    async_check_retention(hass)


@callback
def async_check_retention(hass: HomeAssistant) -> None:
    """Create the issue with the remedy, or delete it if all is well."""
    if (shortfall := _shortfall(hass)) is None:
        ir.async_delete_issue(hass, DOMAIN, RETENTION_ISSUE)
        return
    key, placeholders = shortfall
    ir.async_create_issue(
        hass,
        DOMAIN,
        RETENTION_ISSUE,
        is_fixable=False,
        severity=ir.IssueSeverity.WARNING,
        translation_key=key,
        translation_placeholders={"days": str(RETENTION), **placeholders},
    )


def _shortfall(hass: HomeAssistant) -> tuple[Shortfall, dict[str, str]] | None:
    """Return the key of the issue and its placeholders, or None if all is well."""
    recorder = hass.data.get(DATA_INSTANCE)
    if recorder is None:
        return Shortfall.RECORDER_MISSING, {}
    if recorder.auto_purge and recorder.keep_days < RETENTION:
        return Shortfall.HISTORY_TOO_SHORT, {"kept": str(recorder.keep_days)}
    # The recorder's own function cannot be imported where there is no recorder.
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
