"""A site: records some days, many times as fast, and sends the recorded readings.

    python -m tests.uploader.site FOLDER URL STEPS

A real recorder writes to a file in the folder, and a delivery with its cursor there
sends them. It prints each failed delivery. It can be killed at any moment, and
continues from there. It ends when STEPS readings of each device have arrived.
"""

import asyncio
from contextlib import suppress
from pathlib import Path
import sqlite3
import sys
from unittest.mock import patch
from zoneinfo import ZoneInfo

import aiohttp
from homeassistant.components.recorder.tasks import SynchronizeTask
from homeassistant.core import HomeAssistant
from homeassistant.helpers import recorder

from benchmarks.thinning import DATABASE_NAME, recording
from custom_components.temperature_logger.uploader import endpoints
from custom_components.temperature_logger.uploader.cursor import Cursor
from custom_components.temperature_logger.uploader.delivery import Delivery
from custom_components.temperature_logger.uploader.errors import DeliveryError
from custom_components.temperature_logger.uploader.outbox import Outbox
from custom_components.temperature_logger.uploader.points import Source

from .proxy import ACCOUNT

BEGAN = 1_763_640_000.3
INTERVAL = 300
UNITS = {"temperature": "°C", "humidity": "%"}
SOURCES = {
    f"sensor.{device}_{quantity}": Source(device, device.title(), quantity)
    for device in ("attic", "cellar", "kitchen")
    for quantity in UNITS
}


def write(hass: HomeAssistant, at: float) -> None:
    """Write a reading of each device, as its entities do."""
    for n, (entity_id, source) in enumerate(SOURCES.items()):
        hass.states.async_set(
            entity_id,
            f"{20 + at * (n + 7) % 500 / 10:.1f}",
            {"unit_of_measurement": UNITS[source.quantity]},
            force_update=True,
            timestamp=at + n / 1000,
        )


def next_time(path: Path) -> float:
    """Return the time of the next reading."""
    with suppress(sqlite3.OperationalError), sqlite3.connect(path) as database:
        newest = (
            "SELECT max(last_updated_ts) FROM states WHERE last_updated_ts < 1.77e9"
        )
        (last,) = database.execute(newest).fetchone()
        if last is not None:
            steps = int((last - BEGAN) // INTERVAL)
            return BEGAN + INTERVAL * (steps + 1)
    return BEGAN


async def recorded(hass: HomeAssistant) -> None:
    """Wait until all rows are there."""
    future = hass.loop.create_future()
    recorder.get_instance(hass).queue_task(SynchronizeTask(future))
    await future


async def live(folder: Path, url: str, steps: int) -> None:
    """Record and send, until all readings have arrived."""
    path = folder / DATABASE_NAME
    async with recording(folder) as hass, aiohttp.ClientSession() as session:
        cursor = Cursor(hass, "site")
        await cursor.async_load()
        delivery = Delivery(
            endpoints.InfluxDb2(
                {
                    "url": url,
                    "org": ACCOUNT.org,
                    "bucket": ACCOUNT.bucket,
                    "token": ACCOUNT.token,
                },
                ZoneInfo("UTC"),
            ),
            session,
            cursor,
            40,
            recorder.get_instance(hass).async_add_executor_job,
        )
        at = next_time(path)
        while True:
            for _ in range(12):
                if at < BEGAN + INTERVAL * steps:
                    write(hass, at)
                    at += INTERVAL
            await recorded(hass)
            outbox = Outbox(hass, SOURCES)
            await recorder.get_instance(hass).async_add_executor_job(outbox.open)
            try:
                await delivery.run(outbox, at, lambda *_: None)
            except DeliveryError as err:
                sys.stdout.write(f"{type(err).__name__}\n")
                sys.stdout.flush()
                continue
            if at >= BEGAN + INTERVAL * steps:
                return


if __name__ == "__main__":
    # A server that does not answer would take half a minute.
    with patch.object(endpoints, "POST_TIMEOUT", aiohttp.ClientTimeout(total=0.3)):
        asyncio.run(live(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])))
