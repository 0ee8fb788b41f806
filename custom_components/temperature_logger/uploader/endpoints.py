"""The protocols of servers that receive readings.

InfluxDB's line protocol follows its documentation "Line protocol" (v2) and "Write data
with the InfluxDB API" (v2, v1.8). VictoriaMetrics, QuestDB, Telegraf and others also
accept it. JSON is for servers that users write themselves.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, tzinfo
from email.utils import parsedate_to_datetime
from enum import StrEnum
import gzip
import hashlib
from http import HTTPStatus
import math
import re
import time
from typing import Any, ClassVar, Final, NamedTuple, override

import aiohttp
from homeassistant.const import (
    CONF_HEADERS,
    CONF_PASSWORD,
    CONF_TOKEN,
    CONF_URL,
    CONF_USERNAME,
)
from homeassistant.helpers.json import json_bytes
from homeassistant.util.json import JSON_DECODE_EXCEPTIONS, json_loads
from yarl import URL

from ..const import (
    CONF_BUCKET,
    CONF_DATABASE,
    CONF_GZIP,
    CONF_ORG,
    CONF_SITE,
    DAY_SECONDS,
    DIGITS,
)
from ..units import base_quantity
from .errors import DeliveryError, Failure
from .points import Point

MEASUREMENT: Final = "temperature_logger"
SPECIAL_CHARACTERS: Final = re.compile(r"[,= ]")
POST_TIMEOUT: Final = aiohttp.ClientTimeout(total=30, connect=10)
# The parts of an answer that are checked for errors, and quoted in messages.
MAX_ANSWER_BYTES: Final = 65_536
MAX_QUOTE_CHARACTERS: Final = 200
# The fastest level; the others save only a few bytes more.
GZIP_LEVEL: Final = 1


class EndpointProtocol(StrEnum):
    """The protocols to choose from."""

    INFLUXDB_2 = "influxdb_2"
    INFLUXDB_1 = "influxdb_1"
    JSON = "json"


class Post(NamedTuple):
    """A batch as an HTTP request, which can be sent again unchanged."""

    url: URL
    headers: dict[str, str]
    body: bytes


class Endpoint(ABC):
    """A server with its protocol, as configured in an entry."""

    content_type: ClassVar[str]
    destination_fields: ClassVar[tuple[str, ...]] = ()
    """The fields of the form that name the database or bucket; all are required."""
    example_url: ClassVar[str]
    login_fields: ClassVar[tuple[str, ...]]
    """The fields for a login; all stay empty for a server without logins."""
    model: ClassVar[str]
    """The name of the protocol on the page of the endpoint."""
    url_suffixes: ClassVar[tuple[str, ...]]
    """The ends that are removed from the URL that the user enters.

    The documentation of a server often gives the whole URL.
    """

    def __init__(self, data: Mapping[str, Any], zone: tzinfo) -> None:
        """Use the data of an entry, and a time zone for local times."""
        self._data = data
        self._site: str = data.get(CONF_SITE, "")
        self._url = URL(data[CONF_URL])
        self._zone = zone

    def prepare(self, points: Sequence[Point]) -> Post:
        """Return the request for readings; equal readings give equal requests."""
        body = self.encode(points)
        headers = {
            **self._data.get(CONF_HEADERS, {}),
            **self.authorization(),
            "Content-Type": self.content_type,
            "Idempotency-Key": hashlib.sha256(body).hexdigest(),
        }
        if self._data.get(CONF_GZIP, True):
            headers["Content-Encoding"] = "gzip"
            body = gzip.compress(body, GZIP_LEVEL, mtime=0)
        return Post(self.url(len(points)), headers, body)

    async def send(self, session: aiohttp.ClientSession, post: Post) -> None:
        """Post a batch; raise DeliveryError unless the server confirms all of it."""
        origin = str(post.url.origin())
        try:
            async with session.post(
                post.url,
                data=post.body,
                headers=post.headers,
                allow_redirects=False,
                timeout=POST_TIMEOUT,
            ) as response:
                # The whole answer: one that is cut off confirms nothing.
                answer = await _read_answer(response)
        except TimeoutError as err:
            raise DeliveryError(
                Failure.ENDPOINT_SILENT, may_have_arrived=True, url=origin
            ) from err
        except aiohttp.ClientConnectorCertificateError as err:
            raise DeliveryError(
                Failure.ENDPOINT_CERTIFICATE, url=origin, error=str(err)
            ) from err
        except aiohttp.ClientError as err:
            raise DeliveryError(
                Failure.ENDPOINT_UNREACHABLE,
                may_have_arrived=not isinstance(err, aiohttp.ClientConnectorError),
                url=origin,
                error=str(err) or repr(err),
            ) from err
        self._check(response, answer)

    def _check(self, response: aiohttp.ClientResponse, answer: bytes) -> None:
        """Raise DeliveryError unless the answer confirms the batch."""
        status = response.status
        if self.confirms(status, answer):
            return
        text = " ".join(answer.decode(errors="replace").split())[:MAX_QUOTE_CHARACTERS]
        details = {
            "url": str(response.url.origin()),
            "status": str(status),
            "answer": text or str(response.reason),
        }
        if HTTPStatus(300) <= status < HTTPStatus(400):
            details["answer"] = response.headers.get("Location", "")
        failure = _failure(status)
        raise DeliveryError(
            failure,
            may_have_arrived=failure in MAY_BE_STORED,
            retry_after=retry_after_seconds(
                response.headers.get("Retry-After"), time.time()
            ),
            **details,
        )

    def authorization(self) -> dict[str, str]:
        """Return the header with the login, if the server needs one."""
        if token := self._data.get(CONF_TOKEN):
            return {"Authorization": f"Bearer {token}"}
        if username := self._data.get(CONF_USERNAME):
            password = self._data.get(CONF_PASSWORD, "")
            return {"Authorization": aiohttp.encode_basic_auth(username, password)}
        return {}

    @abstractmethod
    def url(self, count: int) -> URL:
        """Return the URL to which this number of readings is posted."""

    @abstractmethod
    def encode(self, points: Sequence[Point]) -> bytes:
        """Return readings in the format of the server."""

    @abstractmethod
    def confirms(self, status: int, answer: bytes) -> bool:
        """Return whether an answer confirms that the server stored all readings."""


class LineProtocol(Endpoint):
    """A server that accepts InfluxDB's line protocol."""

    content_type = "text/plain; charset=utf-8"
    example_url = "http://192.168.1.5:8086"

    @override
    def encode(self, points: Sequence[Point]) -> bytes:
        """Return a line per reading, with tags and a Unix time in whole seconds."""
        heads: dict[str, str] = {}
        lines = []
        for point in points:
            source = point.source
            if (head := heads.get(source.device_id)) is None:
                head = heads[source.device_id] = self._head(point)
            fields = ",".join(f"{q}={value!r}" for q, value in point.values.items())
            lines.append(f"{head} {fields} {point.collected_at}")
        # Without readings, a comment: the server checks the login and writes nothing.
        return ("\n".join(lines) or "#").encode()

    def _head(self, point: Point) -> str:
        """Return measurement and tags; InfluxDB recommends to sort tags by name."""
        tags = {
            "device": point.source.device,
            "device_id": point.source.device_id,
            "site": self._site,
        }
        pairs = (f"{name}={_tag(text)}" for name, text in tags.items() if _tag(text))
        return ",".join((MEASUREMENT, *pairs))

    @override
    def confirms(self, status: int, answer: bytes) -> bool:
        """Return whether the status is 204; a 200 confirms nothing.

        InfluxDB 1.8: "200: InfluxDB understood the request but couldn't complete it".
        Other programs at the address, such as a login page, also answer with 200.
        """
        return status == HTTPStatus.NO_CONTENT


