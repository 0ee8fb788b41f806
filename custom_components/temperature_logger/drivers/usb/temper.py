"""The TEMPer sticks by PCsensor.

A command is 8 bytes to the second of two HID interfaces. The first interface types
readings like a keyboard; the driver never uses it. Source: charlieh0tel/temper,
docs/protocol.md, and ccwienk/temper, both from the traffic of the manufacturer's own
program.
"""

import asyncio
from collections.abc import Callable
import re
import time
from typing import TYPE_CHECKING, Final, NamedTuple, override

from ..errors import BadFrameError, DeviceNotFoundError, DriverError, Fault, inert
from ..places import UsbPlace
from ..readings import QUANTITIES, Facts, Identity, Reading
from ..sysfs import Plug, UsbDevice
from ..workers import Lane
from .descriptors import TEMPER_REPORT_BYTES
from .device import HeldDevice
from .layouts import (
    OPTIONAL_REPORT_TIMEOUT_S,
    REPORT_TIMEOUT_S,
    UNKNOWN_FIRMWARE_REQUESTS,
    Layout,
    belongs,
    decode,
    layout_of_shape,
    layouts_of,
)
from .models import TEMPER
from .transport import Transport, connect

# By vendor and product id: a stick that needs time after opening before it answers.
SETTLE_TIMES_S: Final = {(0x3553, 0xA001): 1.0}

READ_VALUES: Final = bytes.fromhex("0180330100000000")
READ_FIRMWARE: Final = bytes.fromhex("0186ff0100000000")
# For each half of the firmware text.
FIRMWARE_TIMEOUTS_S: Final = (1.0, 1.0)
# For each report of an unknown stick; no stick sends more than two.
UNKNOWN_FIRMWARE_TIMEOUTS_S: Final = (
    REPORT_TIMEOUT_S,
    OPTIONAL_REPORT_TIMEOUT_S,
    OPTIONAL_REPORT_TIMEOUT_S,
)
# Equal answers that settle the model, where two models share a firmware text.
CONFIRMATIONS: Final = 2
# °C and %. The driver checks a reading that differs from the last one by more. The
# sensors of most sticks resolve a sixteenth of a degree.
STEP_LIMITS: Final = {"temperature": 0.1, "humidity": 0.5}
# After the command. An answer of two reports has arrived by then: the first comes after
# 12 ms, the second 20 ms later, and each up to 10 ms late, as the host polls an
# endpoint every 10 ms.
ANSWER_END_S: Final = 0.06
FIRMWARE_PREFIX: Final = "temper"
# The firmware text ends here; old content of the stick's buffer may follow.
UNPRINTABLE: Final = re.compile(rb"[^ -~]")
# The first bytes of the answers to other commands: values, calibration, probes. If
# another program reads the stick, such a report can come between the text's halves.
OTHER_ANSWERS: Final = (b"\x80", b"\x82", b"\x87")
# A reload takes less. After a longer time the stick may be another one, and its last
# reading is no measure for the next.
MEMORY_S: Final = 60


class ClosedStick(NamedTuple):
    """What the driver that closes a stick leaves to the next one."""

    plug: Plug
    firmware: str
    last_reading: Reading | None
    closed_at: float
    """Seconds on the clock that also runs while the system is suspended."""


class QueriedDevice(NamedTuple):
    """Whether a device has answered a firmware query since it was plugged in.

    A silent device may be a foot pedal, and is not asked again until it is replugged.
    """

    plug: Plug
    has_answered: bool


