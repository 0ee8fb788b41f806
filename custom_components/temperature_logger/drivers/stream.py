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
from typing import TYPE_CHECKING, Final, Protocol

from . import sysfs
from .errors import BadFrameError, DeviceAccessError, DriverError, Fault
from .families import Family
from .hidraw import Node
from .readings import Identity, Reading
from .sysfs import UsbDevice, usb_place
from .transport import claimed, libusb_may
from .workers import Lane

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


class Stream:
    """One device at one place; opened by its first reading and held from then on."""

    def __init__(
        self,
        lane: Lane,
        family: Family,
        decoder: Callable[[], Decoder],
        controller: str,
        ports: str,
        *,
        endpoint: int | None = None,
        start: Callable[[Node], None] = lambda _: None,
        on_gone: Callable[[], None] = lambda: None,
    ) -> None:
        """Name the place.

        The endpoint is that of the first interface from which libusb reads where there
        is no hidraw node, if it may. start is called with the opened node, in a worker,
        on_gone when the device is unplugged between two readings.
        """
        self._closing: asyncio.Future[None] | None = None
        self._controller = controller
        self._decoder = decoder()
        self._endpoint = endpoint
        self._family = family
        self._lane = lane
        self._new_decoder = decoder
        self._on_gone = on_gone
        self._opened: Opened | None = None
        self._ports = ports
        self._refused: BadFrameError | None = None
        """What was wrong with the last report, if it was."""
        self._reports: deque[bytes] = deque(maxlen=KEPT)
        self._start = start
        self._taken = False
        """Whether a report said something since the last poll began."""
        self._waiter: asyncio.Future[None] | None = None

    @property
    def identity(self) -> Identity:
        """What the device is."""
        return Identity(
            manufacturer=self._family.manufacturer,
            model=self._family.model or "",
            place=usb_place(self._controller, self._ports),
        )

    @property
    def quantities(self) -> tuple[str, ...]:
        """What a reading of this device can have."""
        return self._decoder.quantities

    @property
    def raw(self) -> dict[str, str]:
        """The last reports as they came, in hexadecimal."""
        return {"reports": " / ".join(report.hex(" ") for report in self._reports)}

    @property
    def facts(self) -> dict[str, str]:
        """Nothing: what it is called is looked at whenever it is opened."""
        return {}

    async def read(self) -> Reading:
        """Return the latest values; raise DriverError if there are none in time.

        A device that says nothing of use is closed, to begin anew with it; one that
        is merely slow is not.
        """
        try:
            opened = self._opened or await self._open()
            if isinstance(opened, Node):
                reading = await self._wait()
            else:
                reading = await self._ask(opened)
        except BaseException:
            self._lane.failing = True
            if not self._taken:
                self._close()
            raise
        self._lane.failing = False
        return reading

    async def close(self) -> None:
        """Close the device, and give the kernel back what was taken from it."""
        self._close()
        await self._closed()

    async def _wait(self) -> Reading:
        """Wait until all values are there and young enough."""
        loop = asyncio.get_running_loop()
        self._refused, self._taken = None, False
        try:
            async with asyncio.timeout(LIMIT):
                while (reading := self._decoder.reading(loop.time())) is None:
                    self._waiter = loop.create_future()
                    await self._waiter
        except TimeoutError as err:
            raise self._refused or BadFrameError(Fault.NO_ANSWER) from err
        finally:
            self._waiter = None
        return reading

    async def _ask(self, handle: Handle) -> Reading:
        """Let a worker wait for values that are reported from now on."""
        decoder = self._new_decoder()
        now = asyncio.get_running_loop().time()
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

    async def _open(self) -> Opened:
        """Open the device; begin to listen if that is possible."""
        await self._closed()
        opened = await self._lane.run(self._find_and_open, undo=_close)
        self._opened = opened
        if isinstance(opened, Node):
            asyncio.get_running_loop().add_reader(opened, self._receive, opened)
        return opened

    def _find_and_open(self) -> Opened:
        """Return the opened device; blocks."""
        device = self._family.find(self._controller, self._ports)
        try:
            return self._node(device)
        except DeviceAccessError as err:
            if self._endpoint is None:
                raise
            if not libusb_may(device, err):
                raise self._barred(device, err) from err
            return claimed(device, 0, self._endpoint)

    def _barred(self, device: UsbDevice, err: DeviceAccessError) -> DeviceAccessError:
        """Return what bars the way to a device that has no hidraw node anywhere."""
        number = self._family.interface
        interface = None if number is None else device.interface(number)
        has_node = interface is None or interface.hidraw is not None
        if has_node or not device.usbfs.exists():
            return err
        return DeviceAccessError(Fault.NO_PERMISSION, node=str(device.usbfs))

    def _node(self, device: UsbDevice) -> Node:
        """Return the opened hidraw node; blocks."""
        number = self._family.interface
        interface = None if number is None else device.interface(number)
        if interface is None or interface.hidraw is None:
            raise DeviceAccessError(Fault.NO_NODE, node=str(sysfs.DEV / "hidraw*"))
        node = Node(sysfs.DEV / interface.hidraw, REPORT_SIZE)
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
            self._decoder.take(report, asyncio.get_running_loop().time())
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

    def _close(self) -> None:
        """Begin to close; what was measured before does not count any more."""
        self._decoder = self._new_decoder()
        opened, self._opened = self._opened, None
        if isinstance(opened, Node):
            asyncio.get_running_loop().remove_reader(opened)
        if opened is not None:
            self._closing = asyncio.wrap_future(self._lane.finish(opened.close))

    async def _closed(self) -> None:
        """Wait until what was opened before is closed."""
        if self._closing is not None:
            await asyncio.shield(self._closing)
            self._closing = None


def _close(opened: Opened) -> None:
    """Close what was opened for nobody."""
    opened.close()
