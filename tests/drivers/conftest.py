"""Emulated hardware below the unmodified drivers."""

import asyncio
from asyncio import base_events
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from functools import partial
from importlib import import_module
import os
from pathlib import Path
from pkgutil import walk_packages
from threading import Event
from typing import TYPE_CHECKING, Any, Protocol, override

import pytest

from custom_components.temperature_logger import drivers
from custom_components.temperature_logger.drivers import Workers, host, sysfs, workers
from custom_components.temperature_logger.drivers.i2c import blinka
from custom_components.temperature_logger.drivers.i2c.bosch import BoschChip
from custom_components.temperature_logger.drivers.places import I2cPlace
from custom_components.temperature_logger.drivers.usb import hidraw, stream
from custom_components.temperature_logger.drivers.workers import Lane
from emulation.chips import Chip
from emulation.i2c import Bus
from emulation.machine import Machine, scratch

from .i2c.chips import ADDRESS, PINS, Model
from .waiting import STEP, PatientClock

if TYPE_CHECKING:
    from _typeshed import FileDescriptorLike

NOBODY = 65534

# The names of quantities in the emulation, where they are different.
EMULATED_QUANTITIES = {
    "internal_temperature": "temperature",
    "internal_humidity": "humidity",
    "thermistor_temperature": "second_external_temperature",
}

# A stick with two sensors, at 20 and 10 °C.
READ_VALUES = bytes.fromhex("0180330100000000")
INTERNAL, EXTERNAL = "808007d04e200000", "800103e84e200000"
STALE_REPORT = "808000074e200000"
REPORTS = [bytes.fromhex(INTERNAL), bytes.fromhex(EXTERNAL)]
LIMITS = (1.0, 1.0)
SHORT_LIMITS = (0.05, 0.05)

type AsNobody = Callable[[], AbstractContextManager[None]]
type Wake = Callable[[], None]


def import_all() -> None:
    """Import the modules that the drivers import later, while they can be read.

    In a closed home folder only root can read them.
    """
    for module in walk_packages(drivers.__path__, f"{drivers.__name__}."):
        import_module(module.name)
    for name in ("Adafruit_PureIO.smbus", "aiousbwatcher.impl", "usb.backend.libusb1"):
        import_module(name)
    blinka.import_bus()
    blinka.import_bme280()


def open_files() -> int:
    """Return how many files this process has open."""
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


class Build(Protocol):
    """Build a machine and put it below the drivers, in place of the last one."""

    def __call__(
        self,
        *usb: dict[str, Any],
        i2c: list[dict[str, Any]] | None = None,
        hwmon: list[dict[str, Any]] | None = None,
    ) -> Machine:
        """Plug in these sticks, buses and sensors, given as in a machine spec."""


@pytest.fixture(name="patient_clock", autouse=True, scope="session")
def patient_clock_fixture() -> Generator[PatientClock]:
    """Count the limits of event loops, workers and streams by the patient clock."""
    clock = PatientClock()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(base_events.BaseEventLoop, "time", lambda _: clock())
        # An event loop reads its clock when it wakes, so it wakes often.
        patch.setattr(base_events, "MAXIMUM_SELECT_TIMEOUT", STEP)
        patch.setattr(workers, "monotonic", clock)
        patch.setattr(stream, "boot_time", clock)
        yield clock


@pytest.fixture(name="build")
def build_fixture(monkeypatch: pytest.MonkeyPatch) -> Generator[Build]:
    """Return the builder of a test's machines."""
    with ExitStack() as undo:

        def build(
            *usb: dict[str, Any],
            i2c: list[dict[str, Any]] | None = None,
            hwmon: list[dict[str, Any]] | None = None,
        ) -> Machine:
            undo.close()
            root = Path(undo.enter_context(scratch()))
            root.chmod(0o755)  # Other users may not read it either.
            spec = {"usb": usb, "i2c": i2c or [], "hwmon": hwmon or []}
            machine = undo.enter_context(Machine(spec, root))
            monkeypatch.setattr(sysfs, "SYS", machine.sys)
            monkeypatch.setattr(sysfs, "DEV", machine.dev)
            monkeypatch.setattr(hidraw, "os", machine.system)
            machine.install()
            return machine

        yield build


@pytest.fixture(name="machine")
def machine_fixture(build: Build) -> Machine:
    """Return a machine with one stick."""
    values = {"temperature": 20.0, "external_temperature": 10.0}
    return build({"name": "two", "model": "TEMPer2_V3.9", **values})


@pytest.fixture(name="workers")
def workers_fixture() -> Generator[Workers]:
    """Return workers, whose threads end with the test."""
    workers = Workers()
    yield workers
    workers.close()
    workers.join()


@pytest.fixture(name="lane")
def lane_fixture(workers: Workers) -> Lane:
    """Return the lane of one device to the workers."""
    return Lane(workers)