class InfluxDb2(LineProtocol):
    """A server with the API of InfluxDB 2 and later."""

    destination_fields = (CONF_ORG, CONF_BUCKET)
    login_fields = (CONF_TOKEN,)
    model = "InfluxDB 2 line protocol"
    url_suffixes = ("/api/v2/write",)

    @override
    def authorization(self) -> dict[str, str]:
        """Return the header with InfluxDB's authentication scheme, Token."""
        if token := self._data.get(CONF_TOKEN):
            return {"Authorization": f"Token {token}"}
        return super().authorization()

    @override
    def url(self, count: int) -> URL:
        """Return the URL to write to."""
        return (self._url / "api/v2/write").with_query(
            org=self._data[CONF_ORG], bucket=self._data[CONF_BUCKET], precision="s"
        )


class InfluxDb1(LineProtocol):
    """A server with the API of InfluxDB 1."""

    destination_fields = (CONF_DATABASE,)
    login_fields = (CONF_USERNAME, CONF_PASSWORD)
    model = "InfluxDB 1 line protocol"
    url_suffixes = ("/write",)

    @override
    def url(self, count: int) -> URL:
        """Return the URL to write to."""
        query = {"db": self._data[CONF_DATABASE], "precision": "s"}
        return (self._url / "write").with_query(query)


