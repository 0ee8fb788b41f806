"""A stick is identified by its firmware, and gets no more commands than needed."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
import json
import os
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from custom_components.temperature_logger.drivers import (
    DriverError,
    Fault,
    Reading,
    Workers,
    within_deadline,
    workers,
)
from custom_components.temperature_logger.drivers.errors import (
    BadFrameError,
    DeviceAccessError,
    DeviceNotFoundError,
)
from custom_components.temperature_logger.drivers.places import UsbPlace
from custom_components.temperature_logger.drivers.readings import Identity
from custom_components.temperature_logger.drivers.usb import layouts, libusb, temper
from custom_components.temperature_logger.drivers.usb.models import TEMPER, thermometers
from custom_components.temperature_logger.drivers.usb.temper import STEP_LIMITS, Temper
from custom_components.temperature_logger.drivers.workers import Lane
from emulation.descriptors import DATA, KEYBOARD, KEYBOARD_REPORT
import emulation.hidraw
from emulation.machine import Machine
from emulation.sticks import MODELS
from tests.drivers.conftest import EMULATED_QUANTITIES, Build
from tests.drivers.waiting import MAX_WAIT_S, until

CONTROLLER = "pci0000:00/0000:00:14.0"
ALL = json.loads(
    (Path(__file__).parents[3] / "emulation/machines/all.json").read_text()
)
SETTLE_TIMES_S = temper.SETTLE_TIMES_S
STICKS = [
    entry
    for entry in ALL["usb"]
    if entry["model"] in MODELS and MODELS[entry["model"]].firmware
]
HIDRAW: dict[str, Any] = {}
LIBUSB = {"hidraw_nodes": False}
# All reports of an answer arrive well before the driver stops listening.
QUICK = {"latency_ms": 1, "gap_ms": 1}
# °C in the old report that an emulated stick sends.
STALE_TEMPERATURE = 0.07

type Gone = Callable[[], None]


@pytest.fixture(autouse=True)
def short_timeouts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the times that real sticks may need."""
    monkeypatch.setattr(layouts, "REPORT_TIMEOUT_S", 0.5)
    monkeypatch.setattr(temper, "FIRMWARE_TIMEOUTS_S", (0.5, 0.5))
    monkeypatch.setattr(temper, "SETTLE_TIMES_S", {})
    monkeypatch.setattr(emulation.hidraw, "KERNEL_TIMEOUT", 0.05)


def plug(build: Build, model: str, **spec: Any) -> Machine:  # noqa: ANN401 - as in a machine spec
    """Return a machine with one stick."""
    return build({"name": "stick", "model": model, **spec})


def driver(lane: Lane, on_gone: Gone = lambda: None, **known: str) -> Temper:
    """Return the driver of the stick."""
    return Temper(lane, UsbPlace(CONTROLLER, "1"), known, on_gone)


def commands(machine: Machine) -> tuple[int, int]:
    """Return the numbers of firmware queries and of value queries."""
    counter = machine.stick("stick").commands
    assert set(counter) <= {"firmware", "values"}
    return counter["firmware"], counter["values"]


@pytest.mark.parametrize("way", [HIDRAW, LIBUSB], ids=["hidraw", "libusb"])
@pytest.mark.parametrize("entry", STICKS, ids=lambda entry: entry["name"])
async def test_every_model(
    build: Build, lane: Lane, entry: dict[str, Any], way: dict[str, Any]
) -> None:
    """Every model is identified and read over hidraw and libusb, with few commands."""
    machine = build(entry | way | {"name": "stick", "ports": "1"})
    stick = driver(lane)
    values = (await stick.read()).values
    for quantity in stick.quantities:
        expected = entry.get(EMULATED_QUANTITIES.get(quantity, quantity))
        assert values.pop(quantity, None) == pytest.approx(expected, abs=0.05)
    assert not values
    model = MODELS[entry["model"]]
    assert stick.facts["firmware"].startswith(model.firmware)
    assert stick.identity == Identity(
        manufacturer="PCsensor",
        model=stick.facts["model"],
        firmware=stick.facts["firmware"],
    )
    (layout,) = (
        row
        for row in layouts.layouts_of(stick.facts["firmware"], model.gadget.product)
        if row.model == stick.identity.model
    )
    chosen = 2 if model.firmware == "TEMPerX_V3.3" else 0
    assert commands(machine) == (1, layout.requests + chosen)
    await stick.read()
    assert commands(machine) == (1, 2 * layout.requests + chosen)
    await stick.close()


