"""The first HidTEMPer sticks, which answer by feature reports."""

from collections.abc import Mapping
import errno
import os
import struct
from typing import Any, ClassVar, override

from .descriptors import KEYBOARD, Gadget, Interface
from .sticks import Model, Stick, sht1x_humidity
from .values import code_for

REPORT_SIZE = 32
BEGIN = bytes.fromhex("0a0b0c0d00000200")
END = bytes.fromhex("0a0b0c0d00000100")
REPORT_32 = bytes.fromhex("0600ff0901a101150026ff007508952009018102952009029102c0")
"""Vendor page, 32 bytes in and out, no report numbers."""
COMMANDS = {
    0x48: "humidity",
    0x52: "type",
    0x53: "external_temperature",
    0x54: "temperature",
}


def stick(layout: str) -> Model:
    """Return a stick whose type byte is its layout, in hexadecimal."""
    data = Interface(kind=(3, 0, 0), report=REPORT_32, endpoints=((0x82, 3, 8),))
    gadget = Gadget(vid=0x1130, pid=0x660C, interfaces=(KEYBOARD, data))
    return Model(gadget=gadget, layout=layout, output=REPORT_SIZE)


MODELS = {
    "HidTEMPer1": stick("58"),
    "HidTEMPer2": stick("59"),
    "HidTEMPerHUM": stick("5a"),
    "HidTEMPerNTC": stick("5b"),
}


class ControlStick(Stick):
    """A stick that takes feature reports and returns its answer as one."""

    MODELS: ClassVar[Mapping[str, Model]] = MODELS
    FAULTS: ClassVar = dict.fromkeys(
        ("stale", "zero", "ff", "ff-code", "garbage", "stall", "short"),
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
        """Prepare an answer, which repeats its 8 bytes."""
        kind = COMMANDS.get(command[0] if command else 0, "other")
        self.commands[kind] += 1
        fault = self.strike(kind)
        name = fault.name if fault else ""
        if name == "stale":
            return
        answer = self._content(kind).ljust(8, b"\0") * (REPORT_SIZE // 8)
        spoilt = {
            "zero": bytes(REPORT_SIZE),
            "ff": b"\xff" * REPORT_SIZE,
            "ff-code": b"\xff\xff" + answer[2:],
            "garbage": os.urandom(REPORT_SIZE),
        }
        self._answer_now = spoilt.get(name, answer)

    def _content(self, kind: str) -> bytes:
        """Return the content of an answer."""
        values = self.current(self.values)
        if kind == "type":
            # The calibration, which is 0, follows the type.
            return bytes((0x57, int(self.model.layout, 16), 0x14, 0, 0x14, 0, 0x53))
        if kind == "humidity":
            celsius, humidity = values["temperature"] or 0.0, values["humidity"] or 0.0
            code = code_for(lambda c: sht1x_humidity(c, celsius), humidity, 0xFFF)
            return struct.pack(">HH", round((celsius + 39.7) * 100), round(code))
        return struct.pack(">hB", round((values.get(kind) or 0.0) * 16) * 16, 0x31)
