"""The first HidTEMPer sticks by PCsensor.

They take messages of 32 bytes, ten for each command, and answer half a second later by
a feature report, never by an input report:

    0a 0b 0c 0d 00 00 02 00     the command comes
    52, 53 or 54                type, outer or inner temperature
    00                          seven times
    0a 0b 0c 0d 00 00 01 00     that was it

The type is byte 2 of the answer, a temperature its first two, big-endian 1/256 °C.
Source: the course note temper.txt of the University of Jyväskylä, and TEMPered. What a
message is to the kernel: SET_REPORT 0200 for a write to the hidraw node, as there is no
endpoint for them, and GET_REPORT 0300 for HIDIOCGFEATURE. So libusb is not needed.

Nothing in an answer says what it answers. So the type is asked before each value: what
was not answered anew shows by being the type again.
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

SIZE: Final = 32
# Bytes that are asked for; how many come is not said anywhere.
ANSWER_SIZE: Final = 256
BEGIN: Final = bytes.fromhex("0a0b0c0d00000200")
END: Final = bytes.fromhex("0a0b0c0d00000100")
FILLING: Final = 7 * (b"",)
TYPE: Final = b"\x52"
OUTER: Final = b"\x53"
INNER: Final = b"\x54"
TYPE_AT: Final = 2
# Seconds; the note says half a second.
WAIT: Final = 0.6
# What its sensor, an FM75, can measure.
LOW: Final = -55.0
HIGH: Final = 125.0


class Model(NamedTuple):
    """One type of stick."""

    name: str
    commands: dict[str, bytes]
    """What asks for each quantity."""


MODELS: Final = {
    0x58: Model("HidTEMPer1", {"temperature": INNER}),
    0x59: Model(
        "HidTEMPer2", {"internal_temperature": INNER, "external_temperature": OUTER}
    ),
}


class HidTemper(HeldDevice[HidrawTransport]):
    """One stick at one place; opened by its first reading and held from then on."""

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
        self._kind = b""
        """The answer that tells the type, always the same."""
        self._model: Model | None = None

    @property
    def identity(self) -> Identity:
        """What the stick is; complete after the first reading."""
        return Identity(
            manufacturer="PCsensor",
            model=self._model.name if self._model else self._expected or "",
        )

    @property
    def facts(self) -> dict[str, str]:
        """The model."""
        return {"model": self._model.name} if self._model else {}

    @property
    def quantities(self) -> tuple[str, ...]:
        """The fields of a reading that this stick can have."""
        return tuple(self._model.commands) if self._model else ()

    @override
    async def _open(self) -> HidrawTransport:
        """Open the node, and settle which type of stick is there."""
        await self._closed()
        node = await self._lane.run(self._node, undo=Node.close)
        self._opened = transport = HidrawTransport(self._lane, node, self._on_gone)
        kind = await _ask(transport, TYPE)
        model = MODELS.get(kind[TYPE_AT])
        if model is None or self._expected not in {None, model.name}:
            await self._refuse(transport, kind, model)
        self._kind, self._model = kind, model
        return transport

    async def _refuse(
        self, transport: HidrawTransport, kind: bytes, model: Model | None
    ) -> Never:
        """Raise what is wrong with a stick that is not the one to be read."""
        if await _ask(transport, TYPE) != kind:  # It was left from before.
            raise BadFrameError(Fault.BAD_REPORT, report=kind.hex(" "))
        if model is None or self._expected is None:
            firmware = f"HidTEMPer, {kind.hex(' ')}"
            raise BadFrameError(Fault.UNKNOWN_TYPE, firmware=firmware)
        raise DeviceNotFoundError(
            Fault.STICK_CHANGED, found=model.name, expected=self._expected
        )

    @override
    def _release(self, opened: HidrawTransport) -> asyncio.Future[None]:
        """Begin to close; the result tells when that is done."""
        return opened.close()

    def _node(self) -> Node:
        """Return the opened node; blocks."""
        device = HIDTEMPER.find(self._place)
        return Node(HIDTEMPER.node(device))

    @override
    async def _read(self, opened: HidrawTransport) -> Reading:
        """Ask for each value, and before it for the type."""
        if TYPE_CHECKING:
            assert self._model is not None
        answers: dict[str, bytes] = {}
        for quantity, command in self._model.commands.items():
            kind = await _ask(opened, TYPE)
            answer = await _ask(opened, command)
            answers[quantity] = answer
            self._raw = {name: one.hex(" ") for name, one in answers.items()}
            if kind != self._kind or answer == self._kind:
                raise BadFrameError(Fault.BAD_REPORT, report=answer.hex(" "))
        return Reading.of({q: temperature(answer) for q, answer in answers.items()})


def temperature(answer: bytes) -> float:
    """Return the temperature in an answer of two bytes or more, in °C.

    Raises BadFrameError for one that the sensor cannot measure.
    """
    value = int.from_bytes(answer[:2], signed=True) / 256
    if not LOW <= value <= HIGH:
        raise out_of_range(f"{value:.2f}", LOW, HIGH)
    return value


async def _ask(transport: HidrawTransport, command: bytes) -> bytes:
    """Send a command; return its answer.

    Raises DeviceNotFoundError if the stick is gone, and BadFrameError if it takes no
    commands or has nothing to say.
    """
    for message in (BEGIN, command, *FILLING, END):
        await transport.exchange(message.ljust(SIZE, b"\0"), ())
    await asyncio.sleep(WAIT)
    answer = await transport.feature(ANSWER_SIZE)
    # All ff would be a temperature just below zero.
    if len(answer) <= TYPE_AT or len(set(answer)) == 1:
        raise BadFrameError(Fault.BAD_REPORT, report=answer.hex(" "))
    return answer
