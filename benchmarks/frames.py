"""Send generated answers through every decoder: python -m benchmarks.frames 1000000.

An answer is what a device sends for one reading. Most are made so that they get past
the first checks; then one in two is spoilt. Each has to be a value that the sensor can
measure, or an error of ours.
"""

import argparse
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
import random
import sys
import time
from typing import Any, Final, NamedTuple
from unittest.mock import patch

from custom_components.temperature_logger.drivers import (
    BadFrameError,
    DriverError,
    Fault,
    Reading,
)
from custom_components.temperature_logger.drivers.bme280 import (
    BURST,
    TRIMMING,
    TRIMMING_HUMIDITY,
    Bme280Sensor,
)
from custom_components.temperature_logger.drivers.bosch import (
    CHIP_ID,
    PRESSURE_RANGE,
    TEMPERATURE_RANGE,
)
from custom_components.temperature_logger.drivers.diamex import Diamex
from custom_components.temperature_logger.drivers.gotemp import GoTemp
from custom_components.temperature_logger.drivers.hidraw import (
    REPORT_SIZE,
    report_sizes,
)
from custom_components.temperature_logger.drivers.i2c import PowerLostError, Registers
from custom_components.temperature_logger.drivers.lascar import Lascar
from custom_components.temperature_logger.drivers.layouts import (
    LAYOUTS,
    VALUE_REPORT,
    Layout,
    Report,
    decode,
)
from custom_components.temperature_logger.drivers.stream import Decoder as Listener
from custom_components.temperature_logger.drivers.temper import FIRMWARE_PREFIX, _text
from custom_components.temperature_logger.drivers.zytemp import ZyTemp
from custom_components.temperature_logger.units import base
from emulation.chips import CALIBRATIONS
from emulation.descriptors import VENDOR_REPORT

type Answer = Sequence[bytes]
type Limits = Mapping[str, tuple[float, float]]
type Random = random.Random

# What a decoder may raise.
ERRORS: Final = (DriverError, PowerLostError)


class Shape(NamedTuple):
    """Bytes of which some are given."""

    given: bytes
    free: bytes
    """ff where any byte may stand, else 00."""

    def fill(self, content: bytes) -> bytes:
        """Return bytes of this shape with some content where it is free."""
        pairs = zip(self.given, self.free, content, strict=True)
        return bytes(given | free & byte for given, free, byte in pairs)


class Decoder(NamedTuple):
    """One function that makes something of what a device sent."""

    name: str
    shapes: tuple[tuple[Shape, ...], ...]
    """Answers that get past the first checks."""
    decode: Callable[[Answer], Any]
    is_right: Callable[[Any], bool]
    """Whether a result is one that can be."""


def shape(*content: bytes | int) -> Shape:
    """Return a shape of given bytes, and numbers of free ones."""
    given = (part if isinstance(part, bytes) else bytes(part) for part in content)
    free = (bytes(len(p)) if isinstance(p, bytes) else b"\xff" * p for p in content)
    return Shape(b"".join(given), b"".join(free))


def is_within(limits: Limits, reading: Reading) -> bool:
    """Return whether each value of a reading is one that its sensor can measure."""
    for quantity, value in reading.values.items():
        low, high = limits.get(quantity) or limits[base(quantity)]
        if not low <= value <= high:
            return False
    return True


# Sticks


def report_shapes(report: Report) -> Iterator[Shape]:
    """Yield what a report may look like, by its tag."""
    for tag in sorted(report.tags):
        head = bytes((VALUE_REPORT, tag))
        free = REPORT_SIZE - len(head) - len(report.ending)
        yield shape(head, free, report.ending)


def temper(layout: Layout) -> Decoder:
    """Return the decoder of a firmware's reports."""
    reports = [next(report_shapes(report)) for report in layout.reports]
    others = [(other,) for report in layout.reports for other in report_shapes(report)]
    channels = [c for report in layout.reports for c in report.channels]
    limits = {channel.quantity: (channel.low, channel.high) for channel in channels}
    return Decoder(
        name=f"{layout.firmware} ({layout.model})",
        shapes=(tuple(reports), *others),
        decode=lambda answer: decode(list(answer), layout),
        is_right=partial(is_within, limits),
    )


def is_firmware(text: str) -> bool:
    """Return whether a text can be a firmware's."""
    return text.startswith(FIRMWARE_PREFIX) and text.isascii() and text.isprintable()


def are_sizes(sizes: tuple[int, int]) -> bool:
    """Return whether numbers can be sizes."""
    return min(sizes) >= 0


# Chips


class Image(Registers):
    """Registers of a chip that answers with given bytes."""

    def __init__(self, chip_id: int) -> None:
        """Name the chip; there is no bus."""
        self._image = bytearray(256)
        self._image[CHIP_ID] = chip_id

    def put(self, register: int, content: bytes) -> None:
        """Put bytes into the registers."""
        self._image[register : register + len(content)] = content

    def read(self, register: int, length: int) -> bytes:
        """Read registers."""
        return bytes(self._image[register : register + length])

    def write(self, register: int, value: int) -> None:
        """Write a register."""
        self._image[register] = value


