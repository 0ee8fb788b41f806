"""The Go!Temp, which most kernels leave to libusb."""

import asyncio

from hypothesis import given
from hypothesis import strategies as st
import pytest

from custom_components.temperature_logger.drivers import (
    DriverError,
    Fault,
    Reading,
    Workers,
)
from custom_components.temperature_logger.drivers.errors import BadFrameError
from custom_components.temperature_logger.drivers.places import UsbPlace
from custom_components.temperature_logger.drivers.usb import gotemp, stream
from custom_components.temperature_logger.drivers.usb.gotemp import GoTemp, GoTempStream
from custom_components.temperature_logger.drivers.usb.stream import Stream
from custom_components.temperature_logger.drivers.workers import Lane
from emulation.machine import Machine
from tests.drivers.conftest import AsNobody, Build
from tests.drivers.waiting import until

CONTROLLER = "pci0000:00/0000:00:14.0"
PROBE = {"name": "probe", "model": "Go!Temp", "temperature": 20.5}


@pytest.fixture(name="machine")
def machine_fixture(build: Build, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """Plug in a Go!Temp."""
    monkeypatch.setattr(stream, "LIBUSB_TIMEOUTS_S", (0.3,) * 4)
    return build(PROBE)


def driver(lane: Lane) -> Stream:
    """Return the driver of the probe."""
    return GoTempStream(lane, UsbPlace(CONTROLLER, "1"), {})


async def fault_of(probe: Stream) -> Fault:
    """Return the fault that a poll raises."""
    with pytest.raises(DriverError) as raised:
        await probe.read()
    return raised.value.fault


def report(counter: int, *codes: int, count: int | None = None) -> bytes:
    """Return a report."""
    head = bytes((len(codes) if count is None else count, counter))
    values = b"".join(code.to_bytes(2, "little", signed=True) for code in codes)
    return (head + values).ljust(8, b"\0")


def reading(*reports: bytes) -> Reading | None:
    """Return the reading in these reports."""
    probe = GoTemp()
    for frame in reports:
        probe.feed(frame, 0)
    return probe.reading(0)


async def test_read(machine: Machine, lane: Lane) -> None:
    """Each poll takes the device from its driver, listens, and gives it back."""
    probe = driver(lane)
    assert await probe.read() == Reading(temperature=20.5)
    device = machine.device("probe")
    assert list(device.claims) == [0]
    assert probe.identity.model == "Go!Temp"
    assert probe.raw["reports"].count(" / ") >= 1
    assert not lane.failing
    machine.stick("probe").values["temperature"] = -4.25
    assert await probe.read() == Reading(temperature=-4.25)
    assert device.calls["open"] == 1
    await probe.close()
    assert list(device.bound) == [0]
    assert not device.calls["set_configuration"]


async def test_read_through_hidraw(
    build: Build, lane: Lane, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a kernel without ldusb the device has a hidraw node, which is read."""
    monkeypatch.setattr(stream, "VALUES_TIMEOUT_S", 0.5)
    machine = build(PROBE | {"model": "Go!Temp (usbhid)"})
    probe = driver(lane)
    assert await probe.read() == Reading(temperature=20.5)
    assert list(machine.device("probe").bound) == [0]
    assert not machine.device("probe").calls
    machine.stick("probe").fail("silent")
    monkeypatch.setattr(gotemp, "GOTEMP_MAX_AGE_S", -1)  # Whatever has come is too old.
    assert await fault_of(probe) is Fault.NO_ANSWER
    await probe.close()


async def test_queued_report_is_from_before(
    build: Build, lane: Lane, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second reading does not use a report that the kernel has queued."""
    monkeypatch.setattr(stream, "VALUES_TIMEOUT_S", 0.5)
    machine = build(PROBE | {"model": "Go!Temp (usbhid)"})
    probe = driver(lane)
    await probe.read()
    machine.stick("probe").fail("silent")
    last = bytes.fromhex(probe.raw["reports"].rpartition(" / ")[2])
    # The event loop cannot read it before the second reading begins.
    machine.send("probe", report((last[1] + 1) % 256, 60 * 128).hex())
    with pytest.raises(BadFrameError, match=Fault.NO_ANSWER):
        await probe.read_again()
    assert bytes.fromhex(probe.raw["reports"].rpartition(" / ")[2])[3] == 30
    machine.stick("probe").clear()
    assert await probe.read() == Reading(temperature=20.5)
    await probe.close()


async def test_report_from_before_the_poll_is_old(machine: Machine, lane: Lane) -> None:
    """A report that waited in the device since the last poll is not published."""
    probe = driver(lane)
    await probe.read()
    device = machine.device("probe")
    await until(lambda: bool(device.endpoint.reports))  # It reads 20.5 °C.
    machine.stick("probe").values["temperature"] = 60.0
    assert await probe.read() == Reading(temperature=60.0)
    await probe.close()


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ("silent", Fault.NO_ANSWER),
        ("stuck", Fault.NO_ANSWER),
        ("zero", Fault.BAD_REPORT),
        ("ff", Fault.BAD_REPORT),
        ("short", Fault.BAD_REPORT),
    ],
)
async def test_faults(
    machine: Machine, lane: Lane, fault: str, expected: Fault
) -> None:
    """An invalid or repeated report gives no value; the next poll is right."""
    machine.stick("probe").fail(fault)
    probe = driver(lane)
    assert await fault_of(probe) is expected
    assert lane.failing
    machine.stick("probe").clear()
    assert await probe.read() == Reading(temperature=20.5)
    await probe.close()


