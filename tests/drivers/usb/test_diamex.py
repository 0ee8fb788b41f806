"""The reports of an adapter for DS18B20 probes."""

from pathlib import Path
import tomllib
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
import pytest

from custom_components.temperature_logger.drivers import (
    DriverError,
    Fault,
    Invalid,
    Reading,
    probe_quantity,
)
from custom_components.temperature_logger.drivers.errors import BadFrameError
from custom_components.temperature_logger.drivers.places import UsbPlace
from custom_components.temperature_logger.drivers.usb import stream
from custom_components.temperature_logger.drivers.usb.diamex import (
    ALL_PROBES_TIMEOUT_S,
    DIAMEX_MAX_AGE_S,
    EXTRA_AGE_PER_PROBE_S,
    Diamex,
    DiamexStream,
    crc,
)
from custom_components.temperature_logger.drivers.usb.models import thermometers
from custom_components.temperature_logger.drivers.workers import Lane
from emulation.machine import Machine
from tests.drivers.conftest import Build
from tests.drivers.waiting import first

CAPTURES: list[dict[str, Any]] = [
    capture
    for capture in tomllib.loads(
        (Path(__file__).parents[2] / "fixtures/streams.toml").read_text()
    )["capture"]
    if capture["driver"] == "diamex"
]
CONTROLLER = "pci0000:00/0000:00:14.0"
FIRST_ROM, SECOND_ROM = "285ebf799715039b", "28aa11e24b14010b"
ADAPTER: dict[str, Any] = {
    "name": "adapter",
    "model": "Temp-Sensor-Tester",
    "probes": {FIRST_ROM: 24.7, SECOND_ROM: -6.5},
}


def report(count: int, number: int, tenths: int, rom: str = FIRST_ROM) -> bytes:
    """Return a report."""
    head = bytes((count, number, 1, 0)) + tenths.to_bytes(2, "little", signed=True)
    return (head + bytes(2) + bytes.fromhex(rom)).ljust(64, b"\0")


def received(*reports: bytes) -> Diamex:
    """Return the driver's decoder after it has received these reports."""
    adapter = Diamex()
    for frame in reports:
        adapter.feed(frame, 0)
    return adapter


@pytest.fixture(name="machine")
def machine_fixture(build: Build, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """Plug in an adapter with two probes."""
    monkeypatch.setattr(stream, "VALUES_TIMEOUT_S", 0.5)
    return build(ADAPTER)


def driver(lane: Lane) -> stream.Stream:
    """Return the driver of the adapter."""
    return DiamexStream(lane, UsbPlace(CONTROLLER, "1"), {})


@pytest.mark.parametrize("capture", CAPTURES, ids=lambda capture: capture["source"])
def test_captures(capture: dict[str, Any]) -> None:
    """Reports captured from real probes are decoded."""
    adapter = received(*map(bytes.fromhex, capture["reports"]))
    result = adapter.reading(0)
    assert result is not None
    assert result.values == capture["reading"]
    assert set(adapter.quantities) == set(capture["reading"])


async def test_read(machine: Machine, lane: Lane) -> None:
    """The first reading has every probe, each named by its ROM code."""
    adapter = driver(lane)
    assert adapter.quantities == ()
    assert await adapter.read() == Reading(probes={FIRST_ROM: 24.7, SECOND_ROM: -6.5})
    assert adapter.quantities == (
        f"{FIRST_ROM}_temperature",
        f"{SECOND_ROM}_temperature",
    )
    assert adapter.identity.manufacturer == "Diamex"
    await adapter.close()


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ("wrong-checksum", Fault.BAD_REPORT),
        ("garbage", Fault.BAD_REPORT),
        ("zero", Fault.BAD_REPORT),
        ("ff", Fault.BAD_REPORT),
        ("short", Fault.BAD_REPORT),
        ("power-on", Fault.PROBE_RESET),
        ("silent", Fault.NO_ANSWER),
        ("gap", Fault.NO_ANSWER),
    ],
)
async def test_faults(
    machine: Machine, build: Build, lane: Lane, fault: str, expected: Fault
) -> None:
    """Without a plausible value there is no reading; the next good report gives one."""
    machine = build(ADAPTER | {"fault": fault})
    adapter = driver(lane)
    with pytest.raises(DriverError) as raised:
        await adapter.read()
    assert raised.value.fault is expected
    machine.stick("adapter").clear()
    # A probe whose report was refused may come later.
    both = await first(adapter.read, lambda reading: len(reading.probes) == 2)
    assert both == Reading(probes={FIRST_ROM: 24.7, SECOND_ROM: -6.5})
    await adapter.close()


