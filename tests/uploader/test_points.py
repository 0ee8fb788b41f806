"""Rows become readings, and readings become batches; no reading is split."""

import math

from hypothesis import given
from hypothesis import strategies as st
import pytest

from custom_components.temperature_logger.uploader.points import (
    MAX_AHEAD_SECONDS,
    Point,
    RowValue,
    Source,
    first_batch,
    take_complete,
    take_ended,
    to_points,
)

NOON = 1_763_640_000.0
QUANTITIES = "temperature", "humidity", "pressure"


def value(state_id: int, device: str, quantity: str, time: float) -> RowValue:
    """Return the value of one row."""
    return RowValue(state_id, Source(device, device.title(), quantity), time, 20.0)


def rows(*readings: tuple[str, float]) -> list[RowValue]:
    """Return the rows of readings that were written one after the other."""
    values: list[RowValue] = []
    for device, time in readings:
        for n, quantity in enumerate(QUANTITIES):
            values.append(value(len(values) + 1, device, quantity, time + n / 1000))
    return values


def test_a_reading() -> None:
    """A reading has the time of its earliest value, in whatever order rows come."""
    all_points = to_points(
        [
            value(1, "attic", "humidity", NOON + 0.5),
            value(2, "cellar", "temperature", NOON + 0.6),
            value(3, "attic", "temperature", NOON - 0.5),
        ]
    )
    assert [point.collected_at for point in all_points] == [int(NOON) - 1, int(NOON)]
    assert [set(point.values) for point in all_points] == [
        {"humidity", "temperature"},
        {"temperature"},
    ]
    assert (all_points[0].first, all_points[0].last) == (1, 3)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_values_that_are_not_finite(bad: float) -> None:
    """Values that are not finite are not sent: servers drop such lines silently."""
    assert to_points([value(1, "attic", "temperature", NOON)._replace(value=bad)]) == []


@given(
    readings=st.lists(
        st.tuples(st.sampled_from(["a", "b", "c"]), st.integers(0, 40)), max_size=30
    ),
    size=st.integers(1, 7),
)
def test_batches(readings: list[tuple[str, int]], size: int) -> None:
    """All readings are sent in batches of one size; the cursor never splits one."""
    values = rows(*((device, NOON + at) for device, at in readings))
    all_points = left = to_points(values)
    sent: list[Point] = []
    open_until = 0
    while left:
        batch, left = first_batch(left, size, open_until, len(values))
        open_until = max(open_until, *(point.last for point in batch.points))
        sent += batch.points
        assert len(batch.points) == size or not left
        if batch.end is not None:
            assert all(point.last <= batch.end for point in sent)
            assert all(point.first > batch.end for point in left)
    assert sent == all_points


def test_cursor_waits_for_an_incomplete_reading() -> None:
    """If rows of two readings alternate, the cursor moves behind both at once."""
    all_points = to_points(
        [
            value(1, "attic", "temperature", NOON),
            value(2, "cellar", "temperature", NOON),
            value(3, "attic", "humidity", NOON),
            value(4, "cellar", "humidity", NOON),
            value(5, "attic", "temperature", NOON + 300),
        ]
    )
    first, rest = first_batch(all_points, 1, 0, 5)
    assert first.end is None
    second, rest = first_batch(rest, 1, 3, 5)
    assert second.end == 4
    third, rest = first_batch(rest, 1, 4, 5)
    assert (third.end, rest) == (5, [])


def test_newest_reading_waits() -> None:
    """A reading is complete after two seconds, or if its time is in the future."""
    all_points = to_points(rows(("attic", NOON), ("attic", NOON + 300)))
    assert take_complete(all_points, NOON + 300, 6) == (all_points[:1], 3)
    assert take_complete(all_points, NOON + 303, 6) == (all_points, 6)
    assert take_complete(all_points, NOON + 300 - MAX_AHEAD_SECONDS - 1, 6) == (
        all_points,
        6,
    )


def test_previous_reading_waits_if_incomplete() -> None:
    """A reading with a row after the first row of a waiting one also waits."""
    all_points = to_points(
        [
            value(1, "attic", "temperature", NOON),
            value(2, "attic", "temperature", NOON + 10),
            value(3, "cellar", "temperature", NOON + 11.5),
            value(4, "attic", "humidity", NOON + 11.9),
        ]
    )
    assert take_complete(all_points, NOON + 13, 4) == (all_points[:1], 1)


def test_page_ends_with_a_reading() -> None:
    """A page is empty if more rows may belong to each of its readings."""
    all_points = to_points(
        rows(("attic", NOON), ("cellar", NOON + 1), ("attic", NOON + 300))
    )
    assert take_ended(all_points) == (all_points[:2], 6)
    assert take_ended(all_points[:2]) is None
    assert take_ended(all_points[:1]) is None
    assert take_ended([]) is None
    mixed = to_points(
        [
            value(1, "attic", "temperature", NOON),
            value(2, "cellar", "temperature", NOON + 3),
            value(3, "attic", "humidity", NOON + 1),
        ]
    )
    assert take_ended(mixed) is None