async def test_before_the_first_reading(lane: Lane) -> None:
    """The stored model is known before the stick is plugged in."""
    assert driver(lane).identity.model == ""
    assert not driver(lane).facts
    assert not driver(lane).quantities
    known = driver(lane, firmware="TEMPer1F_V3.9", model="TEMPer1F")
    assert known.identity.model == "TEMPer1F"
    assert known.identity.firmware == "TEMPer1F_V3.9"
    await known.close()


async def test_raw_reports(build: Build, lane: Lane) -> None:
    """The raw reports of the last reading are kept."""
    plug(build, "TEMPer2_V3.9", temperature=20.0, external_temperature=-10.0)
    stick = driver(lane)
    await stick.read()
    await stick.close()
    assert stick.raw == {"reports": "80 80 07 d0 4e 20 00 00 / 80 01 fc 18 4e 20 00 00"}


async def test_read_again(build: Build, lane: Lane) -> None:
    """A second reading asks the stick again."""
    machine = plug(build, "TEMPerGold_V3.4", temperature=20.0)
    stick = driver(lane)
    await stick.read()
    machine.stick("stick").values["temperature"] = 30.0
    assert await stick.read_again() == Reading(temperature=30.0)
    assert commands(machine) == (1, 2)
    await stick.close()


async def test_settle(
    build: Build, lane: Lane, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stick of 2022 gets its second to settle once per opening; others get none."""
    waited: list[float] = []

    async def sleep(delay: float) -> None:
        waited.append(delay)

    monkeypatch.setattr(temper, "SETTLE_TIMES_S", SETTLE_TIMES_S)
    monkeypatch.setattr(asyncio, "sleep", sleep)
    plug(build, "TEMPerGold_V3.5", temperature=20.0)
    stick = driver(lane)
    await stick.read()
    await stick.read()
    assert waited == [1.0]
    await stick.close()
    await stick.read()
    assert waited == [1.0, 1.0]
    await stick.close()
    plug(build, "TEMPerGold_V3.4", temperature=20.0)
    await stick.identify()
    assert waited == [1.0, 1.0, 0]


# The report of the probe of TEMPer2_V4.1, which is missing without a probe


async def test_lost_report_is_requested_again(build: Build, lane: Lane) -> None:
    """One lost report does not cost the probe its value."""
    machine = plug(build, "TEMPer2_V4.1", temperature=20.0, external_temperature=10.0)
    stick = driver(lane)
    machine.stick("stick").fail("partial", count=1, on="values")
    expected = Reading(internal_temperature=20.0, external_temperature=10.0)
    assert await stick.read() == expected
    assert commands(machine) == (1, 2)
    machine.stick("stick").fail("partial", count=1, on="values")
    assert await stick.read() == expected
    assert commands(machine) == (1, 4)
    await stick.close()


async def test_absent_probe_is_requested_once(build: Build, lane: Lane) -> None:
    """A probe missing twice is absent, and the next readings do not wait for it."""
    machine = plug(build, "TEMPer2_V4.1", temperature=20.0)
    stick = driver(lane)
    absent = Reading(internal_temperature=20.0)
    assert await stick.read() == absent
    assert commands(machine) == (1, 2)
    assert await stick.read() == absent
    assert commands(machine) == (1, 3)
    assert stick.quantities == ("internal_temperature", "external_temperature")
    await stick.close()


async def test_probe_that_returns(build: Build, lane: Lane) -> None:
    """A probe plugged in again is read at once, and may then lose a report again."""
    machine = plug(build, "TEMPer2_V4.1", temperature=20.0)
    stick = driver(lane)
    await stick.read()
    machine.stick("stick").values["external_temperature"] = 10.0
    present = Reading(internal_temperature=20.0, external_temperature=10.0)
    assert await stick.read() == present
    assert commands(machine) == (1, 3)
    machine.stick("stick").fail("partial", count=1)
    assert await stick.read() == present
    assert commands(machine) == (1, 5)
    await stick.close()


async def test_lost_internal_report_is_no_absent_probe(
    build: Build, lane: Lane
) -> None:
    """Without the report of its own sensor a stick has no reading."""
    machine = plug(build, "TEMPer2_V4.1", temperature=20.0, external_temperature=10.0)
    stick = driver(lane)
    await stick.read()
    machine.stick("stick").fail("drop-first", count=1)
    with pytest.raises(BadFrameError, match=Fault.NO_ANSWER):
        await stick.read()
    assert (await stick.read()).internal_temperature == 20.0
    await stick.close()


# TEMPer1F_V4.1, which is silent without its probe


async def test_silent_without_probe(build: Build, lane: Lane) -> None:
    """Silence means an absent probe as long as the firmware query is answered."""
    machine = plug(build, "TEMPer1F_V4.1")
    stick = driver(lane)
    assert await stick.read() == Reading()
    assert commands(machine) == (2, 2)
    assert await stick.read() == Reading()
    assert commands(machine) == (3, 3)
    machine.stick("stick").values["temperature"] = 20.0
    assert await stick.read() == Reading(temperature=20.0)
    assert commands(machine) == (3, 4)
    await stick.close()


async def test_dead_is_not_absent(build: Build, lane: Lane) -> None:
    """A stick that does not answer the firmware query either is an error."""
    machine = plug(build, "TEMPer1F_V4.1")
    stick = driver(lane)
    await stick.read()
    machine.stick("stick").fail("timeout")
    with pytest.raises(BadFrameError, match=Fault.NO_ANSWER):
        await stick.read()
    machine.stick("stick").clear()
    assert await stick.read() == Reading()
    await stick.close()


# TEMPerX_V3.3, the firmware of two models


async def test_model_chosen_by_two_answers(build: Build, lane: Lane) -> None:
    """Two equal answers choose the model with only an external sensor."""
    machine = plug(build, "TEMPerX_V3.3 (TEMPer1F)", temperature=20.0)
    stick = driver(lane)
    assert await stick.read() == Reading(temperature=20.0)
    assert stick.facts == {"firmware": "TEMPerX_V3.3", "model": "TEMPer1F"}
    await stick.close()
    machine.stick("stick").commands.clear()
    again = Temper(lane, UsbPlace(CONTROLLER, "1"), stick.facts)
    await again.read()
    assert commands(machine) == (0, 1)
    await again.close()


async def test_closed_stick_is_recalled(build: Build, lane: Lane) -> None:
    """The firmware is queried after a plug and a failure, not after a close."""
    machine = plug(build, "TEMPerGold_V3.4", temperature=20.0)
    for _ in range(3):
        stick = driver(lane)
        assert await stick.read() == Reading(temperature=20.0)
        assert stick.identity.firmware == "TEMPerGold_V3.4"
        await stick.close()
    assert commands(machine) == (1, 3)
    machine.replug("stick")
    await stick.read()
    assert commands(machine) == (2, 4)
    machine.stick("stick").fail("timeout", count=1)
    with pytest.raises(BadFrameError):
        await stick.read()
    await stick.read()
    assert machine.stick("stick").commands["firmware"] == 3
    await stick.close()


async def test_memory_does_not_last(
    build: Build, lane: Lane, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stick that was closed for long may be another one."""
    machine = plug(build, "TEMPerGold_V3.4", temperature=20.0)
    monkeypatch.setattr(temper, "MEMORY_S", 0)
    stick = driver(lane)
    for count in (1, 2):
        await stick.read()
        assert commands(machine) == (count, count)
        await stick.close()


@pytest.mark.parametrize("fault", ["drop-first", "timeout"])
async def test_recalled_stick_that_fails_is_identified(
    build: Build, lane: Lane, fault: str
) -> None:
    """A first answer that gets lost after opening costs time, not the reading."""
    machine = plug(build, "TEMPerX_V3.3", temperature=20.0, external_temperature=10.0)
    stick = driver(lane)
    reading = await stick.read()
    await stick.close()
    machine.stick("stick").fail(fault, count=1, on="values")
    again = driver(lane)
    assert await again.read() == reading
    assert machine.stick("stick").commands["firmware"] == 2
    await again.close()


async def test_recalled_stick_that_is_dead(build: Build, lane: Lane) -> None:
    """A stick that does not answer after a close is an error."""
    machine = plug(build, "TEMPerGold_V3.4", temperature=20.0)
    stick = driver(lane)
    await stick.read()
    await stick.close()
    machine.stick("stick").fail("timeout")
    for _ in range(2):
        with pytest.raises(BadFrameError, match=Fault.NO_ANSWER):
            await stick.read()
    assert commands(machine) == (3, 2)
    machine.stick("stick").clear()
    assert await stick.read() == Reading(temperature=20.0)
    await stick.close()


@pytest.mark.parametrize("fault", ["drop-first", "partial", "timeout"])
async def test_model_not_chosen_in_doubt(build: Build, lane: Lane, fault: str) -> None:
    """Answers that differ choose no model; the next try may."""
    machine = plug(build, "TEMPerX_V3.3", temperature=20.0, humidity=50.0)
    machine.stick("stick").fail(fault, count=1, on="values")
    stick = driver(lane)
    with pytest.raises(BadFrameError, match=Fault.NO_ANSWER):
        await stick.read()
    assert not stick.facts
    await stick.read()
    assert stick.facts["model"] == "TEMPer2"
    await stick.close()


async def test_remembered_model_holds(build: Build, lane: Lane) -> None:
    """The stored model is kept, and the other model of the firmware is not read."""
    plug(build, "TEMPerX_V3.3", temperature=20.0, humidity=50.0)
    stick = driver(lane, firmware="TEMPerX_V3.3", model="TEMPer1F")
    with pytest.raises(BadFrameError, match=Fault.BAD_REPORT):
        await stick.read()
    await stick.close()


# Other devices and other sticks


@pytest.mark.parametrize("way", [HIDRAW, LIBUSB], ids=["hidraw", "libusb"])
async def test_unknown_firmware(build: Build, lane: Lane, way: dict[str, Any]) -> None:
    """An unknown firmware is quoted, and gets no value query."""
    machine = plug(build, "TEMPerGold_V3.5", firmware="TEMPerGold_V9.9", **way)
    stick = driver(lane)
    with pytest.raises(BadFrameError, match=Fault.UNKNOWN_FIRMWARE) as error:
        await stick.read()
    assert error.value.details == {"firmware": "TEMPerGold_V9.9"}
    assert commands(machine) == (1, 0)
    await stick.close()


async def test_changed_firmware(build: Build, lane: Lane) -> None:
    """A stick with another firmware at the same place is not read."""
    machine = plug(build, "TEMPerHUM_V4.1", temperature=20.0, humidity=50.0)
    stick = driver(lane, firmware="TEMPerGold_V3.5", model="TEMPerGold")
    with pytest.raises(DeviceNotFoundError, match=Fault.STICK_CHANGED) as error:
        await stick.read()
    assert error.value.details == {
        "expected": "TEMPerGold_V3.5",
        "found": "TEMPerHUM_V4.1",
    }
    assert commands(machine) == (1, 0)
    await stick.close()


async def test_other_tail(build: Build, lane: Lane) -> None:
    """Leftovers after the firmware text of an old stick do not change its model."""
    plug(build, "TEMPerF1.4", temperature=20.0)
    stick = driver(lane, firmware="TEMPerF1.4\x80\x02", model="TEMPer")
    assert await stick.read() == Reading(temperature=20.0)
    assert stick.facts == {"firmware": "TEMPerF1.4MPerF1", "model": "TEMPer"}
    await stick.close()


async def test_unknown_model(build: Build, lane: Lane) -> None:
    """A model that this firmware never had is not read."""
    machine = plug(build, "TEMPerGold_V3.4", temperature=20.0)
    stick = driver(lane, firmware="TEMPerGold_V3.4", model="TEMPerHUM")
    with pytest.raises(BadFrameError, match=Fault.UNKNOWN_FIRMWARE):
        await stick.read()
    assert commands(machine) == (1, 0)
    await stick.close()


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        (["466f6f7453776974", "6368000000000000"], Fault.BAD_REPORT),
        (["54454d5000010000", "0000000000000000"], Fault.BAD_REPORT),
        (["54454d5065ffffff", "ffffffffffffffff"], Fault.BAD_REPORT),
        (["0000000000000000", "0000000000000000"], Fault.BAD_REPORT),
        (["80800b544e200000", "54454d506572476f"], Fault.BAD_REPORT),
        (["54454d506572476f", "80800b544e200000"], Fault.BAD_REPORT),
    ],
    ids=["foot switch", "control codes", "no ASCII", "zeros", "crossed", "crossed too"],
)
async def test_invalid_firmware_text(
    build: Build, lane: Lane, answer: list[str], fault: Fault
) -> None:
    """A device whose text does not name a TEMPer gets no value query."""
    machine = plug(build, "TEMPerGold_V3.4", firmware_reports=answer)
    stick = driver(lane)
    with pytest.raises(BadFrameError, match=fault):
        await stick.read()
    assert commands(machine) == (1, 0)
    await stick.close()


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (b"TEMPer2_V4.1\0\0r1", "TEMPer2_V4.1"),
        (b"TEMPER2_v4.1\xff\xffr1", "TEMPER2_v4.1"),
        (b"temper2_v4.1    ", "temper2_v4.1"),
    ],
)
async def test_other_writing(
    build: Build, lane: Lane, answer: bytes, text: str
) -> None:
    """Bytes behind the text and the case of its letters do not change the firmware."""
    halves = [answer[:8].hex(), answer[8:].hex()]
    spec = {"temperature": 20.0, "external_temperature": 10.0}
    plug(build, "TEMPer2_V4.1", firmware_reports=halves, **spec)
    for known in ({}, {"firmware": "TEMPer2_V4.1", "model": "TEMPer2"}):
        stick = Temper(lane, UsbPlace(CONTROLLER, "1"), known)
        reading = await stick.read()
        assert reading == Reading(internal_temperature=20.0, external_temperature=10.0)
        assert stick.facts == {"firmware": text, "model": "TEMPer2"}
        await stick.close()


