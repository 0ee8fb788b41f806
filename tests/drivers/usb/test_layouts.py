"""Reports are decoded to the values that the stick sent, or to an error."""

from pathlib import Path
import tomllib
from typing import Any

import pytest

from custom_components.temperature_logger.drivers import Fault, Invalid, Reading
from custom_components.temperature_logger.drivers.errors import BadFrameError
from custom_components.temperature_logger.drivers.usb.layouts import (
    FM75,
    HUNDREDTHS,
    LAYOUTS,
    SHAPES,
    SI7021_HUMIDITY,
    SI7021_TEMPERATURE,
    Channel,
    Encoding,
    Layout,
    Report,
    decode,
    layouts_of,
    plausible,
)
from emulation.sticks import MODELS, Stick
from tests.drivers.conftest import EMULATED_QUANTITIES

CAPTURES: list[dict[str, Any]] = tomllib.loads(
    (Path(__file__).parents[2] / "fixtures/captures.toml").read_text()
)["capture"]
EMULATED = {name: model for name, model in MODELS.items() if model.firmware}
# Values that every formula resolves exactly.
SENSOR_VALUES = {
    "temperature": 12.5,
    "humidity": 42.0,
    "external_temperature": 2.25,
    "external_humidity": 63.5,
    "second_external_temperature": 3.75,
}
READ_VALUES = bytes.fromhex("0180330100000000")

GOLD = "TEMPerGold_V3.5"
HUM = "TEMPerHUM_V4.1"
TWO = "TEMPer2_V3.9"
TWO_OPTIONAL = "TEMPer2_V4.1"
INTERNAL = bytes.fromhex("808007d04e200000")
EXTERNAL = bytes.fromhex("800103e84e200000")


def layout_of(firmware: str, product: str = "") -> Layout:
    """Return the only layout of a firmware."""
    (layout,) = layouts_of(firmware, product)
    return layout


def captured_layout(capture: dict[str, Any]) -> Layout:
    """Return the layout of a captured stick."""
    halves = (bytes.fromhex(half) for half in capture.get("firmware", ()))
    firmware = b"".join(halves).rstrip(b" \0").decode() or "TEMPer"
    rows = layouts_of(firmware, capture.get("product", ""))
    (layout,) = (row for row in rows if row.model == capture["model"])
    return layout


@pytest.mark.parametrize("capture", CAPTURES, ids=lambda capture: capture["source"])
def test_captures(capture: dict[str, Any]) -> None:
    """Reports captured from real sticks give the values that their owners saw."""
    layout = captured_layout(capture)
    if capture.get("first"):
        layout = layout._replace(reports=layout.reports[:1])
    reading = decode([bytes.fromhex(r) for r in capture["reports"]], layout)
    expected = Reading(**capture["reading"])
    assert reading.values == pytest.approx(expected.values, abs=0.005)
    assert set(capture["reading"]) <= set(layout.quantities)


def test_every_layout_is_covered() -> None:
    """Each row of the table has a captured or an emulated stick."""
    covered = {captured_layout(capture) for capture in CAPTURES}
    for model in EMULATED.values():
        covered |= set(layouts_of(model.firmware, model.gadget.product))
        covered |= set(layouts_of(model.firmware, ""))
    assert covered == set(LAYOUTS)


@pytest.mark.parametrize("name", EMULATED)
@pytest.mark.parametrize("offset", [-30.0, 0.0, 60.0])
def test_every_formula_both_ways(name: str, offset: float) -> None:
    """Each formula reads what an emulated stick encoded, above and below zero."""
    model = EMULATED[name]
    rows = layouts_of(model.firmware, model.gadget.product)
    sensors = {EMULATED_QUANTITIES.get(q, q) for row in rows for q in row.quantities}
    sensor_values = {
        s: SENSOR_VALUES[s] + offset * s.endswith("temperature") for s in sensors
    }
    stick = Stick({"name": name, "model": name, **sensor_values})
    reports = [report for _, report in stick.command(READ_VALUES)]
    (layout,) = (row for row in rows if len(row.reports) == len(reports))
    values = decode(reports, layout).values
    for quantity in layout.quantities:
        value, expected = (
            values.pop(quantity, None),
            sensor_values[EMULATED_QUANTITIES.get(quantity, quantity)],
        )
        # The stick sold with TEMPerX_V3.2 leaves the slots for humidity empty.
        if name != "TEMPerX_V3.2" or not quantity.endswith("humidity"):
            assert value == pytest.approx(expected, abs=0.05)
    assert not values


