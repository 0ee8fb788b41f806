"""Each protocol sends readings in its format and recognizes its confirmation."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC
import json
from typing import Any

import aiohttp
from homeassistant.core import HomeAssistant
from homeassistant.helpers import device_registry as dr
import pytest
from pytest_homeassistant_custom_component.components.recorder.common import (
    async_wait_recording_done,
)

from custom_components.temperature_logger.uploader import endpoints
from tests.history.conftest import GOLD, NOON, record

from .common import (
    READINGS,
    assert_all_there,
    deliver,
    endpoint,
    failure_key,
    recorded,
)
from .proxy import ACCOUNT, Proxy
from .receivers import WRITER, Influx, Victoria


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
def test_retry_after(header: str | None, seconds: int) -> None:
    """Retry-After holds seconds or a date; nonsense counts as no pause."""
    assert endpoints.retry_after_seconds(header, 784_111_740.0) == seconds


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
def test_confirmation_of_json(status: int, answer: bytes, *, confirms: bool) -> None:
    """Any good status confirms, unless the body names an error."""
    server = endpoints.Json({"url": "http://server"}, UTC)
    assert server.confirms(status, answer) is confirms


def test_no_login() -> None:
    """A server without a login gets no header for one."""
    server = endpoints.InfluxDb2({"url": "http://server", "token": ""}, UTC)
    assert server.authorization() == {}


@pytest.mark.usefixtures("history", "later")
async def test_special_characters(
    hass: HomeAssistant, victoria: Victoria, proxy: Proxy
) -> None:
    """Readings arrive whatever characters are in a device's name or in the site."""
    registry = dr.async_get(hass)
    for n, device in enumerate(list(registry.devices)):
        name = ("Shed \\ garden, north=1\\", 'a\\,b\n"c" #ä')[n % 2]
        registry.async_update_device(device.id, name_by_user=name)
    await async_wait_recording_done(hass)
    await deliver(await endpoint(hass, proxy.url, site="\\=, \\"))
    assert_all_there(victoria, await recorded(hass))


@pytest.mark.usefixtures("history", "later")
async def test_influxdb_1(hass: HomeAssistant, influx: Influx) -> None:
    """InfluxDB 1 gets user name and password, and stores all readings."""
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
    series_points: dict[Any, Any] = {}
    for point in points:
        for quantity in ("temperature", "humidity", "pressure"):
            if (value := point.get(quantity)) is not None:
                series = series_points.setdefault((point["device_id"], quantity), [])
                series.append((point["time"], value))
    assert series_points == await recorded(hass)


@asynccontextmanager
async def json_server(
    answer: dict[str, Any], status: int = 200
) -> AsyncGenerator[tuple[str, list[Any]]]:
    """Run a JSON server; yield its address and the requests that it gets."""
    received: list[Any] = []

    async def take(request: aiohttp.web.Request) -> aiohttp.web.Response:
        received.append((request.path, request.headers.copy(), await request.json()))
        return aiohttp.web.json_response(answer, status=status)

    app = aiohttp.web.Application()
    app.router.add_post("/{path:.*}", take)
    runner = aiohttp.web.AppRunner(app)
    await runner.setup()
    site = aiohttp.web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        host, port = runner.addresses[0]
        yield f"http://{host}:{port}", received
    finally:
        await runner.cleanup()


@pytest.mark.usefixtures("history", "later", "socket_enabled")
async def test_json(hass: HomeAssistant) -> None:
    """One reading and several go to different URLs; values are in all units."""
    await hass.config.async_set_time_zone("Europe/Berlin")
    async with json_server({"accepted": 202}) as (url, received):
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
    (bulk, headers, body), (single, _, one) = received
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
@pytest.mark.usefixtures("history", "later", "socket_enabled")
@pytest.mark.parametrize(
    ("answer", "status", "key"),
    [
        ({"error": "disk full"}, 200, "endpoint_not_confirmed"),
        ({"errors": ["one"]}, 202, "endpoint_not_confirmed"),
        ({"status": "error"}, 200, "endpoint_not_confirmed"),
        ({}, 507, "endpoint_failed"),
    ],
)
async def test_json_error(
    hass: HomeAssistant, answer: dict[str, Any], status: int, key: str
) -> None:
    """Answers with an error do not move the cursor, even if the status is good."""
    async with json_server(answer, status) as (url, _):
        sender = await deliver(await endpoint(hass, url, protocol="json", token=None))
    assert failure_key(sender) == key
    assert sender.cursor.progress.state_id == 0
