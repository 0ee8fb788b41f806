"""A proxy between the uploader and a real receiver, with failures to choose from."""

import asyncio
from collections.abc import Coroutine, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from enum import Enum, auto
import gzip
from http import HTTPStatus
from ipaddress import IPv4Address
from itertools import chain, repeat
import socket
import ssl
import tempfile
import threading
from typing import Any, Final, NamedTuple, NoReturn, Self

from aiohttp import ClientSession, hdrs, web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from multidict import CIMultiDict
from yarl import URL

LOOPBACK: Final = "127.0.0.1"
# Headers of one connection, which are not passed on.
OWN_HEADERS: Final = (hdrs.HOST, hdrs.CONNECTION, hdrs.TRANSFER_ENCODING)
MAX_BODY_SIZE: Final = 64 * 2**20
LOGIN: Final = "/login"


class Failure(Enum):
    """How a proxy fails."""

    REFUSED = auto()
    """The port is closed, and all connections are cut."""
    SILENT = auto()
    """The request is received, and never answered."""
    SILENT_AFTER = auto()
    """The receiver takes the data, and no answer comes."""
    CLOSED = auto()
    """The connection is closed instead of an answer."""
    CLOSED_AFTER = auto()
    """The receiver takes the data, and the connection is closed without an answer."""
    CUT_AFTER = auto()
    """The receiver takes the data, and the connection breaks within a good answer."""
    ERROR_WITHIN = auto()
    """A good status with an error in its body; the receiver gets nothing."""
    ERROR_WITHIN_AFTER = auto()
    """A good status with an error in its body, though the receiver takes the data."""
    INVALID = auto()
    UNAUTHORIZED = auto()
    FORBIDDEN = auto()
    NOT_FOUND = auto()
    TOO_LARGE = auto()
    TOO_MANY = auto()
    """429, with Retry-After in seconds."""
    TOO_MANY_UNTIL = auto()
    """429, with Retry-After as a date."""
    TOO_MANY_ALONE = auto()
    """429, without Retry-After."""
    BROKEN = auto()
    """500."""
    UNAVAILABLE = auto()
    """503, with Retry-After in seconds."""
    UNAVAILABLE_ALONE = auto()
    """503, without Retry-After."""
    REDIRECTED = auto()
    """302 to a page for people, which answers 200: a network that wants a login."""


FAILURES_AFTER_RECEIPT: Final = {
    Failure.SILENT_AFTER,
    Failure.CLOSED_AFTER,
    Failure.CUT_AFTER,
    Failure.ERROR_WITHIN_AFTER,
}


class Reply(NamedTuple):
    """A reply of InfluxDB 2: a status, and an error as JSON."""

    status: HTTPStatus
    code: str
    message: str


TOO_MANY: Final = Reply(
    HTTPStatus.TOO_MANY_REQUESTS, "too many requests", "org has exceeded its limits"
)
UNAVAILABLE: Final = Reply(
    HTTPStatus.SERVICE_UNAVAILABLE, "unavailable", "the server is busy"
)
UNAUTHORIZED: Final = Reply(
    HTTPStatus.UNAUTHORIZED, "unauthorized", "unauthorized access"
)
INVALID: Final = Reply(HTTPStatus.BAD_REQUEST, "invalid", "unable to parse a point")
TOO_LARGE: Final = Reply(
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "request too large", "the body is too large"
)
REPLIES: Final = {
    Failure.ERROR_WITHIN: Reply(HTTPStatus.OK, "internal error", "timeout"),
    Failure.ERROR_WITHIN_AFTER: Reply(HTTPStatus.OK, "internal error", "timeout"),
    Failure.INVALID: INVALID,
    Failure.UNAUTHORIZED: UNAUTHORIZED,
    Failure.FORBIDDEN: Reply(
        HTTPStatus.FORBIDDEN, "forbidden", "insufficient permissions for write"
    ),
    Failure.NOT_FOUND: Reply(HTTPStatus.NOT_FOUND, "not found", "path not found"),
    Failure.TOO_LARGE: TOO_LARGE,
    Failure.TOO_MANY: TOO_MANY,
    Failure.TOO_MANY_UNTIL: TOO_MANY,
    Failure.TOO_MANY_ALONE: TOO_MANY,
    Failure.BROKEN: Reply(
        HTTPStatus.INTERNAL_SERVER_ERROR, "internal error", "engine is closed"
    ),
    Failure.UNAVAILABLE: UNAVAILABLE,
    Failure.UNAVAILABLE_ALONE: UNAVAILABLE,
    Failure.REDIRECTED: Reply(HTTPStatus.FOUND, "found", "log in first"),
}


