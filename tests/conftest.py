"""Home Assistant on emulated hardware."""

import asyncio
from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from datetime import timedelta
import json
import logging
from pathlib import Path
from typing import Any, Final, Literal, override

from aiousbwatcher import AIOUSBWatcher
from homeassistant.components import usb
from homeassistant.config_entries import SOURCE_USER, ConfigEntryState
from homeassistant.core import HomeAssistant
from homeassistant.data_entry_flow import FlowResultType
from homeassistant.util import dt as dt_util
from hypothesis import settings
import pytest
from pytest_homeassistant_custom_component.common import (
    MockConfigEntry,
    async_fire_time_changed,
)
from pytest_homeassistant_custom_component.syrupy import HomeAssistantSnapshotExtension
from syrupy.assertion import SnapshotAssertion
from syrupy.filters import props

from custom_components.temperature_logger.const import DOMAIN
from custom_components.temperature_logger.discovery import hotplug
from custom_components.temperature_logger.drivers.presence import (
    PresentDevices,
    present_devices,
)
from emulation.machine import Machine

from .drivers.conftest import (
    Build,
    as_nobody_fixture,
    build_fixture,
    disk_fixture,
    hang_fixture,
    patient_clock_fixture,
)

__all__ = [
    "as_nobody_fixture",
    "build_fixture",
    "disk_fixture",
    "hang_fixture",
    "patient_clock_fixture",
]

CONTROLLER = "pci0000:00/0000:00:14.0"
GOLD = {
    "name": "gold",
    "model": "TEMPerGold_V3.4",
    "ports": "1.4",
    "temperature": 19.87,
}
GOLD_PLACE = f"usb-{CONTROLLER}-1.4"
TWO = {
    "name": "two",
    "model": "TEMPer2_V3.9",
    "ports": "2",
    "temperature": 29.0,
    "external_temperature": 25.06,
}
TWO_PLACE = f"usb-{CONTROLLER}-2"
CHIP: dict[str, Any] = {
    "name": "bme",
    "address": "0x76",
    "temperature": 21.5,
    "pressure": 1013.25,
    "humidity": 45.0,
}
PINS: dict[str, Any] = {
    "bus": 1,
    "adapter": "bcm2835 (i2c@7e804000)",
    "of_node": "soc/i2c@7e804000",
    "chips": [CHIP],
}
MONITOR: dict[str, Any] = {
    "name": "monitor",
    "model": "USB-zyTemp",
    "ports": "3",
    "temperature": 21.5375,
    "humidity": 45.5,
    "co2": 812,
}
MONITOR_PLACE = f"usb-{CONTROLLER}-3"
ROM, OTHER_ROM = "285ebf799715039b", "28aa11e24b14010b"
ADAPTER: dict[str, Any] = {
    "name": "adapter",
    "model": "Temp-Sensor-Tester",
    "ports": "4",
    "probes": {ROM: 24.7},
}
ADAPTER_PLACE = f"usb-{CONTROLLER}-4"
GO_TEMP: dict[str, Any] = {
    "name": "go",
    "model": "Go!Temp",
    "ports": "5",
    "temperature": -4.5,
}
LASCAR: dict[str, Any] = {
    "name": "lascar",
    "model": "EL-USB-RT",
    "ports": "6",
    "temperature": -12.5,
    "humidity": 49.5,
}
X232: dict[str, Any] = {
    "name": "x232",
    "model": "TEMPerX232_V2.0",
    "ports": "7",
    "temperature": 23.81,
    "humidity": 42.0,
    "external_temperature": -2.5,
}
X232_PLACE = f"usb-{CONTROLLER}-7"
HID_2: dict[str, Any] = {
    "name": "hid",
    "model": "HidTEMPer2",
    "ports": "8",
    "temperature": 21.5,
    "external_temperature": -3.25,
}
BME_PLACE = "i2c-soc/i2c@7e804000-0x76"

PHASES: tuple[Literal["setup", "call"], ...] = ("setup", "call")

# Random examples are the same everywhere, so that a failure can be repeated.
settings.register_profile("project", deadline=None, derandomize=True)
settings.load_profile("project")

# A failure shows the last lines of its log, the first and last calls of its traceback,
# and the first and last lines of each.
LOG_LINES: Final = 10
TRACEBACK_CALLS: Final = (2, 3)
CALL_LINES: Final = (12, 4)

type SetUp = Callable[[str], Awaitable[MockConfigEntry]]


TEXTS: dict[str, Any] = json.loads(
    (
        Path(__file__).parents[1]
        / "custom_components/temperature_logger/translations/en.json"
    ).read_text()
)


def form_error(form: Mapping[str, Any]) -> str:
    """Return the error of a form as the frontend shows it."""
    text: str = TEXTS["config"]["error"][form["errors"]["base"]]
    return text.format(**form["description_placeholders"])