def collect(chip_id: int, answer: Answer) -> Reading:
    """Return what the driver makes of a trimming block and of a burst."""
    size = TRIMMING[1] + TRIMMING_HUMIDITY[1]
    content = b"".join(answer).ljust(size + BURST[1], b"\0")
    registers = Image(chip_id)
    registers.put(TRIMMING[0], content[: TRIMMING[1]])
    registers.put(TRIMMING_HUMIDITY[0], content[TRIMMING[1] : size])
    sensor = Bme280Sensor(registers, None)
    registers.put(BURST[0], content[size : size + BURST[1]])
    return sensor.collect()


def bosch(chip_id: int, name: str) -> Decoder:
    """Return the decoder of a chip's registers."""
    burst = shape(bytes.fromhex("0024a000"), 8)
    trimmings = [b"".join(calibration.registers()) for calibration in CALIBRATIONS]
    return Decoder(
        name=name,
        shapes=(
            *((shape(trimming), burst) for trimming in trimmings),
            (shape(len(trimmings[0])), burst),
        ),
        decode=partial(collect, chip_id),
        is_right=partial(
            is_within,
            {
                "temperature": TEMPERATURE_RANGE,
                "humidity": (0, 100),
                "pressure": PRESSURE_RANGE,
            },
        ),
    )


# Devices that report by themselves


def listen(make: Callable[[], Listener], answer: Answer) -> Reading:
    """Return what a stream's decoder makes of reports that come at one time."""
    decoder, reading = make(), None
    error = BadFrameError(Fault.NO_ANSWER)
    for report in answer:
        try:
            decoder.take(report, 0)
        except BadFrameError as err:
            error = err
        reading = decoder.reading(0) or reading
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
    """Return what a monitor's reports say, once their sums have been put right."""
    return listen(ZyTemp, [r[:3] + bytes((sum(r[:3]) & 0xFF,)) + r[4:] for r in answer])


# How the reports of a monitor begin, and a DS18B20's code.
CO2, CELSIUS, HUMIDITY = b"P", b"B\x12", b"A"
PROBE: Final = bytes.fromhex("285ebf799715039b")


# Firmwares that have the same reports are decoded by the same row.
DECODERS: Final = (
    *(temper(layout) for layout in {row.reports: row for row in LAYOUTS}.values()),
    Decoder(
        name="firmware text",
        shapes=((shape(b"TEMPer", 2), shape(8)), (shape(b"TEMPerGo"), shape(b"ld", 6))),
        decode=lambda answer: _text(b"".join(answer)),
        is_right=is_firmware,
    ),
    Decoder(
        name="report descriptor",
        shapes=((shape(VENDOR_REPORT),), (shape(VENDOR_REPORT[:12], 24),)),
        decode=lambda answer: report_sizes(b"".join(answer)),
        is_right=are_sizes,
    ),
    bosch(0x60, "BME280"),
    bosch(0x58, "BMP280"),
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
            {"temperature": (-10, 60), "humidity": (0, 100), "co2": (1, 5000)},
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
    """Return an answer with one thing wrong."""
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
    """Return bytes to fill a shape with, half of them what a room would give.

    Most codes are of 16 bits, the upper ones first: those of a room are small.
    """
    drawn = source.randbytes(size)
    if source.getrandbits(1):
        return drawn
    return bytes(byte if n % 2 else byte & 0x0F for n, byte in enumerate(drawn))


def answers(source: Random, decoder: Decoder) -> Iterator[Answer]:
    """Yield answers without an end."""
    while True:
        shapes = source.choice(decoder.shapes)
        answer = [part.fill(content(source, len(part.given))) for part in shapes]
        yield spoilt(source, answer) if source.getrandbits(1) else answer


def run(decoder: Decoder, number: int, source: Random) -> Counter[str]:
    """Decode so many answers; return how many are results, and how many errors."""
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


def main() -> None:
    """Print one line for each decoder."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.frames")
    parser.add_argument("number", type=int, help="answers for each decoder")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    # Adafruit's library gives each chip 4 ms to start.
    with patch.object(time, "sleep"):
        for decoder in DECODERS:
            began = time.monotonic()
            source = random.Random(arguments.seed)  # noqa: S311 - it keeps no secret.
            outcomes = run(decoder, arguments.number, source)
            each = (time.monotonic() - began) / arguments.number * 1e6
            sys.stdout.write(
                f"{decoder.name:32} {outcomes['results']:9} results "
                f"{outcomes['errors']:9} errors {each:6.1f} µs each\n"
            )
            sys.stdout.flush()


if __name__ == "__main__":
    main()