async def test_firmware_without_a_version(build: Build, lane: Lane) -> None:
    """A text that only begins like that of a TEMPer is an unknown firmware."""
    halves = ["54454d5065720001", "0000000000000000"]
    machine = plug(build, "TEMPerGold_V3.4", firmware_reports=halves, temperature=20.0)
    stick = driver(lane)
    with pytest.raises(BadFrameError, match=Fault.UNKNOWN_FIRMWARE) as error:
        await stick.read()
    assert error.value.details == {"firmware": "TEMPer"}
    assert commands(machine) == (1, 0)
    stick = driver(lane, firmware="TEMPer", shape="one_100th")
    assert await stick.read() == Reading(temperature=20.0)
    await stick.close()


@pytest.mark.parametrize(
    ("stored", "answer", "shape"),
    [
        ("TEMPerF1.4MPerF1", b"TEMPerF1.4MPerF1", None),
        ("TEMPerGold_V9.9", b"TEMPerGold_V9.9 ", "one_100th"),
        ("TEMPer<b>!", b"TEMPer<b>!", "one_100th"),
    ],
)
async def test_stored_text(
    build: Build, lane: Lane, stored: str, answer: bytes, shape: str | None
) -> None:
    """The text that an earlier version stored is still that of the stick."""
    halves = [answer[:8].hex(), answer[8:].hex()]
    model = "TEMPerGold_V3.4" if shape else "TEMPerF1.2"
    plug(build, model, firmware_reports=halves, temperature=20.0)
    known = {"firmware": stored} | ({"shape": shape} if shape else {})
    stick = Temper(lane, UsbPlace(CONTROLLER, "1"), known)
    assert await stick.read() == Reading(temperature=20.0)
    await stick.close()