def test_order_of_reports() -> None:
    """Reports are identified by their content, not by their order."""
    layout = layout_of(TWO)
    expected = Reading(internal_temperature=20.0, external_temperature=10.0)
    assert decode([INTERNAL, EXTERNAL], layout) == expected
    assert decode([EXTERNAL, INTERNAL], layout) == expected


@pytest.mark.parametrize(
    ("reports", "fault"),
    [
        ([], Fault.NO_ANSWER),
        ([INTERNAL], Fault.NO_ANSWER),
        ([EXTERNAL], Fault.NO_ANSWER),
        ([INTERNAL, INTERNAL], Fault.BAD_REPORT),
        ([EXTERNAL, INTERNAL, EXTERNAL], Fault.BAD_REPORT),
        ([INTERNAL[:7], EXTERNAL], Fault.BAD_REPORT),
        ([b"", EXTERNAL], Fault.BAD_REPORT),
        ([INTERNAL + b"\0", EXTERNAL], Fault.BAD_REPORT),
        ([b"\x82" + INTERNAL[1:], EXTERNAL], Fault.BAD_REPORT),
        ([b"\x80\x02" + INTERNAL[2:], EXTERNAL], Fault.BAD_REPORT),
        ([INTERNAL[:6] + b"\0\1", EXTERNAL], Fault.BAD_REPORT),
        ([bytes(8), bytes(8)], Fault.BAD_REPORT),
        ([b"\xff" * 8, b"\xff" * 8], Fault.BAD_REPORT),
        ([b"TEMPer2_", b"V3.9    "], Fault.BAD_REPORT),
    ],
    ids=[
        *("silence", "external missing", "internal missing", "internal twice"),
        *("external twice", "short", "empty", "long", "another command's", "tag"),
        *("tail", "zeros", "ones", "firmware"),
    ],
)
def test_no_reading(reports: list[bytes], fault: Fault) -> None:
    """Only exactly the reports of the layout give a reading."""
    with pytest.raises(BadFrameError, match=f"^{fault}") as error:
        decode(reports, layout_of(TWO))
    assert error.value.fault is fault


def test_bad_report_is_quoted() -> None:
    """The error quotes the reports."""
    with pytest.raises(BadFrameError) as error:
        decode([bytes(8)], layout_of(GOLD))
    assert error.value.details == {"report": "00 00 00 00 00 00 00 00"}
    assert str(error.value) == "bad_report (report 00 00 00 00 00 00 00 00)"


@pytest.mark.parametrize(
    ("firmware", "report", "expected"),
    [
        (GOLD, "80803138 4e200000", "126.00 °C, low -40, high 125"),
        (GOLD, "8080f05f 4e200000", "-40.01 °C, low -40, high 125"),
        (HUM, "80202135 27100000", "85.01 °C, low -40, high 85"),
        (HUM, "802007d0 2af90000", "110.01 %, low 0, high 100"),
        (HUM, "802007d0 fc170000", "-10.01 %, low 0, high 100"),
        ("TEMPerF1.2", "80027e00 65724631", "126.00 °C, low -55, high 125"),
        ("TEMPer2_M12_V1.3", "80041400 7e000000", "126.00 °C, low -55, high 125"),
        ("TEMPerHumV1.0", "80043fe6 08000000", "123.88 °C, low -40, high 123.8"),
    ],
)
def test_out_of_range(firmware: str, report: str, expected: str) -> None:
    """A value that the sensor cannot measure is invalid, and its fault quotes it."""
    value, _, limits = expected.partition(", ")
    low, high = limits.removeprefix("low ").split(", high ")
    details = {"value": value, "low": low, "high": high}
    invalid = Invalid(Fault.OUT_OF_RANGE, details)
    assert invalid in faults_of(bytes.fromhex(report), layout_of(firmware))


def faults_of(report: bytes, layout: Layout) -> list[Invalid]:
    """Return the faults of an answer of one report."""
    try:
        return list(decode([report], layout).faults.values())
    except BadFrameError as err:
        return [Invalid(err.fault, err.details)]


@pytest.mark.parametrize(
    ("firmware", "report", "values", "invalid"),
    [
        (HUM, "80202135 27100000", {"humidity": 100.0}, "temperature"),
        (HUM, "802007d0 4e200000", {"temperature": 20.0}, "humidity"),
        (HUM, "80204e20 10360000", {"humidity": 41.5}, "temperature"),
        (HUM, "802007d0 ffff0000", {"temperature": 20.0}, "humidity"),
        (
            "TEMPer2_M12_V1.3",
            "80047e00 14000000",
            {"external_temperature": 20.0},
            "internal_temperature",
        ),
        (
            "TEMPer2_M12_V1.3",
            "8004ffff 14000000",
            {"external_temperature": 20.0},
            "internal_temperature",
        ),
        (
            "TEMPer1F_H1V1.4F",
            "8004191c 00000000",
            {"temperature": 22.1},
            "humidity",
        ),
    ],
)
def test_invalid_value_costs_only_itself(
    firmware: str, report: str, values: dict[str, float], invalid: str
) -> None:
    """The other values of the report are published."""
    reading = decode([bytes.fromhex(report)], layout_of(firmware))
    assert reading.values == pytest.approx(values, abs=0.05)
    assert list(reading.faults) == [invalid]