async def test_probe_is_taken_away_and_put_back(machine: Machine, lane: Lane) -> None:
    """A removed probe has no value, rather than its last one."""
    adapter = driver(lane)
    await adapter.read()
    machine.stick("adapter").values[FIRST_ROM] = None
    single = await first(adapter.read, lambda reading: len(reading.probes) == 1)
    assert single == Reading(probes={SECOND_ROM: -6.5})
    machine.stick("adapter").values[FIRST_ROM] = 25.0
    both = await first(adapter.read, lambda reading: len(reading.probes) == 2)
    assert both == Reading(probes={FIRST_ROM: 25.0, SECOND_ROM: -6.5})
    await adapter.close()


@pytest.mark.parametrize(
    "spec",
    [{"product": "Teensyduino RawHID"}, {"manufacturer": "PJRC"}],
)
async def test_other_teensy_device(
    build: Build, lane: Lane, spec: dict[str, str]
) -> None:
    """Another device built with a Teensy is not opened."""
    build(ADAPTER | spec)
    assert not list(thermometers())
    with pytest.raises(DriverError) as raised:
        await driver(lane).read()
    assert raised.value.fault is Fault.STICK_NOT_FOUND


@pytest.mark.parametrize(
    "wrong",
    [
        b"",
        report(1, 1, 200)[:63],
        report(0, 0, 200),
        report(1, 0, 200),
        report(1, 2, 200),
        report(1, 1, 200, "105ebf799715039b"),
        report(1, 1, 200, "285ebf799715039c"),
        report(1, 1, 200, 16 * "0"),
    ],
)
def test_no_report(wrong: bytes) -> None:
    """A report needs matching numbers and the ROM code of a DS18B20."""
    with pytest.raises(BadFrameError) as raised:
        received(wrong)
    assert raised.value.fault is Fault.BAD_REPORT


@pytest.mark.parametrize("tenths", [-551, 1251, -1270, 32767])
def test_out_of_range(tenths: int) -> None:
    """A temperature outside of the -55 to 125 °C of a DS18B20 is rejected."""
    with pytest.raises(BadFrameError) as raised:
        received(report(1, 1, tenths)).reading(0)
    assert raised.value.fault is Fault.OUT_OF_RANGE


def test_85_degrees() -> None:
    """The power-on value of 85 °C counts only if the probe was nearly as warm."""
    adapter = received(report(1, 1, 848))
    adapter.feed(report(1, 1, 850), 1)
    assert adapter.reading(1) == Reading(probes={FIRST_ROM: 85.0})
    for before in ((), (report(1, 1, 848, SECOND_ROM),)):
        with pytest.raises(BadFrameError) as raised:
            received(*before, report(1, 1, 850)).reading(0)
        assert raised.value.fault is Fault.PROBE_RESET
        assert raised.value.details == {"probe": FIRST_ROM}
    for tenths, now in ((200, 1), (848, 60)):
        adapter = received(report(1, 1, tenths))
        adapter.feed(report(1, 1, 850), now)
        with pytest.raises(BadFrameError, match=Fault.PROBE_RESET):
            adapter.reading(now + 11)


def test_set_is_whole() -> None:
    """A reading needs a report of each probe of the set."""
    assert Diamex().reading(0) is None
    assert received(report(2, 1, 200)).reading(0) is None
    assert received(report(2, 1, 200), report(2, 2, 210)).reading(0) is None
    whole = received(report(2, 1, 200), report(2, 2, 210, SECOND_ROM))
    assert whole.reading(0) == Reading(probes={FIRST_ROM: 20.0, SECOND_ROM: 21.0})
    # The probes were renumbered because another one was put before them.
    whole.feed(report(3, 2, 201), 0)
    assert whole.reading(0) is None
    # Another probe has the same number.
    other = received(report(1, 1, 200), report(1, 1, 210, SECOND_ROM))
    assert other.reading(0) == Reading(probes={SECOND_ROM: 21.0})


