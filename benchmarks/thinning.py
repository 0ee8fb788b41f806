"""Thin a database with a real recorder, while it records.

    python -m benchmarks.thinning FOLDER --days 14 --sensors 100 --interval 300

A database that is missing in the folder is filled first: with so many sensors to thin,
and as many others. Then all steps are done, and each is timed.
"""

import argparse
import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
import gc
import json
from pathlib import Path
import sqlite3
import sys
import time

from homeassistant import loader
from homeassistant.bootstrap import async_load_base_functionality
from homeassistant.components.recorder.core import Recorder
from homeassistant.config_entries import ConfigEntries
from homeassistant.core import HomeAssistant
from homeassistant.helpers import recorder
from homeassistant.setup import async_setup_component

from custom_components.temperature_logger.disk_guard.thinning import Tally, thin
from custom_components.temperature_logger.history.recorder import WorkTask

OUR_SENSOR, OTHER_SENSOR = "sensor.ours_{}", "sensor.other_{}"
DATABASE_NAME = "home-assistant_v2.db"


class Timed(WorkTask):
    """Notes how long each turn took: the recorder does not write meanwhile."""

    longest = 0.0
    turns = 0

    def run(self, instance: Recorder) -> None:
        """Do one turn."""
        began = time.monotonic()
        super().run(instance)
        self.longest = max(self.longest, time.monotonic() - began)
        self.turns += 1


@asynccontextmanager
async def recording(folder: Path) -> AsyncGenerator[HomeAssistant]:
    """Run a Home Assistant with only a recorder."""
    hass = HomeAssistant(str(folder))
    hass.config.skip_pip = True
    hass.config_entries = ConfigEntries(hass, {})
    loader.async_setup(hass)
    if not await async_load_base_functionality(hass):
        sys.exit("Home Assistant does not start")
    recorder.async_initialize_recorder(hass)
    options = {"db_url": f"sqlite:///{folder / DATABASE_NAME}", "auto_purge": False}
    if not await async_setup_component(hass, "recorder", {"recorder": options}):
        sys.exit("The recorder does not start")
    await hass.async_start()
    try:
        await recorder.get_instance(hass).async_recorder_ready.wait()
        # A recorder that is still starting loses its tasks, such as the one to stop.
        await asyncio.sleep(1)
        yield hass
    finally:
        await hass.async_stop(force=True)


def fill(path: Path, days: int, sensors: int, interval: int) -> None:
    """Write rows that end now, each with the row before and shared attributes."""
    names = [
        name.format(n) for n in range(sensors) for name in (OUR_SENSOR, OTHER_SENSOR)
    ]
    with sqlite3.connect(path) as database:
        meta: dict[int, int | None] = {}
        attributes: dict[int, int | None] = {}
        for name in names:
            new = database.execute(
                "INSERT INTO states_meta (entity_id) VALUES (?)", (name,)
            )
            shared = json.dumps({"friendly_name": name, "unit_of_measurement": "°C"})
            also = database.execute(
                "INSERT INTO state_attributes (shared_attrs) VALUES (?)", (shared,)
            )
            meta[len(meta)] = new.lastrowid
            attributes[len(attributes)] = also.lastrowid
        now = time.time()
        count = days * 86400 // interval
        before: list[int | None] = [None] * len(names)
        (last,) = database.execute("SELECT coalesce(max(state_id), 0) FROM states")
        state_id: int = last[0]
        statement = """INSERT INTO states (state_id, state, last_updated_ts,
            old_state_id, attributes_id, context_id_bin, metadata_id, origin_idx)
            VALUES (?, ?, ?, ?, ?, randomblob(16), ?, 0)"""
        for step in range(count):
            rows = []
            for n in range(len(names)):
                state_id += 1
                at = now - (count - step) * interval + n / len(names)
                state = f"{20 + (step * 7 + n) % 100 / 10}"
                rows.append((state_id, state, at, before[n], attributes[n], meta[n]))
                before[n] = state_id
            database.executemany(statement, rows)
    database.close()


def say(*facts: object) -> None:
    """Print a line at once."""
    sys.stdout.write(" ".join(map(str, facts)) + "\n")
    sys.stdout.flush()


def pages(path: Path) -> tuple[int, int, int]:
    """Return bytes, free bytes inside, and rows."""
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as database:

        def ask(statement: str) -> int:
            number: int = database.execute(statement).fetchone()[0]
            return number

        size = ask("PRAGMA page_size")
        return (
            size * ask("PRAGMA page_count"),
            size * ask("PRAGMA freelist_count"),
            ask("SELECT count(*) FROM states"),
        )


def numbers(path: Path) -> list[int]:
    """Return the recorder's numbers of the sensors to thin."""
    ours = "SELECT metadata_id FROM states_meta WHERE entity_id LIKE 'sensor.ours%'"
    with sqlite3.connect(path) as database:
        return [row[0] for row in database.execute(ours)]


async def measure(options: argparse.Namespace) -> None:
    """Fill a database if there is none, thin it and print the time."""
    path = options.folder / DATABASE_NAME
    if not path.exists():
        async with recording(options.folder):
            pass
        fill(path, options.days, options.sensors, options.interval)
    say("filled:", *pages(path))
    async with recording(options.folder) as hass:
        await thin_all(hass, numbers(path))
    say("left:", *pages(path))


async def thin_all(hass: HomeAssistant, ours: list[int]) -> None:
    """Do all steps, while a state changes ten times a second."""
    instance = recorder.get_instance(hass)
    end = asyncio.Event()
    began = time.monotonic()
    newest = time.time() - 86400
    tally = Tally()

    def is_enough() -> bool:
        say(f"{tally} after {time.monotonic() - began:.1f} s")
        return False

    def finish(error: Exception | None) -> None:
        say(f"longest turn {task.longest * 1000:.0f} ms of {task.turns}", error or "")
        hass.loop.call_soon_threadsafe(end.set)

    task = Timed(thin(hass, ours, lambda: newest, is_enough, tally), finish)
    gc.collect()  # Its first full run is due to the imports, not to the thinning.
    say("thinning")
    instance.queue_task(task)
    count = 0
    while not end.is_set():
        count += 1
        hass.states.async_set(OUR_SENSOR.format(0), str(count))
        await asyncio.sleep(0.1)
    say(f"{count} states written meanwhile")


def main() -> None:
    """Read the options."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--days", type=int, default=14)
    parser.add_argument("--sensors", type=int, default=100)
    parser.add_argument("--interval", type=int, default=300)
    options = parser.parse_args()
    options.folder.mkdir(exist_ok=True, parents=True)
    asyncio.run(measure(options))


if __name__ == "__main__":
    main()
