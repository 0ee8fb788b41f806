"""Reports to and from a stick through its hidraw node.

The node stays open, and the event loop watches it: it drops reports that answer no
command, and notices at once that the stick is unplugged.
Source: Documentation/hid/hidraw.rst of the kernel.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
import errno
import fcntl
from fcntl import ioctl
import os
from pathlib import Path
import select
from typing import Final

from ..errors import (
    BadFrameError,
    DeviceAccessError,
    DeviceNotFoundError,
    DriverError,
    Fault,
)
from ..workers import Lane
from .descriptors import TEMPER_REPORT_BYTES

# The kernel queues 63 reports for each opener of a node. If there are twice as many,
# the device, or another program that polls it, causes reports without end.
MAX_DRAINED_REPORTS: Final = 128

# The ioctl numbers of the kernel's hidraw.h; bits 16 to 29 take the report's length.
HIDIOCSFEATURE: Final = 0xC0004806
HIDIOCGFEATURE: Final = 0xC0004807


class Node:
    """One open hidraw node; opening it and sending block, reading does not."""

    def __init__(self, path: Path, size: int = TEMPER_REPORT_BYTES) -> None:
        """Open the node exclusively, for reports of up to size bytes.

        This takes 50 ms in the kernel if no other program has the node open. Raises
        DeviceAccessError without permission, and if another program has locked it.
        """
        self._path = path
        self._size = size
        try:
            # O_NOCTTY: a node must not become the terminal of this process.
            flags = os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
            self._fd = os.open(path, flags)
        except OSError as err:
            raise system_error(err, path) from err
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as err:
            os.close(self._fd)
            raise DeviceAccessError(Fault.IN_USE, node=str(path)) from err

    def fileno(self) -> int:
        """Return the descriptor, for the event loop."""
        return self._fd

    def send(self, command: bytes) -> None:
        """Drop the queued reports, then write the command as report 0.

        Raises BadFrameError if the reports do not end, or the stick refuses the
        command; DeviceNotFoundError if the stick is gone.
        """
        for _ in range(MAX_DRAINED_REPORTS):
            try:
                self.read()
            except BlockingIOError:
                break
        else:
            raise BadFrameError(Fault.FLOODED)
        try:
            os.write(self._fd, b"\0" + command)
        except OSError as err:
            raise system_error(err, self._path, self._fd) from err

    def read(self) -> bytes:
        """Read one report; raise BlockingIOError if there is none."""
        try:
            report = os.read(self._fd, self._size)
        except BlockingIOError:
            raise
        except OSError as err:
            raise system_error(err, self._path, self._fd) from err
        if not report:
            raise DeviceNotFoundError(Fault.STICK_NOT_FOUND)
        return report

    def set_feature(self, content: bytes) -> None:
        """Send feature report 0."""
        self._feature(HIDIOCSFEATURE, bytearray(b"\0" + content))

    def feature(self, size: int) -> bytes:
        """Return feature report 0, of up to size bytes."""
        report = bytearray(1 + size)
        return bytes(report[1 : self._feature(HIDIOCGFEATURE, report)])

    def _feature(self, request: int, report: bytearray) -> int:
        """Send or receive a feature report, whose first byte is its number."""
        try:
            size: int = ioctl(self._fd, request | len(report) << 16, report)
        except OSError as err:
            raise system_error(err, self._path, self._fd) from err
        return size

    def close(self) -> None:
        """Close the node."""
        os.close(self._fd)


class HidrawTransport:
    """One open node, watched by the event loop."""

    def __init__(self, lane: Lane, node: Node, on_gone: Callable[[], None]) -> None:
        """Watch the node; call on_gone if it vanishes while no exchange runs."""
        self.unsolicited: tuple[bytes, ...] = ()
        self._lane = lane
        self._node: Node | None = node
        self._error: DriverError | None = None
        self._on_gone = on_gone
        self._reports: deque[bytes] = deque(maxlen=MAX_DRAINED_REPORTS)
        self._sending = False
        self._sent = 0.0
        self._waiter: asyncio.Future[None] | None = None
        self._watched = False
        self._watch(node)

    async def exchange(self, command: bytes, timeouts: Sequence[float]) -> list[bytes]:
        """Send a command and return up to one report for each timeout in seconds.

        The first timeout that passes ends the list. Further reports are dropped when
        they arrive, or before the next command. Raises DeviceNotFoundError if the
        stick is gone, and BadFrameError if it refuses the command.
        """
        loop = asyncio.get_running_loop()
        node = self._node
        if node is None:
            raise DeviceNotFoundError(Fault.STICK_NOT_FOUND)
        self._sending = True
        try:
            await self._lane.run(node.send, command)
        finally:
            self._sending = False
        self._sent = loop.time()
        if self._node is None:
            raise DeviceNotFoundError(Fault.STICK_NOT_FOUND)
        self.unsolicited = tuple(self._reports)
        self._reports.clear()
        self._watch(node)
        reports: list[bytes] = []
        with suppress(TimeoutError):
            async with asyncio.timeout(None) as timer:
                for timeout in timeouts:
                    timer.reschedule(loop.time() + timeout)
                    reports.append(await self._next())
        if len(reports) < len(timeouts):
            self._receive()  # A busy event loop may not have read it in time.
            reports.extend(self._reports)
            self._reports.clear()
        return reports[: len(timeouts)]

    async def feature(self, size: int) -> bytes:
        """Return feature report 0, of up to size bytes."""
        if self._node is None:
            raise DeviceNotFoundError(Fault.STICK_NOT_FOUND)
        return await self._lane.run(self._node.feature, size)

    async def listen(self, window_s: float) -> bytes | None:
        """Return a report beyond the answer within window_s of the command, if any."""
        with suppress(TimeoutError):
            async with asyncio.timeout_at(self._sent + window_s):
                return await self._next()
        self._receive()  # A busy event loop may not have read it in time.
        return self._reports.popleft() if self._reports else None

    def close(self) -> asyncio.Future[None]:
        """Close the node as soon as no job uses it; the future then completes."""
        loop = asyncio.get_running_loop()
        node, self._node = self._node, None
        if node is None:
            done = loop.create_future()
            done.set_result(None)
            return done
        self._unwatch(node)
        return asyncio.wrap_future(self._lane.finish(node.close))

    async def _next(self) -> bytes:
        """Wait for the next report."""
        if not self._reports:
            if self._error is not None:
                raise self._error
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        return self._reports.popleft()

    def _receive(self) -> None:
        """Read one report from the kernel and wake the exchange that waits for it."""
        if self._node is None:
            return
        if self._sending:
            # While a worker drains the queue and sends the command, reports stay in
            # the kernel's queue, in their order.
            self._unwatch(self._node)
            return
        try:
            report = self._node.read()
        except BlockingIOError:
            return
        except DriverError as err:
            self._lose(self._node, err)
            return
        self._reports.append(report)
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _watch(self, node: Node) -> None:
        """Have the event loop call _receive when there is something to read."""
        if not self._watched:
            self._watched = True
            asyncio.get_running_loop().add_reader(node, self._receive)

    def _unwatch(self, node: Node) -> None:
        """Have the event loop ignore the node."""
        self._watched = False
        asyncio.get_running_loop().remove_reader(node)

    def _lose(self, node: Node, err: DriverError) -> None:
        """Stop watching the node of a stick that is gone.

        An exchange that runs raises the error; without one, on_gone is called.
        """
        self._unwatch(node)
        self._error = err
        if self._waiter is None or self._waiter.done():
            self._on_gone()
        else:
            self._waiter.set_exception(err)


def system_error(err: OSError, path: Path, fd: int | None = None) -> DriverError:
    """Return the DriverError for an error of the system at a node."""
    if err.errno in {errno.EACCES, errno.EPERM}:
        return DeviceAccessError(Fault.NO_PERMISSION, node=str(path))
    if err.errno == errno.EBUSY:
        return DeviceAccessError(Fault.IN_USE, node=str(path))
    if err.errno == errno.ENOENT:
        return DeviceAccessError(Fault.NO_NODE, node=str(path))
    if err.errno in {errno.ENODEV, errno.ENXIO, errno.ESHUTDOWN}:
        return DeviceNotFoundError(Fault.STICK_NOT_FOUND)
    if err.errno == errno.EIO and fd is not None and _hung_up(fd):
        return DeviceNotFoundError(Fault.STICK_NOT_FOUND)
    return BadFrameError(Fault.REFUSED, error=err.strerror or str(err))


def _hung_up(fd: int) -> bool:
    """Return whether the device of a node is gone."""
    poll = select.poll()
    poll.register(fd, 0)
    return any(event & select.POLLHUP for _, event in poll.poll(0))