async def test_unplugged(machine: Machine, lane: Lane) -> None:
    """The next poll notices an unplug; the poll after a replug gives a reading."""
    probe = driver(lane)
    await probe.read()
    machine.unplug("probe")
    assert await fault_of(probe) is Fault.STICK_NOT_FOUND
    assert await fault_of(probe) is Fault.STICK_NOT_FOUND
    machine.plug("probe")
    assert await probe.read() == Reading(temperature=20.5)
    await probe.close()


async def test_unplugged_while_waiting(
    build: Build, lane: Lane, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A poll that waits for a report fails when the device is unplugged."""
    monkeypatch.setattr(stream, "LIBUSB_TIMEOUTS_S", (10.0,))
    machine = build(PROBE | {"fault": "silent"})
    calls = machine.device("probe").calls
    poll = asyncio.create_task(fault_of(driver(lane)))
    # The first call finds that no report waits.
    await until(lambda: calls["interrupt_in"] > 1)
    machine.unplug("probe")
    assert await poll is Fault.STICK_NOT_FOUND


async def test_stalled_endpoint(machine: Machine, lane: Lane) -> None:
    """A stall is cleared once; a lasting stall is an error until a replug."""
    probe = driver(lane)
    machine.stick("probe").halted.add(0x81)
    assert await probe.read() == Reading(temperature=20.5)
    await probe.close()


async def test_in_use(machine: Machine, lane: Lane, workers: Workers) -> None:
    """The error names the other program that claimed the device."""
    first, second = driver(lane), driver(Lane(workers))
    await first.read()
    assert await fault_of(second) is Fault.IN_USE
    await first.close()
    assert await second.read() == Reading(temperature=20.5)
    await second.close()


async def test_no_permission(build: Build, lane: Lane, as_nobody: AsNobody) -> None:
    """The error names the node that may not be opened."""
    build(PROBE | {"usbfs_mode": "600"})
    with as_nobody():
        assert await fault_of(driver(lane)) is Fault.NO_PERMISSION


def test_counter() -> None:
    """Only a report with the next counter is new."""
    assert reading(report(7, 2624)) is None
    assert reading(report(7, 128), report(8, 256)) == Reading(temperature=2.0)
    assert reading(report(7, 128), report(90, 256)) is None
    assert reading(report(7, 128), report(90, 256), report(91, 384)) == Reading(
        temperature=3.0
    )
    assert reading(report(255, 128), report(0, 256)) == Reading(temperature=2.0)
    assert reading(report(7, 128), report(7, 128)) is None


def test_age() -> None:
    """A report is valid for some seconds."""
    probe = GoTemp()
    for now, counter in ((0, 1), (1, 2)):
        probe.feed(report(counter, 256), now)
    assert probe.reading(6) == Reading(temperature=2.0)
    assert probe.reading(6.5) is None


def test_several_values() -> None:
    """A report can have up to three values; the last is the latest."""
    assert reading(report(0, 0), report(1, 128, 256, 384)) == Reading(temperature=3.0)


@pytest.mark.parametrize("wrong", [b"", report(1, count=0), report(1, 1, count=4)])
def test_no_report(wrong: bytes) -> None:
    """A report without the number of its values is rejected."""
    with pytest.raises(BadFrameError) as raised:
        reading(wrong)
    assert raised.value.fault is Fault.BAD_REPORT


@pytest.mark.parametrize("code", [-1281, 14081, 32767, -32768])
def test_out_of_range(code: int) -> None:
    """A temperature outside of the -10 to 110 °C of the probe is rejected."""
    with pytest.raises(BadFrameError) as raised:
        reading(report(0, 0), report(1, code))
    assert raised.value.fault is Fault.OUT_OF_RANGE


def test_no_sensor() -> None:
    """All ones are not a temperature; 0.00 °C and its neighbours are."""
    with pytest.raises(BadFrameError) as raised:
        reading(report(0, 0), report(1, -1))
    assert raised.value.fault is Fault.BAD_REPORT
    for code in (0, -8, 8):
        expected = Reading(temperature=code / 128)
        assert reading(report(0, 0), report(1, code)) == expected


def test_valid_value_wins() -> None:
    """A temperature counts until it is too old, also if an invalid one follows."""
    assert reading(report(0, 0), report(1, 128, 14081)) == Reading(temperature=1.0)
    probe = GoTemp()
    for now, frame in ((0, report(0, 0)), (1, report(1, 128)), (6, report(2, 14081))):
        probe.feed(frame, now)
    assert probe.reading(6) == Reading(temperature=1.0)
    with pytest.raises(BadFrameError, match=Fault.OUT_OF_RANGE):
        probe.reading(6.5)


def test_renewed() -> None:
    """After a renewal only a new report counts; the counter is kept."""
    probe = GoTemp()
    for now, frame in enumerate((report(0, 0), report(1, 128))):
        probe.feed(frame, now)
    probe.renew(1)
    assert probe.reading(1) is None
    probe.feed(report(2, 256), 2)
    assert probe.reading(2) == Reading(temperature=2.0)


def frames() -> st.SearchStrategy[bytes]:
    """Return reports, many of them valid."""
    codes = st.lists(st.integers(-1500, 14500), min_size=1, max_size=3)
    whole = st.builds(lambda n, codes: report(n, *codes), st.integers(0, 3), codes)
    return st.one_of(whole, whole, st.binary(max_size=9))


@given(st.lists(frames(), max_size=20))
def test_any_bytes(reports: list[bytes]) -> None:
    """Any bytes give a value that the probe can measure, or an error."""
    probe = GoTemp()
    for frame in reports:
        try:
            probe.feed(frame, 0)
            result = probe.reading(0)
        except BadFrameError:
            continue
        if result is not None:
            assert result.temperature is not None
            assert -10 <= result.temperature <= 110
