"""The first HidTEMPer sticks by PCsensor.

A command is ten messages of 32 bytes, padded with zeros:

    0a 0b 0c 0d 00 00 02 00     start of the command
    52                          read the type
    53 or 54                    read the outer or the inner temperature
    48                          read temperature and humidity
    00                          seven times
    0a 0b 0c 0d 00 00 01 00     end of the command

The stick answers half a second later in a feature report, never in an input report:

    xx TY ...       the type TY; xx differs between sticks of one type
    HH LL ...       a temperature, big-endian 1/256 °C
    HH LL HH LL     big-endian codes of an SHT1x: temperature and humidity

Sources: the course note temper.txt of the University of Jyväskylä. Types: OpenBSD's
uthum(4) and M. Sulland's Device::USB::PCSensor::HidTEMPer, whose authors had sticks.
Humidity: uthum(4) and olegstepura/temper-hum-hid. TEMPered expects the type one byte
later, but its author had no stick.

The kernel sends a write to the hidraw node as SET_REPORT 0200, as the stick has no
endpoint for it, and HIDIOCGFEATURE as GET_REPORT 0300. So the driver does not need
libusb.

An answer does not say which command it belongs to. So the driver reads the type before
each value. If the stick does not answer the command for the value, the driver gets the
type a second time and notices it.
"""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, NamedTuple, Never, override

from ..errors import BadFrameError, DeviceNotFoundError, Fault, Invalid
from ..places import UsbPlace
from ..readings import Facts, Identity, Reading, Value
from ..values import Range, checked
from ..workers import Lane
from .device import HeldDevice
from .hidraw import HidrawTransport, Node
from .layouts import decode as decode_reports
from .layouts import layout_of_shape
from .models import HIDTEMPER

MESSAGE_BYTES: Final = 32
# The length of the request; no source states the length of an answer.
HIDTEMPER_ANSWER_BYTES: Final = 256
COMMAND_BEGIN: Final = bytes.fromhex("0a0b0c0d00000200")
COMMAND_END: Final = bytes.fromhex("0a0b0c0d00000100")
FILLER_MESSAGES: Final = 7 * (b"",)
READ_TYPE: Final = b"\x52"
READ_OUTER: Final = b"\x53"
READ_INNER: Final = b"\x54"
READ_BOTH: Final = b"\x48"
TYPE_OFFSET: Final = 1
# After these bytes, the answer repeats itself.
TYPE_ANSWER_BYTES: Final = 8
# Temperature and humidity.
MIN_ANSWER_BYTES: Final = 4
# The course note says half a second.
ANSWER_DELAY_S: Final = 0.6
# The range of the FM75, the sensor in the stick and at the end of its cable.
FM75_RANGE_C: Final = Range(-55, 125)
# All ones. An FM75 never sends them: it measures sixteenths of a degree.
FM75_NO_SENSOR_CODE: Final = b"\xff\xff"
# The report of a TEMPer with the same sensor, an SHT1x, begins with it.
SHT1X_REPORT_HEAD: Final = b"\x80\x04"


class StickCommand(NamedTuple):
    """A command that reads values."""

    code: bytes
    quantities: tuple[str, ...]
    """The quantities in its answer."""


class StickType(NamedTuple):
    """One type of stick."""

    name: str
    commands: tuple[StickCommand, ...]

    @property
    def quantities(self) -> tuple[str, ...]:
        """The quantities that the commands read."""
        return tuple(q for command in self.commands for q in command.quantities)


STICK_TYPES: Final = {
    0x58: StickType("HidTEMPer1", (StickCommand(READ_INNER, ("temperature",)),)),
    0x59: StickType(
        "HidTEMPer2",
        (
            StickCommand(READ_INNER, ("internal_temperature",)),
            StickCommand(READ_OUTER, ("external_temperature",)),
        ),
    ),
    0x5A: StickType(
        "HidTEMPerHUM", (StickCommand(READ_BOTH, ("temperature", "humidity")),)
    ),
}