async def test_firmware_text_is_inert(build: Build, lane: Lane) -> None:
    """What a stick says about itself is shown to users, so it has no markup."""
    answer = b"TEMPer[a](//b.c)"
    halves = [answer[:8].hex(), answer[8:].hex()]
    plug(build, "TEMPerGold_V3.4", firmware_reports=halves)
    with pytest.raises(BadFrameError, match=Fault.UNKNOWN_FIRMWARE) as error:
        await driver(lane).read()
    assert error.value.details == {"firmware": "TEMPer?a????b.c?"}


async def test_lost_half_of_the_firmware(build: Build, lane: Lane) -> None:
    """Half a firmware text is queried once more, not forever."""
    machine = plug(build, "TEMPerX_V3.3", temperature=20.0, external_temperature=10.0)
    machine.stick("stick").fail("drop-first", on="firmware", count=1)
    stick = driver(lane)
    assert (await stick.read()).internal_temperature == 20.0
    assert machine.stick("stick").commands["firmware"] == 2
    await stick.close()
    machine.replug("stick")
    machine.stick("stick").fail("drop-first", on="firmware")
    with pytest.raises(BadFrameError, match=Fault.NO_ANSWER):
        await stick.read()
    assert machine.stick("stick").commands["firmware"] == 4
    await stick.close()


