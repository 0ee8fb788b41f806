"""hidraw nodes: pseudo-terminals in raw mode behind ordinary file names."""

from collections.abc import Callable, Collection
from contextlib import suppress
import os
from pathlib import Path
import time
import tty
from typing import Any, Protocol

from .loop import Loop
from .sticks import Stick

KERNEL_TIMEOUT = 5.0
"""So long the kernel waits for a control transfer."""


class HidrawNode:
    """A /dev/hidrawN that drivers open, write commands to and read reports from."""

    path: Path
    """Where it appears."""

    def __init__(self, loop: Loop, command: Callable[[bytes], None], mode: int) -> None:
        """Create the node, in no place yet."""
        self._loop = loop
        self._command = command
        self._pending = b""
        # The slave stays open here: without any opener the master reports a hang-up
        # all the time, and the loop would spin.
        self._master, self._slave = os.openpty()
        tty.setraw(self._slave)
        os.set_blocking(self._master, False)
        self.rdev = os.fstat(self._slave).st_rdev
        self.permit(mode)
        loop.add(self._master, self._readable)

    def appear(self) -> None:
        """Show the node in the file system."""
        self.path.symlink_to(os.ttyname(self._slave))

    def permit(self, mode: int) -> None:
        """Set the permissions."""
        os.fchmod(self._slave, mode)

    def send(self, report: bytes) -> None:
        """Pass a report on; one that nobody makes room for is lost."""
        with suppress(BlockingIOError):
            os.write(self._master, report)

    def close(self) -> None:
        """Remove the node and hang up on whoever has it open."""
        self.path.unlink(missing_ok=True)
        self._loop.remove(self._master)
        os.close(self._slave)
        os.close(self._master)

    def _readable(self) -> None:
        """Cut what was written into commands of 8 bytes.

        Each may follow a 00, the number of the only report; no command begins so.
        """
        self._pending += os.read(self._master, 4096)
        while self._pending:
            start = 1 if self._pending[0] == 0 else 0
            if len(self._pending) < start + 8:
                return
            command = self._pending[start : start + 8]
            self._pending = self._pending[start + 8 :]
            self._command(command)


class Plugged(Protocol):
    """A device that has a hidraw node."""

    stick: Stick

    @property
    def rdev(self) -> int | None:
        """The device number of the node, while it has one."""


class System:
    """The module os as a driver sees it that writes to hidraw nodes.

    A write to a pseudo-terminal always succeeds at once. One to a hidraw node is a
    control transfer: it returns when that has ended, non-blocking or not, and fails
    as it does.
    """

    def __init__(self, devices: Collection[Plugged]) -> None:
        """Serve the nodes of these devices, which may come and go."""
        self._devices = devices

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever os has
        """Return anything else as it is."""
        return getattr(os, name)

    def write(self, descriptor: int, data: bytes) -> int:
        """Write to a descriptor."""
        number = os.fstat(descriptor).st_rdev
        device = next((d for d in list(self._devices) if d.rdev == number), None)
        if device is not None:
            self._transfer(device.stick, data[1:])
        return os.write(descriptor, data)

    @staticmethod
    def _transfer(stick: Stick, command: bytes) -> None:
        """Fail if a command's control transfer does; "argument" is its time-out."""
        fault = stick.refuses(command)
        if fault is None:
            return
        try:
            stick.command(command)
        except TimeoutError:
            time.sleep(KERNEL_TIMEOUT if fault.argument is None else fault.argument)
            raise
