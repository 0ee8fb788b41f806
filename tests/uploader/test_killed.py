"""Days of a network that fails in every way, with a site that is killed meanwhile."""

import asyncio
from collections import defaultdict
from contextlib import closing
from itertools import cycle
from pathlib import Path
import sqlite3
import sys

from benchmarks.thinning import NAME

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
    """Return what the site has recorded: each reading has the time of its first row."""
    found: Readings = defaultdict(list)
    with closing(sqlite3.connect(path)) as database:
        for entity_id, time, state in database.execute(ROWS):
            source = SOURCES[entity_id]
            series = source.device_id, source.quantity
            found[series].append((int(time) * 1000, float(state)))
    return found


async def test_everything_fails(
    tmp_path: Path, victoria: Victoria, proxy: Proxy
) -> None:
    """In the end the server has exactly what the recorder has, each reading once."""
    command = sys.executable, "-m", "tests.uploader.site", tmp_path, proxy.url, STEPS
    failures = cycle(Failure)
    kills, tried = 0, set[Failure]()
    while True:
        site = await asyncio.create_subprocess_exec(
            *map(str, command), cwd=ROOT, stderr=asyncio.subprocess.PIPE
        )
        said = asyncio.create_task(site.communicate())
        for _ in range(8):
            if tried == set(Failure):
                await proxy.heal()
                break
            await proxy.fail(failure := next(failures))
            tried.add(failure)
            before = len(proxy.requests)
            for _ in range(40):  # Until the site has met it several times.
                await asyncio.sleep(0.05)
                if len(proxy.requests) > before + 3 or failure is Failure.REFUSED:
                    break
            await proxy.heal()
            await asyncio.sleep(0.1)
        else:
            site.kill()
            await said
            kills += 1
            continue
        _, errors = await said
        assert site.returncode == 0, errors.decode()
        break
    assert kills >= 2
    there = recorded(tmp_path / NAME)
    assert arrived(victoria) == there
    # A killed recorder may lose a part of its current reading.
    assert all(len(points) >= STEPS - kills for points in there.values())
