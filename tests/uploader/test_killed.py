"""Days of a network that fails in every way, with a site that is killed meanwhile."""

import asyncio
from asyncio import StreamReader
from asyncio.subprocess import PIPE, Process
from collections import defaultdict
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, closing
from http import HTTPStatus
from itertools import batched
from pathlib import Path
import sqlite3
import sys

from benchmarks.thinning import DATABASE_NAME
from tests.drivers.waiting import until

from .common import Readings, arrived
from .proxy import Failure, Proxy
from .receivers import Victoria
from .site import SOURCES

STEPS = 3 * 288
"""Three days, a reading every 5 minutes."""
ROOT = Path(__file__).parent.parent.parent
ROWS = """SELECT meta.entity_id, last_updated_ts, state FROM states
    JOIN states_meta AS meta USING (metadata_id)
    WHERE meta.entity_id LIKE 'sensor.%' ORDER BY last_updated_ts"""


def recorded(path: Path) -> Readings:
    """Return the recorded readings of a site, each with the time of its first row."""
    readings: Readings = defaultdict(list)
    with closing(sqlite3.connect(path)) as database:
        for entity_id, time, state in database.execute(ROWS):
            source = SOURCES[entity_id]
            series = source.device_id, source.quantity
            readings[series].append((int(time) * 1000, float(state)))
    return readings


class Site:
    """A site, as a process."""

    def __init__(self, process: Process) -> None:
        """Listen to the process."""
        assert process.stdout
        assert process.stderr
        self.process = process
        self.failure_count = 0
        """The number of its deliveries that failed."""
        self._output = asyncio.gather(
            self._listen(process.stdout), process.stderr.read()
        )

    async def endure(self, proxy: Proxy, failure: Failure) -> None:
        """Subject the site to a failure, in all its forms, until it recovers."""
        failure_count, request_count = self.failure_count, len(proxy.requests)

        def met() -> bool:
            if failure is Failure.REFUSED:  # The proxy is not involved.
                return self.failure_count > failure_count
            return len(proxy.requests) > request_count + 3

        await proxy.fail(failure)
        await until(lambda: met() or self.has_ended)
        assert not self.has_ended, await self.end()
        await proxy.heal()
        request_count = len(proxy.requests)

        def is_over() -> bool:
            requests = proxy.requests[request_count:]
            return any(request.status == HTTPStatus.NO_CONTENT for request in requests)

        await until(lambda: is_over() or self.has_ended)

    @property
    def has_ended(self) -> bool:
        """Whether all readings have arrived, or the site was killed."""
        return self.process.returncode is not None

    async def end(self) -> str:
        """Wait until the site has ended; return its error output."""
        _, errors = await self._output
        await self.process.wait()
        return errors.decode()

    async def _listen(self, stream: StreamReader) -> None:
        """Count the failed deliveries in its output."""
        while await stream.readline():
            self.failure_count += 1


@asynccontextmanager
async def started(folder: Path, url: str) -> AsyncGenerator[Site]:
    """Start or continue the site in a folder; in the end kill it, like a power cut."""
    command = "-m", "tests.uploader.site", str(folder), url, str(STEPS)
    site = Site(
        await asyncio.create_subprocess_exec(
            sys.executable, *command, cwd=ROOT, stdout=PIPE, stderr=PIPE
        )
    )
    try:
        yield site
    finally:
        if not site.has_ended:
            site.process.kill()
        await site.end()


async def test_everything_fails(
    tmp_path: Path, victoria: Victoria, proxy: Proxy
) -> None:
    """In the end the server has each reading of the recorder exactly once."""
    *killed, last = batched(Failure, 8, strict=False)
    for failures in killed:
        async with started(tmp_path, proxy.url) as site:
            for failure in failures:
                await site.endure(proxy, failure)
    async with started(tmp_path, proxy.url) as site:
        for failure in last:
            await site.endure(proxy, failure)
        errors = await site.end()
    assert site.process.returncode == 0, errors
    assert (kills := len(killed)) >= 2
    there = recorded(tmp_path / DATABASE_NAME)
    assert arrived(victoria) == there
    # A killed recorder may lose a part of its current reading.
    assert all(len(points) >= STEPS - kills for points in there.values())
