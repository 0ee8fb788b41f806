"""CO2, and the probes of an adapter, in the history."""

import csv
import io
from typing import Any

from homeassistant.core import HomeAssistant
from homeassistant.setup import async_setup_component
from homeassistant.util import dt as dt_util
import pytest
from pytest_homeassistant_custom_component.components.recorder.common import (
    async_wait_recording_done,
    do_adhoc_statistics,
)
from pytest_homeassistant_custom_component.typing import ClientSessionGenerator

from custom_components.temperature_logger.const import DOMAIN
from emulation.machine import Machine
from tests.conftest import (
    ADAPTER,
    ADAPTER_PLACE,
    MONITOR,
    MONITOR_PLACE,
    OTHER_ROM,
    ROM,
    SetUp,
)
from tests.drivers.conftest import Build

from .conftest import NOON, TIMES, ask, record

CO2 = "sensor.co2_monitor_carbon_dioxide"
HUMIDITY = "sensor.co2_monitor_humidity"
MONITOR_TEMPERATURE = "sensor.co2_monitor_temperature"


@pytest.fixture(name="machine")
def machine_fixture(build: Build) -> Machine:
    """Plug in devices of other makers."""
    return build(MONITOR, ADAPTER | {"probes": {OTHER_ROM: -6.5, ROM: 24.7}})


async def test_co2(
    hass: HomeAssistant,
    machine: Machine,
    set_up: SetUp,
    hass_client: ClientSessionGenerator,
) -> None:
    """Each way to read gives CO2 in ppm, and the temperature of the same reading."""
    await set_up(MONITOR_PLACE)
    (latest,) = (await ask(hass, {"entity_id": "all"}, action="get_latest"))["devices"]
    assert latest["units"]["co2"] == "ppm"
    assert latest["reading"]["co2"] == 812
    await record(
        hass,
        {
            CO2: [(NOON, "900", "ppm"), (NOON + 300, "0.1", "%")],
            MONITOR_TEMPERATURE: [(NOON, "20", "°C"), (NOON + 300, "21", "°C")],
        },
    )
    query: dict[str, Any] = {"entity_id": [CO2, MONITOR_TEMPERATURE], **TIMES}
    (device,) = (await ask(hass, query | {"format": "columns"}))["devices"]
    assert device["units"] == {"temperature": "°C", "co2": "ppm"}
    assert device["readings"] == {
        "collected_at": [int(NOON), int(NOON) + 300],
        "temperature": [20, 21],
        "co2": [900, 1000],
    }
    client = await hass_client()
    path = f"/api/{DOMAIN}/readings"
    query = TIMES | {"entity_id": f"{CO2},{MONITOR_TEMPERATURE}", "format": "csv"}
    lines = await (await client.get(path, params=query)).text()
    header, first, _ = csv.reader(io.StringIO(lines))
    assert header == ["device", "collected_at", "temperature [°C]", "co2 [ppm]"]
    assert first == ["CO2 monitor", "2025-11-20T12:00:00Z", "20.0", "900.0"]


async def test_statistics_of_co2(
    hass: HomeAssistant, machine: Machine, set_up: SetUp
) -> None:
    """The statistics of the recorder have CO2 as well."""
    await async_setup_component(hass, "sensor", {})
    await set_up(MONITOR_PLACE)
    await record(hass, {CO2: [(NOON + 10, "800", "ppm"), (NOON + 160, "900", "ppm")]})
    do_adhoc_statistics(hass, start=dt_util.utc_from_timestamp(int(NOON)))
    await async_wait_recording_done(hass)
    query = TIMES | {"entity_id": CO2, "period": "5minute"}
    (device,) = (await ask(hass, query))["devices"]
    assert device["units"] == dict.fromkeys(("co2_min", "co2_mean", "co2_max"), "ppm")
    (row,) = device["readings"]
    assert (row["co2_min"], row["co2_max"]) == (800, 900)


async def test_statistics_of_humidity_beside_co2(
    hass: HomeAssistant, machine: Machine, set_up: SetUp
) -> None:
    """Both are ratios to the recorder; each keeps its own unit."""
    await async_setup_component(hass, "sensor", {})
    await set_up(MONITOR_PLACE)
    await record(
        hass, {CO2: [(NOON + 10, "800", "ppm")], HUMIDITY: [(NOON + 10, "45", "%")]}
    )
    do_adhoc_statistics(hass, start=dt_util.utc_from_timestamp(int(NOON)))
    await async_wait_recording_done(hass)
    query = TIMES | {"entity_id": [CO2, HUMIDITY], "period": "5minute"}
    (device,) = (await ask(hass, query))["devices"]
    (row,) = device["readings"]
    assert (row["co2_max"], row["humidity_max"]) == (800, 45)


async def test_probes(
    hass: HomeAssistant,
    machine: Machine,
    set_up: SetUp,
    hass_client: ClientSessionGenerator,
) -> None:
    """Each way to read gives the probes together, in the units of the query."""
    await set_up(ADAPTER_PLACE)
    first, second = (f"{rom}_temperature" for rom in (ROM, OTHER_ROM))
    ids = {q: f"sensor.ds18b20_adapter_probe_{q[:16]}" for q in (first, second)}
    everything = {"entity_id": "all", "temperature_unit": "K"}
    (latest,) = (await ask(hass, everything, action="get_latest"))["devices"]
    assert latest["units"] == {first: "K", second: "K"}
    assert latest["reading"][first] == 297.85
    assert latest["reading"][second] == 266.65
    await record(
        hass,
        {
            ids[first]: [(NOON, "20", "°C"), (NOON + 300, "68", "°F")],
            ids[second]: [(NOON, "-5", "°C")],
        },
    )
    (device,) = (await ask(hass, TIMES | {"entity_id": "all"}))["devices"]
    assert device["readings"] == [
        {"collected_at": "2025-11-20T12:00:00Z", first: 20, second: -5},
        {"collected_at": "2025-11-20T12:05:00Z", first: 20, second: None},
    ]
    client = await hass_client()
    path = f"/api/{DOMAIN}/readings"
    query = TIMES | {"entity_id": "all"}
    answer = await (await client.get(path, params=query)).json()
    assert answer["devices"][0]["readings"][second] == [-5, None]
    lines = await (await client.get(path, params=query | {"format": "csv"})).text()
    header = next(csv.reader(io.StringIO(lines)))
    assert header == ["device", "collected_at", f"{first} [°C]", f"{second} [°C]"]