def shortened[T](rows: Sequence[T], head: int, tail: int) -> Sequence[T]:
    """Return the first and last of many lines, without those between."""
    return rows if len(rows) <= head + tail else [*rows[:head], *rows[-tail:]]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Fit the report of a failing test on one screen; -vv shows all of it."""
    report = yield
    if item.config.get_verbosity() > 1:
        return report
    report.sections = [
        (name, "\n".join(text.splitlines()[-LOG_LINES:]))
        for name, text in report.sections
    ]
    for traceback, crash, _ in getattr(report.longrepr, "chain", ()):
        if crash is not None:
            crash.message = crash.message.partition("\n")[0]
        traceback.reprentries = shortened(traceback.reprentries, *TRACEBACK_CALLS)
        for call in traceback.reprentries:
            call.lines = shortened(call.lines, *CALL_LINES)
    return report


class DeafWatcher(AIOUSBWatcher):
    """A watcher that notices nothing."""

    @override
    def async_start(self) -> Callable[[], None]:
        """Start nothing; return a function to end it."""
        return lambda: None


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option for the Home Assistant version that scripts/test runs on."""
    parser.addoption(
        "--home-assistant", choices=("newest", "minimum"), default="newest"
    )


async def pass_time(hass: HomeAssistant, seconds: float) -> None:
    """Run everything due within these seconds; the hardware's clock is not moved."""
    async_fire_time_changed(hass, dt_util.utcnow() + timedelta(seconds=seconds))
    await hass.async_block_till_done(wait_background_tasks=True)


@pytest.fixture(autouse=True, scope="session")
def quiet_database() -> None:
    """Leave the log of each statement and each event out of a test's log."""
    logging.getLogger("sqlalchemy.engine").setLevel(logging.WARNING)
    logging.getLogger("homeassistant.components.recorder").setLevel(logging.INFO)


@pytest.fixture(autouse=True)
def custom_integrations(request: pytest.FixtureRequest) -> None:
    """Let Home Assistant, where a test uses it, find the integration."""
    if "hass" in request.fixturenames:
        request.getfixturevalue("enable_custom_integrations")


@pytest.fixture(autouse=True)
async def loop_without_tracebacks(
    enable_event_loop_debug: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Let the event loop check its thread, but keep no traceback of each future.

    The tracebacks take two thirds of the processor time of a test that uses HTTP.
    """
    monkeypatch.setattr(asyncio.get_running_loop(), "get_debug", lambda: False)


@pytest.fixture(autouse=True)
def no_search_for_serial_ports(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the search for serial ports that Home Assistant does on each plug."""
    monkeypatch.setattr(usb, "AIOUSBWatcher", DeafWatcher)


@pytest.fixture(autouse=True)
def no_unannounced_warning(
    caplog: pytest.LogCaptureFixture, request: pytest.FixtureRequest
) -> Generator[None]:
    """Fail a test in which the integration logged an unexpected warning.

    A test expects one with @pytest.mark.warns("part of the message").
    """
    yield
    announced = [mark.args[0] for mark in request.node.iter_markers("warns")]
    unannounced = [
        record.getMessage()
        for phase in PHASES
        for record in caplog.get_records(phase)
        if record.levelno >= logging.WARNING
        and "temperature_logger" in f"{record.name} {record.getMessage()}"
        and "has not been tested by Home Assistant" not in record.getMessage()
        and not record.getMessage().startswith("Executing <")  # It was slow: a timing.
        and not any(text in record.getMessage() for text in announced)
    ]
    assert not unannounced


@pytest.fixture(name="snapshot")
def snapshot_fixture(snapshot: SnapshotAssertion) -> SnapshotAssertion:
    """Return snapshots without the values that Home Assistant generates."""
    return snapshot.with_defaults(
        exclude=props("compat_name"),  # Comes with Home Assistant 2026.11.
        extension_class=HomeAssistantSnapshotExtension,
    )


@pytest.fixture(name="machine")
def machine_fixture(build: Build) -> Machine:
    """Plug in a stick with one sensor, one with two, and a BME280."""
    return build(GOLD, TWO, i2c=[PINS])


@pytest.fixture(name="scans")
def scans_fixture(monkeypatch: pytest.MonkeyPatch) -> list[PresentDevices]:
    """Return the results of all scans for connected devices."""
    scans: list[PresentDevices] = []

    def look() -> PresentDevices:
        scans.append(present_devices())
        return scans[-1]

    monkeypatch.setattr(hotplug, "present_devices", look)
    return scans


@pytest.fixture(name="known_id")
def known_id_fixture(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the next entry a known id, which its unique ids contain."""
    monkeypatch.setattr("homeassistant.config_entries.ulid_util.ulid_now", lambda: "id")


@pytest.fixture(name="set_up")
def set_up_fixture(hass: HomeAssistant) -> SetUp:
    """Return a function that sets a device up with the form, as an owner does."""

    async def set_up(place: str) -> MockConfigEntry:
        form = await hass.config_entries.flow.async_init(
            DOMAIN, context={"source": SOURCE_USER}
        )
        result: Any = await hass.config_entries.flow.async_configure(
            form["flow_id"], {"device": place}
        )
        assert result["type"] is FlowResultType.CREATE_ENTRY
        await hass.async_block_till_done()
        entry: MockConfigEntry = result["result"]
        return entry

    return set_up


@pytest.fixture(name="missing_gold")
async def missing_gold_fixture(
    hass: HomeAssistant, machine: Machine, set_up: SetUp
) -> MockConfigEntry:
    """Return the entry of an unplugged stick, whose set-up is retried."""
    entry = await set_up(GOLD_PLACE)
    await hass.config_entries.async_unload(entry.entry_id)
    machine.unplug("gold")
    await hass.config_entries.async_setup(entry.entry_id)
    assert entry.state is ConfigEntryState.SETUP_RETRY
    return entry
