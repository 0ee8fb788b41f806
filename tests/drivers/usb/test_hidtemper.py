"""The first HidTEMPer sticks, whose answers do not name the command they answer."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
import pytest

from custom_components.temperature_logger.drivers import (
    DriverError,
    Fault,
    Reading,
    within_deadline,
)
from custom_components.temperature_logger.drivers.errors import (
    BadFrameError,
    DeviceNotFoundError,
)
from custom_components.temperature_logger.drivers.places import UsbPlace
from custom_components.temperature_logger.drivers.readings import Identity
from custom_components.temperature_logger.drivers.usb import hidtemper
from custom_components.temperature_logger.drivers.usb.hidtemper import (
    STICK_TYPES,
    HidTemper,
    decode,
)
from custom_components.temperature_logger.drivers.workers import Lane
from emulation.machine import Machine
from tests.drivers.conftest import AsNobody, Build
from tests.drivers.waiting import until

CONTROLLER = "pci0000:00/0000:00:14.0"
TWO: dict[str, Any] = {
    "name": "stick",
    "model": "HidTEMPer2",
    "temperature": 21.5,
    "external_temperature": -3.25,
}
READING = Reading(internal_temperature=21.5, external_temperature=-3.25)

type Gone = Callable[[], None]


@pytest.fixture(autouse=True)
def short_timeouts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the time that a real stick needs."""
    monkeypatch.setattr(hidtemper, "ANSWER_DELAY_S", 0.05)


@pytest.fixture(name="machine")
def machine_fixture(build: Build) -> Machine:
    """Plug in a stick with two sensors."""
    return build(TWO)


def driver(lane: Lane, on_gone: Gone = lambda: None, **known: str) -> HidTemper:
    """Return the driver of the stick."""
    return HidTemper(lane, UsbPlace(CONTROLLER, "1"), known, on_gone)


async def fault_of(work: Awaitable[object]) -> Fault:
    """Return the fault that a reading raises."""
    with pytest.raises(DriverError) as raised:
        await work
    return raised.value.fault


async def test_read(machine: Machine, lane: Lane) -> None:
    """Each value is preceded by a query of the type, so that an old answer shows."""
    stick = driver(lane)
    assert stick.quantities == ()
    assert await stick.read() == READING
    assert stick.quantities == ("internal_temperature", "external_temperature")
    machine.stick("stick").values["temperature"] = -12.5
    assert await stick.read() == Reading(
        internal_temperature=-12.5, external_temperature=-3.25
    )
    commands = machine.stick("stick").commands
    assert commands == {"type": 5, "temperature": 2, "external_temperature": 2}
    messages = list(machine.stick("stick").log)[:10]
    assert {len(message) for message in messages} == {32}
    assert [message.rstrip(b"\0").hex() for message in messages] == [
        "0a0b0c0d000002",
        "52",
        *7 * [""],
        "0a0b0c0d000001",
    ]
    assert stick.raw["internal_temperature"].startswith("f3 80 31 00")
    assert stick.identity == Identity(
        manufacturer="PCsensor",
        model="HidTEMPer2",
    )
    assert stick.facts == {"model": "HidTEMPer2"}
    assert not lane.failing
    await stick.close()


async def test_one_sensor(build: Build, lane: Lane) -> None:
    """A stick without a cable has one temperature."""
    machine = build(TWO | {"model": "HidTEMPer1"})
    stick = driver(lane)
    assert await stick.read() == Reading(temperature=21.5)
    assert machine.stick("stick").commands == {"type": 2, "temperature": 1}
    await stick.close()


async def test_humidity(build: Build, lane: Lane) -> None:
    """A stick with an SHT1x sends both values in one answer."""
    machine = build(TWO | {"model": "HidTEMPerHUM", "humidity": 47.5})
    stick = driver(lane)
    reading = await stick.read()
    assert reading.values == pytest.approx(
        {"temperature": 21.5, "humidity": 47.5}, abs=0.05
    )
    assert stick.quantities == ("temperature", "humidity")
    assert machine.stick("stick").commands == {"type": 2, "humidity": 1}
    assert set(stick.raw) == {"temperature, humidity"}
    assert stick.facts == {"model": "HidTEMPerHUM"}
    await stick.close()


