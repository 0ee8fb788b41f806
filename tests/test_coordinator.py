"""A device that fails is unavailable, logs the cause once, and recovers by itself."""

import logging

from homeassistant.config_entries import ConfigEntryState
from homeassistant.const import STATE_UNAVAILABLE
from homeassistant.core import (
    Event,
    EventStateChangedData,
    HomeAssistant,
    callback,
)
from homeassistant.helpers import issue_registry as ir
from homeassistant.helpers.event import async_track_state_change_event
import pytest

from custom_components.temperature_logger.const import DOMAIN
from custom_components.temperature_logger.coordinator import ReadingCoordinator
from emulation.machine import Machine

from .conftest import BME_PLACE, GOLD, GOLD_PLACE, TWO_PLACE, SetUp, pass_time
from .drivers.conftest import Build

GOLD_ENTITY = "sensor.tempergold_temperature"


def state(hass: HomeAssistant, entity_id: str) -> str:
    """Return the state of an entity."""
    current = hass.states.get(entity_id)
    assert current is not None
    return current.state


def record_states(hass: HomeAssistant) -> list[str]:
    """Return a list that grows by each state that the stick's entity gets."""
    states: list[str] = []

    @callback
    def record(event: Event[EventStateChangedData]) -> None:
        if (new := event.data["new_state"]) is not None:
            states.append(new.state)

    async_track_state_change_event(hass, GOLD_ENTITY, record)
    return states


async def test_polls_every_five_minutes(
    hass: HomeAssistant,
    machine: Machine,
    set_up: SetUp,
) -> None:
    """A new value is there after five minutes and not before."""
    await set_up(GOLD_PLACE)
    machine.stick("gold").values["temperature"] = -12.34
    await pass_time(hass, 290)
    assert state(hass, GOLD_ENTITY) == "19.87"
    await pass_time(hass, 305)
    assert state(hass, GOLD_ENTITY) == "-12.34"


async def test_jump_is_measured_again(
    hass: HomeAssistant,
    machine: Machine,
    set_up: SetUp,
) -> None:
    """A stick that sends one wrong bit is asked again; the wrong value is not shown."""
    await set_up(GOLD_PLACE)
    written = record_states(hass)
    stick = machine.stick("gold")
    polled = stick.commands["values"]
    stick.fail("flipped-bit", count=1)
    await pass_time(hass, 305)
    assert stick.commands["values"] == polled + 2
    stick.fail("flipped-bit")
    stick.values["temperature"] = 20.0
    await pass_time(hass, 305)
    # A bit that is always wrong looks like a change to the check, as it is steady.
    assert written == ["19.87", "60.96"]
    polled = stick.commands["values"]
    await pass_time(hass, 305)
    assert stick.commands["values"] == polled + 1


async def test_equal_reading_is_a_reading(
    hass: HomeAssistant,
    machine: Machine,
    set_up: SetUp,
) -> None:
    """An unchanged value is written all the same, once per poll."""
    await set_up(GOLD_PLACE)
    written = record_states(hass)
    for _ in range(3):
        await pass_time(hass, 305)
    assert written == ["19.87"] * 3


async def test_absent_probe_adds_no_rows(
    hass: HomeAssistant,
    machine: Machine,
    set_up: SetUp,
) -> None:
    """An absent probe is unknown, written once, and the stick continues."""
    machine.stick("two").values["external_temperature"] = None
    await set_up(TWO_PLACE)
    assert state(hass, "sensor.temper2_external_temperature") == "unknown"
    assert state(hass, "sensor.temper2_internal_temperature") == "29.0"
    events: list[Event[EventStateChangedData]] = []
    async_track_state_change_event(
        hass, "sensor.temper2_external_temperature", events.append
    )
    await pass_time(hass, 305)
    assert not events


