"""Reports to and from a stick through its hidraw node.

The node is opened once and held; the event loop watches it for as long, so reports
that nobody asked for are dropped as they come and an unplug is noticed at once.
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
from .descriptors import REPORT_SIZE

# The kernel queues 63 reports per opener; twice that without an end is a device, or
# another program, that never stops.
DRAIN_LIMIT: Final = 128

# _IOC of the kernel's hidraw.h, without the report's length in bits 16 to 29.
HIDIOCSFEATURE: Final = 0xC0004806
HIDIOCGFEATURE: Final = 0xC0004807


class Node:
    """One opened hidraw node; only opening it and sending block."""

    def __init__(self, path: Path, size: int = REPORT_SIZE) -> None:
        """Open the node for us alone; 50 ms in the kernel for its first opener.

        A report has up to so many bytes. Raises DeviceAccessError without permission
        and if another program has it.
        """
        self._path = path
        self._size = size
        try:
            # A node is never to become this process's terminal.
            flags = os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
            self._fd = os.open(path, flags)
        except OSError as err:
            raise translated(err, path) from err
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as err:
            os.close(self._fd)
            raise DeviceAccessError(Fault.IN_USE, node=str(path)) from err

    def fileno(self) -> int:
        """Return the descriptor, for the event loop."""
        return self._fd

    def send(self, command: bytes) -> None:
        """Drop what is queued, then write the command as report 0."""
        for _ in range(DRAIN_LIMIT):
            try:
                self.read()
            except BlockingIOError:
                break
        else:
            raise BadFrameError(Fault.FLOODED)
        try:
            os.write(self._fd, b"\0" + command)
        except OSError as err:
            raise translated(err, self._path, self._fd) from err

    def read(self) -> bytes:
        """Read one report; raise BlockingIOError where there is none."""
        try:
            report = os.read(self._fd, self._size)
        except BlockingIOError:
            raise
        except OSError as err:
            raise translated(err, self._path, self._fd) from err
        if not report:
            raise DeviceNotFoundError(Fault.STICK_NOT_FOUND)
        return report

    def set_feature(self, content: bytes) -> None:
        """Send feature report 0."""
        self._feature(HIDIOCSFEATURE, bytearray(b"\0" + content))

    def feature(self, size: int) -> bytes:
        """Return feature report 0, of up to so many bytes."""
        report = bytearray(1 + size)
        return bytes(report[1 : self._feature(HIDIOCGFEATURE, report)])

    def _feature(self, request: int, report: bytearray) -> int:
        """Pass a feature report, behind its number, to or from the device."""
        try:
            size: int = ioctl(self._fd, request | len(report) << 16, report)
        except OSError as err:
            raise translated(err, self._path, self._fd) from err
        return size

    def close(self) -> None:
        """Close the node."""
        os.close(self._fd)


class HidrawTransport:
    """One opened node, watched by the event loop."""

    def __init__(self, lane: Lane, node: Node, on_gone: Callable[[], None]) -> None:
        """Watch the node; on_gone is called if it goes while nobody reads."""
        self.unasked: tuple[bytes, ...] = ()
        self._lane = lane
        self._node: Node | None = node
        self._lost: DriverError | None = None
        self._on_gone = on_gone
        self._reports: deque[bytes] = deque(maxlen=DRAIN_LIMIT)
        self._sending = False
        self._sent = 0.0
        self._waiter: asyncio.Future[None] | None = None
        self._watched = False
        self._watch(node)

    async def exchange(self, command: bytes, limits: Sequence[float]) -> list[bytes]:
        """Send a command and return up to one report per limit, each in seconds.

        The reports end where a limit was not kept; what comes beyond them is dropped,
        by the loop or before the next command. Raises DeviceNotFoundError if the
        stick is gone and BadFrameError if it does not take the command.
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
        self.unasked = tuple(self._reports)
        self._reports.clear()
        self._watch(node)
        reports: list[bytes] = []
        with suppress(TimeoutError):
            async with asyncio.timeout(None) as timer:
                for limit in limits:
                    timer.reschedule(loop.time() + limit)
                    reports.append(await self._next())
        if len(reports) < len(limits):
            self._receive()  # The event loop may have come too late to look.
            reports.extend(self._reports)
            self._reports.clear()
        return reports[: len(limits)]

    async def feature(self, size: int) -> bytes:
        """Return feature report 0, of up to so many bytes."""
        if self._node is None:
            raise DeviceNotFoundError(Fault.STICK_NOT_FOUND)
        return await self._lane.run(self._node.feature, size)

    async def listen(self, limit: float) -> bytes | None:
        """Return a report beyond the answer, so many seconds after the command."""
        with suppress(TimeoutError):
            async with asyncio.timeout_at(self._sent + limit):
                return await self._next()
        self._receive()  # The event loop may have come too late to look.
        return self._reports.popleft() if self._reports else None

    def close(self) -> asyncio.Future[None]:
        """Close the node as soon as no job uses it; the result tells when."""
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
            if self._lost is not None:
                raise self._lost
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        return self._reports.popleft()

    def _receive(self) -> None:
        """Take one report from the kernel, for whoever waits or for nobody."""
        if self._node is None:
            return
        if self._sending:
            # What comes between the last stale report and the command stays in the
            # kernel's queue, in order, until the command is out.
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
        """Have the event loop call when there is something to read."""
        if not self._watched:
            self._watched = True
            asyncio.get_running_loop().add_reader(node, self._receive)

    def _unwatch(self, node: Node) -> None:
        """Have the event loop look away."""
        self._watched = False
        asyncio.get_running_loop().remove_reader(node)

    def _lose(self, node: Node, err: DriverError) -> None:
        """Stop watching a node that is gone."""
        self._unwatch(node)
        self._lost = err
        if self._waiter is None or self._waiter.done():
            self._on_gone()
        else:
            self._waiter.set_exception(err)


def translated(err: OSError, path: Path, fd: int | None = None) -> DriverError:
    """Return what an error of the system means for the owner."""
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
    """Return whether the device behind a node is gone."""
    poll = select.poll()
    poll.register(fd, 0)
    return any(event & select.POLLHUP for _, event in poll.poll(0))