class HidTemper(HeldDevice[HidrawTransport]):
    """One stick at one place; the first reading opens it, and it stays open."""

    def __init__(
        self,
        lane: Lane,
        place: UsbPlace,
        facts: Facts,
        on_gone: Callable[[], None] = lambda: None,
    ) -> None:
        """Prepare to read the stick at a place. Facts: model."""
        super().__init__(lane, place, facts, on_gone)
        self._expected: str | None = facts.get("model")
        self._type_answer = b""
        """The whole answer to the command for the type, which is always the same."""
        self._model: StickType | None = None

    @property
    def identity(self) -> Identity:
        """Manufacturer and model; complete after the first reading."""
        return Identity(
            manufacturer="PCsensor",
            model=self._model.name if self._model else self._expected or "",
        )

    @property
    def facts(self) -> dict[str, str]:
        """The model, once it was read."""
        return {"model": self._model.name} if self._model else {}

    @property
    def quantities(self) -> tuple[str, ...]:
        """The quantities of a reading of this stick; empty before the first one."""
        return self._model.quantities if self._model else ()

    @override
    async def _open(self) -> HidrawTransport:
        """Open the node and read the type of the stick."""
        await self._wait_closed()
        node = await self._lane.run(self._open_node, undo=Node.close)
        self._connection = transport = HidrawTransport(self._lane, node, self._on_gone)
        type_answer = await _query(transport, READ_TYPE)
        model = STICK_TYPES.get(type_answer[TYPE_OFFSET])
        if model is None or self._expected not in {None, model.name}:
            await self._raise_mismatch(transport, type_answer, model)
        self._type_answer, self._model = type_answer, model
        return transport

    async def _raise_mismatch(
        self, transport: HidrawTransport, type_answer: bytes, model: StickType | None
    ) -> Never:
        """Raise the error of a stick of another type than expected."""
        if (
            await _query(transport, READ_TYPE) != type_answer
        ):  # The answer was an old one.
            raise BadFrameError(Fault.BAD_REPORT, report=type_answer.hex(" "))
        if model is None or self._expected is None:
            firmware = f"HidTEMPer, {type_answer[:TYPE_ANSWER_BYTES].hex(' ')}"
            raise BadFrameError(Fault.UNKNOWN_TYPE, firmware=firmware)
        raise DeviceNotFoundError(
            Fault.STICK_CHANGED, found=model.name, expected=self._expected
        )

    @override
    def _release(self, connection: HidrawTransport) -> asyncio.Future[None]:
        """Begin to close the node; the future completes once that is done."""
        return connection.close()

    def _open_node(self) -> Node:
        """Find the stick and open its node; blocks."""
        device = HIDTEMPER.find(self._place)
        return Node(HIDTEMPER.node(device))

    @override
    async def _read(self, connection: HidrawTransport) -> Reading:
        """Read each value, and the type before it."""
        if TYPE_CHECKING:
            assert self._model is not None
        self._raw = {}
        values: dict[str, Value] = {}
        for command in self._model.commands:
            type_answer = await _query(connection, READ_TYPE)
            answer = await _query(connection, command.code)
            self._raw[", ".join(command.quantities)] = answer.hex(" ")
            if type_answer != self._type_answer or answer == self._type_answer:
                raise BadFrameError(Fault.BAD_REPORT, report=answer.hex(" "))
            values |= decode(answer, command)
        return Reading.of(values)


def decode(answer: bytes, command: StickCommand) -> dict[str, Value]:
    """Return the values in the answer to a command, in °C and %, or their faults."""
    if command.code == READ_BOTH:
        return _sht1x_values(answer)
    (quantity,) = command.quantities
    if answer.startswith(FM75_NO_SENSOR_CODE) or _is_empty(answer):
        return {quantity: Invalid.of(Fault.BAD_REPORT, report=answer.hex(" "))}
    value = int.from_bytes(answer[:2], signed=True) / 256
    return {quantity: checked(quantity, value, FM75_RANGE_C)}


def _sht1x_values(answer: bytes) -> dict[str, Value]:
    """Return the values of an SHT1x, or their faults.

    A TEMPer with this sensor sends the same codes, so its decoder computes them. Raises
    BadFrameError if no value is valid.
    """
    report = SHT1X_REPORT_HEAD + answer[:4] + bytes(2)
    reading = decode_reports([report], layout_of_shape("", "sht1x"))
    return {**reading.values, **reading.faults}


async def _query(transport: HidrawTransport, command: bytes) -> bytes:
    """Send a command; return its answer.

    Raises DeviceNotFoundError if the stick is gone, and BadFrameError if it does not
    take commands or its answer is empty.
    """
    for message in (COMMAND_BEGIN, command, *FILLER_MESSAGES, COMMAND_END):
        await transport.exchange(message.ljust(MESSAGE_BYTES, b"\0"), ())
    await asyncio.sleep(ANSWER_DELAY_S)
    answer = await transport.feature(HIDTEMPER_ANSWER_BYTES)
    is_type = command == READ_TYPE
    if len(answer) < MIN_ANSWER_BYTES or (is_type and _is_empty(answer)):
        raise BadFrameError(Fault.BAD_REPORT, report=answer.hex(" "))
    return answer


def _is_empty(answer: bytes) -> bool:
    """Return whether an answer has equal bytes only: the stick or sensor has none."""
    return len(set(answer)) == 1
