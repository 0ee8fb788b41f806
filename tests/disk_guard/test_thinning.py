"""Old readings are thinned; all other rows stay as they are."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
import json
from typing import Any, NamedTuple

from homeassistant.components.recorder import core
from homeassistant.components.recorder.db_schema import (
    StateAttributes,
    States,
    StatesMeta,
    Statistics,
    StatisticsMeta,
    StatisticsShortTerm,
)
from homeassistant.core import HomeAssistant
from homeassistant.exceptions import HomeAssistantError
from homeassistant.helpers.recorder import get_instance, session_scope
import pytest
from pytest_homeassistant_custom_component.components.recorder.common import (
    async_wait_recording_done,
)
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from custom_components.temperature_logger.disk_guard import thinning
from custom_components.temperature_logger.disk_guard.thinning import (
    STEP_MINUTES,
    Tally,
)
from custom_components.temperature_logger.history import recorder
from custom_components.temperature_logger.history.recorder import WorkTask
from custom_components.temperature_logger.history.rows import StateRow

from .conftest import refused_deletions

pytestmark = pytest.mark.parametrize(
    "server", ["sqlite", "postgresql"], indirect=True, scope="session"
)

MIDNIGHT = 1_763_596_800.0
"""2025-11-20, 00:00 UTC."""
HOURS = 5
END = MIDNIGHT + HOURS * 3600
OUR_ENTITIES = "sensor.ours_a", "sensor.ours_b", "sensor.ours_silent_at_first"
OTHER_ENTITIES = "sensor.other_a", "light.other"
GAPS = {7: "unavailable", 8: "unknown", 90: None}
OUTAGE = range(40, 70)
TABLES = "states", "state_attributes", "statistics", "statistics_short_term"

type Rows = list[tuple[Any, ...]]
type Slots = dict[tuple[int, int], list[StateRow]]


class Database(NamedTuple):
    """A database with rows."""

    hass: HomeAssistant
    ours: list[int]
    """The recorder's numbers of the entities that may be thinned."""

    async def run[T](self, job: Callable[[Session], T]) -> T:
        """Run a function with a session of the database."""

        def work() -> T:
            with session_scope(hass=self.hass) as session:
                return job(session)

        return await get_instance(self.hass).async_add_executor_job(work)

    async def rows(self) -> list[StateRow]:
        """Return the rows that may be thinned, by entity and time."""
        return await self.run(
            lambda session: [
                StateRow(*row)
                for row in session.execute(
                    select(
                        States.state_id,
                        States.metadata_id,
                        States.last_updated_ts,
                        States.state,
                        States.attributes_id,
                    )
                    .where(States.metadata_id.in_(self.ours))
                    .order_by(States.metadata_id, States.last_updated_ts)
                )
            ]
        )

    async def dump(self) -> dict[str, Rows]:
        """Return all columns of the rows that have to stay as they are."""
        ours = ", ".join(map(str, self.ours))
        where = {
            "states": f"WHERE metadata_id NOT IN ({ours})",
            "state_attributes": "WHERE shared_attrs LIKE '%other%'",
        }

        def read(session: Session) -> dict[str, Rows]:
            return {
                name: sorted(
                    tuple(map(repr, row))
                    for row in session.execute(
                        text(f"SELECT * FROM {name} {where.get(name, '')}")  # noqa: S608
                    )
                )
                for name in TABLES
            }

        return await self.run(read)

    async def thin(
        self,
        steps: int | None = None,
        until: thinning.Until = lambda: END,
    ) -> Tally:
        """Thin in the recorder's thread, all steps or only the first ones."""
        tally = Tally()

        def is_enough() -> bool:
            return steps is not None and tally.minutes == STEP_MINUTES[steps - 1]

        work = thinning.thin(self.hass, self.ours, until, is_enough, tally)
        await recorder.async_work(self.hass, work)
        return tally


@pytest.fixture(name="database")
async def database_fixture(hass: HomeAssistant) -> Database:
    """Write a row every two minutes, for entities to thin and for others."""
    await async_wait_recording_done(hass)
    database = Database(hass, [])
    database.ours.extend(await database.run(fill))
    return database


