"""The reports of CO2 monitors, plain and encrypted."""

from pathlib import Path
import tomllib
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
import pytest

from custom_components.temperature_logger.drivers import Fault, Reading
from custom_components.temperature_logger.drivers.errors import BadFrameError
from custom_components.temperature_logger.drivers.places import UsbPlace
from custom_components.temperature_logger.drivers.usb.zytemp import (
    ENCRYPTION_KEY,
    FIRST_ROUND_TIMEOUT_S,
    FORMAT_REPORTS,
    ZYTEMP_ITEMS,
    ZYTEMP_MAX_AGE_S,
    ZyTemp,
    ZyTempStream,
    decrypt,
)
from custom_components.temperature_logger.drivers.workers import Lane
from emulation.streams import encrypted
from tests.drivers.conftest import Build
from tests.drivers.waiting import first

CAPTURES: list[dict[str, Any]] = [
    capture
    for capture in tomllib.loads(
        (Path(__file__).parents[2] / "fixtures/streams.toml").read_text()
    )["capture"]
    if capture["driver"] == "zytemp"
]
CONTROLLER = "pci0000:00/0000:00:14.0"


def report(item: int, code: int) -> bytes:
    """Return a plain report."""
    head = bytes((item, code >> 8, code & 0xFF))
    return head + bytes((sum(head) & 0xFF, 0x0D, 0, 0, 0))


OTHER_REPORT = report(0x6D, 0x0A5B)
TEMPERATURE_REPORT = report(0x42, 4720)  # 21.85 °C
CO2_REPORT = report(0x50, 812)
HUMIDITY_REPORT = report(0x41, 4550)


def reading(*reports: bytes) -> Reading | None:
    """Return the reading of reports, once they are known to be plain."""
    monitor = ZyTemp()
    for frame in [*FORMAT_REPORTS * [OTHER_REPORT], *reports]:
        monitor.feed(frame, 0)
    return monitor.reading(FIRST_ROUND_TIMEOUT_S)


@pytest.mark.parametrize("way", ["plain", "encrypted"])
@pytest.mark.parametrize("capture", CAPTURES, ids=lambda capture: capture["source"])
def test_captures(capture: dict[str, Any], way: str) -> None:
    """Reports captured from real monitors give the values that their owners saw."""
    reports = [bytes.fromhex(frame) for frame in capture["reports"]]
    if way == "encrypted":
        reports = [encrypted(frame, ENCRYPTION_KEY) for frame in reports]
    monitor = ZyTemp()
    for frame in 2 * reports:
        monitor.feed(frame, 0)
    result = monitor.reading(0)
    assert result is not None
    assert result.values == pytest.approx(capture["reading"], abs=0.005)


@pytest.mark.parametrize(
    ("report", "content"),
    [
        ("5003ba0d0d000000", "eb921c3c41d1e83d"),
        ("4212a3f70d000000", "a8b21a7c43b1e836"),
        ("410000410d000000", "74521a5c4171e844"),
    ],
)
def test_decrypted(report: str, content: str) -> None:
    """Decrypting gives the same bytes as other programs."""
    assert decrypt(bytes.fromhex(report)).hex() == content


@pytest.mark.parametrize("is_encrypted", [False, True])
async def test_both_kinds(build: Build, lane: Lane, is_encrypted: bool) -> None:  # noqa: FBT001 - one of two kinds
    """The reports show whether a monitor encrypts."""
    build(
        {
            "name": "monitor",
            "model": "USB-zyTemp",
            "temperature": 19.35,
            "humidity": 38.25,
            "co2": 1204,
            "encrypted": is_encrypted,
        }
    )
    driver = ZyTempStream(lane, UsbPlace(CONTROLLER, "1"), {})
    result = await first(driver.read, lambda result: result.humidity is not None)
    expected = {"temperature": 19.35, "humidity": 38.25, "co2": 1204}
    assert result.values == pytest.approx(expected, abs=0.04)
    await driver.close()


def test_temperature_and_co2_are_required() -> None:
    """Humidity is optional: many monitors do not measure it."""
    assert reading(TEMPERATURE_REPORT) is None
    assert reading(CO2_REPORT) is None
    result = reading(TEMPERATURE_REPORT, CO2_REPORT)
    assert result is not None
    assert result.values == pytest.approx({"temperature": 21.85, "co2": 812})


