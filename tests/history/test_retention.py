"""One repair issue names the line that lets the recorder keep the readings."""

from typing import Any

from homeassistant.const import EVENT_HOMEASSISTANT_STARTED
from homeassistant.core import CoreState, HomeAssistant
from homeassistant.helpers import entity_registry as er
from homeassistant.helpers import issue_registry as ir
from homeassistant.helpers.recorder import get_instance
import pytest

from custom_components.temperature_logger.const import DOMAIN
from custom_components.temperature_logger.history import retention
from custom_components.temperature_logger.history.retention import CHECK_DELAY_S
from emulation.machine import Machine
from tests.conftest import GOLD_PLACE, SetUp, pass_time

from .conftest import GOLD


def issue(hass: HomeAssistant) -> ir.IssueEntry | None:
    """Return the issue, or None if there is none."""
    return ir.async_get(hass).async_get_issue(DOMAIN, retention.RETENTION_ISSUE)


@pytest.mark.parametrize(
    ("recorder_config", "is_reported"),
    [
        ({}, True),
        ({"purge_keep_days": 13}, True),
        ({"purge_keep_days": 14}, False),
        ({"auto_purge": False}, False),
    ],
    ids=["default", "13 days", "14 days", "for ever"],
)
async def test_days(
    hass: HomeAssistant,
    machine: Machine,
    set_up: SetUp,
    *,
    recorder_config: dict[str, Any],
    is_reported: bool,
) -> None:
    """Fewer than 14 days are reported; a recorder that deletes nothing is not."""
    await set_up(GOLD_PLACE)
    issue_entry = issue(hass)
    assert (issue_entry is not None) == is_reported
    if issue_entry is not None:
        assert issue_entry.translation_key == "history_too_short"
        assert issue_entry.translation_placeholders == {
            "days": "14",
            "kept": str(recorder_config.get("purge_keep_days", 10)),
        }
        get_instance(hass).keep_days = 15
        retention.async_check_retention(hass)
        assert issue(hass) is None


async def test_while_home_assistant_starts(
    hass: HomeAssistant, machine: Machine, set_up: SetUp
) -> None:
    """The check waits until Home Assistant has started."""
    hass.set_state(CoreState.starting)
    await set_up(GOLD_PLACE)
    assert issue(hass) is None
    hass.set_state(CoreState.running)
    hass.bus.async_fire(EVENT_HOMEASSISTANT_STARTED)
    await hass.async_block_till_done()
    assert issue(hass) is not None


async def test_left_out(hass: HomeAssistant, machine: Machine, set_up: SetUp) -> None:
    """The issue names the enabled sensors that a filter leaves out."""
    get_instance(hass).keep_days = 15
    get_instance(hass).entity_filter = lambda entity_id: not entity_id.startswith(GOLD)
    er.async_get(hass).async_get_or_create("light", "other", "1")
    entry = await set_up(GOLD_PLACE)
    await pass_time(hass, CHECK_DELAY_S)
    issue_entry = issue(hass)
    assert issue_entry is not None
    assert issue_entry.translation_key == "not_recorded"
    assert (issue_entry.translation_placeholders or {})["entities"] == GOLD
    er.async_get(hass).async_update_entity(
        GOLD, disabled_by=er.RegistryEntryDisabler.USER
    )
    await pass_time(hass, CHECK_DELAY_S)
    assert issue(hass) is None
    er.async_get(hass).async_update_entity(GOLD, disabled_by=None)
    await pass_time(hass, CHECK_DELAY_S)
    assert issue(hass) is not None
    er.async_get(hass).async_update_entity(GOLD, icon="mdi:fridge")
    await hass.config_entries.async_remove(entry.entry_id)
    await pass_time(hass, CHECK_DELAY_S)
    assert issue(hass) is None
