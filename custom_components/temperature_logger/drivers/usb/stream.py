"""Devices that report their values by themselves, which are listened to all the time.

A poll gives the latest values, or waits for them where there are none yet or where
they are too old. The node of such a device is opened once and held; the event loop
watches it, so nothing is held while nothing comes and an unplug is noticed at once.

What has no hidraw node cannot be watched: through libusb a worker waits, in each poll,
for what the device reports then.
"""

import asyncio
from collections import deque
from collections.abc import Callable
import time
from typing import TYPE_CHECKING, ClassVar, Final, Protocol, override

from ..errors import BadFrameError, DeviceAccessError, DriverError, Fault
from ..places import UsbPlace
from ..readings import Facts, Identity, Reading
from ..sysfs import UsbDevice
from ..workers import Lane
from .device import HeldDevice
from .hidraw import Node
from .models import Model
from .transport import claimed, libusb_may

if TYPE_CHECKING:
    from .libusb import Handle

type Opened = Node | Handle

# Seconds that a poll waits for values; opening has to fit into the deadline, too.
LIMIT: Final = 5.0
# Seconds for each of the reports of a poll through libusb: the devices that are read so
# take half a second for one, and their values are made of two.
LIBUSB_LIMITS: Final = 4 * (1.0,)
# The longest report of a full-speed device.
REPORT_SIZE: Final = 64
# Reports that are kept for diagnostics: about one round of each device.
KEPT: Final = 16


class Decoder(Protocol):
    """What the reports of one opened device mean, and the latest values."""

    @property
    def quantities(self) -> tuple[str, ...]:
        """What a reading can have."""

    def take(self, report: bytes, now: float) -> None:
        """Keep what a report says; raise BadFrameError for one that says nothing."""

    def reading(self, now: float) -> Reading | None:
        """Return the latest values; None if one is missing or too old."""


class Stream(HeldDevice[Opened]):
    """One device at one place; opened by its first reading and held from then on."""

    DECODER: ClassVar[type[Decoder]]
    ENDPOINT: ClassVar[int | None] = None
    """The endpoint of the first interface that libusb reads, where it may.

    None for a device that is read through its hidraw node only.
    """
    MODEL: ClassVar[Model]

    def __init__(
        self,
        lane: Lane,
        place: UsbPlace,
        facts: Facts,
        on_gone: Callable[[], None] = lambda: None,
    ) -> None:
        """Prepare to listen to the device at a place; no facts are needed."""
        super().__init__(lane, place, facts, on_gone)
        self._decoder = self.DECODER()
        self._refused: BadFrameError | None = None
        """What was wrong with the last report, if it was."""
        self._reports: deque[bytes] = deque(maxlen=KEPT)
        self._taken = False
        """Whether a report said something since the last poll began."""
        self._waiter: asyncio.Future[None] | None = None

    @property
    def identity(self) -> Identity:
        """What the device is."""
        return Identity(
            manufacturer=self.MODEL.manufacturer, model=self.MODEL.name or ""
        )

    @property
    def quantities(self) -> tuple[str, ...]:
        """What a reading of this device can have."""
        return self._decoder.quantities

    @property
    @override
    def raw(self) -> dict[str, str]:
        """The last reports as they came, in hexadecimal."""
        return {"reports": " / ".join(report.hex(" ") for report in self._reports)}

    @property
    def facts(self) -> dict[str, str]:
        """Nothing: what it is called is looked at whenever it is opened."""
        return {}

    @override
    async def _open(self) -> Opened:
        """Open the device; begin to listen if that is possible."""
        await self._closed()
        opened = await self._lane.run(self._find_and_open, undo=_close)
        self._opened = opened
        if isinstance(opened, Node):
            asyncio.get_running_loop().add_reader(opened, self._receive, opened)
        return opened

    @override
    async def _read(self, opened: Opened) -> Reading:
        """Return the latest values, or those that come now."""
        if isinstance(opened, Node):
            return await self._wait()
        return await self._ask(opened)

    @override
    def _release(self, opened: Opened) -> asyncio.Future[None]:
        """Stop listening and close; the result tells when that is done."""
        if isinstance(opened, Node):
            asyncio.get_running_loop().remove_reader(opened)
        return asyncio.wrap_future(self._lane.finish(opened.close))

    @override
    def _fail(self) -> None:
        """Begin anew with a device that says nothing of use, not with a slow one."""
        if not self._taken:
            self._close()

    @override
    def _close(self) -> None:
        """Begin to close; what was measured before does not count any more."""
        self._decoder = self.DECODER()
        super()._close()

    async def _wait(self) -> Reading:
        """Wait until all values are there and young enough."""
        loop = asyncio.get_running_loop()
        self._refused, self._taken = None, False
        try:
            async with asyncio.timeout(LIMIT):
                while (reading := self._decoder.reading(seconds())) is None:
                    self._waiter = loop.create_future()
                    await self._waiter
        except TimeoutError as err:
            raise self._refused or BadFrameError(Fault.NO_ANSWER) from err
        finally:
            self._waiter = None
        return reading

    async def _ask(self, handle: Handle) -> Reading:
        """Let a worker wait for values that are reported from now on."""
        decoder = self.DECODER()
        now = seconds()
        reports: list[bytes] = []
        refused = BadFrameError(Fault.NO_ANSWER)

        def enough(report: bytes) -> bool:
            nonlocal refused
            reports.append(report)
            try:
                decoder.take(report, now)
            except BadFrameError as err:
                refused = err
            return decoder.reading(now) is not None

        await self._lane.run(handle.collect, enough, LIBUSB_LIMITS)
        self._reports.extend(reports)
        self._decoder = decoder
        if (reading := decoder.reading(now)) is None:
            raise refused
        return reading

    def _start(self, node: Node) -> None:
        """Make the device report, where it does not by itself; blocks."""

    def _find_and_open(self) -> Opened:
        """Return the opened device; blocks."""
        device = self.MODEL.find(self._place)
        try:
            return self._node(device)
        except DeviceAccessError as err:
            if self.ENDPOINT is None:
                raise
            if not libusb_may(device, err):
                raise self._barred(device, err) from err
            return claimed(device, 0, self.ENDPOINT)

    def _barred(self, device: UsbDevice, err: DeviceAccessError) -> DeviceAccessError:
        """Return what bars the way to a device that has no hidraw node anywhere."""
        number = self.MODEL.interface
        interface = None if number is None else device.interface(number)
        has_node = interface is None or interface.hidraw is not None
        if has_node or not device.usbfs.exists():
            return err
        return DeviceAccessError(Fault.NO_PERMISSION, node=str(device.usbfs))

    def _node(self, device: UsbDevice) -> Node:
        """Return the opened hidraw node; blocks."""
        node = Node(self.MODEL.node(device), REPORT_SIZE)
        try:
            self._start(node)
        except DriverError:
            node.close()
            raise
        return node

    def _receive(self, node: Node) -> None:
        """Take one report from the kernel."""
        try:
            report = node.read()
        except BlockingIOError:
            return
        except DriverError as err:
            self._lose(err)
            return
        self._reports.append(report)
        try:
            self._decoder.take(report, seconds())
            self._taken = True
        except BadFrameError as err:
            self._refused = err
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _lose(self, err: DriverError) -> None:
        """Let go of a node whose device is gone."""
        waiter, self._taken = self._waiter, False
        self._close()
        if waiter is None or waiter.done():
            self._on_gone()
        else:
            waiter.set_exception(err)


def seconds() -> float:
    """Return the age of the system; what came before it slept is as old as it is."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _close(opened: Opened) -> None:
    """Close what was opened for nobody."""
    opened.close()
