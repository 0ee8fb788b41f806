"""Generated answers for every decoder.

An answer is all that a device sends for one reading. Most are made so that they pass
the first checks; then one in two is spoilt. Each must give a value that the sensor can
measure, or a DriverError.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
import random
from typing import Any, Final, NamedTuple

from custom_components.temperature_logger.drivers import DriverError, Fault, Reading
from custom_components.temperature_logger.drivers.errors import BadFrameError, inert
from custom_components.temperature_logger.drivers.i2c import bme680
from custom_components.temperature_logger.drivers.i2c.bme280 import (
    BME280_BURST,
    BME280_TRIMMING,
    BME280_TRIMMING_HUMIDITY,
    Bme280Sensor,
)
from custom_components.temperature_logger.drivers.i2c.bosch import (
    CHIP_ID_REGISTER,
    PRESSURE_RANGE_HPA,
    SLEEP_MODE_X1,
    TEMPERATURE_RANGE_C,
    Sensor,
)
from custom_components.temperature_logger.drivers.i2c.bus import (
    PowerLostError,
    Registers,
)
from custom_components.temperature_logger.drivers.usb import hidtemper, temperx232
from custom_components.temperature_logger.drivers.usb.descriptors import (
    TEMPER_REPORT_BYTES,
    report_sizes,
)
from custom_components.temperature_logger.drivers.usb.diamex import Diamex
from custom_components.temperature_logger.drivers.usb.gotemp import GoTemp
from custom_components.temperature_logger.drivers.usb.lascar import Lascar
from custom_components.temperature_logger.drivers.usb.layouts import (
    LAYOUTS,
    VALUE_REPORT,
    Layout,
    Report,
    decode,
)
from custom_components.temperature_logger.drivers.usb.stream import Decoder as Listener
from custom_components.temperature_logger.drivers.usb.temper import (
    FIRMWARE_PREFIX,
    firmware_text,
)
from custom_components.temperature_logger.drivers.usb.zytemp import ZyTemp
from emulation.bme680 import CALIBRATIONS as CALIBRATIONS_680
from emulation.chips import CALIBRATIONS
from emulation.descriptors import VENDOR_REPORT

type Answer = Sequence[bytes]
type Limits = Mapping[str, tuple[float, float]]
type Random = random.Random

DIGITS: Final = b"0123456789"
# The errors that a decoder may raise.
ERRORS: Final = (DriverError, PowerLostError)


class Shape(NamedTuple):
    """Bytes, some of them fixed."""

    given: bytes
    free: bytes
    """ff where any byte may stand, else 00."""

    def fill(self, content: bytes) -> bytes:
        """Return bytes of this shape, with this content in the free places."""
        pairs = zip(self.given, self.free, content, strict=True)
        return bytes(given | free & byte for given, free, byte in pairs)


class Decoder(NamedTuple):
    """The function that decodes the answers of one kind of device."""

    name: str
    shapes: tuple[tuple[Shape, ...], ...]
    """Answers that pass the first checks."""
    decode: Callable[[Answer], Any]
    is_right: Callable[[Any], bool]
    """Return whether a result is possible."""


def shape(*content: bytes | int) -> Shape:
    """Return a shape of given bytes, and numbers of free ones."""
    given = (part if isinstance(part, bytes) else bytes(part) for part in content)
    free = (bytes(len(p)) if isinstance(p, bytes) else b"\xff" * p for p in content)
    return Shape(b"".join(given), b"".join(free))


def is_within(limits: Limits, reading: Reading) -> bool:
    """Return whether the sensor can measure each value of a reading."""
    for quantity, value in reading.values.items():
        low, high = limits.get(quantity) or limits[quantity.rpartition("_")[2]]
        if not low <= value <= high:
            return False
    return True


# Sticks


def report_shapes(report: Report) -> Iterator[Shape]:
    """Yield the shapes of a report, by its tag."""
    for tag in sorted(report.tags):
        head = bytes((VALUE_REPORT, tag))
        free = TEMPER_REPORT_BYTES - len(head) - len(report.ending)
        yield shape(head, free, report.ending)


def temper(layout: Layout) -> Decoder:
    """Return the decoder of a firmware's reports."""
    reports = [next(report_shapes(report)) for report in layout.reports]
    others = [(other,) for report in layout.reports for other in report_shapes(report)]
    channels = [c for report in layout.reports for c in report.channels]
    limits = {channel.quantity: channel.limits for channel in channels}
    return Decoder(
        name=f"{layout.firmware} ({layout.model})",
        shapes=(tuple(reports), *others),
        decode=lambda answer: decode(list(answer), layout),
        is_right=partial(is_within, limits),
    )