def fill(session: Session) -> list[int]:
    """Write states, each with its attributes and the state before, and statistics."""
    ours = []
    for entity_id in (*OUR_ENTITIES, *OTHER_ENTITIES):
        mine = entity_id in OUR_ENTITIES
        meta = StatesMeta(entity_id=entity_id)
        session.add(meta)
        session.flush()
        ours.extend([meta.metadata_id] if mine else [])
        session.add_all(states(meta, entity_id))
    statistic = StatisticsMeta(
        statistic_id=OUR_ENTITIES[0], source="recorder", has_sum=False
    )
    session.add(statistic)
    session.flush()
    for hour in range(HOURS):
        for table in (Statistics, StatisticsShortTerm):
            begin = MIDNIGHT + hour * 3600
            session.add(
                table(metadata_id=statistic.id, start_ts=begin, mean=hour, min=0)
            )
    return ours


def states(meta: StatesMeta, entity_id: str) -> Iterator[States]:
    """Yield the rows of one entity, each with the row before."""
    attributes = before = None
    for count in range(30 * (HOURS + 1)):
        if entity_id == OUR_ENTITIES[2] and count < 45:
            continue
        if entity_id == OUR_ENTITIES[1] and count in OUTAGE:
            continue
        state = GAPS.get(count, str(20 + count / 100))
        time = MIDNIGHT + 120 * count + 0.25 * (count % 3)
        row = States(metadata_id=meta.metadata_id, last_updated_ts=time, state=state)
        # Rows that follow each other share attributes; some have none.
        if count % 10 == 0 or attributes is None:
            attributes = StateAttributes(
                shared_attrs=json.dumps({"of": entity_id, "since": count})
            )
        if count % 10 != 9:
            row.state_attributes = attributes
        row.old_state = before
        before = row
        yield row


def is_reading(row: StateRow) -> bool:
    """Return whether a row has a value."""
    return row.state not in GAPS.values()