@pytest.mark.warns("Error fetching TEMPerGold data")
async def test_down_and_up(
    hass: HomeAssistant,
    machine: Machine,
    set_up: SetUp,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """One log line reports the loss of a device, one its return; retries are sooner."""
    caplog.set_level(logging.INFO)
    await set_up(GOLD_PLACE)
    machine.stick("gold").fail("garbage", on="values")
    await pass_time(hass, 305)
    assert state(hass, GOLD_ENTITY) == STATE_UNAVAILABLE
    await pass_time(hass, 16)
    await pass_time(hass, 31)
    assert machine.stick("gold").commands["values"] == 5
    machine.stick("gold").clear()
    await pass_time(hass, 61)
    assert state(hass, GOLD_ENTITY) == "19.87"
    lines = [r.getMessage() for r in caplog.records if "TEMPerGold data" in r.message]
    assert len(lines) == 2
    assert "answered with something that is no reading" in lines[0]
    assert "recovered" in lines[1]


@pytest.mark.warns("Error fetching TEMPerGold data")
async def test_retries_are_never_slower_than_the_interval(
    hass: HomeAssistant,
    machine: Machine,
    set_up: SetUp,
) -> None:
    """The time between retries doubles until it is the interval."""
    entry = await set_up(GOLD_PLACE)
    machine.stick("gold").fail("zero")
    waits = []
    await pass_time(hass, 305)
    for _ in range(7):
        error = entry.runtime_data.last_exception
        waits.append(error.retry_after)
        await pass_time(hass, error.retry_after + 5)
    assert waits == [15, 30, 60, 120, 240, 300, 300]


@pytest.mark.warns("Error fetching TEMPerGold data")
async def test_unplugged_stick_is_unavailable_at_once(
    hass: HomeAssistant, machine: Machine, set_up: SetUp
) -> None:
    """A stick that is unplugged is unavailable before its next poll."""
    entry = await set_up(GOLD_PLACE)
    machine.unplug("gold")
    while state(hass, GOLD_ENTITY) != STATE_UNAVAILABLE:
        await hass.async_block_till_done(wait_background_tasks=True)
    assert entry.state is ConfigEntryState.LOADED


@pytest.mark.warns("Error fetching TEMPerGold data")
async def test_device_that_hangs(
    hass: HomeAssistant,
    machine: Machine,
    set_up: SetUp,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A device that exceeds the deadline does not affect the others."""
    await set_up(GOLD_PLACE)
    await set_up(BME_PLACE)
    monkeypatch.setattr(
        "custom_components.temperature_logger.drivers.workers.DEVICE_TIMEOUT_S", 0.5
    )
    machine.stick("gold").fail("timeout")
    machine.chip("bme").values["temperature"] = 22.0
    await pass_time(hass, 305)
    assert state(hass, GOLD_ENTITY) == STATE_UNAVAILABLE
    assert float(state(hass, "sensor.bme280_temperature")) == pytest.approx(
        22, abs=0.01
    )


async def test_calibration(
    hass: HomeAssistant, machine: Machine, set_up: SetUp
) -> None:
    """The published value is value x factor + offset; a humidity stays in range."""
    entry = await set_up(BME_PLACE)
    hass.config_entries.async_update_entry(
        entry,
        options={
            "calibration": {
                "temperature": {"factor": 1.1, "offset": -2.0},
                "humidity": {"offset": 60.0},
            }
        },
    )
    await hass.config_entries.async_reload(entry.entry_id)
    temperature = float(state(hass, "sensor.bme280_temperature"))
    assert temperature == pytest.approx(21.5 * 1.1 - 2, abs=0.01)
    assert state(hass, "sensor.bme280_humidity") == "100.0"
    pressure = float(state(hass, "sensor.bme280_atmospheric_pressure"))
    assert pressure == pytest.approx(1013.25, abs=0.05)


async def test_unloaded_before_the_first_poll(
    hass: HomeAssistant, build: Build, set_up: SetUp
) -> None:
    """A coordinator that has no driver yet shuts down without an error."""
    build(GOLD)
    coordinator = ReadingCoordinator(hass, await set_up(GOLD_PLACE))
    await coordinator.async_shutdown()
    assert coordinator.raw_reading is None


async def test_another_chip_at_the_address(
    hass: HomeAssistant,
    machine: Machine,
    set_up: SetUp,
    issue_registry: ir.IssueRegistry,
) -> None:
    """The values of another chip are not published; a repair asks about it."""
    entry = await set_up(BME_PLACE)
    chip = machine.chip("bme")
    calibration, chip.calibration = (
        chip.calibration,
        type(chip)({"name": "other", "calibration": 1}).calibration,
    )
    await hass.config_entries.async_reload(entry.entry_id)
    assert entry.state is ConfigEntryState.SETUP_RETRY
    assert entry.error_reason_translation_key == "chip_changed"
    issue_id = f"device_{entry.entry_id}"
    assert issue_registry.async_get_issue(DOMAIN, issue_id)
    chip.calibration = calibration
    await hass.config_entries.async_reload(entry.entry_id)
    assert entry.state is ConfigEntryState.LOADED
    assert not issue_registry.async_get_issue(DOMAIN, issue_id)


async def test_issue_goes_with_its_entry(
    hass: HomeAssistant,
    build: Build,
    set_up: SetUp,
    issue_registry: ir.IssueRegistry,
) -> None:
    """The repair issue of a device is deleted with its entry."""
    build(GOLD)
    entry = await set_up(GOLD_PLACE)
    await hass.config_entries.async_unload(entry.entry_id)
    build(GOLD | {"model": "TEMPerGold_V3.3"})
    await hass.config_entries.async_setup(entry.entry_id)
    issue = (DOMAIN, f"device_{entry.entry_id}")
    assert issue in issue_registry.issues
    await hass.config_entries.async_remove(entry.entry_id)
    assert issue not in issue_registry.issues
