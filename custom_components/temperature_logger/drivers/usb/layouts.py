"""The layouts of the reports of each TEMPer firmware.

The table has a row for each firmware. A new stick needs a new row, and a capture of its
reports for the tests. The sticks answer the value command with one or two reports of
8 bytes:

    80 TAG HH LL HH LL xx xx    big-endian codes from offset 2 on

TAG names the sensor of the report; on sticks of the first generation it is the number
of code bytes. The tag of a report decides what it is, not its order. Captures and
formulas are public: temper-python, TEMPered, ccwienk/temper, charlieh0tel/temper,
ugold(4).
"""

from collections.abc import Callable
from contextlib import suppress
import re
from typing import Final, NamedTuple

from ..errors import BadFrameError, Fault, Invalid
from ..readings import Reading, Value
from ..values import HUMIDITY_RANGE_PERCENT, Range, checked
from .descriptors import TEMPER_REPORT_BYTES

VALUE_REPORT: Final = 0x80
# A firmware name ends with its version: TEMPerF1.4MPerF1 is TEMPerF1.4.
VERSIONED_NAME: Final = re.compile(r".*?\d\.\d+")

# 200.00 in hundredths: sticks from 2018 on send it for a sensor that is missing. Older
# sticks would mean 78.125 °C by it. They may also lack the sensor, so the value is
# refused there as well.
NO_SENSOR_CODE: Final = 0x4E20
CODE_BITS: Final = 16

# The manufacturer's own program waits 0.5 s for each report.
REPORT_TIMEOUT_S: Final = 1.0
# The measured gap between two reports of one reading is 0.02 s.
OPTIONAL_REPORT_TIMEOUT_S: Final = 0.15


class Encoding(NamedTuple):
    """The way in which a sensor writes a value as a code of two bytes."""

    formula: Callable[[int, float], float]
    """Computes a value from its code and the temperature in the same report, in °C."""
    bits: int = CODE_BITS
    """The width of a code; a wider one is not a value."""
    ignored: int = 0
    """The bits that do not belong to the code."""
    has_zero: bool = False
    """Whether the code 0 is a value; otherwise it means that the sensor is silent."""
    has_ones: bool = False
    """Whether the code of only ones is a value; otherwise it means the same."""
    needs_temperature: bool = False
    """Whether the value also depends on the temperature."""
    no_sensor: frozenset[int] = frozenset({NO_SENSOR_CODE})
    """Further codes that are no values."""

    def is_value(self, code: int) -> bool:
        """Return whether a code can be a value."""
        number = code & ~self.ignored
        ones = _ones(self.bits) & ~self.ignored
        no_value = set(self.no_sensor)
        if not self.has_zero:
            no_value.add(0)
        if not self.has_ones:
            no_value.add(ones)
        return number <= ones and not no_value & {code, number}


class Channel(NamedTuple):
    """One value in a report."""

    quantity: str
    """The field of a Reading."""
    offset: int
    encoding: Encoding
    limits: Range
    absent: frozenset[int] = frozenset()
    """Codes for a sensor that is not plugged in; the value is then None."""


class Report(NamedTuple):
    """One report of a reading."""

    tags: frozenset[int]
    channels: tuple[Channel, ...]
    optional: bool = False
    """Whether the stick omits the report if no probe is plugged in."""
    ending: bytes = b""
    """The bytes with which the report always ends."""


class Layout(NamedTuple):
    """The answer of one firmware to the value command."""

    firmware: str
    """The start of the firmware text."""
    model: str
    reports: tuple[Report, ...]
    product: str | None = None
    """The USB product string, if the firmware text is shared or unknown."""
    requests: int = 1
    """The number of value commands for a reading; the last answer counts."""

    @property
    def quantities(self) -> tuple[str, ...]:
        """The fields of a Reading that the reports contain."""
        return tuple(c.quantity for report in self.reports for c in report.channels)

    @property
    def timeouts(self) -> tuple[float, ...]:
        """The timeout of each report in seconds."""
        return tuple(
            OPTIONAL_REPORT_TIMEOUT_S if report.optional else REPORT_TIMEOUT_S
            for report in self.reports
        )

    def fits(self, firmware: str, product: str) -> bool:
        """Return whether a stick with this firmware and product has this layout.

        Small and capital letters are the same.
        """
        text, start = firmware.lower(), self.firmware.lower()
        if self.product is not None:
            return text.startswith(start) and product == self.product
        # V3.1 is not V3.10.
        return text.startswith(start) and not text.removeprefix(start)[:1].isdigit()