@pytest.fixture(name="wake")
async def wake_fixture(monkeypatch: pytest.MonkeyPatch) -> Wake:
    """Return a function that does what the event loop does for a readable file.

    The file is the newest one that the loop watches. The loop calls its readers in any
    order, and also if another program has read the file meanwhile.
    """
    loop = asyncio.get_running_loop()
    add_reader = loop.add_reader
    readers: list[Wake] = []

    def add_reader_and_note(
        file: FileDescriptorLike, callback: Callable[..., None], *args: object
    ) -> None:
        readers.append(partial(callback, *args))
        add_reader(file, callback, *args)

    def wake() -> None:
        readers[-1]()

    monkeypatch.setattr(loop, "add_reader", add_reader_and_note)
    return wake


def file_system(blocks: int, unused: int, free: int) -> os.statvfs_result:
    """Return the figures of a file system whose blocks are one GiB each."""
    return os.statvfs_result((2**30, 2**30, blocks, unused, free, 0, 0, 0, 0, 255))


@pytest.fixture(name="disk")
def disk_fixture(monkeypatch: pytest.MonkeyPatch) -> Generator[Event]:
    """Return a disk that can be made to hang."""
    limit = host.DISK_TIMEOUT_S

    class Disk(Event):
        """A disk with a short deadline while it hangs, and a long one otherwise."""

        @override
        def clear(self) -> None:
            monkeypatch.setattr(host, "DISK_TIMEOUT_S", 0.05)
            super().clear()

        @override
        def set(self) -> None:
            monkeypatch.setattr(host, "DISK_TIMEOUT_S", limit)
            super().set()

    answers, statvfs = Disk(), os.statvfs
    answers.set()

    def statvfs_once_it_answers(path: str) -> os.statvfs_result:
        answers.wait()
        return statvfs(path)

    monkeypatch.setattr(os, "statvfs", statvfs_once_it_answers)
    yield answers
    answers.set()  # Otherwise the workers would never end.


class Hang:
    """Files whose readers hang, as those of a sensor can."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Begin without a file."""
        self._files: list[Path] = []
        self._limit = host.CPU_TIMEOUT_S
        self._monkeypatch = monkeypatch

    def __call__(self, *files: Path) -> None:
        """Let each program that opens one of these files hang."""
        for file in files:
            file.unlink(missing_ok=True)
            os.mkfifo(file)
            self._files.append(file)

    def cpu(self, *files: Path) -> None:
        """Let the CPU's sensors hang, with a short deadline."""
        self(*files)
        self._monkeypatch.setattr(host, "CPU_TIMEOUT_S", 0.05)

    def end(self) -> None:
        """Let the readers find empty files, then remove the files."""
        self._monkeypatch.setattr(host, "CPU_TIMEOUT_S", self._limit)
        for file in self._files:
            with suppress(OSError):  # Nothing reads it.
                os.close(os.open(file, os.O_WRONLY | os.O_NONBLOCK))
            file.unlink()
        self._files.clear()


@pytest.fixture(name="hang")
def hang_fixture(monkeypatch: pytest.MonkeyPatch, build: Build) -> Generator[Hang]:
    """Return a function that lets the readers of files of a machine hang."""
    assert build  # Its machine ends later, with the files.
    hang = Hang(monkeypatch)
    yield hang
    hang.end()  # Otherwise the workers would never end.


@pytest.fixture(name="board")
def board_fixture(build: Build, model: Model) -> Machine:
    """Return a machine with one of Bosch's chips on the pins of its board."""
    return build(i2c=[model.on_pins()])


@pytest.fixture(name="bus")
def bus_fixture(board: Machine) -> Bus:
    """Return the bus of the chip."""
    return board.buses.numbered[1]


@pytest.fixture(name="chip")
def chip_fixture(bus: Bus) -> Chip:
    """Return the chip."""
    return bus.chips[ADDRESS]


@pytest.fixture(name="unread")
async def unread_fixture(lane: Lane, model: Model) -> AsyncGenerator[BoschChip]:
    """Return the driver of the chip, before its first reading."""
    driver = model.driver(lane, I2cPlace(PINS, ADDRESS), {})
    yield driver
    await driver.close()


@pytest.fixture(name="driver")
async def driver_fixture(board: Machine, unread: BoschChip) -> BoschChip:
    """Return the driver of the chip, after its first reading."""
    await unread.read()
    return unread


@pytest.fixture(name="as_nobody")
def as_nobody_fixture() -> AsNobody:
    """Drop root's rights where the tests have them, and restore them afterwards.

    The kernel then checks permissions as for any user.
    """
    import_all()

    @contextmanager
    def as_nobody() -> Generator[None]:
        before = os.getresuid()
        if os.geteuid() == 0:
            os.setresuid(NOBODY, NOBODY, 0)
        try:
            yield
        finally:
            os.setresuid(*before)

    return as_nobody
