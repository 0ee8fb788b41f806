"""Every reading arrives, once, whatever happens on the way."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC
from functools import partial
import json
import time
from typing import Any

import aiohttp
from homeassistant.config_entries import SOURCE_REAUTH
from homeassistant.core import HomeAssistant
from homeassistant.helpers import device_registry as dr
from homeassistant.helpers import entity_registry as er
from homeassistant.helpers import issue_registry as ir
from homeassistant.helpers.update_coordinator import UpdateFailed
from homeassistant.util import dt as dt_util
from homeassistant.util.async_ import run_callback_threadsafe
import pytest
from pytest_homeassistant_custom_component.components.recorder.common import (
    async_wait_recording_done,
)

from custom_components.temperature_logger.const import DOMAIN
from custom_components.temperature_logger.history import recorder, rows
from custom_components.temperature_logger.uploader import (
    coordinator,
    endpoints,
    outbox,
)
from custom_components.temperature_logger.uploader.coordinator import (
    EndpointCoordinator,
    pause_after,
)
from custom_components.temperature_logger.uploader.cursor import DATA_CURSORS
from custom_components.temperature_logger.uploader.outbox import Outbox
from tests.history.conftest import BME, GOLD, NOON, execute, record

from .common import (
    LATER,
    READINGS,
    arrived,
    assert_all_there,
    deliver,
    endpoint,
    recorded,
    told,
)
from .proxy import ACCOUNT, Account, Failure, Proxy, apart
from .receivers import WRITER, Influx, Victoria

pytestmark = pytest.mark.usefixtures("history", "later")


async def test_all_arrive(
    hass: HomeAssistant, victoria: Victoria, proxy: Proxy
) -> None:
    """What the recorder holds is what the server has, in °C, % and hPa."""
    entry = await endpoint(hass, proxy.url)
    sender = await deliver(entry)
    assert sender.last_update_success
    assert arrived(victoria) == await recorded(hass)
    assert (sender.data.waiting, sender.data.oldest) == (0, None)
    assert sender.data.delivered == READINGS
    assert sender.data.delivered_at
    # Once more there is nothing to send.
    await deliver(entry)
    assert [request.status for request in proxy.requests] == [204]


async def test_new_readings(
    hass: HomeAssistant, victoria: Victoria, proxy: Proxy
) -> None:
    """What comes later is sent later, and a row that is none of ours never."""
    entry = await endpoint(hass, proxy.url)
    await deliver(entry)
    hass.states.async_set("sensor.other", "5")
    await record(hass, {GOLD: [(NOON - 300, "1", "°C"), (NOON - 200, "unknown", "°C")]})
    await deliver(entry)
    assert arrived(victoria) == await recorded(hass)
    assert proxy.requests[-1].body.count("\n") == 0


async def test_written_at_once(
    hass: HomeAssistant,
    victoria: Victoria,
    proxy: Proxy,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """More rows than are read at a time may be of one moment, such as a start."""
    at = NOON - 10_000
    for n, entity in enumerate((GOLD, *BME)):
        times = [(at + n / 10 + m / 1000, str(m % 40), "°C") for m in range(50)]
        await record(hass, {entity: times})
    monkeypatch.setattr(outbox, "PAGE", 30)
    sender = await deliver(await endpoint(hass, proxy.url))
    assert sender.data.delivered == READINGS + 2
    monkeypatch.setattr(outbox, "BURST", 60)  # It may be too much.
    sender = await deliver(await endpoint(hass, f"{proxy.url}/"))
    assert sender.data.waiting == 0


async def test_nothing_recorded(hass: HomeAssistant, proxy: Proxy) -> None:
    """Where there is nothing at all, there is nothing to send."""
    await execute(hass, "UPDATE states SET old_state_id = NULL")
    await execute(hass, "DELETE FROM states")
    sender = await deliver(await endpoint(hass, proxy.url))
    assert sender.last_update_success
    assert not proxy.requests


async def test_told_while_there_is_a_lot(
    hass: HomeAssistant, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sensors show now and then how far it is."""
    monkeypatch.setattr(coordinator, "LOOK_EVERY", -1)
    entry = await endpoint(hass, proxy.url, options={"batch_size": 100})
    shown: list[int | None] = []
    sender = entry.runtime_data
    sender.async_add_listener(lambda: shown.append(sender.data.waiting))
    await deliver(entry)
    assert {102, 2} <= set(shown)


