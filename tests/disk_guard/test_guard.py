"""The disk guard warns, thins if that helps, and does not do so in a loop."""

import asyncio
from collections.abc import Awaitable, Callable, Generator
import json
from pathlib import Path
import time
from types import SimpleNamespace
from typing import Any

from homeassistant.components.recorder.const import SupportedDialect
from homeassistant.components.recorder.core import Recorder
from homeassistant.components.recorder.db_schema import (
    Events,
    StateAttributes,
    States,
    StatesMeta,
)
from homeassistant.components.recorder.history import state_changes_during_period
from homeassistant.components.recorder.repack import repack_database
from homeassistant.components.recorder.tasks import CommitTask
from homeassistant.config_entries import ConfigEntry
from homeassistant.const import EVENT_HOMEASSISTANT_STOP, STATE_UNKNOWN
from homeassistant.core import CoreState, HomeAssistant
from homeassistant.helpers import entity_registry as er
from homeassistant.helpers import issue_registry as ir
from homeassistant.helpers.recorder import get_instance, session_scope
from homeassistant.setup import async_setup_component
from homeassistant.util import dt as dt_util
import pytest
from pytest_homeassistant_custom_component.common import (
    MockConfigEntry,
    async_capture_events,
)
from pytest_homeassistant_custom_component.components.recorder.common import (
    async_wait_recording_done,
    do_adhoc_statistics,
)
from sqlalchemy import delete, func, insert, make_url, select, text
from sqlalchemy.exc import OperationalError

from custom_components.temperature_logger.const import DOMAIN
from custom_components.temperature_logger.disk_guard import (
    database,
    guard,
    passes,
    thinning,
)
from custom_components.temperature_logger.disk_guard.decision import Outcome, Pass
from custom_components.temperature_logger.disk_guard.memory import STORE_KEY, Memory
from custom_components.temperature_logger.disk_guard.passes import EVENT_THINNED
from custom_components.temperature_logger.disk_guard.space import Measurement
from custom_components.temperature_logger.disk_guard.thinning import Tally
from custom_components.temperature_logger.history import holds, recorder
from custom_components.temperature_logger.history.recorder import WorkTask
from custom_components.temperature_logger.shared import DATA_SHARED, shared_object
from emulation.machine import Machine
from tests.conftest import GOLD_PLACE, SetUp, pass_time
from tests.history.conftest import GOLD, ask, readings

from .conftest import refused_deletions

pytestmark = [
    pytest.mark.parametrize(
        "server", ["sqlite", "postgresql"], indirect=True, scope="session"
    ),
    pytest.mark.warns("Thinned readings to one in"),
]

SENSOR = "sensor.this_machine_thinned_readings"
OTHER_ENTITY = "sensor.other"
DAY = 86400
CELSIUS = {"state_class": "measurement", "unit_of_measurement": "°C"}
THREE_DAYS_ROWS, DAY_ROWS = 3 * 2880, 2880
"""The rows of three days and of one day, with a row every 30 seconds."""

type Storage = dict[str, Any]


