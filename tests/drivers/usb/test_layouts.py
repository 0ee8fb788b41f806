"""Reports are decoded to the values that the stick sent, or to an error."""

from pathlib import Path
import tomllib
from typing import Any

import pytest

from custom_components.temperature_logger.drivers import Fault, Reading
from custom_components.temperature_logger.drivers.errors import BadFrameError
from custom_components.temperature_logger.drivers.usb.layouts import (
    LAYOUTS,
    Layout,
    decode,
    layouts_of,
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
        ([bytes.fromhex("80804e204e200000"), EXTERNAL], Fault.SENSOR_MISSING),
    ],
    ids=[
        *("silence", "external missing", "internal missing", "internal twice"),
        *("external twice", "short", "empty", "long", "another command's", "tag"),
        *("tail", "zeros", "ones", "firmware", "internal sensor missing"),
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
        (GOLD, "80803138 4e200000", "126.00, low -40, high 125"),
        (GOLD, "8080f05f 4e200000", "-40.01, low -40, high 125"),
        (HUM, "802007d0 27110000", "100.01, low 0, high 100"),
        (HUM, "802007d0 ffff0000", "-0.01, low 0, high 100"),
        ("TEMPerF1.2", "80027e00 65724631", "126.00, low -55, high 125"),
        ("TEMPerHumV1.0", "80044000 00000000", "124.14, low -40, high 123.8"),
    ],
)
def test_out_of_range(firmware: str, report: str, expected: str) -> None:
    """A value that the sensor cannot measure is an error that quotes it."""
    with pytest.raises(BadFrameError, match=Fault.OUT_OF_RANGE) as error:
        decode([bytes.fromhex(report)], layout_of(firmware))
    details = error.value.details
    value, low, high = details["value"], details["low"], details["high"]
    assert f"{value}, low {low}, high {high}" == expected


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


@pytest.mark.parametrize(
    ("firmware", "report"),
    [
        ("TEMPerF1.2", "80024e2065724631"),
        ("TEMPer2_M12_V1.3", "80044e2014000000"),
        (GOLD, "80804e204e200000"),
        (HUM, "80204e2010360000"),
        (HUM, "802007d04e200000"),
    ],
)
def test_sensor_missing_in_the_stick(firmware: str, report: str) -> None:
    """The code of a missing sensor is not read as 200 degrees or percent, or as 78."""
    with pytest.raises(BadFrameError, match=Fault.SENSOR_MISSING):
        decode([bytes.fromhex(report)], layout_of(firmware))


@pytest.mark.parametrize("humidity", [0x0000, 0x0FFF])
def test_humidity_of_raw_codes_is_limited(humidity: int) -> None:
    """A humidity just beyond 0 or 100 % is limited to that range."""
    for firmware in ("TEMPerHumV1.0", "TEMPerHumM12V1.0", "TEMPer1F_H1V1.4F"):
        report = b"\x80\x04\x0a\x00" + humidity.to_bytes(2) + b"\0\0"
        reading = decode([report], layout_of(firmware))
        assert reading.humidity == (100.0 if humidity else 0.0)


@pytest.mark.parametrize(
    ("firmware", "product", "models"),
    [
        ("TEMPerX_V3.1", "", ["TEMPerHUM"]),
        ("TEMPerX_V3.10", "", []),
        ("TEMPerX_V3.3", "", ["TEMPer2", "TEMPer1F"]),
        ("TEMPerX_V3.31", "", []),
        ("TEMPerGold_V3.5x", "", ["TEMPerGold"]),
        ("TEMPerGold", "", []),
        ("TEMPerGold_V9.9", "", []),
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