def is_firmware(text: str) -> bool:
    """Return whether a text can be a firmware's."""
    return text.lower().startswith(FIRMWARE_PREFIX) and text == inert(text)


def are_sizes(sizes: tuple[int, int]) -> bool:
    """Return whether numbers can be sizes."""
    return min(sizes) >= 0


# Chips


class Image(Registers):
    """The registers of a chip that returns the same bytes each time."""

    def __init__(self, chip_id: int) -> None:
        """Name the chip; it has no bus."""
        self._image = bytearray(256)
        self._image[CHIP_ID_REGISTER] = chip_id

    def put(self, register: int, content: bytes) -> None:
        """Put bytes into the registers."""
        self._image[register : register + len(content)] = content

    def read(self, register: int, length: int, *, is_probe: bool = False) -> bytes:  # noqa: ARG002 - as the method that it covers
        """Read registers."""
        return bytes(self._image[register : register + length])

    def write(self, register: int, value: int) -> None:
        """Write a register."""
        self._image[register] = value


class Chip(NamedTuple):
    """The registers from which a chip's reading is computed."""

    name: str
    chip_id: int
    sensor: type[Sensor]
    trimmings: Sequence[bytes]
    """The trimming blocks of real chips, joined."""
    blocks: tuple[tuple[int, int], ...]
    """Register and length of each trimming block."""
    burst: tuple[int, int]
    head: bytes
    """The first bytes of the burst after a conversion."""
    settings: tuple[int, bytes] = (0, b"")
    """The other registers after a conversion, by the number of the first."""

    def collect(self, answer: Answer) -> Reading:
        """Return the driver's result for these trimming blocks and this burst."""
        places = (*self.blocks, self.burst)
        content = b"".join(answer).ljust(sum(size for _, size in places), b"\0")
        registers = Image(self.chip_id)
        registers.put(*self.settings)
        for register, size in places[:-1]:
            registers.put(register, content[:size])
            content = content[size:]
        sensor = self.sensor(registers, None)
        registers.put(self.burst[0], content[: self.burst[1]])
        return sensor.collect()


def bosch(chip: Chip) -> Decoder:
    """Return the decoder of a chip's registers."""
    burst = shape(chip.head, chip.burst[1] - len(chip.head))
    return Decoder(
        name=chip.name,
        shapes=(
            *((shape(trimming), burst) for trimming in chip.trimmings),
            (shape(len(chip.trimmings[0])), burst),
        ),
        decode=chip.collect,
        is_right=partial(
            is_within,
            {
                "temperature": TEMPERATURE_RANGE_C,
                "humidity": (0, 100),
                "pressure": PRESSURE_RANGE_HPA,
            },
        ),
    )


def bme280(chip_id: int, name: str) -> Chip:
    """Return a BME280, or a BMP280."""
    return Chip(
        name=name,
        chip_id=chip_id,
        sensor=Bme280Sensor,
        trimmings=[b"".join(values.registers) for values in CALIBRATIONS],
        blocks=(BME280_TRIMMING, BME280_TRIMMING_HUMIDITY),
        burst=BME280_BURST,
        head=bytes.fromhex("0024a000"),
    )


