"""What a server refused is sent once more, or left out, as its owner says."""

from typing import Any

from homeassistant.config_entries import ConfigEntryDisabler
from homeassistant.core import HomeAssistant
from homeassistant.data_entry_flow import FlowResultType
from homeassistant.helpers import issue_registry as ir
import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry

from custom_components.temperature_logger.const import DOMAIN
from custom_components.temperature_logger.uploader.cursor import DATA_CURSORS
from tests.history.conftest import execute
from tests.test_repairs import begin_repair, submit_repair

from .common import READINGS, arrived, deliver, endpoint, recorded
from .proxy import Proxy
from .receivers import Victoria

pytestmark = pytest.mark.usefixtures("history", "later")


@pytest.fixture(name="entry")
async def entry_fixture(
    hass: HomeAssistant, victoria: Victoria, proxy: Proxy
) -> MockConfigEntry:
    """Return an endpoint whose server has refused some readings."""
    everything = await recorded(hass)
    gold = next(d for d, _ in everything if (d, "humidity") not in everything)
    proxy.poison = f"temperature={everything[gold, 'temperature'][50][1]} "
    entry = await endpoint(hass, proxy.url)
    sender = await deliver(entry)
    assert READINGS - sender.data.delivered == sender.cursor.progress.refused > 20
    assert arrived(victoria) != everything
    return entry


def issue_id(entry: MockConfigEntry) -> str:
    """Return the id of what the owner is told."""
    return f"readings_refused_{entry.entry_id}"


def is_told(hass: HomeAssistant, entry: MockConfigEntry) -> bool:
    """Return whether the owner is told."""
    return ir.async_get(hass).async_get_issue(DOMAIN, issue_id(entry)) is not None


async def answer(
    hass: HomeAssistant, entry: MockConfigEntry, choice: str
) -> dict[str, Any]:
    """Choose from the menu."""
    menu = await begin_repair(hass, issue_id(entry))
    assert menu["type"] is FlowResultType.MENU
    quoted = menu["description_placeholders"]
    assert quoted["endpoint"] == "The server"
    assert "unable to parse a point" in quoted["reason"]
    result = await submit_repair(hass, menu, next_step_id=choice)
    await hass.async_block_till_done(wait_background_tasks=True)
    return result


async def test_sent_again(
    hass: HomeAssistant, entry: MockConfigEntry, victoria: Victoria, proxy: Proxy
) -> None:
    """Once the server takes them, they are sent at once, and each is there once."""
    proxy.poison = None
    result = await answer(hass, entry, "again")
    assert result["type"] is FlowResultType.CREATE_ENTRY
    assert arrived(victoria) == await recorded(hass)
    assert not is_told(hass, entry)
    progress = entry.runtime_data.cursor.progress
    assert (progress.refused, progress.refusals) == (0, [])
    asked = len(proxy.requests)
    await deliver(entry)
    assert len(proxy.requests) == asked


async def test_refused_again(
    hass: HomeAssistant, entry: MockConfigEntry, victoria: Victoria, proxy: Proxy
) -> None:
    """Before the server is mended that does not help, and does no harm."""
    progress = entry.runtime_data.cursor.progress
    refused, there = progress.refused, arrived(victoria)
    await answer(hass, entry, "again")
    assert is_told(hass, entry)
    assert (progress.refused, arrived(victoria)) == (refused, there)


async def test_left_out(
    hass: HomeAssistant, entry: MockConfigEntry, victoria: Victoria, proxy: Proxy
) -> None:
    """Whatever the server takes later, they are not sent any more."""
    proxy.poison = None
    there, asked = arrived(victoria), len(proxy.requests)
    await answer(hass, entry, "leave")
    assert not is_told(hass, entry)
    await deliver(entry)
    assert (len(proxy.requests), arrived(victoria)) == (asked, there)


async def test_sent_again_later(
    hass: HomeAssistant, entry: MockConfigEntry, victoria: Victoria, proxy: Proxy
) -> None:
    """An endpoint that is disabled remembers the answer, over a restart, too."""
    proxy.poison = None
    disabled = ConfigEntryDisabler.USER
    await hass.config_entries.async_set_disabled_by(entry.entry_id, disabled)
    asked = len(proxy.requests)
    await answer(hass, entry, "again")
    assert len(proxy.requests) == asked
    del hass.data[DATA_CURSORS]
    await hass.config_entries.async_set_disabled_by(entry.entry_id, None)
    await deliver(entry)
    assert arrived(victoria) == await recorded(hass)


async def test_answered_elsewhere(hass: HomeAssistant, entry: MockConfigEntry) -> None:
    """A question that is not open any more changes nothing."""
    menu = await begin_repair(hass, issue_id(entry))
    await answer(hass, entry, "leave")
    result = await submit_repair(hass, menu, next_step_id="again")
    assert result["reason"] == "gone"
    assert not entry.runtime_data.cursor.progress.is_again


async def test_numbered_anew(
    hass: HomeAssistant, entry: MockConfigEntry, victoria: Victoria, proxy: Proxy
) -> None:
    """In another database their numbers say nothing; all it holds is sent anyway."""
    proxy.poison = None
    await execute(hass, "UPDATE states SET last_updated_ts = last_updated_ts - 9")
    await deliver(entry)
    asked = len(proxy.requests)
    await answer(hass, entry, "again")
    assert len(proxy.requests) == asked
    assert not entry.runtime_data.cursor.progress.is_again
