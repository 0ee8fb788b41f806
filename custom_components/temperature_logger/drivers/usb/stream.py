"""The base of the drivers of devices that send their values without a command.

A poll returns the latest values, or waits for new ones if these are missing or too old.
The hidraw node of the device stays open, and the event loop watches it. So no worker
has to wait for reports, and an unplug is noticed at once.

The event loop cannot watch a device without a hidraw node. Through libusb, a worker
waits in each poll for the next reports.
"""

import asyncio
from collections import deque
from collections.abc import Callable
import time
from typing import TYPE_CHECKING, ClassVar, Final, Protocol, override

from ..errors import BadFrameError, DeviceAccessError, DriverError, Fault, Invalid
from ..places import UsbPlace
from ..readings import Facts, Identity, Reading
from ..sysfs import UsbDevice
from ..workers import Lane
from .device import HeldDevice
from .hidraw import Node
from .models import Model
from .transport import UsbConnection, claim, may_use_libusb

if TYPE_CHECKING:
    from .libusb import Handle

# A poll waits so long for values; opening also has to fit into the deadline of a poll.
VALUES_TIMEOUT_S: Final = 5.0
# For each report of a poll through libusb. These devices send one every half second,
# and a reading needs two.
LIBUSB_TIMEOUTS_S: Final = 4 * (1.0,)
# The longest report of a full-speed device.
MAX_REPORT_BYTES: Final = 64
# For diagnostics: about one round of the reports of any device.
MAX_RAW_REPORTS: Final = 16


class Decoder(Protocol):
    """Decodes the reports of one open device and keeps the latest values."""

    @property
    def quantities(self) -> tuple[str, ...]:
        """The quantities of a reading."""

    def feed(self, report: bytes, now: float) -> None:
        """Store the values in a report; raise BadFrameError for a malformed report."""

    def renew(self, now: float, /) -> None:
        """Forget the values: those of the next reading come from later reports."""

    def reading(self, now: float) -> Reading | None:
        """Return the latest values; None if one is missing or too old.

        Raises BadFrameError if all of them are invalid.
        """


class Stream(HeldDevice[UsbConnection]):
    """One device at one place; the first reading opens it, and it stays open."""

    DECODER: ClassVar[type[Decoder]]
    ENDPOINT: ClassVar[int | None] = None
    """The endpoint of the first interface, from which libusb reads.

    None for a device that can be read through its hidraw node only.
    """
    MODEL: ClassVar[Model]

    def __init__(
        self,
        lane: Lane,
        place: UsbPlace,
        facts: Facts,
        on_gone: Callable[[], None] = lambda: None,
    ) -> None:
        """Prepare to read the device at a place; open nothing yet."""
        super().__init__(lane, place, facts, on_gone)
        self._decoder = self.DECODER()
        self._awaited: frozenset[str] = frozenset()
        """The quantities that a poll waits for, besides those that it always needs."""
        self._last_error: BadFrameError | None = None
        """The error of the last report or reading since the poll began."""
        self._reports: deque[bytes] = deque(maxlen=MAX_RAW_REPORTS)
        self._has_decoded = False
        """Whether a well-formed report came since the last poll began."""
        self._waiter: asyncio.Future[None] | None = None

    @property
    def identity(self) -> Identity:
        """Manufacturer and model."""
        return Identity(
            manufacturer=self.MODEL.manufacturer, model=self.MODEL.name or ""
        )

    @property
    def quantities(self) -> tuple[str, ...]:
        """The quantities of a reading of this device."""
        return self._decoder.quantities

    @property
    @override
    def raw(self) -> dict[str, str]:
        """The last reports as received, in hexadecimal."""
        return {"reports": " / ".join(report.hex(" ") for report in self._reports)}

    @property
    def facts(self) -> dict[str, str]:
        """Empty: the driver checks the names of the device whenever it opens it."""
        return {}

    @override
    async def read_again(self) -> Reading:
        """Return a reading whose values were all measured after this call.

        A current value that is not reported again in time is invalid.
        """
        connection = self._connection
        if isinstance(connection, Node):
            # Discard the reports that the kernel has queued.
            while self._receive(connection):
                pass
            if (reading := self._decoded()) is not None:
                self._awaited = frozenset(reading.values)
            self._decoder.renew(boot_time())
        try:
            return await self.read()
        finally:
            self._awaited = frozenset()

    @override
    async def _open(self) -> UsbConnection:
        """Open the device, and watch it if it has a hidraw node."""
        await self._wait_closed()
        connection = await self._lane.run(
            _find_and_open,
            self.MODEL,
            self._place,
            self.ENDPOINT,
            self._start,
            undo=_close,
        )
        self._connection = connection
        if isinstance(connection, Node):
            asyncio.get_running_loop().add_reader(connection, self._receive, connection)
        return connection

    @override
    async def _read(self, connection: UsbConnection) -> Reading:
        """Return the latest values, or wait for new ones."""
        if isinstance(connection, Node):
            return await self._wait()
        decoder, reports = self.DECODER(), list[bytes]()
        try:
            return await self._lane.run(_collect, connection, decoder, reports)
        finally:
            self._decoder = decoder
            self._reports.extend(reports)

    @override
    def _release(self, connection: UsbConnection) -> asyncio.Future[None]:
        """Stop watching and close; the future completes once that is done."""
        if isinstance(connection, Node):
            asyncio.get_running_loop().remove_reader(connection)
        return asyncio.wrap_future(self._lane.finish(connection.close))

    @override
    def _fail(self) -> None:
        """Close the device after a failure, unless it is only slow.

        A slow device has sent valid reports, but not yet all values.
        """
        if not self._has_decoded:
            self._close()

    @override
    def _close(self) -> None:
        """Begin to close, and forget the values."""
        self._decoder = self.DECODER()
        super()._close()

    async def _wait(self) -> Reading:
        """Return the values, once all of them are there and current."""
        loop = asyncio.get_running_loop()
        self._last_error, self._has_decoded = None, False
        try:
            async with asyncio.timeout(VALUES_TIMEOUT_S):
                while (reading := self._decoded()) is None or self._missing(reading):
                    self._waiter = loop.create_future()
                    await self._waiter
        except TimeoutError as err:
            if (reading := self._decoded()) is None:
                raise self._last_error or BadFrameError(Fault.NO_ANSWER) from err
        finally:
            self._waiter = None
        faults = dict.fromkeys(self._missing(reading), Invalid.of(Fault.NO_ANSWER))
        return reading._replace(faults={**faults, **reading.faults})

    def _decoded(self) -> Reading | None:
        """Return the current values; None if one is missing or if none is valid."""
        try:
            return self._decoder.reading(boot_time())
        except BadFrameError as err:
            self._last_error = err
            return None

    def _missing(self, reading: Reading) -> frozenset[str]:
        """Return the awaited quantities that a reading lacks."""
        return self._awaited - reading.values.keys() - reading.faults.keys()

    def _start(self, node: Node) -> None:
        """Make the device send reports, if it needs a command for that; blocks."""

    def _receive(self, node: Node) -> bool:
        """Read one report from the kernel, decode it, and wake a waiting poll.

        Return whether there was one.
        """
        try:
            report = node.read()
        except BlockingIOError:
            return False
        except DriverError as err:
            self._lose(err)
            return False
        self._reports.append(report)
        try:
            self._decoder.feed(report, boot_time())
            self._has_decoded = True
        except BadFrameError as err:
            self._last_error = err
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
        return True

    def _lose(self, err: DriverError) -> None:
        """Close the node of a device that is gone.

        A poll that waits raises the error; without one, on_gone is called.
        """
        waiter, self._has_decoded = self._waiter, False
        self._close()
        if waiter is None or waiter.done():
            self._on_gone()
        else:
            waiter.set_exception(err)


