"""The machine itself: how warm its CPU is, and how full its disk.

Through psutil: the temperature is what the kernel's hwmon drivers and thermal zones
tell, the space is that of statvfs(2), counted as df counts it.
"""

import asyncio
from collections.abc import Callable
import errno
import os
import re
from typing import Any, Final

import psutil

from .errors import DeviceAccessError, Fault
from .places import HostPlace
from .readings import Facts, Identity, Reading
from .workers import Lane

type Temperatures = dict[str, list[tuple[str, float]]]
"""Label and degrees Celsius of each sensor, by driver."""

DISK: Final = ("total_space", "used_space", "free_space", "space_usage")
CPU: Final = "cpu_temperature"
GIB: Final = 2**30
# The hwmon drivers and thermal zones of a CPU, or of the one chip that a board has; any
# other may be a disk, a radio or the air. The kernel's thermal_hwmon.c makes the dashes
# of a zone's name underscores, and may add the zone's number.
CPU_DRIVER: Final = re.compile(
    r"""
    ( coretemp | x86_pkg_temp | via_cputemp         # Intel; VIA
    | k8temp | k10temp | zenpower                   # AMD
    | cpu[0-9]*_therm(al(_zone)?)?                  # most boards, a Raspberry Pi too
    | soc_thermal | package_thermal                 # Rockchip
    | (bigcore[0-9] | littlecore)_thermal           # Rockchip RK3588
    | bcm2835_thermal | exynos_therm | imx_thermal_zone
    | scpi_sensors                                  # ODROID-C2
    )(_[0-9]+)?
    """,
    re.VERBOSE | re.IGNORECASE,
)
# What a CPU that runs can have; a driver without a sensor may say 0 K, or 255.
LOW: Final = -40.0
HIGH: Final = 150.0
# Seconds that the disk has; less than a poll, so that the error can name the disk.
LIMIT: Final = 5.0


class Host:
    """The machine that Home Assistant runs on, and the disk of its configuration."""

    facts: Final[dict[str, str]] = {}

    def __init__(
        self,
        lane: Lane,
        place: HostPlace,  # noqa: ARG002 - As every driver.
        facts: Facts,
        on_gone: Callable[[], None] = lambda: None,  # noqa: ARG002 - It stays.
    ) -> None:
        """Prepare to read this machine. Facts: folder, whose disk is measured."""
        self.quantities: tuple[str, ...] = DISK
        self.raw: dict[str, str] = {}
        """What psutil said last, with the sensors that are not the CPU's."""
        self._folder = str(facts["folder"])
        self._lane = lane

    @property
    def identity(self) -> Identity:
        """What it is called."""
        return Identity()

    async def read(self) -> Reading:
        """Return the temperature of the CPU, in °C, and of the disk what df tells.

        Sizes are in GiB. The temperature is that of the CPU's warmest sensor; None if
        it has none, or none that can be believed, which is no reason not to tell of
        the disk. Raises DeviceAccessError for a disk that cannot be asked.
        """
        try:
            async with asyncio.timeout(LIMIT):
                disk, temperatures = await self._lane.run(_ask, self._folder)
        except (DeviceAccessError, TimeoutError) as err:
            self._lane.failing = True
            raise DeviceAccessError(
                Fault.DISK_HANGING, folder=self._folder, seconds=f"{LIMIT:g}"
            ) from err
        except OSError as err:
            self._lane.failing = True
            error = err.strerror or str(err)
            raise DeviceAccessError(
                Fault.DISK_UNREADABLE, folder=self._folder, error=error
            ) from err
        self._lane.failing = False
        temperature = _cpu_temperature(temperatures)
        self.quantities = DISK if temperature is None else (CPU, *DISK)
        self.raw = {"disk": str(disk), "temperatures": str(temperatures)}
        return Reading(
            cpu_temperature=temperature,
            total_space=disk.total / GIB,
            used_space=disk.used / GIB,
            free_space=disk.free / GIB,
            space_usage=disk.percent,
        )

    async def close(self) -> None:
        """Do nothing: no file is held open."""


def _ask(folder: str) -> tuple[Any, Temperatures]:
    """Return the usage of a folder's disk, and all temperatures; blocks."""
    disk = psutil.disk_usage(folder)
    if not disk.total:  # So say file systems that do not know, such as some of FUSE.
        raise OSError(errno.ENODATA, os.strerror(errno.ENODATA))
    return disk, {
        driver: [(sensor.label, sensor.current) for sensor in sensors]
        for driver, sensors in psutil.sensors_temperatures().items()
    }


def _cpu_temperature(temperatures: Temperatures) -> float | None:
    """Return the temperature of the CPU's warmest sensor; None if it has none."""
    found: list[float] = []
    for driver, sensors in temperatures.items():
        if CPU_DRIVER.fullmatch(driver.replace("-", "_")):
            # Beside a Tdie, Tctl may be higher on purpose: it is for the fan.
            skipped = "Tctl" if "Tdie" in dict(sensors) else None
            found += (value for label, value in sensors if label != skipped)
    return max((value for value in found if LOW <= value <= HIGH), default=None)
