"""Statistics of the recorder, as minimum, mean and maximum of each period."""

from datetime import datetime

from homeassistant.components.recorder.models import StatisticMeanType
from homeassistant.components.recorder.statistics import async_import_statistics
from homeassistant.core import HomeAssistant
from homeassistant.exceptions import HomeAssistantError
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
from tests.conftest import GOLD_PLACE, SetUp

from .conftest import GOLD, NOON, TIMES, readings, record


async def test_statistics(
    hass: HomeAssistant,
    machine: Machine,
    set_up: SetUp,
    hass_client: ClientSessionGenerator,
) -> None:
    """Each period has a minimum, a mean and a maximum."""
    await async_setup_component(hass, "sensor", {})
    await set_up(GOLD_PLACE)
    target = {"entity_id": GOLD, "period": "5minute"}
    with pytest.raises(HomeAssistantError, match="no statistics by 5minute"):
        await readings(hass, **target)
    rows = [(NOON + 10, "20", "°C"), (NOON + 160, "22", "°C")]
    await record(hass, {GOLD: rows})
    start = dt_util.utc_from_timestamp(int(NOON))
    do_adhoc_statistics(hass, start=start)
    await async_wait_recording_done(hass)
    (row,) = await readings(hass, **target, temperature_unit="K")
    assert row["collected_at"] == "2025-11-20T12:00:00Z"
    assert row["temperature_min"] == pytest.approx(293.15)
    assert row["temperature_max"] == pytest.approx(295.15)
    assert row["temperature_min"] < row["temperature_mean"] < row["temperature_max"]
    client = await hass_client()
    query = {**TIMES, **target, "temperature_unit": "K"}
    response = await client.get(f"/api/{DOMAIN}/readings", params=query)
    (device,) = (await response.json())["devices"]
    assert device["readings"]["temperature_max"] == [row["temperature_max"]]


async def test_days_in_a_span(
    hass: HomeAssistant, machine: Machine, set_up: SetUp
) -> None:
    """Days that began before the start, or at the end, are left out."""
    await hass.config.async_set_time_zone("Europe/Berlin")
    await async_setup_component(hass, "sensor", {})
    await set_up(GOLD_PLACE)
    await async_wait_recording_done(hass)
    midnights = [
        dt_util.as_utc(datetime.fromisoformat(f"2025-11-{day}T00:00:00+01:00"))
        for day in (19, 20, 21)
    ]
    async_import_statistics(
        hass,
        {
            "has_sum": False,
            "mean_type": StatisticMeanType.ARITHMETIC,
            "name": None,
            "source": "recorder",
            "statistic_id": GOLD,
            "unit_class": "temperature",
            "unit_of_measurement": "°C",
        },
        [{"start": time, "mean": 20, "min": 19, "max": 21} for time in midnights],
    )
    await async_wait_recording_done(hass)
    columns = await readings(
        hass,
        entity_id=GOLD,
        period="day",
        format="columns",
        start="2025-11-19T12:30:00",
        end="2025-11-21T00:00:00",
    )
    assert columns["collected_at"] == [int(midnights[1].timestamp())]
    assert columns["temperature_max"] == [21]
    with pytest.raises(HomeAssistantError, match="no statistics by 5minute"):
        await readings(hass, entity_id=GOLD, period="5minute")
