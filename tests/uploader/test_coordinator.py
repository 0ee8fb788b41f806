"""Each minute, new readings are sent, whatever happened before."""

from functools import partial
import time

import aiohttp
from homeassistant.config_entries import SOURCE_REAUTH
from homeassistant.core import HomeAssistant
from homeassistant.helpers import entity_registry as er
from homeassistant.util import dt as dt_util
from homeassistant.util.async_ import run_callback_threadsafe
import pytest
from pytest_homeassistant_custom_component.components.recorder.common import (
    async_wait_recording_done,
)

from custom_components.temperature_logger.history import recorder
from custom_components.temperature_logger.uploader import coordinator, endpoints
from custom_components.temperature_logger.uploader.cursor import cursors
from custom_components.temperature_logger.uploader.outbox import Outbox
from tests.conftest import pass_time
from tests.history.conftest import GOLD, NOON, execute, record

from .common import (
    READINGS,
    arrived,
    assert_all_there,
    deliver,
    endpoint,
    failure_key,
    recorded,
)
from .proxy import ACCOUNT, Account, Failure, Proxy, threaded
from .receivers import Victoria

pytestmark = pytest.mark.usefixtures("history", "later")


async def test_all_arrive(
    hass: HomeAssistant, victoria: Victoria, proxy: Proxy
) -> None:
    """The server has the readings of the recorder, in °C, % and hPa."""
    entry = await endpoint(hass, proxy.url)
    sender = await deliver(entry)
    assert sender.last_update_success
    assert arrived(victoria) == await recorded(hass)
    assert (sender.data.waiting, sender.data.oldest) == (0, None)
    assert sender.data.delivered == READINGS
    assert sender.data.delivered_at
    # The second time, there is nothing to send.
    await deliver(entry)
    assert [request.status for request in proxy.requests] == [204]


async def test_new_readings(
    hass: HomeAssistant, victoria: Victoria, proxy: Proxy
) -> None:
    """New readings are sent with the next update; rows of other entities never."""
    entry = await endpoint(hass, proxy.url)
    await deliver(entry)
    hass.states.async_set("sensor.other", "5")
    await record(hass, {GOLD: [(NOON - 300, "1", "°C"), (NOON - 200, "unknown", "°C")]})
    await deliver(entry)
    assert arrived(victoria) == await recorded(hass)
    assert proxy.requests[-1].body.count("\n") == 0


async def test_nothing_recorded(hass: HomeAssistant, proxy: Proxy) -> None:
    """An empty database is not an error, and nothing is sent."""
    await execute(hass, "UPDATE states SET old_state_id = NULL")
    await execute(hass, "DELETE FROM states")
    sender = await deliver(await endpoint(hass, proxy.url))
    assert sender.last_update_success
    assert not proxy.requests