def firmware_name(firmware: str) -> str:
    """Return a firmware text up to its version.

    Old content of the stick's buffer may follow the version.
    """
    match = VERSIONED_NAME.match(firmware)
    return match[0] if match else firmware


def decode(reports: list[bytes], layout: Layout) -> Reading:
    """Return the values in the reports of one reading.

    An optional report may be missing; its quantities are then None. Raises
    BadFrameError for a surplus, repeated, missing or malformed report, and if no value
    is valid.
    """
    values: dict[str, Value] = {}
    for report in reports:
        expected = next((r for r in layout.reports if _belongs(report, r)), None)
        if expected is None or expected.channels[0].quantity in values:
            raise BadFrameError(Fault.BAD_REPORT, report=report.hex(" "))
        values |= _values(report, expected)
    for expected in layout.reports:
        if not expected.optional and expected.channels[0].quantity not in values:
            raise BadFrameError(Fault.NO_ANSWER)
    return Reading.of(values)


def belongs(report: bytes, layout: Layout) -> bool:
    """Return whether a report is one of those in a layout, by its tag and ending."""
    return any(_belongs(report, expected) for expected in layout.reports)


def _belongs(report: bytes, expected: Report) -> bool:
    """Return whether a report has the tag and the ending of the expected one."""
    return (
        len(report) == TEMPER_REPORT_BYTES
        and report[0] == VALUE_REPORT
        and report[1] in expected.tags
        and report.endswith(expected.ending)
    )


def _values(report: bytes, expected: Report) -> dict[str, Value]:
    """Return the value of each channel of one report."""
    values: dict[str, Value] = {}
    missing = Invalid.of(Fault.SENSOR_MISSING, report=report.hex(" "))
    temperature: Value = missing
    is_dead = _is_dead(report, expected)
    for channel in expected.channels:
        code, encoding = _code(report, channel.offset), channel.encoding
        value: Value
        if code in channel.absent:
            value = None
        elif is_dead or not encoding.is_value(code):
            value = missing
        elif not encoding.needs_temperature:
            computed = encoding.formula(code, 0)
            value = checked(channel.quantity, computed, channel.limits)
        elif isinstance(temperature, float):
            computed = encoding.formula(code, temperature)
            value = checked(channel.quantity, computed, channel.limits)
        else:
            value = temperature
        if channel is expected.channels[0]:
            temperature = value
        values[channel.quantity] = value
    return values


def _is_dead(report: bytes, expected: Report) -> bool:
    """Return whether a chip for temperature and humidity sent only zeros or only ones.

    One of the codes may be a value, but not both.
    """
    codes = {_code(report, channel.offset) for channel in expected.channels}
    has_humidity = any(c.quantity.endswith("humidity") for c in expected.channels)
    return has_humidity and codes in ({0}, {_ones(CODE_BITS)})


def _ones(bits: int) -> int:
    """Return the number that consists of this many ones."""
    return (1 << bits) - 1


def _code(report: bytes, offset: int) -> int:
    """Return the big-endian code at an offset of a report."""
    return int.from_bytes(report[offset : offset + 2])


# Formulas


def _signed(code: int) -> int:
    """Return a code as a two's complement number."""
    return code - 0x10000 if code & 0x8000 else code


def _256th(code: int, _: float) -> float:
    """FM75, and sticks that send the same format: 1/256 °C."""
    return _signed(code) / 256


def _hundredth(code: int, _: float) -> float:
    """Sticks from 2018 on: 1/100 °C, 1/100 %."""
    return _signed(code) / 100


def _sht1x_temperature(code: int, _: float) -> float:
    """Sensirion SHT1x data sheet, section 4.3, 14 bits at 3.5 V."""
    return -39.7 + 0.01 * code


def _sht1x_humidity(code: int, temperature: float) -> float:
    """Sensirion SHT1x data sheet, sections 4.1 and 4.2, 12 bits."""
    linear = -2.0468 + 0.0367 * code - 1.5955e-6 * code**2
    return linear + (temperature - 25) * (0.01 + 0.00008 * code)


def _si7005_temperature(code: int, _: float) -> float:
    """Silicon Labs Si7005 data sheet, section 5.1.2."""
    return (code & 0x3FFF) / 32 - 50


def _si7005_humidity(code: int, temperature: float) -> float:
    """Silicon Labs Si7005 data sheet, sections 5.1.1, 5.2 and 5.3."""
    value = (code & 0x0FFF) / 16 - 24
    linear = value - (-0.00393 * value**2 + 0.4008 * value - 4.7844)
    return linear + (temperature - 30) * (0.00237 * linear + 0.1973)


