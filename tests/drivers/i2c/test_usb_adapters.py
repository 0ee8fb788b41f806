"""A chip on a USB adapter is read as one on the board's pins, and blocks no unplug."""

import asyncio
import errno
from typing import Any

import pytest

from custom_components.temperature_logger.drivers import Fault, sysfs, workers
from custom_components.temperature_logger.drivers.errors import (
    BadFrameError,
    DeviceAccessError,
    DeviceNotFoundError,
)
from custom_components.temperature_logger.drivers.i2c.bme280 import Bme280
from custom_components.temperature_logger.drivers.i2c.bosch import probe
from custom_components.temperature_logger.drivers.places import I2cPlace
from custom_components.temperature_logger.drivers.workers import Lane
from emulation import i2c
from emulation.machine import Machine
from tests.drivers.conftest import Build
from tests.drivers.waiting import until

from .chips import (
    ADDRESS,
    OTHER_VALUES,
    PROOF_TRANSFER,
    TRIGGER_TRANSFER,
    VALUES,
    VALUES_TRANSFER,
    assert_reads,
    before_transfer,
)

CONTROLLER = "pci0000:00/0000:00:14.0"


def bridge(number: int, **values: float) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the specs of a USB adapter in a port, and of its bus with a chip."""
    name = f"bridge {number}"
    chip = {"name": f"chip {number}", "calibration": number % 3, **VALUES, **values}
    return (
        {"name": name, "model": "i2c-tiny-usb", "ports": str(number)},
        {"bus": 2 + number, "usb": name, "chips": [chip]},
    )


def plug_in(build: Build, *bridges: tuple[dict[str, Any], dict[str, Any]]) -> Machine:
    """Return a machine with some adapters."""
    usb, buses = zip(*bridges, strict=True)
    return build(*usb, i2c=list(buses))


def driver(lane: Lane, port: int = 1, **known: str) -> Bme280:
    """Return the driver of the chip on an adapter."""
    return Bme280(lane, I2cPlace(f"{CONTROLLER}-{port}", ADDRESS), known)


async def test_node_is_open_only_while_reading(build: Build, lane: Lane) -> None:
    """Between two readings the adapter can be unplugged; each takes three transfers."""
    machine = plug_in(build, bridge(1))
    chip = driver(lane)
    await assert_reads(chip, VALUES)
    assert not machine.buses.open_nodes
    counters = machine.chip("chip 1").counters
    before = counters.copy()
    await assert_reads(chip, VALUES)
    assert counters - before == {"transfers": 3, "conversions": 1}
    assert not machine.buses.open_nodes
    await chip.close()


def test_node_is_closed_after_a_probe(build: Build) -> None:
    """A probe closes the node as well."""
    machine = plug_in(build, bridge(1))
    assert probe(sysfs.i2c_adapter(f"{CONTROLLER}-1"), ADDRESS).model == "BME280"
    assert not machine.buses.open_nodes


async def test_swapped(build: Build, lane: Lane) -> None:
    """Two adapters plugged in again in the other order are found at their ports."""
    machine = plug_in(build, bridge(1), bridge(2, **OTHER_VALUES))
    chip = driver(lane)
    await assert_reads(chip, VALUES)
    machine.unplug("bridge 1")
    machine.unplug("bridge 2")
    machine.plug("bridge 2")
    machine.plug("bridge 1")
    assert sysfs.i2c_adapter(f"{CONTROLLER}-1").number == 4
    await assert_reads(chip, VALUES)
    assert not machine.chip("chip 2").counters
    await chip.close()


async def test_unplugged(build: Build, lane: Lane) -> None:
    """An unplugged adapter fails until it is back at its port."""
    machine = plug_in(build, bridge(1))
    chip = driver(lane)
    await chip.read()
    machine.unplug("bridge 1")
    for _ in range(2):
        with pytest.raises(DeviceNotFoundError, match=Fault.BUS_NOT_FOUND):
            await chip.read()
    machine.chip("chip 1").power_cycle()
    machine.plug("bridge 1")
    await assert_reads(chip, VALUES)
    await chip.close()


async def test_chip_taken_to_another_adapter(build: Build, lane: Lane) -> None:
    """Another chip is noticed when the adapter is plugged in again."""
    machine = plug_in(build, bridge(1), bridge(2, **OTHER_VALUES))
    first = driver(lane)
    await first.read()
    chip = driver(lane, trimming_hash=first.facts["trimming_hash"])
    await chip.read()
    bus, other_bus = machine.buses.all
    machine.unplug("bridge 1")
    bus.chips, other_bus.chips = other_bus.chips, bus.chips
    machine.plug("bridge 1")
    with pytest.raises(DeviceNotFoundError, match=Fault.CHIP_CHANGED):
        await chip.read()
    assert not machine.buses.open_nodes


@pytest.mark.parametrize(
    "transfer", [TRIGGER_TRANSFER, PROOF_TRANSFER, VALUES_TRANSFER]
)
async def test_unplugged_during_a_reading(
    build: Build, lane: Lane, transfer: int
) -> None:
    """Nothing is left open, even while a reference to the error remains."""
    machine = plug_in(build, bridge(1))
    chip = driver(lane)
    await chip.read()
    (bus,) = machine.buses.all
    before_transfer(bus, transfer, lambda: setattr(bus, "plugged", False))
    vars(bus)["transfer"] = failing_if_unplugged(bus)
    with pytest.raises(DeviceNotFoundError, match=Fault.BUS_NOT_FOUND) as error:
        await chip.read()
    await until(lambda: not machine.buses.open_nodes)
    assert error.value.__traceback__
    await chip.close()


def failing_if_unplugged(bus: i2c.Bus) -> Any:  # noqa: ANN401 - as the method that it covers
    """Return transfers that fail at their end if the adapter was unplugged."""
    transfer = bus.transfer

    def transferred(messages: list[i2c.Message]) -> list[i2c.Message]:
        done = transfer(messages)
        return done if bus.plugged else transfer(messages)

    return transferred


async def test_unplugged_between_two_searches(
    build: Build, lane: Lane, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An adapter that comes and goes all the time gives no reading."""
    machine = plug_in(build, bridge(1))
    chip = driver(lane)
    machine.chip("chip 1").fail("gone", count=1)
    with pytest.raises(DeviceNotFoundError, match=Fault.CHIP_NOT_FOUND):
        await chip.read()
    await chip.read()
    monkeypatch.setattr(
        "custom_components.temperature_logger.drivers.i2c.bus.is_as_before",
        lambda _: False,
    )
    with pytest.raises(BadFrameError, match=Fault.BAD_REGISTERS):
        await chip.read()
    await chip.close()


