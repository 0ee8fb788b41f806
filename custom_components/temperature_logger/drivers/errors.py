"""What can go wrong between a thermometer and its reading."""

from enum import StrEnum


class Fault(StrEnum):
    """One member per remedy; its value is the key of the text that names it."""

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
    CONVERSION_LOST = "conversion_lost"
    CONVERSION_UNFINISHED = "conversion_unfinished"
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
    STICK_CHANGED = "stick_changed"
    STICK_NOT_FOUND = "stick_not_found"
    UNKNOWN_FIRMWARE = "unknown_firmware"
    UNKNOWN_TYPE = "unknown_type"


class DriverError(Exception):
    """A reading that could not be had."""

    def __init__(self, fault: Fault, **details: str) -> None:
        """Say what is wrong, with the details that its text quotes."""
        quoted = ", ".join(f"{key} {value}" for key, value in details.items())
        super().__init__(f"{fault} ({quoted})" if quoted else str(fault))
        self.fault = fault
        self.details = details


class DeviceNotFoundError(DriverError):
    """Nothing is where the device was."""


class DeviceAccessError(DriverError):
    """The device is there and the system does not let us use it."""


class BadFrameError(DriverError):
    """The device answered with something that is no reading, or not at all."""


def out_of_range(value: str, low: float, high: float) -> BadFrameError:
    """Return the error of a value outside its sensor's range."""
    return BadFrameError(
        Fault.OUT_OF_RANGE, value=value, low=f"{low:g}", high=f"{high:g}"
    )
