"""The reports of an EL-USB-RT."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
import pytest

from custom_components.temperature_logger.drivers import DriverError, Fault, Reading
from custom_components.temperature_logger.drivers.errors import BadFrameError
from custom_components.temperature_logger.drivers.places import UsbPlace
from custom_components.temperature_logger.drivers.usb import stream
from custom_components.temperature_logger.drivers.usb.lascar import (
    LASCAR_MAX_AGE_S,
    Lascar,
    LascarStream,
)
from custom_components.temperature_logger.drivers.workers import Lane
from emulation.machine import Machine
from tests.drivers.conftest import AsNobody, Build
from tests.drivers.waiting import first

CONTROLLER = "pci0000:00/0000:00:14.0"
SENSOR: dict[str, Any] = {
    "name": "sensor",
    "model": "EL-USB-RT",
    "temperature": -12.5,
    "humidity": 49.5,
}
READING = Reading(temperature=-12.5, humidity=49.5)
WARM, HUMID = bytes.fromhex("03a508"), bytes.fromhex("0263")


@pytest.fixture(autouse=True)
def short_timeouts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the waits to what an emulated device needs."""
    monkeypatch.setattr(stream, "VALUES_TIMEOUT_S", 0.5)
    monkeypatch.setattr(stream, "LIBUSB_TIMEOUTS_S", (0.3,) * 4)


def driver(lane: Lane) -> stream.Stream:
    """Return the driver of the sensor."""
    return LascarStream(lane, UsbPlace(CONTROLLER, "1"), {})


def is_bound(machine: Machine) -> bool:
    """Return whether the kernel's driver is bound to the device."""
    return list(machine.device("sensor").bound) == [0]


@pytest.mark.parametrize("way", [{}, {"bound": False}], ids=["hidraw", "libusb"])
async def test_read(build: Build, lane: Lane, way: dict[str, Any]) -> None:
    """A reading has both values; a device with a hidraw node keeps its driver."""
    machine = build(SENSOR | way)
    sensor = driver(lane)
    assert await sensor.read() == READING
    assert is_bound(machine) is not bool(way)
    assert sensor.quantities == ("temperature", "humidity")
    machine.stick("sensor").values["humidity"] = 51.0
    await first(sensor.read, lambda reading: reading.humidity == 51.0)
    await sensor.close()


async def test_no_permission(build: Build, lane: Lane, as_nobody: AsNobody) -> None:
    """Libusb reads the device where only its node is permitted; else it is an error."""
    sensor = driver(lane)
    with as_nobody():
        machine = build(SENSOR | {"hidraw_mode": "000"})
        assert await sensor.read() == READING
    assert not is_bound(machine)
    await sensor.close()
    assert is_bound(machine)
    machine.permit("sensor", hidraw=0, usbfs=0)
    with as_nobody(), pytest.raises(DriverError) as raised:
        await sensor.read()
    assert raised.value.fault is Fault.NO_PERMISSION


@pytest.mark.parametrize("way", [{}, {"bound": False}], ids=["hidraw", "libusb"])
@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ("silent", Fault.NO_ANSWER),
        ("gap", Fault.NO_ANSWER),
        ("zero", Fault.BAD_REPORT),
        ("ff", Fault.BAD_REPORT),
    ],
)
async def test_faults(
    build: Build, lane: Lane, fault: str, expected: Fault, way: dict[str, Any]
) -> None:
    """Half a reading is refused; the next one is right."""
    machine = build(SENSOR | way | {"fault": fault})
    sensor = driver(lane)
    with pytest.raises(DriverError) as raised:
        await sensor.read()
    assert raised.value.fault is expected
    machine.stick("sensor").clear()
    assert await sensor.read() == READING
    await sensor.close()


def received(*reports: bytes) -> Lascar:
    """Return the driver's decoder after it has received these reports."""
    sensor = Lascar()
    for frame in reports:
        sensor.feed(frame, 0)
    return sensor


def test_both_values_are_needed() -> None:
    """Each value has a report of its own, with or without padding."""
    assert received(WARM).reading(0) is None
    assert received(HUMID).reading(0) is None
    expected = Reading(temperature=21.3, humidity=49.5)
    assert received(WARM, HUMID).reading(0) == expected
    assert received(HUMID + bytes(6), WARM + bytes(5)).reading(0) == expected


