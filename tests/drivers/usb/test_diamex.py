"""The reports of an adapter for DS18B20 probes."""

from pathlib import Path
import tomllib
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
import pytest

from custom_components.temperature_logger.drivers import DriverError, Fault, Reading
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
ONE, TWO = "285ebf799715039b", "28aa11e24b14010b"
ADAPTER: dict[str, Any] = {
    "name": "adapter",
    "model": "Temp-Sensor-Tester",
    "probes": {ONE: 24.7, TWO: -6.5},
}


def report(count: int, number: int, tenths: int, rom: str = ONE) -> bytes:
    """Return a report."""
    head = bytes((count, number, 1, 0)) + tenths.to_bytes(2, "little", signed=True)
    return (head + bytes(2) + bytes.fromhex(rom)).ljust(64, b"\0")


def taken(*reports: bytes) -> Diamex:
    """Return an adapter that has sent these reports."""
    adapter = Diamex()
    for one in reports:
        adapter.feed(one, 0)
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
    """What real probes were seen to say is read."""
    adapter = taken(*map(bytes.fromhex, capture["reports"]))
    found = adapter.reading(0)
    assert found is not None
    assert found.values == capture["reading"]
    assert set(adapter.quantities) == set(capture["reading"])


async def test_read(machine: Machine, lane: Lane) -> None:
    """The first reading has all probes, and each is known by its code."""
    adapter = driver(lane)
    assert adapter.quantities == ()
    assert await adapter.read() == Reading(probes={ONE: 24.7, TWO: -6.5})
    assert adapter.quantities == (f"{ONE}_temperature", f"{TWO}_temperature")
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
    """Where no probe says what can be there is no reading; then there is one again."""
    machine = build(ADAPTER | {"fault": fault})
    adapter = driver(lane)
    with pytest.raises(DriverError) as raised:
        await adapter.read()
    assert raised.value.fault is expected
    machine.stick("adapter").clear()
    # A probe that was refused may come later.
    both = await first(adapter.read, lambda reading: len(reading.probes) == 2)
    assert both == Reading(probes={ONE: 24.7, TWO: -6.5})
    await adapter.close()


async def test_probe_is_taken_away_and_put_back(machine: Machine, lane: Lane) -> None:
    """A probe that is not reported any more has no value, not its last one."""
    adapter = driver(lane)
    await adapter.read()
    machine.stick("adapter").values[ONE] = None
    one = await first(adapter.read, lambda reading: len(reading.probes) == 1)
    assert one == Reading(probes={TWO: -6.5})
    machine.stick("adapter").values[ONE] = 25.0
    both = await first(adapter.read, lambda reading: len(reading.probes) == 2)
    assert both == Reading(probes={ONE: 25.0, TWO: -6.5})
    await adapter.close()


@pytest.mark.parametrize(
    "spec",
    [{"product": "Teensyduino RawHID"}, {"manufacturer": "PJRC"}],
)
async def test_what_only_shares_the_id(
    build: Build, lane: Lane, spec: dict[str, str]
) -> None:
    """What somebody else built with a Teensy is not opened."""
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
    """Numbers have to fit, and the code has to be that of a DS18B20."""
    with pytest.raises(BadFrameError) as raised:
        taken(wrong)
    assert raised.value.fault is Fault.BAD_REPORT


@pytest.mark.parametrize("tenths", [-551, 1251, -1270, 32767])
def test_out_of_range(tenths: int) -> None:
    """A DS18B20 measures -55 to 125 °C."""
    with pytest.raises(BadFrameError) as raised:
        taken(report(1, 1, tenths))
    assert raised.value.fault is Fault.OUT_OF_RANGE


