"""Print, as JSON, the readable devices that the integration finds on this machine.

It is a program of its own, so that emulated hardware can be put below it.
"""

import asyncio
import json
from pathlib import Path
import sys
from typing import Any

from homeassistant import loader
from homeassistant.const import EVENT_HOMEASSISTANT_CLOSE
from homeassistant.core import HomeAssistant
from homeassistant.helpers import translation

from custom_components.temperature_logger.const import (
    KIND_BME280,
    KIND_HOST,
    KIND_USB,
)
from custom_components.temperature_logger.devices import async_make_driver, model_name
from custom_components.temperature_logger.discovery.search import (
    async_search,
    candidate_data,
    candidate_label,
)
from custom_components.temperature_logger.drivers import DriverError, within_deadline
from custom_components.temperature_logger.drivers.finder import Candidate
from custom_components.temperature_logger.translation import (
    async_label,
    async_load_texts,
)

ROOT = Path(__file__).parent.parent


async def read(hass: HomeAssistant, candidate: Candidate) -> dict[str, Any] | None:
    """Read a device once; return the data of its config entry."""
    data = candidate_data(hass, candidate)
    driver = await async_make_driver(hass, data)
    try:
        await within_deadline(driver.read())
        return {
            "title": model_name(hass, driver.identity.model),
            "unique_id": candidate.place.id,
            "data": data | driver.facts | {"quantities": list(driver.quantities)},
        }
    except DriverError as err:
        label = candidate_label(hass, candidate)
        print(f"{label} is left out: {err.fault}", file=sys.stderr)
        return None
    finally:
        await driver.close()


async def scan() -> list[dict[str, Any]]:
    """Return the devices that may be read without the owner's consent."""
    hass = HomeAssistant(str(ROOT))
    loader.async_setup(hass)
    translation.async_setup(hass)
    await async_load_texts(hass)
    result = await async_search(hass, {KIND_BME280, KIND_HOST, KIND_USB})
    devices: dict[str, dict[str, Any]] = {}
    # Other candidates would have to be taken from the kernel.
    for candidate in (c for c in result.candidates if c.identified):
        if device := await read(hass, candidate):
            if device["title"] in devices:
                device["title"] += f" {async_label(hass, candidate.place.label)}"
            devices[device["title"]] = device
    hass.bus.async_fire(EVENT_HOMEASSISTANT_CLOSE)
    return list(devices.values())


def main() -> None:
    """Print the devices."""
    print(json.dumps(asyncio.run(scan())))


if __name__ == "__main__":
    main()
