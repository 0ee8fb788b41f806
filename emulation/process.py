"""Emulated hardware below an unmodified process.

The sticks run in a process of their own; the buses are in the process that reads them.
EMULATED_MACHINE names the machine spec. EMULATED_MACHINE_ROOT names the tree of an
emulator that runs already; without it one is started, and child processes share it.
"""

import atexit
from collections.abc import Callable, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
import os
from pathlib import Path
import subprocess
import sys
from types import ModuleType
from typing import override

from . import hidraw, libusb
from .i2c import Buses
from .machine import reload_buses, scratch
from .spec import SpecFile
from .tree import watch

SPEC, ROOT = "EMULATED_MACHINE", "EMULATED_MACHINE_ROOT"
SYSFS = "custom_components.temperature_logger.drivers.sysfs"
"""The module that holds the paths SYS and DEV."""

type Patch = Callable[[ModuleType], object]


class Loader(SourceFileLoader):
    """Load a module, then patch it."""

    patch: Patch

    @override
    def exec_module(self, module: ModuleType) -> None:
        """Execute the module and patch it."""
        super().exec_module(module)
        self.patch(module)


class Finder(MetaPathFinder):
    """Find the modules that are to be patched."""

    def __init__(self, patches: dict[str, Patch]) -> None:
        """Take a patch for each module."""
        self._patches = patches

    @override
    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,
        target: ModuleType | None = None,
    ) -> ModuleSpec | None:
        """Find a module that is to be patched."""
        if not (patch := self._patches.get(fullname)):
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec and spec.origin:
            loader = Loader(fullname, spec.origin)
            loader.patch = patch
            spec.loader = loader
        return spec


class Emulator:
    """The process that emulates the sticks."""

    def __init__(self, spec: Path) -> None:
        """Start it."""
        self._folder = scratch()
        self.root = Path(self._folder.name)
        environment = {k: v for k, v in os.environ.items() if k not in {SPEC, ROOT}}
        environment["PYTHONPATH"] = str(Path(__file__).parents[1])
        # It gets a process group of its own; otherwise Ctrl-C would unplug the sticks
        # before their readers end.
        self._process = subprocess.Popen(  # noqa: S603 - this very interpreter
            [sys.executable, "-m", "emulation", spec, "--root", self.root],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            process_group=0,
        )
        self._ready = False
        atexit.register(self.stop)

    def wait(self) -> None:
        """Wait until the tree exists."""
        if not self._ready and self._process.stdout:
            self._ready = self._process.stdout.readline() == b"ready\n"
        if not self._ready:
            raise RuntimeError("The emulated hardware did not start")

    def stop(self) -> None:
        """End it."""
        self._process.communicate()
        self._folder.cleanup()


def start() -> None:
    """Put the machine of EMULATED_MACHINE below the modules of this process."""
    path = Path(os.environ[SPEC]).resolve()
    emulator = None
    if ROOT not in os.environ:
        emulator = Emulator(path)
        os.environ[ROOT] = str(emulator.root)
    root, file = Path(os.environ[ROOT]), SpecFile(path)

    def refresh() -> None:
        if file.reread():
            reload_buses(buses, file.spec)

    def redirect(module: ModuleType) -> None:
        if emulator:
            emulator.wait()
        vars(module).update(SYS=root / "sys", DEV=root / "dev")

    buses = Buses(file.spec.get("i2c", []), root / "dev", refresh)
    patches: dict[str, Patch] = {
        SYSFS: redirect,
        "Adafruit_PureIO.smbus": buses.install,
        "aiousbwatcher.impl": lambda module: watch(module, root),
        hidraw.MODULE: lambda module: hidraw.install(module, root),
        "usb.backend.libusb1": lambda module: libusb.install(module, root),
    }
    sys.meta_path.insert(0, Finder(patches))
