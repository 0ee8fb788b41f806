"""TEMPer sticks, and USB devices that resemble them.

The models, their firmware and their reports are those of real sticks: PCsensor's
families 0c45 (values in 1/256 degrees of an FM75, or raw codes of a humidity sensor)
and 413d, 1a86, 3553 (hundredths).
"""

from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
import errno
import os
import struct
import time
from typing import Any, ClassVar

from .descriptors import (
    DATA,
    DATA_0C45,
    HID_BRIDGE,
    I2C_BRIDGE,
    KEYBOARD,
    MODEM,
    MODEM_DATA,
    MOUSE,
    SERIAL,
    Gadget,
)
from .faults import Fault, Faulty, failure
from .values import Value, code_for, value_at

MICRODIA = 0x0C45
"""The vendor id of the older sticks."""
QUANTITIES = (
    "temperature",
    "humidity",
    "external_temperature",
    "external_humidity",
    "second_external_temperature",
    "co2",
)
COMMANDS = {
    bytes.fromhex("018033"): "values",
    bytes.fromhex("0186ff"): "firmware",
    bytes.fromhex("018277"): "calibration",
    bytes.fromhex("0187ee"): "probes",
    bytes.fromhex("018155"): "calibration write",
}
CONTROL = {
    "control-timeout": errno.ETIMEDOUT,
    "protocol": errno.EPROTO,
    "stall": errno.EPIPE,
}
"""The faults of the control transfer that carries a command, and their errors."""
ANSWERS = {
    "calibration": bytes.fromhex("8204000000000000"),
    "probes": bytes.fromhex("8701010000000000"),
}
STALE_REPORT = bytes.fromhex("808000074e200000")
FLIPPED_BIT = 0x10
"""In the high byte of the first code: 40.96 degrees in hundredths."""


def si7005_humidity(code: int, temperature: float) -> float:
    """Return the relative humidity of a Si7005, linearised and compensated."""
    raw = code / 16 - 24
    linear = raw - (raw * raw * -0.00393 + raw * 0.4008 - 4.7844)
    return linear + (temperature - 30) * (linear * 0.00237 + 0.1973)


def sht1x_humidity(code: int, temperature: float) -> float:
    """Return the relative humidity of a SHT1x, compensated."""
    linear = -2.0468 + 0.0367 * code - 1.5955e-6 * code * code
    return linear + (temperature - 25) * (0.01 + 0.00008 * code)


@dataclass(frozen=True, kw_only=True, slots=True)
class Model:
    """A USB device, and its thermometer if there is one."""

    gadget: Gadget
    firmware: str = ""
    """The answer to the firmware query; without one it answers no command."""
    padding: bytes = b" "
    """The filling after the firmware text; empty: the buffer's earlier content."""
    layout: str = "none"
    absent: int = 0x4E20
    """The code of a value without a probe."""
    latency_ms: float = 12
    gap_ms: float = 20
    data: int = 1
    """The interface with the readings."""
    endpoint: int = 0x82
    """Where its reports come from."""
    output: int = 8
    """Bytes of a command."""


def stick(vid: int, pid: int, firmware: str, layout: str, product: str = "") -> Model:
    """Return a stick of the generation with this vendor id."""
    old = vid == MICRODIA
    gadget = Gadget(
        vid=vid,
        pid=pid,
        manufacturer={MICRODIA: "RDing", 0x3553: "PCsensor"}.get(vid, ""),
        product=product,
        usb=0x0200 if old else 0x0110,
        interfaces=(KEYBOARD, DATA_0C45 if old else DATA),
    )
    return Model(
        gadget=gadget,
        firmware=firmware,
        padding={MICRODIA: b"", 0x3553: b"\0"}.get(vid, b" "),
        layout=layout,
        absent=0xFFFF if old else 0x4E20,
        gap_ms=8 if old else 20,
    )


