"""Send the readings of many sites to one VictoriaMetrics, and print the cost.

    python -m benchmarks.many_sites                 # bytes on the wire; needs no server
    victoria-metrics -storageDataPath=FOLDER -retentionPeriod=100y \
      -dedup.minScrapeInterval=1ms
    python -m benchmarks.many_sites http://127.0.0.1:8428 --sites 1000 --steps 288

A site has some sticks with a temperature and a humidity each, read every 5 minutes.
The integration's own code makes the requests before the clock starts; the server itself
reports its use of CPU, memory and disk. It has to be new.
"""

import argparse
import asyncio
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC
import math
import random
import re
import time
from typing import Final

import aiohttp
from homeassistant.helpers.aiohttp_client import SERVER_SOFTWARE

from custom_components.temperature_logger.uploader.endpoints import (
    ENDPOINTS,
    Endpoint,
    EndpointProtocol,
    Post,
)
from custom_components.temperature_logger.uploader.points import Point, Source

from .thinning import say

INTERVAL: Final = 300
LATE_SHARE: Final = 0.1
# Long ago, at the start of a day; the server orders by time, not by arrival.
BEGIN: Final = 1_760_000_000 // 86_400 * 86_400
# The login for a proxy; VictoriaMetrics ignores it.
TOKEN: Final = "t" * 43
ANSWER: Final = b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n"
BATCHES: Final = (1, 5, 360)
# /metrics may be late by this time.
METRICS_DELAY_S: Final = 2
# The names in /metrics that are used here.
CPU_SECONDS: Final = "process_cpu_seconds_total"
MEMORY_BYTES: Final = "process_resident_memory_bytes"
PEAK_MEMORY_BYTES: Final = "process_resident_memory_peak_bytes"
DISK_BYTES: Final = "vm_data_size_bytes"
ROW_COUNT: Final = "vm_rows_inserted_total"


def readings(site: int, sticks: int, steps: int) -> Iterator[Point]:
    """Yield the readings of a site: a day's course, a slow drift, and noise."""
    chance = random.Random(site)  # noqa: S311 - It keeps no secret.
    names = [
        (f"{chance.getrandbits(128):032x}", f"TEMPerHUM {stick + 1}", chance.random())
        for stick in range(sticks)
    ]
    drift = [chance.gauss(0, 3) for _ in names]
    for step in range(steps):
        # One in ten is a second late.
        at = BEGIN + step * INTERVAL + site % INTERVAL + (chance.random() < LATE_SHARE)
        for stick, (device_id, name, phase) in enumerate(names):
            drift[stick] += chance.gauss(0, 0.02)
            course = math.sin(2 * math.pi * (at / 86_400 + phase))
            values = {
                "temperature": 20 + 2 * course + drift[stick] + chance.gauss(0, 0.03),
                "humidity": 50 - 6 * course - drift[stick] + chance.gauss(0, 0.15),
            }
            yield Point(
                source=Source(device_id, name, "temperature"),
                started=at,
                first=step,
                last=step,
                values={q: round(value, 2) for q, value in values.items()},
            )


def endpoint(protocol: str, url: str, site: int, *, is_packed: bool = True) -> Endpoint:
    """Return a site's endpoint on the server."""
    data = {"url": url, "org": "home", "bucket": "readings", "database": "readings"}
    login = {"token": TOKEN, "site": f"site-{site:07}", "gzip": is_packed}
    return ENDPOINTS[protocol](data | login, UTC)


def requests(url: str, sites: int, sticks: int, steps: int, size: int) -> list[Post]:
    """Return all batches: each site's in order, the sites interleaved."""
    batches = []
    for site in range(sites):
        server = endpoint(EndpointProtocol.INFLUXDB_2, url, site)
        points = list(readings(site, sticks, steps))
        parts = [points[at : at + size] for at in range(0, len(points), size)]
        batches.append([server.prepare(part) for part in parts])
    return [batch for turn in zip(*batches, strict=True) for batch in turn]