@pytest.fixture(name="entry")
async def entry_fixture(
    hass: HomeAssistant,
    machine: Machine,
    set_up: SetUp,
    hass_storage: Storage,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> ConfigEntry:
    """Set up this machine, and a stick with a history of some days."""
    hass.config.config_dir = str(tmp_path)
    monkeypatch.setattr(guard, "MEASURE_SECONDS", 0)
    await set_up(GOLD_PLACE)
    await async_wait_recording_done(hass)
    now = time.time()
    await fill(hass, GOLD, [now - 30 * n for n in range(THREE_DAYS_ROWS)])
    return await set_up("host")


async def fill(hass: HomeAssistant, entity_id: str, times: list[float]) -> None:
    """Write rows of these Unix times."""

    def work() -> None:
        with session_scope(hass=hass) as session:
            statement = select(StatesMeta.metadata_id).where(
                StatesMeta.entity_id == entity_id
            )
            if (metadata_id := session.scalar(statement)) is None:
                session.add(meta := StatesMeta(entity_id=entity_id))
                session.flush()
                metadata_id = meta.metadata_id
            session.add(shared := StateAttributes(shared_attrs=json.dumps(CELSIUS)))
            session.flush()
            rows = [
                {
                    "attributes_id": shared.attributes_id,
                    "last_updated_ts": time,
                    "metadata_id": metadata_id,
                    "state": str(round(time % 7, 3)),
                }
                for time in sorted(times)
            ]
            session.execute(insert(States), rows)

    await get_instance(hass).async_add_executor_job(work)


async def count(hass: HomeAssistant, entity_id: str) -> int:
    """Return how many rows an entity has."""

    def work() -> int:
        with session_scope(hass=hass, read_only=True) as session:
            statement = select(func.count(States.state_id)).join(StatesMeta)
            return (
                session.scalar(statement.where(StatesMeta.entity_id == entity_id)) or 0
            )

    await async_wait_recording_done(hass)
    return await get_instance(hass).async_add_executor_job(work)


async def let(hass: HomeAssistant, entry: ConfigEntry, mode: str, limit: int) -> None:
    """Choose the mode and the limit of the guard; at 0 % every disk is full."""
    options = {"disk_guard": mode, "disk_limit": limit}
    hass.config_entries.async_update_entry(entry, options=options)
    await hass.config_entries.async_reload(entry.entry_id)
    await hass.async_block_till_done()


def issue_key(hass: HomeAssistant) -> str | None:
    """Return the text key of the issue, or None if there is none."""
    issue = ir.async_get(hass).async_get_issue(DOMAIN, guard.DISK_ISSUE)
    return None if issue is None else issue.translation_key


def thinned_outcome(hass: HomeAssistant) -> Outcome:
    """Return the outcome of a pass: only SQLite gives its free space to the disk."""
    is_lite = get_instance(hass).dialect_name == SupportedDialect.SQLITE
    return Outcome.THINNED if is_lite else Outcome.REUSABLE


def placeholders(hass: HomeAssistant) -> dict[str, str]:
    """Return the placeholders of the issue."""
    issue = ir.async_get(hass).async_get_issue(DOMAIN, guard.DISK_ISSUE)
    assert issue
    assert issue.translation_placeholders
    return issue.translation_placeholders


@pytest.mark.warns("does not tell how full it is")
async def test_disk_that_cannot_be_asked(
    hass: HomeAssistant, entry: MockConfigEntry, tmp_path: Path
) -> None:
    """The issue stays while the usage of the disk cannot be read."""
    folder = tmp_path / "config"
    folder.mkdir()
    hass.config.config_dir = str(folder)
    await let(hass, entry, "warn", 0)
    assert issue_key(hass) == Outcome.DISK_FULL
    folder.rmdir()
    await pass_time(hass, 305)
    assert not entry.runtime_data.last_update_success
    assert issue_key(hass) == Outcome.DISK_FULL


async def test_off_and_warn(hass: HomeAssistant, entry: ConfigEntry) -> None:
    """The guard is off by default; a warning disappears by itself."""
    assert issue_key(hass) is None
    await let(hass, entry, "off", 0)
    assert issue_key(hass) is None
    await let(hass, entry, "warn", 0)
    assert issue_key(hass) == Outcome.DISK_FULL
    assert placeholders(hass)["limit"] == "0"
    await let(hass, entry, "warn", 101)
    assert issue_key(hass) is None
    assert await count(hass, GOLD) > THREE_DAYS_ROWS
    assert hass.states.get(SENSOR) is None


async def test_one_pass(
    hass: HomeAssistant, entry: ConfigEntry, hass_storage: Storage
) -> None:
    """The guard thins once, repacks and reports; after that it only warns."""
    await fill(hass, OTHER_ENTITY, [time.time() - 600 * n for n in range(300)])
    events = async_capture_events(hass, EVENT_THINNED)
    before = await count(hass, GOLD)
    await let(hass, entry, "thin", 0)
    assert issue_key(hass) == thinned_outcome(hass)
    after = await count(hass, GOLD)
    # The last day stays whole; of the two before it, one row an hour stays.
    assert DAY_ROWS + 48 <= after <= DAY_ROWS + 2 * 120 + 50
    assert await count(hass, OTHER_ENTITY) == 300
    (event,) = events
    shown = hass.states.get(SENSOR)
    assert shown
    assert shown.state == str(event.data["rows"])
    assert int(shown.state) >= before - after
    for name, value in event.data.items():
        assert name == "rows" or shown.attributes[name] == value
    assert event.data["minutes"] == 60
    assert event.data["ended"]
    assert event.data["repacked"]
    assert event.data["error"] == ""
    assert event.data["first"] < event.data["last"] < event.data["began"]
    assert event.data["bytes"] > 0
    assert (event.data["disk_bytes"] > 0) == (issue_key(hass) == Outcome.THINNED)
    assert hass_storage[STORE_KEY]["data"]["rows"] == event.data["rows"]
    await pass_time(hass, 305)
    await let(hass, entry, "thin", 0)
    assert issue_key(hass) == thinned_outcome(hass)
    await let(hass, entry, "off", 0)
    assert issue_key(hass) is None
    assert hass.states.get(SENSOR) is None
    assert er.async_get(hass).async_get(SENSOR) is None
    # A day later there are too few readings left to thin.
    shared_object(hass, Memory).last = Pass(began=time.time() - 1.1 * DAY)
    await let(hass, entry, "thin", 0)
    assert issue_key(hass) == Outcome.TOO_FEW
    assert len(events) == 1


async def test_everything_still_answers(
    hass: HomeAssistant, entry: ConfigEntry
) -> None:
    """Answers have the remaining readings, and all statistics."""
    await async_setup_component(hass, "sensor", {})
    begin = int(time.time() - 2 * DAY) // 300 * 300
    do_adhoc_statistics(hass, start=dt_util.utc_from_timestamp(begin))
    await async_wait_recording_done(hass)
    span = {
        "start": dt_util.utc_from_timestamp(begin - 0.5 * DAY).isoformat(),
        "end": dt_util.utc_from_timestamp(begin + 0.75 * DAY).isoformat(),
    }
    statistics = await readings(hass, entity_id=GOLD, period="5minute", **span)
    assert len(statistics) == 1
    before = await readings(hass, entity_id=GOLD, **span)
    await let(hass, entry, "thin", 0)
    assert issue_key(hass) == thinned_outcome(hass)
    assert await readings(hass, entity_id=GOLD, period="5minute", **span) == statistics
    left = await readings(hass, entity_id=GOLD, **span)
    assert 30 <= len(left) <= 31  # The last of 30 hours is not whole.
    assert all(reading in before for reading in left)
    shown = await get_instance(hass).async_add_executor_job(
        state_changes_during_period,
        *(hass, dt_util.utc_from_timestamp(begin - 0.5 * DAY)),
        *(dt_util.utc_from_timestamp(begin + 0.75 * DAY), GOLD),
    )
    assert len(shown[GOLD]) - len(left) in {0, 1}


async def test_what_a_pass_freed_lasts(hass: HomeAssistant, entry: ConfigEntry) -> None:
    """There is no second pass while the space that the last one freed lasts."""
    began = time.time() - 8 * DAY
    last = Pass(began=began, bytes=10**9, ended=True, repacked=True)
    shared_object(hass, Memory).last = last
    await let(hass, entry, "thin", 0)
    assert issue_key(hass) == Outcome.REUSABLE
    assert shared_object(hass, Memory).last == last


async def run(hass: HomeAssistant, work: Callable[[HomeAssistant], None]) -> None:
    """Run a function in the recorder's executor."""
    await async_wait_recording_done(hass)
    await get_instance(hass).async_add_executor_job(work, hass)


def delete_newest(hass: HomeAssistant) -> None:
    """Delete the rows of a day, except those of the last minute."""
    now, at = time.time(), States.last_updated_ts
    with session_scope(hass=hass) as session:
        session.execute(delete(States).where(at > now - DAY - 60, at < now - 60))
        session.execute(delete(Events))
        if get_instance(hass).dialect_name == SupportedDialect.POSTGRESQL:
            # It counts the deleted rows before it confirms that they are gone.
            session.execute(text("SELECT pg_stat_force_next_flush()"))
    assert is_roomy(hass)


def repack(hass: HomeAssistant) -> None:
    """Repack the database until the server counts no free space either."""
    while is_roomy(hass):
        repack_database(get_instance(hass))


def is_roomy(hass: HomeAssistant) -> bool:
    """Return whether the database need not grow for a week."""
    space = database.measure(hass, []).space
    assert space
    return space.free >= 7 * space.growth


async def test_roomy(hass: HomeAssistant, entry: ConfigEntry) -> None:
    """A database that need not grow for a week is left as it is."""
    await run(hass, delete_newest)
    before = await count(hass, GOLD)
    await let(hass, entry, "thin", 0)
    assert issue_key(hass) == Outcome.ROOMY
    assert await count(hass, GOLD) >= before
    answer = await ask(hass, {}, action="preview_thinning")
    assert answer["outcome"] == Outcome.ROOMY
    assert answer["database"]["free"] > 7 * answer["database"]["growth_per_day"]


async def test_enough(hass: HomeAssistant, entry: ConfigEntry) -> None:
    """The first step that frees space for a week is the last one."""
    await run(hass, delete_newest)
    await run(hass, repack)
    events = async_capture_events(hass, EVENT_THINNED)
    await let(hass, entry, "thin", 0)
    assert [event.data["minutes"] for event in events] == [10]
    assert events[0].data["error"] == ""


async def test_too_few(
    hass: HomeAssistant, entry: MockConfigEntry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is thinned if other entities write more in a day than that would free."""
    await fill(
        hass, OTHER_ENTITY, [time.time() - n for n in range(2 * THREE_DAYS_ROWS)]
    )
    before = await count(hass, GOLD)
    await let(hass, entry, "thin", 0)
    assert issue_key(hass) == Outcome.TOO_FEW
    assert await count(hass, GOLD) >= before
    # The database is not measured with each reading of the disk.
    measurements: list[HomeAssistant] = []
    monkeypatch.setattr(guard, "MEASURE_SECONDS", 3600)
    monkeypatch.setattr(guard, "async_measure", counted(measurements))
    for seconds in (305, 610, 915):
        await pass_time(hass, seconds)
    assert len(measurements) == 1
    assert issue_key(hass) == Outcome.TOO_FEW
    # The issue disappears once the usage is clearly below the limit.
    coordinator = entry.runtime_data
    full = coordinator.data
    coordinator.async_set_updated_data(full._replace(space_usage=-1.0))
    assert issue_key(hass) == Outcome.TOO_FEW
    coordinator.async_set_updated_data(full._replace(space_usage=-2.1))
    assert issue_key(hass) is None
    coordinator.async_set_updated_data(full._replace(space_usage=-0.1))
    assert issue_key(hass) is None
    coordinator.async_set_updated_data(full)
    assert issue_key(hass) == Outcome.DISK_FULL
    await hass.async_block_till_done()
    assert len(measurements) == 1


def counted(
    measurements: list[HomeAssistant],
) -> Callable[[HomeAssistant], Awaitable[Measurement]]:
    """Return a function that notes that it measures the database."""
    measure = passes.async_measure

    async def counting(hass: HomeAssistant) -> Measurement:
        measurements.append(hass)
        return await measure(hass)

    return counting


async def test_elsewhere(hass: HomeAssistant, entry: ConfigEntry) -> None:
    """Nothing is thinned if the database is on another disk."""
    hass.config.config_dir = "/dev/shm"  # noqa: S108 - Only its usage is read.
    await let(hass, entry, "thin", 0)
    assert issue_key(hass) == Outcome.ELSEWHERE
    answer = await ask(hass, {}, action="preview_thinning")
    assert answer["database"] is None
    assert answer["outcome"] == Outcome.ELSEWHERE
    assert answer["steps"][0]["bytes"] is None
    assert answer["steps"][0]["rows"] > 0


OTHER_DISK_URLS = {
    "sqlite": ("sqlite://", "sqlite:////gone/away.db"),
    "postgresql": ("postgresql://server.example/one", "postgresql:///?host=other"),
}


async def test_database_elsewhere(hass: HomeAssistant, entry: ConfigEntry) -> None:
    """A database in memory, on a server or in a missing file is on another disk."""
    instance = get_instance(hass)
    assert instance.dialect_name
    for url in OTHER_DISK_URLS[instance.dialect_name]:
        instance.db_url = url
        await let(hass, entry, "thin", 0)
        assert issue_key(hass) == Outcome.ELSEWHERE
        await let(hass, entry, "off", 0)


async def test_preview(
    hass: HomeAssistant, entry: ConfigEntry, hass_storage: Storage
) -> None:
    """The preview deletes nothing, and leaves out rows that are held back."""
    before = await count(hass, GOLD)
    shared_object(hass, Memory).is_busy = True
    answer = await ask(hass, {}, action="preview_thinning")
    assert answer["outcome"] == passes.THINNING
    shared_object(hass, Memory).is_busy = False
    answer = await ask(hass, {}, action="preview_thinning")
    assert answer["outcome"] == passes.WOULD_THIN
    assert answer["last_pass"] is None
    assert answer["database"]["size"] > answer["steps"][-1]["bytes"]
    assert [step["minutes"] for step in answer["steps"]] == [10, 15, 30, 60]
    rows = [step["rows"] for step in answer["steps"]]
    assert rows == sorted(rows)
    assert answer["steps"][-1]["last"] < answer["until"]
    assert await count(hass, GOLD) >= before
    assert STORE_KEY not in hass_storage
    holds(hass).update({"somebody": lambda: time.time() - 10 * DAY})
    held = await ask(hass, {}, action="preview_thinning")
    assert held["until"] < answer["until"]
    assert held["steps"][-1] == {
        "minutes": 60,
        "rows": 0,
        "first": None,
        "last": None,
        "bytes": 0,
    }
    await let(hass, entry, "thin", 0)
    assert issue_key(hass) == Outcome.TOO_FEW
    holds(hass).clear()
    await let(hass, entry, "thin", 0)
    done = await ask(hass, {}, action="preview_thinning")
    assert done["last_pass"]["rows"] == rows[-1]
    assert done["outcome"] == thinned_outcome(hass)


async def test_no_space_to_repack(
    hass: HomeAssistant, entry: ConfigEntry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without space for a copy, the database is not repacked, and that is reported."""
    usage = SimpleNamespace(disk_usage=lambda _: SimpleNamespace(free=100_000))
    monkeypatch.setattr(database, "shutil", usage)
    await let(hass, entry, "thin", 0)
    assert issue_key(hass) == Outcome.NOT_REPACKED
    state = hass.states.get(SENSOR)
    assert state
    assert state.attributes["repacked"] is False
    assert int(state.state) > 0


async def test_remembered_before_it_begins(
    hass: HomeAssistant,
    entry: ConfigEntry,
    hass_storage: Storage,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """After a crash there is no second pass within a day."""
    remembered = []
    run = WorkTask.run

    def note(self: WorkTask, instance: Any) -> None:  # noqa: ANN401
        remembered.append(hass_storage[STORE_KEY]["data"]["ended"])
        run(self, instance)

    monkeypatch.setattr(WorkTask, "run", note)
    await let(hass, entry, "thin", 0)
    assert set(remembered) == {False}
    events = async_capture_events(hass, EVENT_THINNED)
    hass_storage[STORE_KEY]["data"] = {"began": time.time()}
    hass.data[DATA_SHARED].pop(Memory)
    await let(hass, entry, "thin", 0)
    assert issue_key(hass) == Outcome.INTERRUPTED
    assert not events
    assert hass.states.is_state(SENSOR, "0")


async def test_forgotten(
    hass: HomeAssistant, entry: ConfigEntry, hass_storage: Storage
) -> None:
    """The last pass and the issue are deleted with the device."""
    await let(hass, entry, "thin", 0)
    assert STORE_KEY in hass_storage
    await hass.config_entries.async_remove(entry.entry_id)
    assert STORE_KEY not in hass_storage
    assert issue_key(hass) is None


async def test_before_the_first_pass(hass: HomeAssistant, entry: ConfigEntry) -> None:
    """The sensor is unknown before the first pass."""
    await let(hass, entry, "thin", 101)
    assert hass.states.is_state(SENSOR, STATE_UNKNOWN)


async def test_database_fails(hass: HomeAssistant, entry: ConfigEntry) -> None:
    """The issue quotes the error, and how many rows were deleted before it."""
    deleted: list[set[int]] = []

    def is_refused(state_ids: set[int]) -> bool:
        deleted.append(state_ids)
        return len(deleted) == 3

    before = await count(hass, GOLD)
    with refused_deletions(hass, is_refused):
        await let(hass, entry, "thin", 0)
    assert issue_key(hass) == Outcome.FAILED
    assert "no_such_table" in placeholders(hass)["error"]
    rows = sum(map(len, deleted[:2]))
    assert placeholders(hass)["rows"] == str(rows)
    assert before - rows <= await count(hass, GOLD) <= before - rows + 5
    assert hass.states.is_state(SENSOR, str(rows))


BROKEN = {
    "measure": (database, "metadata_ids"),
    "preview": (thinning, "newest_rows"),
    "freed space": (database, "is_sqlite"),
    "repack": (recorder, "repack_database"),
}


@pytest.mark.parametrize("broken", BROKEN)
async def test_database_fails_around_it(
    hass: HomeAssistant,
    entry: ConfigEntry,
    monkeypatch: pytest.MonkeyPatch,
    broken: str,
) -> None:
    """An error before or after the deletion is quoted as well."""

    def fail(*_: object) -> None:
        raise RuntimeError("gone")

    monkeypatch.setattr(*BROKEN[broken], fail)
    await let(hass, entry, "thin", 0)
    is_before = broken in {"measure", "preview"}
    assert issue_key(hass) == (Outcome.UNKNOWN if is_before else Outcome.FAILED)
    assert "gone" in placeholders(hass)["error"]
    assert (placeholders(hass)["rows"] == "0") == is_before


async def test_free_space_in_between(hass: HomeAssistant, entry: ConfigEntry) -> None:
    """A disk that had free space in between is thinned again after a day."""
    last = Pass(began=time.time() - 2 * DAY, ended=True)
    shared_object(hass, Memory).last = last
    shared_object(hass, Memory).has_cleared = False  # As after a restart.
    await let(hass, entry, "thin", 0)
    assert issue_key(hass) == Outcome.NOT_REPACKED
    assert shared_object(hass, Memory).last == last
    await let(hass, entry, "off", 0)
    await let(hass, entry, "thin", 0)
    assert issue_key(hass) == thinned_outcome(hass)


async def test_journal_is_given_back(hass: HomeAssistant, entry: ConfigEntry) -> None:
    """The space of SQLite's journal is free again after a pass."""
    path = make_url(get_instance(hass).db_url).database or ""

    def size() -> int:
        return sum(Path(f"{path}{end}").stat().st_size for end in ("", "-wal"))

    is_lite = thinned_outcome(hass) is Outcome.THINNED
    before = size() if is_lite else 0
    await let(hass, entry, "thin", 0)
    assert issue_key(hass) == thinned_outcome(hass)
    await count(hass, GOLD)
    assert not is_lite or size() < before


async def change(hass: HomeAssistant, entry: ConfigEntry, mode: str) -> None:
    """Change the options, which reloads the device."""
    options = {"disk_guard": mode, "disk_limit": 0}
    hass.config_entries.async_update_entry(entry, options=options)
    await hass.config_entries.async_reload(entry.entry_id)


@pytest.mark.parametrize("how", ["off", "warn", "unload", "stop"])
async def test_ended_before_it_began(
    hass: HomeAssistant, entry: ConfigEntry, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """Nothing is deleted if the guard is turned off while it measures."""
    preview = passes.async_steps

    async def ending(hass: HomeAssistant, measurement: Measurement) -> list[Tally]:
        steps = await preview(hass, measurement)
        await (ENDS[how](hass) if how in ENDS else change(hass, entry, how))
        return steps

    monkeypatch.setattr(passes, "async_steps", ending)
    before = await count(hass, GOLD)
    await let(hass, entry, "thin", 0)
    assert await count(hass, GOLD) >= before
    assert shared_object(hass, Memory).last is None
    assert issue_key(hass) == (Outcome.DISK_FULL if how in {"stop", "warn"} else None)


@pytest.mark.parametrize("how", ["remove", "off", "cleared"])
async def test_not_wanted_at_the_end(
    hass: HomeAssistant,
    entry: MockConfigEntry,
    monkeypatch: pytest.MonkeyPatch,
    hass_storage: Storage,
    how: str,
) -> None:
    """The outcome is dropped if the guard was turned off or the device removed."""
    thin = recorder.async_work

    async def ending(hass: HomeAssistant, work: Generator[None]) -> None:
        await thin(hass, work)
        if how == "remove":
            await hass.config_entries.async_remove(entry.entry_id)
        elif how == "off":
            await change(hass, entry, "off")
        else:
            full = entry.runtime_data.data._replace(space_usage=-3.0)
            entry.runtime_data.async_set_updated_data(full)

    monkeypatch.setattr(recorder, "async_work", ending)
    await let(hass, entry, "thin", 0)
    assert issue_key(hass) is None
    assert (STORE_KEY in hass_storage) == (how != "remove")


async def test_disk_fills_meanwhile(
    hass: HomeAssistant, entry: ConfigEntry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The free space after thinning decides whether to repack."""
    thin = recorder.async_work

    async def filling(hass: HomeAssistant, work: Generator[None]) -> None:
        await thin(hass, work)
        usage = SimpleNamespace(disk_usage=lambda _: SimpleNamespace(free=0))
        monkeypatch.setattr(database, "shutil", usage)

    monkeypatch.setattr(recorder, "async_work", filling)
    await let(hass, entry, "thin", 0)
    assert issue_key(hass) == Outcome.NOT_REPACKED


@pytest.mark.warns("Error executing query")
@pytest.mark.warns("processing task")
async def test_recorder_cannot_write(
    hass: HomeAssistant, entry: ConfigEntry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error of the recorder before the first step is reported."""
    commit = CommitTask.run
    failed: list[CommitTask] = []

    def fail(self: CommitTask, instance: Recorder) -> None:
        if not failed:
            failed.append(self)
            raise OperationalError("INSERT", {}, Exception("database or disk is full"))
        commit(self, instance)

    monkeypatch.setattr(CommitTask, "run", fail)
    await let(hass, entry, "thin", 0)
    assert issue_key(hass) == Outcome.FAILED
    assert "database or disk is full" in placeholders(hass)["error"]
    before = await count(hass, GOLD)
    hass.states.async_set(GOLD, "1")
    assert await count(hass, GOLD) == before + 1


async def test_recorder_has_ended(
    hass: HomeAssistant, entry: ConfigEntry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pass fails if the recorder's thread ends."""
    instance = get_instance(hass)
    queue = instance.queue_task
    tasks: list[WorkTask] = []

    def lose(task: Any) -> None:  # noqa: ANN401
        if isinstance(task, WorkTask):
            tasks.append(task)
        else:
            queue(task)

    monkeypatch.setattr(recorder, "ALIVE_CHECK_SECONDS", 0.01)
    with monkeypatch.context() as patched:
        patched.setattr(instance, "queue_task", lose)
        patched.setattr(instance, "is_alive", lambda: len(tasks) == 0)
        await let(hass, entry, "thin", 0)
    assert issue_key(hass) == Outcome.FAILED
    assert "thread has ended" in placeholders(hass)["error"]
    # Work that is done after all comes too late to change the outcome.
    before = await count(hass, GOLD)
    monkeypatch.setattr(recorder, "TURN_SECONDS", 1000)
    instance.queue_task(tasks[0])
    assert await count(hass, GOLD) < before
    await hass.async_block_till_done()
    assert issue_key(hass) == Outcome.FAILED


async def stop(hass: HomeAssistant) -> None:
    """Stop Home Assistant."""
    hass.bus.async_fire(EVENT_HOMEASSISTANT_STOP)


async def unload(hass: HomeAssistant) -> None:
    """Unload the entry of this machine."""
    (entry,) = (e for e in hass.config_entries.async_entries() if e.unique_id == "host")
    await hass.config_entries.async_unload(entry.entry_id)


ENDS = {"stop": stop, "unload": unload}


@pytest.mark.parametrize("how", ENDS)
async def test_ended_in_the_middle(
    hass: HomeAssistant,
    entry: ConfigEntry,
    monkeypatch: pytest.MonkeyPatch,
    how: str,
) -> None:
    """A pass ends soon, and the rows that it deleted are stored and reported."""
    states = get_instance(hass).states_manager
    evict = states.evict_purged_state_ids
    ended: list[int] = []

    def end(ids: set[int]) -> None:
        evict(ids)
        if not ended:
            ended.append(len(ids))
            asyncio.run_coroutine_threadsafe(ENDS[how](hass), hass.loop).result()

    monkeypatch.setattr(states, "evict_purged_state_ids", end)
    events = async_capture_events(hass, EVENT_THINNED)
    await let(hass, entry, "thin", 0)
    assert [event.data["rows"] for event in events] == ended
    assert events[0].data["minutes"] == 10
    assert events[0].data["ended"] is False
    assert events[0].data["repacked"] is False
    assert issue_key(hass) == (Outcome.DISK_FULL if how == "stop" else None)
    last = shared_object(hass, Memory).last
    assert last
    assert last.outcome == Outcome.INTERRUPTED


@pytest.mark.warns("Error while processing event")
async def test_mistake_of_the_program(
    hass: HomeAssistant, entry: ConfigEntry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A programming error is logged and reported, and the recorder goes on."""

    def fail(*_: object, **__: object) -> None:
        raise ArithmeticError

    monkeypatch.setattr(thinning, "delete_rows", fail)
    await let(hass, entry, "thin", 0)
    assert issue_key(hass) == Outcome.FAILED
    assert placeholders(hass)["error"] == "ArithmeticError()"
    before = await count(hass, GOLD)
    hass.states.async_set(GOLD, "1")
    assert await count(hass, GOLD) == before + 1


async def test_while_home_assistant_starts(
    hass: HomeAssistant, entry: ConfigEntry
) -> None:
    """Nothing is thinned before Home Assistant has started."""
    hass.set_state(CoreState.starting)
    await let(hass, entry, "thin", 0)
    assert issue_key(hass) == Outcome.DISK_FULL
    hass.set_state(CoreState.running)
    await pass_time(hass, 305)
    assert issue_key(hass) == thinned_outcome(hass)
    hass.bus.async_fire(EVENT_HOMEASSISTANT_STOP)
    await hass.async_block_till_done()
    assert shared_object(hass, Memory).is_stopping