MODELS = {
    "TEMPerV1.2": stick(0x0C45, 0x7401, "TEMPerV1.2", "fm75", "TEMPerV1.2"),
    "TEMPerF1.2": stick(0x0C45, 0x7401, "TEMPerF1.2", "fm75", "TEMPerV1.2"),
    "TEMPerF1.4": stick(0x0C45, 0x7401, "TEMPerF1.4", "fm75", "TEMPerV1.4"),
    "TEMPer1F1.4": stick(0x0C45, 0x7401, "TEMPer1F1.4", "fm75", "TEMPer1V1.4"),
    "TEMPer1F1.1": stick(0x0C45, 0x7401, "TEMPer1F1.1", "fm75", "TEMPer1V1.1"),
    "TEMPer1F_V1.3": stick(
        0x0C45, 0x7401, "TEMPer1F_V1.3", "outer_fm75", "TEMPer1F_V1.3"
    ),
    "TEMPer2V1.3": stick(0x0C45, 0x7401, "TEMPer2V1.3", "two_fm75", "TEMPer2V1.3"),
    "TEMPer2V1.4": stick(0x0C45, 0x7401, "TEMPer2V1.4", "garbled_fm75", "TEMPer2V1.4"),
    "TEMPer2_M12_V1.3": stick(
        0x0C45, 0x7401, "TEMPer2_M12_V1.3", "two_fm75", "TEMPer2_M12_V1.3"
    ),
    "TEMPerNTC1.O": stick(
        0x0C45, 0x7401, "TEMPerNTC F1.0", "three_fm75", "TEMPerNTC1.O"
    ),
    "TEMPerHumV1.0": stick(0x0C45, 0x7402, "TEMPerHumV1.0", "sht1x", "TEMPerHumiV1.0"),
    "TEMPerHumV1.1": stick(0x0C45, 0x7402, "TEMPerHumV1.1", "sht1x", "TEMPerHumiV1.1"),
    "TEMPerHumM12V1.0": stick(
        0x0C45, 0x7402, "TEMPerHumM12V1.0", "si7005", "TEMPerHumM12V1.0"
    ),
    "TEMPerHumM12V1.2": stick(
        0x0C45, 0x7402, "TEMPerHumM12V1.2", "si7021", "TEMPERHUM1V1.3"
    ),
    "TEMPerHumM12V1.3": stick(
        0x0C45, 0x7402, "TEMPerHumM12V1.3", "si7021", "TEMPERHUM1V1.3"
    ),
    "TEMPer1F_H1V1.4F": stick(
        0x0C45, 0x7402, "TEMPer1F_H1V1.4", "sht20", "TEMPer1F_H1_V1.4"
    ),
    "TEMPer1F_H1V1.5F": stick(
        0x0C45, 0x7402, "TEMPer1F_H1V1.5", "sht20", "TEMPer1F_H1"
    ),
    "TEMPerGold_V3.1": stick(0x413D, 0x2107, "TEMPerGold_V3.1", "inner"),
    "TEMPerX_V3.1": stick(0x413D, 0x2107, "TEMPerX_V3.1", "inner"),
    "TEMPerX_V3.2": stick(0x413D, 0x2107, "TEMPerX_V3.2", "both"),
    "TEMPerX_V3.3": stick(0x413D, 0x2107, "TEMPerX_V3.3", "both_x"),
    "TEMPerX_V3.3 (TEMPer1F)": stick(0x413D, 0x2107, "TEMPerX_V3.3", "outer"),
    "TEMPerGold_V3.3": stick(0x1A86, 0xE025, "TEMPerGold_V3.3", "inner"),
    "TEMPerGold_V3.4": stick(0x1A86, 0xE025, "TEMPerGold_V3.4", "inner"),
    "TEMPer2_V3.7": stick(0x1A86, 0xE025, "TEMPer2_V3.7", "both"),
    "TEMPer2_V3.9": stick(0x1A86, 0xE025, "TEMPer2_V3.9", "both"),
    "TEMPer1F_V3.9": stick(0x1A86, 0xE025, "TEMPer1F_V3.9", "outer"),
    "TEMPerHUM_V3.8": stick(0x1A86, 0xE025, "TEMPerHUM_V3.8", "humid"),
    "TEMPerHUM_V3.9": stick(0x1A86, 0xE025, "TEMPerHUM_V3.9", "humid"),
    "TEMPerHUM_V4.0": stick(0x1A86, 0xE025, "TEMPerHUM_V4.0", "humid"),
    "TEMPer2_M12_V1.3 (1a86)": stick(0x1A86, 0xE025, "TEMPer2_M12_V1.3", "two_fm75"),
    "TEMPerGold_V3.5": stick(0x3553, 0xA001, "TEMPerGold_V3.5", "inner", "TEMPerGold"),
    "TEMPer2_V4.1": stick(0x3553, 0xA001, "TEMPer2_V4.1", "both_if_fitted", "TEMPer2"),
    "TEMPer1F_V4.1": stick(
        0x3553, 0xA001, "TEMPer1F_V4.1", "outer_if_fitted", "TEMPer1F"
    ),
    "TEMPerHUM_V4.1": stick(0x3553, 0xA001, "TEMPerHUM_V4.1", "humid", "TEMPerHUM"),
    # None of these is a thermometer.
    "pedal 413d": Model(gadget=Gadget(vid=0x413D, pid=0x2107)),
    "pedal 0c45": Model(gadget=Gadget(vid=0x0C45, pid=0x7403, product="FootSwitch")),
    "mouse": Model(
        gadget=Gadget(
            vid=0x046D, pid=0xC077, product="USB Optical Mouse", interfaces=(MOUSE,)
        )
    ),
    "ch340": Model(
        gadget=Gadget(
            vid=0x1A86, pid=0x7523, product="USB2.0-Serial", interfaces=(SERIAL,)
        )
    ),
    "i2c-tiny-usb": Model(
        gadget=Gadget(
            vid=0x0403, pid=0xC631, product="i2c-tiny-usb", interfaces=(I2C_BRIDGE,)
        )
    ),
    "two i2c-tiny-usb": Model(
        gadget=Gadget(vid=0x0403, pid=0xC631, interfaces=(I2C_BRIDGE, I2C_BRIDGE))
    ),
    "MCP2221": Model(
        gadget=Gadget(
            vid=0x04D8,
            pid=0x00DD,
            product="MCP2221 USB-I2C/UART Combo",
            interfaces=(MODEM, MODEM_DATA, HID_BRIDGE),
        )
    ),
    "CP2112": Model(
        gadget=Gadget(
            vid=0x10C4,
            pid=0xEA90,
            product="CP2112 HID USB-to-SMBus Bridge",
            interfaces=(HID_BRIDGE,),
        )
    ),
}


