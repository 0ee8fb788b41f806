"""Any bytes decode to a value that the sensor can measure, or to a driver error."""

from random import Random

from hypothesis import given
from hypothesis import strategies as st
import pytest

from custom_components.temperature_logger.drivers.registry import DRIVERS

from .frames import DECODERS, ERRORS, Answer, Decoder, Shape, answers, run


def filled(shape: Shape) -> st.SearchStrategy[bytes]:
    """Return bytes of a shape."""
    size = len(shape.given)
    return st.binary(min_size=size, max_size=size).map(shape.fill)


def anything(decoder: Decoder) -> st.SearchStrategy[Answer]:
    """Return answers: whole ones, spoilt ones, and any bytes."""
    return st.one_of(
        *(st.tuples(*map(filled, shapes)) for shapes in decoder.shapes),
        st.randoms().map(lambda source: next(answers(source, decoder))),
        st.lists(st.binary(max_size=64), max_size=4),
    )


def test_every_driver_has_a_row() -> None:
    """Each driver of devices that send bytes has a decoder of its name.

    The sticks of the driver temper have one for each layout.
    """
    names = {decoder.name.lower() for decoder in DECODERS}
    assert not DRIVERS.keys() - {"host", "temper"} - names


@pytest.mark.parametrize("decoder", DECODERS, ids=lambda decoder: decoder.name)
@given(st.data())
def test_any_bytes(decoder: Decoder, data: st.DataObject) -> None:
    """Any bytes give a possible value or a driver error."""
    try:
        result = decoder.decode(data.draw(anything(decoder)))
    except ERRORS:
        return
    assert decoder.is_right(result)


@pytest.mark.parametrize("decoder", DECODERS, ids=lambda decoder: decoder.name)
def test_some_answers_are_valid(decoder: Decoder) -> None:
    """Some answers pass every check, so that the checks behind the first are tested."""
    assert run(decoder, 200, Random(1))["results"]  # noqa: S311 - not used as a secret
