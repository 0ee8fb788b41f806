"""The user decides whether refused readings are sent again or left out."""

from typing import Any

from homeassistant.config_entries import ConfigEntryDisabler
from homeassistant.core import HomeAssistant
from homeassistant.data_entry_flow import FlowResultType
from homeassistant.helpers import issue_registry as ir
import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry

from custom_components.temperature_logger.const import DOMAIN
from custom_components.temperature_logger.history import holds
from custom_components.temperature_logger.uploader.cursor import (
    async_cursor,
    cursors,
)
from tests.history.conftest import execute
from tests.test_repairs import begin_repair, submit_repair

from .common import READINGS, arrived, assert_all_there, deliver, endpoint, recorded
from .proxy import Failure, Proxy
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
    """Return the id of the repair issue about refused readings."""
    return f"readings_refused_{entry.entry_id}"


def has_issue(hass: HomeAssistant, entry: MockConfigEntry) -> bool:
    """Return whether there is the repair issue about refused readings."""
    return ir.async_get(hass).async_get_issue(DOMAIN, issue_id(entry)) is not None


async def answer(
    hass: HomeAssistant, entry: MockConfigEntry, choice: str
) -> dict[str, Any]:
    """Choose from the menu of the repair."""
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
    """If the server now accepts the readings, each of them arrives once."""
    proxy.poison = None
    result = await answer(hass, entry, "again")
    assert result["type"] is FlowResultType.CREATE_ENTRY
    assert arrived(victoria) == await recorded(hass)
    assert not has_issue(hass, entry)
    progress = entry.runtime_data.cursor.progress
    assert (progress.refused, progress.refused_after) == (0, None)
    sent = len(proxy.requests)
    await deliver(entry)
    assert len(proxy.requests) == sent


async def test_refused_again(
    hass: HomeAssistant, entry: MockConfigEntry, victoria: Victoria, proxy: Proxy
) -> None:
    """If the server still refuses the readings, the issue is created again."""
    progress = entry.runtime_data.cursor.progress
    refused, there = progress.refused, arrived(victoria)
    await answer(hass, entry, "again")
    assert has_issue(hass, entry)
    assert (progress.refused, arrived(victoria)) == (refused, there)


async def test_left_out(
    hass: HomeAssistant, entry: MockConfigEntry, victoria: Victoria, proxy: Proxy
) -> None:
    """Readings that are left out are not sent, even if the server would accept them."""
    proxy.poison = None
    there, sent = arrived(victoria), len(proxy.requests)
    await answer(hass, entry, "leave")
    assert not has_issue(hass, entry)
    await deliver(entry)
    assert (len(proxy.requests), arrived(victoria)) == (sent, there)


async def test_sent_again_later(
    hass: HomeAssistant, entry: MockConfigEntry, victoria: Victoria, proxy: Proxy
) -> None:
    """A disabled endpoint sends them when it is enabled, also after a restart."""
    proxy.poison = None
    disabled = ConfigEntryDisabler.USER
    await hass.config_entries.async_set_disabled_by(entry.entry_id, disabled)
    sent = len(proxy.requests)
    await answer(hass, entry, "again")
    assert len(proxy.requests) == sent
    cursors(hass).clear()
    await hass.config_entries.async_set_disabled_by(entry.entry_id, None)
    await deliver(entry)
    assert arrived(victoria) == await recorded(hass)


async def test_answered_elsewhere(hass: HomeAssistant, entry: MockConfigEntry) -> None:
    """A menu that is still open after another answer changes nothing."""
    menu = await begin_repair(hass, issue_id(entry))
    await answer(hass, entry, "leave")
    result = await submit_repair(hass, menu, next_step_id="again")
    assert result["reason"] == "gone"
    assert not entry.runtime_data.cursor.progress.is_again


async def test_new_row_ids(
    hass: HomeAssistant, entry: MockConfigEntry, victoria: Victoria, proxy: Proxy
) -> None:
    """In a new database the row ids mean nothing; all its readings are sent."""
    proxy.poison = None
    await execute(hass, "UPDATE states SET last_updated_ts = last_updated_ts - 9")
    await deliver(entry)
    await deliver(entry)
    assert not has_issue(hass, entry)
    assert_all_there(victoria, await recorded(hass))


async def test_deleted(hass: HomeAssistant, entry: MockConfigEntry) -> None:
    """The issue is deleted once the recorder has deleted the refused readings."""
    last = entry.runtime_data.cursor.progress.refused_until
    await deliver(entry)
    assert has_issue(hass, entry)
    await execute(hass, "UPDATE states SET old_state_id = NULL")
    await execute(hass, f"DELETE FROM states WHERE last_updated_ts = {last!r}")  # noqa: S608
    await deliver(entry)
    assert not has_issue(hass, entry)


async def test_question_was_lost(hass: HomeAssistant, entry: MockConfigEntry) -> None:
    """A lost issue is created again from the stored progress."""
    ir.async_delete_issue(hass, DOMAIN, issue_id(entry))
    cursors(hass).clear()
    await hass.config_entries.async_reload(entry.entry_id)
    await deliver(entry)
    assert has_issue(hass, entry)


async def test_answer_was_lost(
    hass: HomeAssistant, entry: MockConfigEntry, proxy: Proxy
) -> None:
    """An issue that was restored after its answer was given sends nothing."""
    entry.runtime_data.cursor.progress.forget_refused()
    sent = len(proxy.requests)
    await answer(hass, entry, "again")
    assert len(proxy.requests) == sent
    assert not has_issue(hass, entry)
    assert not entry.runtime_data.cursor.progress.is_again


async def test_cursor_was_lost(
    hass: HomeAssistant, entry: MockConfigEntry, proxy: Proxy
) -> None:
    """Without stored progress the first row is searched, whatever the answer."""
    await entry.runtime_data.cursor.async_remove()
    await hass.config_entries.async_set_disabled_by(
        entry.entry_id, ConfigEntryDisabler.USER
    )
    cursors(hass).clear()
    await answer(hass, entry, "again")
    assert (await async_cursor(hass, entry.entry_id)).is_new


@pytest.mark.warns("Error fetching The server data")
@pytest.mark.parametrize("choice", ["again", "leave"])
async def test_held_back(
    hass: HomeAssistant, entry: MockConfigEntry, proxy: Proxy, choice: str
) -> None:
    """The disk guard does not thin them until the user has left them out."""
    (held,) = holds(hass).values()
    since = entry.runtime_data.cursor.progress.refused_since
    assert held() == since
    await hass.config_entries.async_set_disabled_by(
        entry.entry_id, ConfigEntryDisabler.USER
    )
    await answer(hass, entry, choice)
    assert (held() == since) == (choice == "again")
    await hass.config_entries.async_set_disabled_by(entry.entry_id, None)
    await proxy.fail(Failure.UNAVAILABLE)
    await deliver(entry)
    assert (held() <= since) == (choice == "again")
    cursors(hass).clear()
    holds(hass).clear()
    await async_cursor(hass, entry.entry_id)
    (held,) = holds(hass).values()
    assert (held() <= since) == (choice == "again")