def _si7021_temperature(code: int, _: float) -> float:
    """Silicon Labs Si7021 data sheet, section 5.1.2; two status bits."""
    return (code & 0xFFFC) * 175.72 / 65536 - 46.85


def _si7021_humidity(code: int, _: float) -> float:
    """Silicon Labs Si7021 data sheet, section 5.1.1; two status bits."""
    return (code & 0xFFFC) * 125 / 65536 - 6


def _sht20_temperature(code: int, _: float) -> float:
    """Sensirion SHT20 data sheet, section 6.2, code without its status bits."""
    return -46.85 + 175.72 * (code << 2) / 65536


def _sht20_humidity(code: int, _: float) -> float:
    """Sensirion SHT20 data sheet, section 6.1, 12 bits."""
    return -6 + 125 * (code << 4) / 65536


# Encodings. The code 0 is 0 °C for an FM75 and for sticks that send hundredths of a
# degree. Only ones are -0.01 °C in hundredths, but an FM75 never sends them, as it has
# steps of 1/16 °C. A humidity is never 0 or -0.01 %.

FM75: Final = Encoding(_256th, has_zero=True)
HUNDREDTHS: Final = Encoding(_hundredth, has_zero=True, has_ones=True)
HUNDREDTHS_HUMIDITY: Final = Encoding(_hundredth)
SHT1X_TEMPERATURE: Final = Encoding(_sht1x_temperature, bits=14)
SHT1X_HUMIDITY: Final = Encoding(_sht1x_humidity, bits=12, needs_temperature=True)
SI7005_TEMPERATURE: Final = Encoding(_si7005_temperature, bits=14, ignored=0xC000)
SI7005_HUMIDITY: Final = Encoding(
    _si7005_humidity, bits=12, ignored=0xF000, needs_temperature=True
)
# 4e20 is 6.8 °C or 32 % here: a chip of 2014 does not know the code of later sticks.
SI7021_TEMPERATURE: Final = Encoding(
    _si7021_temperature, ignored=0x0003, no_sensor=frozenset()
)
SI7021_HUMIDITY: Final = Encoding(
    _si7021_humidity, ignored=0x0003, no_sensor=frozenset()
)
SHT20_TEMPERATURE: Final = Encoding(_sht20_temperature, bits=14)
SHT20_HUMIDITY: Final = Encoding(_sht20_humidity, bits=12)

# Building blocks of the table

INTERNAL_TAGS: Final = frozenset({0x04, 0x20, 0x40, 0x80})
EXTERNAL_TAGS: Final = frozenset({0x01})
UNPLUGGED_CODES: Final = frozenset({NO_SENSOR_CODE})
UNPLUGGED_FM75_CODES: Final = frozenset({NO_SENSOR_CODE, 0xFFFF})
# Sticks from 2018 on pad a report with zeros. Where it has no humidity, they send the
# code for a missing sensor and zeros.
ZERO_FILL: Final = bytes(2)
EMPTY_SLOT: Final = NO_SENSOR_CODE.to_bytes(2) + ZERO_FILL


def _fm75(
    quantity: str, offset: int = 2, absent: frozenset[int] = frozenset()
) -> Channel:
    """Return the channel of a temperature in 1/256 °C."""
    return Channel(
        quantity=quantity,
        offset=offset,
        encoding=FM75,
        limits=Range(-55, 125),
        absent=absent,
    )


def _decimal(
    quantity: str, absent: frozenset[int] = frozenset(), high: float = 125
) -> Channel:
    """Return the channel of a temperature in 1/100 °C."""
    return Channel(
        quantity=quantity,
        offset=2,
        encoding=HUNDREDTHS,
        limits=Range(-40, high),
        absent=absent,
    )


def _humidity(
    quantity: str = "humidity",
    encoding: Encoding = HUNDREDTHS_HUMIDITY,
    absent: frozenset[int] = frozenset(),
) -> Channel:
    """Return the channel of a relative humidity in %."""
    return Channel(
        quantity=quantity,
        offset=4,
        encoding=encoding,
        limits=HUMIDITY_RANGE_PERCENT,
        absent=absent,
    )


def _counted(*channels: Channel, codes: int | None = None) -> tuple[Report, ...]:
    """Return the only report of a first-generation stick; its tag counts code bytes."""
    tag = 2 * (codes or len(channels))
    return (Report(tags=frozenset({tag}), channels=channels),)


