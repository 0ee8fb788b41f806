"""A stick with a serial port: opened when the user picks it, and read as text."""

import asyncio
from collections.abc import Awaitable, Callable
import errno
import fcntl
import os
from pathlib import Path
import tomllib
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
import pytest
import serialx

from custom_components.temperature_logger.drivers import DriverError, Fault, Reading
from custom_components.temperature_logger.drivers.errors import (
    BadFrameError,
    DeviceNotFoundError,
)
from custom_components.temperature_logger.drivers.places import UsbPlace
from custom_components.temperature_logger.drivers.usb import temperx232
from custom_components.temperature_logger.drivers.usb.temperx232 import (
    BAUD_RATE,
    KNOWN_FIRMWARE,
    MAX_TEXT_BYTES,
    READ_TEMP,
    TEMPERX232_RANGES,
    Port,
    TemperX232,
    decode,
)
from custom_components.temperature_logger.drivers.workers import Lane
from emulation.faults import failure
from emulation.machine import Machine
from tests.drivers.conftest import AsNobody, Build, Wake
from tests.drivers.kernel import Kernel
from tests.drivers.waiting import until

CAPTURES: list[dict[str, Any]] = tomllib.loads(
    (Path(__file__).parents[2] / "fixtures/lines.toml").read_text()
)["capture"]
CONTROLLER = "pci0000:00/0000:00:14.0"
STICK: dict[str, Any] = {
    "name": "stick",
    "model": "TEMPerX232_V2.0",
    "temperature": 23.81,
    "humidity": 42.0,
    "external_temperature": -2.5,
}
READING = Reading(
    internal_temperature=23.81, internal_humidity=42.0, external_temperature=-2.5
)

type Gone = Callable[[], None]


@pytest.fixture(autouse=True)
def short_timeouts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the waits to what an emulated stick needs."""
    monkeypatch.setattr(temperx232, "ANSWER_TIMEOUT_S", 0.3)
    monkeypatch.setattr(temperx232, "PROBE_LINE_TIMEOUT_S", 0.05)


@pytest.fixture(name="machine")
def machine_fixture(build: Build) -> Machine:
    """Plug in a stick with a probe."""
    return build(STICK)


def driver(lane: Lane, on_gone: Gone = lambda: None, **known: str) -> TemperX232:
    """Return the driver of the stick."""
    return TemperX232(lane, UsbPlace(CONTROLLER, "1"), known, on_gone)


async def fault_of(work: Awaitable[object]) -> Fault:
    """Return the fault that a reading raises."""
    with pytest.raises(DriverError) as raised:
        await work
    return raised.value.fault


def node_of(machine: Machine) -> Path:
    """Return the node of the stick."""
    node = machine.device("stick").hidraw
    assert node is not None
    return node


@pytest.mark.parametrize("capture", CAPTURES, ids=lambda capture: capture["source"])
def test_captures(capture: dict[str, Any]) -> None:
    """Answers captured from real sticks give the values that their owners saw."""
    assert decode(capture["answer"]).values == capture["reading"]
    assert KNOWN_FIRMWARE.fullmatch(capture["firmware"])


def test_line_without_a_mark() -> None:
    """The end of a line suffices."""
    expected = Reading(internal_temperature=23.81, internal_humidity=42.0)
    assert decode("Temp-Inner:23.81 [C],42.00 [%RH]\r\n") == expected


async def test_read(machine: Machine, lane: Lane) -> None:
    """The firmware is queried once, and the values once per reading."""
    stick = driver(lane)
    assert await stick.read() == READING
    machine.stick("stick").values |= {"temperature": -12.5, "external_humidity": 61.25}
    assert await stick.read() == Reading(
        internal_temperature=-12.5,
        internal_humidity=42.0,
        external_temperature=-2.5,
        external_humidity=61.25,
    )
    assert machine.stick("stick").commands == {"Version": 1, "ReadTemp": 2}
    assert stick.facts == {"firmware": "TEMPerX232_V2.0"}
    assert stick.identity.model == "TEMPerX232"
    assert stick.raw["answer"].startswith("Temp-Outer:-2.50 [C],61.25 [%RH]<")
    assert not lane.failing
    await stick.close()


async def test_without_a_probe(build: Build, lane: Lane) -> None:
    """Without a line for the probe in two answers, the probe is absent."""
    machine = build(STICK | {"external_temperature": None})
    stick = driver(lane)
    expected = Reading(internal_temperature=23.81, internal_humidity=42.0)
    assert await stick.read() == expected
    assert await stick.read() == expected
    assert machine.stick("stick").commands["ReadTemp"] == 3
    machine.stick("stick").values["external_temperature"] = -2.5
    assert await stick.read() == READING
    machine.stick("stick").fail("drop-outer", count=1)
    assert await stick.read() == READING
    machine.stick("stick").fail("drop-outer", count=2)
    assert await stick.read() == expected
    await stick.close()


async def test_probe_after_the_stick(
    machine: Machine, lane: Lane, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lines may come in the other order."""
    monkeypatch.setattr(temperx232, "PROBE_LINE_TIMEOUT_S", 0.3)
    machine.stick("stick").fail("late-outer")
    stick = driver(lane)
    assert await stick.read() == READING
    await stick.close()


