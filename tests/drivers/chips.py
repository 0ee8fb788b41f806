"""A chip on the pins of the board, and what tests of its driver do with it."""

from collections.abc import Callable
import itertools
from typing import Any

import pytest

from custom_components.temperature_logger.drivers import Reading
from emulation import chips
from emulation.i2c import Bus, Message
from emulation.machine import Machine

from .conftest import Build

PINS = "soc/i2c@7e804000"
ADDRESS = 0x76
# The transfers of a reading of an initialised BME280.
TRIGGER, PROOF, BURST = range(3)
VALUES = {"temperature": 21.5, "pressure": 1013.25, "humidity": 45.0}
OTHERS = {"temperature": -7.25, "pressure": 987.6, "humidity": 80.5}
TOLERANCES = {"temperature": 0.01, "pressure": 0.05, "humidity": 0.05}


def wire(build: Build, *, bus: dict[str, Any] | None = None, **chip: Any) -> Machine:  # noqa: ANN401 - as in a machine spec
    """Return a machine with one chip on the pins of the board."""
    spec = {"name": "chip", "address": hex(ADDRESS), **VALUES, **chip}
    return build(i2c=[{"bus": 1, "of_node": PINS, "chips": [spec], **(bus or {})}])


def assert_values(reading: Reading, values: dict[str, float]) -> None:
    """Compare a reading, as near as the promise says."""
    for quantity, value in values.items():
        expected = pytest.approx(value, abs=TOLERANCES[quantity])
        assert getattr(reading, quantity) == expected


def before_transfer(bus: Bus, number: int, action: Callable[[], object]) -> None:
    """Do something before the transfer with this number, counted from now on."""
    strike, numbers = bus.strike, itertools.count()

    def counted(kind: str) -> Any:  # noqa: ANN401 - as the method that it covers
        if next(numbers) == number:
            action()
        return strike(kind)

    vars(bus)["strike"] = counted


def written(machine: Machine) -> list[Message]:
    """Return the messages that did more than name a register."""
    log = machine.buses.numbered[1].log
    return [message for message in log if not message.read and len(message.data) > 1]


def publish(monkeypatch: pytest.MonkeyPatch, codes: tuple[int, int, int]) -> None:
    """Let every conversion end in these codes of temperature, pressure, humidity."""
    monkeypatch.setattr(chips, "codes", lambda *_: codes)