def _chip(temperature: Encoding, humidity: Encoding, high: float) -> tuple[Report, ...]:
    """Return the report of a first-generation stick that sends its chip's own codes."""
    return _counted(
        Channel(
            quantity="temperature",
            offset=2,
            encoding=temperature,
            limits=Range(-40, high),
        ),
        _humidity(encoding=humidity),
    )


def _internal(*channels: Channel, ending: bytes) -> Report:
    """Return the report of the sensors in the stick."""
    return Report(tags=INTERNAL_TAGS, channels=channels, ending=ending)


def _external(
    *channels: Channel, ending: bytes = EMPTY_SLOT, optional: bool = False
) -> Report:
    """Return the report of the sensors on the cable."""
    return Report(
        tags=EXTERNAL_TAGS, channels=channels, ending=ending, optional=optional
    )


_ONE_FM75: Final = _counted(_fm75("temperature"))
_TWO_FM75: Final = _counted(
    _fm75("internal_temperature"),
    _fm75("external_temperature", 4, UNPLUGGED_FM75_CODES),
)
_THREE_FM75: Final = _counted(
    _fm75("internal_temperature"),
    _fm75("external_temperature", 4, UNPLUGGED_FM75_CODES),
    _fm75("thermistor_temperature", 6, UNPLUGGED_FM75_CODES),
)
_SHT1X: Final = _chip(SHT1X_TEMPERATURE, SHT1X_HUMIDITY, 123.8)
_SI7005: Final = _chip(SI7005_TEMPERATURE, SI7005_HUMIDITY, 125)
_SI7021: Final = _chip(SI7021_TEMPERATURE, SI7021_HUMIDITY, 125)
_SHT20: Final = _chip(SHT20_TEMPERATURE, SHT20_HUMIDITY, 125)
_GOLD: Final = (_internal(_decimal("temperature"), ending=EMPTY_SLOT),)
_HUM: Final = (_internal(_decimal("temperature"), _humidity(), ending=ZERO_FILL),)
_HUM_85: Final = (
    _internal(_decimal("temperature", high=85), _humidity(), ending=ZERO_FILL),
)
_EXTERNAL_ONLY: Final = (_external(_decimal("temperature", UNPLUGGED_CODES)),)
_OPTIONAL_EXTERNAL: Final = (
    _external(_decimal("temperature", UNPLUGGED_CODES), optional=True),
)
_TWO: Final = (
    _internal(_decimal("internal_temperature"), ending=EMPTY_SLOT),
    _external(_decimal("external_temperature", UNPLUGGED_CODES)),
)
_TWO_OPTIONAL: Final = (
    _internal(_decimal("internal_temperature"), ending=EMPTY_SLOT),
    _external(_decimal("external_temperature", UNPLUGGED_CODES), optional=True),
)
_TWO_WITH_HUMIDITY: Final = (
    _internal(
        _decimal("internal_temperature"),
        _humidity("internal_humidity", absent=UNPLUGGED_CODES),
        ending=ZERO_FILL,
    ),
    _external(
        _decimal("external_temperature", UNPLUGGED_CODES),
        _humidity("external_humidity", absent=UNPLUGGED_CODES),
        ending=ZERO_FILL,
    ),
)


def _row(
    firmware: str,
    model: str,
    reports: tuple[Report, ...],
    *,
    product: str | None = None,
    requests: int = 1,
) -> Layout:
    """Return one row of the table."""
    return Layout(
        firmware=firmware,
        model=model,
        reports=reports,
        product=product,
        requests=requests,
    )


