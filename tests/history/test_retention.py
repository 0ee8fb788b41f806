"""What the recorder does not keep is said once, with the line to add."""

from typing import Any

from homeassistant.const import EVENT_HOMEASSISTANT_STARTED
from homeassistant.core import CoreState, HomeAssistant
from homeassistant.helpers import entity_registry as er
from homeassistant.helpers import issue_registry as ir
from homeassistant.helpers.recorder import get_instance
import pytest

from custom_components.temperature_logger.const import DOMAIN
from custom_components.temperature_logger.history import retention
from emulation.machine import Machine
from tests.conftest import GOLD_PLACE, SetUp

from .conftest import GOLD


def issue(hass: HomeAssistant) -> ir.IssueEntry | None:
    """Return the issue."""
    return ir.async_get(hass).async_get_issue(DOMAIN, retention.ISSUE)


@pytest.mark.parametrize(
    ("config", "shown"),
    [
        ({}, True),
        ({"keep_days": 13}, True),
        ({"keep_days": 14}, False),
        ({"auto_purge": False}, False),
    ],
    ids=["default", "13 days", "14 days", "for ever"],
)
async def test_days(
    hass: HomeAssistant,
    machine: Machine,
    set_up: SetUp,
    *,
    config: dict[str, Any],
    shown: bool,
) -> None:
    """Fewer than 14 days are a fault; to delete nothing is none."""
    vars(get_instance(hass)).update(config)
    await set_up(GOLD_PLACE)
    found = issue(hass)
    assert (found is not None) == shown
    if found is not None:
        assert found.translation_key == "history_too_short"
        assert found.translation_placeholders == {
            "days": "14",
            "kept": str(config.get("keep_days", 10)),
        }
        get_instance(hass).keep_days = 15
        retention.async_check_retention(hass)
        assert issue(hass) is None


async def test_while_home_assistant_starts(
    hass: HomeAssistant, machine: Machine, set_up: SetUp
) -> None:
    """Nothing is said before the recorder had its time to start."""
    hass.set_state(CoreState.starting)
    await set_up(GOLD_PLACE)
    assert issue(hass) is None
    hass.set_state(CoreState.running)
    hass.bus.async_fire(EVENT_HOMEASSISTANT_STARTED)
    await hass.async_block_till_done()
    assert issue(hass) is not None


async def test_left_out(hass: HomeAssistant, machine: Machine, set_up: SetUp) -> None:
    """The sensors that a filter hits are named, those that are disabled are not."""
    get_instance(hass).keep_days = 15
    get_instance(hass).entity_filter = lambda entity_id: not entity_id.startswith(GOLD)
    er.async_get(hass).async_get_or_create("light", "other", "1")
    entry = await set_up(GOLD_PLACE)
    found = issue(hass)
    assert found is not None
    assert found.translation_key == "not_recorded"
    assert (found.translation_placeholders or {})["entities"] == GOLD
    er.async_get(hass).async_update_entity(
        GOLD, disabled_by=er.RegistryEntryDisabler.USER
    )
    await hass.config_entries.async_reload(entry.entry_id)
    assert issue(hass) is None
    er.async_get(hass).async_update_entity(GOLD, disabled_by=None)
    assert issue(hass) is not None
    er.async_get(hass).async_update_entity(GOLD, icon="mdi:fridge")
    await hass.config_entries.async_remove(entry.entry_id)
    await hass.async_block_till_done()
    assert issue(hass) is None
