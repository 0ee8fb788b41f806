"""The receivers and the proxy behave as the tests of the uploader require."""

import asyncio
from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
import gzip
from http import HTTPStatus

from aiohttp import (
    ClientConnectionError,
    ClientConnectorCertificateError,
    ClientConnectorError,
    ClientPayloadError,
    ClientSession,
    ClientTimeout,
    ServerDisconnectedError,
    encode_basic_auth,
)
import pytest

from tests.drivers.waiting import until

from .proxy import ACCOUNT, FAILURES_AFTER_RECEIPT, REPLIES, Failure, Proxy
from .receivers import READER, WRITER, Influx, Points, Victoria, victoria

LINES = """\
reading,device_id=kitchen temperature=21.5,humidity=45 1763640000400
reading,device_id=kitchen temperature=21.75 1763640010400
"""
STORED_POINTS: dict[tuple[str, ...], Points] = {
    ("kitchen", "reading_temperature"): [(1763640000400, 21.5), (1763640010400, 21.75)],
    ("kitchen", "reading_humidity"): [(1763640000400, 45)],
}
LABELS = ("device_id", "__name__")
POINTS = [
    {
        "time": 1763640000400,
        "device_id": "kitchen",
        "temperature": 21.5,
        "humidity": 45,
    },
    {"time": 1763640010400, "device_id": "kitchen", "temperature": 21.75},
]
WRITE = {"org": ACCOUNT.org, "bucket": ACCOUNT.bucket, "precision": "ms"}
TOKEN = {"Authorization": f"Token {ACCOUNT.token}"}


@pytest.fixture(autouse=True)
def custom_integrations() -> None:
    """Run without Home Assistant."""


@pytest.fixture(name="session")
async def session_fixture(socket_enabled: None) -> AsyncGenerator[ClientSession]:
    """Return a client with a short time-out."""
    async with ClientSession(timeout=ClientTimeout(5)) as session:
        yield session


async def write(
    session: ClientSession,
    url: str,
    data: str | bytes = LINES,
    headers: dict[str, str] = TOKEN,
    **query: str,
) -> tuple[int, str]:
    """Write as to InfluxDB 2; return the status and the body of the answer."""
    async with session.post(
        f"{url}/api/v2/write",
        params=WRITE | query,
        data=data,
        headers=headers,
        allow_redirects=False,
    ) as answer:
        return answer.status, await answer.text()


async def write_1(
    session: ClientSession,
    influx: Influx,
    login: tuple[str, str],
    data: str = LINES,
    database: str = "readings",
) -> tuple[int, str]:
    """Write as to InfluxDB 1; return the status and the body of the answer."""
    async with session.post(
        f"{influx.url}/write",
        params={"db": database, "precision": "ms"},
        data=data,
        headers={"Authorization": encode_basic_auth(*login)},
    ) as answer:
        return answer.status, await answer.text()


async def test_repeated_writes(
    proxy: Proxy, victoria: Victoria, session: ClientSession
) -> None:
    """Repeated writes leave each point once, on the disk already or not."""
    assert victoria.readings(*LABELS) == {}
    for _ in range(3):
        assert await write(session, proxy.url) == (HTTPStatus.NO_CONTENT, "")
    assert await write(session, proxy.url, LINES * 2) == (HTTPStatus.NO_CONTENT, "")
    assert victoria.readings(*LABELS) == STORED_POINTS
    assert await write(session, proxy.url) == (HTTPStatus.NO_CONTENT, "")
    assert victoria.readings(*LABELS) == STORED_POINTS
    victoria.clear()
    assert victoria.readings(*LABELS) == {}


async def test_repeated_writes_are_seen(session: ClientSession) -> None:
    """Without the option, repeated writes are kept, and are exported."""
    with victoria("0s") as keeping:
        for _ in range(2):
            await write(session, keeping.url)
        twice = {key: sorted(points * 2) for key, points in STORED_POINTS.items()}
        assert keeping.readings(*LABELS) == twice


