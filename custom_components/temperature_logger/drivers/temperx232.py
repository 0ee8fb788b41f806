"""The TEMPerX232 by PCsensor, which is a serial port.

Its id is that of a bare CH341, so nothing tells it from any other serial port but its
answer; only one that its owner picked is opened. It takes words without an end of
line, at 9600 baud, 8N1, and answers in lines:

    Version     TEMPerX232_V2.0
    ReadTemp    Temp-Outer:27.11 [C],36.72 [%RH]<
                Temp-Inner:28.15 [C],34.80 [%RH]<

without the first of the two where no probe is plugged in, and without a humidity where
none is measured. Source: ccwienk/temper and urwen/temper, with their issues 37 and 27.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
import re
from typing import TYPE_CHECKING, Final, NamedTuple, override

import serialx

from . import sysfs
from .errors import (
    BadFrameError,
    DeviceAccessError,
    DeviceNotFoundError,
    Fault,
    out_of_range,
)
from .families import TEMPERX232
from .hidraw import translated
from .readings import Identity, Reading
from .sysfs import usb_place, usb_tty
from .workers import Lane

BAUD: Final = 9600
VERSION: Final = b"Version"
READ_TEMP: Final = b"ReadTemp"
# Seconds for an answer; the longest has 70 characters, which take 0.07.
LIMIT: Final = 1.0
# Seconds after the line of the sensor in the stick in which that of a probe may follow.
LATE: Final = 0.15
# Characters that are kept of what nobody asked for.
KEPT: Final = 256

FIRMWARE: Final = re.compile(r"TEMPerX232_V2\.[015]")
UNKNOWN: Final = re.compile(r"TEMPer[!-~]*")
LINE_ENDS: Final = re.compile(r"[<\r\n]+")
SENSOR: Final = re.compile(
    r"Temp-(Inner|Outer):(-?[0-9]{1,3}\.[0-9]+) \[C\](?:,([0-9]{1,3}\.[0-9]+) \[%RH\])?"
)
SIDES: Final = {"Inner": "internal", "Outer": "external"}


class Range(NamedTuple):
    """What a sensor can measure."""

    low: float
    high: float


# As the stick says on its case; a probe has a wider range.
RANGES: Final = {
    "internal_temperature": Range(-40, 85),
    "internal_humidity": Range(0, 100),
    "external_temperature": Range(-40, 125),
    "external_humidity": Range(0, 100),
}


class Line(asyncio.Protocol):
    """What comes over a serial line."""

    def __init__(self, on_lost: Callable[[Line], None]) -> None:
        """Hear nothing yet; on_lost is called when the line is cut or closed."""
        self.changed = asyncio.Event()
        self.is_lost = False
        self.text = bytearray()
        self._on_lost = on_lost

    @override
    def data_received(self, data: bytes) -> None:
        """Keep what came."""
        self.text += data
        del self.text[:-KEPT]
        self.changed.set()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        """Tell that nothing will come any more."""
        self.is_lost = True
        self.changed.set()
        self._on_lost(self)

    @property
    def answer(self) -> str:
        """What came, as text."""
        return self.text.decode("latin-1")


class Port(NamedTuple):
    """An opened serial port."""

    transport: serialx.BaseSerialTransport
    line: Line


class TemperX232:
    """One stick at one place; opened by its first reading and held from then on."""

    quantities: Final = tuple(RANGES)

    def __init__(
        self,
        lane: Lane,
        controller: str,
        ports: str,
        *,
        firmware: str | None = None,
        on_gone: Callable[[], None] = lambda: None,
    ) -> None:
        """Name the place, and what was found there before if anything was.

        on_gone is called when the stick is unplugged between two readings.
        """
        self.raw: dict[str, str] = {}
        """The last answer as it came."""
        self._asking = False
        self._closing: serialx.BaseSerialTransport | None = None
        self._controller = controller
        self._firmware = firmware
        self._lane = lane
        self._on_gone = on_gone
        self._port: Port | None = None
        self._ports = ports
        self._probe_absent = False

    @property
    def identity(self) -> Identity:
        """What the stick is; complete after the first reading."""
        return Identity(
            manufacturer="PCsensor",
            model="TEMPerX232",
            firmware=self._firmware,
            place=usb_place(self._controller, self._ports),
        )

    @property
    def facts(self) -> dict[str, str]:
        """The firmware's text."""
        return {"firmware": self._firmware} if self._firmware else {}

    async def read(self) -> Reading:
        """Return one reading; raise DriverError if there is none.

        Whatever went wrong, the port is closed and opened again at the next reading,
        so that a late answer cannot pass for the next one.
        """
        try:
            port = self._port or await self._open()
            reading = await self._read(port)
            if reading.external_temperature is None and not self._probe_absent:
                # One lost line is no missing probe; two running are.
                reading = await self._read(port)
            self._probe_absent = reading.external_temperature is None
        except BaseException:
            self._lane.failing = True
            self._abort()
            raise
        self._lane.failing = False
        return reading

    async def close(self) -> None:
        """Close the port."""
        self._abort()
        await self._closed()

    def _abort(self) -> None:
        """Begin to close the port."""
        port, self._port = self._port, None
        if port is not None:
            port.transport.abort()
            self._closing = port.transport

    async def _closed(self) -> None:
        """Wait until what was opened before is closed."""
        if self._closing is not None:
            await self._closing.wait_closed()
            self._closing = None

    async def _open(self) -> Port:
        """Open the port and settle that a known stick is there."""
        await self._closed()
        path = await self._lane.run(self._find)
        try:
            transport, line = await serialx.create_serial_connection(
                asyncio.get_running_loop(),
                lambda: Line(self._lost),
                str(path),
                baudrate=BAUD,
                exclusive=True,
            )
        except OSError as err:
            raise translated(err, path) from err
        if TYPE_CHECKING:
            assert isinstance(line, Line)
        self._port = port = Port(transport, line)
        await self._identify(port)
        return port

    def _find(self) -> Path:
        """Return the node of the port that is here now; blocks."""
        device = TEMPERX232.find(self._controller, self._ports)
        if (tty := usb_tty(device)) is None:
            raise DeviceAccessError(Fault.NO_NODE, node=str(sysfs.DEV / "ttyUSB*"))
        return sysfs.DEV / tty

    async def _identify(self, port: Port) -> None:
        """Ask for the firmware; raise DriverError for one that is not known."""
        found = (await self._ask(port, VERSION, _is_line)).strip("\r\n <")
        if not FIRMWARE.fullmatch(found):
            if UNKNOWN.fullmatch(found):
                raise BadFrameError(Fault.UNKNOWN_TYPE, firmware=found)
            raise BadFrameError(Fault.BAD_REPORT, report=found)
        if self._firmware not in {None, found}:
            raise DeviceNotFoundError(
                Fault.STICK_CHANGED, found=found, expected=self._firmware
            )
        self._firmware = found

    async def _read(self, port: Port) -> Reading:
        """Ask for the values."""
        answer = await self._ask(port, READ_TEMP, lambda text: "Inner" in _sides(text))
        if "Outer" not in _sides(answer):
            await asyncio.sleep(LATE)
            answer = port.line.answer
        self.raw = {"answer": answer.strip()}
        return decode(answer)

    async def _ask(
        self, port: Port, command: bytes, is_whole: Callable[[str], bool]
    ) -> str:
        """Send a word; return the answer once it is whole, or what of it came in time.

        Raises DeviceNotFoundError if the stick is gone and BadFrameError if it does
        not answer at all.
        """
        line = port.line
        line.text.clear()
        self._asking = True
        try:
            try:
                port.transport.write(command)
            except OSError as err:  # It was pulled out, which is about to be told.
                raise DeviceNotFoundError(Fault.STICK_NOT_FOUND) from err
            with suppress(TimeoutError):
                async with asyncio.timeout(LIMIT):
                    while not line.is_lost and not is_whole(line.answer):
                        line.changed.clear()
                        await line.changed.wait()
        finally:
            self._asking = False
        if line.is_lost:
            raise DeviceNotFoundError(Fault.STICK_NOT_FOUND)
        if not line.text:
            raise BadFrameError(Fault.NO_ANSWER)
        return line.answer

    def _lost(self, line: Line) -> None:
        """Let go of a port whose stick is gone."""
        if self._port is None or self._port.line is not line:
            return  # It was closed.
        self._port = None
        if not self._asking:
            self._on_gone()