def test_si7021_of_the_newer_firmware() -> None:
    """The codes of TEMPerHumM12V1.3 have the formula of its predecessor."""
    report = bytes.fromhex("80046e9843322e33")
    reading = decode([report], layout_of("TEMPerHumM12V1.3"))
    assert reading.temperature == pytest.approx(29.06, abs=0.005)
    assert reading.humidity == pytest.approx(26.81, abs=0.005)


def test_missing_internal_sensor() -> None:
    """A sensor that is missing in the stick does not cost the value of the probe."""
    report = bytes.fromhex("80804e204e200000")
    reading = decode([report, EXTERNAL], layout_of(TWO))
    assert reading.values == {"external_temperature": 10.0}
    assert reading.faults == {
        "internal_temperature": Invalid(
            Fault.SENSOR_MISSING, {"report": "80 80 4e 20 4e 20 00 00"}
        )
    }


@pytest.mark.parametrize("firmware", ["TEMPerHumV1.0", "TEMPerHumM12V1.0"])
def test_humidity_needs_its_temperature(firmware: str) -> None:
    """A humidity that is computed with an invalid temperature is invalid as well."""
    with pytest.raises(BadFrameError, match=Fault.OUT_OF_RANGE):
        decode([bytes.fromhex("80043ff0 05a40000")], layout_of(firmware))


def test_no_shape_for_an_invalid_value() -> None:
    """An owner is not offered a shape in which a value would be invalid."""
    shapes = plausible([bytes.fromhex("802007d0 4e200000")])
    assert "one_100th_humidity" not in shapes
    assert "one_100th" in shapes


@pytest.mark.parametrize(
    ("firmware", "reports", "expected"),
    [
        (TWO_OPTIONAL, ["808007d04e200000"], {"internal_temperature": 20.0}),
        (
            TWO_OPTIONAL,
            ["808007d04e200000", "80014e204e200000"],
            {"internal_temperature": 20.0},
        ),
        (
            TWO,
            ["808007d04e200000", "80014e204e200000"],
            {"internal_temperature": 20.0},
        ),
        ("TEMPer1F_V4.1", [], {}),
        ("TEMPer1F_V3.9", ["80014e204e200000"], {}),
        (
            "TEMPerX_V3.2",
            ["808007d04e200000", "800103e819640000"],
            {
                "internal_temperature": 20.0,
                "external_temperature": 10.0,
                "external_humidity": 65.0,
            },
        ),
        (
            "TEMPer2_M12_V1.3",
            ["80041400ffff0000"],
            {"internal_temperature": 20.0},
        ),
    ],
)
def test_absent_probe(
    firmware: str, reports: list[str], expected: dict[str, float | None]
) -> None:
    """An absent probe has no value; the other quantities have one."""
    reading = decode([bytes.fromhex(r) for r in reports], layout_of(firmware))
    assert reading == Reading.of(expected)


def channels(report_sets: list[tuple[Report, ...]]) -> list[tuple[Report, Channel]]:
    """Return each channel with its report, once for each encoding and quantity."""
    found = {
        (channel.encoding, channel.quantity): (report, channel)
        for reports in report_sets
        for report in reports
        for channel in report.channels
    }
    return list(found.values())


CHANNELS = channels([*(row.reports for row in LAYOUTS), *SHAPES.values()])
# 0 °C is a temperature like any other where the stick sends no codes of its chip.
ZERO_IS_A_VALUE: set[Encoding] = {FM75, HUNDREDTHS}
ONES_ARE_A_VALUE: set[Encoding] = {HUNDREDTHS}


