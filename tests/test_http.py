"""The readings over HTTP."""

from collections.abc import Awaitable, Callable
import csv
import io
from unittest.mock import patch

from aiohttp import ClientResponse
from homeassistant.core import Context, HomeAssistant
from homeassistant.helpers import device_registry as dr
import pytest
from pytest_homeassistant_custom_component.common import MockUser
from pytest_homeassistant_custom_component.components.recorder.common import (
    async_wait_recording_done,
)
from pytest_homeassistant_custom_component.typing import ClientSessionGenerator

from custom_components.temperature_logger.const import DOMAIN
from custom_components.temperature_logger.history import series
from emulation.machine import Machine

from .conftest import BME_PLACE, GOLD_PLACE, TWO_PLACE, SetUp
from .history.conftest import (
    BME,
    GOLD,
    NOON,
    TIMES,
    ask,
    custom_integrations,
    record,
    recorder_db_url,
    restrict,
    server,
)

__all__ = ["custom_integrations", "recorder_db_url", "server"]

type Get = Callable[..., Awaitable[ClientResponse]]
"""Gets the recorded readings, with more parameters of the query."""

TEMPERATURES = {
    GOLD: ("TEMPerGold", "temperature"),
    BME[0]: ("BME280", "temperature"),
    "sensor.temper2_internal_temperature": ("TEMPer2", "internal_temperature"),
    "sensor.temper2_external_temperature": ("TEMPer2", "external_temperature"),
}
"""Device and quantity of each temperature entity."""


async def test_who_may_read(
    hass: HomeAssistant,
    machine: Machine,
    set_up: SetUp,
    hass_client: ClientSessionGenerator,
    hass_admin_user: MockUser,
) -> None:
    """A user who may read one of two sensors gets exactly that one."""
    await set_up(GOLD_PLACE)
    await set_up(BME_PLACE)
    await async_wait_recording_done(hass)
    both = [GOLD, "sensor.bme280_temperature"]
    restrict(hass_admin_user, GOLD)
    context = Context(user_id=hass_admin_user.id)
    answer = await ask(hass, {"entity_id": both}, context)
    assert [device["name"] for device in answer["devices"]] == ["TEMPerGold"]
    client = await hass_client()
    path = f"/api/{DOMAIN}/readings?entity_id={','.join(both)}"
    answer = await (await client.get(path)).json()
    assert [device["name"] for device in answer["devices"]] == ["TEMPerGold"]
    lines = await (await client.get(f"{path}&format=csv")).text()
    assert "BME280" not in lines
    assert "TEMPerGold" in lines


@pytest.fixture(name="get")
async def get_fixture(
    hass: HomeAssistant,
    machine: Machine,
    set_up: SetUp,
    hass_client: ClientSessionGenerator,
) -> Get:
    """Record readings of two devices; return a function that gets them."""
    await set_up(GOLD_PLACE)
    await set_up(BME_PLACE)
    temperature, pressure = BME[0], BME[2]
    await record(
        hass,
        {
            GOLD: [(NOON, "20", "°C")],
            temperature: [(NOON, "10", "°C"), (NOON + 300, "11", "°C")],
            pressure: [(NOON, "1000", "hPa"), (NOON + 300, "1001", "hPa")],
        },
    )
    client = await hass_client()
    query = {**TIMES, "entity_id": f"{GOLD},{temperature}", "temperature_unit": "K"}
    # A parameter that is given twice has both values.
    params = [*query.items(), ("entity_id", pressure)]

    async def get(**more: str) -> ClientResponse:
        path = f"/api/{DOMAIN}/readings"
        return await client.get(path, params=[*params, *more.items()])

    return get


async def test_json(get: Get) -> None:
    """JSON, the format by default, has the readings of each device as columns."""
    response = await get()
    assert response.content_type == "application/json"
    answer = await response.json()
    chip, gold = answer["devices"]
    assert (answer["start"], answer["end"]) == tuple(TIMES.values())
    assert chip["readings"] == {
        "collected_at": [int(NOON), int(NOON) + 300],
        "temperature": [283.15, 284.15],
        "pressure": [1000, 1001],
    }
    assert gold["readings"]["temperature"] == [293.15]


