"""The report descriptors of HID devices (HID 1.11, section 6.2.2)."""

from collections.abc import Iterator
from typing import Final

TEMPER_REPORT_BYTES: Final = 8
"""The length of a TEMPer's reports; no device that libusb reads has longer ones."""

# Main items: the upper six bits.
INPUT_ITEM: Final = 0x80
OUTPUT_ITEM: Final = 0x90
# Global items.
REPORT_SIZE_ITEM: Final = 0x74
REPORT_COUNT_ITEM: Final = 0x94
LONG_ITEM: Final = 0xFE


def report_sizes(descriptor: bytes) -> tuple[int, int]:
    """Return the bytes of an input and of an output report, without report ids."""
    bits = {INPUT_ITEM: 0, OUTPUT_ITEM: 0}
    size = count = 0
    for item, value in _short_items(descriptor):
        if item == REPORT_SIZE_ITEM:
            size = value
        elif item == REPORT_COUNT_ITEM:
            count = value
        elif item in bits:
            bits[item] += size * count
    return bits[INPUT_ITEM] // 8, bits[OUTPUT_ITEM] // 8


def _short_items(descriptor: bytes) -> Iterator[tuple[int, int]]:
    """Yield each item: tag and type in one number, and value (HID 1.11, 6.2.2.2)."""
    position = 0
    while position < len(descriptor):
        prefix = descriptor[position]
        if prefix == LONG_ITEM:
            return  # No known device uses long items.
        length = (0, 1, 2, 4)[prefix & 3]
        value = descriptor[position + 1 : position + 1 + length]
        yield prefix & 0xFC, int.from_bytes(value, "little")
        position += 1 + length