@pytest.mark.parametrize(
    ("fault", "on", "expected"),
    [
        ("silent", "Version", Fault.NO_ANSWER),
        ("silent", "ReadTemp", Fault.NO_ANSWER),
        ("partial", "Version", Fault.UNKNOWN_TYPE),
        ("partial", "ReadTemp", Fault.BAD_REPORT),
        ("garbage", "Version", Fault.BAD_REPORT),
        ("garbage", "ReadTemp", Fault.BAD_REPORT),
        ("fahrenheit", "ReadTemp", Fault.BAD_REPORT),
    ],
)
async def test_faults(
    machine: Machine, lane: Lane, fault: str, on: str, expected: Fault
) -> None:
    """Half an answer is refused, and a late one is not taken for the next."""
    machine.stick("stick").fail(fault, on=on)
    stick = driver(lane)
    assert await fault_of(stick.read()) is expected
    assert lane.failing
    machine.stick("stick").clear()
    await until(lambda: machine.silent)
    assert await stick.read() == READING
    await stick.close()


async def test_another_firmware(build: Build, lane: Lane) -> None:
    """An unknown firmware gets no value query."""
    machine = build(STICK | {"firmware": "TEMPerX232_V2.10"})
    assert await fault_of(driver(lane).read()) is Fault.UNKNOWN_TYPE
    assert machine.stick("stick").commands == {"Version": 1}


async def test_other_device_on_the_port(build: Build, lane: Lane) -> None:
    """Another device on the serial port is not a stick."""
    machine = build(STICK | {"firmware": "Grbl 1.1h ['$' for help]"})
    assert await fault_of(driver(lane).read()) is Fault.BAD_REPORT
    assert machine.stick("stick").commands == {"Version": 1}


async def test_another_stick(build: Build, lane: Lane) -> None:
    """A stick with another firmware than the configured one is not read."""
    build(STICK | {"firmware": "TEMPerX232_V2.5"})
    stick = driver(lane, firmware="TEMPerX232_V2.0")
    assert await fault_of(stick.read()) is Fault.STICK_CHANGED
    await stick.close()
    stick = driver(lane, firmware="TEMPerX232_V2.5")
    assert await stick.read() == READING
    await stick.close()


async def test_unplugged_between_polls(machine: Machine, lane: Lane) -> None:
    """An unplug is noticed at once; a replugged stick is found under its new node."""
    gone = asyncio.Event()
    stick = driver(lane, on_gone=gone.set)
    await stick.read()
    node = node_of(machine)
    machine.unplug("stick")
    await until(gone.is_set)
    assert await fault_of(stick.read()) is Fault.STICK_NOT_FOUND
    machine.plug("stick")
    assert node_of(machine) != node
    assert await stick.read() == READING
    await stick.close()


