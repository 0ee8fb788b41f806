"""Each reading arrives once, in batches, whatever the server refuses."""

import time

from homeassistant.core import HomeAssistant
from homeassistant.helpers import entity_registry as er
from homeassistant.helpers import issue_registry as ir
import pytest
from pytest_homeassistant_custom_component.components.recorder.common import (
    async_wait_recording_done,
)

from custom_components.temperature_logger.const import DOMAIN
from custom_components.temperature_logger.uploader import outbox
from custom_components.temperature_logger.uploader.coordinator import (
    EndpointCoordinator,
)
from custom_components.temperature_logger.uploader.cursor import cursors
from tests.history.conftest import BME, GOLD, NOON, execute, record

from .common import (
    READINGS,
    arrived,
    assert_all_there,
    deliver,
    endpoint,
    failure_key,
    recorded,
)
from .proxy import Failure, Proxy
from .receivers import Victoria

pytestmark = pytest.mark.usefixtures("history", "later")


async def test_batches(hass: HomeAssistant, victoria: Victoria, proxy: Proxy) -> None:
    """Batches have the configured size, and readings are never split."""
    entry = await endpoint(hass, proxy.url, options={"batch_size": 50})
    await deliver(entry)
    sizes = [request.body.count("\n") + 1 for request in proxy.requests]
    assert sizes == [50, 50, 50, 50, 2]
    assert arrived(victoria) == await recorded(hass)


