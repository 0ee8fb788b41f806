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
from functools import partial
import os
from pathlib import Path
import re
from typing import Final, NamedTuple, override

import serialx

from .. import sysfs
from ..errors import (
    BadFrameError,
    DeviceAccessError,
    DeviceNotFoundError,
    Fault,
    out_of_range,
)
from ..places import UsbPlace
from ..readings import Facts, Identity, Reading
from ..sysfs import usb_tty
from ..workers import Lane
from .device import HeldDevice
from .hidraw import translated
from .models import TEMPERX232

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


class Port:
    """An opened serial port, watched by the event loop.

    It is read and written past serialx, whose select() takes descriptors below 1024
    only; Home Assistant may have more.
    """

    def __init__(
        self, lane: Lane, serial: serialx.BaseSerial, on_gone: Callable[[], None]
    ) -> None:
        """Watch the port; on_gone is called if it goes while nobody asks."""
        self.text = bytearray()
        """What came since the last question."""
        self._asking = False
        self._changed = asyncio.Event()
        self._lane = lane
        self._lost = False
        self._on_gone = on_gone
        self._serial = serial
        asyncio.get_running_loop().add_reader(serial, self._receive)

    @property
    def answer(self) -> str:
        """What came, as text."""
        return self.text.decode("latin-1")

    async def ask(self, word: bytes, is_whole: Callable[[str], bool]) -> str:
        """Send a word; return the answer once it is whole, or what of it came in time.

        Raises DeviceNotFoundError if the stick is gone and BadFrameError if it does
        not answer at all.
        """
        self.text.clear()
        self._asking = True
        try:
            await self._lane.run(self._send, word)
            with suppress(TimeoutError):
                async with asyncio.timeout(LIMIT):
                    while not self._lost and not is_whole(self.answer):
                        self._changed.clear()
                        await self._changed.wait()
        finally:
            self._asking = False
        if self._lost:
            raise DeviceNotFoundError(Fault.STICK_NOT_FOUND)
        if not self.text:
            raise BadFrameError(Fault.NO_ANSWER)
        return self.answer

    def close(self) -> asyncio.Future[None]:
        """Close the port as soon as no job uses it; the result tells when."""
        asyncio.get_running_loop().remove_reader(self._serial)
        return asyncio.wrap_future(self._lane.finish(partial(_close, self._serial)))

    def _send(self, word: bytes) -> None:
        """Send a word; blocks."""
        try:
            os.write(self._serial.fileno(), word)
        except BlockingIOError as err:  # It takes nothing, so its buffer is full.
            raise BadFrameError(Fault.NO_ANSWER) from err
        except OSError as err:  # It was pulled out, which is about to be told.
            raise DeviceNotFoundError(Fault.STICK_NOT_FOUND) from err

    def _receive(self) -> None:
        """Keep what came; what nobody asked for takes no memory."""
        try:
            data = os.read(self._serial.fileno(), KEPT)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        self.text += data
        del self.text[:-KEPT]
        self._changed.set()
        if not data:
            asyncio.get_running_loop().remove_reader(self._serial)
            self._lost = True
            if not self._asking:
                self._on_gone()


def _open(path: Path) -> serialx.BaseSerial:
    """Open a serial port for us alone; blocks."""
    serial = serialx.serial_for_url(str(path), baudrate=BAUD, exclusive=True)
    try:
        serial.open()
    except OSError as err:
        raise translated(err, path) from err
    return serial


def _close(serial: serialx.BaseSerial) -> None:
    """Close a port; the kernel would wait for a stick to take what was sent."""
    with suppress(OSError):  # It is gone.
        serial.reset_write_buffer()
    serial.close()


class TemperX232(HeldDevice[Port]):
    """One stick at one place; opened by its first reading and held from then on."""

    quantities: Final = tuple(RANGES)

    def __init__(
        self,
        lane: Lane,
        place: UsbPlace,
        facts: Facts,
        on_gone: Callable[[], None] = lambda: None,
    ) -> None:
        """Prepare to read the stick at a place. Facts: firmware."""
        super().__init__(lane, place, facts, on_gone)
        self._firmware: str | None = facts.get("firmware")
        self._probe_absent = False

    @property
    def identity(self) -> Identity:
        """What the stick is; complete after the first reading."""
        return Identity(
            manufacturer="PCsensor",
            model="TEMPerX232",
            firmware=self._firmware,
        )

    @property
    def facts(self) -> dict[str, str]:
        """The firmware's text."""
        return {"firmware": self._firmware} if self._firmware else {}

    @override
    async def _open(self) -> Port:
        """Open the port and settle that a known stick is there."""
        await self._closed()
        serial = await self._lane.run(self._find_and_open, undo=_close)
        self._opened = port = Port(self._lane, serial, self._on_gone)
        await self._identify(port)
        return port

    @override
    async def _read(self, opened: Port) -> Reading:
        """Return one reading; one lost line is no missing probe, two running are."""
        reading = await self._ask(opened)
        if reading.external_temperature is None and not self._probe_absent:
            reading = await self._ask(opened)
        self._probe_absent = reading.external_temperature is None
        return reading

    @override
    def _release(self, opened: Port) -> asyncio.Future[None]:
        """Begin to close; the result tells when that is done."""
        return opened.close()

    def _find_and_open(self) -> serialx.BaseSerial:
        """Open the port that is here now; blocks."""
        device = TEMPERX232.find(self._place)
        tty = usb_tty(device)
        if tty is None or not (node := sysfs.DEV / tty).exists():
            raise DeviceAccessError(Fault.NO_PORT)
        return _open(node)

    async def _identify(self, port: Port) -> None:
        """Ask for the firmware; raise DriverError for one that is not known."""
        found = (await port.ask(VERSION, _is_line)).strip("\r\n <")
        if not FIRMWARE.fullmatch(found):
            if UNKNOWN.fullmatch(found):
                raise BadFrameError(Fault.UNKNOWN_TYPE, firmware=found)
            raise BadFrameError(Fault.BAD_REPORT, report=found)
        if self._firmware not in {None, found}:
            raise DeviceNotFoundError(
                Fault.STICK_CHANGED, found=found, expected=self._firmware
            )
        self._firmware = found

    async def _ask(self, port: Port) -> Reading:
        """Ask for the values."""
        answer = await port.ask(READ_TEMP, lambda text: "Inner" in _sides(text))
        if "Outer" not in _sides(answer):
            await asyncio.sleep(LATE)
            answer = port.answer
        self._raw = {"answer": answer.strip()}
        return decode(answer)


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