@pytest.mark.parametrize(
    "code", [0x0000, 0x0FFF, 0x3FFF, 0xFFFC, 0xFFFF, 0x4E20], ids=hex
)
@pytest.mark.parametrize(
    ("report", "channel"),
    CHANNELS,
    ids=[f"{c.quantity} {c.encoding.formula.__name__}" for _, c in CHANNELS],
)
def test_codes_without_a_sensor(report: Report, channel: Channel, code: int) -> None:
    """Zeros, ones and 4e20 are no values, where the sensor cannot measure them."""
    other = 0x0660  # A possible code of every sensor.
    content = bytearray(8)
    content[0], content[1] = 0x80, min(report.tags)
    for each in report.channels:
        content[each.offset : each.offset + 2] = other.to_bytes(2)
    content[channel.offset : channel.offset + 2] = code.to_bytes(2)
    if report.ending:
        content[-len(report.ending) :] = report.ending
    layout = Layout(firmware="", model="", reports=(report,))
    try:
        value = decode([bytes(content)], layout).value(channel.quantity)
    except BadFrameError:
        value = None
    if code == 0 and channel.encoding in ZERO_IS_A_VALUE:
        assert value == 0
    elif code >= 0xFFFC and channel.encoding in ONES_ARE_A_VALUE:
        assert value == (code - 0x10000) / 100
    elif code == 0xFFFC and channel.encoding == FM75:
        assert value == -4 / 256
    elif code == 0x4E20 and channel.encoding in {SI7021_HUMIDITY, SI7021_TEMPERATURE}:
        assert value is not None
    elif code in {0x0FFF, 0x3FFF, 0xFFFC}:
        ones = 2**channel.encoding.bits - 1
        assert value is None or code & ~channel.encoding.ignored != ones
    else:
        assert value is None


@pytest.mark.parametrize("code", [0x0000, 0xFFFF])
def test_chip_that_does_not_answer(code: int) -> None:
    """If temperature and humidity are both zeros or ones, neither is a value."""
    report = b"\x80\x20" + 2 * code.to_bytes(2) + bytes(2)
    with pytest.raises(BadFrameError, match=Fault.SENSOR_MISSING):
        decode([report], layout_of(HUM))


def test_humidity_beyond_the_codes_of_its_chip() -> None:
    """An SHT1x has no code above 0fff: the formula would make 5000 to 80 %."""
    reading = decode([bytes.fromhex("80041996 50000000")], layout_of("TEMPerHumV1.0"))
    assert reading.values == {"temperature": pytest.approx(25.8)}
    assert reading.faults["humidity"].fault is Fault.SENSOR_MISSING


@pytest.mark.parametrize(
    ("firmware", "low", "high"),
    [
        ("TEMPerHumV1.0", 0x0001, 0x0F00),
        ("TEMPerHumM12V1.0", 0x0020, 0x07F0),
        ("TEMPer1F_H1V1.4F", 0x0010, 0x0E80),
        ("TEMPerHumM12V1.2", 0x0010, 0xE000),
        (HUM, 0xFFFF - 99, 0x27A0),
    ],
)
def test_humidity_is_limited(firmware: str, low: int, high: int) -> None:
    """A humidity up to 10 points beyond 0 or 100 % is limited to that range."""
    for humidity, expected in ((low, 0.0), (high, 100.0)):
        report = bytes.fromhex("80040a00") + humidity.to_bytes(2) + bytes(2)
        reading = decode([report], layout_of(firmware))
        assert reading.humidity == expected


@pytest.mark.parametrize(
    ("firmware", "product", "models"),
    [
        ("TEMPerHumM12V1.3", "", ["TEMPerHUM"]),
        ("TEMPerX_V3.1", "", ["TEMPerHUM"]),
        ("TEMPerX_V3.10", "", []),
        ("TEMPerX_V3.3", "", ["TEMPer2", "TEMPer1F"]),
        ("TEMPerX_V3.31", "", []),
        ("TEMPerGold_V3.5x", "", ["TEMPerGold"]),
        ("TEMPerGold", "", []),
        ("TEMPerGold_V9.9", "", []),
        ("TEMPERGold_v3.5", "", ["TEMPerGold"]),
        ("temper1f_v3.9", "", ["TEMPer1F"]),
        ("temperx_v3.10", "", []),
        ("TEMPerF1.4MPerF1", "", ["TEMPer"]),
        ("TEMPerF1.4MPerF1", "TEMPerV1.4", ["TEMPer"]),
        ("TEMPer2V1.3", "", []),
        ("TEMPerNothing", "TEMPer2V1.3", ["TEMPer2"]),
        ("FootSwitch", "TEMPer2V1.3", []),
    ],
)
def test_layouts_of(firmware: str, product: str, models: list[str]) -> None:
    """A firmware matches by its whole text, or by a more specific product."""
    assert [row.model for row in layouts_of(firmware, product)] == models


def test_second_query_by_product() -> None:
    """TEMPerV1.4, known by its product, gets a second query, as it may hang."""
    text = "TEMPerF1.4MPerF1"
    assert layout_of(text, "TEMPerV1.4").requests == 2
    assert layout_of(text).requests == 1
