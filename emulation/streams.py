"""USB thermometers that report by themselves, one value after the other.

Real ones take half a second or more for each; these are faster, so that tests take less
time.
"""

from collections.abc import Callable, Mapping
import os
import struct
import time
from typing import Any, ClassVar, override

from .descriptors import Gadget, Interface
from .faults import Fault
from .sticks import QUANTITIES, Model, Stick
from .values import value_at

FEATURE_8 = bytes.fromhex("0600ff0901a1010901150026ff00750895088102")
"""Vendor page, 8 bytes in and a feature report of 8, no report numbers."""
RAW_64 = bytes.fromhex("06abff0a0002a1017508150026ff00954009018102954009029102c0")
"""Vendor page, 64 bytes in and out, no report numbers."""
LASCAR_REPORTS = bytes.fromhex(
    "0600ff0901a101150026ff00750885029501090281028503950209038102c0"
)
"""Vendor page, report 2 of one byte and report 3 of two."""
ZYTEMP_WORD = bytes((c >> 4 | c << 4) & 0xFF for c in b"Htemp99e")
ZYTEMP_ORDER = (2, 4, 0, 7, 1, 6, 5, 3)
ZYTEMP_END = 0x0D


def streamer(gadget: Gadget, layout: str, gap_ms: float = 20) -> Model:
    """Return a device whose first interface sends the reports of a layout."""
    return Model(gadget=gadget, layout=layout, data=0, endpoint=0x81, gap_ms=gap_ms)


def hid(report: bytes | None, size: int, driver: str = "usbhid") -> Interface:
    """Return an interface with one endpoint for reports up to this number of bytes."""
    endpoint = (0x81, 3, size)
    return Interface(
        kind=(3, 0, 0), report=report, driver=driver, endpoints=(endpoint,)
    )


MODELS = {
    "USB-zyTemp": streamer(
        Gadget(
            vid=0x04D9,
            pid=0xA052,
            manufacturer="Holtek",
            product="USB-zyTemp",
            interfaces=(hid(FEATURE_8 + bytes.fromhex("0901b102c0"), 8),),
        ),
        "zytemp",
    ),
    "Temp-Sensor-Tester": streamer(
        Gadget(
            vid=0x16C0,
            pid=0x0480,
            manufacturer="DIAMEX GmbH",
            product="Temp-Sensor-Tester",
            speed="12",
            interfaces=(hid(RAW_64, 64),),
        ),
        "diamex",
    ),
    "Go!Temp": streamer(
        Gadget(
            vid=0x08F7,
            pid=0x0002,
            manufacturer="Vernier",
            product="Go! Temp ver 1.53",
            interfaces=(hid(None, 8, "ldusb"),),
        ),
        "gotemp",
        gap_ms=100,
    ),
    "Go!Temp (usbhid)": streamer(
        Gadget(
            vid=0x08F7,
            pid=0x0002,
            manufacturer="Vernier",
            product="Go! Temp ver 1.53",
            interfaces=(hid(FEATURE_8 + bytes.fromhex("0901b102c0"), 8),),
        ),
        "gotemp",
        gap_ms=100,
    ),
    "EL-USB-RT": streamer(
        Gadget(
            vid=0x1781,
            pid=0x0EC4,
            manufacturer="Lascar Electronics",
            product="EL-USB-RT",
            interfaces=(hid(LASCAR_REPORTS, 8),),
        ),
        "lascar",
        gap_ms=100,
    ),
}


def encrypted(plain: bytes, key: bytes) -> bytes:
    """Return a report as older CO2 monitors send it."""
    added = bytes((a + b) & 0xFF for a, b in zip(plain, ZYTEMP_WORD, strict=True))
    number = int.from_bytes(added)
    turned = (number << 3 | number >> 61) & (2**64 - 1)
    mixed = bytes(a ^ b for a, b in zip(turned.to_bytes(8), key, strict=True))
    report = bytearray(8)
    for target, byte in zip(ZYTEMP_ORDER, mixed, strict=True):
        report[target] = byte
    return bytes(report)


