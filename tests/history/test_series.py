"""Every reading is kept, and comes back as it was measured."""

from typing import Any
from unittest.mock import patch

from homeassistant.components.recorder.db_schema import (
    StateAttributes,
    States,
    StatesMeta,
)
from homeassistant.core import HomeAssistant
from homeassistant.helpers import area_registry as ar
from homeassistant.helpers import entity_registry as er
from homeassistant.helpers.recorder import get_instance, session_scope
from homeassistant.util import dt as dt_util
import pytest
from pytest_homeassistant_custom_component.components.recorder.common import (
    async_wait_recording_done,
)
from sqlalchemy import func, select

from custom_components.temperature_logger import services
from custom_components.temperature_logger.history import series
from custom_components.temperature_logger.history.rows import CHUNK_ROWS
from emulation.machine import Machine
from tests.conftest import BME_PLACE, GOLD_PLACE, TWO_PLACE, SetUp, pass_time

from .conftest import BME, GOLD, NOON, TIMES, Row, ask, execute, readings, record


async def test_every_reading_is_a_row(
    hass: HomeAssistant, machine: Machine, set_up: SetUp
) -> None:
    """Each value is a row, changed or not; an absent probe has none."""
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


async def test_states_without_a_reading(
    hass: HomeAssistant, machine: Machine, set_up: SetUp
) -> None:
    """A state that is written without a reading leaves no row."""
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
    """The action returns the readings device by device."""
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
    # Two values less than 2 s apart are one reading, with the later value.
    assert [one["temperature"] for one in gold["readings"]] == [-3.25]


async def test_whatever_unit_was_shown(
    hass: HomeAssistant, machine: Machine, set_up: SetUp
) -> None:
    """Each row is in the unit of its time; a row with an unknown unit is a gap."""
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
    """Rows less than 2 s apart are one reading; a missing value is null."""
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
    columns = await readings(hass, **both)
    assert columns == {
        "collected_at": [int(NOON), int(NOON) + 300, int(NOON) + 600],
        "temperature": [20, 21, None],
        "humidity": [40, None, 41],
    }
    newest = await readings(hass, **both, order="newest")
    assert newest == {name: column[::-1] for name, column in columns.items()}
    with patch.object(services, "MAX_READINGS", 2):
        answer = await ask(hass, TIMES | both)
        assert answer["truncated"]
        assert answer["devices"][0]["readings"]["temperature"] == [20, 21]


async def test_order_changes_nothing(
    hass: HomeAssistant, machine: Machine, set_up: SetUp
) -> None:
    """The readings do not depend on the order of the answer."""
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
    """A reading belongs as a whole to the span in which it began."""
    await set_up(BME_PLACE)
    rows = {
        BME[0]: [(NOON - 0.401, "20", "°C"), (NOON + 3599.599, "21", "°C")],
        BME[1]: [(NOON - 0.399, "40", "%"), (NOON + 3599.601, "41", "%")],
    }
    await record(hass, rows)
    both: dict[str, Any] = {"entity_id": list(BME[:2]), "format": "columns"}
    columns = await readings(
        hass, **both, start="2025-11-20T11:00:00Z", end="2025-11-20T12:00:00Z"
    )
    assert columns == {
        "collected_at": [int(NOON) - 1],
        "temperature": [20],
        "humidity": [40],
    }
    columns = await readings(hass, **both, end="2025-11-20T13:00:00Z")
    assert columns["temperature"] == [21]
    assert columns["humidity"] == [41]


@pytest.mark.parametrize("order", ["oldest", "newest"])
async def test_rows_close_to_each_other_at_the_start(
    hass: HomeAssistant, machine: Machine, set_up: SetUp, order: str
) -> None:
    """The same rows are one reading, whatever the start of the span."""
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
    query: dict[str, Any] = {"entity_id": [*BME[:2], GOLD], "format": "columns"}
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
        answer = await ask(hass, TIMES | query | {"start": since, "order": order})
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
    """The limit counts readings, not rows; an answer up to it is marked."""
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
    query = {"entity_id": list(BME[:2]), "format": "columns", "order": order, **TIMES}
    with (
        patch.object(services, "MAX_READINGS", limit),
        patch.object(series, "QUERY_ROWS", 600),
    ):
        answer = await ask(hass, query)
    (device,) = answer["devices"]
    times = [n for n in range(count) if n not in gaps or n in {3, count - 3}][::step]
    assert device["readings"]["collected_at"] == [
        int(NOON) + 10 * n for n in times[:limit]
    ]
    assert answer["truncated"] == (len(times) > limit)


async def test_start_counts_and_end_does_not(
    hass: HomeAssistant, machine: Machine, set_up: SetUp
) -> None:
    """The start is inclusive, the end exclusive; a time without a zone is local."""
    await hass.config.async_set_time_zone("Europe/Berlin")
    await set_up(GOLD_PLACE)
    rows = [(NOON - 0.4 + 60 * n, str(n), "°C") for n in range(3)]
    await record(hass, {GOLD: rows})
    times = {"start": "2025-11-20 13:00:00", "end": "2025-11-20 13:02:00"}
    columns = await readings(hass, entity_id=GOLD, **times, format="columns")
    assert columns["temperature"] == [0, 1]


async def test_many_rows(hass: HomeAssistant, machine: Machine, set_up: SetUp) -> None:
    """Rows of several chunks come in order, without gaps."""
    await set_up(GOLD_PLACE)
    rows = [
        (NOON + n * 10, "unavailable" if n == 600 else str(n), "°C")
        for n in range(CHUNK_ROWS * 3)
    ]
    await record(hass, {GOLD: rows})
    columns = await readings(hass, entity_id=GOLD, format="columns")
    expected = [n for n in range(CHUNK_ROWS * 3) if n != 600]
    assert columns["temperature"] == expected
    assert columns["collected_at"] == [int(NOON) + n * 10 for n in expected]


async def test_never_recorded(
    hass: HomeAssistant, machine: Machine, set_up: SetUp
) -> None:
    """A sensor that the recorder does not know has no readings."""
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