class Temper(HeldDevice[Transport]):
    """One stick at one place; the first reading opens it, and it stays open."""

    def __init__(
        self,
        lane: Lane,
        place: UsbPlace,
        facts: Facts,
        on_gone: Callable[[], None] = lambda: None,
    ) -> None:
        """Prepare to read the stick at a place; open nothing yet.

        Facts: firmware, model, and the shape for a firmware that is not in the table.
        """
        super().__init__(lane, place, facts, on_gone)
        self._firmware: str | None = facts.get("firmware")
        self._identified: tuple[Plug, str] | None = None
        """The open stick and its firmware text."""
        self._is_recalled = False
        """Whether that is from memory, and no reading has shown that it is right."""
        self._last_reading: Reading | None = None
        self._layout: Layout | None = None
        self._model: str | None = facts.get("model")
        self._probe_absent = False
        self._shape: str | None = facts.get("shape")

    @property
    def identity(self) -> Identity:
        """Manufacturer, model and firmware; complete after the first reading."""
        return Identity(
            manufacturer="PCsensor",
            model=self._layout.model if self._layout else self._model or "",
            firmware=self._firmware,
        )

    @property
    def facts(self) -> dict[str, str]:
        """Firmware text, model, and the shape if the user picked one."""
        if self._layout is None or self._firmware is None:
            return {}
        facts = {"firmware": self._firmware, "model": self._layout.model}
        return facts if self._shape is None else facts | {"shape": self._shape}

    @property
    def quantities(self) -> tuple[str, ...]:
        """The quantities of a reading of this stick; empty before the first one."""
        return self._layout.quantities if self._layout else ()

    async def identify(self) -> str:
        """Return the firmware text, and leave the stick with the kernel's driver.

        Raises DriverError if the stick does not answer, or has no hidraw node.
        """
        try:
            _, firmware, _ = await self._connect(hidraw_only=True)
        except BaseException:
            self._close()
            raise
        await self.close()
        return firmware

    async def request_values(self) -> list[bytes]:
        """Return the answer of a stick whose firmware is not in the table.

        The user has to confirm before that the device is a thermometer, because it gets
        the value command. Raises DriverError if the device refuses the command or does
        not answer.
        """
        reports: list[bytes] = []
        try:
            transport, *_ = await self._connect()
            for _ in range(UNKNOWN_FIRMWARE_REQUESTS):
                reports = await self._request_reports(
                    transport, UNKNOWN_FIRMWARE_TIMEOUTS_S
                )
        finally:
            self._close()
        await self._wait_closed()
        if not reports:
            raise BadFrameError(Fault.NO_ANSWER)
        return reports

    @override
    async def read(self) -> Reading:
        """Return one reading; raise DriverError if there is none.

        A failure of a stick that was recalled may come from that, so it is identified.
        """
        try:
            reading = await super().read()
        except DriverError:
            if not self._is_recalled:
                raise
            self._is_recalled = False
            reading = await super().read()
        self._is_recalled = False
        return reading

    @override
    def _close(self) -> None:
        """Begin to close, and leave what is known to the next driver."""
        if self._identified is not None:
            last = self._last_reading
            self._lane.memory = ClosedStick(*self._identified, last, _now())
        self._identified = self._last_reading = None
        super()._close()

    @override
    def _release(self, connection: Transport) -> asyncio.Future[None]:
        """Begin to close the stick; the future completes once that is done."""
        return connection.close()

    async def _connect(
        self, *, hidraw_only: bool = False
    ) -> tuple[Transport, str, str]:
        """Open the stick; return its transport, firmware text and product string."""
        await self._wait_closed()
        device, transport = await connect(
            self._lane, self._find, self._on_gone, hidraw_only=hidraw_only
        )
        self._connection = transport
        await asyncio.sleep(
            SETTLE_TIMES_S.get((device.vendor_id, device.product_id), 0)
        )
        recalled = _recall(self._lane, device.plug)
        self._is_recalled = recalled is not None
        if recalled is None:
            firmware = await _request_firmware(self._lane, device.plug, transport)
        else:
            firmware, self._last_reading = recalled.firmware, recalled.last_reading
        self._identified = device.plug, firmware
        return transport, firmware, device.product

    def _find(self) -> UsbDevice:
        """Return the device at this place, if it may be a stick; blocks."""
        device = TEMPER.find(self._place)
        _check_not_silent(self._lane, device.plug)
        return device

    @override
    async def _open(self) -> Transport:
        """Open the stick and select its layout."""
        transport, firmware, product = await self._connect()
        layouts = _layouts(firmware, product, self._shape)
        known = self._firmware and inert(self._firmware)
        if known is not None and layouts != _layouts(known, product, self._shape):
            raise DeviceNotFoundError(
                Fault.STICK_CHANGED, found=firmware, expected=known
            )
        if self._model is not None:
            layouts = tuple(row for row in layouts if row.model == self._model)
        if not layouts:
            raise BadFrameError(Fault.UNKNOWN_FIRMWARE, firmware=firmware)
        self._firmware = firmware
        if len(layouts) > 1:
            widest = _widest(layouts)
            answers = [
                await self._request_reports(transport, widest.timeouts)
                for _ in range(CONFIRMATIONS)
            ]
            layouts = (_common_layout(answers, layouts),)
        (self._layout,) = layouts
        return transport

    @override
    async def _read(self, connection: Transport) -> Reading:
        """Read the values as the layout requires.

        A reading without an optional report is repeated once: the report may be lost.
        A second reading without it means that no probe is plugged in.
        """
        if TYPE_CHECKING:
            assert self._layout is not None
        layout = self._layout
        reports: list[bytes] = []
        for _ in range(layout.requests):
            reports = await self._request_reports(connection, layout.timeouts)
        reading = decode(reports, layout)
        if len(reports) < len(layout.reports) and not self._probe_absent:
            reports = await self._request_reports(connection, layout.timeouts)
            reading = decode(reports, layout)
        if not reports:
            # A stick without its probe is silent, but so is a dead one.
            halves = await connection.exchange(READ_FIRMWARE, FIRMWARE_TIMEOUTS_S)
            if len(halves) < len(FIRMWARE_TIMEOUTS_S):
                raise BadFrameError(Fault.NO_ANSWER)
        self._probe_absent = len(reports) < len(layout.reports)
        await _check_step(connection, reading, layout, self._last_reading)
        self._last_reading = reading
        return reading

    async def _request_reports(
        self, transport: Transport, timeouts: tuple[float, ...]
    ) -> list[bytes]:
        """Send the value command; return the reports and keep them for diagnostics."""
        reports = await transport.exchange(READ_VALUES, timeouts)
        self._raw = {"reports": " / ".join(report.hex(" ") for report in reports)}
        return reports


