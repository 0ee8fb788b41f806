"""The servers that take readings, and what each wants to be told how.

InfluxDB's line protocol, as of its documentation "Line protocol" (v2) and "Write data
with the InfluxDB API" (v2, v1.8), which VictoriaMetrics, QuestDB, Telegraf and others
take, too; and JSON for a server of one's own.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, tzinfo
from email.utils import parsedate_to_datetime
from enum import StrEnum
import gzip
import hashlib
from http import HTTPStatus
import math
import re
import time
from typing import Any, Final, NamedTuple, override

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

from ..const import CONF_BUCKET, CONF_DATABASE, CONF_GZIP, CONF_ORG, CONF_SITE, DIGITS
from ..history import iso
from ..units import base
from .errors import DeliveryError, Failure
from .points import Point

MEASUREMENT: Final = "temperature_logger"
SPECIAL: Final = re.compile(r"[,= ]")
# Seconds that a server has for a batch.
LIMIT: Final = aiohttp.ClientTimeout(total=30, connect=10)
# Bytes of an answer that are looked at, and characters of it that are quoted.
LOOKED_AT: Final = 65_536
QUOTED: Final = 200
# Little work for the machine; more saves hardly any bytes.
GZIP_LEVEL: Final = 1
ENOUGH_LATER: Final = 86_400
"""The longest pause, in seconds, that a server may ask for."""


class Protocol(StrEnum):
    """What a server understands."""

    INFLUXDB_2 = "influxdb_2"
    INFLUXDB_1 = "influxdb_1"
    JSON = "json"


class Request(NamedTuple):
    """A batch that is ready to be posted, as often as it takes."""

    url: URL
    headers: dict[str, str]
    body: bytes


class Endpoint(ABC):
    """A server, as an entry describes it."""

    content_type: str

    def __init__(self, data: Mapping[str, Any], zone: tzinfo) -> None:
        """Take the data of an entry, and the zone of local times."""
        self._data = data
        self._site: str = data.get(CONF_SITE, "")
        self._url = URL(data[CONF_URL])
        self._zone = zone

    def prepare(self, points: Sequence[Point]) -> Request:
        """Return what is posted for some readings; the same for the same ones."""
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
        return Request(self.url(len(points)), headers, body)

    async def send(self, session: aiohttp.ClientSession, request: Request) -> None:
        """Post a batch; raise DeliveryError unless the server confirms all of it."""
        place = str(request.url.origin())
        try:
            async with session.post(
                request.url,
                data=request.body,
                headers=request.headers,
                allow_redirects=False,
                timeout=LIMIT,
            ) as response:
                # All of it: an answer that is cut off confirms nothing.
                answer = await _read(response)
        except TimeoutError as err:
            raise DeliveryError(
                Failure.ENDPOINT_SILENT, is_open=True, url=place
            ) from err
        except aiohttp.ClientConnectorCertificateError as err:
            raise DeliveryError(
                Failure.ENDPOINT_CERTIFICATE, url=place, error=str(err)
            ) from err
        except aiohttp.ClientError as err:
            raise DeliveryError(
                Failure.ENDPOINT_UNREACHABLE,
                is_open=not isinstance(err, aiohttp.ClientConnectorError),
                url=place,
                error=str(err) or repr(err),
            ) from err
        self._judge(response, answer)

    def _judge(self, response: aiohttp.ClientResponse, answer: bytes) -> None:
        """Raise DeliveryError unless an answer confirms a batch."""
        status = response.status
        if self.confirms(status, answer):
            return
        text = " ".join(answer.decode(errors="replace").split())[:QUOTED]
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
            is_open=failure in OPEN,
            retry_after=later(response.headers.get("Retry-After"), time.time()),
            **details,
        )

    def authorization(self) -> dict[str, str]:
        """Return the header that says who sends."""
        if token := self._data.get(CONF_TOKEN):
            return {"Authorization": f"Bearer {token}"}
        if username := self._data.get(CONF_USERNAME):
            password = self._data.get(CONF_PASSWORD, "")
            return {"Authorization": aiohttp.encode_basic_auth(username, password)}
        return {}

    @abstractmethod
    def url(self, count: int) -> URL:
        """Return where so many readings are posted."""

    @abstractmethod
    def encode(self, points: Sequence[Point]) -> bytes:
        """Return readings as the server reads them."""

    @abstractmethod
    def confirms(self, status: int, answer: bytes) -> bool:
        """Return whether an answer says that all has arrived."""


class LineProtocol(Endpoint):
    """A server that takes InfluxDB's line protocol."""

    content_type = "text/plain; charset=utf-8"

    @override
    def encode(self, points: Sequence[Point]) -> bytes:
        """Return a line for each reading: tags site, device and device_id; seconds."""
        heads: dict[str, str] = {}
        lines = []
        for point in points:
            source = point.source
            if (head := heads.get(source.device_id)) is None:
                head = heads[source.device_id] = self._head(point)
            fields = ",".join(f"{q}={value!r}" for q, value in point.values.items())
            lines.append(f"{head} {fields} {point.collected_at}")
        # A comment where there is nothing to say: that writes nothing, if it may.
        return ("\n".join(lines) or "#").encode()

    def _head(self, point: Point) -> str:
        """Return the series of a device; the tags in the order that is fastest."""
        tags = {
            "device": point.source.device,
            "device_id": point.source.device_id,
            "site": self._site,
        }
        pairs = (f"{name}={_tag(text)}" for name, text in tags.items() if _tag(text))
        return ",".join((MEASUREMENT, *pairs))

    @override
    def confirms(self, status: int, answer: bytes) -> bool:
        """Return whether all was written; 200 comes with an error, or from a stranger.

        InfluxDB 1.8: "200: InfluxDB understood the request but couldn't complete it".
        """
        return status == HTTPStatus.NO_CONTENT


