"""The machine itself: the temperature of its CPU and the usage of its disk.

The temperature comes from the kernel's hwmon drivers and thermal zones, and the space
from statvfs(2), with the same result as df.
Source: Documentation/hwmon/sysfs-interface.rst and
Documentation/driver-api/thermal/sysfs-api.rst of the kernel.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import suppress
import errno
import math
import os
import re
from typing import Final

from . import sysfs
from .errors import DeviceAccessError, Fault, Invalid
from .places import HostPlace
from .readings import Facts, Identity, Reading, Value
from .sysfs import names_in, text_of
from .values import Range, checked
from .workers import Lane

type CpuSensor = tuple[str, float]
"""Label and temperature in °C."""
type Temperatures = dict[str, list[CpuSensor]]
"""The sensors of each CPU driver."""

DISK_QUANTITIES: Final = ("total_space", "used_space", "free_space", "space_usage")
CPU_QUANTITY: Final = "cpu_temperature"
BYTES_PER_GIB: Final = 2**30
# The hwmon drivers and thermal zones of a CPU, or of a board's only chip. Other sensors
# may measure a disk, a radio or the air. The kernel's thermal_hwmon.c replaces the
# dashes in the name of a zone by underscores, and may append the number of the zone.
CPU_DRIVER_NAME: Final = re.compile(
    r"""
    ( coretemp | x86_pkg_temp | tcpu(_pci)? | via_cputemp       # Intel; VIA
    | k8temp | k10temp | zenpower                               # AMD
    | cpu | cpu_hwmon                                           # RK3399; Loongson
    # Most boards, a Raspberry Pi too; Qualcomm has cpu0_1_top and cpuss0.
    | cpu(ss)?[0-9_]*(_top|_btm|_bottom)?_therm(al(_zone)?)?
    | cpu[bl]_thermal_zone | cpu_(big|little)[0-9]*_thermal     # Allwinner; MediaTek
    | [bm]cpu_therm | mpu[0-9]*_thermal                         # NVIDIA; TI
    | ap_thermal_cpu[0-9]+ | ap_cpu[0-9]+_thermal               # Marvell
    | armada_thermal | sfctemp                                  # Marvell; StarFive
    | cpu(ss)?[0-9_]*(_gold|_silver)?_usr                       # Qualcomm
    | soc_thermal | package_thermal                             # Rockchip
    | (big|little)_?core[0-9]*_thermal                          # Rockchip RK3588
    | cluster[0-9]+_thermal                                     # SpacemiT
    | bcm2835_thermal | exynos_therm | imx_thermal_zone
    | scpi_sensors                                              # ODROID-C2
    )(_?[0-9]+)?
    """,
    re.VERBOSE | re.IGNORECASE,
)
HWMON_INPUT: Final = re.compile("temp([0-9]+)_input")
# The first sensors of a driver are those of the whole CPU. Those of the cores follow,
# on a server more than a hundred.
MAX_DRIVER_SENSORS: Final = 16
# The possible range of a running CPU; a driver without a sensor may report 0 K or 255.
CPU_RANGE_C: Final = Range(-40.0, 150.0)
# 8 EiB, which some network file systems report. A negative count that has wrapped is
# larger.
MAX_DISK_BYTES: Final = 2**63
# Shorter than the timeout of a poll, so that the values of the other job are published
# if a job hangs.
CPU_TIMEOUT_S: Final = 5.0
DISK_TIMEOUT_S: Final = 5.0


class Host:
    """The machine that Home Assistant runs on, and the disk of its configuration.

    CPU and disk are two jobs, each with its own lane and timeout. If a job hangs or
    fails, only its own values are invalid.
    """

    facts: Final[dict[str, str]] = {}

    def __init__(
        self,
        lane: Lane,
        place: HostPlace,  # noqa: ARG002 - Every driver takes it.
        facts: Facts,
        on_gone: Callable[[], None] = lambda: None,  # noqa: ARG002 - Never unplugged.
    ) -> None:
        """Prepare to read this machine.

        Facts: folder, which is on the disk to measure; quantities of earlier readings.
        """
        self.quantities: tuple[str, ...] = DISK_QUANTITIES
        if CPU_QUANTITY in facts.get("quantities", ()):
            self._add_cpu()
        self.raw: dict[str, str] = {}
        """The figures of the disk, the temperatures of the CPU, and the names of the
        other drivers. Their sensors are not read."""
        self._cpu_lane = lane.sibling("cpu")
        self._disk_lane = lane
        self._folder = str(facts["folder"])

    @property
    def identity(self) -> Identity:
        """Empty: this machine has no manufacturer and model."""
        return Identity()

    async def read(self) -> Reading:
        """Return the temperature of the CPU in °C, and the disk's space in GiB and %.

        The temperature is that of the warmest sensor of the CPU. It is None on a
        machine that has never given a plausible one, and invalid if it has.
        Raises BadFrameError if neither CPU nor disk gives a value.
        """
        self.raw = {}
        disk, temperature = await asyncio.gather(self._read_disk(), self._read_cpu())
        if temperature is not None:
            self._add_cpu()
        elif CPU_QUANTITY in self.quantities:
            temperature = Invalid.of(Fault.CPU_UNREADABLE)
        # The disk comes first: if both fail, the error names it.
        return Reading.of({**disk, CPU_QUANTITY: temperature})

    async def read_again(self) -> Reading:
        """Return a reading of values that are measured now, like every reading."""
        return await self.read()

    async def close(self) -> None:
        """Do nothing: no file stays open."""

    def _add_cpu(self) -> None:
        """Add the temperature of the CPU to the quantities."""
        self.quantities = (CPU_QUANTITY, *DISK_QUANTITIES)

    async def _read_cpu(self) -> Value:
        """Return the temperature of the CPU; None if it cannot be read."""
        try:
            temperatures, others = await _run(
                self._cpu_lane, CPU_TIMEOUT_S, _measure_cpu
            )
        except OSError:  # Also the timeout.
            return None
        self.raw["temperatures"] = str(temperatures)
        self.raw["other_drivers"] = ", ".join(others)
        return _warmest(temperatures)

    async def _read_disk(self) -> dict[str, Value]:
        """Return the values of the disk, or the fault of all of them."""
        try:
            disk = await _run(
                self._disk_lane, DISK_TIMEOUT_S, _measure_disk, self._folder
            )
        except TimeoutError:
            fault = Invalid.of(
                Fault.DISK_HANGING, folder=self._folder, seconds=f"{DISK_TIMEOUT_S:g}"
            )
        except OSError as err:
            fault = Invalid.of(
                Fault.DISK_UNREADABLE,
                folder=self._folder,
                error=err.strerror or str(err),
            )
        else:
            self.raw["disk"] = str(disk)
            return _space(disk, self._folder)
        return dict.fromkeys(DISK_QUANTITIES, fault)


async def _run[T, *Ts](
    lane: Lane, timeout_s: float, job: Callable[[*Ts], T], *args: *Ts
) -> T:
    """Run a job on its lane; raise its OSError, or TimeoutError if it hangs."""
    try:
        async with asyncio.timeout(timeout_s):
            result = await lane.run(job, *args)
    except DeviceAccessError as err:  # An earlier job still hangs.
        lane.failing = True
        raise TimeoutError from err
    except OSError:
        lane.failing = True
        raise
    lane.failing = False
    return result


def _measure_disk(folder: str) -> os.statvfs_result:
    """Return the figures of a folder's file system; blocks.

    Raises OSError if the file system does not know its size.
    """
    disk = os.statvfs(folder)
    if not disk.f_blocks * disk.f_frsize:  # Some FUSE file systems report 0.
        raise OSError(errno.ENODATA, os.strerror(errno.ENODATA))
    return disk


def _space(disk: os.statvfs_result, folder: str) -> dict[str, Value]:
    """Return the values of the disk as df computes them.

    The values are invalid if the figures contradict each other: a negative used or free
    space, or neither used nor free space. A negative count has wrapped in the kernel.
    """
    total, unused, free = (
        blocks * disk.f_frsize
        for blocks in (disk.f_blocks, disk.f_bfree, disk.f_bavail)
    )
    used = total - unused
    if not 0 <= free <= unused <= total <= MAX_DISK_BYTES or not used + free:
        fault = Invalid.of(
            Fault.DISK_CONTRADICTORY,
            folder=folder,
            total=f"{total / BYTES_PER_GIB:.2f}",
            unused=f"{unused / BYTES_PER_GIB:.2f}",
            free=f"{free / BYTES_PER_GIB:.2f}",
        )
        return dict.fromkeys(DISK_QUANTITIES, fault)
    return {
        "total_space": total / BYTES_PER_GIB,
        "used_space": used / BYTES_PER_GIB,
        "free_space": free / BYTES_PER_GIB,
        "space_usage": round(used / (used + free) * 100, 1),
    }


def _warmest(temperatures: Temperatures) -> float | None:
    """Return the temperature of the CPU's warmest sensor; None if none is plausible."""
    values: list[float] = []
    for sensors in temperatures.values():
        # Tctl controls the fan, and may be higher than Tdie on purpose.
        skipped = "Tctl" if "Tdie" in dict(sensors) else None
        values += (value for label, value in sensors if label != skipped)
    plausible = (checked(CPU_QUANTITY, value, CPU_RANGE_C) for value in values)
    return max((v for v in plausible if not isinstance(v, Invalid)), default=None)


