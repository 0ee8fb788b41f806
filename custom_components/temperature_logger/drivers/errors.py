"""The faults that keep a thermometer from giving a reading."""

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


class DetailedError(Exception):
    """An error with the key of the text that explains it, and details for that text."""

    def __init__(self, key: StrEnum, **details: str) -> None:
        """Build the message for the log from the key and the details."""
        listed = ", ".join(f"{name} {value}" for name, value in details.items())
        super().__init__(f"{key} ({listed})" if listed else str(key))
        self.details = details


class DriverError(DetailedError):
    """A device did not give a reading."""

    def __init__(self, fault: Fault, **details: str) -> None:
        """Name the fault, with the details that its text quotes."""
        super().__init__(fault, **details)
        self.fault = fault


class DeviceNotFoundError(DriverError):
    """There is no device at the place where one was set up."""


class DeviceAccessError(DriverError):
    """The device is there, but the system does not allow access to it."""


class BadFrameError(DriverError):
    """The device did not answer, or its answer is not a valid reading."""


def out_of_range(value: str, low: float, high: float) -> BadFrameError:
    """Return the error of a value outside its sensor's range."""
    return BadFrameError(
        Fault.OUT_OF_RANGE, value=value, low=f"{low:g}", high=f"{high:g}"
    )
