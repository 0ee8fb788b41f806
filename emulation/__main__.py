"""Run the USB part of a machine: python -m emulation SPEC --root DIR.

It prints "ready" when the tree exists, follows changes of the spec, and ends, removing
the tree, when its standard input is closed.
"""

import argparse
from contextlib import suppress
import os
from pathlib import Path
import resource
import select
import sys

from .machine import Machine
from .spec import SpecFile

CHECK_INTERVAL_S = 0.2
"""Seconds between two checks of the spec."""


def main() -> None:
    """Run until standard input is closed."""
    parser = argparse.ArgumentParser(prog="python -m emulation", description=__doc__)
    parser.add_argument("spec", type=Path)
    parser.add_argument("--root", type=Path, required=True)
    arguments = parser.parse_args()
    # A stick takes five descriptors, and the usual limit is 1024.
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    file = SpecFile(arguments.spec)
    arguments.root.mkdir(parents=True, exist_ok=True)
    with Machine(file.spec, arguments.root) as machine:
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        while not stdin_closed():
            machine.refresh()
            problem = file.problem
            if file.reread():
                machine.reload(file.spec)
            elif file.problem not in {problem, ""}:
                sys.stderr.write(
                    f"{arguments.spec}: {file.problem}. The machine stays as it was.\n"
                )
    with suppress(OSError):
        arguments.root.rmdir()


def stdin_closed() -> bool:
    """Wait a little; return whether standard input has been closed."""
    readable, _, _ = select.select([sys.stdin], [], [], CHECK_INTERVAL_S)
    return bool(readable) and not os.read(sys.stdin.fileno(), 4096)


if __name__ == "__main__":
    main()