def _recall(lane: Lane, plug: Plug) -> ClosedStick | None:
    """Return what is known of a stick that was closed well, and not long ago."""
    closed = lane.memory
    if (
        not lane.failing
        and isinstance(closed, ClosedStick)
        and closed.plug == plug
        and _now() - closed.closed_at < MEMORY_S
    ):
        return closed
    return None


def _now() -> float:
    """Return the time since the system started, also while it was suspended."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


async def _request_firmware(lane: Lane, plug: Plug, transport: Transport) -> str:
    """Return the firmware text; raise BadFrameError without a whole answer.

    The lane remembers whether the device is silent.
    """
    halves = await transport.exchange(READ_FIRMWARE, FIRMWARE_TIMEOUTS_S)
    lane.memory = QueriedDevice(
        plug, has_answered=bool(halves) or _has_answered(lane, plug)
    )
    if len(halves) == 1:
        # TEMPerX_V3.3 may lose the first half; a pedal sends nothing.
        halves = await transport.exchange(READ_FIRMWARE, FIRMWARE_TIMEOUTS_S)
    if len(halves) < len(FIRMWARE_TIMEOUTS_S):
        raise BadFrameError(Fault.NO_ANSWER)
    return firmware_text(b"".join(halves))


def _check_not_silent(lane: Lane, plug: Plug) -> None:
    """Raise BadFrameError for a device that has been silent since it was plugged in."""
    if lane.memory == QueriedDevice(plug, has_answered=False):
        raise BadFrameError(Fault.SILENT)


def _has_answered(lane: Lane, plug: Plug) -> bool:
    """Return whether a device has answered since it was plugged in."""
    known = lane.memory
    if isinstance(known, ClosedStick):
        return known.plug == plug
    return known == QueriedDevice(plug, has_answered=True)


def _layouts(firmware: str, product: str, shape: str | None) -> tuple[Layout, ...]:
    """Return the layouts for a firmware, from the table or by the user's shape.

    The text of one firmware may vary: old content of the stick's buffer may follow.
    """
    if shape is None:
        return layouts_of(firmware, product)
    return (layout_of_shape(firmware, shape),)


def _widest(layouts: tuple[Layout, ...]) -> Layout:
    """Return the layout with the most reports."""
    return max(layouts, key=lambda row: len(row.reports))


def _common_layout(answers: list[list[bytes]], layouts: tuple[Layout, ...]) -> Layout:
    """Return the layout that each answer of a stick fits.

    Sticks that share a firmware text differ in the number of their reports. Raises
    BadFrameError if the answers fit no layout, or different ones.
    """
    widest = _widest(layouts)
    fitting: list[Layout] = []
    error = BadFrameError(Fault.NO_ANSWER)
    for reports in answers:
        for row in layouts:
            try:
                decode(reports, row)
                fitting.append(row)
            except BadFrameError as err:
                error = err if row is widest else error
    if len(fitting) == len(answers) and len(set(fitting)) == 1:
        return fitting[0]
    raise error


async def _check_step(
    transport: Transport, reading: Reading, layout: Layout, last: Reading | None
) -> None:
    """Raise BadFrameError if an old report was taken for the answer.

    An old report that arrives between the drain and the answer has the right tag. Only
    the surplus report that follows shows it, and to wait for one in each reading would
    double its time. So this waits only after a step, if there is no last reading, and
    if a report followed the answer before.
    """
    followed = any(belongs(report, layout) for report in transport.unsolicited)
    if last is None or followed or _has_stepped(last, reading):
        await _check_end(transport, layout)


async def _check_end(transport: Transport, layout: Layout) -> None:
    """Raise BadFrameError if a surplus report follows the answer."""
    surplus = await transport.listen(ANSWER_END_S)
    if surplus is not None and belongs(surplus, layout):
        raise BadFrameError(Fault.BAD_REPORT, report=surplus.hex(" "))


def _has_stepped(last: Reading, reading: Reading) -> bool:
    """Return whether a value changed by more than it would in a room.

    A value that appeared or vanished counts as a step.
    """
    for quantity in QUANTITIES:
        old, new = last.value(quantity), reading.value(quantity)
        if old is None or new is None:
            if old is not new:
                return True
        elif abs(new - old) > STEP_LIMITS[quantity.rpartition("_")[2]]:
            return True
    return False


def firmware_text(answer: bytes) -> str:
    """Return the text in an answer to the firmware command, 16 bytes.

    The text ends before the first byte that is not printable ASCII. Users see it, so it
    is made inert. Raises BadFrameError for an answer that is not the text of a TEMPer.
    """
    printable, *_ = UNPRINTABLE.split(answer, maxsplit=1)
    text = inert(printable.decode("ascii").rstrip())
    is_crossed = answer[TEMPER_REPORT_BYTES:].startswith(OTHER_ANSWERS)
    if is_crossed or not text.lower().startswith(FIRMWARE_PREFIX):
        raise BadFrameError(Fault.BAD_REPORT, report=answer.hex(" "))
    return text