async def test_proxy_checks_the_account(
    proxy: Proxy, victoria: Victoria, session: ClientSession
) -> None:
    """Token, organisation and bucket have to be right, as for InfluxDB 2."""
    refused = '{"code": "unauthorized", "message": "unauthorized access"}'
    for headers in ({}, {"Authorization": "Token another"}):
        answer = await write(session, proxy.url, headers=headers)
        assert answer == (HTTPStatus.UNAUTHORIZED, refused)
    status, body = await write(session, proxy.url, org="other")
    assert status == HTTPStatus.NOT_FOUND
    assert r"organization name \"other\" not found" in body
    status, body = await write(session, proxy.url, bucket="other")
    assert status == HTTPStatus.NOT_FOUND
    assert r"bucket \"other\" not found" in body
    assert victoria.readings() == {}


async def test_proxy_records(proxy: Proxy, session: ClientSession) -> None:
    """The proxy records requests and answers."""
    data = gzip.compress(LINES.encode())
    await write(session, proxy.url, data, TOKEN | {"Content-Encoding": "gzip"})
    (request,) = proxy.requests
    assert (request.method, request.path) == ("POST", "/api/v2/write")
    assert request.query == WRITE
    assert request.headers["authorization"] == TOKEN["Authorization"]
    assert (request.body, request.size) == (LINES, len(data))
    assert request.failure is None
    assert request.receiver == request.status == HTTPStatus.NO_CONTENT


@pytest.mark.parametrize("failure", REPLIES)
async def test_proxy_answers_an_error(
    proxy: Proxy, victoria: Victoria, session: ClientSession, failure: Failure
) -> None:
    """The proxy fails the given number of times, and passes the given requests on."""
    await proxy.fail(failure, times=2)
    for _ in range(2):
        status, body = await write(session, proxy.url)
        assert status == REPLIES[failure].status
        assert REPLIES[failure].message in body
    assert victoria.readings(*LABELS) == (
        STORED_POINTS if failure in FAILURES_AFTER_RECEIPT else {}
    )
    assert await write(session, proxy.url) == (HTTPStatus.NO_CONTENT, "")
    assert victoria.readings(*LABELS) == STORED_POINTS
    assert [request.failure for request in proxy.requests] == [failure, failure, None]


@pytest.mark.parametrize(
    ("failure", "error"),
    [
        (Failure.SILENT, TimeoutError),
        (Failure.SILENT_AFTER, TimeoutError),
        (Failure.CLOSED, ServerDisconnectedError),
        (Failure.CLOSED_AFTER, ServerDisconnectedError),
        (Failure.CUT_AFTER, ClientPayloadError),
    ],
)
async def test_proxy_gives_no_answer(
    proxy: Proxy,
    victoria: Victoria,
    session: ClientSession,
    failure: Failure,
    error: type[Exception],
) -> None:
    """A request gets no answer or a part of one, with the data stored or not."""
    await proxy.fail(failure)
    arrived = STORED_POINTS if failure in FAILURES_AFTER_RECEIPT else {}
    sent = asyncio.create_task(write(session, proxy.url))
    await until(lambda: bool(proxy.requests) and victoria.readings(*LABELS) == arrived)
    if error is TimeoutError:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(sent, 0.1)
    else:
        with pytest.raises(error):
            await sent
    (request,) = proxy.requests
    assert request.failure is failure
    assert request.receiver == (HTTPStatus.NO_CONTENT if arrived else None)
    assert request.status is None
    await proxy.heal()
    assert await write(session, proxy.url) == (HTTPStatus.NO_CONTENT, "")
    assert victoria.readings(*LABELS) == STORED_POINTS


async def test_proxy_refuses_connections(proxy: Proxy, session: ClientSession) -> None:
    """For a while the port is closed, and open connections are cut."""
    await write(session, proxy.url)
    await proxy.fail(Failure.REFUSED)
    # The first one may still have an open connection.
    with pytest.raises(ClientConnectionError):
        await write(session, proxy.url)
    with pytest.raises(ClientConnectorError, match="Connect call failed"):
        await write(session, proxy.url)
    await proxy.heal()
    assert await write(session, proxy.url) == (HTTPStatus.NO_CONTENT, "")
    with pytest.raises(ValueError, match="Nobody counts"):
        await proxy.fail(Failure.REFUSED, times=1)