async def test_time_out_is_no_answer(
    build: Build, lane: Lane, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CP2112 and CH341 report a time-out for an address without a chip."""
    machine = plug_in(build, bridge(1))
    monkeypatch.setitem(i2c.ERRORS, "gone", errno.ETIMEDOUT)
    machine.chip("chip 1").fail("gone")
    with pytest.raises(DeviceNotFoundError, match=Fault.CHIP_NOT_FOUND):
        await driver(lane).read()


async def test_io_error_is_no_answer_to_a_probe(
    build: Build, lane: Lane, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An FT260 reports an I/O error for an address without a chip."""
    machine = plug_in(build, bridge(1))
    monkeypatch.setitem(i2c.ERRORS, "gone", errno.EIO)
    machine.chip("chip 1").fail("gone")
    with pytest.raises(DeviceNotFoundError, match=Fault.CHIP_NOT_FOUND):
        probe(sysfs.i2c_adapter(f"{CONTROLLER}-1"), ADDRESS)
    chip = driver(lane)
    with pytest.raises(DeviceNotFoundError, match=Fault.CHIP_NOT_FOUND):
        await chip.read()
    machine.chip("chip 1").clear()
    await assert_reads(chip, VALUES)
    machine.chip("chip 1").fail("gone", count=1)
    with pytest.raises(BadFrameError, match=Fault.BUS_ERROR):
        await chip.read()
    await chip.close()


async def test_cancelled_transfer(
    build: Build, lane: Lane, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A transfer that hangs keeps the node open until it ends, and no longer."""
    machine = plug_in(build, bridge(1))
    chip = driver(lane)
    await chip.read()
    hardware = machine.chip("chip 1")
    hardware.fail("timeout", 60, count=1)
    reading = asyncio.create_task(chip.read())
    await until(lambda: hardware.fault is None)  # It has struck.
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    monkeypatch.setattr(workers, "JOB_GRACE_S", 0)
    with pytest.raises(DeviceAccessError, match=Fault.HANGING):
        await chip.read()
    assert machine.buses.open_nodes
    hardware.clear()
    await until(lambda: not machine.buses.open_nodes)
    await until(lambda: not lane.busy)
    await assert_reads(chip, VALUES)
    await chip.close()
