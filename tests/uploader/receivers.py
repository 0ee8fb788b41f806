"""Receivers of the test run's own: a VictoriaMetrics and an InfluxDB 1.x."""

from collections import defaultdict
from collections.abc import Generator
from contextlib import contextmanager
import json
from typing import Any, Final, NamedTuple

import httpx

from tests.servers import served

DATABASE: Final = "readings"

type Login = tuple[str, str]
"""User and password."""

ADMIN: Final[Login] = ("admin", "of all")
WRITER: Final[Login] = ("writer", "of readings")
READER: Final[Login] = ("reader", "of readings")

type Points = list[tuple[int, float]]
"""Unix time in ms and value, in the order of time."""

POINTS: Final = 'SELECT * FROM "{}"'
# The retention is long, for readings of the past; a query includes the newest data.
VICTORIA: Final = (
    *("victoria-metrics", "-httpListenAddr=127.0.0.1:{port}", "-storageDataPath=data"),
    *("-retentionPeriod=100y", "-search.latencyOffset=0s", "-search.disableCache"),
    # Without a limit it would take most of the machine's memory for caches.
    "-memory.allowedBytes=128MiB",
)
INFLUX: Final = """
reporting-disabled = true
bind-address = "127.0.0.1:0"
[meta]
dir = "{folder}/meta"
[data]
dir = "{folder}/data"
wal-dir = "{folder}/wal"
[monitor]
store-enabled = false
[continuous_queries]
enabled = false
[http]
bind-address = "127.0.0.1:{port}"
auth-enabled = true
"""


class Victoria(NamedTuple):
    """A VictoriaMetrics: accepts /api/v2/write and /write without a login.

    It answers 204 to every body that it can unpack, and drops malformed lines, texts,
    NaN and times more than two days ahead.
    """

    url: str

    def readings(self, *labels: str) -> dict[tuple[str, ...], Points]:
        """Return all stored readings by the values of these labels; "" stands for none.

        The label __name__ is the measurement, an underscore and the field. An export is
        de-duplicated like a query: by -dedup.minScrapeInterval, across all written
        data, merged on the disk or not. A time that is twice in one series was not
        de-duplicated. Series that these labels do not distinguish show up in the same
        way.
        """
        httpx.get(f"{self.url}/internal/force_flush").raise_for_status()
        everything = {"match[]": '{__name__!=""}'}
        answer = httpx.get(f"{self.url}/api/v1/export", params=everything, timeout=60)
        readings: dict[tuple[str, ...], Points] = defaultdict(list)
        for line in answer.raise_for_status().text.splitlines():
            series = json.loads(line)
            key = tuple(series["metric"].get(label, "") for label in labels)
            readings[key] += zip(series["timestamps"], series["values"], strict=True)
        return {key: sorted(points) for key, points in readings.items()}

    def clear(self) -> None:
        """Delete all data."""
        everything = {"match[]": '{__name__!=""}'}
        path = f"{self.url}/api/v1/admin/tsdb/delete_series"
        httpx.get(f"{self.url}/internal/force_flush").raise_for_status()
        httpx.get(path, params=everything).raise_for_status()


class Influx(NamedTuple):
    """An InfluxDB 1.x with a database, a user for writes and one for reads."""

    url: str

    def ask(self, *queries: str, login: Login | None = ADMIN) -> list[Any]:
        """Return the results of queries; times are in ms."""
        answer = httpx.post(
            f"{self.url}/query",
            params={"db": DATABASE, "epoch": "ms"},
            data={"q": ";".join(queries)},
            auth=login,
        )
        results: list[Any] = answer.raise_for_status().json()["results"]
        errors = [result["error"] for result in results if "error" in result]
        assert not errors
        return results

    def points(self, measurement: str) -> list[dict[str, Any]]:
        """Return the points with their time, tags and fields, in the order of time."""
        (result,) = self.ask(POINTS.format(measurement), login=READER)
        return [
            {
                column: value
                for column, value in zip(series["columns"], row, strict=True)
                if value is not None
            }
            for series in result.get("series", [])
            for row in series["values"]
        ]

    def clear(self) -> None:
        """Delete all data and the types of the fields."""
        self.ask(
            f"DROP DATABASE {DATABASE}",
            f"CREATE DATABASE {DATABASE}",
            f"GRANT WRITE ON {DATABASE} TO {WRITER[0]}",
            f"GRANT READ ON {DATABASE} TO {READER[0]}",
        )


@contextmanager
def victoria(dedup: str = "1ms") -> Generator[Victoria]:
    """Run a VictoriaMetrics; with "0s" it keeps repeated writes."""
    options = (*VICTORIA, f"-dedup.minScrapeInterval={dedup}")
    with served(options, lambda port: answers(port, "health")) as port:
        yield Victoria(f"http://127.0.0.1:{port}")


@contextmanager
def influx() -> Generator[Influx]:
    """Run an InfluxDB 1.x."""
    with served(
        ("influxd", "-config", "config"),
        lambda port: answers(port, "ping"),
        files={"config": INFLUX},
    ) as port:
        server = Influx(f"http://127.0.0.1:{port}")
        name, password = ADMIN
        # The first user needs no login, and has to be an administrator.
        server.ask(
            f"CREATE USER {name} WITH PASSWORD '{password}' WITH ALL PRIVILEGES",
            login=None,
        )
        for name, password in (WRITER, READER):
            server.ask(f"CREATE USER {name} WITH PASSWORD '{password}'")
        server.clear()
        yield server


def answers(port: int, path: str) -> bool:
    """Return whether a server is ready."""
    try:
        return httpx.get(f"http://127.0.0.1:{port}/{path}").is_success
    except httpx.TransportError:
        return False
