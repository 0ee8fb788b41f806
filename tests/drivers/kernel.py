"""The kernel's side of an open node: which system calls fail, and who watches it."""

from collections.abc import Callable, Iterator
from contextlib import suppress
import os
from pathlib import Path
from threading import Event
from typing import Final

import pytest

EVENT_POLL: Final = "anon_inode:[eventpoll]"


class Kernel:
    """System calls on one node, which can be made to fail or to hang."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, node: Path) -> None:
        """Take the path of the node."""
        self._monkeypatch = monkeypatch
        self._number = node.stat().st_rdev
        self.hangs = Event()
        """Set while a call hangs."""
        self.ends = Event()
        """Set to end the hanging call."""

    def fail(self, call: str, number: int) -> None:
        """Let a system call fail from now on."""

        def fail() -> None:
            raise OSError(number, os.strerror(number))

        self._before(call, fail)

    def hang(self, call: str) -> None:
        """Let a system call hang from now on."""

        def hang() -> None:
            self.hangs.set()
            self.ends.wait()

        self._before(call, hang)

    def _before(self, call: str, action: Callable[[], None]) -> None:
        """Do something before each system call on the node."""
        original = getattr(os, call)

        def called(file: Path | str | int, *args: object, **options: object) -> object:
            if self._is_node(file):
                action()
            return original(file, *args, **options)

        self._monkeypatch.setattr(os, call, called)

    def _is_node(self, file: Path | str | int) -> bool:
        """Return whether a path or a descriptor is that of the node."""
        if isinstance(file, int):
            return os.fstat(file).st_rdev == self._number
        return Path(file).exists() and Path(file).stat().st_rdev == self._number


def is_watched(node: Path) -> bool:
    """Return whether an event loop of this process waits for a node."""
    number = node.stat().st_rdev
    for file in watched_files():
        with suppress(OSError):  # It was closed meanwhile.
            if os.fstat(file).st_rdev == number:
                return True
    return False


def watched_files() -> Iterator[int]:
    """Yield the descriptors that the event loops of this process wait for."""
    for file in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # It was closed meanwhile.
            if str(file.readlink()) == EVENT_POLL:
                lines = Path("/proc/self/fdinfo", file.name).read_text().splitlines()
                for line in lines:
                    if line.startswith("tfd:"):
                        yield int(line.split()[1])