async def test_proxy_sends_retry_after(proxy: Proxy, session: ClientSession) -> None:
    """Answers ask a client to wait: in seconds, until a date, or without a time."""
    proxy.retry_after = 90
    given = {}
    for failure in REPLIES:
        await proxy.fail(failure)
        async with session.post(f"{proxy.url}/write", allow_redirects=False) as answer:
            given[failure] = answer.headers.get("Retry-After")
    until = parsedate_to_datetime(given.pop(Failure.TOO_MANY_UNTIL) or "")
    assert timedelta(60) > until - datetime.now(UTC) > timedelta()
    assert {failure for failure, value in given.items() if value == "90"} == {
        Failure.TOO_MANY,
        Failure.UNAVAILABLE,
    }
    assert set(given.values()) == {"90", None}


async def test_proxy_redirects_to_a_login(proxy: Proxy, session: ClientSession) -> None:
    """A client that follows the redirection gets a good answer that means nothing."""
    await proxy.fail(Failure.REDIRECTED)
    async with session.post(f"{proxy.url}/api/v2/write", data=LINES) as answer:
        assert answer.status == HTTPStatus.OK
        assert await answer.text() == "Please log in."
    assert [request.status for request in proxy.requests] == [HTTPStatus.FOUND]


async def test_proxy_refuses_poison_and_large_bodies(
    proxy: Proxy, victoria: Victoria, session: ClientSession
) -> None:
    """A body is refused for a text in it, and for its size as it was sent."""
    proxy.poison = "humidity"
    first, second = LINES.splitlines()
    assert (await write(session, proxy.url))[0] == HTTPStatus.BAD_REQUEST
    assert (await write(session, proxy.url, first))[0] == HTTPStatus.BAD_REQUEST
    assert (await write(session, proxy.url, second))[0] == HTTPStatus.NO_CONTENT
    proxy.poison, proxy.limit = None, len(first)
    status, _ = await write(session, proxy.url)
    assert status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    assert (await write(session, proxy.url, first))[0] == HTTPStatus.NO_CONTENT
    assert victoria.readings(*LABELS) == STORED_POINTS


async def test_proxy_is_not_trusted(victoria: Victoria, session: ClientSession) -> None:
    """The certificate does not verify; a client that does not check it gets through."""
    async with Proxy(victoria.url, tls=True) as proxy:
        with pytest.raises(ClientConnectorCertificateError, match="self-signed"):
            await write(session, proxy.url)
        assert proxy.requests == []
        async with session.post(
            f"{proxy.url}/write?precision=ms", data=LINES, ssl=False
        ) as answer:
            assert answer.status == HTTPStatus.NO_CONTENT
    assert victoria.readings(*LABELS) == STORED_POINTS


async def test_influx_checks_the_user(influx: Influx, session: ClientSession) -> None:
    """Only a user with write access can write, and only into an existing database."""
    assert await write_1(session, influx, ("writer", "wrong")) == (
        HTTPStatus.UNAUTHORIZED,
        '{"error":"authorization failed"}\n',
    )
    status, body = await write_1(session, influx, READER)
    assert status == HTTPStatus.FORBIDDEN
    assert "not authorized to write" in body
    status, body = await write_1(session, influx, WRITER, database="other")
    assert status == HTTPStatus.NOT_FOUND
    assert "database not found" in body
    assert influx.points("reading") == []
    for _ in range(2):
        answer = await write_1(session, influx, WRITER)
        assert answer == (HTTPStatus.NO_CONTENT, "")
    assert influx.points("reading") == POINTS


async def test_influx_stores_a_part(influx: Influx, session: ClientSession) -> None:
    """Of a body with a point of the wrong type it stores the rest or nothing: 400."""
    wrong = LINES + 'reading,device_id=kitchen temperature="warm" 1763640020400\n'
    status, body = await write_1(session, influx, WRITER, wrong)
    assert (status, body) == (
        HTTPStatus.BAD_REQUEST,
        '{"error":"field type conflict"}\n',
    )
    # This body sets the types of the fields.
    assert influx.points("reading") == []
    first, *_ = LINES.splitlines()
    await write_1(session, influx, WRITER, first)
    status, body = await write_1(session, influx, WRITER, wrong)
    assert status == HTTPStatus.BAD_REQUEST
    assert "partial write: field type conflict" in body
    assert influx.points("reading") == POINTS