async def test_progress_of_a_long_delivery(
    hass: HomeAssistant, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sensors show the progress during a long delivery."""
    monkeypatch.setattr(coordinator, "STATUS_INTERVAL_SECONDS", -1)
    entry = await endpoint(hass, proxy.url, options={"batch_size": 100})
    shown: list[int | None] = []
    sender = entry.runtime_data
    sender.async_add_listener(lambda: shown.append(sender.data.waiting))
    await deliver(entry)
    assert {102, 2} <= set(shown)


FAILURES = {
    Failure.REFUSED: "endpoint_unreachable",
    Failure.SILENT: "endpoint_silent",
    Failure.SILENT_AFTER: "endpoint_silent",
    Failure.CLOSED: "endpoint_unreachable",
    Failure.CLOSED_AFTER: "endpoint_unreachable",
    Failure.CUT_AFTER: "endpoint_unreachable",
    Failure.ERROR_WITHIN: "endpoint_not_confirmed",
    Failure.ERROR_WITHIN_AFTER: "endpoint_not_confirmed",
    Failure.UNAUTHORIZED: "endpoint_unauthorised",
    Failure.FORBIDDEN: "endpoint_unauthorised",
    Failure.NOT_FOUND: "endpoint_misplaced",
    Failure.TOO_MANY: "endpoint_busy",
    Failure.TOO_MANY_UNTIL: "endpoint_busy",
    Failure.TOO_MANY_ALONE: "endpoint_busy",
    Failure.BROKEN: "endpoint_failed",
    Failure.UNAVAILABLE: "endpoint_busy",
    Failure.UNAVAILABLE_ALONE: "endpoint_busy",
    Failure.REDIRECTED: "endpoint_redirected",
    Failure.INVALID: "endpoint_refused",
    Failure.TOO_LARGE: "endpoint_too_large",
}


def test_all_failures_are_tried() -> None:
    """Each failure of the proxy is tested."""
    assert set(FAILURES) == set(Failure)


@pytest.mark.warns("Error fetching The server data")
@pytest.mark.parametrize("failure", FAILURES)
async def test_outage(
    hass: HomeAssistant,
    victoria: Victoria,
    proxy: Proxy,
    failure: Failure,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The error names the failure; after the outage each reading arrives once."""
    entry = await endpoint(hass, proxy.url, options={"batch_size": 120})
    await proxy.fail(failure)
    with monkeypatch.context() as patch:
        if failure in {Failure.SILENT, Failure.SILENT_AFTER}:
            patch.setattr(endpoints, "POST_TIMEOUT", aiohttp.ClientTimeout(total=0.3))
        sender = await deliver(entry)
    assert failure_key(sender) == FAILURES[failure]
    assert sender.data.waiting == READINGS
    assert sender.cursor.progress.state_id == 0
    assert sender.cursor.progress.refused == 0
    await proxy.heal()
    await deliver(entry)
    assert sender.last_update_success
    assert arrived(victoria) == await recorded(hass)
    assert sender.data.waiting == 0


@pytest.mark.warns("Error fetching The server data")
async def test_wrong_token(
    hass: HomeAssistant, victoria: Victoria, proxy: Proxy
) -> None:
    """A form asks for another token, and no reading is lost meanwhile."""
    entry = await endpoint(hass, proxy.url, token="wrong")
    await deliver(entry)
    await hass.async_block_till_done()
    flows = hass.config_entries.flow.async_progress()
    assert SOURCE_REAUTH in {flow["context"]["source"] for flow in flows}
    assert arrived(victoria) == {}


@pytest.mark.warns("Error fetching The server data")
@pytest.mark.parametrize(
    "account", [ACCOUNT._replace(bucket="other"), ACCOUNT._replace(org="other")]
)
async def test_wrong_bucket(
    hass: HomeAssistant, proxy: Proxy, account: Account
) -> None:
    """The error quotes the answer of the server."""
    proxy.account = account
    sender = await deliver(await endpoint(hass, proxy.url))
    assert failure_key(sender) == "endpoint_misplaced"
    assert "not found" in str(sender.last_exception)


@pytest.mark.warns("Error fetching The server data")
async def test_certificate(hass: HomeAssistant, victoria: Victoria) -> None:
    """A certificate that does not verify stops the delivery, unless this is allowed."""
    with threaded(Proxy(victoria.url, ACCOUNT, tls=True)) as proxy:
        sender = await deliver(await endpoint(hass, proxy.url))
        assert failure_key(sender) == "endpoint_certificate"
        assert not proxy.requests
        await deliver(await endpoint(hass, f"{proxy.url}/", verify_ssl=False))
    assert arrived(victoria) == await recorded(hass)


async def test_renamed_while_opening(
    hass: HomeAssistant,
    victoria: Victoria,
    proxy: Proxy,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An entity that is renamed while the outbox is opened is looked up again."""
    opened = Outbox.open
    entry = await endpoint(hass, proxy.url)

    def rename(self: Outbox) -> None:
        monkeypatch.setattr(Outbox, "open", opened)
        registry = er.async_get(hass)
        rename_gold = partial(
            registry.async_update_entity, GOLD, new_entity_id="sensor.attic"
        )
        run_callback_threadsafe(hass.loop, rename_gold).result()
        opened(self)

    monkeypatch.setattr(Outbox, "open", rename)
    await deliver(entry)
    await async_wait_recording_done(hass)
    await deliver(entry)
    assert_all_there(victoria, await recorded(hass))


async def test_no_sensor_left(
    hass: HomeAssistant, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An endpoint sends even if all its entities are disabled."""
    entry = await endpoint(hass, proxy.url)
    registry = er.async_get(hass)
    for entity in er.async_entries_for_config_entry(registry, entry.entry_id):
        registry.async_update_entity(
            entity.entity_id, disabled_by=er.RegistryEntryDisabler.USER
        )
    await hass.async_block_till_done()
    await hass.config_entries.async_reload(entry.entry_id)
    await hass.async_block_till_done(wait_background_tasks=True)
    assert proxy.requests
    proxy.requests.clear()
    await record(hass, {GOLD: [(time.time() + 10, "21", "°C")]})
    await pass_time(hass, 65)
    assert proxy.requests


@pytest.mark.parametrize("new", [1, 600])
async def test_new_database(
    hass: HomeAssistant, victoria: Victoria, proxy: Proxy, new: int
) -> None:
    """In a new database, with fewer or more rows than before, all rows are sent."""
    entry = await endpoint(hass, proxy.url)
    await deliver(entry)
    before = arrived(victoria)
    await execute(hass, "DELETE FROM states")
    rows = [(NOON + 1 + 300 * n, f"{n % 50}", "°C") for n in range(new)]
    await record(hass, {GOLD: rows})
    await deliver(entry)
    after = arrived(victoria)
    assert sum(map(len, after.values())) == sum(map(len, before.values())) + new


@pytest.mark.parametrize("lost", ["cursor", "database"])
async def test_lost_without_the_past(
    hass: HomeAssistant, proxy: Proxy, lost: str
) -> None:
    """Whatever is lost, only readings since the endpoint was added are sent."""
    entry = await endpoint(hass, proxy.url, past=False)
    added = NOON + 300 * 90
    object.__setattr__(entry, "created_at", dt_util.utc_from_timestamp(added - 1))
    # The live readings become the first ones, one of them with a clock far ahead.
    update = "UPDATE states SET last_updated_ts ="
    await execute(hass, f"{update} {NOON - 300} WHERE last_updated_ts > {NOON + 1e6}")
    await execute(hass, f"{update} {time.time() + 1e6} WHERE state_id = 1")
    sender = await deliver(entry)
    assert sender.data.delivered == 20
    proxy.requests.clear()
    if lost == "database":  # Another one replaces it.
        await execute(hass, "UPDATE states SET last_updated_ts = last_updated_ts + 2")
    else:
        await sender.cursor.async_remove()
        cursors(hass).clear()
        await hass.config_entries.async_reload(entry.entry_id)
    await deliver(entry)
    sent = [line for request in proxy.requests for line in request.body.split("\n")]
    assert len(sent) == 20
    assert min(int(line.split(" ")[-1]) for line in sent) >= added - 1


async def test_old_rows_are_purged(hass: HomeAssistant, proxy: Proxy) -> None:
    """Readings are not sent again if all rows of that time were purged."""
    entry = await endpoint(hass, proxy.url)
    sender = await deliver(entry)
    rows = [(NOON + 1 + 300 * n, f"{n % 50}", "°C") for n in range(10)]
    await record(hass, {GOLD: rows})
    upto = sender.cursor.progress.newest
    await execute(hass, "UPDATE states SET old_state_id = NULL")
    await execute(hass, f"DELETE FROM states WHERE state_id <= {upto:d}")  # noqa: S608
    await deliver(entry)
    assert proxy.requests[-1].body.count("\n") + 1 == 10
    assert len(proxy.requests) == 2


@pytest.mark.warns("Error fetching The server data")
async def test_database_fails_meanwhile(
    hass: HomeAssistant, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error of the database is reported, and later all readings are sent."""
    entry = await endpoint(hass, proxy.url)
    await execute(hass, "ALTER TABLE states RENAME TO gone")
    sender = await deliver(entry)
    assert failure_key(sender) in {"recorder_failed", "recorder_changed"}
    await execute(hass, "ALTER TABLE gone RENAME TO states")
    await deliver(entry)
    assert sender.last_update_success


@pytest.mark.warns("Error fetching The server data")
async def test_recorder_is_busy(
    hass: HomeAssistant, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is sent before the recorder has written all rows."""
    monkeypatch.setattr(recorder, "COMMIT_SECONDS", 0)
    sender = await deliver(await endpoint(hass, proxy.url))
    assert failure_key(sender) == "recorder_busy"
    assert not proxy.requests
