"""Faults of USB transfers give no wrong value, and the next poll works."""

from collections.abc import Callable
from typing import Final

import pytest

from custom_components.temperature_logger.drivers import Fault
from emulation.machine import Machine
from tests.drivers.waiting import until

from .conftest import NO_FAULT, SHORT_BLOCK_S, Home

pytestmark = pytest.mark.warns("Error fetching")

type Inject = Callable[[Machine, str], None]

HIDRAW, LIBUSB = "two", "borrowed"
KERNEL_QUEUE_SIZE: Final = 63
"""The number of reports that the kernel keeps for each opener of a node."""


def fault(name: str, argument: float | None = None, count: int = 0) -> Inject:
    """Return a function that makes a stick fail."""
    return lambda machine, stick: machine.stick(stick).fail(name, argument, count=count)


def halt(machine: Machine, stick: str) -> None:
    """Halt the endpoint that sends the reports."""
    machine.stick(stick).halted.add(0x82)


def queue(machine: Machine, stick: str) -> None:
    """Queue as many reports as the kernel keeps, with 0.07 and 0.07 °C."""
    stale = "8080000700000000", "800100074e200000"
    machine.send(stick, *(stale * KERNEL_QUEUE_SIZE)[:KERNEL_QUEUE_SIZE])


# fault, and its effect over hidraw and over libusb
FAULTS = {
    "stall": (fault("stall"), Fault.REFUSED, Fault.REFUSED),
    "stall of the input": (halt, NO_FAULT, NO_FAULT),
    "time-out": (fault("timeout"), Fault.NO_ANSWER, Fault.NO_ANSWER),
    "dead control pipe": (
        fault("control-timeout", SHORT_BLOCK_S),
        Fault.REFUSED,
        Fault.NO_ANSWER,
    ),
    "dead control pipe, for longer than a poll": (
        fault("control-timeout", 60),
        Fault.HANGING,
        Fault.NO_ANSWER,
    ),
    "protocol error": (fault("protocol"), Fault.REFUSED, Fault.REFUSED),
    "empty frames": (fault("short", 0), Fault.NO_ANSWER, Fault.BAD_REPORT),
    "short frames": (fault("short", 2), Fault.BAD_REPORT, Fault.BAD_REPORT),
    "truncated frames": (fault("short", 7), Fault.BAD_REPORT, Fault.BAD_REPORT),
    "first frame lost": (fault("drop-first"), Fault.NO_ANSWER, Fault.NO_ANSWER),
    "last frame lost": (fault("partial"), Fault.NO_ANSWER, Fault.NO_ANSWER),
    "frames swapped": (fault("reverse"), NO_FAULT, NO_FAULT),
    "old frame first": (fault("extra"), Fault.BAD_REPORT, Fault.BAD_REPORT),
    "queue of stale frames first": (queue, NO_FAULT, Fault.BAD_REPORT),
    "reply of another command": (fault("swap"), Fault.BAD_REPORT, Fault.BAD_REPORT),
    "all zero": (fault("zero"), Fault.BAD_REPORT, Fault.BAD_REPORT),
    "all ff": (fault("ff"), Fault.BAD_REPORT, Fault.BAD_REPORT),
    "garbage": (fault("garbage"), Fault.BAD_REPORT, Fault.BAD_REPORT),
    "slow answer": (fault("delay", 0.2), NO_FAULT, NO_FAULT),
    "answer too slow": (fault("delay", 60), Fault.NO_ANSWER, Fault.NO_ANSWER),
}


@pytest.mark.parametrize("stick", [HIDRAW, LIBUSB], ids=["hidraw", "libusb"])
@pytest.mark.parametrize("name", FAULTS)
async def test_fault_costs_one_reading_at_most(
    home: Home, name: str, stick: str
) -> None:
    """A fault costs at most the readings of this stick while it lasts."""
    inject, *expected = FAULTS[name]
    await home.settle()  # Reports that arrive before the drain ends are dropped by it.
    home.change()
    inject(home.machine, stick)
    await home.poll()
    assert home.trouble(stick) == expected[stick == LIBUSB]
    assert home.published(stick) == (home.trouble(stick) is None)
    home.assert_others_went_on(stick)
    await until(lambda: home.busy() <= 1)
    home.machine.stick(stick).clear()
    await until(lambda: home.busy() == 0)
    home.machine.hurry(stick)
    await home.assert_comes_back(stick)


async def test_hanging_command_occupies_one_worker(home: Home) -> None:
    """While a command stays in the kernel, its device gets no other."""
    stick = home.machine.stick(HIDRAW)
    stick.fail("control-timeout", 60, count=1)
    home.change()
    await home.poll()
    for _ in range(2):
        assert home.trouble(HIDRAW) == Fault.HANGING
        assert home.busy() == 1
        await home.retry(HIDRAW)
    assert stick.commands["values"] == 2
    stick.clear()
    await until(lambda: home.busy() == 0)
    await home.assert_comes_back(HIDRAW)
