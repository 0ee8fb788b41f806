"""Which readings are surplus, whatever the rows."""

from hypothesis import given
from hypothesis import strategies as st

from custom_components.temperature_logger import thinning
from custom_components.temperature_logger.thinning import SLOTS, Row

from .history.test_thinning import is_reading, slots


def drawn_rows(times: list[tuple[int, int, bool]]) -> list[Row]:
    """Return rows in the order of the database."""
    ordered = sorted((own, time, count) for count, (own, time, _) in enumerate(times))
    return [
        Row(count, own, float(time), "20" if times[count][2] else "unknown", None)
        for own, time, count in ordered
    ]


@given(
    times=st.lists(
        st.tuples(st.integers(1, 3), st.integers(0, 7200), st.booleans()), max_size=60
    ),
    minutes=st.sampled_from(SLOTS),
    stay=st.sets(st.integers(0, 59)),
)
def test_surplus(
    times: list[tuple[int, int, bool]], minutes: int, stay: set[int]
) -> None:
    """It is all readings but the first of each slot, and what has to stay."""
    rows = drawn_rows(times)
    surplus = thinning._surplus(rows, minutes, stay)
    left = [row for row in rows if row not in surplus]
    assert {slot: found[0] for slot, found in slots(left, minutes).items()} == {
        slot: found[0] for slot, found in slots(rows, minutes).items()
    }
    assert all(
        row.state_id in stay
        for found in slots(left, minutes).values()
        for row in found[1:]
    )
    assert all(is_reading(row) and row.state_id not in stay for row in surplus)
