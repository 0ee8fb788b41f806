"""Every reading is kept, and comes back as it was measured."""

from datetime import datetime
from typing import Any
from unittest.mock import patch

from homeassistant.components.recorder.db_schema import (
    StateAttributes,
    States,
    StatesMeta,
)
from homeassistant.components.recorder.models import StatisticMeanType
from homeassistant.components.recorder.statistics import async_import_statistics
from homeassistant.core import HomeAssistant
from homeassistant.exceptions import HomeAssistantError, ServiceValidationError
from homeassistant.helpers import area_registry as ar
from homeassistant.helpers import device_registry as dr
from homeassistant.helpers import entity_registry as er
from homeassistant.helpers.recorder import get_instance, session_scope
from homeassistant.setup import async_setup_component
from homeassistant.util import dt as dt_util
import pytest
from pytest_homeassistant_custom_component.components.recorder.common import (
    async_wait_recording_done,
    do_adhoc_statistics,
)
from pytest_homeassistant_custom_component.typing import ClientSessionGenerator
from sqlalchemy import func, select

from custom_components.temperature_logger import services
from custom_components.temperature_logger.const import DOMAIN
from custom_components.temperature_logger.history import recorder, series
from custom_components.temperature_logger.history.rows import CHUNK_ROWS
from emulation.machine import Machine
from tests.conftest import BME_PLACE, GOLD_PLACE, TWO_PLACE, SetUp, pass_time

from .conftest import BME, GOLD, NOON, TIMES, Row, ask, execute, readings, record


async def test_every_reading_is_a_row(
    hass: HomeAssistant, machine: Machine, set_up: SetUp
) -> None:
    """One row per value, changed or not, none for an absent probe, no attributes."""
    machine.stick("two").values["external_temperature"] = None
    await set_up(TWO_PLACE)
    for _ in range(4):
        await pass_time(hass, 305)
    await async_wait_recording_done(hass)

    def count() -> tuple[dict[str, int], int]:
        with session_scope(hass=hass, read_only=True) as session:
            rows = session.execute(
                select(StatesMeta.entity_id, func.count())
                .join(States, States.metadata_id == StatesMeta.metadata_id)
                .where(States.state != "unknown")
                .group_by(StatesMeta.entity_id)
            )
            attributes = session.scalar(
                select(func.count()).select_from(StateAttributes)
            )
            return {row[0]: row[1] for row in rows}, attributes or 0

    rows, attributes = await get_instance(hass).async_add_executor_job(count)
    assert rows == {"sensor.temper2_internal_temperature": 5}
    assert attributes == 2


async def test_what_is_no_reading_is_no_row(
    hass: HomeAssistant, machine: Machine, set_up: SetUp
) -> None:
    """A state that is written for another reason than a reading leaves no row."""
    await set_up(GOLD_PLACE)
    await pass_time(hass, 3)
    area = ar.async_get(hass).async_create("Cellar")
    er.async_get(hass).async_update_entity(GOLD, area_id=area.id)
    er.async_get(hass).async_update_entity(GOLD, aliases=["Freezer"])
    await async_wait_recording_done(hass)
    assert len((await ask(hass, {"entity_id": GOLD}))["devices"][0]["readings"]) == 1


async def test_as_they_were_read(
    hass: HomeAssistant, machine: Machine, set_up: SetUp
) -> None:
    """The action returns what was read, device by device."""
    await set_up(BME_PLACE)
    entry = await set_up(GOLD_PLACE)
    machine.stick("gold").values["temperature"] = -3.25
    await entry.runtime_data.async_refresh()
    await async_wait_recording_done(hass)
    entities = [GOLD, *BME]
    answer = await ask(hass, {"entity_id": entities})
    assert answer["period"] == "raw"
    assert not answer["truncated"]
    chip, gold = answer["devices"]
    assert (chip["name"], gold["name"]) == ("BME280", "TEMPerGold")
    assert chip["units"] == {"temperature": "°C", "humidity": "%", "pressure": "hPa"}
    (reading,) = chip["readings"]
    assert list(reading) == ["collected_at", "temperature", "humidity", "pressure"]
    assert reading["pressure"] == pytest.approx(1013.25, abs=0.05)
    # Less than 2 s apart, the two values of the stick are one reading, the later one.
    assert [one["temperature"] for one in gold["readings"]] == [-3.25]