BME680: Final = Chip(
    name="BME680",
    chip_id=bme680.BME680_CHIP_ID,
    sensor=bme680.Bme680Sensor,
    trimmings=[b"".join(values.registers) for values in CALIBRATIONS_680],
    blocks=(bme680.BME680_TRIMMING, bme680.BME680_TRIMMING_HUMIDITY),
    burst=bme680.BME680_BURST,
    head=bytes((bme680.BME680_NEW_DATA, 0)),
    settings=(
        bme680.BME680_SETTINGS[0],
        bme680.BME680_SETTINGS_VALUE[:4]
        + bytes((SLEEP_MODE_X1,))
        + bme680.BME680_SETTINGS_VALUE[5:],
    ),
)


# Sticks that answer with text, or by feature reports


def digits(line: bytes) -> Shape:
    """Return the shape of a line with any digits in place of its digits."""
    zeros = bytes(ord("0") if code in DIGITS else code for code in line)
    return Shape(zeros, bytes(0x0F if code in DIGITS else 0 for code in line))


def stick_reading(kind: int, answer: bytes) -> Reading:
    """Return the reading in the first answer of a HidTEMPer of this type."""
    command, *_ = hidtemper.STICK_TYPES[kind].commands
    return Reading.of(hidtemper.decode(answer, command))


def lines(*given: bytes) -> Decoder:
    """Return the decoder of a serial stick's lines."""
    return Decoder(
        name="TEMPerX232",
        shapes=tuple((digits(line),) for line in given),
        decode=lambda answer: temperx232.decode(b"".join(answer).decode("latin-1")),
        is_right=partial(is_within, temperx232.TEMPERX232_RANGES),
    )


# Devices that report by themselves


def listen(make: Callable[[], Listener], answer: Answer) -> Reading:
    """Return the result of a stream's decoder for reports of the same time."""
    decoder, reading = make(), None
    error = BadFrameError(Fault.NO_ANSWER)
    for report in answer:
        try:
            decoder.feed(report, 0)
            reading = decoder.reading(0) or reading
        except BadFrameError as err:
            error = err
    if reading is None:
        raise error
    return reading


def stream(
    make: Callable[[], Listener], limits: Limits, *shapes: tuple[Shape, ...]
) -> Decoder:
    """Return the decoder of a device's reports."""
    return Decoder(
        name=make.__name__,
        shapes=shapes,
        decode=partial(listen, make),
        is_right=partial(is_within, limits),
    )


def monitor(answer: Answer) -> Reading:
    """Return a monitor's reading of reports, with their sums corrected."""
    return listen(ZyTemp, [r[:3] + bytes((sum(r[:3]) & 0xFF,)) + r[4:] for r in answer])


# The first bytes of a monitor's reports, and the ROM code of a DS18B20.
CO2, CELSIUS, HUMIDITY = b"P", b"B\x12", b"A"
PROBE: Final = bytes.fromhex("285ebf799715039b")