def test_captured_humidity() -> None:
    """The answer of a real stick gives the values that its owner saw."""
    (command,) = STICK_TYPES[0x5A].commands
    values = decode(bytes.fromhex("199605a4000000001996"), command)
    assert values == pytest.approx({"temperature": 25.80, "humidity": 47.6}, abs=0.2)


async def test_no_sensor(machine: Machine, lane: Lane) -> None:
    """All ones in place of a temperature cost this temperature only."""
    machine.stick("stick").fail("ff-code", on="external_temperature")
    stick = driver(lane)
    reading = await stick.read()
    assert reading.values == {"internal_temperature": 21.5}
    assert reading.faults["external_temperature"].fault is Fault.BAD_REPORT
    machine.stick("stick").clear()
    machine.stick("stick").values["temperature"] = 0.0
    assert (await stick.read()).internal_temperature == 0.0
    await stick.close()


async def test_other_types(build: Build, lane: Lane) -> None:
    """A stick with another sensor is named, and gets no command but the type query."""
    machine = build(TWO | {"model": "HidTEMPerNTC"})
    with pytest.raises(BadFrameError) as raised:
        await driver(lane).read()
    assert raised.value.fault is Fault.UNKNOWN_TYPE
    assert raised.value.details["firmware"].startswith("HidTEMPer, 57 5b 14 00")
    assert set(machine.stick("stick").commands) == {"type"}


async def test_another_stick(machine: Machine, lane: Lane) -> None:
    """A stick of another type than the configured one is not read."""
    stick = driver(lane, model="HidTEMPer1")
    assert stick.identity.model == "HidTEMPer1"
    assert await fault_of(stick.read()) is Fault.STICK_CHANGED


@pytest.mark.parametrize("fault", ["zero", "ff"])
@pytest.mark.parametrize(
    ("on", "quantity"),
    [
        ("temperature", "internal_temperature"),
        ("external_temperature", "external_temperature"),
    ],
)
async def test_empty_answer_costs_only_its_sensor(
    machine: Machine, lane: Lane, fault: str, on: str, quantity: str
) -> None:
    """An answer of equal bytes is that of a sensor without a value."""
    machine.stick("stick").fail(fault, on=on)
    stick = driver(lane)
    reading = await stick.read()
    assert reading.values == {
        name: value for name, value in READING.values.items() if name != quantity
    }
    assert reading.faults[quantity].fault is Fault.BAD_REPORT
    await stick.close()


@pytest.mark.parametrize(
    ("fault", "on", "expected"),
    [
        ("zero", "type", {Fault.BAD_REPORT}),
        ("ff", "type", {Fault.BAD_REPORT}),
        *(
            (fault, on, expected)
            for fault, expected in (
                ("stale", {Fault.BAD_REPORT, Fault.UNKNOWN_TYPE}),
                ("stall", {Fault.REFUSED}),
                ("short", {Fault.BAD_REPORT}),
            )
            for on in ("type", "temperature", "external_temperature")
        ),
    ],
)
async def test_faults(
    machine: Machine, lane: Lane, fault: str, on: str, expected: set[Fault]
) -> None:
    """A missing answer gives no value; the next poll is right."""
    machine.stick("stick").fail(fault, on=on)
    stick = driver(lane)
    assert await fault_of(stick.read()) in expected
    assert lane.failing
    machine.stick("stick").clear()
    assert await stick.read() == READING
    await stick.close()