class Json(Endpoint):
    """A server that accepts readings as JSON."""

    content_type = "application/json"
    example_url = "https://example.com/api"
    login_fields = (CONF_TOKEN, CONF_USERNAME, CONF_PASSWORD)
    model = "JSON over HTTP"
    url_suffixes = ("/readings/bulk", "/readings")

    @override
    def url(self, count: int) -> URL:
        """Return the URL for one reading, or the one for several."""
        return self._url / ("readings" if count == 1 else "readings/bulk")

    @override
    def encode(self, points: Sequence[Point]) -> bytes:
        """Return the readings, each value in all units that the table names."""
        return json_bytes({"readings": [self._reading(point) for point in points]})

    def _reading(self, point: Point) -> dict[str, Any]:
        """Return one reading as JSON data."""
        local = datetime.fromtimestamp(point.collected_at, self._zone)
        reading: dict[str, Any] = {
            "device_id": point.source.device_id,
            "device": point.source.device,
            "ts_utc": point.collected_at_utc,
            "ts_local": local.isoformat(),
            "payload": {q: _in_units(q, value) for q, value in point.values.items()},
        }
        return reading | ({"site": self._site} if self._site else {})

    @override
    def confirms(self, status: int, answer: bytes) -> bool:
        """Return whether the status is any 2xx and the body names no error."""
        if not HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
            return False
        try:
            body = json_loads(answer)
        except JSON_DECODE_EXCEPTIONS:
            return True
        if not isinstance(body, dict):
            return True
        errors = body.get("error") or body.get("errors")
        return not errors and body.get("status") != "error"


def _in_units(quantity: str, value: float) -> dict[str, float]:
    """Return a value in each unit that JSON has for it, by the unit's key."""
    base = base_quantity(quantity)
    convert = base.converter.converter_factory
    return {
        key: value
        if unit == base.unit
        else round(convert(base.unit, unit)(value), DIGITS)
        for key, unit in base.json_units.items()
    }


async def _read_answer(response: aiohttp.ClientResponse) -> bytes:
    """Read the whole answer; return its first bytes."""
    beginning = b""
    async for chunk in response.content.iter_any():
        beginning += chunk[: MAX_ANSWER_BYTES - len(beginning)]
    return beginning


def _failure(status: int) -> Failure:
    """Return the failure behind a status that confirms nothing."""
    if status in FAILURES:
        return FAILURES[status]
    if status < HTTPStatus.MULTIPLE_CHOICES:
        return Failure.ENDPOINT_NOT_CONFIRMED
    if status < HTTPStatus.BAD_REQUEST:
        return Failure.ENDPOINT_REDIRECTED
    if status < HTTPStatus.INTERNAL_SERVER_ERROR:
        return Failure.ENDPOINT_REFUSED
    return Failure.ENDPOINT_FAILED


def retry_after_seconds(header: str | None, now: float) -> float:
    """Return the seconds in a Retry-After header, which may hold a date (RFC 9110).

    The result is at most a day, and 0 for a header that is missing or not readable.
    """
    if header is None:
        return 0.0
    try:
        seconds = float(header)
    except ValueError:
        try:
            at = parsedate_to_datetime(header)
        except ValueError:
            return 0.0
        # A date without a zone is in UTC.
        seconds = (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() - now
    return min(max(0.0, seconds), DAY_SECONDS) if math.isfinite(seconds) else 0.0


def _tag(text: str) -> str:
    """Return the value of a tag, escaped for the line protocol.

    Backslashes become slashes: servers differ in how they read a backslash before a
    special character, and one drops such lines without an error.
    """
    line = " ".join(text.replace("\\", "/").split())
    return SPECIAL_CHARACTERS.sub(r"\\\g<0>", line)


FAILURES: Final[dict[int, Failure]] = {
    HTTPStatus.UNAUTHORIZED: Failure.ENDPOINT_UNAUTHORISED,
    HTTPStatus.FORBIDDEN: Failure.ENDPOINT_UNAUTHORISED,
    HTTPStatus.NOT_FOUND: Failure.ENDPOINT_MISPLACED,
    HTTPStatus.METHOD_NOT_ALLOWED: Failure.ENDPOINT_MISPLACED,
    HTTPStatus.REQUEST_TIMEOUT: Failure.ENDPOINT_BUSY,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: Failure.ENDPOINT_TOO_LARGE,
    HTTPStatus.TOO_EARLY: Failure.ENDPOINT_BUSY,
    HTTPStatus.TOO_MANY_REQUESTS: Failure.ENDPOINT_BUSY,
    HTTPStatus.SERVICE_UNAVAILABLE: Failure.ENDPOINT_BUSY,
}
# Failures after which the server may have stored the readings.
MAY_BE_STORED: Final = {Failure.ENDPOINT_FAILED, Failure.ENDPOINT_NOT_CONFIRMED}
ENDPOINTS: Final[dict[str, type[Endpoint]]] = {
    EndpointProtocol.INFLUXDB_1: InfluxDb1,
    EndpointProtocol.INFLUXDB_2: InfluxDb2,
    EndpointProtocol.JSON: Json,
}