def test_85_degrees() -> None:
    """85 °C is believed of a probe that was nearly there just before."""
    adapter = taken(report(1, 1, 848))
    adapter.feed(report(1, 1, 850), 1)
    assert adapter.reading(1) == Reading(probes={ONE: 85.0})
    for before in ((report(1, 1, 200),), (), (report(1, 1, 848, TWO),)):
        with pytest.raises(BadFrameError) as raised:
            taken(*before, report(1, 1, 850))
        assert raised.value.fault is Fault.PROBE_RESET
        assert raised.value.details == {"probe": ONE}
    adapter = taken(report(1, 1, 848))
    with pytest.raises(BadFrameError):
        adapter.feed(report(1, 1, 850), 60)


def test_set_is_whole() -> None:
    """All probes of a count have to be there, each once."""
    assert Diamex().reading(0) is None
    assert taken(report(2, 1, 200)).reading(0) is None
    assert taken(report(2, 1, 200), report(2, 2, 210)).reading(0) is None
    whole = taken(report(2, 1, 200), report(2, 2, 210, TWO))
    assert whole.reading(0) == Reading(probes={ONE: 20.0, TWO: 21.0})
    # Renumbered, as another one was put before them.
    whole.feed(report(3, 2, 201), 0)
    assert whole.reading(0) is None
    # Another probe under the same number.
    other = taken(report(1, 1, 200), report(1, 1, 210, TWO))
    assert other.reading(0) == Reading(probes={TWO: 21.0})


def test_age() -> None:
    """A value that is too old is left out; with more probes it may be older."""
    limit = DIAMEX_MAX_AGE_S + 2 * EXTRA_AGE_PER_PROBE_S
    adapter = taken(report(2, 1, 200), report(2, 2, 210, TWO))
    adapter.feed(report(2, 1, 200), 1)
    assert adapter.reading(limit) == Reading(probes={ONE: 20.0, TWO: 21.0})
    assert adapter.reading(limit + 1) == Reading(probes={ONE: 20.0})
    assert adapter.reading(limit + 2) is None


def test_bad_probe_costs_the_others_nothing() -> None:
    """What one probe says that cannot be is left out until it is right again."""
    adapter = taken(report(2, 1, 200))
    with pytest.raises(BadFrameError, match=Fault.PROBE_RESET):
        adapter.feed(report(2, 2, 850, TWO), 0)
    assert adapter.reading(0) == Reading(probes={ONE: 20.0})
    adapter.feed(report(2, 2, 210, TWO), 1)
    assert adapter.reading(1) == Reading(probes={ONE: 20.0, TWO: 21.0})


def test_many_probes() -> None:
    """Those that have reported do not wait for the others longer than a poll may."""
    adapter = taken(report(20, 1, 200))
    assert adapter.reading(ALL_PROBES_TIMEOUT_S - 0.1) is None
    assert adapter.reading(ALL_PROBES_TIMEOUT_S) == Reading(probes={ONE: 20.0})


def test_crc() -> None:
    """The example of Maxim's application note 27."""
    assert crc(bytes.fromhex("021cb801000000")) == 0xA2
    assert crc(bytes.fromhex("021cb801000000a2")) == 0


ROMS = st.binary(min_size=6, max_size=6).map(
    lambda serial: b"\x28" + serial + bytes((crc(b"\x28" + serial),))
)


def frames() -> st.SearchStrategy[bytes]:
    """Return reports of which many are right."""
    whole = st.builds(
        lambda count, number, tenths, rom: report(count, number, tenths, rom.hex()),
        st.integers(0, 3),
        st.integers(0, 3),
        st.one_of(st.integers(-600, 1300), st.just(850)),
        st.one_of(ROMS, st.sampled_from([ONE, TWO]).map(bytes.fromhex)),
    )
    return st.one_of(whole, whole, st.binary(max_size=65))


@given(st.lists(frames(), max_size=20))
def test_any_bytes(reports: list[bytes]) -> None:
    """Whatever comes is a value that a probe can measure, or an error."""
    adapter = Diamex()
    for now, one in enumerate(reports):
        try:
            adapter.feed(one, now)
        except BadFrameError:
            continue
        if (found := adapter.reading(now)) is not None:
            assert all(-55 <= value <= 125 for value in found.probes.values())
            assert set(found.values) == set(adapter.quantities)