async def test_whatever_unit_was_shown(
    hass: HomeAssistant, machine: Machine, set_up: SetUp
) -> None:
    """A row is in the unit of its time; a unit that is not known is a gap."""
    await set_up(GOLD_PLACE)
    rows = [
        (NOON, "20.5", "°C"),
        (NOON + 300, "72.32", "°F"),
        (NOON + 600, "unavailable", None),
        (NOON + 900, "70", None),
        (NOON + 1200, "70", "hPa"),
        (NOON + 1500, None, "°C"),
        (NOON + 1800, "unknown", "°C"),
        (NOON + 2100, "294.65", "K"),
    ]
    await record(hass, {GOLD: rows})
    assert await readings(hass, entity_id=GOLD) == [
        {"collected_at": "2025-11-20T12:00:00Z", "temperature": 20.5},
        {"collected_at": "2025-11-20T12:05:00Z", "temperature": 22.4},
        {"collected_at": "2025-11-20T12:35:00Z", "temperature": 21.5},
    ]
    fahrenheit = await readings(
        hass, entity_id=GOLD, temperature_unit="°F", format="columns", order="newest"
    )
    assert fahrenheit == {
        "collected_at": [int(NOON) + 2100, int(NOON) + 300, int(NOON)],
        "temperature": [70.7, 72.32, 68.9],
    }


async def test_values_of_one_reading(
    hass: HomeAssistant, machine: Machine, set_up: SetUp
) -> None:
    """Rows less than 2 s apart are one reading; what is missing in it is null."""
    await set_up(BME_PLACE)
    temperature, humidity = "sensor.bme280_temperature", "sensor.bme280_humidity"
    await record(
        hass,
        {
            temperature: [(NOON + 1.5, "20", "°C"), (NOON + 300, "21", "°C")],
            humidity: [(NOON, "40", "%"), (NOON + 600, "41", "%")],
        },
    )
    both: dict[str, Any] = {
        "entity_id": [temperature, humidity],
        "format": "columns",
    }
    found = await readings(hass, **both)
    assert found == {
        "collected_at": [int(NOON), int(NOON) + 300, int(NOON) + 600],
        "temperature": [20, 21, None],
        "humidity": [40, None, 41],
    }
    newest = await readings(hass, **both, order="newest")
    assert newest == {name: column[::-1] for name, column in found.items()}
    with patch.object(services, "MAX_READINGS", 2):
        answer = await ask(hass, TIMES | both)
        assert answer["truncated"]
        assert answer["devices"][0]["readings"]["temperature"] == [20, 21]


async def test_order_changes_nothing(
    hass: HomeAssistant, machine: Machine, set_up: SetUp
) -> None:
    """Which rows are one reading, its time and its value do not depend on the order."""
    await set_up(GOLD_PLACE)
    times = (0, 1, 10, 11.5, 13, 20)
    rows = [(NOON + time, str(n), "°C") for n, time in enumerate(times)]
    await record(hass, {GOLD: rows})
    oldest = await readings(hass, entity_id=GOLD, format="columns")
    assert oldest == {
        "collected_at": [int(NOON) + time for time in (0, 10, 13, 20)],
        "temperature": [1, 3, 4, 5],
    }
    newest = await readings(hass, entity_id=GOLD, format="columns", order="newest")
    assert newest == {name: column[::-1] for name, column in oldest.items()}


async def test_reading_across_the_edges(
    hass: HomeAssistant, machine: Machine, set_up: SetUp
) -> None:
    """A reading belongs to the span in which it began, whole."""
    await set_up(BME_PLACE)
    rows = {
        BME[0]: [(NOON - 0.401, "20", "°C"), (NOON + 3599.599, "21", "°C")],
        BME[1]: [(NOON - 0.399, "40", "%"), (NOON + 3599.601, "41", "%")],
    }
    await record(hass, rows)
    both: dict[str, Any] = {"entity_id": list(BME[:2]), "format": "columns"}
    found = await readings(
        hass, **both, start="2025-11-20T11:00:00Z", end="2025-11-20T12:00:00Z"
    )
    assert found == {
        "collected_at": [int(NOON) - 1],
        "temperature": [20],
        "humidity": [40],
    }
    found = await readings(hass, **both, end="2025-11-20T13:00:00Z")
    assert found["temperature"] == [21]
    assert found["humidity"] == [41]


