"""An endpoint, and what the recorder has for it."""

import time
from types import SimpleNamespace
from typing import Any, Final
from unittest.mock import patch

from homeassistant.core import HomeAssistant
from homeassistant.helpers.recorder import get_instance
from homeassistant.helpers.update_coordinator import UpdateFailed
from pytest_homeassistant_custom_component.common import MockConfigEntry

from custom_components.temperature_logger.const import (
    CONF_BUCKET,
    CONF_KIND,
    CONF_ORG,
    CONF_PROTOCOL,
    DOMAIN,
    KIND_ENDPOINT,
)
from custom_components.temperature_logger.history.readings import Span
from custom_components.temperature_logger.history.series import read_readings
from custom_components.temperature_logger.history.targets import async_chosen
from custom_components.temperature_logger.units import UNITS, base
from custom_components.temperature_logger.uploader.coordinator import (
    EndpointCoordinator,
)

from .proxy import ACCOUNT
from .receivers import Victoria

SETUP: Final = f"custom_components.{DOMAIN}.uploader.setup"

# The clocks of a coordinator, half a minute on by the one that can be set.
LATER: Final = SimpleNamespace(monotonic=time.monotonic, time=lambda: time.time() + 30)
# Of the history: 100 of a stick and 100 of a chip, and one of each that were read live.
READINGS: Final = 202

type Readings = dict[tuple[str, str], list[tuple[int, float]]]
"""Unix times and values, by device and quantity."""


async def endpoint(
    hass: HomeAssistant,
    url: str,
    options: dict[str, Any] | None = None,
    **data: Any,  # noqa: ANN401
) -> MockConfigEntry:
    """Set up an InfluxDB 2, or what else is said; nothing is sent by itself."""
    entry = MockConfigEntry(
        domain=DOMAIN,
        title="The server",
        unique_id=url,
        data={
            CONF_KIND: KIND_ENDPOINT,
            CONF_PROTOCOL: "influxdb_2",
            "url": url,
            "token": ACCOUNT.token,
            CONF_ORG: ACCOUNT.org,
            CONF_BUCKET: ACCOUNT.bucket,
            "site": "",
            "headers": {},
            "gzip": True,
            "verify_ssl": True,
            **data,
        },
        options=options or {},
    )
    entry.add_to_hass(hass)
    with patch(f"{SETUP}.async_at_started", return_value=lambda: None):
        assert await hass.config_entries.async_setup(entry.entry_id)
        await hass.async_block_till_done()
    return entry


def told(coordinator: EndpointCoordinator) -> str | None:
    """Return the key of what went wrong."""
    err = coordinator.last_exception
    return err.translation_key if isinstance(err, UpdateFailed) else None


async def deliver(entry: MockConfigEntry) -> EndpointCoordinator:
    """Send what there is, once."""
    coordinator: EndpointCoordinator = entry.runtime_data
    await coordinator.async_refresh()
    return coordinator


async def recorded(hass: HomeAssistant) -> Readings:
    """Return what the recorder has, as every other answer tells it."""
    targets = async_chosen(hass, [], [])

    def work() -> Readings:
        span = Span(start=0, end=4e9, newest_first=False, limit=10**9)
        units = {q: UNITS[base(q)] for target in targets for q in target.entities}
        devices = [target.entities for target in targets]
        columns = read_readings(hass, devices, units, span)
        return {
            (target.device_id, quantity): [
                (time * 1000, value)
                for time, value in zip(found.collected_at, values, strict=True)
                if value is not None
            ]
            for target, found in zip(targets, columns, strict=True)
            for quantity, values in found.values.items()
            if any(value is not None for value in values)
        }

    return await get_instance(hass).async_add_executor_job(work)


def assert_all_there(victoria: Victoria, readings: Readings) -> None:
    """See that a VictoriaMetrics has these readings, and perhaps more."""
    there = arrived(victoria)
    for series, points in readings.items():
        assert set(points) <= set(there[series])


def arrived(victoria: Victoria) -> Readings:
    """Return what a VictoriaMetrics has."""
    return {
        (device_id, name.removeprefix("temperature_logger_")): points
        for (device_id, name), points in victoria.readings(
            "device_id", "__name__"
        ).items()
    }