def _measure_cpu() -> tuple[Temperatures, list[str]]:
    """Return the temperatures of the CPU, and the names of the other drivers; blocks.

    The thermal zones are read only if hwmon has no plausible temperature. The sensors
    of other drivers are not read: this would make a DS18B20 measure, and disturb the
    program that reads it.
    """
    temperatures: Temperatures = {}
    others: list[str] = []
    for nodes, read_sensors in (
        (_hwmon_nodes(), _hwmon_sensors),
        (_thermal_zones(), _zone_sensors),
    ):
        for driver, folder in nodes:
            if CPU_DRIVER_NAME.fullmatch(driver.replace("-", "_")):
                with suppress(OSError):  # It has vanished.
                    sensors = list(read_sensors(folder))
                    temperatures.setdefault(driver, []).extend(sensors)
            else:
                others.append(driver)
        if _warmest(temperatures) is not None:
            break
    return temperatures, others


def _hwmon_nodes() -> Iterator[tuple[str, str]]:
    """Yield driver and folder of each hwmon node.

    The files of old drivers, such as before Linux 3.13, are in the folder of their
    device.
    """
    nodes = f"{sysfs.SYS}/class/hwmon"
    for node in names_in(nodes):
        yield from _named("name", f"{nodes}/{node}", f"{nodes}/{node}/device")