class Account(NamedTuple):
    """The account that InfluxDB 2 checks before a write."""

    token: str
    org: str
    bucket: str


ACCOUNT: Final = Account("a token", "home", "readings")


@dataclass
class Request:
    """A request, and its outcome."""

    method: str
    path: str
    query: dict[str, str]
    headers: CIMultiDict[str]
    body: str
    """Without its compression."""
    size: int
    """In bytes, as it was sent."""
    failure: Failure | None
    receiver: int | None = None
    """The status in the receiver's answer; None where the request did not reach it."""
    status: int | None = None
    """The status in the answer to the client; None without a whole answer."""


class Proxy:
    """A reverse proxy on loopback, which runs while its context manager is entered.

    With an account it checks what InfluxDB 2 checks. These can be changed at any time:

    - poison: bodies that contain this text are answered with 400,
    - limit: bodies of more bytes, as sent, are answered with 413,
    - retry_after: the seconds in the header Retry-After,
    - account.
    """

    def __init__(
        self, receiver: str, account: Account | None = None, *, tls: bool = False
    ) -> None:
        """Take the receiver's address."""
        self.receiver = receiver
        self.account = account
        self.poison: str | None = None
        self.limit: int | None = None
        self.retry_after = 0  # Time is simulated.
        self.requests: list[Request] = []
        self._failures: Iterator[Failure | None] = iter(())
        self._tls = tls
        self._runner: web.AppRunner | None = None
        # Reserves the port while the proxy does not listen: a socket that is only bound
        # refuses connections.
        self._place = socket.socket()
        self._place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self._place.bind((LOOPBACK, 0))
        self._port: int = self._place.getsockname()[1]
        self.url = f"{'https' if tls else 'http'}://{LOOPBACK}:{self._port}"

    async def __aenter__(self) -> Self:
        """Start to listen."""
        await self._start()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the port and all connections."""
        await self._stop()
        self._place.close()

    async def fail(
        self, failure: Failure, times: int | None = None, after: int = 0
    ) -> None:
        """Fail from now on, or for some requests; the first ones may succeed."""
        await self.heal()
        if failure is Failure.REFUSED:
            if times is not None:
                raise ValueError("Nobody counts what is refused")
            await self._stop()
        failing = repeat(failure) if times is None else repeat(failure, times)
        self._failures = chain(repeat(None, after), failing)

    async def heal(self) -> None:
        """Work from now on; requests that hang continue to hang."""
        self._failures = iter(())
        if self._runner is None:
            await self._start()

    async def _start(self) -> None:
        app = web.Application(client_max_size=MAX_BODY_SIZE)
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(
            app,
            access_log=None,
            auto_decompress=False,
            # A request that hangs ends with its client or with the proxy.
            handler_cancellation=True,
            shutdown_timeout=0.05,
        )
        await self._runner.setup()
        context = untrusted() if self._tls else None
        await web.TCPSite(
            self._runner, LOOPBACK, self._port, ssl_context=context, reuse_port=True
        ).start()

    async def _stop(self) -> None:
        if self._runner is not None:
            runner, self._runner = self._runner, None
            # TLS would wait for the other side to close, with the socket open.
            for connection in runner.server.connections if runner.server else ():
                if connection.transport is not None:
                    connection.transport.abort()
            await runner.cleanup()

    async def _handle(self, incoming: web.Request) -> web.StreamResponse:
        """Answer a request, or leave it without an answer."""
        data = await incoming.read()
        if incoming.path == LOGIN:
            return web.Response(text="Please log in.")
        request = Request(
            method=incoming.method,
            path=incoming.path,
            query=dict(incoming.query),
            headers=CIMultiDict(incoming.headers),
            body=decompress(data, incoming.headers.get(hdrs.CONTENT_ENCODING)),
            size=len(data),
            failure=next(self._failures, None),
        )
        self.requests.append(request)
        if request.failure is not None:
            if request.failure in FAILURES_AFTER_RECEIPT:
                await self._pass_on(incoming, request, data)
            response = await self._fail(incoming, request.failure)
        elif (reply := self._refusal(request)) is not None:
            response = respond(reply)
        else:
            response = await self._pass_on(incoming, request, data)
        request.status = response.status
        return response

    def _refusal(self, request: Request) -> Reply | None:
        """Return the answer to a request that may not be passed on."""
        if self.limit is not None and request.size > self.limit:
            return TOO_LARGE
        if self.account is not None and request.path.startswith("/api/v2/"):
            reply = check(request, self.account)
            if reply is not None:
                return reply
        if self.poison is not None and self.poison in request.body:
            return INVALID
        return None

    async def _pass_on(
        self, incoming: web.Request, request: Request, data: bytes
    ) -> web.Response:
        """Pass a request to the receiver; return its answer."""
        async with (
            ClientSession(auto_decompress=False) as session,
            session.request(
                incoming.method,
                URL(self.receiver + incoming.raw_path, encoded=True),
                data=data,
                headers=without_own(incoming.headers),
                allow_redirects=False,
            ) as answer,
        ):
            body = await answer.read()
        request.receiver = answer.status
        headers = without_own(answer.headers)
        return web.Response(status=answer.status, headers=headers, body=body)

    async def _fail(self, incoming: web.Request, failure: Failure) -> web.Response:
        """Answer as the chosen failure does, if it answers."""
        if (reply := REPLIES.get(failure)) is None:
            return await abandon(incoming, failure)
        response = respond(reply)
        if failure in (Failure.TOO_MANY, Failure.UNAVAILABLE):
            response.headers[hdrs.RETRY_AFTER] = str(self.retry_after)
        if failure is Failure.TOO_MANY_UNTIL:
            until = datetime.now(UTC) + timedelta(seconds=self.retry_after)
            response.headers[hdrs.RETRY_AFTER] = format_datetime(until, usegmt=True)
        if failure is Failure.REDIRECTED:
            response.headers[hdrs.LOCATION] = self.url + LOGIN
        return response


async def abandon(incoming: web.Request, failure: Failure) -> NoReturn:
    """Leave a request without an answer, or in the middle of one."""
    transport = incoming.transport
    if failure is Failure.CUT_AFTER:
        response = web.StreamResponse()
        response.content_length = 1000
        await response.prepare(incoming)
        await response.write(b"{")
    if transport is not None and failure not in (Failure.SILENT, Failure.SILENT_AFTER):
        transport.close()
    # It is cancelled when the client or the proxy closes the connection.
    await asyncio.Event().wait()
    raise AssertionError("This event is never set")


def check(request: Request, account: Account) -> Reply | None:
    """Return the error of InfluxDB 2 for a request, if there is one."""
    if request.headers.get(hdrs.AUTHORIZATION) != f"Token {account.token}":
        return UNAUTHORIZED
    org, bucket = request.query.get("org"), request.query.get("bucket")
    if org != account.org:
        return not_found(f'organization name "{org}" not found')
    if bucket != account.bucket:
        return not_found(f'bucket "{bucket}" not found')
    return None


def not_found(message: str) -> Reply:
    """Return the answer to a request with an unknown name."""
    return Reply(HTTPStatus.NOT_FOUND, "not found", message)


def respond(reply: Reply) -> web.Response:
    """Return an answer as it is sent."""
    body = {"code": reply.code, "message": reply.message}
    return web.json_response(body, status=reply.status)


def without_own(headers: Mapping[str, str]) -> CIMultiDict[str]:
    """Return the headers that are passed on."""
    passed = CIMultiDict(headers)
    for name in OWN_HEADERS:
        passed.popall(name, None)
    return passed


def decompress(data: bytes, encoding: str | None) -> str:
    """Return a body as text."""
    return (gzip.decompress(data) if encoding == "gzip" else data).decode()


def untrusted() -> ssl.SSLContext:
    """Return a TLS context with a self-signed certificate."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "proxy")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1000))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(IPv4Address(LOOPBACK))]),
            critical=False,
        )
        .sign(key, hashes.SHA256())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.NamedTemporaryFile() as file:
        file.write(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        file.write(certificate.public_bytes(serialization.Encoding.PEM))
        file.flush()
        context.load_cert_chain(file.name)
    return context


@contextmanager
def threaded(proxy: Proxy) -> Generator[Proxy]:
    """Run a proxy in a thread and an event loop of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    def wait[T](coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, loop).result()

    try:
        wait(proxy.__aenter__())
        yield proxy
        wait(proxy.__aexit__(None, None, None))
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
