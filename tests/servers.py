"""Servers of the test run's own, on loopback, by an unprivileged user."""

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager, suppress
import os
from pathlib import Path
import shutil
from signal import SIGKILL, Signals
import socket
import subprocess
import tempfile
from typing import Final

import pytest

from .drivers.waiting import block_until

# Debian keeps programs for administrators outside of a user's path.
FOLDERS: Final = (
    *map(str, sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)),
    "/usr/sbin",
)
NO_COMMAND: Final = ("true",)


@contextmanager
def served(
    start: tuple[str, ...],
    answers: Callable[[int], bool],
    *,
    prepare: tuple[str, ...] = NO_COMMAND,
    files: Mapping[str, str] | None = None,
    stop: Signals = SIGKILL,
) -> Generator[int]:
    """Run a server in a folder of its own; yield its port.

    The commands and the texts of the files may quote {folder} and {port}. The signal
    ends the server at once: nobody needs its data, which it would take long to store.
    """
    port = free_port()
    # The servers refuse to run as root.
    user = "nobody" if os.geteuid() == 0 else None
    with (
        tempfile.TemporaryDirectory(prefix=f"{start[0]}-") as folder,
        Path(folder, "log").open("wb") as log,
    ):
        place: dict[str, str | int] = {"folder": folder, "port": port}
        first, then = command(prepare, **place), command(start, **place)
        for name, text in (files or {}).items():
            Path(folder, name).write_text(text.format_map(place))
        shutil.chown(folder, user or os.geteuid())
        subprocess.run(first, cwd=folder, user=user, stdout=log, stderr=log, check=True)
        with subprocess.Popen(
            then, cwd=folder, user=user, stdout=log, stderr=log
        ) as process:
            try:
                wait_for(lambda: answers(port), process, Path(folder, "log"))
                yield port
            finally:
                process.send_signal(stop)


def command(words: tuple[str, ...], **place: str | int) -> list[str]:
    """Return a command; skip the test where its program is not installed."""
    name, *options = words
    path = os.pathsep.join((os.environ["PATH"], *FOLDERS))
    if (program := shutil.which(name, path=path)) is None:
        why = f"{name} is not installed; scripts/databases does that or says how"
        if "CI" in os.environ:
            pytest.fail(why)
        pytest.skip(why)
    return [program, *(option.format_map(place) for option in options)]


def free_port() -> int:
    """Return a free port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_for(
    answers: Callable[[], bool], process: subprocess.Popen[bytes], log: Path
) -> None:
    """Wait until a server answers."""
    with suppress(AssertionError):
        block_until(lambda: process.poll() is not None or answers())
    if process.poll() is not None or not answers():
        pytest.fail(f"The server did not start:\n{log.read_text()}")
