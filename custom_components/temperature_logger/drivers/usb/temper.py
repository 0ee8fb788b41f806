"""PCsensor TEMPer sticks: which one it is, and its readings.

Commands are 8 bytes to the second of two HID interfaces; the first types readings
as a keyboard and is never touched. Source: charlieh0tel/temper, docs/protocol.md,
and ccwienk/temper, both from the traffic of the manufacturer's own program.
"""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, override

from ..errors import BadFrameError, DeviceNotFoundError, Fault
from ..places import UsbPlace
from ..readings import QUANTITIES, Facts, Identity, Reading
from ..sysfs import UsbDevice
from ..workers import Lane
from .device import HeldDevice
from .layouts import (
    OPTIONAL_LIMIT,
    REPORT_LIMIT,
    UNKNOWN_ASKS,
    Layout,
    belongs,
    decode,
    layout_of_shape,
    layouts_of,
)
from .models import TEMPER
from .transport import Transport, connect

# Seconds after opening before the stick answers.
SETTLE: Final = {(0x3553, 0xA001): 1.0}

READ_VALUES: Final = bytes.fromhex("0180330100000000")
READ_FIRMWARE: Final = bytes.fromhex("0186ff0100000000")
# Seconds for each half of the firmware's text.
FIRMWARE_LIMITS: Final = (1.0, 1.0)
# Seconds for each report of a stick that is not in the table; more than it can have.
SURVEY_LIMITS: Final = (REPORT_LIMIT, OPTIONAL_LIMIT, OPTIONAL_LIMIT)
# How often a stick has to answer alike where its model is told by its answers.
SURE: Final = 2
# What is more than this between two readings is looked at twice: °C, %. The sensors
# of most sticks resolve a sixteenth of a degree.
JUMP: Final = {"temperature": 0.1, "humidity": 0.5}
# Seconds after the command; by then an answer of two reports is there, at 12 ms and
# 20 ms more, each up to 10 ms late because an endpoint is asked that often.
ANSWERED: Final = 0.06
FIRMWARE_PREFIX: Final = "TEMPer"