def decode(answer: str) -> Reading:
    """Return the values in the answer to ReadTemp, °C and %.

    Raises BadFrameError for anything that is not exactly one line for the sensor in
    the stick and at most one for the probe, and for a value that is out of range.
    """
    values: dict[str, float | None] = {}
    lines = LINE_ENDS.split(answer)
    for line in filter(None, lines):
        found = SENSOR.fullmatch(line)
        if found is None or f"{SIDES[found[1]]}_temperature" in values:
            raise BadFrameError(Fault.BAD_REPORT, report=answer)
        side = SIDES[found[1]]
        values[f"{side}_temperature"] = float(found[2])
        values[f"{side}_humidity"] = float(found[3]) if found[3] else None
    if lines[-1] or "internal_temperature" not in values:
        raise BadFrameError(Fault.BAD_REPORT, report=answer)
    for quantity, value in values.items():
        low, high = RANGES[quantity]
        if value is not None and not low <= value <= high:
            raise out_of_range(f"{value:.2f}", low, high)
    return Reading.of(values)


def _is_line(answer: str) -> bool:
    """Return whether a whole line came."""
    return answer.endswith("\n")


def _sides(answer: str) -> set[str]:
    """Return of which sensors a whole line came."""
    *lines, _ = LINE_ENDS.split(answer)
    return {side for side in SIDES for line in lines if side in line}
