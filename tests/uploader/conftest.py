"""Real receivers, and a proxy in front of one."""

from collections.abc import AsyncGenerator, Generator
import logging
from typing import Any

from homeassistant.components.recorder.core import Recorder
from homeassistant.core import HomeAssistant
import pytest
from pytest_homeassistant_custom_component.components.recorder.common import (
    async_wait_recording_done,
)
from pytest_socket import enable_socket

from custom_components.temperature_logger.uploader import coordinator
from emulation.machine import Machine
from tests.conftest import BME_PLACE, GOLD_PLACE, SetUp
from tests.history.conftest import BME, GOLD, NOON, record

from .common import LATER_CLOCK
from .proxy import ACCOUNT, Proxy
from .receivers import Influx, Victoria, influx, victoria


@pytest.fixture(autouse=True)
def custom_integrations(
    recorder_mock: Recorder,
    enable_custom_integrations: None,
    hass_storage: dict[str, Any],
) -> None:
    """Run the recorder, find the integration, and keep stored data in memory."""


@pytest.fixture(autouse=True, scope="session")
def quiet_client() -> None:
    """Keep the steps of the HTTP client out of a test's log."""
    for name in ("httpx", "httpcore"):
        logging.getLogger(name).setLevel(logging.WARNING)


@pytest.fixture(scope="session")
def victoria_server() -> Generator[Victoria]:
    """Run one VictoriaMetrics for all tests."""
    enable_socket()
    with victoria() as server:
        yield server


@pytest.fixture(scope="session")
def influx_server() -> Generator[Influx]:
    """Run one InfluxDB 1.x for all tests."""
    enable_socket()
    with influx() as server:
        yield server


@pytest.fixture(name="victoria")
def victoria_fixture(victoria_server: Victoria, socket_enabled: None) -> Victoria:
    """Return an empty VictoriaMetrics."""
    victoria_server.clear()
    return victoria_server


@pytest.fixture(name="influx")
def influx_fixture(influx_server: Influx, socket_enabled: None) -> Influx:
    """Return an InfluxDB 1.x with an empty database."""
    influx_server.clear()
    return influx_server


@pytest.fixture(name="proxy")
async def proxy_fixture(victoria: Victoria) -> AsyncGenerator[Proxy]:
    """Run a proxy that makes a VictoriaMetrics look like an InfluxDB 2."""
    async with Proxy(victoria.url, ACCOUNT) as proxy:
        yield proxy


@pytest.fixture
async def history(
    recorder_mock: object, hass: HomeAssistant, machine: Machine, set_up: SetUp
) -> None:
    """Record some hours of a stick and a chip in the past."""
    await set_up(GOLD_PLACE)
    await set_up(BME_PLACE)
    times = [NOON + 300 * n for n in range(100)]
    units = {BME[0]: "°F", BME[1]: "%", BME[2]: "hPa", GOLD: "°C"}
    for at in times:
        values = {
            entity: [(at + 0.001 * n, str(round(40 + at % 9 + n, 2)), unit)]
            for n, (entity, unit) in enumerate(units.items())
        }
        await record(hass, values)
    await async_wait_recording_done(hass)


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the clock forward, so that no more rows belong to the last reading."""
    monkeypatch.setattr(coordinator, "time", LATER_CLOCK)