# Firmwares with the same reports share a row of the decoder.
DECODERS: Final = (
    *(temper(layout) for layout in {row.reports: row for row in LAYOUTS}.values()),
    Decoder(
        name="firmware text",
        shapes=((shape(b"TEMPer", 2), shape(8)), (shape(b"TEMPerGo"), shape(b"ld", 6))),
        decode=lambda answer: firmware_text(b"".join(answer)),
        is_right=is_firmware,
    ),
    Decoder(
        name="report descriptor",
        shapes=((shape(VENDOR_REPORT),), (shape(VENDOR_REPORT[:12], 24),)),
        decode=lambda answer: report_sizes(b"".join(answer)),
        is_right=are_sizes,
    ),
    bosch(bme280(0x60, "BME280")),
    bosch(bme280(0x58, "BMP280")),
    bosch(BME680),
    Decoder(
        name="HidTEMPer",
        shapes=((shape(2),), (shape(32),)),
        decode=lambda answer: stick_reading(0x58, b"".join(answer)),
        is_right=partial(is_within, {"temperature": hidtemper.FM75_RANGE_C}),
    ),
    Decoder(
        name="HidTEMPerHUM",
        shapes=((shape(4),), (shape(b"\x19", 1, b"\x05", 1),)),
        decode=lambda answer: stick_reading(0x5A, b"".join(answer)),
        is_right=partial(
            is_within, {"temperature": (-40, 123.8), "humidity": (0, 100)}
        ),
    ),
    lines(
        b"Temp-Inner:23.81 [C]<",
        b"Temp-Inner:-23.81 [C],42.00 [%RH]<",
        b"Temp-Outer:-0.31 [C]<\r\nTemp-Inner:9.70 [C],70.53 [%RH]<\r\n",
    ),
    Decoder(
        name="ZyTemp",
        shapes=(
            (
                shape(CO2, 2, bytes(1), b"\r", bytes(3)),
                shape(CELSIUS, 1, bytes(1), b"\r", bytes(3)),
                shape(HUMIDITY, 2, bytes(1), b"\r", bytes(3)),
                shape(CO2, 2, bytes(1), b"\r", bytes(3)),
            ),
        ),
        decode=monitor,
        is_right=partial(
            is_within,
            {"temperature": (-10, 60), "humidity": (0, 100), "co2": (1, 10_000)},
        ),
    ),
    stream(
        Diamex,
        {"temperature": (-55, 125)},
        (shape(bytes.fromhex("01010100"), 2, bytes(2), PROBE, bytes(48)),),
    ),
    stream(
        GoTemp,
        {"temperature": (-10, 110)},
        (
            shape(bytes.fromhex("0101"), 2, bytes(4)),
            shape(bytes.fromhex("0102"), 2, bytes(4)),
        ),
    ),
    stream(
        Lascar,
        {"temperature": (-40, 85), "humidity": (0, 100)},
        (shape(b"\x03", 2), shape(b"\x02", 1)),
    ),
)


def spoilt(source: Random, answer: list[bytes]) -> list[bytes]:
    """Return an answer with one error in it."""
    place = source.randrange(len(answer))
    part = answer[place]
    position = source.randrange(len(part))
    changed = bytes((source.getrandbits(8),))
    wrong = source.choice(
        (
            [part[:position] + changed + part[position + 1 :]],
            [part[:position]],
            [part + changed],
            [part, part],
            [part[::-1]],
            [source.randbytes(len(part))],
            [],
        )
    )
    return answer[:place] + wrong + answer[place + 1 :]


def content(source: Random, size: int) -> bytes:
    """Return bytes to fill a shape with, half of them typical for a room.

    Most codes have 16 bits, the upper ones first: those of a room are small.
    """
    drawn = source.randbytes(size)
    if source.getrandbits(1):
        return drawn
    return bytes(byte if n % 2 else byte & 0x0F for n, byte in enumerate(drawn))


def answers(source: Random, decoder: Decoder) -> Iterator[Answer]:
    """Yield answers without end."""
    while True:
        shapes = source.choice(decoder.shapes)
        answer = [part.fill(content(source, len(part.given))) for part in shapes]
        yield spoilt(source, answer) if source.getrandbits(1) else answer


def run(decoder: Decoder, number: int, source: Random) -> Counter[str]:
    """Decode so many answers; return the numbers of results and of errors."""
    outcomes: Counter[str] = Counter()
    for _, answer in zip(range(number), answers(source, decoder), strict=False):
        try:
            result = decoder.decode(answer)
        except ERRORS:
            outcomes["errors"] += 1
            continue
        if not decoder.is_right(result):
            hexadecimal = " / ".join(part.hex(" ") for part in answer)
            raise ValueError(f"{decoder.name}: {hexadecimal} gives {result}")
        outcomes["results"] += 1
    return outcomes
