"""The CPU and the disk of the machine itself, in the history."""

import csv
import io
import shutil

from homeassistant.core import HomeAssistant
from homeassistant.setup import async_setup_component
from homeassistant.util import dt as dt_util
from homeassistant.util.unit_system import US_CUSTOMARY_SYSTEM
import pytest
from pytest_homeassistant_custom_component.components.recorder.common import (
    async_wait_recording_done,
    do_adhoc_statistics,
)
from pytest_homeassistant_custom_component.typing import ClientSessionGenerator

from custom_components.temperature_logger.const import DOMAIN
from emulation.machine import Machine
from tests.conftest import SetUp
from tests.drivers.conftest import Build

from .conftest import NOON, TIMES, ask, record

CPU = "sensor.this_machine_cpu_temperature"
SIZE, USED, FREE = (
    f"sensor.this_machine_disk_{name}" for name in ("size", "space_used", "space_free")
)
USAGE = "sensor.this_machine_disk_usage"
GIB = dict.fromkeys(("total_space", "used_space", "free_space"), "GiB")
UNITS = {"cpu_temperature": "°C", **GIB, "space_usage": "%"}
ROWS = {
    CPU: [(NOON, "50", "°C"), (NOON + 300, "122", "°F")],
    SIZE: [(NOON, "64", "GiB"), (NOON + 300, "65536", "MiB")],
    USED: [(NOON, "20", "GiB"), (NOON + 300, "22.5", "GiB")],
    FREE: [(NOON, "44", "GiB"), (NOON + 300, "unknown", "GiB")],
    USAGE: [(NOON, "31.3", "%"), (NOON + 300, "35.2", "%")],
}
"""Two readings; some values of the second one were shown in another unit."""


@pytest.fixture(name="machine")
def machine_fixture(build: Build) -> Machine:
    """Give the CPU a sensor."""
    return build(hwmon=[{"driver": "cpu_thermal", "sensors": [{"temperature": 50.0}]}])


async def test_readings(
    hass: HomeAssistant,
    machine: Machine,
    set_up: SetUp,
    hass_client: ClientSessionGenerator,
) -> None:
    """Each way to read gives all values in one reading, whatever unit was shown."""
    await set_up("host")
    await record(hass, ROWS)
    query = TIMES | {"entity_id": "all"}
    (device,) = (await ask(hass, query | {"format": "columns"}))["devices"]
    assert device["name"] == "This machine"
    assert device["units"] == UNITS
    assert device["readings"] == {
        "collected_at": [int(NOON), int(NOON) + 300],
        "cpu_temperature": [50, 50],
        "total_space": [64, 64],
        "used_space": [20, 22.5],
        "free_space": [44, None],
        "space_usage": [31.3, 35.2],
    }
    client = await hass_client()
    path = f"/api/{DOMAIN}/readings"
    answer = await (await client.get(path, params=query)).json()
    assert answer["devices"][0]["readings"] == device["readings"]
    lines = await (await client.get(path, params=query | {"format": "csv"})).text()
    header, first, second = csv.reader(io.StringIO(lines))
    columns = [f"{quantity} [{unit}]" for quantity, unit in UNITS.items()]
    assert header == ["device", "collected_at", *columns]
    values = ["50.0", "64.0", "20.0", "44.0", "31.3"]
    assert first == ["This machine", "2025-11-20T12:00:00Z", *values]
    assert second[2:] == ["50.0", "64.0", "22.5", "", "35.2"]


async def test_latest_in_us_units(
    hass: HomeAssistant, machine: Machine, set_up: SetUp
) -> None:
    """The latest reading is in °C where °F is shown, or in the unit of the query."""
    hass.config.units = US_CUSTOMARY_SYSTEM
    await set_up("host")
    query = {"entity_id": "all"}
    (latest,) = (await ask(hass, query, action="get_latest"))["devices"]
    assert latest["units"] == UNITS
    assert latest["reading"]["cpu_temperature"] == 50.0
    size = shutil.disk_usage(hass.config.config_dir).total / 2**30
    assert latest["reading"]["total_space"] == round(size, 3)
    query["temperature_unit"] = "°F"
    (latest,) = (await ask(hass, query, action="get_latest"))["devices"]
    assert latest["reading"]["cpu_temperature"] == 122.0


async def test_statistics(hass: HomeAssistant, machine: Machine, set_up: SetUp) -> None:
    """The statistics of the recorder have these values as well."""
    await async_setup_component(hass, "sensor", {})
    await set_up("host")
    await record(
        hass,
        {
            CPU: [(NOON + 10, "50", "°C"), (NOON + 160, "60", "°C")],
            USED: [(NOON + 10, "20", "GiB"), (NOON + 160, "22.5", "GiB")],
            USAGE: [(NOON + 10, "31.3", "%"), (NOON + 160, "35.2", "%")],
        },
    )
    do_adhoc_statistics(hass, start=dt_util.utc_from_timestamp(int(NOON)))
    await async_wait_recording_done(hass)
    query = TIMES | {"entity_id": [CPU, USED, USAGE], "period": "5minute"}
    (device,) = (await ask(hass, query))["devices"]
    assert device["units"]["used_space_max"] == "GiB"
    assert device["units"]["space_usage_max"] == "%"
    (row,) = device["readings"]
    assert (row["cpu_temperature_min"], row["cpu_temperature_max"]) == (50, 60)
    assert (row["used_space_min"], row["used_space_max"]) == (20, 22.5)
    assert (row["space_usage_min"], row["space_usage_max"]) == (31.3, 35.2)
