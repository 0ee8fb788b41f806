"""Send the readings of a database in a file, by a real recorder, while it records.

    python -m benchmarks.delivery FOLDER --days 14 --sensors 100 [--url http://…:8428]

A missing database is created in the folder as by benchmarks.thinning: with this number
of our sensors, and as many others. Then all readings of our sensors are sent: to a
VictoriaMetrics or another server with /api/v2/write at the URL, or to a server in a
process of its own that accepts everything at once.
"""

import argparse
import asyncio
from asyncio.events import Handle
from collections.abc import Callable, Iterator
from contextlib import contextmanager
import gc
from http import HTTPStatus
import multiprocessing
from multiprocessing.connection import Connection
from pathlib import Path
import resource
import time
from typing import Any
from unittest.mock import patch
from zoneinfo import ZoneInfo

from aiohttp import ClientSession, web
from homeassistant.core import HomeAssistant
from homeassistant.helpers import recorder

from custom_components.temperature_logger.uploader.cursor import Cursor
from custom_components.temperature_logger.uploader.delivery import Delivery
from custom_components.temperature_logger.uploader.endpoints import InfluxDb2
from custom_components.temperature_logger.uploader.outbox import Outbox
from custom_components.temperature_logger.uploader.points import Source

from .thinning import DATABASE_NAME, OUR_SENSOR, fill, recording, say

MIB = 2**20


class Loop:
    """An event loop that times every callback."""

    longest = 0.0
    longest_callback = ""

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Time all callbacks from now on."""
        run = Handle._run  # noqa: SLF001 - Nothing else sees all of them.

        def timing(handle: Any) -> None:  # noqa: ANN401
            began = time.perf_counter()
            run(handle)
            duration = time.perf_counter() - began
            if duration > self.longest:
                self.longest, self.longest_callback = duration, repr(handle)

        with patch.object(Handle, "_run", timing):
            yield


async def take(request: web.Request) -> web.Response:
    """Accept every request."""
    await request.read()
    return web.Response(status=HTTPStatus.NO_CONTENT)


def serve(parent: Connection) -> None:
    """Run a server that accepts everything, and send back its port."""

    async def run() -> None:
        app = web.Application(client_max_size=64 * MIB)
        app.router.add_post("/api/v2/write", take)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        parent.send(runner.addresses[0][1])
        await asyncio.Event().wait()

    asyncio.run(run())


@contextmanager
def receiver(url: str | None) -> Iterator[str]:
    """Yield the URL of a server; start one if no URL is given."""
    if url is not None:
        yield url
        return
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.Process(target=serve, args=(theirs,), daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{ours.recv()}"
    finally:
        process.terminate()


def resident_bytes() -> int:
    """Return the size of this process in memory."""
    pages = Path("/proc/self/statm").read_text().split()[1]
    return int(pages) * resource.getpagesize()


async def memory(peak: Callable[[int], None]) -> None:
    """Sample the memory of this process ten times a second."""
    while True:
        peak(resident_bytes())
        await asyncio.sleep(0.1)


async def measure(options: argparse.Namespace, url: str) -> None:
    """Fill a database if there is none, send it, and print the cost."""
    path = options.folder / DATABASE_NAME
    if not path.exists():
        async with recording(options.folder):
            pass
        fill(path, options.days, options.sensors, options.interval)
    async with recording(options.folder) as hass, ClientSession() as session:
        await send_all(hass, session, url, options)


async def send_all(
    hass: HomeAssistant, session: ClientSession, url: str, options: argparse.Namespace
) -> None:
    """Send all readings, while a state changes ten times a second."""
    sources = {
        OUR_SENSOR.format(n): Source(f"device{n}", f"Sensor {n}", "temperature")
        for n in range(options.sensors)
    }
    data = {"url": url, "org": "o", "bucket": "b", "token": "t", "gzip": options.gzip}
    cursor = Cursor(hass, f"benchmark_{time.time_ns()}")
    instance = recorder.get_instance(hass)
    delivery = Delivery(
        InfluxDb2(data, ZoneInfo("UTC")),
        session,
        cursor,
        options.batch,
        instance.async_add_executor_job,
    )
    outbox = Outbox(hass, sources)
    await instance.async_add_executor_job(outbox.open)
    gc.collect()
    loop, peaks = Loop(), [resident_bytes()]
    watching = asyncio.create_task(memory(peaks.append))
    began = time.monotonic()
    with loop.timed():
        await delivery.run(outbox, time.time() - 5, lambda *_: None)
    duration = time.monotonic() - began
    watching.cancel()
    count = cursor.progress.delivered
    say(f"{count} readings in {duration:.1f} s: {count / duration:.0f}/s")
    say(f"longest callback {loop.longest * 1000:.1f} ms: {loop.longest_callback[:200]}")
    say(f"memory +{(max(peaks) - peaks[0]) / MIB:.1f} MiB over {peaks[0] / MIB:.0f}")
    await cursor.async_remove()


def main() -> None:
    """Read the options."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--batch", type=int, default=360)
    parser.add_argument("--days", type=int, default=14)
    parser.add_argument("--gzip", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--interval", type=int, default=300)
    parser.add_argument("--sensors", type=int, default=100)
    parser.add_argument("--url")
    options = parser.parse_args()
    options.folder.mkdir(exist_ok=True, parents=True)
    multiprocessing.set_start_method("spawn")
    with receiver(options.url) as url:
        asyncio.run(measure(options, url))


if __name__ == "__main__":
    main()