@pytest.mark.parametrize(
    ("reports", "humidity"),
    [
        ([HUMIDITY_REPORT], 45.5),
        ([report(0x41, 0)], None),
        ([report(0x44, 4550)], None),
        ([report(0x44, 4550), report(0x44, 4560)], 45.6),
        ([report(0x44, 4550), report(0x44, 4550), report(0x41, 0)], None),
        ([report(0x44, 4550), HUMIDITY_REPORT, report(0x44, 3000)], 45.5),
    ],
)
def test_humidity(reports: list[bytes], humidity: float | None) -> None:
    """A humidity of 0 % is rejected; the second code counts only without the first."""
    result = reading(TEMPERATURE_REPORT, CO2_REPORT, *reports)
    assert result is not None
    assert result.humidity == humidity


WRONG_REPORTS = pytest.mark.parametrize(
    ("quantity", "wrong"),
    [
        ("co2", report(0x50, 0)),
        ("co2", report(0x50, 10001)),
        ("co2", report(0x50, 25000)),
        ("co2", report(0x50, 37407)),
        ("temperature", report(0x42, 4000)),  # -23.15 °C
        ("temperature", report(0x42, 5400)),  # 64.35 °C
        ("humidity", report(0x41, 11001)),
    ],
)


@WRONG_REPORTS
def test_invalid_value_costs_itself(quantity: str, wrong: bytes) -> None:
    """A value out of range has a fault; the others are read."""
    result = reading(
        *(
            frame
            for frame in (TEMPERATURE_REPORT, CO2_REPORT, HUMIDITY_REPORT)
            if frame[0] != wrong[0]
        ),
        wrong,
    )
    assert result is not None
    assert result.faults[quantity].fault is Fault.OUT_OF_RANGE
    others = {"temperature", "co2", "humidity"} - {quantity}
    assert set(result.values) == others


@WRONG_REPORTS
def test_valid_value_wins(quantity: str, wrong: bytes) -> None:
    """A value counts until it is too old, also if one out of range follows."""
    before = reading(TEMPERATURE_REPORT, CO2_REPORT, HUMIDITY_REPORT)
    result = reading(TEMPERATURE_REPORT, CO2_REPORT, HUMIDITY_REPORT, wrong)
    assert before is not None
    assert before.value(quantity) is not None
    assert result == before


def test_no_valid_value() -> None:
    """Without a valid value there is no reading."""
    with pytest.raises(BadFrameError, match=Fault.OUT_OF_RANGE):
        reading(report(0x50, 25000), report(0x42, 0))


def test_co2_beyond_the_display() -> None:
    """A monitor reports a CO2 for which its display only shows "Hi"."""
    result = reading(TEMPERATURE_REPORT, report(0x50, 6228))
    assert result is not None
    assert result.co2 == 6228


def test_renewed() -> None:
    """After a renewal a new round of reports is awaited; the kind stays known."""
    monitor = ZyTemp()
    round_ = (TEMPERATURE_REPORT, CO2_REPORT, HUMIDITY_REPORT)
    for frame in (*FORMAT_REPORTS * [OTHER_REPORT], *round_, TEMPERATURE_REPORT):
        monitor.feed(encrypted(frame, ENCRYPTION_KEY), 0)
    before = monitor.reading(0)
    monitor.renew(0)
    assert monitor.reading(FIRST_ROUND_TIMEOUT_S) is None
    for frame in round_:
        assert monitor.reading(1) is None
        monitor.feed(encrypted(frame, ENCRYPTION_KEY), 1)
    monitor.feed(encrypted(TEMPERATURE_REPORT, ENCRYPTION_KEY), 1)
    assert monitor.reading(1) == before


def test_humidity_is_waited_for() -> None:
    """The first reading after opening includes the humidity, sent first or last."""
    monitor = ZyTemp()
    for now, frame in enumerate(
        (
            *FORMAT_REPORTS * [OTHER_REPORT],
            TEMPERATURE_REPORT,
            CO2_REPORT,
            HUMIDITY_REPORT,
        )
    ):
        monitor.feed(frame, now / 10)
        assert monitor.reading(now / 10) is None
    monitor.feed(TEMPERATURE_REPORT, 0.6)
    result = monitor.reading(0.6)
    assert result is not None
    assert result.humidity == 45.5