class Temper(HeldDevice[Transport]):
    """One stick at one place; opened by its first reading and held from then on."""

    def __init__(
        self,
        lane: Lane,
        place: UsbPlace,
        facts: Facts,
        on_gone: Callable[[], None] = lambda: None,
    ) -> None:
        """Prepare to read the stick at a place.

        Facts: firmware, model, and the shape of a firmware that is not in the table.
        """
        super().__init__(lane, place, facts, on_gone)
        self._firmware: str | None = facts.get("firmware")
        self._last: Reading | None = None
        self._layout: Layout | None = None
        self._model: str | None = facts.get("model")
        self._probe_absent = False
        self._shape: str | None = facts.get("shape")

    @property
    def identity(self) -> Identity:
        """What the stick is; complete after the first reading."""
        return Identity(
            manufacturer="PCsensor",
            model=self._layout.model if self._layout else self._model or "",
            firmware=self._firmware,
        )

    @property
    def facts(self) -> dict[str, str]:
        """The firmware's text, and the model where it leaves a choice."""
        if self._layout is None or self._firmware is None:
            return {}
        facts = {"firmware": self._firmware, "model": self._layout.model}
        return facts if self._shape is None else facts | {"shape": self._shape}

    @property
    def quantities(self) -> tuple[str, ...]:
        """The fields of a reading that this stick can have."""
        return self._layout.quantities if self._layout else ()

    async def identify(self) -> str:
        """Return the firmware's text and touch nothing else.

        Raises DriverError if there is none.
        """
        try:
            _, firmware, _ = await self._connect(unasked=True)
        except BaseException:
            self._close()
            raise
        await self.close()
        return firmware

    async def survey(self) -> list[bytes]:
        """Return the reports of a stick whose firmware is not in the table.

        It gets the value command, so its owner has to say first that it is a
        thermometer. Raises DriverError if it does not take it, or answers nothing.
        """
        reports: list[bytes] = []
        try:
            transport, *_ = await self._connect()
            for _ in range(UNKNOWN_ASKS):
                reports = await self._ask(transport, SURVEY_LIMITS)
        finally:
            self._close()
        await self._closed()
        if not reports:
            raise BadFrameError(Fault.NO_ANSWER)
        return reports

    @override
    def _close(self) -> None:
        """Begin to close; the next reading has none to be compared with."""
        self._last = None
        super()._close()

    @override
    def _release(self, opened: Transport) -> asyncio.Future[None]:
        """Begin to close; the result tells when that is done."""
        return opened.close()

    async def _connect(self, *, unasked: bool = False) -> tuple[Transport, str, str]:
        """Return the opened stick, its firmware's text and its product string."""
        await self._closed()
        device, transport = await connect(
            self._lane, self._find, self._on_gone, unasked=unasked
        )
        self._opened = transport
        await asyncio.sleep(SETTLE.get((device.vendor_id, device.product_id), 0))
        halves = await transport.exchange(READ_FIRMWARE, FIRMWARE_LIMITS)
        if len(halves) == 1:
            # TEMPerX_V3.3 is known to lose the first half; a pedal sends none.
            halves = await transport.exchange(READ_FIRMWARE, FIRMWARE_LIMITS)
        if len(halves) < len(FIRMWARE_LIMITS):
            raise BadFrameError(Fault.NO_ANSWER)
        return transport, _text(b"".join(halves)), device.product

    def _find(self) -> UsbDevice:
        """Return what is plugged in here if it may be a stick; blocks."""
        return TEMPER.find(self._place)

    @override
    async def _open(self) -> Transport:
        """Open the stick and settle which layout it has."""
        transport, found, product = await self._connect()
        layouts = self._layouts_of(found, product)
        known = self._firmware
        if known is not None and layouts != self._layouts_of(known, product):
            raise DeviceNotFoundError(Fault.STICK_CHANGED, found=found, expected=known)
        if self._model is not None:
            layouts = tuple(row for row in layouts if row.model == self._model)
        if not layouts:
            raise BadFrameError(Fault.UNKNOWN_FIRMWARE, firmware=found)
        self._firmware = found
        if len(layouts) == 1:
            self._layout = layouts[0]
        else:
            self._layout = await self._choose(transport, layouts)
        return transport

    def _layouts_of(self, firmware: str, product: str) -> tuple[Layout, ...]:
        """Return what a firmware may answer, by the table or by the owner.

        The texts of one firmware may differ in what stood in the stick's buffer before.
        """
        if self._shape is None:
            return layouts_of(firmware, product)
        return (layout_of_shape(firmware, self._shape),)

    async def _choose(
        self, transport: Transport, layouts: tuple[Layout, ...]
    ) -> Layout:
        """Return the one of several layouts whose reports come, twice alike.

        The sticks that share a firmware's text differ in how many reports they send.
        """
        widest = max(layouts, key=lambda row: len(row.reports))
        fitting: list[Layout] = []
        error = BadFrameError(Fault.NO_ANSWER)
        for _ in range(SURE):
            reports = await self._ask(transport, widest.limits)
            for row in layouts:
                try:
                    decode(reports, row)
                    fitting.append(row)
                except BadFrameError as err:
                    error = err if row is widest else error
        if len(fitting) == SURE and len(set(fitting)) == 1:
            return fitting[0]
        raise error

    @override
    async def _read(self, opened: Transport) -> Reading:
        """Ask for the values as the layout says."""
        if TYPE_CHECKING:
            assert self._layout is not None
        layout = self._layout
        reports: list[bytes] = []
        for _ in range(layout.asks):
            reports = await self._ask(opened, layout.limits)
        reading = decode(reports, layout)
        if len(reports) < len(layout.reports) and not self._probe_absent:
            # One lost report is no missing probe; two running are.
            reports = await self._ask(opened, layout.limits)
            reading = decode(reports, layout)
        if not reports:
            # A stick without its probe is silent, but a dead one is, too.
            halves = await opened.exchange(READ_FIRMWARE, FIRMWARE_LIMITS)
            if len(halves) < len(FIRMWARE_LIMITS):
                raise BadFrameError(Fault.NO_ANSWER)
        self._probe_absent = len(reports) < len(layout.reports)
        await self._doubt(opened, reading, layout)
        return reading

    async def _doubt(
        self, transport: Transport, reading: Reading, layout: Layout
    ) -> None:
        """Refuse a reading that jumped if there was one report too many.

        An old report has the right tag, too: one that came between the drain and the
        answer shows only by the answer that follows it. To wait for that at each
        reading would double its time. Where one followed the answer before, this is
        done even if nothing jumped.
        """
        followed = any(belongs(report, layout) for report in transport.unasked)
        if self._last is None or followed or _jumped(self._last, reading):
            surplus = await transport.listen(ANSWERED)
            if surplus is not None and belongs(surplus, layout):
                raise BadFrameError(Fault.BAD_REPORT, report=surplus.hex(" "))
        self._last = reading

    async def _ask(
        self, transport: Transport, limits: tuple[float, ...]
    ) -> list[bytes]:
        """Send the value command and keep what comes for diagnostics."""
        reports = await transport.exchange(READ_VALUES, limits)
        self._raw = {"reports": " / ".join(report.hex(" ") for report in reports)}
        return reports


def _jumped(last: Reading, reading: Reading) -> bool:
    """Return whether a value differs from the last one by more than a room's would."""
    for quantity in QUANTITIES:
        old, new = last.value(quantity), reading.value(quantity)
        if old is None or new is None:
            if old is not new:
                return True
        elif abs(new - old) > JUMP[quantity.rpartition("_")[2]]:
            return True
    return False


def _text(answer: bytes) -> str:
    """Return the text of a firmware answer; raise BadFrameError if it is none.

    The text is padded with blanks or NULs, or followed by what stood in the stick's
    buffer before.
    """
    text = answer.rstrip(b" \0").decode("ascii", errors="replace")
    readable = text.isascii() and text.isprintable()
    if not readable or not text.startswith(FIRMWARE_PREFIX):
        raise BadFrameError(Fault.BAD_REPORT, report=answer.hex(" "))
    return text
