"""The machine itself: how warm its CPU is, and how full its disk.

Through psutil: the temperature is what the kernel's hwmon drivers tell, the space is
that of statvfs(2), counted as df counts it.
"""

import asyncio
from pathlib import Path
from typing import Final

import psutil

from .errors import DeviceAccessError, Fault, out_of_range
from .readings import Identity, Reading
from .sysfs import HOST_MODEL, HOST_PLACE
from .workers import Lane

DISK: Final = ("total_space", "used_space", "free_space", "space_usage")
CPU: Final = "cpu_temperature"
GIB: Final = 2**30
# The names of the hwmon drivers that stand for a CPU, or for all of a board's one chip;
# any other may be a disk, a battery or the air.
CPU_DRIVERS: Final = (
    "coretemp",
    "k10temp",
    "zenpower",
    "cpu_thermal",
    "cpu-thermal",
    "cpu0_thermal",
    "cpu0-thermal",
    "cpu_thermal_zone",
    "soc_thermal",
    "soc-thermal",
    "bigcore0_thermal",
    "exynos-therm",
    "x86_pkg_temp",
)
# Where one of them has several sensors, those of the whole chip; Tctl may be higher on
# purpose than the chip is warm.
WHOLE_CHIP: Final = ("Package id 0", "Tdie", "Tctl")
# What a CPU can have and still run.
LOW: Final = -40.0
HIGH: Final = 150.0


class Host:
    """The machine that Home Assistant runs on, and the disk of its configuration."""

    facts: Final[dict[str, str]] = {}

    def __init__(self, lane: Lane, folder: Path) -> None:
        """Name a folder on the disk."""
        self.quantities: tuple[str, ...] = DISK
        self.raw: dict[str, str] = {}
        """What psutil said last."""
        self._folder = folder
        self._lane = lane

    @property
    def identity(self) -> Identity:
        """What it is called."""
        return Identity(manufacturer="", model=HOST_MODEL, place=HOST_PLACE)

    async def read(self) -> Reading:
        """Return the temperature of the CPU, in °C, and of the disk what df tells.

        Sizes are in GiB. Raises DeviceAccessError for a disk that cannot be asked, and
        BadFrameError for a temperature that no CPU has.
        """
        try:
            reading = await self._lane.run(self._read)
        except BaseException:
            self._lane.failing = True
            raise
        self._lane.failing = False
        return reading

    async def close(self) -> None:
        """Wait until a disk that hangs lets go; nothing is held open."""
        await asyncio.wrap_future(self._lane.finish(lambda: None))

    def _read(self) -> Reading:
        """Ask; blocks."""
        try:
            disk = psutil.disk_usage(str(self._folder))
        except OSError as err:
            error = err.strerror or str(err)
            raise DeviceAccessError(
                Fault.DISK_UNREADABLE, folder=str(self._folder), error=error
            ) from err
        temperature = _cpu_temperature()
        self.raw = {"disk": str(disk), "cpu": str(temperature)}
        self.quantities = DISK if temperature is None else (CPU, *DISK)
        return Reading(
            cpu_temperature=temperature,
            total_space=disk.total / GIB,
            used_space=disk.used / GIB,
            free_space=disk.free / GIB,
            space_usage=disk.percent,
        )


def _cpu_temperature() -> float | None:
    """Return the CPU's temperature; None for a machine that does not tell."""
    sensors = psutil.sensors_temperatures()
    for driver in CPU_DRIVERS:
        found = {one.label: one.current for one in reversed(sensors.get(driver, ()))}
        for label in (*WHOLE_CHIP, *found):
            if label in found:
                return _checked(found[label])
    return None


def _checked(temperature: float) -> float:
    """Return a temperature; raise BadFrameError for one that no CPU has."""
    if not LOW <= temperature <= HIGH:
        raise out_of_range(f"{temperature:.1f}", LOW, HIGH)
    return temperature