def model_of(spec: Mapping[str, Any], models: Mapping[str, Model]) -> Model:
    """Return the model in a spec, with the changes in the spec."""
    model = models[spec["model"]]
    ids = {key: int(spec[key], 16) for key in ("vid", "pid") if key in spec}
    strings = {key: spec[key] for key in ("manufacturer", "product") if key in spec}
    changes: dict[str, Any] = ids | strings
    fields = ("firmware", "layout", "latency_ms", "gap_ms")
    return replace(
        model,
        gadget=replace(model.gadget, **changes),
        **{key: spec[key] for key in fields if key in spec},
    )


def verbatim(reports: Iterable[str]) -> list[bytes]:
    """Return reports that a spec gives in hexadecimal, with blanks anywhere."""
    return [bytes.fromhex(report.replace(" ", "")) for report in reports]


@dataclass(slots=True)
class Transmitter:
    """The buffer of older firmware: 8 bytes, filled only to the length of an answer."""

    buffer: bytearray = field(default_factory=lambda: bytearray(8))

    def send(self, content: bytes) -> bytes:
        """Send a report: the content, followed by the buffer's earlier content."""
        self.buffer[: len(content)] = content
        return bytes(self.buffer)


class Stick(Faulty):
    """A USB device at the level of its HID reports."""

    interval: float | None = None
    """Seconds between two reports that it sends by itself, if it does."""

    MODELS: ClassVar[Mapping[str, Model]] = MODELS
    FAULTS: ClassVar = dict.fromkeys(
        (
            *("timeout", "stall-in", "garbage", "zero", "ff", "short", "partial"),
            *("drop-first", "reverse", "swap", "noprobe", "extra", "delay"),
            *("wrong-tag", "flipped-bit", *CONTROL),
        ),
        frozenset({"values", "firmware"}),
    )

    def __init__(self, spec: Mapping[str, Any]) -> None:
        """Build the stick of one "usb" entry of a machine spec."""
        self.name: str = spec["name"]
        self.model = model_of(spec, self.MODELS)
        self.values: dict[str, Value] = {q: spec.get(q) for q in QUANTITIES}
        self.fail_as(spec.get("fault"))
        self.reports = verbatim(spec.get("reports", []))
        self.firmware_reports = verbatim(spec.get("firmware_reports", []))
        self.commands: Counter[str] = Counter()
        """The number of each command, by its name."""
        self.log: deque[bytes] = deque(maxlen=2000)
        """The commands that came."""
        self.halted: set[int] = set()
        """Endpoints that stall until they are cleared."""
        self._transmitter = Transmitter()
        # The content of the buffer after power-up.
        self._firmware()

    def refuses(self, data: bytes) -> Fault | None:
        """Return the fault for the control transfer of a command."""
        fault, kind = self.fault, COMMANDS.get(data[:3], "other")
        if fault and fault.name in CONTROL and kind in fault.on:
            return fault
        return None

    def command(self, data: bytes) -> list[tuple[float, bytes]]:
        """Take 8 bytes; return the reports to come, each with its delay in seconds."""
        kind = COMMANDS.get(data[:3], "other")
        self.commands[kind] += 1
        self.log.append(data)
        if not self.model.firmware:
            return []
        fault = self.strike(kind)
        if fault and fault.name == "swap":
            kind = {"values": "firmware", "firmware": "values"}[kind]
        reports = self._answer(kind, fault)
        delay, gap = self.model.latency_ms / 1000, self.model.gap_ms / 1000
        if fault:
            self._disturb(fault)
            reports = spoil(fault, reports)
            if fault.name == "delay":
                delay = 2.0 if fault.argument is None else fault.argument
        return [(delay + n * gap, report) for n, report in enumerate(reports)]

    def report(self) -> bytes | None:
        """Return the next report that it sends by itself."""
        return None

    def repeat(self) -> bytes | None:
        """Return the last report with its present values."""
        return None

    def set_feature(self, data: bytes) -> None:
        """Take a feature report; a stick has none."""
        self.log.append(data)
        raise BrokenPipeError(errno.EPIPE, "Stalled")

    def get_feature(self, length: int) -> bytes:
        """Return a feature report; a stick has none."""
        raise BrokenPipeError(errno.EPIPE, f"Stalled, asked for {length} bytes")

    def _answer(self, kind: str, fault: Fault | None) -> list[bytes]:
        """Return the reports of a healthy stick."""
        if kind == "firmware":
            return self.firmware_reports or self._firmware()
        if kind == "values":
            absent = fault is not None and fault.name == "noprobe"
            values = self.current({}) if absent else self.current(self.values)
            return self.reports or Layouts(self.model, values, self._transmitter)()
        return [ANSWERS[kind]] if kind in ANSWERS else []

    def _disturb(self, fault: Fault) -> None:
        """Fail at the level of USB transfers."""
        if fault.name in CONTROL:
            raise failure(CONTROL[fault.name])
        if fault.name == "stall-in":
            self.halted.add(0x82)

    @staticmethod
    def current(values: Mapping[str, Value]) -> dict[str, float | None]:
        """Return the present values of the sensors."""
        timestamp = time.time()
        return {q: value_at(values.get(q), timestamp) for q in QUANTITIES}

    def _firmware(self) -> list[bytes]:
        """Return the two reports of the firmware query."""
        text = self.model.firmware.encode()
        if self.model.padding:
            text = text.ljust(16, self.model.padding)
        return [self._transmitter.send(text[n : n + 8]) for n in (0, 8)]