def test_age() -> None:
    """A silent probe is a fault; more probes allow their values a greater age."""
    limit = DIAMEX_MAX_AGE_S + 2 * EXTRA_AGE_PER_PROBE_S
    adapter = received(report(2, 1, 200), report(2, 2, 210, SECOND_ROM))
    adapter.feed(report(2, 1, 200), 1)
    assert adapter.reading(limit) == Reading(probes={FIRST_ROM: 20.0, SECOND_ROM: 21.0})
    assert adapter.reading(limit + 1) == Reading(
        probes={FIRST_ROM: 20.0},
        faults={probe_quantity(SECOND_ROM): Invalid.of(Fault.NO_ANSWER)},
    )
    assert adapter.reading(limit + 2) is None


def test_bad_probe_does_not_affect_the_others() -> None:
    """An implausible probe has a fault until it is right; the others are read."""
    adapter = received(report(2, 1, 200), report(2, 2, 850, SECOND_ROM))
    quantity = f"{SECOND_ROM}_temperature"
    fault = Invalid.of(Fault.PROBE_RESET, probe=SECOND_ROM)
    expected = Reading(probes={FIRST_ROM: 20.0}, faults={quantity: fault})
    assert adapter.reading(0) == expected
    assert quantity in adapter.quantities
    adapter.feed(report(2, 2, 210, SECOND_ROM), 1)
    assert adapter.reading(1) == Reading(probes={FIRST_ROM: 20.0, SECOND_ROM: 21.0})


def test_valid_value_wins() -> None:
    """The value of a probe counts until it is too old, also if a bad report follows."""
    adapter = received(report(1, 1, 200))
    adapter.feed(report(1, 1, 850), 11)
    with pytest.raises(BadFrameError):
        adapter.feed(report(1, 1, 850, "285ebf799715039c"), 11)
    assert adapter.reading(11) == Reading(probes={FIRST_ROM: 20.0})


def test_malformed_report_is_not_waited_for() -> None:
    """A probe whose reports are malformed does not hold up the others."""
    adapter = received(report(2, 1, 200))
    with pytest.raises(BadFrameError, match=Fault.BAD_REPORT):
        adapter.feed(report(2, 2, 850, "285ebf799715039c"), 0)
    assert adapter.reading(0) == Reading(probes={FIRST_ROM: 20.0})


def test_renewed() -> None:
    """After a renewal only new reports count, but 85 °C may follow an older value."""
    adapter = received(report(2, 1, 848), report(2, 2, 210, SECOND_ROM))
    adapter.renew(1)
    adapter.feed(report(2, 1, 850), 2)
    assert adapter.reading(2) is None
    adapter.feed(report(2, 2, 220, SECOND_ROM), 3)
    assert adapter.reading(3) == Reading(probes={FIRST_ROM: 85.0, SECOND_ROM: 22.0})


def test_many_probes() -> None:
    """A poll that has run for its full time returns the probes that have reported."""
    adapter = received(report(20, 1, 200))
    assert adapter.reading(ALL_PROBES_TIMEOUT_S - 0.1) is None
    assert adapter.reading(ALL_PROBES_TIMEOUT_S) == Reading(probes={FIRST_ROM: 20.0})


def test_crc() -> None:
    """The CRC is that of the example in Maxim's application note 27."""
    assert crc(bytes.fromhex("021cb801000000")) == 0xA2
    assert crc(bytes.fromhex("021cb801000000a2")) == 0


ROMS = st.binary(min_size=6, max_size=6).map(
    lambda serial: b"\x28" + serial + bytes((crc(b"\x28" + serial),))
)


def frames() -> st.SearchStrategy[bytes]:
    """Return reports, many of them valid."""
    whole = st.builds(
        lambda count, number, tenths, rom: report(count, number, tenths, rom.hex()),
        st.integers(0, 3),
        st.integers(0, 3),
        st.one_of(st.integers(-600, 1300), st.just(850)),
        st.one_of(ROMS, st.sampled_from([FIRST_ROM, SECOND_ROM]).map(bytes.fromhex)),
    )
    return st.one_of(whole, whole, st.binary(max_size=65))


@given(st.lists(frames(), max_size=20))
def test_any_bytes(reports: list[bytes]) -> None:
    """Any bytes give values that a probe can measure, or an error."""
    adapter = Diamex()
    for now, frame in enumerate(reports):
        try:
            adapter.feed(frame, now)
            result = adapter.reading(now)
        except BadFrameError:
            continue
        if result is not None:
            assert all(-55 <= value <= 125 for value in result.probes.values())
            quantities = result.values.keys() | result.faults.keys()
            assert quantities == set(adapter.quantities)
