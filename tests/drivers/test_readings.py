"""A reading and its quantities."""

import pytest

from custom_components.temperature_logger.drivers import Reading
from custom_components.temperature_logger.drivers.readings import (
    QUANTITIES,
    in_order,
    is_quantity,
    rom_of,
)

ROM = "285ebf799715039b"
OTHER_ROM = "28aa11e24b14010b"


def test_values() -> None:
    """The values that a reading is made from are returned by quantity."""
    values = {"temperature": 20.0, f"{ROM}_temperature": -1.5, "humidity": None}
    reading = Reading.of(values)
    assert reading == Reading(temperature=20.0, probes={ROM: -1.5})
    assert reading.values == {"temperature": 20.0, f"{ROM}_temperature": -1.5}
    assert reading.value(f"{ROM}_temperature") == -1.5
    assert reading.value(f"{OTHER_ROM}_temperature") is None
    assert reading.value("humidity") is None
    assert Reading.of({f"{ROM}_temperature": None}) == Reading()


@pytest.mark.parametrize(
    ("name", "rom"),
    [
        (f"{ROM}_temperature", ROM),
        (f"{ROM}_humidity", None),
        (f"{ROM[2:]}28_temperature", None),
        (f"{ROM.upper()}_temperature", None),
        ("internal_temperature", None),
    ],
)
def test_rom_of(name: str, rom: str | None) -> None:
    """The quantity of a probe includes the ROM code of a DS18B20."""
    assert rom_of(name) == rom


def test_order() -> None:
    """Probes come after the other quantities."""
    probes = [f"{ROM}_temperature", f"{OTHER_ROM}_temperature"]
    ordered = in_order([*reversed(probes), *reversed(QUANTITIES)])
    assert ordered == [*QUANTITIES, *probes]
    assert all(map(is_quantity, ordered))
    assert not is_quantity("probes")
    assert [name for name in ordered if rom_of(name) is None] == list(QUANTITIES)