def _thermal_zones() -> Iterator[tuple[str, str]]:
    """Yield type and folder of each thermal zone, but not of the cooling devices."""
    zones = f"{sysfs.SYS}/class/thermal"
    for zone in names_in(zones):
        if zone.startswith("thermal_zone"):
            yield from _named("type", f"{zones}/{zone}")


def _named(attribute: str, *folders: str) -> Iterator[tuple[str, str]]:
    """Yield the name of a node, and the first of its folders that has the name."""
    with suppress(OSError):  # It has vanished.
        for folder in folders:
            if name := text_of(f"{folder}/{attribute}", ""):
                yield name, folder
                break


def _hwmon_sensors(folder: str) -> Iterator[CpuSensor]:
    """Yield label and temperature of the first sensors in the folder of a node."""
    inputs = filter(None, map(HWMON_INPUT.fullmatch, names_in(folder)))
    numbers = sorted(int(match[1]) for match in inputs)
    for number in numbers[:MAX_DRIVER_SENSORS]:
        label = text_of(f"{folder}/temp{number}_label", "")
        yield label, _degrees(f"{folder}/temp{number}_input")


def _zone_sensors(folder: str) -> Iterator[CpuSensor]:
    """Yield the temperature of a thermal zone, which has no label."""
    yield "", _degrees(f"{folder}/temp")


def _degrees(path: str) -> float:
    """Return a temperature in °C from thousandths of a degree.

    Return NaN for a core that is offline, or a zone that is disabled. NaN is never
    plausible; the label of such a sensor still counts.
    """
    try:
        return int(text_of(path)) / 1000
    except OSError, ValueError:
        return math.nan
