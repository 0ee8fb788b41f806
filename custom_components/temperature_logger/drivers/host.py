"""The machine itself: the temperature of its CPU and the usage of its disk.

psutil reads the temperature from the kernel's hwmon drivers and thermal zones, and the
space from statvfs(2), with the same result as df.
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
"""Label and temperature in °C of each sensor, by driver."""

DISK_QUANTITIES: Final = ("total_space", "used_space", "free_space", "space_usage")
CPU_QUANTITY: Final = "cpu_temperature"
BYTES_PER_GIB: Final = 2**30
# The hwmon drivers and thermal zones of a CPU, or of a board's only chip. Other sensors
# may measure a disk, a radio or the air. The kernel's thermal_hwmon.c replaces the
# dashes in the name of a zone by underscores, and may append the number of the zone.
CPU_DRIVER_NAME: Final = re.compile(
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
# The possible range of a running CPU; a driver without a sensor may report 0 K or 255.
CPU_MIN_C: Final = -40.0
CPU_MAX_C: Final = 150.0
# Shorter than the timeout of a poll, so that the error can name the disk.
DISK_TIMEOUT_S: Final = 5.0


class Host:
    """The machine that Home Assistant runs on, and the disk of its configuration."""

    facts: Final[dict[str, str]] = {}

    def __init__(
        self,
        lane: Lane,
        place: HostPlace,  # noqa: ARG002 - Every driver takes it.
        facts: Facts,
        on_gone: Callable[[], None] = lambda: None,  # noqa: ARG002 - Never unplugged.
    ) -> None:
        """Prepare to read this machine. Facts: folder, on the disk to measure."""
        self.quantities: tuple[str, ...] = DISK_QUANTITIES
        self.raw: dict[str, str] = {}
        """The last data of psutil, including sensors that are not those of the CPU."""
        self._folder = str(facts["folder"])
        self._lane = lane

    @property
    def identity(self) -> Identity:
        """Empty: this machine has no manufacturer and model."""
        return Identity()

    async def read(self) -> Reading:
        """Return the temperature of the CPU in °C, and the disk's space in GiB and %.

        The temperature is that of the warmest sensor of the CPU. It is None without a
        sensor, or if no value is plausible; the reading then has the disk only. Raises
        DeviceAccessError if the disk hangs or cannot be read.
        """
        try:
            async with asyncio.timeout(DISK_TIMEOUT_S):
                disk, temperatures = await self._lane.run(_measure, self._folder)
        except (DeviceAccessError, TimeoutError) as err:
            self._lane.failing = True
            raise DeviceAccessError(
                Fault.DISK_HANGING, folder=self._folder, seconds=f"{DISK_TIMEOUT_S:g}"
            ) from err
        except OSError as err:
            self._lane.failing = True
            error = err.strerror or str(err)
            raise DeviceAccessError(
                Fault.DISK_UNREADABLE, folder=self._folder, error=error
            ) from err
        self._lane.failing = False
        temperature = _cpu_temperature(temperatures)
        self.quantities = (
            DISK_QUANTITIES if temperature is None else (CPU_QUANTITY, *DISK_QUANTITIES)
        )
        self.raw = {"disk": str(disk), "temperatures": str(temperatures)}
        return Reading(
            cpu_temperature=temperature,
            total_space=disk.total / BYTES_PER_GIB,
            used_space=disk.used / BYTES_PER_GIB,
            free_space=disk.free / BYTES_PER_GIB,
            space_usage=disk.percent,
        )

    async def read_again(self) -> Reading:
        """Return a reading of values that are measured now, like every reading."""
        return await self.read()

    async def close(self) -> None:
        """Do nothing: no file stays open."""


def _measure(folder: str) -> tuple[Any, Temperatures]:
    """Return the usage of a folder's disk, and all temperatures; blocks.

    Raises OSError if the file system does not know its size.
    """
    disk = psutil.disk_usage(folder)
    if not disk.total:  # Some FUSE file systems report 0 for an unknown size.
        raise OSError(errno.ENODATA, os.strerror(errno.ENODATA))
    return disk, {
        driver: [(sensor.label, sensor.current) for sensor in sensors]
        for driver, sensors in psutil.sensors_temperatures().items()
    }


def _cpu_temperature(temperatures: Temperatures) -> float | None:
    """Return the temperature of the CPU's warmest sensor; None if none is plausible."""
    values: list[float] = []
    for driver, sensors in temperatures.items():
        if CPU_DRIVER_NAME.fullmatch(driver.replace("-", "_")):
            # Tctl controls the fan, and may be higher than Tdie on purpose.
            skipped = "Tctl" if "Tdie" in dict(sensors) else None
            values += (value for label, value in sensors if label != skipped)
    return max((v for v in values if CPU_MIN_C <= v <= CPU_MAX_C), default=None)
