"""An invalid value costs only itself, and after an hour a repair issue names it."""

from collections.abc import Callable
from typing import Any

from homeassistant.const import STATE_UNAVAILABLE
from homeassistant.core import HomeAssistant
from homeassistant.helpers import issue_registry as ir
import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry

from custom_components.temperature_logger.const import DOMAIN
from custom_components.temperature_logger.devices import fault_durations
from emulation.machine import Machine

from .conftest import CONTROLLER, SetUp
from .drivers.conftest import Build

type Wait = Callable[..., None]

HUM: dict[str, Any] = {
    "name": "hum",
    "model": "TEMPerHUM_V4.1",
    "ports": "3",
    "temperature": 23.61,
    "humidity": 40.0,
}
TEMPERATURE_ENTITY = "sensor.temperhum_temperature"
HUMIDITY_ENTITY = "sensor.temperhum_humidity"


@pytest.fixture(name="machine")
def machine_fixture(build: Build) -> Machine:
    """Plug in a stick with temperature and humidity."""
    return build(HUM)


@pytest.fixture(name="entry")
async def entry_fixture(
    hass: HomeAssistant, machine: Machine, set_up: SetUp
) -> MockConfigEntry:
    """Return the entry of the stick."""
    return await set_up(f"usb-{CONTROLLER}-3")


@pytest.fixture(name="pass_hour")
def pass_hour_fixture(monkeypatch: pytest.MonkeyPatch) -> Wait:
    """Return a function that lets an hour pass on the clock that times faults."""
    now = [5.0]
    monkeypatch.setattr(fault_durations, "monotonic", lambda: now[0])

    def pass_hour(seconds: float = 3600) -> None:
        now[0] += seconds

    return pass_hour


async def read(hass: HomeAssistant, entry: MockConfigEntry) -> tuple[str, str]:
    """Read the stick; return the states of temperature and humidity."""
    await entry.runtime_data.async_refresh()
    await hass.async_block_till_done()
    states = (hass.states.get(TEMPERATURE_ENTITY), hass.states.get(HUMIDITY_ENTITY))
    assert states[0] is not None
    assert states[1] is not None
    return states[0].state, states[1].state


def issues(hass: HomeAssistant) -> list[dict[str, str]]:
    """Return the placeholders of the issues of invalid values."""
    return [
        issue.translation_placeholders or {}
        for issue in ir.async_get(hass).issues.values()
        if issue.domain == DOMAIN and issue.translation_key == "values_invalid"
    ]


async def test_invalid_humidity(
    hass: HomeAssistant, machine: Machine, entry: MockConfigEntry, pass_hour: Wait
) -> None:
    """The temperature goes on; the humidity is unavailable until it is valid again."""
    values = machine.stick("hum").values
    assert await read(hass, entry) == ("23.61", "40.0")
    values["humidity"] = 120.0
    assert await read(hass, entry) == ("23.61", STATE_UNAVAILABLE)
    assert entry.runtime_data.last_update_success
    pass_hour(3599)
    await read(hass, entry)
    assert not issues(hass)
    pass_hour(1)
    await read(hass, entry)
    (placeholders,) = issues(hass)
    assert placeholders["device"] == "TEMPerHUM"
    assert placeholders["values"] == "Humidity"
    assert "120.00 %" in placeholders["reason"]
    assert "Check the probe" in placeholders["reason"]
    values["humidity"] = 41.0
    assert await read(hass, entry) == ("23.61", "41.0")
    assert not issues(hass)


async def test_clamped_humidity(
    hass: HomeAssistant, machine: Machine, entry: MockConfigEntry
) -> None:
    """A humidity just above 100 % is 100 %."""
    machine.stick("hum").values["humidity"] = 100.01
    assert await read(hass, entry) == ("23.61", "100.0")


async def test_other_fault_of_the_same_value(
    hass: HomeAssistant, machine: Machine, entry: MockConfigEntry, pass_hour: Wait
) -> None:
    """The issue always names the present fault, which began an hour ago as another."""
    values = machine.stick("hum").values
    values["humidity"] = 120.0
    await read(hass, entry)
    pass_hour()
    values["humidity"] = 200.0  # The code of a missing sensor.
    await read(hass, entry)
    values["humidity"] = 120.0
    await read(hass, entry)
    (placeholders,) = issues(hass)
    assert "120.00 %" in placeholders["reason"]


@pytest.mark.warns("Error fetching")
async def test_all_values_invalid(
    hass: HomeAssistant, machine: Machine, entry: MockConfigEntry
) -> None:
    """A reading without any valid value is a failed poll."""
    machine.stick("hum").values |= {"humidity": 120.0, "temperature": 97.0}
    await entry.runtime_data.async_refresh()
    assert not entry.runtime_data.last_update_success
    assert entry.runtime_data.last_exception.translation_key == "out_of_range"


@pytest.mark.warns("Error fetching")
async def test_all_values_invalid_for_an_hour(
    hass: HomeAssistant, machine: Machine, entry: MockConfigEntry, pass_hour: Wait
) -> None:
    """If no value is valid, an issue after an hour names them all."""
    values = machine.stick("hum").values
    values |= {"humidity": 120.0, "temperature": 97.0}
    await entry.runtime_data.async_refresh()
    pass_hour()
    await entry.runtime_data.async_refresh()
    (placeholders,) = issues(hass)
    assert placeholders["values"] == "Temperature, Humidity"
    values |= {"humidity": 40.0, "temperature": 20.0}
    await entry.runtime_data.async_refresh()
    assert not issues(hass)


@pytest.mark.parametrize("seconds", [3600, 600])
async def test_reload_with_a_new_sensor(
    hass: HomeAssistant,
    machine: Machine,
    entry: MockConfigEntry,
    pass_hour: Wait,
    seconds: int,
) -> None:
    """A value that is valid after a reload ends its issue and its time."""
    values = machine.stick("hum").values
    values["humidity"] = 120.0
    await read(hass, entry)
    pass_hour(seconds)
    await read(hass, entry)
    assert bool(issues(hass)) == (seconds == 3600)
    values["humidity"] = 40.0
    await hass.config_entries.async_reload(entry.entry_id)
    assert not issues(hass)
    values["humidity"] = 120.0
    pass_hour()
    await read(hass, entry)
    assert not issues(hass)


async def test_invalid_from_the_first_reading_on(
    hass: HomeAssistant, build: Build, set_up: SetUp
) -> None:
    """The entity of an invalid value is there, and unavailable."""
    build(HUM | {"humidity": 120.0})
    entry = await set_up(f"usb-{CONTROLLER}-3")
    assert await read(hass, entry) == ("23.61", STATE_UNAVAILABLE)


async def test_removed_device_has_no_issue(
    hass: HomeAssistant, machine: Machine, entry: MockConfigEntry, pass_hour: Wait
) -> None:
    """The issue goes with its device; an entity may be gone before."""
    machine.stick("hum").values["humidity"] = 120.0
    await read(hass, entry)
    pass_hour()
    await read(hass, entry)
    assert issues(hass)
    await hass.config_entries.async_remove(entry.entry_id)
    assert not issues(hass)