async def test_closed_while_it_is_read(build: Build, lane: Lane) -> None:
    """A reading whose stick is closed meanwhile ends in a driver error."""
    machine = plug(build, "TEMPer1F1.4", temperature=20.0)
    stick = driver(lane)
    await stick.read()
    before = machine.stick("stick").commands["values"]
    reading = asyncio.create_task(stick.read())
    await until(lambda: machine.stick("stick").commands["values"] > before)
    await stick.close()
    with pytest.raises(DriverError):
        await reading


async def test_hang_ends_at_the_deadline(
    build: Build, lane: Lane, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stick that hangs in the firmware query costs the deadline and no more."""
    machine = plug(build, "TEMPerGold_V3.4", temperature=20.0)
    node = machine.device("stick").hidraw
    assert node is not None
    number, ends, write = node.stat().st_rdev, Event(), os.write

    def hang(fd: int, data: bytes) -> int:
        if os.fstat(fd).st_rdev == number:
            ends.wait()
        return write(fd, data)

    monkeypatch.setattr(os, "write", hang)
    monkeypatch.setattr(workers, "DEVICE_TIMEOUT_S", 0.5)
    stick = driver(lane)
    with pytest.raises(DeviceAccessError, match=Fault.HANGING):
        await within_deadline(stick.identify())
    assert lane.busy
    ends.set()
    await stick.close()


async def test_foot_pedal(build: Build, lane: Lane) -> None:
    """A foot pedal with a stick's id gets one firmware query and nothing further."""
    machine = plug(build, "pedal 413d")
    ((family, device),) = thermometers()
    assert family is TEMPER
    stick = Temper(lane, device.place, {})
    with pytest.raises(BadFrameError, match=Fault.NO_ANSWER):
        await stick.identify()
    assert commands(machine) == (1, 0)


async def test_silent_device_is_asked_once(build: Build, lane: Lane) -> None:
    """A foot pedal in the place of a stick gets one query for each plug-in."""
    machine = plug(build, "pedal 413d")
    expected = iter([Fault.NO_ANSWER, *3 * [Fault.SILENT]])
    for _ in range(2):
        stick = driver(lane, firmware="TEMPerGold_V3.1", model="TEMPerGold")
        for _ in range(2):
            with pytest.raises(BadFrameError, match=f"^{next(expected)}$"):
                await stick.read()
        await stick.close()
    with pytest.raises(BadFrameError, match=Fault.SILENT):
        await driver(lane).identify()
    assert commands(machine) == (1, 0)
    machine.replug("stick")
    for fault in (Fault.NO_ANSWER, Fault.SILENT):
        with pytest.raises(BadFrameError, match=fault):
            await driver(lane).read()
    assert commands(machine) == (2, 0)


async def test_silent_stick_after_a_replug(build: Build, lane: Lane) -> None:
    """A stick that was silent is read once it is plugged in again."""
    machine = plug(build, "TEMPerGold_V3.4", temperature=20.0)
    machine.stick("stick").fail("timeout")
    stick = driver(lane)
    with pytest.raises(BadFrameError, match=Fault.NO_ANSWER):
        await stick.read()
    machine.stick("stick").clear()
    with pytest.raises(BadFrameError, match=Fault.SILENT):
        await stick.read()
    machine.replug("stick")
    assert await stick.read() == Reading(temperature=20.0)
    await stick.close()


@pytest.mark.parametrize("answer", ["drop-first", "garbage", None])
async def test_stick_that_answered_before(
    build: Build, lane: Lane, answer: str | None
) -> None:
    """A stick that has sent anything since it was plugged in is asked at each retry."""
    machine = plug(build, "TEMPerGold_V3.4", temperature=20.0)
    stick = driver(lane)
    if answer is None:
        await stick.read()
    else:
        machine.stick("stick").fail(answer, on="firmware")
        with pytest.raises(BadFrameError):
            await stick.read()
    machine.stick("stick").fail("timeout")
    for _ in range(3):
        with pytest.raises(BadFrameError, match=Fault.NO_ANSWER):
            await stick.read()
    machine.stick("stick").clear()
    assert await stick.read() == Reading(temperature=20.0)
    await stick.close()


@pytest.mark.parametrize("way", [HIDRAW, LIBUSB], ids=["hidraw", "libusb"])
@pytest.mark.parametrize("fault", ["drop-first", "control-timeout", "short"])
async def test_other_faults_are_not_silence(
    build: Build, lane: Lane, fault: str, way: dict[str, Any]
) -> None:
    """A device that gave half an answer or refused the query is asked again."""
    machine = plug(build, "TEMPerGold_V3.4", temperature=20.0, **way)
    machine.stick("stick").fail(fault, on="firmware")
    stick = driver(lane)
    with pytest.raises(DriverError):
        await stick.read()
    machine.stick("stick").clear()
    await until(lambda: machine.silent)
    assert await stick.read() == Reading(temperature=20.0)
    await stick.close()


@pytest.mark.parametrize(
    "interfaces",
    [
        (KEYBOARD, replace(DATA, report=KEYBOARD_REPORT)),
        (KEYBOARD, replace(DATA, kind=(0xFF, 0, 0))),
        (KEYBOARD, DATA, DATA),
        (KEYBOARD,),
    ],
    ids=["other reports", "no HID", "three interfaces", "one interface"],
)
async def test_other_interfaces(
    build: Build, monkeypatch: pytest.MonkeyPatch, interfaces: tuple[Any, ...]
) -> None:
    """A device without a stick's interfaces is not opened, whatever its id."""
    pedal = MODELS["pedal 413d"]
    gadget = replace(pedal.gadget, interfaces=interfaces)
    monkeypatch.setitem(MODELS, "pedal 413d", replace(pedal, gadget=gadget))
    plug(build, "pedal 413d")
    assert not list(thermometers())


def test_candidates(build: Build) -> None:
    """A device with a stick's id and interfaces is a candidate, bound or not."""
    build(
        {"name": "gold", "model": "TEMPerGold_V3.5", "ports": "1"},
        {"name": "taken", "model": "TEMPerGold_V3.5", "ports": "2", "bound": False},
        {"name": "old", "model": "TEMPerF1.4", "ports": "3"},
        {"name": "mouse", "model": "mouse", "ports": "4"},
        {"name": "pedal", "model": "pedal 0c45", "ports": "5"},
        {"name": "ch340", "model": "ch340", "ports": "6"},
    )
    assert [device.place.ports for _, device in thermometers()] == ["1", "2", "3"]


# Faults during a reading


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ("timeout", Fault.NO_ANSWER),
        ("control-timeout", Fault.REFUSED),
        ("stall", Fault.REFUSED),
        ("protocol", Fault.REFUSED),
        ("stall-in", Fault.NO_ANSWER),
        ("partial", Fault.NO_ANSWER),
        ("drop-first", Fault.NO_ANSWER),
        ("garbage", Fault.BAD_REPORT),
        ("zero", Fault.BAD_REPORT),
        ("ff", Fault.BAD_REPORT),
        ("short", Fault.BAD_REPORT),
        ("wrong-tag", Fault.BAD_REPORT),
        ("swap", Fault.BAD_REPORT),
        ("extra", Fault.BAD_REPORT),
        ("noprobe", Fault.SENSOR_MISSING),
    ],
)
async def test_fault(build: Build, lane: Lane, fault: str, expected: Fault) -> None:
    """A spoilt answer gives no reading, and the next reading opens the stick again."""
    values = {"temperature": 20.0, "external_temperature": 10.0}
    machine = plug(build, "TEMPer2_V3.9", **values, **QUICK)
    stick = driver(lane)
    reading = await stick.read()
    machine.stick("stick").fail(fault, count=1)
    with pytest.raises(BadFrameError, match=expected):
        await stick.read()
    assert lane.failing
    await until(lambda: machine.silent)
    assert await stick.read() == reading
    assert not lane.failing
    assert commands(machine)[0] == 2
    await stick.close()


