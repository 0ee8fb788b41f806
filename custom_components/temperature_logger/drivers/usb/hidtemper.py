"""The first HidTEMPer sticks by PCsensor.

A command is ten messages of 32 bytes, padded with zeros:

    0a 0b 0c 0d 00 00 02 00     start of the command
    52, 53 or 54                read the type, the outer or the inner temperature
    00                          seven times
    0a 0b 0c 0d 00 00 01 00     end of the command

The stick answers half a second later in a feature report, never in an input report.
Byte 2 of the answer is the type; the first two bytes are a temperature, big-endian
1/256 °C. Source: the course note temper.txt of the University of Jyväskylä, and
TEMPered.

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

from ..errors import BadFrameError, DeviceNotFoundError, Fault, out_of_range
from ..places import UsbPlace
from ..readings import Facts, Identity, Reading
from ..workers import Lane
from .device import HeldDevice
from .hidraw import HidrawTransport, Node
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
TYPE_OFFSET: Final = 2
# The course note says half a second.
ANSWER_DELAY_S: Final = 0.6
# The range of the FM75, the sensor in the stick.
HIDTEMPER_MIN_C: Final = -55.0
HIDTEMPER_MAX_C: Final = 125.0


class StickType(NamedTuple):
    """One type of stick."""

    name: str
    commands: dict[str, bytes]
    """The command that reads each quantity."""


STICK_TYPES: Final = {
    0x58: StickType("HidTEMPer1", {"temperature": READ_INNER}),
    0x59: StickType(
        "HidTEMPer2",
        {"internal_temperature": READ_INNER, "external_temperature": READ_OUTER},
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
        return tuple(self._model.commands) if self._model else ()

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
            firmware = f"HidTEMPer, {type_answer.hex(' ')}"
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
        answers: dict[str, bytes] = {}
        for quantity, command in self._model.commands.items():
            type_answer = await _query(connection, READ_TYPE)
            answer = await _query(connection, command)
            answers[quantity] = answer
            self._raw = {name: raw.hex(" ") for name, raw in answers.items()}
            if type_answer != self._type_answer or answer == self._type_answer:
                raise BadFrameError(Fault.BAD_REPORT, report=answer.hex(" "))
        return Reading.of({q: temperature(answer) for q, answer in answers.items()})


def temperature(answer: bytes) -> float:
    """Return the temperature in °C in an answer of two bytes or more.

    Raises BadFrameError for a value that the sensor cannot measure.
    """
    value = int.from_bytes(answer[:2], signed=True) / 256
    if not HIDTEMPER_MIN_C <= value <= HIDTEMPER_MAX_C:
        raise out_of_range(f"{value:.2f}", HIDTEMPER_MIN_C, HIDTEMPER_MAX_C)
    return value


async def _query(transport: HidrawTransport, command: bytes) -> bytes:
    """Send a command; return its answer.

    Raises DeviceNotFoundError if the stick is gone, and BadFrameError if it does not
    take commands or its answer is empty.
    """
    for message in (COMMAND_BEGIN, command, *FILLER_MESSAGES, COMMAND_END):
        await transport.exchange(message.ljust(MESSAGE_BYTES, b"\0"), ())
    await asyncio.sleep(ANSWER_DELAY_S)
    answer = await transport.feature(HIDTEMPER_ANSWER_BYTES)
    # A stick without an answer may send equal bytes; ff would decode as -0.004 °C.
    if len(answer) <= TYPE_OFFSET or len(set(answer)) == 1:
        raise BadFrameError(Fault.BAD_REPORT, report=answer.hex(" "))
    return answer
