"""hidraw nodes: pseudo-terminals in raw mode behind ordinary file names."""

from collections.abc import Callable, Collection
from contextlib import suppress
import errno
import os
from pathlib import Path
import select
import termios
import tty
from types import ModuleType
from typing import Any, Protocol

from .faults import failure
from .libusb import Handle
from .loop import Loop
from .sticks import Stick

KERNEL_TIMEOUT = 5.0
"""Seconds for which the kernel waits for a control transfer."""

MODULE = "custom_components.temperature_logger.drivers.usb.hidraw"
"""The module whose ioctl() is replaced: a pseudo-terminal has no feature reports."""
HIDIOCSFEATURE, HIDIOCGFEATURE = 0x06, 0x07


class HidrawNode:
    """A /dev/hidrawN that drivers open, write commands to and read reports from."""

    path: Path
    """Its path."""

    def __init__(
        self, loop: Loop, command: Callable[[bytes], None], mode: int, size: int = 8
    ) -> None:
        """Create the node, without a path yet; a command has this number of bytes."""
        self._loop = loop
        self._command = command
        self._size = size
        self._pending = b""
        self._latest = b""
        # The slave stays open here: without any opener the master reports a hang-up all
        # the time, and the loop would spin.
        self._master, self._slave = os.openpty()
        tty.setraw(self._slave)
        os.set_blocking(self._master, False)
        self.rdev = os.fstat(self._slave).st_rdev
        os.fchmod(self._slave, mode)
        loop.add(self._master, self._readable)

    def appear(self) -> None:
        """Show the node in the file system."""
        self.path.symlink_to(os.ttyname(self._slave))

    def permit(self, mode: int) -> None:
        """Set the permissions; the folder of the node sees the change."""
        os.fchmod(self._slave, mode)
        os.utime(self.path, follow_symlinks=False)

    def send(self, report: bytes) -> None:
        """Pass a report on; it is lost if the buffer is full."""
        with suppress(BlockingIOError):
            os.write(self._master, report)

    def catch_up(self) -> None:
        """Take the commands that were written and not yet handled."""
        with suppress(BlockingIOError):
            self._readable()

    @property
    def unread(self) -> bool:
        """Whether a report waits for a reader."""
        return bool(select.select([self._slave], [], [], 0)[0])

    def send_latest(self, report: bytes) -> None:
        """Pass a report on in place of one that has not been read yet.

        Reports of different lengths would otherwise be joined.
        """
        if self.unread and report == self._latest:
            return
        termios.tcflush(self._slave, termios.TCIFLUSH)
        self._latest = report
        self.send(report)

    def close(self) -> None:
        """Remove the node and hang up on its readers."""
        self.path.unlink(missing_ok=True)
        self._loop.remove(self._master)
        os.close(self._slave)
        os.close(self._master)

    def _readable(self) -> None:
        """Split the written bytes into commands.

        A 00, the number of the only report, may precede each; no command itself begins
        with 00.
        """
        self._pending += os.read(self._master, 4096)
        while self._pending:
            start = 1 if self._pending[0] == 0 else 0
            end = start + self._size
            if len(self._pending) < end:
                return
            command, self._pending = self._pending[start:end], self._pending[end:]
            self._command(command)


def install(module: ModuleType, root: Path) -> Callable[[], None]:
    """Put the machine below root under a module's ioctl(); return an undo function."""
    namespace = vars(module)
    original = namespace["ioctl"]

    def ioctl(descriptor: int, request: int, report: bytearray) -> int:
        device = Handle(usbfs_of(descriptor, root))
        try:
            if request & 0xFF == HIDIOCSFEATURE:
                device("set_feature", data=report.hex())
                return len(report)
            if request & 0xFF == HIDIOCGFEATURE:
                answer = device("get_feature", length=len(report) - 1)
                report[1 : 1 + len(answer)] = answer
                return 1 + len(answer)
        finally:
            device.close()
        raise failure(errno.ENOTTY)

    namespace["ioctl"] = ioctl
    return lambda: namespace.update(ioctl=original)


def usbfs_of(descriptor: int, root: Path) -> Path:
    """Return the usbfs node of the device whose hidraw node is open."""
    terminal = Path(f"/proc/self/fd/{descriptor}").readlink()
    for node in (root / "dev").glob("hidraw*"):
        if node.readlink() == terminal:
            hid = root / "sys/class/hidraw" / node.name / "device"
            device = hid.resolve().parents[1]
            numbers = [int((device / n).read_text()) for n in ("busnum", "devnum")]
            return root / "dev/bus/usb/{:03}/{:03}".format(*numbers)
    raise failure(errno.ENODEV)


class Plugged(Protocol):
    """A device that has a hidraw node."""

    stick: Stick
    reports_read: int
    """The number of its reports that programs have read."""

    @property
    def rdev(self) -> int | None:
        """The device number of the node, while it has one."""


class System:
    """The module os, for a driver that writes to hidraw nodes.

    A write to a pseudo-terminal always succeeds at once. A write to a hidraw node is a
    control transfer: it returns when the transfer has ended, non-blocking or not, and
    fails if the transfer fails.
    """

    def __init__(self, devices: Collection[Plugged]) -> None:
        """Serve the nodes of these devices, which may come and go."""
        self._devices = devices
        self._device_by_number: dict[int, Plugged] = {}
        """The devices that were found before, by the number of their node then."""

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever os has
        """Return every other attribute unchanged."""
        return getattr(os, name)

    def read(self, descriptor: int, size: int) -> bytes:
        """Read from a descriptor."""
        data = os.read(descriptor, size)
        if device := self._device(descriptor):
            device.reports_read += 1
        return data

    def write(self, descriptor: int, data: bytes) -> int:
        """Write to a descriptor."""
        if device := self._device(descriptor):
            self._transfer(device.stick, data[1:])
        return os.write(descriptor, data)

    def _device(self, descriptor: int) -> Plugged | None:
        """Return the device of an open node, or None for another file."""
        number = os.fstat(descriptor).st_rdev
        device = self._device_by_number.get(number)
        if device is None or device.rdev != number:
            device = next((d for d in list(self._devices) if d.rdev == number), None)
            if device is not None:
                self._device_by_number[number] = device
        return device

    @staticmethod
    def _transfer(stick: Stick, command: bytes) -> None:
        """Fail if a command's control transfer does; "argument" is its time-out."""
        fault = stick.refuses(command)
        if fault is None:
            return
        try:
            stick.command(command)
        except TimeoutError:
            fault.hold(KERNEL_TIMEOUT)
            raise
