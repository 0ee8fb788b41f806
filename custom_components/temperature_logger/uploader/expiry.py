"""The repair issues about readings that may never arrive at their server."""

from datetime import datetime
import time
from typing import Final

from homeassistant.config_entries import ConfigEntry
from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers import issue_registry as ir
from homeassistant.helpers.recorder import get_instance
from homeassistant.util import dt as dt_util

from ..const import CONF_ENTRY, DAY_SECONDS, DOMAIN
from .cursor import Progress

READINGS_EXPIRE: Final = "readings_expire"
READINGS_EXPIRED: Final = "readings_expired"
READINGS_REFUSED: Final = "readings_refused"
ISSUES: Final = (READINGS_EXPIRE, READINGS_EXPIRED, READINGS_REFUSED)
# The days between the warning and the day on which the recorder deletes a reading.
NOTICE_DAYS: Final = 3


@callback
def async_update_expiry_issue(
    hass: HomeAssistant,
    entry: ConfigEntry,
    oldest: float | None,
    waiting: int | None,
    *,
    is_failing: bool,
) -> None:
    """Create the issue that readings will soon be deleted unsent, or delete it."""
    recorder = get_instance(hass)
    issue_id = f"{READINGS_EXPIRE}_{entry.entry_id}"
    deleted = (oldest or 0.0) + recorder.keep_days * DAY_SECONDS
    is_soon = deleted - time.time() < NOTICE_DAYS * DAY_SECONDS
    if not is_failing or oldest is None or not recorder.auto_purge or not is_soon:
        ir.async_delete_issue(hass, DOMAIN, issue_id)
        return
    ir.async_create_issue(
        hass,
        DOMAIN,
        issue_id,
        is_fixable=False,
        severity=ir.IssueSeverity.WARNING,
        translation_key=READINGS_EXPIRE,
        translation_placeholders={
            "endpoint": entry.title,
            "oldest": _local(oldest),
            "deleted": _local(deleted),
            "waiting": str(waiting),
        },
    )


@callback
def async_report_loss(
    hass: HomeAssistant, entry: ConfigEntry, since: float, until: float
) -> None:
    """Create the issue that readings were deleted before they arrived."""
    ir.async_create_issue(
        hass,
        DOMAIN,
        f"{READINGS_EXPIRED}_{entry.entry_id}",
        is_fixable=False,
        is_persistent=True,
        severity=ir.IssueSeverity.ERROR,
        translation_key=READINGS_EXPIRED,
        translation_placeholders={
            "endpoint": entry.title,
            "since": _local(since),
            "until": _local(until),
        },
    )


@callback
def async_update_refusal_issue(
    hass: HomeAssistant, entry: ConfigEntry, progress: Progress
) -> None:
    """Create the issue that asks about refused readings, or delete it."""
    issue_id = f"{READINGS_REFUSED}_{entry.entry_id}"
    if progress.refused_after is None or progress.is_again:
        ir.async_delete_issue(hass, DOMAIN, issue_id)
        return
    last = progress.refusals[-1]
    ir.async_create_issue(
        hass,
        DOMAIN,
        issue_id,
        data={CONF_ENTRY: entry.entry_id, "since": progress.refused_since},
        is_fixable=True,
        is_persistent=True,
        severity=ir.IssueSeverity.WARNING,
        translation_key=READINGS_REFUSED,
        translation_placeholders={
            "endpoint": entry.title,
            "refused": str(progress.refused),
            "device": last["device"],
            "reason": last["reason"],
        },
    )


@callback
def async_delete_issues(hass: HomeAssistant, entry_id: str) -> None:
    """Delete the issues of an endpoint that was deleted."""
    for issue in ISSUES:
        ir.async_delete_issue(hass, DOMAIN, f"{issue}_{entry_id}")


def _local(timestamp: float) -> str:
    """Return a Unix time for messages, in the time zone of Home Assistant."""
    local = datetime.fromtimestamp(timestamp, dt_util.get_default_time_zone())
    return local.strftime("%Y-%m-%d %H:%M")
