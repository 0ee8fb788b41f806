"""An endpoint for tests, and the readings that the recorder has for it."""

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
from custom_components.temperature_logger.units import base_quantity
from custom_components.temperature_logger.uploader.coordinator import (
    EndpointCoordinator,
)

from .proxy import ACCOUNT
from .receivers import Victoria

SETUP: Final = f"custom_components.{DOMAIN}.uploader.setup"

# The clocks of a coordinator; the wall clock is half a minute ahead.
LATER_CLOCK: Final = SimpleNamespace(
    monotonic=time.monotonic, time=lambda: time.time() + 30
)
# The history has 100 of a stick, 100 of a chip, and one of each that was read live.
READINGS: Final = 202

type Readings = dict[tuple[str, str], list[tuple[int, float]]]
"""Unix times and values, by device and quantity."""


async def endpoint(
    hass: HomeAssistant,
    url: str,
    options: dict[str, Any] | None = None,
    **data: Any,  # noqa: ANN401
) -> MockConfigEntry:
    """Set up an endpoint, an InfluxDB 2 by default, that sends only when asked to."""
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


def failure_key(coordinator: EndpointCoordinator) -> str | None:
    """Return the translation key of the last update's error."""
    err = coordinator.last_exception
    return err.translation_key if isinstance(err, UpdateFailed) else None


async def deliver(entry: MockConfigEntry) -> EndpointCoordinator:
    """Update the coordinator once, which sends all waiting readings."""
    coordinator: EndpointCoordinator = entry.runtime_data
    await coordinator.async_refresh()
    return coordinator


async def recorded(hass: HomeAssistant) -> Readings:
    """Return the readings in the recorder, as all other exports return them."""
    targets = async_chosen(hass, [], [])

    def work() -> Readings:
        span = Span(start=0, end=4e9, newest_first=False, limit=10**9)
        units = {
            quantity: base_quantity(quantity).unit
            for target in targets
            for quantity in target.entities
        }
        devices = [target.entities for target in targets]
        columns = read_readings(hass, devices, units, span)
        return {
            (target.device_id, quantity): [
                (time * 1000, value)
                for time, value in zip(device_columns.collected_at, values, strict=True)
                if value is not None
            ]
            for target, device_columns in zip(targets, columns, strict=True)
            for quantity, values in device_columns.values.items()
            if any(value is not None for value in values)
        }

    return await get_instance(hass).async_add_executor_job(work)


def assert_all_there(victoria: Victoria, readings: Readings) -> None:
    """Check that a VictoriaMetrics has at least these readings."""
    there = arrived(victoria)
    for series, points in readings.items():
        assert set(points) <= set(there[series])


def arrived(victoria: Victoria) -> Readings:
    """Return the readings in a VictoriaMetrics."""
    return {
        (device_id, name.removeprefix("temperature_logger_")): points
        for (device_id, name), points in victoria.readings(
            "device_id", "__name__"
        ).items()
    }