@pytest.mark.parametrize("order", ["oldest", "newest"])
async def test_rows_close_to_each_other_at_the_start(
    hass: HomeAssistant, machine: Machine, set_up: SetUp, order: str
) -> None:
    """Whatever the start of the span, the same rows are one reading."""
    await set_up(GOLD_PLACE)
    await set_up(BME_PLACE)
    begin = int(NOON)
    times = [begin - 9, *(begin - 4.9 + 1.5 * n for n in range(8)), begin + 60]
    await record(
        hass,
        {
            BME[0]: [(time, str(n), "°C") for n, time in enumerate(times)],
            BME[1]: [(begin - 4.5, "40", "%"), (begin + 1.6, "41", "%")],
            GOLD: [(begin - 30, "1", "°C"), (begin + 30, "2", "°C")],
        },
    )
    asked: dict[str, Any] = {"entity_id": [*BME[:2], GOLD], "format": "columns"}
    expected = {
        -9: (0, None),
        -5: (2, 40),
        -2: (4, None),
        1: (6, 41),
        4: (8, None),
        60: (9, None),
    }
    step = 1 if order == "oldest" else -1
    for start in range(-10, 6):
        since = dt_util.utc_from_timestamp(begin + start).isoformat()
        answer = await ask(hass, TIMES | asked | {"start": since, "order": order})
        chip, gold = (device["readings"] for device in answer["devices"])
        left = {time: values for time, values in expected.items() if time >= start}
        times = [time - begin for time in chip["collected_at"]]
        assert times == list(left)[::step]
        values = zip(chip["temperature"], chip["humidity"], strict=True)
        assert list(values) == list(left.values())[::step]
        assert gold["collected_at"] == [begin + 30]


@pytest.mark.parametrize("order", ["oldest", "newest"])
@pytest.mark.parametrize("limit", [499, 700, 1500])
async def test_limit(
    hass: HomeAssistant, machine: Machine, set_up: SetUp, order: str, limit: int
) -> None:
    """The limit counts readings, not rows, and what is left out is said."""
    await set_up(BME_PLACE)
    count = 1400
    step = 1 if order == "oldest" else -1
    gaps = set(list(range(count))[::step][:600])
    rows: dict[str, list[Row]] = {
        BME[0]: [
            (NOON + 10 * n, "unknown" if n in gaps else str(n), "°C")
            for n in range(count)
        ],
        BME[1]: [(NOON + 10 * n, "40", "%") for n in (3, count - 3)],
    }
    await record(hass, rows)
    asked = {"entity_id": list(BME[:2]), "format": "columns", "order": order, **TIMES}
    with (
        patch.object(services, "MAX_READINGS", limit),
        patch.object(series, "PAGE_ROWS", 600),
    ):
        answer = await ask(hass, asked)
    (device,) = answer["devices"]
    times = [n for n in range(count) if n not in gaps or n in {3, count - 3}][::step]
    assert device["readings"]["collected_at"] == [
        int(NOON) + 10 * n for n in times[:limit]
    ]
    assert answer["truncated"] == (len(times) > limit)


async def test_start_counts_and_end_does_not(
    hass: HomeAssistant, machine: Machine, set_up: SetUp
) -> None:
    """A naive time is local."""
    await hass.config.async_set_time_zone("Europe/Berlin")
    await set_up(GOLD_PLACE)
    rows = [(NOON - 0.4 + 60 * n, str(n), "°C") for n in range(3)]
    await record(hass, {GOLD: rows})
    times = {"start": "2025-11-20 13:00:00", "end": "2025-11-20 13:02:00"}
    found = await readings(hass, entity_id=GOLD, **times, format="columns")
    assert found["temperature"] == [0, 1]


async def test_many_rows(hass: HomeAssistant, machine: Machine, set_up: SetUp) -> None:
    """They come in order, through several chunks, gaps left out."""
    await set_up(GOLD_PLACE)
    rows = [
        (NOON + n * 10, "unavailable" if n == 600 else str(n), "°C")
        for n in range(CHUNK_ROWS * 3)
    ]
    await record(hass, {GOLD: rows})
    found = await readings(hass, entity_id=GOLD, format="columns")
    expected = [n for n in range(CHUNK_ROWS * 3) if n != 600]
    assert found["temperature"] == expected
    assert found["collected_at"] == [int(NOON) + n * 10 for n in expected]


async def test_statistics(
    hass: HomeAssistant,
    machine: Machine,
    set_up: SetUp,
    hass_client: ClientSessionGenerator,
) -> None:
    """Of a period there are minimum, mean and maximum."""
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
    """A day that began before the start does not count, nor does one at the end."""
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
    found = await readings(
        hass,
        entity_id=GOLD,
        period="day",
        format="columns",
        start="2025-11-19T12:30:00",
        end="2025-11-21T00:00:00",
    )
    assert found["collected_at"] == [int(midnights[1].timestamp())]
    assert found["temperature_max"] == [21]
    with pytest.raises(HomeAssistantError, match="no statistics by 5minute"):
        await readings(hass, entity_id=GOLD, period="5minute")


