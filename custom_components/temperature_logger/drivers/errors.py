"""The errors of the drivers, and the faults that they report."""

from collections.abc import Mapping
from enum import StrEnum
import re
from types import MappingProxyType
from typing import Final, NamedTuple, Self

# Everything but characters without a meaning in Markdown and HTML.
_UNSAFE_CHARACTER: Final = re.compile(r"[^A-Za-z0-9 ,:._+-]")
MAX_QUOTE_LENGTH: Final = 40


class Fault(StrEnum):
    """A cause of an error, one for each remedy; its value is the key of its text."""

    ADDRESS_HELD = "address_held"
    BAD_REGISTERS = "bad_registers"
    BAD_REPORT = "bad_report"
    BUS_DISABLED = "bus_disabled"
    BUS_ERROR = "bus_error"
    BUS_NOT_FOUND = "bus_not_found"
    BUS_NO_NODE = "bus_no_node"
    CHIP_CHANGED = "chip_changed"
    CHIP_NOT_FOUND = "chip_not_found"
    CHIP_UNSUPPORTED = "chip_unsupported"
    CHIP_WIRING = "chip_wiring"
    CONTRADICTORY = "contradictory"
    CONVERSION_LOST = "conversion_lost"
    CONVERSION_UNFINISHED = "conversion_unfinished"
    CPU_UNREADABLE = "cpu_unreadable"
    DISK_CONTRADICTORY = "disk_contradictory"
    DISK_HANGING = "disk_hanging"
    DISK_UNREADABLE = "disk_unreadable"
    FLOODED = "flooded"
    HANGING = "hanging"
    IN_USE = "in_use"
    NO_ANSWER = "no_answer"
    NO_LIBUSB = "no_libusb"
    NO_NODE = "no_node"
    NO_PERMISSION = "no_permission"
    NO_PORT = "no_port"
    OUT_OF_RANGE = "out_of_range"
    PROBE_RESET = "probe_reset"
    REFUSED = "refused"
    SENSOR_MISSING = "sensor_missing"
    SILENT = "silent"
    STICK_CHANGED = "stick_changed"
    STICK_NOT_FOUND = "stick_not_found"
    UNKNOWN_FIRMWARE = "unknown_firmware"
    UNKNOWN_TYPE = "unknown_type"


class DetailedError(Exception):
    """An error with the key of its text, and the placeholders of that text."""

    def __init__(self, key: StrEnum, **details: str) -> None:
        """Build the log message from the key and the details."""
        listed = ", ".join(f"{name} {value}" for name, value in details.items())
        super().__init__(f"{key} ({listed})" if listed else str(key))
        self.details = details


class DriverError(DetailedError):
    """The base of all errors of the drivers: a device gave no reading."""

    def __init__(self, fault: Fault, **details: str) -> None:
        """Keep the fault, and the placeholders of its text."""
        super().__init__(fault, **details)
        self.fault = fault


class DeviceNotFoundError(DriverError):
    """The device is not at its place."""


class DeviceAccessError(DriverError):
    """The device is connected, but cannot be accessed."""


class BadFrameError(DriverError):
    """The device did not answer, or its answer is invalid."""


class Invalid(NamedTuple):
    """The fault of a value that is not published, while other values may be."""

    fault: Fault
    details: Mapping[str, str] = MappingProxyType({})
    """The placeholders of its text."""

    @classmethod
    def of(cls, fault: Fault, **details: str) -> Self:
        """Return a fault with the placeholders of its text."""
        return cls(fault, details)

    @property
    def error(self) -> BadFrameError:
        """The error of a reading in which no value is valid."""
        return BadFrameError(self.fault, **self.details)


def inert(text: str) -> str:
    """Return a device's text for the details of an error: short and without markup."""
    return _UNSAFE_CHARACTER.sub("?", text[:MAX_QUOTE_LENGTH])
