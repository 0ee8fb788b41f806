"""The first HidTEMPer sticks, which answer by feature reports."""

from collections.abc import Mapping
import errno
import os
from typing import Any, ClassVar, override

from .descriptors import KEYBOARD, Gadget, Interface
from .sticks import Model, Stick

REPORT_SIZE = 32
BEGIN = bytes.fromhex("0a0b0c0d00000200")
END = bytes.fromhex("0a0b0c0d00000100")
REPORT_32 = bytes.fromhex("0600ff0901a101150026ff007508952009018102952009029102c0")
"""Vendor page, 32 bytes in and out, no report numbers."""
COMMANDS = {0x52: "type", 0x53: "external_temperature", 0x54: "temperature"}


def stick(layout: str) -> Model:
    """Return a stick whose type byte is its layout, in hexadecimal."""
    data = Interface(kind=(3, 0, 0), report=REPORT_32, endpoints=((0x82, 3, 8),))
    gadget = Gadget(vid=0x1130, pid=0x660C, interfaces=(KEYBOARD, data))
    return Model(gadget=gadget, layout=layout, output=REPORT_SIZE)


MODELS = {
    "HidTEMPer1": stick("58"),
    "HidTEMPer2": stick("59"),
    "HidTEMPerNTC": stick("5b"),
}


class ControlStick(Stick):
    """A stick that takes feature reports and returns its answer as one."""

    MODELS: ClassVar[Mapping[str, Model]] = MODELS
    FAULTS: ClassVar = dict.fromkeys(
        ("stale", "zero", "ff", "garbage", "stall", "short"),
        frozenset(COMMANDS.values()),
    )

    def __init__(self, spec: Mapping[str, Any]) -> None:
        """Build the stick of one "usb" entry of a machine spec."""
        super().__init__(spec)
        self._messages: list[bytes] = []
        self._answer_now = b"\xaa" * REPORT_SIZE

    @override
    def command(self, data: bytes) -> list[tuple[float, bytes]]:
        """Take a message; the last one of ten makes them a command."""
        self.log.append(data)
        if data.startswith(BEGIN):
            self._messages = []
        self._messages.append(data.rstrip(b"\0"))
        if data.startswith(END) and len(self._messages) == 10:  # noqa: PLR2004 - as seen
            self._execute(self._messages[1])
        return []

    @override
    def get_feature(self, length: int) -> bytes:
        """Return the answer."""
        if self.fault and self.fault.name == "stall":
            raise BrokenPipeError(errno.EPIPE, "Stalled")
        short = 1 if self.fault and self.fault.name == "short" else length
        return self._answer_now[: min(short, length)]

    def _execute(self, command: bytes) -> None:
        """Prepare an answer; bytes that it does not fill keep their old content."""
        kind = COMMANDS.get(command[0] if command else 0, "other")
        self.commands[kind] += 1
        fault = self.strike(kind)
        name = fault.name if fault else ""
        if name == "stale":
            return
        if kind == "type":
            answer = bytes((0x58, 0x00, int(self.model.layout, 16), 0x01))
        else:
            value = self.current(self.values).get(kind)
            code = 0 if value is None else round(value * 16) * 16
            answer = code.to_bytes(2, signed=True)
        self._answer_now = answer + self._answer_now[len(answer) :]
        spoilt = {
            "zero": bytes(REPORT_SIZE),
            "ff": b"\xff" * REPORT_SIZE,
            "garbage": os.urandom(REPORT_SIZE),
        }
        self._answer_now = spoilt.get(name, self._answer_now)