async def test_garbage(machine: Machine, lane: Lane) -> None:
    """An invalid answer gives neither a type nor a value out of range."""
    stick = driver(lane)
    machine.stick("stick").fail("garbage", on="type")
    assert await fault_of(stick.read()) in {Fault.BAD_REPORT, Fault.UNKNOWN_TYPE}
    machine.stick("stick").fail("ff", on="type")
    assert await fault_of(stick.read()) is Fault.BAD_REPORT
    machine.stick("stick").clear()
    machine.stick("stick").values["temperature"] = 127.5
    reading = await stick.read()
    assert reading.values == {"external_temperature": -3.25}
    assert reading.faults["internal_temperature"].fault is Fault.OUT_OF_RANGE
    machine.stick("stick").values["external_temperature"] = 127.5
    assert await fault_of(stick.read()) is Fault.OUT_OF_RANGE
    await stick.close()


@pytest.mark.parametrize("lost", range(4))
async def test_one_lost_command(
    machine: Machine, lane: Lane, lost: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A command lost anywhere in a poll gives an error or the right values."""
    stick = driver(lane)
    await stick.read()
    real = machine.stick("stick")
    real.values |= {"temperature": 30.0, "external_temperature": 10.0}
    ends = 0
    command = real.command

    def lose(data: bytes) -> list[tuple[float, bytes]]:
        nonlocal ends
        ends += data.startswith(bytes.fromhex("0a0b0c0d000001"))
        is_lost = ends == lost + 1 and data.startswith(b"\x0a\x0b\x0c\x0d\0\0\1")
        return [] if is_lost else command(data)

    monkeypatch.setattr(real, "command", lose)
    assert await fault_of(stick.read()) is Fault.BAD_REPORT
    expected = Reading(internal_temperature=30.0, external_temperature=10.0)
    assert await stick.read() == expected
    await stick.close()


async def test_unplugged(machine: Machine, lane: Lane) -> None:
    """An unplug is noticed at once, both between polls and during one."""
    gone = asyncio.Event()
    stick = driver(lane, on_gone=gone.set)
    await stick.read()
    machine.unplug("stick")
    await until(gone.is_set)
    assert await fault_of(stick.read()) is Fault.STICK_NOT_FOUND
    machine.plug("stick")
    assert await stick.read() == READING
    count = machine.stick("stick").commands["type"]
    poll = asyncio.create_task(stick.read())
    await until(lambda: machine.stick("stick").commands["type"] > count)
    machine.unplug("stick")
    with pytest.raises(DeviceNotFoundError):
        await within_deadline(poll)
    await stick.close()


async def test_closed_during_a_poll(machine: Machine, lane: Lane) -> None:
    """Unloading does not wait for a poll."""
    stick = driver(lane)
    await stick.read()
    count = machine.stick("stick").commands["type"]
    poll = asyncio.create_task(stick.read())
    await until(lambda: machine.stick("stick").commands["type"] > count)
    await stick.close()
    assert await fault_of(poll) is Fault.STICK_NOT_FOUND


async def test_no_node(build: Build, lane: Lane) -> None:
    """Without its driver the stick has no node."""
    build(TWO | {"bound": False})
    assert await fault_of(driver(lane).read()) is Fault.NO_NODE


async def test_no_permission(build: Build, lane: Lane, as_nobody: AsNobody) -> None:
    """The error names the node that may not be opened."""
    build(TWO)
    with as_nobody():
        assert await fault_of(driver(lane).read()) is Fault.NO_PERMISSION


@pytest.mark.parametrize("kind", STICK_TYPES)
@given(answer=st.binary(min_size=4, max_size=40))
def test_any_bytes(kind: int, answer: bytes) -> None:
    """Any bytes give a value that the sensor can measure, or an error."""
    for command in STICK_TYPES[kind].commands:
        try:
            values = Reading.of(decode(answer, command)).values
        except BadFrameError:
            continue
        assert set(values) <= set(command.quantities)
        for quantity, value in values.items():
            assert -55 <= value <= 125 or quantity == "humidity"
            assert 0 <= value <= 100 or quantity != "humidity"
