"""The decisions of the disk guard."""

import pytest

from custom_components.temperature_logger.disk_guard.decision import (
    Outcome,
    Pass,
    decide,
    is_worthwhile,
)
from custom_components.temperature_logger.disk_guard.space import DatabaseSpace

DAY = 86400
NOW = 1_763_640_000.0
FULL = DatabaseSpace(size=1000, free=0, growth=100, row=2, disk_free=10_000)


@pytest.fixture(autouse=True)
def custom_integrations() -> None:
    """Start no recorder: decisions need none."""


def a_pass(days: float, freed: int = 0) -> Pass:
    """Return a pass that ended well, so many days ago."""
    began = NOW - days * DAY
    return Pass(began=began, ended=True, repacked=True, bytes=freed)


@pytest.mark.parametrize(
    ("space", "last", "has_cleared", "expected"),
    [
        (None, None, False, Outcome.ELSEWHERE),
        (FULL._replace(free=700), None, False, Outcome.ROOMY),
        (FULL._replace(free=699), None, False, None),
        (FULL, a_pass(0.9), True, Outcome.REUSABLE),
        (FULL, a_pass(1.1), True, None),
        (FULL, a_pass(1.1), False, Outcome.REUSABLE),
        (FULL, a_pass(6.9), False, Outcome.REUSABLE),
        (FULL, a_pass(7.1), False, None),
        (FULL, a_pass(7.1, freed=810), False, Outcome.REUSABLE),
        (FULL, a_pass(7.1, freed=800), False, None),
        (FULL, a_pass(-5), True, Outcome.REUSABLE),
    ],
)
def test_when_to_thin(
    space: DatabaseSpace | None,
    last: Pass | None,
    expected: Outcome | None,
    *,
    has_cleared: bool,
) -> None:
    """A pass begins if space is missing and the last one did not help for long."""
    decision = decide(space, last, NOW, has_cleared=has_cleared)
    assert decision == (expected or space)


def test_few_rows() -> None:
    """The rows that could be deleted have to give space for a day."""
    assert is_worthwhile(50, FULL)
    assert not is_worthwhile(49, FULL)


@pytest.mark.parametrize(
    ("done", "expected"),
    [
        (Pass(began=NOW), Outcome.INTERRUPTED),
        (Pass(began=NOW, error="gone"), Outcome.FAILED),
        (Pass(began=NOW, ended=True), Outcome.NOT_REPACKED),
        (Pass(began=NOW, ended=True, repacked=True), Outcome.REUSABLE),
        (Pass(began=NOW, ended=True, repacked=True, disk_bytes=1), Outcome.THINNED),
    ],
)
def test_outcome_of_a_pass(done: Pass, expected: Outcome) -> None:
    """The outcome names what the owner can do next."""
    assert done.outcome is expected


@pytest.mark.parametrize(
    ("free", "disk_free", "expected"),
    [(0, 2000, False), (0, 2001, True), (600, 1000, False), (600, 1001, True)],
)
def test_space_to_repack(free: int, disk_free: int, *, expected: bool) -> None:
    """SQLite needs the used space twice, but at least the size of the database."""
    space = FULL._replace(free=free, disk_free=disk_free)
    assert space.can_repack is expected
