"""Print, as JSON, what the integration finds wired to this machine and can read.

A program of its own, so that emulated hardware can be put below it.
"""

import asyncio
import json
import sys
from typing import Any

from homeassistant.const import EVENT_HOMEASSISTANT_CLOSE
from homeassistant.core import HomeAssistant

from custom_components.temperature_logger.const import (
    KIND_BME280,
    KIND_HOST,
    KIND_USB,
)
from custom_components.temperature_logger.devices import kinds
from custom_components.temperature_logger.discovery import search
from custom_components.temperature_logger.discovery.search import Candidate
from custom_components.temperature_logger.drivers import DriverError, within_deadline


async def device(hass: HomeAssistant, candidate: Candidate) -> dict[str, Any] | None:
    """Read a device once; return what its config entry would hold."""
    driver = kinds.async_make_driver(hass, candidate.data)
    try:
        await within_deadline(driver.read())
        return {
            "title": driver.identity.model,
            "unique_id": candidate.attachment,
            "data": candidate.data
            | driver.facts
            | {"quantities": list(driver.quantities)},
        }
    except DriverError as err:
        print(f"{candidate.label} is left out: {err.fault}", file=sys.stderr)
        return None
    finally:
        await driver.close()


async def scan() -> list[dict[str, Any]]:
    """Return the devices that may be read without asking their owner."""
    hass = HomeAssistant("")
    every = {KIND_BME280, KIND_HOST, KIND_USB}
    found = await search.async_search(hass, every, owned=set(), chosen=set())
    devices: dict[str, dict[str, Any]] = {}
    # One that was not asked would have to be taken from the kernel.
    for candidate in (one for one in found.candidates if one.asked):
        if one := await device(hass, candidate):
            if one["title"] in devices:
                one["title"] += f" {kinds.place(candidate.data)}"
            devices[one["title"]] = one
    hass.bus.async_fire(EVENT_HOMEASSISTANT_CLOSE)
    return list(devices.values())


def main() -> None:
    """Print the devices."""
    print(json.dumps(asyncio.run(scan())))


if __name__ == "__main__":
    main()