async def test_csv(get: Get) -> None:
    """CSV has the same readings as lines."""
    response = await get(format="csv")
    assert response.content_type == "text/csv"
    assert list(csv.reader(io.StringIO(await response.text()))) == [
        ["device", "collected_at", "temperature [K]", "pressure [hPa]"],
        ["BME280", "2025-11-20T12:00:00Z", "283.15", "1000.0"],
        ["BME280", "2025-11-20T12:05:00Z", "284.15", "1001.0"],
        ["TEMPerGold", "2025-11-20T12:00:00Z", "293.15", ""],
    ]


@pytest.mark.warns("invalid authentication")
async def test_refused_queries(
    hass: HomeAssistant,
    machine: Machine,
    set_up: SetUp,
    hass_client: ClientSessionGenerator,
    hass_client_no_auth: ClientSessionGenerator,
) -> None:
    """A query that cannot be answered gets a message; one without a token nothing."""
    await set_up(GOLD_PLACE)
    hass.states.async_set("light.other", "on")
    client = await hass_client()
    plus = "start=2025-11-20T13:00:00+01:00&end=2025-11-20T14:00:00+01:00"
    response = await client.get(f"/api/{DOMAIN}/readings?entity_id={GOLD}&{plus}")
    assert (await response.json())["start"] == TIMES["start"]
    for query, text in (
        ("", "is required"),
        (f"entity_id={GOLD}&period=week", "'period'"),
        ("entity_id=sensor.none", "nothing called sensor.none"),
        ("entity_id=light.other", "light.other is no reading"),
        (f"entity_id={GOLD}&period=hour", "no statistics by hour"),
    ):
        response = await client.get(f"/api/{DOMAIN}/readings?{query}")
        assert response.status == 400
        assert text in (await response.json())["message"]
    client = await hass_client_no_auth()
    assert (await client.get(f"/api/{DOMAIN}/readings")).status == 401


@pytest.mark.parametrize("batch", [1, 6, 1_000_000])
@pytest.mark.parametrize("order", ["oldest", "newest"])
async def test_in_batches(
    hass: HomeAssistant,
    machine: Machine,
    set_up: SetUp,
    hass_client: ClientSessionGenerator,
    batch: int,
    order: str,
) -> None:
    """All readings come in order, however many devices are read together."""
    for place in (GOLD_PLACE, BME_PLACE, TWO_PLACE):
        await set_up(place)
    times = [NOON + 3600 * n for n in range(24)]
    rows = {
        entity_id: [(time, str(n + shift), "°C") for n, time in enumerate(times)]
        for shift, entity_id in enumerate(TEMPERATURES)
    }
    await record(hass, rows)
    client = await hass_client()
    query = {**TIMES, "entity_id": ",".join(rows), "order": order}
    with patch.object(series, "GROUP_ROWS", batch):
        response = await client.get(f"/api/{DOMAIN}/readings", params=query)
        devices = (await response.json())["devices"]
    columns = {
        (device["name"], quantity): column
        for device in devices
        for quantity, column in device["readings"].items()
    }
    step = 1 if order == "oldest" else -1
    for shift, (name, quantity) in enumerate(TEMPERATURES.values()):
        assert columns[name, "collected_at"] == [int(time) for time in times][::step]
        assert columns[name, quantity] == [n + shift for n in range(24)][::step]


async def test_devices_with_one_name(
    hass: HomeAssistant,
    machine: Machine,
    set_up: SetUp,
    hass_client: ClientSessionGenerator,
) -> None:
    """Each line of CSV identifies its device, also if two have one name."""
    registry = dr.async_get(hass)
    for place in (GOLD_PLACE, TWO_PLACE):
        await set_up(place)
    ids = {device.id for device in registry.devices}
    for device_id in ids:
        registry.async_update_device(device_id, name_by_user="Cellar")
    await async_wait_recording_done(hass)
    client = await hass_client()
    response = await client.get(f"/api/{DOMAIN}/readings?entity_id=all&format=csv")
    labels = {line[0] for line in csv.reader(io.StringIO(await response.text()))}
    assert labels == {"device", *(f"Cellar ({device_id})" for device_id in ids)}