async def test_unplugged_during_a_poll(machine: Machine, lane: Lane) -> None:
    """The unplug ends a waiting poll with an error."""
    gone = asyncio.Event()
    stick = driver(lane, on_gone=gone.set)
    await stick.read()
    machine.stick("stick").fail("silent")
    count = machine.stick("stick").commands["ReadTemp"]
    poll = asyncio.create_task(stick.read())
    await until(lambda: machine.stick("stick").commands["ReadTemp"] > count)
    machine.unplug("stick")
    with pytest.raises(DeviceNotFoundError):
        await poll
    assert not gone.is_set()


@pytest.mark.parametrize(
    ("number", "expected"),
    [(errno.EIO, Fault.STICK_NOT_FOUND), (errno.EAGAIN, Fault.NO_ANSWER)],
)
async def test_command_not_written(
    machine: Machine,
    lane: Lane,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    expected: Fault,
) -> None:
    """A port that fails is gone; a port with a full buffer has a stick that hangs."""
    stick = driver(lane)
    await stick.read()

    def fail(*_: object) -> None:
        raise failure(number)

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", fail)
        assert await fault_of(stick.read()) is expected
    await stick.close()


async def test_unplugged_while_reading(
    machine: Machine, lane: Lane, monkeypatch: pytest.MonkeyPatch, wake: Wake
) -> None:
    """A port that the kernel cannot read is gone; one without data is not."""
    gone = asyncio.Event()
    stick = driver(lane, on_gone=gone.set)
    await stick.read()
    wake()
    assert await stick.read() == READING
    with monkeypatch.context() as patch:
        Kernel(patch, node_of(machine)).fail("read", errno.EIO)
        wake()
    assert gone.is_set()
    commands = machine.stick("stick").commands.total()
    assert await fault_of(stick.read()) is Fault.STICK_NOT_FOUND
    assert machine.stick("stick").commands.total() == commands
    assert await stick.read() == READING
    await stick.close()


async def test_close_is_not_an_unplug(machine: Machine, lane: Lane) -> None:
    """Closing the port does not report an unplug."""
    gone = asyncio.Event()
    stick = driver(lane, on_gone=gone.set)
    await stick.read()
    await stick.close()
    await stick.close()
    assert not gone.is_set()


async def test_in_use(machine: Machine, lane: Lane) -> None:
    """The error names the other program that has the port open."""
    other = os.open(node_of(machine), os.O_RDWR | os.O_NOCTTY)
    fcntl.flock(other, fcntl.LOCK_EX)
    assert await fault_of(driver(lane).read()) is Fault.IN_USE
    os.close(other)
    assert machine.stick("stick").commands == {}


async def test_no_permission(build: Build, lane: Lane, as_nobody: AsNobody) -> None:
    """The error names the node that may not be opened."""
    build(STICK)
    with as_nobody():
        assert await fault_of(driver(lane).read()) is Fault.NO_PERMISSION


@pytest.mark.parametrize("spec", [{"bound": False}, {"hidraw_nodes": False}])
async def test_no_port(build: Build, lane: Lane, spec: dict[str, Any]) -> None:
    """Without the kernel's driver, or in a container, there is no port."""
    build(STICK | spec)
    assert await fault_of(driver(lane).read()) is Fault.NO_PORT


