"""The TEMPerX232 by PCsensor, which is a serial port.

Its USB id is that of every serial adapter with a CH341 chip; only its answers show that
it is a thermometer. So the driver opens a port only after the user picked it. The stick
takes commands without an end of line, at 9600 baud, 8N1, and answers in lines:

    Version     TEMPerX232_V2.0
    ReadTemp    Temp-Outer:27.11 [C],36.72 [%RH]<
                Temp-Inner:28.15 [C],34.80 [%RH]<

The Outer line is missing where no probe is plugged in, and the humidity where the
sensor does not measure one. Source: ccwienk/temper and urwen/temper, with their issues
37 and 27.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from functools import partial
import os
from pathlib import Path
import re
from typing import Final, override

import serialx

from .. import sysfs
from ..errors import BadFrameError, DeviceAccessError, DeviceNotFoundError, Fault, inert
from ..places import UsbPlace
from ..readings import Facts, Identity, Reading, Value
from ..sysfs import usb_tty
from ..values import HUMIDITY_RANGE_PERCENT, Range, checked
from ..workers import Lane
from .device import HeldDevice
from .hidraw import system_error
from .models import TEMPERX232

BAUD_RATE: Final = 9600
READ_VERSION: Final = b"Version"
READ_TEMP: Final = b"ReadTemp"
# The longest answer has 70 characters, which take 0.07 s.
ANSWER_TIMEOUT_S: Final = 1.0
# The line of a probe may follow that of the sensor in the stick.
PROBE_LINE_TIMEOUT_S: Final = 0.15
# The buffer keeps this much of an answer, or of data that came without a command.
MAX_TEXT_BYTES: Final = 256

KNOWN_FIRMWARE: Final = re.compile(r"TEMPerX232_V2\.[015]")
TEMPER_FIRMWARE: Final = re.compile(r"TEMPer[!-~]*")
LINE_ENDS: Final = re.compile(r"[<\r\n]+")
SENSOR_LINE: Final = re.compile(
    r"Temp-(Inner|Outer):(-?[0-9]{1,3}\.[0-9]+) \[C\]"
    r"(?:,(-?[0-9]{1,3}\.[0-9]+) \[%RH\])?"
)
SIDES: Final = {"Inner": "internal", "Outer": "external"}

# The case of the stick states -40 to 85 °C; a probe has a wider range.
TEMPERX232_RANGES: Final = {
    "internal_temperature": Range(-40, 85),
    "internal_humidity": HUMIDITY_RANGE_PERCENT,
    "external_temperature": Range(-40, 125),
    "external_humidity": HUMIDITY_RANGE_PERCENT,
}


class Port:
    """An opened serial port, watched by the event loop.

    It reads and writes the file descriptor directly. serialx would use select(), which
    fails for descriptors of 1024 and more, and Home Assistant may have that many.
    """

    def __init__(
        self, lane: Lane, serial: serialx.BaseSerial, on_gone: Callable[[], None]
    ) -> None:
        """Watch the port; call on_gone if it vanishes while no query runs."""
        self.text = bytearray()
        """The last bytes received since the last command."""
        self._querying = False
        self._changed = asyncio.Event()
        self._lane = lane
        self._lost = False
        self._on_gone = on_gone
        self._serial = serial
        asyncio.get_running_loop().add_reader(serial, self._receive)

    @property
    def answer(self) -> str:
        """The received text."""
        return self.text.decode("latin-1")

    async def query(self, word: bytes, is_whole: Callable[[str], bool]) -> str:
        """Send a command; return the answer once it is complete or the time is over.

        The answer may then be incomplete. Raises DeviceNotFoundError if the stick is
        gone, and BadFrameError if it sends nothing.
        """
        self.text.clear()
        self._querying = True
        try:
            if not self._lost:
                await self._lane.run(self._send, word)
            with suppress(TimeoutError):
                async with asyncio.timeout(ANSWER_TIMEOUT_S):
                    while not self._lost and not is_whole(self.answer):
                        self._changed.clear()
                        await self._changed.wait()
        finally:
            self._querying = False
        if self._lost:
            raise DeviceNotFoundError(Fault.STICK_NOT_FOUND)
        if not self.text:
            raise BadFrameError(Fault.NO_ANSWER)
        return self.answer

    def close(self) -> asyncio.Future[None]:
        """Close the port as soon as no job uses it; the future then completes."""
        asyncio.get_running_loop().remove_reader(self._serial)
        return asyncio.wrap_future(self._lane.finish(partial(_close, self._serial)))

    def _send(self, word: bytes) -> None:
        """Send a command; blocks."""
        try:
            os.write(self._serial.fileno(), word)
        except BlockingIOError as err:  # The stick takes no data: the buffer is full.
            raise BadFrameError(Fault.NO_ANSWER) from err
        except OSError as err:  # The stick was unplugged; the event loop sees it soon.
            raise DeviceNotFoundError(Fault.STICK_NOT_FOUND) from err

    def _receive(self) -> None:
        """Append the received bytes to the text, which keeps only the newest bytes."""
        try:
            data = os.read(self._serial.fileno(), MAX_TEXT_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        self.text += data
        del self.text[:-MAX_TEXT_BYTES]
        self._changed.set()
        if not data:
            asyncio.get_running_loop().remove_reader(self._serial)
            self._lost = True
            if not self._querying:
                self._on_gone()


def _open(path: Path) -> serialx.BaseSerial:
    """Open a serial port exclusively; blocks."""
    serial = serialx.serial_for_url(str(path), baudrate=BAUD_RATE, exclusive=True)
    try:
        serial.open()
    except OSError as err:
        raise system_error(err, path) from err
    return serial


def _close(serial: serialx.BaseSerial) -> None:
    """Close a port, without waiting until the stick has taken all that was sent."""
    with suppress(OSError):  # The stick is gone.
        serial.reset_write_buffer()
    serial.close()


class TemperX232(HeldDevice[Port]):
    """One stick at one place; the first reading opens it, and it stays open."""

    quantities: Final = tuple(TEMPERX232_RANGES)

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
        """Manufacturer, model and firmware; complete after the first reading."""
        return Identity(
            manufacturer="PCsensor",
            model="TEMPerX232",
            firmware=self._firmware,
        )

    @property
    def facts(self) -> dict[str, str]:
        """The firmware text, once it was read."""
        return {"firmware": self._firmware} if self._firmware else {}

    @override
    async def _open(self) -> Port:
        """Open the port and check that a stick with a known firmware answers."""
        await self._wait_closed()
        serial = await self._lane.run(self._find_and_open, undo=_close)
        self._connection = port = Port(self._lane, serial, self._on_gone)
        await self._identify(port)
        return port

    @override
    async def _read(self, connection: Port) -> Reading:
        """Return one reading.

        A reading without the line of a probe is repeated once: the line may be lost. A
        second reading without it means that no probe is plugged in.
        """
        reading = await self._query(connection)
        if not _has_probe(reading) and not self._probe_absent:
            reading = await self._query(connection)
        self._probe_absent = not _has_probe(reading)
        return reading

    @override
    def _release(self, connection: Port) -> asyncio.Future[None]:
        """Begin to close the port; the future completes once that is done."""
        return connection.close()

    def _find_and_open(self) -> serialx.BaseSerial:
        """Find the serial port of the stick and open it; blocks."""
        device = TEMPERX232.find(self._place)
        tty = usb_tty(device)
        if tty is None or not (node := sysfs.DEV / tty).exists():
            raise DeviceAccessError(Fault.NO_PORT)
        return _open(node)

    async def _identify(self, port: Port) -> None:
        """Read the firmware text; raise DriverError if it is unknown or has changed."""
        firmware = (await port.query(READ_VERSION, _is_line)).strip("\r\n <")
        if not KNOWN_FIRMWARE.fullmatch(firmware):
            if TEMPER_FIRMWARE.fullmatch(firmware):
                raise BadFrameError(Fault.UNKNOWN_TYPE, firmware=inert(firmware))
            raise BadFrameError(Fault.BAD_REPORT, report=inert(firmware))
        if self._firmware not in {None, firmware}:
            raise DeviceNotFoundError(
                Fault.STICK_CHANGED, found=firmware, expected=self._firmware
            )
        self._firmware = firmware

    async def _query(self, port: Port) -> Reading:
        """Read the values; wait a little longer for the line of a probe."""
        answer = await port.query(
            READ_TEMP, lambda text: "Inner" in _complete_sides(text)
        )
        if "Outer" not in _complete_sides(answer):
            await asyncio.sleep(PROBE_LINE_TIMEOUT_S)
            answer = port.answer
        self._raw = {"answer": answer.strip()}
        return decode(answer)


def decode(answer: str) -> Reading:
    """Return the values in the answer to ReadTemp, in °C and %.

    The answer has one line for the sensor in the stick and at most one for the probe.
    Raises BadFrameError for any other answer, and if all values are invalid.
    """
    values: dict[str, Value] = {}
    lines = LINE_ENDS.split(answer)
    for line in filter(None, lines):
        match = SENSOR_LINE.fullmatch(line)
        if match is None or f"{SIDES[match[1]]}_temperature" in values:
            raise BadFrameError(Fault.BAD_REPORT, report=inert(answer))
        side, temperature, humidity = match.groups()
        values |= _value(f"{SIDES[side]}_temperature", temperature)
        values |= _value(f"{SIDES[side]}_humidity", humidity)
    if lines[-1] or "internal_temperature" not in values:
        raise BadFrameError(Fault.BAD_REPORT, report=inert(answer))
    return Reading.of(values)


def _value(quantity: str, text: str | None) -> dict[str, Value]:
    """Return the value of a quantity in a text; None if the sensor lacks it."""
    if text is None:
        return {quantity: None}
    return {quantity: checked(quantity, float(text), TEMPERX232_RANGES[quantity])}


def _has_probe(reading: Reading) -> bool:
    """Return whether the probe reported a temperature, valid or not."""
    return "external_temperature" in reading.values.keys() | reading.faults.keys()


def _is_line(answer: str) -> bool:
    """Return whether the answer ends with a complete line."""
    return answer.endswith("\n")


def _complete_sides(answer: str) -> set[str]:
    """Return the sensors, Inner and Outer, of the complete lines of an answer."""
    *lines, _ = LINE_ENDS.split(answer)
    return {side for side in SIDES for line in lines if side in line}