def spoil(fault: Fault, reports: list[bytes]) -> list[bytes]:
    """Return the reports, changed by a fault."""
    short = 2 if fault.argument is None else int(fault.argument)
    spoilers: dict[str, Callable[[], list[bytes]]] = {
        "timeout": list,
        "stall-in": list,
        "garbage": lambda: [os.urandom(8) for _ in reports],
        "zero": lambda: [bytes(8) for _ in reports],
        "ff": lambda: [b"\xff" * 8 for _ in reports],
        "short": lambda: [report[:short] for report in reports],
        "partial": lambda: reports[:1],
        "drop-first": lambda: reports[1:],
        "reverse": lambda: reports[::-1],
        "extra": lambda: [STALE_REPORT, *reports],
        "wrong-tag": lambda: [b"\x90" + report[1:] for report in reports],
        "flipped-bit": lambda: [
            report[:2] + bytes((report[2] ^ FLIPPED_BIT,)) + report[3:]
            for report in reports
        ],
    }
    return spoilers.get(fault.name, lambda: reports)()


class Layouts:
    """The reports with a stick's values, one method for each layout."""

    def __init__(
        self,
        model: Model,
        values: Mapping[str, float | None],
        transmitter: Transmitter,
    ) -> None:
        """Prepare the reports of one answer."""
        self.model = model
        self.values = values
        self.transmitter = transmitter

    def __call__(self) -> list[bytes]:
        """Return the reports in the model's layout."""
        reports: list[bytes] = getattr(self, self.model.layout)()
        return reports

    def code(self, quantity: str, formula: Callable[[float], float]) -> int:
        """Return the code of a quantity, rounded, or the code of an absent probe."""
        value = self.values[quantity]
        if value is None:
            return self.model.absent
        return max(-0x8000, min(round(formula(value)), 0xFFFF)) & 0xFFFF

    def hundredths(self, quantity: str) -> int:
        """Return a code in 1/100."""
        return self.code(quantity, lambda value: value * 100)

    def fm75_code(self, quantity: str) -> int:
        """Return a code in 1/256 degrees; the FM75 measures sixteenths."""
        return self.code(quantity, lambda value: round(value * 16) * 16)

    def old(self, count: int, *codes: int) -> list[bytes]:
        """Return the one report of an older stick; count is its second byte."""
        return [
            self.transmitter.send(struct.pack(f">BB{len(codes)}H", 0x80, count, *codes))
        ]

    def new(self, tag: int, first: int, second: int | None = None) -> bytes:
        """Return one report of a stick that counts hundredths."""
        second = self.model.absent if second is None else second
        return struct.pack(">BBHHH", 0x80, tag, first, second, 0)

    def fm75(self) -> list[bytes]:
        """One FM75."""
        return self.old(2, self.fm75_code("temperature"))

    def outer_fm75(self) -> list[bytes]:
        """One FM75 on a cable, in the second slot."""
        return self.old(4, self.model.absent, self.fm75_code("temperature"), 0)

    def two_fm75(self) -> list[bytes]:
        """One FM75 in the stick and one on a cable."""
        inner, outer = "temperature", "external_temperature"
        return self.old(4, self.fm75_code(inner), self.fm75_code(outer))

    def garbled_fm75(self) -> list[bytes]:
        """One FM75, and a second slot without a meaning."""
        return self.old(4, self.fm75_code("temperature"), 0x1CB3)

    def three_fm75(self) -> list[bytes]:
        """Three sensors."""
        third = self.fm75_code("second_external_temperature")
        inner, outer = "temperature", "external_temperature"
        return self.old(6, self.fm75_code(inner), self.fm75_code(outer), third)

    def sht1x(self) -> list[bytes]:
        """Raw codes of a SHT1x."""
        celsius = self.values["temperature"] or 0.0
        return self.old(
            4,
            self.code("temperature", lambda t: (t + 39.7) * 100),
            self.code(
                "humidity",
                lambda h: code_for(lambda c: sht1x_humidity(c, celsius), h, 0xFFF),
            ),
        )

    def si7005(self) -> list[bytes]:
        """Raw codes of a Si7005."""
        celsius = self.values["temperature"] or 0.0
        return self.old(
            4,
            self.code("temperature", lambda t: (t + 50) * 32),
            self.code(
                "humidity",
                lambda h: code_for(lambda c: si7005_humidity(c, celsius), h, 0xFFF),
            ),
        )

    def si7021(self) -> list[bytes]:
        """Raw codes of a Si7006 or Si7021."""
        return self.old(
            4,
            self.code("temperature", lambda t: (t + 46.85) * 65536 / 175.72) & ~3,
            self.code("humidity", lambda h: (h + 6) * 65536 / 125) & ~3 | 2,
        )

    def sht20(self) -> list[bytes]:
        """Raw codes of a SHT20, shifted by the firmware."""
        return self.old(
            4,
            self.code("temperature", lambda t: (t + 46.85) * 16384 / 175.72),
            self.code("humidity", lambda h: (h + 6) * 4096 / 125),
        )

    def inner(self) -> list[bytes]:
        """Temperature, and humidity where the stick has it."""
        codes = self.hundredths("temperature"), self.hundredths("humidity")
        return [self.new(0x80, *codes)]

    def humid(self) -> list[bytes]:
        """Temperature and humidity of the sticks that tag them 20."""
        codes = self.hundredths("temperature"), self.hundredths("humidity")
        return [self.new(0x20, *codes)]

    def outer(self) -> list[bytes]:
        """One sensor on a cable."""
        return [self.new(0x01, self.hundredths("temperature"))]

    def outer_if_fitted(self) -> list[bytes]:
        """One sensor on a cable; without it the stick stays silent."""
        return [] if self.values["temperature"] is None else self.outer()

    def both(self) -> list[bytes]:
        """One sensor in the stick and one on a cable, each in its own report."""
        outer = self.hundredths("external_temperature")
        return [self.new(0x80, self.hundredths("temperature")), self.new(0x01, outer)]

    def both_if_fitted(self) -> list[bytes]:
        """Leave the second report out where no probe is fitted."""
        fitted = self.values["external_temperature"] is not None
        return self.both() if fitted else self.both()[:1]

    def both_x(self) -> list[bytes]:
        """Temperature and humidity, inside and on a cable."""
        outer = "external_temperature", "external_humidity"
        return [*self.inner(), self.new(0x01, *(self.hundredths(q) for q in outer))]