async def test_unsolicited_text(machine: Machine, lane: Lane) -> None:
    """Text received before a command is not its answer, and is not kept in memory."""
    node = str(node_of(machine))
    serial = serialx.serial_for_url(node, baudrate=BAUD_RATE, exclusive=True)
    serial.open()
    port = Port(lane, serial, lambda: None)

    def has_both_lines(answer: str) -> bool:
        return answer.count("\n") == 2

    assert decode(await port.query(READ_TEMP, has_both_lines)) == READING
    machine.send("stick", b"Temp-Inner:99.00 [C]<\r\n".hex())
    await until(lambda: b"99" in port.text)
    assert decode(await port.query(READ_TEMP, has_both_lines)) == READING
    machine.send("stick", bytes(MAX_TEXT_BYTES).hex())
    await until(lambda: port.text == bytes(MAX_TEXT_BYTES))
    assert decode(await port.query(READ_TEMP, has_both_lines)) == READING
    await port.close()


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "\r\n",
        "Temp-Inner:23.81 [C],42.00 [%RH]",
        "Temp-Inner:23.81 [C],42.00 [%",
        "Temp-Inner:23.81 [F]<",
        "Temp-Inner:-- [C]<",
        "Temp-Inner:2381 [C]<",
        "Temp-Outer:23.81 [C]<",
        "Temp-Inner:23.81 [C]<Temp-Inner:23.81 [C]<",
        "Temp-Inner:23.81 [C]<Temp-Outer:",
        "Temp-Inner:\N{ARABIC-INDIC DIGIT TWO}.81 [C]<",
    ],
)
def test_no_reading(answer: str) -> None:
    """Only exactly the lines of a reading give one."""
    with pytest.raises(BadFrameError) as raised:
        decode(answer)
    assert raised.value.fault is Fault.BAD_REPORT


@pytest.mark.parametrize(
    "answer",
    [
        "Temp-Inner:-40.01 [C]<",
        "Temp-Inner:85.01 [C]<",
        "Temp-Outer:125.01 [C]<Temp-Inner:85.01 [C],-10.01 [%RH]<",
    ],
)
def test_out_of_range(answer: str) -> None:
    """An answer without a value that the sensors can measure is rejected."""
    with pytest.raises(BadFrameError) as raised:
        decode(answer)
    assert raised.value.fault is Fault.OUT_OF_RANGE


@pytest.mark.parametrize(
    ("answer", "values", "faults"),
    [
        (
            "Temp-Inner:20.00 [C],110.01 [%RH]<",
            {"internal_temperature": 20.0},
            {"internal_humidity"},
        ),
        (
            "Temp-Inner:20.00 [C],100.01 [%RH]<",
            {"internal_temperature": 20.0, "internal_humidity": 100.0},
            set(),
        ),
        (
            "Temp-Inner:20.00 [C],-0.50 [%RH]<",
            {"internal_temperature": 20.0, "internal_humidity": 0.0},
            set(),
        ),
        (
            "Temp-Outer:125.01 [C]<Temp-Inner:20.00 [C]<",
            {"internal_temperature": 20.0},
            {"external_temperature"},
        ),
    ],
)
def test_invalid_value_costs_itself(
    answer: str, values: dict[str, float], faults: set[str]
) -> None:
    """The other values of an answer are published; a humidity may be a little off."""
    reading = decode(answer)
    assert reading.values == values
    assert set(reading.faults) == faults
    assert {f.fault for f in reading.faults.values()} <= {Fault.OUT_OF_RANGE}


async def test_invalid_probe_is_not_absent(machine: Machine, lane: Lane) -> None:
    """A probe with an invalid value has a fault, and is not asked a second time."""
    machine.stick("stick").values["external_temperature"] = 127.5
    stick = driver(lane)
    assert set((await stick.read()).faults) == {"external_temperature"}
    assert machine.stick("stick").commands["ReadTemp"] == 1
    await stick.close()


def answers() -> st.SearchStrategy[str]:
    """Return answers, many of them valid."""
    numbers = st.floats(-150, 200).map("{:.2f}".format)
    line: Callable[..., str] = "Temp-{}:{} [C],{} [%RH]<".format
    short: Callable[..., str] = "Temp-{}:{} [C]<".format
    sides = st.sampled_from(["Inner", "Outer"])
    lines = st.one_of(
        st.builds(line, sides, numbers, numbers),
        st.builds(short, sides, numbers),
        st.text(max_size=4),
    )
    return st.one_of(st.lists(lines, max_size=3).map("\r\n".join), st.text())


@given(answers())
def test_any_text(answer: str) -> None:
    """Any text gives values that the sensors can measure, or an error."""
    try:
        reading = decode(answer)
    except BadFrameError:
        return
    assert "internal_temperature" in {**reading.values, **reading.faults}
    for quantity, value in reading.values.items():
        low, high = TEMPERX232_RANGES[quantity]
        assert low <= value <= high