def test_age() -> None:
    """A value is valid for some seconds; humidity may end without the others."""
    monitor = ZyTemp()
    for frame in (
        *FORMAT_REPORTS * [OTHER_REPORT],
        TEMPERATURE_REPORT,
        CO2_REPORT,
        HUMIDITY_REPORT,
    ):
        monitor.feed(frame, 0)
    monitor.feed(TEMPERATURE_REPORT, ZYTEMP_MAX_AGE_S)
    monitor.feed(CO2_REPORT, ZYTEMP_MAX_AGE_S)
    whole, rest = (
        monitor.reading(ZYTEMP_MAX_AGE_S),
        monitor.reading(ZYTEMP_MAX_AGE_S + 1),
    )
    assert whole is not None
    assert whole.humidity == 45.5
    assert rest is not None
    assert rest.humidity is None
    assert monitor.reading(2 * ZYTEMP_MAX_AGE_S) is not None
    assert monitor.reading(2 * ZYTEMP_MAX_AGE_S + 1) is None


def test_kind_is_kept() -> None:
    """One encrypted report that looks like a plain one does not change the kind."""
    monitor = ZyTemp()
    for _ in range(FORMAT_REPORTS):
        monitor.feed(encrypted(OTHER_REPORT, ENCRYPTION_KEY), 0)
    with pytest.raises(BadFrameError) as raised:
        monitor.feed(CO2_REPORT, 0)
    assert raised.value.fault is Fault.BAD_REPORT
    for frame in (TEMPERATURE_REPORT, CO2_REPORT):
        monitor.feed(encrypted(frame, ENCRYPTION_KEY), 0)
    assert monitor.reading(FIRST_ROUND_TIMEOUT_S) is not None


def test_kind_needs_several_reports() -> None:
    """No value counts until the kind is known; then all earlier ones of it do."""
    monitor = ZyTemp()
    for frame in (
        TEMPERATURE_REPORT,
        encrypted(OTHER_REPORT, ENCRYPTION_KEY),
        CO2_REPORT,
        TEMPERATURE_REPORT,
    ):
        monitor.feed(frame, 0)
    assert monitor.reading(FIRST_ROUND_TIMEOUT_S) is None
    monitor.feed(OTHER_REPORT, 0)
    assert monitor.reading(FIRST_ROUND_TIMEOUT_S) is not None


def test_first_value_after_power_up() -> None:
    """A CO2 out of range is invalid until the first right one comes."""
    monitor = ZyTemp()
    for frame in (report(0x50, 25000), TEMPERATURE_REPORT, OTHER_REPORT):
        monitor.feed(frame, 0)
    result = monitor.reading(FIRST_ROUND_TIMEOUT_S)
    assert result is not None
    assert set(result.faults) == {"co2"}
    monitor.feed(CO2_REPORT, 0)
    result = monitor.reading(FIRST_ROUND_TIMEOUT_S)
    assert result is not None
    assert result.co2 == 812
    assert not result.faults


def frames() -> st.SearchStrategy[bytes]:
    """Return reports, many of them valid."""
    codes = st.integers(0, 0xFFFF)
    items = st.sampled_from([*ZYTEMP_ITEMS, 0x6D])
    whole = st.builds(report, items, codes)
    return st.one_of(
        whole,
        whole.map(lambda frame: encrypted(frame, ENCRYPTION_KEY)),
        st.binary(max_size=9),
    )


@given(st.lists(frames(), max_size=20))
def test_any_bytes(reports: list[bytes]) -> None:
    """Any bytes give a value that the monitor can measure, or an error."""
    monitor = ZyTemp()
    for now, frame in enumerate(reports):
        try:
            monitor.feed(frame, now)
            result = monitor.reading(now)
        except BadFrameError:
            continue
        if result is not None:
            assert -10 <= result.values.get("temperature", 0) <= 60
            assert 0 < result.values.get("humidity", 1) <= 100
            assert 0 < result.values.get("co2", 1) <= 10_000