class Streamer(Stick):
    """A USB device that sends its values by itself."""

    MODELS: ClassVar[Mapping[str, Model]] = MODELS
    FAULTS: ClassVar = dict.fromkeys(
        (
            *("silent", "garbage", "zero", "ff", "short", "wrong-checksum", "no-end"),
            *("power-on", "gap", "stuck"),
        ),
        frozenset({"report"}),
    ) | {"no-key": frozenset({"feature"})}

    def __init__(self, spec: Mapping[str, Any]) -> None:
        """Build the device of one "usb" entry of a machine spec."""
        super().__init__(spec)
        self.values |= spec.get("probes", {})
        self.interval = self.model.gap_ms / 1000
        self.encrypted: bool = spec.get("encrypted", False)
        self.humidity_id = int(spec.get("humidity_id", "0x41"), 0)
        self.key: bytes | None = None
        self._turn = -1
        """The number of the last report."""

    @override
    def set_feature(self, data: bytes) -> None:
        """Take the key, without which most CO2 monitors do not start."""
        self.commands["feature"] += 1
        self.key = data.removeprefix(b"\0")
        if self.model.layout != "zytemp" or self.strike("feature"):
            super().set_feature(data)
        self.log.append(data)

    @override
    def report(self) -> bytes | None:
        """Return the next report with a present value."""
        self._turn += 1
        return self.repeat()

    @override
    def repeat(self) -> bytes | None:
        """Return the last report with its present value."""
        fault = self.strike("report")
        layout: Callable[[Fault | None], list[bytes]] = getattr(
            self, f"_{self.model.layout}"
        )
        reports = self.reports or layout(fault)
        if not reports:
            self._turn = -1
            return None
        report = reports[self._turn % len(reports)]
        return spoil(fault, report) if fault else report

    def _zytemp(self, fault: Fault | None) -> list[bytes]:
        """Send each value in a report of its own, among reports of unknown meaning."""
        if self.key is None:
            return []
        values = self.current(self.values)
        temperature = values["temperature"] or 0.0
        items = [
            (0x6D, 0x0A5B),
            (0x50, round(values["co2"] or 0)),
            (0x42, round((temperature + 273.15) * 16)),
            (self.humidity_id, round((values["humidity"] or 0) * 100)),
            (0x4F, 0x1F2E),
        ]
        reports = []
        for item, code in items:
            head = struct.pack(">BH", item, code)
            wrong = fault is not None and fault.name == "wrong-checksum"
            end = 0 if fault is not None and fault.name == "no-end" else ZYTEMP_END
            plain = head + bytes(((sum(head) + wrong) & 0xFF, end, 0, 0, 0))
            reports.append(encrypted(plain, self.key) if self.encrypted else plain)
        return reports

    def _gotemp(self, fault: Fault | None) -> list[bytes]:
        """Send one value, and the number of values before it."""
        counter = 0 if fault and fault.name == "stuck" else self._turn
        code = round((self.current(self.values)["temperature"] or 0.0) * 128)
        return [struct.pack("<BBh4x", 1, counter % 256, code)]

    def _lascar(self, fault: Fault | None) -> list[bytes]:
        """Send temperature and humidity, each in a report of its own length."""
        values = self.current(self.values)
        temperature, humidity = values["temperature"] or 0.0, values["humidity"] or 0.0
        reports = [
            struct.pack("<BH", 3, round((temperature + 200) * 10)),
            bytes((2, round(humidity * 2))),
        ]
        return reports[:1] if fault and fault.name == "gap" else reports

    def _diamex(self, fault: Fault | None) -> list[bytes]:
        """Send each connected probe, by its ROM code, in a report of its own."""
        timestamp = time.time()
        values = {
            code: value_at(value, timestamp)
            for code, value in self.values.items()
            if code not in QUANTITIES
        }
        fitted = {code: value for code, value in values.items() if value is not None}
        reports = []
        for number, (code, value) in enumerate(fitted.items(), start=1):
            name = fault.name if fault else ""
            tenths = 850 if name == "power-on" else round(value * 10)
            rom = bytearray.fromhex(code)
            rom[-1] ^= name == "wrong-checksum"
            head = struct.pack("<BBBxh2x", len(fitted), number, 1, tenths)
            if name != "gap" or number > 1:
                reports.append((head + rom).ljust(64, b"\0"))
        return reports


def spoil(fault: Fault, report: bytes) -> bytes | None:
    """Return a report, changed by a fault."""
    short = 2 if fault.argument is None else int(fault.argument)
    spoilers: dict[str, Callable[[], bytes | None]] = {
        "silent": lambda: None,
        "garbage": lambda: os.urandom(len(report)),
        "zero": lambda: bytes(len(report)),
        "ff": lambda: b"\xff" * len(report),
        "short": lambda: report[:short],
    }
    return spoilers.get(fault.name, lambda: report)()
