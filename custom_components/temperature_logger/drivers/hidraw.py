"""Reports to and from a stick through its hidraw node.

The node is opened once and held; the event loop watches it for as long, so reports
that nobody asked for are dropped as they come and an unplug is noticed at once.
Source: Documentation/hid/hidraw.rst of the kernel.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
import errno
import fcntl
import os
from pathlib import Path
import select
from typing import Final

from .errors import (
    BadFrameError,
    DeviceAccessError,
    DeviceNotFoundError,
    DriverError,
    Fault,
)
from .workers import Lane

REPORT_SIZE: Final = 8

# The kernel queues 63 reports per opener; twice that without an end is a device, or
# another program, that never stops.
DRAIN_LIMIT: Final = 128

# Main items of a HID report descriptor (HID 1.11, section 6.2.2): the upper six bits.
INPUT: Final = 0x80
OUTPUT: Final = 0x90
# Global items.
REPORT_SIZE_ITEM: Final = 0x74
REPORT_COUNT_ITEM: Final = 0x94
LONG_ITEM: Final = 0xFE


class HidrawTransport:
    """One opened hidraw node."""

    def __init__(self, lane: Lane, node: Path, on_gone: Callable[[], None]) -> None:
        """Name the node; on_gone is called once if it goes while nobody reads."""
        self._fd: int | None = None
        self._lane = lane
        self._node = node
        self._on_gone = on_gone
        self._reports: deque[bytes] = deque(maxlen=DRAIN_LIMIT)
        self._waiter: asyncio.Future[None] | None = None

    async def open(self) -> None:
        """Open the node for us alone.

        Raises DeviceAccessError without permission and if another program has it.
        """
        self._fd = await self._lane.run(_open, self._node, undo=os.close)
        asyncio.get_running_loop().add_reader(self._fd, self._receive)

    async def exchange(self, command: bytes, limits: Sequence[float]) -> list[bytes]:
        """Send 8 bytes and return up to one report per limit, each in seconds.

        The reports end where a limit was not kept; what comes beyond them is dropped,
        by the loop or before the next command. Raises DeviceNotFoundError if the
        stick is gone and BadFrameError if it does not take the command.
        """
        loop = asyncio.get_running_loop()
        if self._fd is None:
            raise DeviceNotFoundError(Fault.STICK_NOT_FOUND)
        # What comes between the last stale report and the command stays in the
        # kernel's queue, in order, until the loop watches again.
        loop.remove_reader(self._fd)
        await self._lane.run(_send, self._fd, self._node, command)
        if self._fd is None:
            raise DeviceNotFoundError(Fault.STICK_NOT_FOUND)
        self._reports.clear()
        loop.add_reader(self._fd, self._receive)
        reports: list[bytes] = []
        with suppress(TimeoutError):
            for limit in limits:
                async with asyncio.timeout(limit):
                    reports.append(await self._next())
        return reports

    async def listen(self, limit: float) -> bytes | None:
        """Return a report beyond the answer, if one comes within the limit."""
        with suppress(TimeoutError):
            async with asyncio.timeout(limit):
                return await self._next()
        return None

    def close(self) -> asyncio.Future[None]:
        """Close the node as soon as no job uses it; the result tells when."""
        loop = asyncio.get_running_loop()
        if self._fd is None:
            done = loop.create_future()
            done.set_result(None)
            return done
        fd, self._fd = self._fd, None
        loop.remove_reader(fd)
        return asyncio.wrap_future(self._lane.finish(lambda: os.close(fd)))

    async def _next(self) -> bytes:
        """Wait for the next report."""
        if not self._reports:
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        return self._reports.popleft()

    def _receive(self) -> None:
        """Take one report from the kernel, for whoever waits or for nobody."""
        if self._fd is None:
            return
        try:
            report = _read(self._fd, self._node)
        except BlockingIOError:
            return
        except DriverError as err:
            self._lose(self._fd, err)
            return
        self._reports.append(report)
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _lose(self, fd: int, err: DriverError) -> None:
        """Stop watching a node that is gone."""
        asyncio.get_running_loop().remove_reader(fd)
        if self._waiter is None:
            self._on_gone()
        elif not self._waiter.done():
            self._waiter.set_exception(err)


def _open(node: Path) -> int:
    """Open and lock a node; 50 ms in the kernel for its first opener."""
    try:
        # A node is never to become this process's terminal.
        flags = os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
        fd = os.open(node, flags)
    except OSError as err:
        raise _translated(err, node) from err
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as err:
        os.close(fd)
        raise DeviceAccessError(Fault.IN_USE, node=str(node)) from err
    return fd


def _send(fd: int, node: Path, command: bytes) -> None:
    """Drop what is queued, then write the command as report 0."""
    for _ in range(DRAIN_LIMIT):
        try:
            _read(fd, node)
        except BlockingIOError:
            break
    else:
        raise BadFrameError(Fault.FLOODED)
    try:
        os.write(fd, b"\0" + command)
    except OSError as err:
        raise _translated(err, node, fd) from err


def _read(fd: int, node: Path) -> bytes:
    """Read one report; raise BlockingIOError where there is none."""
    try:
        report = os.read(fd, REPORT_SIZE)
    except BlockingIOError:
        raise
    except OSError as err:
        raise _translated(err, node, fd) from err
    if not report:
        raise DeviceNotFoundError(Fault.STICK_NOT_FOUND)
    return report


def _translated(err: OSError, node: Path, fd: int | None = None) -> DriverError:
    """Return what an error of the system means for the owner."""
    name = str(node)
    if err.errno in {errno.EACCES, errno.EPERM}:
        return DeviceAccessError(Fault.NO_PERMISSION, node=name)
    if err.errno == errno.ENOENT:
        return DeviceAccessError(Fault.NO_NODE, node=name)
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


def report_sizes(descriptor: bytes) -> tuple[int, int]:
    """Return the bytes of an input and an output report without report ids."""
    bits = {INPUT: 0, OUTPUT: 0}
    size = count = 0
    for item, value in _short_items(descriptor):
        if item == REPORT_SIZE_ITEM:
            size = value
        elif item == REPORT_COUNT_ITEM:
            count = value
        elif item in bits:
            bits[item] += size * count
    return bits[INPUT] // 8, bits[OUTPUT] // 8


def _short_items(descriptor: bytes) -> Iterator[tuple[int, int]]:
    """Yield tag with type, and value, of each item (HID 1.11, section 6.2.2.2)."""
    position = 0
    while position < len(descriptor):
        prefix = descriptor[position]
        if prefix == LONG_ITEM:
            return  # No device in the field has one.
        length = (0, 1, 2, 4)[prefix & 3]
        value = descriptor[position + 1 : position + 1 + length]
        yield prefix & 0xFC, int.from_bytes(value, "little")
        position += 1 + length
