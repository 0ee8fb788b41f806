"""Surplus readings are found, and a crash leaves a whole database."""

from contextlib import closing
from pathlib import Path
import sqlite3
import subprocess
import sys
import time
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
import pytest

from benchmarks.thinning import DATABASE_NAME
from custom_components.temperature_logger.disk_guard.thinning import (
    STEP_MINUTES,
    surplus_rows,
)
from custom_components.temperature_logger.history.rows import StateRow

from .test_thinning import is_reading, slots


@pytest.fixture(autouse=True)
def custom_integrations() -> None:
    """Start no recorder: the rows are drawn, or written by another process."""


def drawn_rows(times: list[tuple[int, int, bool]]) -> list[StateRow]:
    """Return rows in the order of the database."""
    ordered = sorted(
        (metadata_id, time, count) for count, (metadata_id, time, _) in enumerate(times)
    )
    return [
        StateRow(
            count,
            metadata_id,
            float(time),
            "20" if times[count][2] else "unknown",
            None,
        )
        for metadata_id, time, count in ordered
    ]


@given(
    times=st.lists(
        st.tuples(st.integers(1, 3), st.integers(0, 7200), st.booleans()), max_size=60
    ),
    minutes=st.sampled_from(STEP_MINUTES),
    stay=st.sets(st.integers(0, 59)),
)
def test_surplus(
    times: list[tuple[int, int, bool]], minutes: int, stay: set[int]
) -> None:
    """All readings are surplus but the first of each slot and the newest."""
    rows = drawn_rows(times)
    surplus = surplus_rows(rows, minutes, stay)
    left = [row for row in rows if row not in surplus]
    assert {slot: readings[0] for slot, readings in slots(left, minutes).items()} == {
        slot: readings[0] for slot, readings in slots(rows, minutes).items()
    }
    assert all(
        row.state_id in stay
        for readings in slots(left, minutes).values()
        for row in readings[1:]
    )
    assert all(is_reading(row) and row.state_id not in stay for row in surplus)


OTHER_ROWS = """SELECT * FROM states WHERE metadata_id NOT IN
    (SELECT metadata_id FROM states_meta WHERE entity_id LIKE '%ours%')"""
OUR_ROW_COUNT = """SELECT count(*) FROM states WHERE metadata_id IN
    (SELECT metadata_id FROM states_meta WHERE entity_id LIKE '%ours%')"""
FIRST_ROWS = """SELECT metadata_id, CAST(last_updated_ts / 3600 AS INTEGER),
    min(last_updated_ts), state FROM states
    WHERE last_updated_ts < ? GROUP BY 1, 2"""
DANGLING_COUNT = """SELECT count(*) FROM states AS later
    WHERE old_state_id IS NOT NULL AND NOT EXISTS
    (SELECT 1 FROM states AS earlier WHERE earlier.state_id = later.old_state_id)"""


def ask(path: Path, statement: str, *given: float) -> list[Any]:
    """Return the rows that a statement gives."""
    with closing(sqlite3.connect(path)) as database:
        return database.execute(statement, given).fetchall()


def stays(path: Path, until: float) -> list[Any]:
    """Return the rows that stay: those of others, and the first of each hour."""
    attributes = "SELECT * FROM state_attributes"
    return [ask(path, OTHER_ROWS), ask(path, FIRST_ROWS, until), ask(path, attributes)]


def our_rows(path: Path) -> int:
    """Return how many rows may be thinned."""
    return int(ask(path, OUR_ROW_COUNT)[0][0])


def test_killed(tmp_path: Path) -> None:
    """A recorder that is killed while it thins leaves a whole database."""
    path, until = tmp_path / DATABASE_NAME, time.time() - 86400
    sizes = "--days", "3", "--sensors", "10", "--interval", "60"
    command = sys.executable, "-m", "benchmarks.thinning", str(tmp_path), *sizes
    root = Path(__file__).parent.parent.parent
    with subprocess.Popen(
        command, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout
        assert "thinning\n" in process.stdout
        rows, before = our_rows(path), stays(path, until)
        while our_rows(path) > rows - 2000:
            assert process.poll() is None
        process.kill()
    assert ask(path, "PRAGMA integrity_check") == [("ok",)]
    assert not ask(path, "PRAGMA foreign_key_check")
    assert ask(path, DANGLING_COUNT) == [(0,)]
    assert stays(path, until) == before
    left = our_rows(path)
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    assert "Tally(minutes=60, " in done.stdout
    assert our_rows(path) < left
    assert stays(path, until) == before
    assert ask(path, "PRAGMA integrity_check") == [("ok",)]
    assert ask(path, DANGLING_COUNT) == [(0,)]
