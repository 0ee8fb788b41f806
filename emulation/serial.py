"""Sticks with a serial port."""

from collections.abc import Mapping
import os
from typing import ClassVar, override

from .descriptors import SERIAL, Gadget
from .hidraw import HidrawNode
from .sticks import Model, Stick

CHUNK = 16
"""The number of characters that arrive together, as on a slow line."""
CHUNK_TIME = 0.002

MODELS = {
    "TEMPerX232_V2.0": Model(
        gadget=Gadget(
            vid=0x1A86, pid=0x5523, product="USB Serial", interfaces=(SERIAL,)
        ),
        firmware="TEMPerX232_V2.0",
        data=0,
    ),
}


class SerialStick(Stick):
    """A stick that takes text commands and answers with lines."""

    MODELS: ClassVar[Mapping[str, Model]] = MODELS
    FAULTS: ClassVar = dict.fromkeys(
        ("silent", "garbage", "partial", "drop-outer", "late-outer", "fahrenheit"),
        frozenset({"Version", "ReadTemp"}),
    )

    @override
    def command(self, data: bytes) -> list[tuple[float, bytes]]:
        """Take a command; return the pieces of the answer, each with its delay."""
        word = data.decode("latin-1")
        self.commands[word] += 1
        self.log.append(data)
        fault = self.strike(word)
        name = fault.name if fault else ""
        lines = self._lines(word, name)
        if name == "silent":
            lines = []
        text = "".join(f"{line}\r\n" for line in lines).encode()
        if name == "garbage":
            text = os.urandom(len(text))
        if name == "partial":
            text = text[: len(text) // 2]
        return [
            (CHUNK_TIME * (1 + start / CHUNK), text[start : start + CHUNK])
            for start in range(0, len(text), CHUNK)
        ]

    def _lines(self, word: str, fault: str) -> list[str]:
        """Return the lines of an answer."""
        if word != "ReadTemp":
            return [self.model.firmware] if word == "Version" else []
        values = self.current(self.values)
        sensors = {
            "Outer": (values["external_temperature"], values["external_humidity"]),
            "Inner": (values["temperature"], values["humidity"]),
        }
        if fault == "late-outer":
            sensors = dict(reversed(sensors.items()))
        if fault == "drop-outer":
            del sensors["Outer"]
        unit = "F" if fault == "fahrenheit" else "C"
        return [
            f"Temp-{name}:{temperature:.2f} [{unit}]"
            + ("" if humidity is None else f",{humidity:.2f} [%RH]")
            + "<"
            for name, (temperature, humidity) in sensors.items()
            if temperature is not None
        ]


class SerialNode(HidrawNode):
    """A /dev/ttyUSBN."""

    @override
    def _readable(self) -> None:
        """Pass the written bytes on."""
        self._command(os.read(self._master, 4096))