async def wire() -> None:
    """Print the bytes of a reading, of the body alone and in total."""
    sizes: list[int] = []

    async def receive(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Receive one request, and count its bytes."""
        head = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head.lower())
        body = await reader.readexactly(int(length[1]) if length else 0)
        sizes.append(len(head) + len(body))
        writer.write(ANSWER)
        writer.close()

    server = await asyncio.start_server(receive, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    say("bytes per reading: body, and with the request's head")
    headers = {"User-Agent": SERVER_SOFTWARE}
    async with server, aiohttp.ClientSession(headers=headers) as session:
        for protocol in (EndpointProtocol.INFLUXDB_2, EndpointProtocol.JSON):
            for is_packed in (False, True):
                for size in BATCHES:
                    points = list(readings(1, 5, -(-size // 5)))[:size]
                    server_endpoint = endpoint(protocol, url, 1, is_packed=is_packed)
                    request = server_endpoint.prepare(points)
                    await server_endpoint.send(session, request)
                    label = f"{protocol} gzip={is_packed} batch={size}"
                    body = len(request.body) / size
                    say(f"{label}: {body:.1f}, {sizes[-1] / size:.1f}")


async def post(url: str, batches: Iterable[Post], connections: int) -> list[float]:
    """Post all batches, some at a time; return the seconds for each."""
    server = endpoint(EndpointProtocol.INFLUXDB_2, url, 0)
    waiting = iter(batches)
    took = []

    async def work(session: aiohttp.ClientSession) -> None:
        """Post one batch after the other."""
        for batch in waiting:
            began = time.perf_counter()
            await server.send(session, batch)
            took.append(time.perf_counter() - began)

    connector = aiohttp.TCPConnector(limit=connections)
    async with (
        aiohttp.ClientSession(connector=connector) as session,
        asyncio.TaskGroup() as group,
    ):
        for _ in range(connections):
            group.create_task(work(session))
    return took


async def ask(url: str, path: str) -> str:
    """Return the server's answer."""
    limit = aiohttp.ClientTimeout(total=3600)
    async with (
        aiohttp.ClientSession(timeout=limit) as session,
        session.get(f"{url}/{path}") as response,
    ):
        return await response.text()


async def figures(url: str) -> dict[str, float]:
    """Return the figures of /metrics, summed over the labels of each name."""
    await asyncio.sleep(METRICS_DELAY_S)
    totals: dict[str, float] = {}
    for line in (await ask(url, "metrics")).splitlines():
        name, _, value = line.rpartition(" ")
        name = name.partition("{")[0]
        totals[name] = totals.get(name, 0) + float(value)
    return totals


async def fill(url: str, batches: Sequence[Post], connections: int) -> None:
    """Post everything; print the rate and the cost."""
    before = await figures(url)
    began = time.perf_counter()
    durations = sorted(await post(url, batches, connections))
    seconds = time.perf_counter() - began
    loaded = await figures(url)
    await ask(url, "internal/force_flush")
    await ask(url, "internal/force_merge")
    while (now := await figures(url))["vm_active_force_merges"]:
        pass
    say(f"{len(batches)} batches in {seconds:.1f} s, {len(batches) / seconds:.0f}/s")
    middle, late = durations[len(durations) // 2], durations[len(durations) * 99 // 100]
    say(f"an answer took {middle * 1e3:.1f} ms, one in 100 {late * 1e3:.1f} ms or more")
    rows = loaded[ROW_COUNT] - before[ROW_COUNT]
    say(f"{rows:.0f} points, {rows / seconds:.0f}/s")
    cpu = loaded[CPU_SECONDS] - before[CPU_SECONDS]
    say(f"CPU {cpu:.1f} s: {cpu / rows * 1e6:.1f} us/point")
    say(f"CPU with the merge {now[CPU_SECONDS] - before[CPU_SECONDS]:.1f} s")
    memory, peak = loaded[MEMORY_BYTES] / 2**20, now[PEAK_MEMORY_BYTES] / 2**20
    say(f"memory {memory:.0f} MiB, at most {peak:.0f} MiB")
    disk = now[DISK_BYTES]
    say(f"disk {disk / 2**20:.1f} MiB: {disk / rows:.2f} bytes/point")
    say(f"series {await ask(url, 'api/v1/series/count')}")


def main() -> None:
    """Run the measurement."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url", nargs="?")
    parser.add_argument("--sites", type=int, default=100)
    parser.add_argument("--sticks", type=int, default=5)
    parser.add_argument("--steps", type=int, default=288, help="readings of a stick")
    parser.add_argument("--batch", type=int, default=360)
    parser.add_argument("--connections", type=int, default=20)
    args = parser.parse_args()
    if args.url is None:
        asyncio.run(wire())
        return
    began = time.perf_counter()
    batches = requests(args.url, args.sites, args.sticks, args.steps, args.batch)
    count = args.sites * args.sticks * args.steps
    say(f"{count} readings, made in {time.perf_counter() - began:.1f} s")
    asyncio.run(fill(args.url, batches, args.connections))


if __name__ == "__main__":
    main()