def slots(rows: Iterable[StateRow], minutes: int) -> Slots:
    """Return the readings in each slot of each entity."""
    readings: Slots = defaultdict(list)
    for row in rows:
        if is_reading(row):
            readings[row.metadata_id, int(row.time // (60 * minutes))].append(row)
    return readings


def expected(rows: list[StateRow], minutes: int, until: float) -> list[StateRow]:
    """Return the rows that stay after one step."""
    first = {readings[0].state_id for readings in slots(rows, minutes).values()}
    newest = {
        max(
            (row for row in rows if row.metadata_id == metadata_id),
            key=lambda row: row.time,
        )
        for metadata_id in {row.metadata_id for row in rows}
    }
    return [
        row
        for row in rows
        if row.state_id in first
        or row.time >= until
        or row in newest
        or not is_reading(row)
    ]


async def check(database: Database) -> None:
    """Let the database check that no row refers to a deleted one."""

    def look(session: Session) -> None:
        dangling = """
            SELECT count(*) FROM states AS one WHERE
            one.old_state_id IS NOT NULL AND NOT EXISTS
            (SELECT 1 FROM states AS other WHERE other.state_id = one.old_state_id)
            OR one.attributes_id IS NOT NULL AND NOT EXISTS
            (SELECT 1 FROM state_attributes AS a
             WHERE a.attributes_id = one.attributes_id)"""
        assert session.scalar(text(dangling)) == 0
        if get_instance(database.hass).dialect_name == "sqlite":
            assert session.scalar(text("PRAGMA integrity_check")) == "ok"
            assert not session.execute(text("PRAGMA foreign_key_check")).all()

    await database.run(look)


async def test_each_step(database: Database) -> None:
    """Each slot keeps its first reading; other rows stay byte for byte."""
    others = await database.dump()
    assert all(others.values())
    begin = rows = await database.rows()
    previews = await get_instance(database.hass).async_add_executor_job(
        thinning.preview, database.hass, database.ours, lambda: END
    )
    assert await database.rows() == rows
    for step, minutes in enumerate(STEP_MINUTES, start=1):
        tally = await database.thin(step)
        rows = expected(rows, minutes, END)
        left = await database.rows()
        assert [row.state_id for row in left] == [row.state_id for row in rows]
        assert left == rows
        assert tally.minutes == minutes == previews[step - 1].minutes
        gone = [row.time for row in set(begin) - set(left)]
        assert previews[step - 1] == Tally(
            minutes=minutes, rows=len(gone), first=min(gone), last=max(gone)
        )
        assert await database.dump() == others
        await check(database)
    again = await database.thin()
    assert again == Tally(minutes=60)
    # Attributes that only deleted rows had are deleted as well.
    unused = """SELECT count(*) FROM state_attributes AS a WHERE NOT EXISTS
        (SELECT 1 FROM states WHERE states.attributes_id = a.attributes_id)"""
    assert await database.run(lambda session: session.scalar(text(unused))) == 0


async def test_enough(database: Database) -> None:
    """The first step that is enough is the last one."""
    rows = await database.rows()
    await database.thin(1)
    assert await database.rows() == expected(rows, 10, END)


async def test_held_back(database: Database) -> None:
    """Rows that are held back stay, also if they are held back only meanwhile."""
    rows = await database.rows()
    third = MIDNIGHT + 3 * 3600
    await database.thin(1, until=lambda: third + 1800)
    left = await database.rows()
    assert left == expected(rows, 10, third)
    # The first three hours are thinned already; the fourth one was just read.
    ends = iter([END] * 4)
    tally = await database.thin(4, until=lambda: next(ends, 0.0))
    assert tally.rows == 0
    assert await database.rows() == left
    assert await database.thin(until=lambda: 0.0) == Tally(minutes=60)


async def test_newest_row_stays(database: Database) -> None:
    """Each entity keeps its newest row, however old that is."""
    rows = await database.rows()
    await database.thin(4, until=lambda: END + 86400)
    left = await database.rows()
    for minutes in STEP_MINUTES:
        rows = expected(rows, minutes, END + 86400)
    assert left == rows
    for metadata_id in database.ours:
        (newest,) = [row for row in left if row.metadata_id == metadata_id][-1:]
        assert newest.time >= MIDNIGHT + 120 * 179


async def test_nothing_there(database: Database) -> None:
    """Without rows nothing is thinned."""
    database.ours.clear()
    assert await database.thin() == Tally(minutes=60)


async def test_gap_of_years(database: Database) -> None:
    """Years without rows are skipped at once."""

    def write(session: Session) -> None:
        years_ago = MIDNIGHT - 20 * 365 * 86400
        for seconds in (0, 60, 120):
            row = States(metadata_id=database.ours[0], state="20")
            row.last_updated_ts = years_ago + seconds
            session.add(row)

    await database.run(write)
    rows = await database.rows()
    previews = await get_instance(database.hass).async_add_executor_job(
        thinning.preview, database.hass, database.ours, lambda: END
    )
    tally = await database.thin(1)
    assert tally == previews[0]
    assert await database.rows() == expected(rows, 10, END)
    assert tally.first == MIDNIGHT - 20 * 365 * 86400 + 60


async def test_recorder_goes_on(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The recorder writes rows between two turns, each with the row before."""
    monkeypatch.setattr(recorder, "TURN_SECONDS", 0.0001)
    hass, states = database.hass, list[str]()
    run = WorkTask.run

    def turn(self: WorkTask, instance: core.Recorder) -> None:
        # Before the turn, as the last turn ends the wait.
        state = str(len(states))
        states.append(state)
        hass.loop.call_soon_threadsafe(hass.states.async_set, OUR_ENTITIES[0], state)
        run(self, instance)

    monkeypatch.setattr(WorkTask, "run", turn)
    rows = await database.rows()
    await database.thin(until=lambda: END + 86400)
    await hass.async_block_till_done()
    await async_wait_recording_done(hass)
    left = await database.rows()
    new_rows = [row for row in left if row.state_id > max(row.state_id for row in rows)]
    assert [row.state for row in new_rows] == states
    assert len(states) > 10
    await check(database)


async def test_database_fails(database: Database) -> None:
    """An error is raised; no other row is lost, and the recorder goes on.

    The database refuses a statement at the rows of the second hour.
    """
    others, rows = await database.dump(), await database.rows()
    instance = get_instance(database.hass)
    second_hour = {row.state_id for row in rows if row.time > MIDNIGHT + 3600}
    with (
        refused_deletions(database.hass, lambda ids: not ids.isdisjoint(second_hour)),
        pytest.raises(HomeAssistantError) as failed,
    ):
        await database.thin()
    assert failed.value.translation_key == "recorder_failed"
    assert "no_such_table" in str(failed.value.translation_placeholders)
    left = await database.rows()
    assert len(left) < len(rows)
    assert left == expected(rows, 10, MIDNIGHT + 3600)
    assert await database.dump() == others
    await check(database)
    database.hass.states.async_set(OUR_ENTITIES[0], "1")
    await async_wait_recording_done(database.hass)
    assert len(await database.rows()) == len(left) + 1
    assert instance.is_alive()