def boot_time() -> float:
    """Return the seconds since the machine started.

    Time in sleep counts, so that a value from before it is as old as it really is.
    """
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _find_and_open(
    model: Model, place: UsbPlace, endpoint: int | None, start: Callable[[Node], None]
) -> UsbConnection:
    """Find and open a device; blocks."""
    device = model.find(place)
    try:
        return _open_node(model, device, start)
    except DeviceAccessError as err:
        if endpoint is None:
            raise
        if not may_use_libusb(device, err):
            raise _access_error(model, device, err) from err
        return claim(device, 0, endpoint)


def _open_node(model: Model, device: UsbDevice, start: Callable[[Node], None]) -> Node:
    """Open the hidraw node and make the device send reports; blocks."""
    node = Node(model.node(device), MAX_REPORT_BYTES)
    try:
        start(node)
    except DriverError:
        node.close()
        raise
    return node


def _collect(handle: Handle, decoder: Decoder, reports: list[bytes]) -> Reading:
    """Read reports through libusb until they make a reading, and return it; blocks.

    Raises BadFrameError if no reading is complete in time.
    """
    error = BadFrameError(Fault.NO_ANSWER)
    now = boot_time()
    reading: Reading | None = None

    def is_last(report: bytes) -> bool:
        nonlocal error, reading
        reports.append(report)
        try:
            decoder.feed(report, now)
            reading = decoder.reading(now)
        except BadFrameError as err:
            error = err
        return reading is not None

    handle.collect(is_last, LIBUSB_TIMEOUTS_S)
    if reading is None:
        raise error
    return reading


def _access_error(
    model: Model, device: UsbDevice, err: DeviceAccessError
) -> DeviceAccessError:
    """Return the error of a device that neither hidraw nor libusb can open.

    For a device without a hidraw node, that is the missing permission for libusb.
    """
    interface = None if model.interface is None else device.interface(model.interface)
    has_node = interface is None or interface.hidraw is not None
    if has_node or not device.usbfs.exists():
        return err
    return DeviceAccessError(Fault.NO_PERMISSION, node=str(device.usbfs))


def _close(connection: UsbConnection) -> None:
    """Close a device after its caller has given up."""
    connection.close()
