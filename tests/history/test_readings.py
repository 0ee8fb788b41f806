"""Values that belong together are one reading, the same ones in every answer."""

from collections.abc import Sequence
from itertools import accumulate

from hypothesis import given
from hypothesis import strategies as st
import pytest

from custom_components.temperature_logger.history.readings import (
    READING_SECONDS,
    Series,
    Span,
    group_aligned,
    group_all,
    reading_starts,
    to_columns,
)
from custom_components.temperature_logger.uploader.points import (
    RowValue,
    Source,
    to_points,
)

NOON = 1_763_640_000.0
QUANTITIES = "temperature", "humidity", "pressure"
ALL_TIME = Span(start=0, end=1e10, newest_first=False, limit=10**9)

type Row = tuple[float, str, float]
"""Unix time, quantity and value."""
type Reading = tuple[int, dict[str, float]]
"""Unix time and values."""


def drawn_rows(drawn: list[tuple[float, str, int]]) -> list[Row]:
    """Return rows, given the seconds from each to the next one."""
    times = accumulate((step for step, _, _ in drawn), initial=NOON)
    rows = {
        (time, quantity): float(value)
        for time, (_, quantity, value) in zip(times, drawn, strict=False)
    }
    return [(*key, value) for key, value in rows.items()]


# Rows that follow each other closely, after exactly 2 s, and after a pause.
steps = st.sampled_from([0.0, 0.1, 0.9, 1.1, 1.9, 2.0, 2.1, 3.1, 300.0])
row_lists = st.lists(
    st.tuples(steps, st.sampled_from(QUANTITIES), st.integers(0, 50)), max_size=40
).map(drawn_rows)


@pytest.fixture(autouse=True)
def custom_integrations() -> None:
    """Start no recorder: these functions need none."""


def of_history(rows: Sequence[Row], span: Span = ALL_TIME) -> list[Reading]:
    """Return the readings as the answers of the history have them."""
    columns = to_columns(QUANTITIES, to_series(rows, span), span)
    return [
        (
            time,
            {
                quantity: value
                for quantity, column in columns.values.items()
                if (value := column[number]) is not None
            },
        )
        for number, time in enumerate(columns.collected_at)
    ]


def to_series(rows: Sequence[Row], span: Span) -> dict[str, Series]:
    """Return the values of each quantity, up to two more than the limit."""
    series: dict[str, Series] = {}
    for quantity in {row[1] for row in rows}:
        ordered = sorted(
            (row for row in rows if row[1] == quantity), reverse=span.newest_first
        )
        first = ordered[: span.limit + 2]
        times, values = [row[0] for row in first], [row[2] for row in first]
        series[quantity] = Series(times, values, len(first) < span.limit + 2)
    return series


def of_uploader(rows: Sequence[Row]) -> list[Reading]:
    """Return the readings as an endpoint gets them, in the order of time."""
    values = [
        RowValue(number, Source("attic", "Attic", quantity), time, value)
        for number, (time, quantity, value) in enumerate(rows, start=1)
    ]
    all_points = sorted(to_points(values), key=lambda point: point.started)
    return [(point.collected_at, point.values) for point in all_points]


def test_late_value_of_a_reading() -> None:
    """A value less than 2 s after the begin of a reading never begins another one."""
    rows = [
        (100.0, "temperature", 20.0),
        (100.9, "humidity", 40.0),
        (101.8, "humidity", 41.0),
        (103.1, "temperature", 21.0),
    ]
    expected: list[Reading] = [
        (100, {"temperature": 20.0, "humidity": 41.0}),
        (103, {"temperature": 21.0}),
    ]
    assert of_history(rows) == expected
    assert of_history(rows, ALL_TIME._replace(newest_first=True)) == expected[::-1]
    assert of_uploader(rows) == expected
    assert of_uploader(rows[::-1]) == expected


@given(rows=row_lists, data=st.data())
def test_same_readings_in_every_answer(rows: list[Row], data: st.DataObject) -> None:
    """Neither the order of the rows nor that of the answer changes a reading."""
    readings = of_history(rows)
    assert of_history(rows, ALL_TIME._replace(newest_first=True)) == readings[::-1]
    assert of_uploader(data.draw(st.permutations(rows))) == readings
    starts = reading_starts(time for time, _, _ in rows)
    assert [int(start) for start in starts] == [time for time, _ in readings]
    for time, _, _ in rows:  # Each value is of the last reading that had begun.
        last = max(start for start in starts if start <= time)
        assert time - last < READING_SECONDS


@given(rows=row_lists, limit=st.integers(0, 5), newest_first=st.booleans())
def test_limit(rows: list[Row], limit: int, *, newest_first: bool) -> None:
    """A limit leaves out readings, and changes none of the others."""
    span = ALL_TIME._replace(newest_first=newest_first)
    readings = of_history(rows, span)
    span = span._replace(limit=limit)
    limited = of_history(rows, span)
    assert limited == readings[: len(limited)]
    assert len(limited) <= limit
    truncated = to_columns(QUANTITIES, to_series(rows, span), span).truncated
    assert truncated or limited == readings


@given(
    begins=st.lists(st.sampled_from([1.9, 2.0, 300.0]), max_size=12),
    delays=st.lists(st.sampled_from([0.0, 0.9, 1.9, 2.0]), min_size=12, max_size=12),
)
def test_devices_without_gaps(begins: list[float], delays: list[float]) -> None:
    """The faster way gives the same readings, or leaves them to the other one."""
    first = [NOON + time for time in accumulate(begins)]
    second = sorted(time + delay for time, delay in zip(first, delays, strict=False))
    forwards = {
        quantity: (times, [*map(float, range(len(times)))])
        for quantity, times in (("temperature", first), ("humidity", second))
        if times
    }
    aligned = group_aligned(forwards)
    assert aligned is None or aligned == group_all(forwards)
    assert aligned or not begins or min(begins) < 2 or max(delays) > 0