# Rows with a product come first: a unique product says more than a firmware text that
# several sticks share. TEMPerV1.4 hangs at the next access after a single command, so
# it gets two.
LAYOUTS: Final = (
    # 0c45:7401
    _row("TEMPer", "TEMPer2", _TWO_FM75, product="TEMPer2V1.3"),
    _row(
        "TEMPer",
        "TEMPer2",
        # The second code of this stick is garbage in the captures.
        _counted(_fm75("temperature"), codes=2),
        product="TEMPer2V1.4",
    ),
    _row("TEMPerF1.4", "TEMPer", _ONE_FM75, product="TEMPerV1.4", requests=2),
    _row("TEMPerV1.2", "TEMPer", _ONE_FM75),
    _row("TEMPerF1.2", "TEMPer", _ONE_FM75),
    _row("TEMPerF1.4", "TEMPer", _ONE_FM75),
    _row("TEMPer1F1.1", "TEMPer1F", _ONE_FM75),
    _row("TEMPer1F1.4", "TEMPer1F", _ONE_FM75, requests=2),
    _row(
        "TEMPer1F_V1.3",
        "TEMPer1F",
        _counted(_fm75("temperature", 4, UNPLUGGED_FM75_CODES), codes=2),
    ),
    _row("TEMPer2_M12_V1.3", "TEMPer2", _TWO_FM75),
    _row("TEMPerNTC F1.0", "TEMPerNTC", _THREE_FM75),
    # 0c45:7402
    _row("TEMPerHumV1.0", "TEMPerHUM", _SHT1X),
    _row("TEMPerHumV1.1", "TEMPerHUM", _SHT1X),
    _row("TEMPerHumM12V1.0", "TEMPerHUM", _SI7005),
    _row("TEMPerHumM12V1.2", "TEMPerHUM", _SI7021),
    _row("TEMPerHumM12V1.3", "TEMPerHUM", _SI7021),
    _row("TEMPer1F_H1V1.4", "TEMPer1F_H1", _SHT20),
    _row("TEMPer1F_H1V1.5", "TEMPer1F_H1", _SHT20),
    # 413d:2107
    _row("TEMPerGold_V3.1", "TEMPerGold", _GOLD),
    _row("TEMPerX_V3.1", "TEMPerHUM", _HUM),
    _row("TEMPerX_V3.2", "TEMPer2", _TWO_WITH_HUMIDITY),
    _row("TEMPerX_V3.3", "TEMPer2", _TWO_WITH_HUMIDITY),
    _row("TEMPerX_V3.3", "TEMPer1F", _EXTERNAL_ONLY),
    # 1a86:e025
    _row("TEMPerGold_V3.3", "TEMPerGold", _GOLD),
    _row("TEMPerGold_V3.4", "TEMPerGold", _GOLD),
    _row("TEMPer1F_V3.9", "TEMPer1F", _EXTERNAL_ONLY),
    _row("TEMPer2_V3.7", "TEMPer2", _TWO),
    _row("TEMPer2_V3.9", "TEMPer2", _TWO),
    _row("TEMPerHUM_V3.8", "TEMPerHUM", _HUM),
    _row("TEMPerHUM_V3.9", "TEMPerHUM", _HUM),
    _row("TEMPerHUM_V4.0", "TEMPerHUM", _HUM),
    # 3553:a001
    _row("TEMPerGold_V3.5", "TEMPerGold", _GOLD),
    _row("TEMPer1F_V4.1", "TEMPer1F", _OPTIONAL_EXTERNAL),
    _row("TEMPer2_V4.1", "TEMPer2", _TWO_OPTIONAL),
    _row("TEMPerHUM_V4.1", "TEMPerHUM", _HUM_85),
)


# The layouts from which the user picks one for a firmware that is not in the table.
SHAPES: Final = {
    "one_256th": _ONE_FM75,
    "two_256th": _TWO_FM75,
    "three_256th": _THREE_FM75,
    "sht1x": _SHT1X,
    "si7005": _SI7005,
    "si7021": _SI7021,
    "sht20": _SHT20,
    "one_100th": _GOLD,
    "one_100th_humidity": _HUM,
    "probe_100th": _EXTERNAL_ONLY,
    "two_100th": _TWO,
    "two_100th_optional": _TWO_OPTIONAL,
    "two_100th_humidity": _TWO_WITH_HUMIDITY,
}
# An unknown stick may be like TEMPerV1.4, which hangs after a single command.
UNKNOWN_FIRMWARE_REQUESTS: Final = 2


def layout_of_shape(firmware: str, shape: str) -> Layout:
    """Return the layout that the user picked for an unknown firmware."""
    name = firmware_name(firmware)
    return Layout(
        firmware=name,
        model=name,
        reports=SHAPES[shape],
        requests=UNKNOWN_FIRMWARE_REQUESTS,
    )


def plausible(reports: list[bytes]) -> dict[str, Reading]:
    """Return the reading of an answer by each shape that it fits."""
    readings: dict[str, Reading] = {}
    for shape in SHAPES:
        with suppress(BadFrameError):
            reading = decode(reports, layout_of_shape("", shape))
            if not reading.faults:
                readings[shape] = reading
    return readings


def layouts_of(firmware: str, product: str) -> tuple[Layout, ...]:
    """Return the layouts of the sticks with this firmware and product.

    They are several if two models share a firmware text; their reports then differ. An
    unknown firmware has none.
    """
    rows = [row for row in LAYOUTS if row.fits(firmware, product)]
    if rows and rows[0].product is not None:
        return (rows[0],)
    return tuple(rows)