def test_age() -> None:
    """Each value has an age of its own."""
    sensor = received(WARM, HUMID)
    sensor.feed(WARM, 1)
    assert sensor.reading(LASCAR_MAX_AGE_S) is not None
    assert sensor.reading(LASCAR_MAX_AGE_S + 1) is None


@pytest.mark.parametrize("wrong", ["", "03", "03a5", "02", "01a508", "ffffff"])
def test_no_report(wrong: str) -> None:
    """The first byte gives the kind of a report, and with it the length."""
    with pytest.raises(BadFrameError) as raised:
        received(bytes.fromhex(wrong))
    assert raised.value.fault is Fault.BAD_REPORT


@pytest.mark.parametrize("wrong", ["030000", "03ffff", "033b06", "03230b"])
def test_out_of_range(wrong: str) -> None:
    """A temperature that the sensor cannot measure costs itself."""
    reading = received(HUMID, bytes.fromhex(wrong)).reading(0)
    assert reading is not None
    assert reading.values == {"humidity": 49.5}
    assert reading.faults["temperature"].fault is Fault.OUT_OF_RANGE


@pytest.mark.parametrize(
    ("wrong", "fault"),
    [
        ("0200", Fault.BAD_REPORT),
        ("02dd", Fault.OUT_OF_RANGE),
        ("02ff", Fault.OUT_OF_RANGE),
    ],
)
def test_invalid_humidity(wrong: str, fault: Fault) -> None:
    """A humidity that the sensor cannot measure costs itself."""
    reading = received(WARM, bytes.fromhex(wrong)).reading(0)
    assert reading is not None
    assert reading.values == {"temperature": 21.3}
    assert reading.faults["humidity"].fault is fault


def test_humidity_above_100() -> None:
    """A humidity of a little more than 100 % is 100 %."""
    reading = received(WARM, bytes.fromhex("02dc")).reading(0)
    assert reading == Reading(temperature=21.3, humidity=100.0)


def test_no_valid_value() -> None:
    """Without a valid value there is no reading."""
    sensor = received(bytes.fromhex("030000"), bytes.fromhex("0200"))
    with pytest.raises(BadFrameError, match=Fault.OUT_OF_RANGE):
        sensor.reading(0)


def test_valid_value_wins() -> None:
    """A value counts until it is too old, also if an invalid one follows."""
    sensor = received(WARM, HUMID)
    sensor.feed(bytes.fromhex("0200"), LASCAR_MAX_AGE_S)
    sensor.feed(WARM, LASCAR_MAX_AGE_S)
    expected = Reading(temperature=21.3, humidity=49.5)
    assert sensor.reading(LASCAR_MAX_AGE_S) == expected
    later = sensor.reading(LASCAR_MAX_AGE_S + 1)
    assert later is not None
    assert later.values == {"temperature": 21.3}
    assert set(later.faults) == {"humidity"}


def test_renewed() -> None:
    """After a renewal only new reports count."""
    sensor = received(WARM, HUMID)
    sensor.renew(0)
    sensor.feed(WARM, 0)
    assert sensor.reading(0) is None
    sensor.feed(HUMID, 0)
    assert sensor.reading(0) == Reading(temperature=21.3, humidity=49.5)


def frames() -> st.SearchStrategy[bytes]:
    """Return reports, many of them valid."""
    warm = st.integers(1500, 3000).map(lambda code: b"\3" + code.to_bytes(2, "little"))
    humid = st.integers(0, 255).map(lambda code: bytes((2, code)))
    return st.one_of(warm, humid, st.binary(max_size=9))


@given(st.lists(frames(), max_size=20))
def test_any_bytes(reports: list[bytes]) -> None:
    """Any bytes give a value that the sensor can measure, or an error."""
    sensor = Lascar()
    for now, frame in enumerate(reports):
        try:
            sensor.feed(frame, now)
            result = sensor.reading(now)
        except BadFrameError:
            continue
        if result is not None:
            assert result.values.keys() | result.faults.keys() == set(sensor.quantities)
            assert -40 <= result.values.get("temperature", 0) <= 85
            assert 0 <= result.values.get("humidity", 0) <= 100