@pytest.mark.warns("Error fetching The server data")
async def test_batch_that_was_on_its_way_is_gone(
    hass: HomeAssistant, proxy: Proxy
) -> None:
    """What the recorder has deleted meanwhile cannot be sent again."""
    entry = await endpoint(hass, proxy.url)
    await proxy.fail(Failure.BROKEN, times=1)
    sender = await deliver(entry)
    assert sender.cursor.progress.pending
    await execute(hass, "UPDATE states SET state = 'unknown'")
    await deliver(entry)
    assert sender.last_update_success
    assert len(proxy.requests) == 1


@pytest.mark.warns("Error fetching The server data")
async def test_rows_that_alternate(
    hass: HomeAssistant, victoria: Victoria, proxy: Proxy
) -> None:
    """Where the cursor cannot stand behind a batch, it moves with a later one."""
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
async def test_outage_while_the_poison_is_sought(
    hass: HomeAssistant, victoria: Victoria, proxy: Proxy
) -> None:
    """It is as any other outage: nothing is set aside."""
    proxy.poison = "humidity"
    entry = await endpoint(hass, proxy.url)
    await proxy.fail(Failure.BROKEN, after=4)
    sender = await deliver(entry)
    assert told(sender) == "endpoint_failed"
    assert sender.cursor.progress.refused == 0
    proxy.poison = None
    await proxy.heal()
    await deliver(entry)
    assert arrived(victoria) == await recorded(hass)


async def test_batches(hass: HomeAssistant, victoria: Victoria, proxy: Proxy) -> None:
    """They are of the size that was chosen, and none is cut in two."""
    entry = await endpoint(hass, proxy.url, options={"batch_size": 50})
    await deliver(entry)
    sizes = [request.body.count("\n") + 1 for request in proxy.requests]
    assert sizes == [50, 50, 50, 50, 2]
    assert arrived(victoria) == await recorded(hass)