@pytest.mark.parametrize("way", [HIDRAW, LIBUSB], ids=["hidraw", "libusb"])
async def test_late_answer(
    build: Build, lane: Lane, way: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A late answer is never taken for the next one."""
    monkeypatch.setattr(libusb, "DRAIN_DELAY_S", 0.1)
    machine = plug(build, "TEMPerGold_V3.4", temperature=20.0, **way)
    stick = driver(lane)
    await stick.read()
    machine.stick("stick").fail("timeout", count=1)
    with pytest.raises(BadFrameError, match=Fault.NO_ANSWER):
        await stick.read()
    machine.send("stick", "808007d04e200000")
    machine.stick("stick").values["temperature"] = 30.0
    assert await stick.read() == Reading(temperature=30.0)
    device = machine.device("stick")
    count = device.reports_read
    machine.send("stick", "808007d04e200000")
    # Surplus reports are dropped after the reading.
    await until(lambda: device.reports_read > count)
    assert await stick.read() == Reading(temperature=30.0)
    await stick.close()


@pytest.mark.parametrize("way", [HIDRAW, LIBUSB], ids=["hidraw", "libusb"])
async def test_old_report_before_the_answer(
    build: Build, lane: Lane, way: dict[str, Any]
) -> None:
    """An old report that looks like an answer is refused when the answer follows."""
    machine = plug(build, "TEMPerGold_V3.4", temperature=20.0, **QUICK, **way)
    stick = driver(lane)
    machine.stick("stick").fail("extra", on="values")
    with pytest.raises(BadFrameError, match=Fault.BAD_REPORT):
        await stick.read()
    machine.stick("stick").clear()
    assert await stick.read() == Reading(temperature=20.0)
    machine.stick("stick").fail("extra", on="values")
    with pytest.raises(BadFrameError, match=Fault.BAD_REPORT):
        await stick.read()
    machine.stick("stick").clear()
    machine.stick("stick").values["temperature"] = 30.0
    assert await stick.read() == Reading(temperature=30.0)
    await stick.close()


@pytest.mark.parametrize("way", [HIDRAW, LIBUSB], ids=["hidraw", "libusb"])
async def test_old_report_close_to_the_answer(
    build: Build, lane: Lane, way: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An old report with a plausible value is found by the answer that follows it."""
    monkeypatch.setattr(libusb, "DRAIN_DELAY_S", 0.1)
    near = round(STALE_TEMPERATURE + STEP_LIMITS["temperature"] / 2, 2)
    machine = plug(build, "TEMPerGold_V3.4", temperature=near, **QUICK, **way)
    stick = driver(lane)
    await stick.read()
    machine.stick("stick").fail("extra", on="values")
    count = machine.device("stick").reports_read
    assert await stick.read() == Reading(temperature=STALE_TEMPERATURE)
    # The surplus report has arrived by now.
    await until(lambda: machine.device("stick").reports_read == count + 2)
    with pytest.raises(BadFrameError, match=Fault.BAD_REPORT):
        await stick.read()
    machine.stick("stick").clear()
    assert await stick.read() == Reading(temperature=near)
    await stick.close()


async def test_new_driver_reads_in_one_exchange(
    build: Build, lane: Lane, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first reading of a new driver is compared with the last one of the old."""
    machine = plug(build, "TEMPerGold_V3.4", temperature=20.0, **QUICK)
    stick = driver(lane)
    await stick.read()
    await stick.close()
    machine.stick("stick").commands.clear()
    monkeypatch.setattr(temper, "ANSWER_END_S", 3600)
    again = driver(lane)
    reading = await asyncio.wait_for(again.read(), MAX_WAIT_S)
    assert reading == Reading(temperature=20.0)
    assert commands(machine) == (0, 1)
    await again.close()


async def test_jump(build: Build, lane: Lane) -> None:
    """A real jump of a value is a reading, and so is a probe that comes or goes."""
    machine = plug(build, "TEMPer2_V3.9", temperature=20.0, external_temperature=None)
    stick = driver(lane)
    for internal, external in ((20.0, None), (20.1, None), (35.0, None), (35.0, -5.0)):
        values = {"temperature": internal, "external_temperature": external}
        machine.stick("stick").values |= values
        assert await stick.read() == Reading(
            internal_temperature=internal, external_temperature=external
        )
    await stick.close()


async def test_empty_slot_after_the_values(build: Build, lane: Lane) -> None:
    """An empty slot that some sticks report after the values casts no doubt."""
    plug(build, "TEMPerX_V3.1", temperature=20.0, humidity=50.0, layout="both_x")
    stick = driver(lane)
    assert await stick.read() == Reading(temperature=20.0, humidity=50.0)
    await stick.close()


async def test_other_device_at_the_place(
    build: Build, lane: Lane, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another device in the port of a stick is not opened."""
    pedal = MODELS["pedal 413d"]
    gadget = replace(pedal.gadget, interfaces=(KEYBOARD, KEYBOARD))
    monkeypatch.setitem(MODELS, "pedal 413d", replace(pedal, gadget=gadget))
    machine = plug(build, "pedal 413d")
    with pytest.raises(DeviceNotFoundError, match=Fault.STICK_NOT_FOUND):
        await driver(lane).read()
    assert not machine.stick("stick").commands


async def test_cancelled_reading(build: Build, lane: Lane) -> None:
    """A cancelled reading leaves nothing behind for the next one."""
    machine = plug(build, "TEMPerGold_V3.4", temperature=20.0)
    stick = driver(lane)
    await stick.read()
    machine.stick("stick").fail("timeout", count=1)
    reading = asyncio.create_task(stick.read())
    await until(lambda: commands(machine) == (1, 2))
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert lane.failing
    assert await stick.read() == Reading(temperature=20.0)
    await stick.close()


async def test_replugged(build: Build, lane: Lane) -> None:
    """An unplugged stick is reported at once, and found again after a replug."""
    machine = plug(build, "TEMPerGold_V3.4", temperature=20.0)
    gone = asyncio.Event()
    stick = driver(lane, on_gone=gone.set)
    await stick.read()
    machine.unplug("stick")
    await gone.wait()
    for _ in range(2):
        with pytest.raises(DeviceNotFoundError, match=Fault.STICK_NOT_FOUND):
            await stick.read()
    machine.plug("stick")
    assert await stick.read() == Reading(temperature=20.0)
    await stick.close()


async def test_unplugged_while_reading(build: Build, lane: Lane) -> None:
    """A stick that is unplugged during a reading costs this reading."""
    machine = plug(build, "TEMPerGold_V3.4", temperature=20.0)
    stick = driver(lane)
    await stick.read()
    machine.stick("stick").fail("timeout")
    reading = asyncio.create_task(stick.read())
    await until(lambda: commands(machine) == (1, 2))
    machine.unplug("stick")
    with pytest.raises(DeviceNotFoundError, match=Fault.STICK_NOT_FOUND):
        await reading


async def test_identify_releases_the_stick(
    build: Build, lane: Lane, workers: Workers
) -> None:
    """An identified stick is free for other programs."""
    machine = plug(build, "TEMPerGold_V3.4", temperature=20.0)
    stick = driver(lane)
    assert await stick.identify() == "TEMPerGold_V3.4"
    assert commands(machine) == (1, 0)
    other = driver(Lane(workers))
    await other.read()
    with pytest.raises(DeviceAccessError, match=Fault.IN_USE):
        await stick.identify()
    await other.close()
