"""All data that an earlier version stored are kept by an update."""

import json
from pathlib import Path
from typing import Any

from homeassistant.config_entries import ConfigEntryState
from homeassistant.const import Platform
from homeassistant.core import HomeAssistant
from homeassistant.helpers import entity_registry as er
from homeassistant.helpers import issue_registry as ir
import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry

from custom_components.temperature_logger.const import DOMAIN

from .conftest import ADAPTER, GOLD, HID_2, MONITOR, PINS, X232
from .drivers.conftest import Build

STORED_DATA: dict[str, Any] = json.loads(
    (Path(__file__).parent / "fixtures/version_0_1_0.json").read_text()
)
# It was unplugged a day before Home Assistant stopped.
MISSING_DEVICE = "TEMPer2"

type Entries = dict[str, MockConfigEntry]


@pytest.fixture(name="entries")
async def entries_fixture(
    hass: HomeAssistant, hass_storage: dict[str, Any], build: Build
) -> Entries:
    """Start with the data of version 0.1.0; return the entries by their titles."""
    cpu = {"driver": "cpu_thermal", "sensors": [{"temperature": 48.3}]}
    build(GOLD, MONITOR, ADAPTER, X232, HID_2, i2c=[PINS], hwmon=[cpu])
    hass_storage.update(STORED_DATA["storage"])
    entries = {
        stored["title"]: MockConfigEntry(**stored) for stored in STORED_DATA["entries"]
    }
    registry = er.async_get(hass)
    for entry in entries.values():
        entry.add_to_hass(hass)
    for unique_id, entity_id in STORED_DATA["entities"].items():
        platform, _, object_id = entity_id.partition(".")
        (entry,) = (e for e in entries.values() if unique_id.startswith(e.entry_id))
        registry.async_get_or_create(
            Platform(platform),
            DOMAIN,
            unique_id,
            config_entry=entry,
            suggested_object_id=object_id,
        )
    for entry in entries.values():
        if entry.state is ConfigEntryState.NOT_LOADED:
            await hass.config_entries.async_setup(entry.entry_id)
    await hass.async_block_till_done()
    return entries


def value(hass: HomeAssistant, entity_id: str) -> float:
    """Return the value of a sensor."""
    state = hass.states.get(entity_id)
    assert state is not None
    return float(state.state)


# The endpoint finds no recorder here, and logs that.
@pytest.mark.warns("Error fetching")
async def test_entries_and_entities_stay(hass: HomeAssistant, entries: Entries) -> None:
    """Each entry loads with its data unchanged, and each entity keeps its id."""
    for stored in STORED_DATA["entries"]:
        entry = entries[stored["title"]]
        loaded = entry.state is ConfigEntryState.LOADED
        assert loaded == (stored["title"] != MISSING_DEVICE), stored["title"]
        assert entry.data == stored["data"]
        assert entry.options == stored["options"]
        assert entry.unique_id == stored["unique_id"]
    registered = er.async_get(hass).entities.values()
    ids = {e.unique_id: e.entity_id for e in registered if e.platform == DOMAIN}
    assert ids == STORED_DATA["entities"]


@pytest.mark.warns("Error fetching")
async def test_options_count(hass: HomeAssistant, entries: Entries) -> None:
    """Calibration and interval keep their values."""
    assert value(hass, "sensor.tempergold_temperature") == 19.569
    assert value(hass, "sensor.bme280_humidity") == pytest.approx(47.5, abs=0.05)
    interval = entries["TEMPerGold"].runtime_data.update_interval
    assert interval.total_seconds() == 60


@pytest.mark.warns("Error fetching")
async def test_files_are_read(hass: HomeAssistant, entries: Entries) -> None:
    """Deliveries, the last thinning and the time of a loss are kept."""
    assert value(hass, "sensor.the_server_readings_delivered") == 5
    delivered_at = hass.states.get("sensor.the_server_last_delivery")
    assert delivered_at is not None
    assert delivered_at.state == "2026-11-30T17:04:53+00:00"
    thinned = hass.states.get("sensor.this_machine_thinned_readings")
    assert thinned is not None
    assert thinned.state == "1234"
    assert thinned.attributes["minutes"] == 10
    assert thinned.attributes["disk_bytes"] == 188416
    issue_id = f"device_{entries[MISSING_DEVICE].entry_id}"
    issue = ir.async_get(hass).async_get_issue(DOMAIN, issue_id)
    assert issue is not None
    assert issue.translation_key == "device_missing"