async def test_pages(
    hass: HomeAssistant,
    victoria: Victoria,
    proxy: Proxy,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """However little is read at a time, the readings are the same."""
    monkeypatch.setattr(outbox, "PAGE", 7)
    monkeypatch.setattr(rows, "NUMBERS_AT_ONCE", 5)
    entry = await endpoint(hass, proxy.url, options={"batch_size": 20})
    sender = await deliver(entry)
    assert arrived(victoria) == await recorded(hass)
    assert sender.data.delivered == READINGS


async def test_reading_that_goes_on(
    hass: HomeAssistant,
    victoria: Victoria,
    proxy: Proxy,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A reading whose rows may not all be there yet waits for them."""
    entry = await endpoint(hass, proxy.url)
    await deliver(entry)
    monkeypatch.setattr(coordinator, "time", time)
    now = time.time()
    await record(hass, {BME[0]: [(now, "50", "°C")]})
    sender = await deliver(entry)
    assert sender.data.waiting == 1
    assert len(proxy.requests) == 1
    await record(hass, {BME[1]: [(now + 0.5, "60", "%")]})
    monkeypatch.setattr(coordinator, "time", LATER)
    await deliver(entry)
    assert proxy.requests[-1].body.endswith(
        f"temperature=50.0,humidity=60.0 {int(now)}"
    )


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
    """One that is added later cannot be forgotten here."""
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
    """It is told in words, the cursor stays, and afterwards all is there, once."""
    monkeypatch.setattr(endpoints, "LIMIT", aiohttp.ClientTimeout(total=0.3))
    entry = await endpoint(hass, proxy.url, options={"batch_size": 120})
    await proxy.fail(failure)
    sender = await deliver(entry)
    assert told(sender) == FAILURES[failure]
    assert sender.data.waiting == READINGS
    assert sender.cursor.progress.state_id == 0
    assert sender.cursor.progress.refused == 0
    await proxy.heal()
    await deliver(entry)
    assert sender.last_update_success
    assert arrived(victoria) == await recorded(hass)
    assert sender.data.waiting == 0


@pytest.mark.warns("Error fetching The server data")
async def test_careful_after_an_outage(
    hass: HomeAssistant, victoria: Victoria, proxy: Proxy
) -> None:
    """The first batches after it are small; the last ones are full again."""
    entry = await endpoint(hass, proxy.url, options={"batch_size": 100})
    await proxy.fail(Failure.TOO_MANY, times=1)
    await deliver(entry)
    await deliver(entry)
    sizes = [request.body.count("\n") + 1 for request in proxy.requests]
    assert sizes[:2] == [100, 10]
    assert 100 in sizes[2:]
    assert arrived(victoria) == await recorded(hass)


@pytest.mark.warns("Error fetching The server data")
@pytest.mark.parametrize("failure", [Failure.TOO_MANY, Failure.TOO_MANY_UNTIL])
async def test_server_says_when(
    hass: HomeAssistant, proxy: Proxy, failure: Failure
) -> None:
    """It is not asked again before; what is waiting is looked at all the same."""
    proxy.retry_after = 1234
    await proxy.fail(failure)
    entry = await endpoint(hass, proxy.url)
    sender = await deliver(entry)
    assert 1228 <= sender._next_at - time.monotonic() <= 1234 * 1.1
    asked, waiting = len(proxy.requests), sender.data.waiting
    assert waiting
    await record(hass, {GOLD: [(time.time() - 10, "3.5", "°C")]})
    await deliver(entry)
    assert isinstance(sender.last_exception, UpdateFailed)
    assert sender.last_exception.translation_key == "endpoint_busy"
    assert sender.last_exception.retry_after == coordinator.LONGEST_PAUSE
    assert len(proxy.requests) == asked
    assert sender.data.waiting == waiting + 1
    await proxy.heal()
    sender._next_at = time.monotonic()  # As if it had passed.
    await deliver(entry)
    assert sender.data.waiting == 0


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, 0),
        ("120", 120),
        ("-5", 0),
        ("nan", 0),
        ("1e9", 86400),
        ("soon", 0),
        ("Sun, 06 Nov 1994 08:49:37 GMT", 37),
        ("Sun, 06 Nov 1994 08:49:37", 37),
    ],
)
def test_when_a_server_wants_to_be_asked(header: str | None, seconds: int) -> None:
    """It says so in seconds or as a date; nonsense says nothing."""
    assert endpoints.later(header, 784_111_740.0) == seconds


@pytest.mark.parametrize(
    ("status", "answer", "confirms"),
    [
        (200, b"", True),
        (201, b"thank you", True),
        (200, b"[1]", True),
        (200, b'{"accepted": 3}', True),
        (200, b'{"errors": []}', True),
        (200, b'{"error": "no"}', False),
        (304, b"", False),
    ],
)
def test_what_confirms_json(status: int, answer: bytes, *, confirms: bool) -> None:
    """A server of one's own may say what it wants, but for errors."""
    server = endpoints.Json({"url": "http://server"}, UTC)
    assert server.confirms(status, answer) is confirms


def test_no_login() -> None:
    """A server that wants none gets none."""
    server = endpoints.InfluxDb2({"url": "http://server", "token": ""}, UTC)
    assert server.authorization() == {}


def test_pauses() -> None:
    """They grow, never beyond five minutes, and are not the same for all."""
    longest = [max(pause_after(failures) for _ in range(200)) for failures in range(20)]
    assert longest == sorted(longest) or longest[-1] > 290
    assert 4 < longest[0] <= 5
    assert all(pause_after(1000) <= 300 for _ in range(100))
    assert len({pause_after(3) for _ in range(10)}) > 1


@pytest.mark.warns("Error fetching The server data")
async def test_same_key(hass: HomeAssistant, victoria: Victoria, proxy: Proxy) -> None:
    """A batch that is sent again is the same one, with the same key; also if more came.

    So it is after a restart, too.
    """
    entry = await endpoint(hass, proxy.url, options={"batch_size": 300})
    await proxy.fail(Failure.CUT_AFTER, times=1)
    await deliver(entry)
    await record(hass, {GOLD: [(NOON - 300, "1", "°C")]})
    await hass.config_entries.async_unload(entry.entry_id)
    del hass.data[DATA_CURSORS]
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
    """What may have arrived is sent again as it was; then it is less."""
    entry = await endpoint(hass, proxy.url, options={"batch_size": 100})
    await proxy.fail(Failure.BROKEN, times=2)
    for _ in range(3):
        await deliver(entry)
    bodies = [request.body for request in proxy.requests]
    assert bodies[0] == bodies[1]
    assert bodies[0].startswith(bodies[2])
    assert bodies[2].count("\n") + 1 == 10
    assert arrived(victoria) == await recorded(hass)


@pytest.mark.warns("Error fetching The server data")
async def test_wrong_token(
    hass: HomeAssistant, victoria: Victoria, proxy: Proxy
) -> None:
    """The owner is asked for another one, and nothing is lost meanwhile."""
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
    """It is told, in the words of the server, too."""
    proxy.account = account
    sender = await deliver(await endpoint(hass, proxy.url))
    assert told(sender) == "endpoint_misplaced"
    assert "not found" in str(sender.last_exception)


@pytest.mark.warns("Error fetching The server data")
async def test_certificate(hass: HomeAssistant, victoria: Victoria) -> None:
    """One that does not verify stops the delivery, unless the owner wants it so."""
    with apart(Proxy(victoria.url, ACCOUNT, tls=True)) as proxy:
        sender = await deliver(await endpoint(hass, proxy.url))
        assert told(sender) == "endpoint_certificate"
        assert not proxy.requests
        await deliver(await endpoint(hass, f"{proxy.url}/", verify_ssl=False))
    assert arrived(victoria) == await recorded(hass)


async def test_too_large(hass: HomeAssistant, victoria: Victoria, proxy: Proxy) -> None:
    """A batch that is too large is halved, and those after it are smaller."""
    proxy.limit = 4000
    entry = await endpoint(hass, proxy.url, gzip=False)
    sender = await deliver(entry)
    assert arrived(victoria) == await recorded(hass)
    assert sender.cursor.progress.refused == 0
    refused = [request for request in proxy.requests if request.status == 413]
    assert len(refused) < 8


async def test_poison(hass: HomeAssistant, victoria: Victoria, proxy: Proxy) -> None:
    """The one reading that the server refuses is set aside, and the rest goes on."""
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
    """A whole past that the server does not want does not hold up the present."""
    await record(hass, {GOLD: [(time.time() + 10, "1.5", "°C")]})
    proxy.poison = f" {int(NOON)}"[:5]  # All of the past, and nothing of today.
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
    """Of a single one nobody knows whether it is the reading; the next one tells."""
    entry = await endpoint(hass, proxy.url)
    await deliver(entry)
    proxy.poison = "=77.0 "
    await record(hass, {GOLD: [(time.time() + 10, "77", "°C")]})
    sender = await deliver(entry)
    assert told(sender) == "endpoint_refused"
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
    """A sensor that gets another name in the middle loses nothing."""
    monkeypatch.setattr(outbox, "PAGE", 40)
    everything = await recorded(hass)
    entry = await endpoint(hass, proxy.url, options={"batch_size": 20})
    sender: EndpointCoordinator = entry.runtime_data
    arrive = sender._arrived

    def rename(*told: int) -> None:
        arrive(*told)
        registry = er.async_get(hass)
        if registry.async_get(GOLD):
            registry.async_update_entity(GOLD, new_entity_id="sensor.attic")

    monkeypatch.setattr(sender, "_arrived", rename)
    await deliver(entry)
    await async_wait_recording_done(hass)
    await deliver(entry)
    assert_all_there(victoria, everything)


async def test_renamed_before_it_begins(
    hass: HomeAssistant,
    victoria: Victoria,
    proxy: Proxy,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is looked up once more."""
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


async def test_names_with_strokes(
    hass: HomeAssistant, victoria: Victoria, proxy: Proxy
) -> None:
    """Whatever a device or a site is called, its readings arrive."""
    registry = dr.async_get(hass)
    for n, device in enumerate(list(registry.devices)):
        name = ("Shed \\ garden, north=1\\", 'a\\,b\n"c" #ä')[n % 2]
        registry.async_update_device(device.id, name_by_user=name)
    await async_wait_recording_done(hass)
    await deliver(await endpoint(hass, proxy.url, site="\\=, \\"))
    assert_all_there(victoria, await recorded(hass))


async def test_hidden_and_disabled(
    hass: HomeAssistant, victoria: Victoria, proxy: Proxy
) -> None:
    """What is hidden or disabled is sent with its device, by whatever it was chosen."""
    everything = await recorded(hass)
    registry = er.async_get(hass)
    entity = registry.async_update_entity(
        BME[1], hidden_by=er.RegistryEntryHider.USER, labels={"north"}
    )
    registry.async_update_entity(BME[2], disabled_by=er.RegistryEntryDisabler.USER)
    await hass.async_block_till_done()
    options = {"devices": [entity.device_id], "labels": []}
    await deliver(await endpoint(hass, proxy.url, options=options))
    there = arrived(victoria)
    assert {quantity for _, quantity in there} == {
        "temperature",
        "humidity",
        "pressure",
    }
    for series, points in there.items():
        assert set(everything[series]) <= set(points)
    victoria.clear()
    options = {"devices": [], "labels": ["north"]}
    await deliver(await endpoint(hass, f"{proxy.url}/", options=options))
    assert {quantity for _, quantity in arrived(victoria)} == {"humidity"}


async def test_no_sensor_left(
    hass: HomeAssistant, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An endpoint sends, too, when its owner has disabled all that it shows."""
    entry = await endpoint(hass, proxy.url)
    registry = er.async_get(hass)
    for entity in er.async_entries_for_config_entry(registry, entry.entry_id):
        registry.async_update_entity(
            entity.entity_id, disabled_by=er.RegistryEntryDisabler.USER
        )
    await hass.async_block_till_done()
    await hass.config_entries.async_reload(entry.entry_id)
    await hass.async_block_till_done(wait_background_tasks=True)
    assert entry.runtime_data._listeners
    await deliver(entry)
    assert proxy.requests


@pytest.mark.parametrize("new", [1, 600])
async def test_new_database(
    hass: HomeAssistant, victoria: Victoria, proxy: Proxy, new: int
) -> None:
    """Where rows are numbered anew, with fewer or more than before, all is sent."""
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
    """Whatever is lost, all since the endpoint was added is sent, and nothing older."""
    entry = await endpoint(hass, proxy.url, past=False)
    added = NOON + 300 * 90
    object.__setattr__(entry, "created_at", dt_util.utc_from_timestamp(added - 1))
    # What was read live came first. At one of these rows the clock was far ahead.
    update = "UPDATE states SET last_updated_ts ="
    await execute(hass, f"{update} {NOON - 300} WHERE last_updated_ts > {NOON + 1e6}")
    await execute(hass, f"{update} {time.time() + 1e6} WHERE state_id = 1")
    sender = await deliver(entry)
    assert sender.data.delivered == 20
    proxy.requests.clear()
    if lost == "database":  # And another one is put in its place.
        await execute(hass, "UPDATE states SET last_updated_ts = last_updated_ts + 2")
    else:
        await sender.cursor.async_remove()
        hass.data[DATA_CURSORS].clear()
        await hass.config_entries.async_reload(entry.entry_id)
    await deliver(entry)
    sent = [line for request in proxy.requests for line in request.body.split("\n")]
    assert len(sent) == 20
    assert min(int(line.split(" ")[-1]) for line in sent) >= added - 1


async def test_old_rows_are_purged(hass: HomeAssistant, proxy: Proxy) -> None:
    """If all rows of then are gone, what was sent is not sent again."""
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
    """What cannot be read is not sent, and it is told."""
    entry = await endpoint(hass, proxy.url)
    await execute(hass, "ALTER TABLE states RENAME TO gone")
    sender = await deliver(entry)
    assert told(sender) in {"recorder_failed", "recorder_changed"}
    await execute(hass, "ALTER TABLE gone RENAME TO states")
    await deliver(entry)
    assert sender.last_update_success


@pytest.mark.warns("Error fetching The server data")
async def test_recorder_is_busy(
    hass: HomeAssistant, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is sent before all rows are there."""
    monkeypatch.setattr(recorder, "COMMIT_SECONDS", 0)
    sender = await deliver(await endpoint(hass, proxy.url))
    assert told(sender) == "recorder_busy"
    assert not proxy.requests


async def test_influxdb_1(hass: HomeAssistant, influx: Influx) -> None:
    """The older interface takes user and password."""
    username, password = WRITER
    entry = await endpoint(
        hass,
        influx.url,
        protocol="influxdb_1",
        token=None,
        database="readings",
        username=username,
        password=password,
        site="North, 1=2",
    )
    sender = await deliver(entry)
    assert sender.last_update_success
    points = influx.points("temperature_logger")
    assert len(points) == READINGS
    assert {point["site"] for point in points} == {"North, 1=2"}
    found: dict[Any, Any] = {}
    for point in points:
        for quantity in ("temperature", "humidity", "pressure"):
            if (value := point.get(quantity)) is not None:
                series = found.setdefault((point["device_id"], quantity), [])
                series.append((point["time"], value))
    assert found == await recorded(hass)


@asynccontextmanager
async def json_server(
    answer: dict[str, Any], status: int = 200
) -> AsyncGenerator[tuple[str, list[Any]]]:
    """Run a server of one's own; give its address and what it was sent."""
    asked: list[Any] = []

    async def take(request: aiohttp.web.Request) -> aiohttp.web.Response:
        asked.append((request.path, request.headers.copy(), await request.json()))
        return aiohttp.web.json_response(answer, status=status)

    app = aiohttp.web.Application()
    app.router.add_post("/{path:.*}", take)
    runner = aiohttp.web.AppRunner(app)
    await runner.setup()
    site = aiohttp.web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        host, port = runner.addresses[0]
        yield f"http://{host}:{port}", asked
    finally:
        await runner.cleanup()


@pytest.mark.usefixtures("socket_enabled")
async def test_json(hass: HomeAssistant) -> None:
    """Many readings go to one place, a single one to another; each has all units."""
    await hass.config.async_set_time_zone("Europe/Berlin")
    async with json_server({"accepted": 202}) as (url, asked):
        entry = await endpoint(
            hass,
            url,
            protocol="json",
            headers={"X-Own": "1"},
            site="North",
        )
        await deliver(entry)
        await record(hass, {GOLD: [(NOON - 300, "1", "°C")]})
        await deliver(entry)
    (bulk, headers, body), (single, _, one) = asked
    assert (bulk, single) == ("/readings/bulk", "/readings")
    assert headers["Authorization"] == f"Bearer {ACCOUNT.token}"
    assert headers["X-Own"] == "1"
    assert len(headers["Idempotency-Key"]) == 64
    assert len(body["readings"]) == READINGS
    (reading,) = one["readings"]
    assert reading == {
        "device_id": reading["device_id"],
        "device": "TEMPerGold",
        "site": "North",
        "ts_utc": "2025-11-20T11:55:00Z",
        "ts_local": "2025-11-20T12:55:00+01:00",
        "payload": {"temperature": {"c": 1.0, "f": 33.8}},
    }
    payloads = [json.dumps(reading["payload"]) for reading in body["readings"]]
    assert sum('"rh"' in text and '"hpa"' in text for text in payloads) == 101


@pytest.mark.warns("Error fetching The server data")
@pytest.mark.usefixtures("socket_enabled")
@pytest.mark.parametrize(
    ("answer", "status", "key"),
    [
        ({"error": "disk full"}, 200, "endpoint_not_confirmed"),
        ({"errors": ["one"]}, 202, "endpoint_not_confirmed"),
        ({"status": "error"}, 200, "endpoint_not_confirmed"),
        ({}, 507, "endpoint_failed"),
    ],
)
async def test_json_that_is_not_taken(
    hass: HomeAssistant, answer: dict[str, Any], status: int, key: str
) -> None:
    """A good status with an error inside is no success."""
    async with json_server(answer, status) as (url, _):
        sender = await deliver(await endpoint(hass, url, protocol="json", token=None))
    assert told(sender) == key
    assert sender.cursor.progress.state_id == 0
