"""Send generated answers through every decoder: python -m benchmarks.frames 1000000.

An answer is what a device sends for one reading. Most are made so that they get past
the first checks; then one in two is spoilt. Each has to be a value that the sensor can
measure, or an error of ours.
"""

import argparse
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import partial
import random
import sys
import time
from typing import Any, Final, NamedTuple
from unittest.mock import patch

from custom_components.temperature_logger.drivers import DriverError, Reading
from custom_components.temperature_logger.drivers.bme280 import (
    BME280,
    BMP280,
    BURST,
    CHIP_ID,
    PRESSURE_RANGE,
    TEMPERATURE_RANGE,
    TRIMMING,
    TRIMMING_HUMIDITY,
    Chip,
    PowerLostError,
    Sensor,
)
from custom_components.temperature_logger.drivers.hidraw import (
    REPORT_SIZE,
    report_sizes,
)
from custom_components.temperature_logger.drivers.i2c import Registers
from custom_components.temperature_logger.drivers.layouts import (
    LAYOUTS,
    VALUE_REPORT,
    Layout,
    Report,
    decode,
)
from custom_components.temperature_logger.drivers.temper import FIRMWARE_PREFIX, _text
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
    return all(
        limits[quantity][0] <= value <= limits[quantity][1]
        for quantity, value in asdict(reading).items()
        if value is not None
    )


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

    def __init__(self, chip: Chip) -> None:
        """Name the chip; there is no bus."""
        self._image = bytearray(256)
        self._image[CHIP_ID] = chip.chip_id

    def put(self, register: int, content: bytes) -> None:
        """Put bytes into the registers."""
        self._image[register : register + len(content)] = content

    def read(self, register: int, length: int) -> bytes:
        """Read registers."""
        return bytes(self._image[register : register + length])

    def write(self, register: int, value: int) -> None:
        """Write a register."""
        self._image[register] = value


def collect(chip: Chip, answer: Answer) -> Reading:
    """Return what the driver makes of a trimming block and of a burst."""
    size = TRIMMING[1] + (TRIMMING_HUMIDITY[1] if chip.has_humidity else 0)
    content = b"".join(answer).ljust(size + BURST[1], b"\0")
    registers = Image(chip)
    registers.put(TRIMMING[0], content[: TRIMMING[1]])
    registers.put(TRIMMING_HUMIDITY[0], content[TRIMMING[1] : size])
    sensor = Sensor(registers, None)
    registers.put(BURST[0], content[size : size + BURST[1]])
    return sensor.collect()


def bosch(chip: Chip) -> Decoder:
    """Return the decoder of a chip's registers."""
    burst = shape(bytes.fromhex("0024a000"), 6 + 2 * chip.has_humidity)
    factory = [calibration.registers() for calibration in CALIBRATIONS]
    trimmings = [
        first + second if chip.has_humidity else first for first, second in factory
    ]
    size = len(trimmings[0])
    return Decoder(
        name=chip.model,
        shapes=(
            *((shape(trimming), burst) for trimming in trimmings),
            (shape(size), burst),
        ),
        decode=partial(collect, chip),
        is_right=partial(
            is_within,
            {
                "temperature": TEMPERATURE_RANGE,
                "humidity": (0, 100),
                "pressure": PRESSURE_RANGE,
            },
        ),
    )


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
    bosch(BME280),
    bosch(BMP280),
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