@pytest.mark.warns("Error fetching The server data")
async def test_rows_that_alternate(
    hass: HomeAssistant, victoria: Victoria, proxy: Proxy
) -> None:
    """If the rows of two batches alternate, the cursor moves only after the second."""
    times = [NOON - 10_000 + 300 * n for n in range(30)]
    for entity, unit in zip(BME, ("°C", "%", "hPa"), strict=True):
        await record(hass, {entity: [(at, str(at // 300 % 9), unit) for at in times]})
    entry = await endpoint(hass, proxy.url, options={"batch_size": 20})
    await proxy.fail(Failure.BROKEN, times=1, after=10)
    for _ in range(2):
        sender = await deliver(entry)
    assert sender.last_update_success
    assert arrived(victoria) == await recorded(hass)


@pytest.mark.warns("Error fetching The server data")
async def test_deleted_batch(hass: HomeAssistant, proxy: Proxy) -> None:
    """A batch that the recorder deleted meanwhile is not sent again."""
    entry = await endpoint(hass, proxy.url)
    await proxy.fail(Failure.BROKEN, times=1)
    sender = await deliver(entry)
    assert sender.cursor.progress.pending
    await execute(hass, "UPDATE states SET state = 'unknown'")
    await deliver(entry)
    assert sender.last_update_success
    assert len(proxy.requests) == 1


@pytest.mark.warns("Error fetching The server data")
async def test_outage_during_the_search_for_poison(
    hass: HomeAssistant, victoria: Victoria, proxy: Proxy
) -> None:
    """An outage during the search for a refused reading sets nothing aside."""
    proxy.poison = "humidity"
    entry = await endpoint(hass, proxy.url)
    await proxy.fail(Failure.BROKEN, after=4)
    sender = await deliver(entry)
    assert failure_key(sender) == "endpoint_failed"
    assert sender.cursor.progress.refused == 0
    proxy.poison = None
    await proxy.heal()
    await deliver(entry)
    assert arrived(victoria) == await recorded(hass)


@pytest.mark.warns("Error fetching The server data")
async def test_small_batch_after_an_outage(
    hass: HomeAssistant, victoria: Victoria, proxy: Proxy
) -> None:
    """The first batch after an outage is small; later ones are full."""
    entry = await endpoint(hass, proxy.url, options={"batch_size": 100})
    await proxy.fail(Failure.TOO_MANY, times=1)
    await deliver(entry)
    await deliver(entry)
    sizes = [request.body.count("\n") + 1 for request in proxy.requests]
    assert sizes[:2] == [100, 10]
    assert 100 in sizes[2:]
    assert arrived(victoria) == await recorded(hass)


@pytest.mark.warns("Error fetching The server data")
async def test_same_key(hass: HomeAssistant, victoria: Victoria, proxy: Proxy) -> None:
    """A batch that is sent again is equal and has the same key, despite new readings.

    The same is true after a restart.
    """
    entry = await endpoint(hass, proxy.url, options={"batch_size": 300})
    await proxy.fail(Failure.CUT_AFTER, times=1)
    await deliver(entry)
    await record(hass, {GOLD: [(NOON - 300, "1", "°C")]})
    await hass.config_entries.async_unload(entry.entry_id)
    cursors(hass).clear()
    await hass.config_entries.async_setup(entry.entry_id)
    await deliver(entry)
    first, again, new = proxy.requests
    assert again.body == first.body
    assert again.headers["Idempotency-Key"] == first.headers["Idempotency-Key"]
    assert new.headers["Idempotency-Key"] != first.headers["Idempotency-Key"]
    assert arrived(victoria) == await recorded(hass)


@pytest.mark.warns("Error fetching The server data")
async def test_same_key_then_less(
    hass: HomeAssistant, victoria: Victoria, proxy: Proxy
) -> None:
    """A batch that may have arrived is sent again once; then a smaller one is sent."""
    entry = await endpoint(hass, proxy.url, options={"batch_size": 100})
    await proxy.fail(Failure.BROKEN, times=2)
    for _ in range(3):
        await deliver(entry)
    bodies = [request.body for request in proxy.requests]
    assert bodies[0] == bodies[1]
    assert bodies[0].startswith(bodies[2])
    assert bodies[2].count("\n") + 1 == 10
    assert arrived(victoria) == await recorded(hass)


async def test_too_large(hass: HomeAssistant, victoria: Victoria, proxy: Proxy) -> None:
    """A batch that is too large is halved, and later batches stay smaller."""
    proxy.limit = 4000
    entry = await endpoint(hass, proxy.url, gzip=False)
    sender = await deliver(entry)
    assert arrived(victoria) == await recorded(hass)
    assert sender.cursor.progress.refused == 0
    refused = [request for request in proxy.requests if request.status == 413]
    assert len(refused) < 8


async def test_poison(hass: HomeAssistant, victoria: Victoria, proxy: Proxy) -> None:
    """The one reading that the server refuses is set aside, and all others arrive."""
    everything = await recorded(hass)
    gold = next(d for d, _ in everything if (d, "humidity") not in everything)
    at, value = everything[gold, "temperature"][50]
    proxy.poison = f"temperature={value} {at // 1000}"
    entry = await endpoint(hass, proxy.url)
    sender = await deliver(entry)
    progress = sender.cursor.progress
    assert progress.refused == 1
    assert progress.delivered == READINGS - 1
    (refusal,) = progress.refusals
    assert refusal["values"] == {"temperature": value}
    assert "unable to parse a point" in refusal["reason"]
    everything[gold, "temperature"].remove((at, value))
    assert arrived(victoria) == everything
    issue = ir.async_get(hass).async_get_issue(
        DOMAIN, f"readings_refused_{entry.entry_id}"
    )
    assert issue
    assert issue.translation_placeholders
    assert issue.translation_placeholders["device"] == "TEMPerGold"
    await deliver(entry)
    assert sender.cursor.progress.refused == 1


async def test_much_poison(
    hass: HomeAssistant, victoria: Victoria, proxy: Proxy
) -> None:
    """New readings arrive even if the server refuses all old ones."""
    await record(hass, {GOLD: [(time.time() + 10, "1.5", "°C")]})
    proxy.poison = f" {int(NOON)}"[:5]  # In each old time, and in none of today.
    entry = await endpoint(hass, proxy.url, options={"batch_size": 100})
    sender = await deliver(entry)
    assert sender.last_update_success
    assert sender.cursor.progress.refused == 200
    assert len(sender.cursor.progress.refusals) == 100
    assert any("temperature=1.5 " in request.body for request in proxy.requests)


@pytest.mark.warns("Error fetching The server data")
async def test_one_reading_that_is_refused(
    hass: HomeAssistant, victoria: Victoria, proxy: Proxy
) -> None:
    """A single refused reading is set aside once the server accepts another one."""
    entry = await endpoint(hass, proxy.url)
    await deliver(entry)
    proxy.poison = "=77.0 "
    await record(hass, {GOLD: [(time.time() + 10, "77", "°C")]})
    sender = await deliver(entry)
    assert failure_key(sender) == "endpoint_refused"
    assert sender.cursor.progress.refused == 0
    await record(hass, {BME[0]: [(time.time() + 20, "78", "°C")]})
    await deliver(entry)
    assert sender.last_update_success
    assert sender.cursor.progress.refused == 1


async def test_renamed_meanwhile(
    hass: HomeAssistant,
    victoria: Victoria,
    proxy: Proxy,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An entity that is renamed during a delivery loses no reading."""
    monkeypatch.setattr(outbox, "PAGE_ROWS", 40)
    everything = await recorded(hass)
    entry = await endpoint(hass, proxy.url, options={"batch_size": 20})
    sender: EndpointCoordinator = entry.runtime_data
    registry = er.async_get(hass)

    def rename() -> None:
        has_arrived = sender.is_connected  # The first batch.
        if has_arrived and registry.async_get(GOLD):
            registry.async_update_entity(GOLD, new_entity_id="sensor.attic")

    sender.async_add_listener(rename)
    await deliver(entry)
    await async_wait_recording_done(hass)
    await deliver(entry)
    assert_all_there(victoria, everything)