class InfluxDb2(LineProtocol):
    """The interface of InfluxDB 2 and later."""

    @override
    def authorization(self) -> dict[str, str]:
        """Return the header with InfluxDB's own scheme."""
        if token := self._data.get(CONF_TOKEN):
            return {"Authorization": f"Token {token}"}
        return super().authorization()

    @override
    def url(self, count: int) -> URL:
        """Return where to write."""
        return (self._url / "api/v2/write").with_query(
            org=self._data[CONF_ORG], bucket=self._data[CONF_BUCKET], precision="s"
        )


class InfluxDb1(LineProtocol):
    """The interface of InfluxDB 1."""

    @override
    def url(self, count: int) -> URL:
        """Return where to write."""
        query = {"db": self._data[CONF_DATABASE], "precision": "s"}
        return (self._url / "write").with_query(query)


class Json(Endpoint):
    """A server of one's own."""

    content_type = "application/json"

    @override
    def url(self, count: int) -> URL:
        """Return where one reading is posted, or many."""
        return self._url / ("readings" if count == 1 else "readings/bulk")

    @override
    def encode(self, points: Sequence[Point]) -> bytes:
        """Return the readings, each with its values in all units that are usual."""
        return json_bytes({"readings": [self._reading(point) for point in points]})

    def _reading(self, point: Point) -> dict[str, Any]:
        """Return one reading."""
        collected_at = point.collected_at
        local = datetime.fromtimestamp(collected_at, self._zone)
        reading: dict[str, Any] = {
            "device_id": point.source.device_id,
            "device": point.source.device,
            "ts_utc": iso(collected_at),
            "ts_local": local.isoformat(),
            "payload": {q: UNITS[base(q)](value) for q, value in point.values.items()},
        }
        return reading | ({"site": self._site} if self._site else {})

    @override
    def confirms(self, status: int, answer: bytes) -> bool:
        """Return whether all was taken: any 2xx without an error in its body."""
        if not HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
            return False
        try:
            told = json_loads(answer)
        except JSON_DECODE_EXCEPTIONS:
            return True
        if not isinstance(told, dict):
            return True
        failed = told.get("error") or told.get("errors")
        return not failed and told.get("status") != "error"


async def _read(response: aiohttp.ClientResponse) -> bytes:
    """Return what an answer begins with, once all of it has come."""
    begin = b""
    async for chunk in response.content.iter_any():
        begin += chunk[: LOOKED_AT - len(begin)]
    return begin


def _failure(status: int) -> Failure:
    """Return what an answer that confirms nothing means."""
    if status in FAILURES:
        return FAILURES[status]
    if status < HTTPStatus.MULTIPLE_CHOICES:
        return Failure.ENDPOINT_NOT_CONFIRMED
    if status < HTTPStatus.BAD_REQUEST:
        return Failure.ENDPOINT_REDIRECTED
    if status < HTTPStatus.INTERNAL_SERVER_ERROR:
        return Failure.ENDPOINT_REFUSED
    return Failure.ENDPOINT_FAILED


def later(header: str | None, now: float) -> float:
    """Return after how many seconds a server wants to be asked again (RFC 9110).

    It says so in seconds or as a date; what cannot be read is none.
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
    return min(max(0.0, seconds), ENOUGH_LATER) if math.isfinite(seconds) else 0.0


def _tag(text: str) -> str:
    """Return a tag's value, escaped as the protocol has it.

    Not all servers read a backslash before a special character alike, and one leaves
    the line out without a word: it becomes another stroke.
    """
    line = " ".join(text.replace("\\", "/").split())
    return SPECIAL.sub(r"\\\g<0>", line)


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
# What a server answers to readings that it may have stored.
OPEN: Final = {Failure.ENDPOINT_FAILED, Failure.ENDPOINT_NOT_CONFIRMED}
# A value of each quantity, in the units that the receiver may want.
UNITS: Final[dict[str, Callable[[float], dict[str, float]]]] = {
    "co2": lambda value: {"ppm": value},
    "humidity": lambda value: {"rh": value},
    "pressure": lambda value: {"hpa": value},
    "space": lambda value: {"gib": value},
    "temperature": lambda value: {"c": value, "f": round(value * 1.8 + 32, DIGITS)},
    "usage": lambda value: {"percent": value},
}
ENDPOINTS: Final[dict[str, type[Endpoint]]] = {
    Protocol.INFLUXDB_1: InfluxDb1,
    Protocol.INFLUXDB_2: InfluxDb2,
    Protocol.JSON: Json,
}