async def test_targets(hass: HomeAssistant, machine: Machine, set_up: SetUp) -> None:
    """A device, an area: what is ours in it counts; what is named must be ours."""
    await set_up(GOLD_PLACE)
    entity = er.async_get(hass).async_get(GOLD)
    assert entity is not None
    area = ar.async_get(hass).async_create("Cellar")
    dr.async_get(hass).async_update_device(entity.device_id or "", area_id=area.id)
    other = er.async_get(hass).async_get_or_create(
        "light", "other", "1", device_id=entity.device_id
    )
    lonely = er.async_get(hass).async_get_or_create("light", "other", "2")
    er.async_get(hass).async_update_entity(lonely.entity_id, area_id=area.id)
    await async_wait_recording_done(hass)
    for target in ({"device_id": entity.device_id}, {"area_id": area.id}):
        (device,) = (await ask(hass, target))["devices"]
        assert device["device_id"] == entity.device_id
        assert len(device["readings"]) == 1
    with pytest.raises(ServiceValidationError, match=other.entity_id):
        await ask(hass, {"entity_id": [GOLD, other.entity_id]})
    with pytest.raises(ServiceValidationError, match=r"nothing called sensor\.none"):
        await ask(hass, {"entity_id": "sensor.none"})
    with pytest.raises(ServiceValidationError, match="nothing called attic"):
        await ask(hass, {"area_id": "attic"})
    with pytest.raises(ServiceValidationError, match="is not before the end"):
        await ask(
            hass, {"entity_id": GOLD, "start": TIMES["end"], "end": TIMES["start"]}
        )


async def test_everything(hass: HomeAssistant, machine: Machine, set_up: SetUp) -> None:
    """All entities are all that show a reading, and no others."""
    await set_up(GOLD_PLACE)
    await set_up(BME_PLACE)
    er.async_get(hass).async_get_or_create("light", "other", "1")
    answer = await ask(hass, {"entity_id": "all"})
    assert [device["name"] for device in answer["devices"]] == ["BME280", "TEMPerGold"]


async def test_never_recorded(
    hass: HomeAssistant, machine: Machine, set_up: SetUp
) -> None:
    """Of a sensor that the recorder does not know there are no readings."""
    await set_up(GOLD_PLACE)
    await async_wait_recording_done(hass)
    await execute(hass, "DELETE FROM states")
    await execute(hass, "DELETE FROM states_meta")
    assert await readings(hass, entity_id=GOLD) == []


async def test_column_without_a_row(
    hass: HomeAssistant, machine: Machine, set_up: SetUp
) -> None:
    """A value that was never recorded is null, not missing."""
    await set_up(BME_PLACE)
    await record(hass, {BME[0]: [(NOON, "20", "°C")]})
    rename = (
        "UPDATE states_meta SET entity_id = 'other' WHERE entity_id LIKE '%humidity'"
    )
    await execute(hass, rename)
    (reading,) = await readings(hass, entity_id=list(BME[:2]))
    assert reading["temperature"] == 20
    assert reading["humidity"] is None


async def test_database_that_fails(
    hass: HomeAssistant, machine: Machine, set_up: SetUp
) -> None:
    """A question that the database does not answer says what to look at."""
    await set_up(GOLD_PLACE)
    await async_wait_recording_done(hass)
    await readings(hass, entity_id=GOLD)
    await execute(hass, "ALTER TABLE states RENAME TO gone")
    with pytest.raises(HomeAssistantError, match="did not answer"):
        await readings(hass, entity_id=GOLD)
    del hass.data[recorder.DATA_KNOWN]
    with pytest.raises(HomeAssistantError, match=r"states\.state is missing"):
        await readings(hass, entity_id=GOLD)
    await execute(hass, "ALTER TABLE gone RENAME TO states")


async def test_time_that_is_none(
    hass: HomeAssistant, machine: Machine, set_up: SetUp
) -> None:
    """A time at the edge of what can be written is refused in words."""
    await hass.config.async_set_time_zone("Europe/Berlin")
    await set_up(GOLD_PLACE)
    for time in ("0001-01-01T00:00:00", "1200-01-01", "2100-01-01T00:00:00+01:00"):
        with pytest.raises(ServiceValidationError, match="from the year"):
            await readings(hass, entity_id=GOLD, start=time)


async def test_recorder_that_changed(
    hass: HomeAssistant, machine: Machine, set_up: SetUp
) -> None:
    """Tables that are not as known give an error, never a wrong answer."""
    await set_up(GOLD_PLACE)
    await async_wait_recording_done(hass)
    table = "ALTER TABLE state_attributes"
    await execute(hass, f"{table} RENAME COLUMN shared_attrs TO shared")
    with pytest.raises(
        HomeAssistantError, match=r"\(state_attributes\.shared_attrs is"
    ):
        await ask(hass, {"entity_id": GOLD})
    await execute(hass, f"{table} RENAME COLUMN shared TO shared_attrs")
