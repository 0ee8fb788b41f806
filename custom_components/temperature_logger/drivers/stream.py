"""Devices that report their values by themselves, which are listened to all the time.

A poll gives the latest values, or waits for them where there are none yet or where
they are too old. The node of such a device is opened once and held; the event loop
watches it, so nothing is held while nothing comes and an unplug is noticed at once.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final, Protocol

from . import sysfs
from .errors import BadFrameError, DeviceAccessError, DriverError, Fault
from .families import Family
from .hidraw import Node
from .readings import Identity, Reading
from .sysfs import usb_place
from .workers import Lane

# Seconds that a poll waits for values; opening has to fit into the deadline, too.
LIMIT: Final = 5.0
# The longest report of a full-speed device.
REPORT_SIZE: Final = 64
# Reports that are kept for diagnostics: about one round of each device.
KEPT: Final = 16


class Decoder(Protocol):
    """What the reports of one kind of device mean, and the latest values."""

    @property
    def quantities(self) -> tuple[str, ...]:
        """What a reading can have."""

    def take(self, report: bytes, now: float) -> None:
        """Keep what a report says; raise BadFrameError for one that says nothing."""

    def reading(self, now: float) -> Reading | None:
        """Return the latest values; None if one is missing or too old."""

    def forget(self) -> None:
        """Drop all values: what comes next may be another device's."""


class Stream:
    """One device at one place; opened by its first reading and held from then on."""

    def __init__(
        self,
        lane: Lane,
        family: Family,
        decoder: Decoder,
        controller: str,
        ports: str,
        *,
        start: Callable[[Node], None] = lambda _: None,
        on_gone: Callable[[], None] = lambda: None,
    ) -> None:
        """Name the place.

        start is called with the opened node, in a worker, on_gone when the device is
        unplugged between two readings.
        """
        self._closing: asyncio.Future[None] | None = None
        self._controller = controller
        self._decoder = decoder
        self._family = family
        self._lane = lane
        self._node: Node | None = None
        self._on_gone = on_gone
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
            if self._node is None:
                await self._open()
            reading = await self._wait()
        except BaseException:
            self._lane.failing = True
            if not self._taken:
                self._close()
            raise
        self._lane.failing = False
        return reading

    async def close(self) -> None:
        """Close the node."""
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

    async def _open(self) -> None:
        """Open the node and begin to listen."""
        await self._closed()
        self._node = await self._lane.run(self._opened, undo=Node.close)
        asyncio.get_running_loop().add_reader(self._node, self._receive, self._node)

    def _opened(self) -> Node:
        """Return the opened node; blocks."""
        device = self._family.find(self._controller, self._ports)
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
        self._decoder.forget()
        node, self._node = self._node, None
        if node is not None:
            asyncio.get_running_loop().remove_reader(node)
            self._closing = asyncio.wrap_future(self._lane.finish(node.close))

    async def _closed(self) -> None:
        """Wait until what was opened before is closed."""
        if self._closing is not None:
            await asyncio.shield(self._closing)
            self._closing = None
