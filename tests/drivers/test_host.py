"""The CPU and the disk of the machine itself."""

import asyncio
from collections.abc import Callable
import os
from pathlib import Path
import subprocess
from threading import Event, current_thread
from typing import Any

import pytest

from custom_components.temperature_logger.drivers import Fault, Workers, host
from custom_components.temperature_logger.drivers import workers as workers_module
from custom_components.temperature_logger.drivers.errors import BadFrameError
from custom_components.temperature_logger.drivers.host import (
    BYTES_PER_GIB,
    CPU_DRIVER_NAME,
    CPU_QUANTITY,
    DISK_QUANTITIES,
    MAX_DRIVER_SENSORS,
    Host,
)
from custom_components.temperature_logger.drivers.places import HOST
from custom_components.temperature_logger.drivers.readings import Reading
from custom_components.temperature_logger.drivers.workers import Lane
from tests.drivers.waiting import until

from .conftest import Build, Hang, file_system

# A file system in blocks of a GiB: size, free for root, free for all users.
HEALTHY_DISK = (100, 40, 35)

type Sensor = dict[str, Any]


@pytest.fixture(name="driver")
def driver_fixture(lane: Lane, tmp_path: Path) -> Host:
    """Return the driver, for a folder on the disk that the tests write to."""
    return Host(lane, HOST, {"folder": tmp_path})


def chip(driver: str, *temperatures: float | None, **labelled: float) -> Sensor:
    """Return the sensors of one kernel driver, as in a machine spec."""
    return {
        "driver": driver,
        "sensors": [
            *({"temperature": value} for value in temperatures),
            *({"label": key, "temperature": value} for key, value in labelled.items()),
        ],
    }


def zone(name: str, temperature: float | None) -> Sensor:
    """Return a thermal zone, as in a machine spec."""
    return {**chip(name, temperature), "zone": True}


def faults(reading: Reading) -> dict[str, Fault]:
    """Return the fault of each invalid value of a reading."""
    return {quantity: invalid.fault for quantity, invalid in reading.faults.items()}


def df(folder: Path) -> list[int]:
    """Return size, used and free bytes of a folder's disk, as df counts them."""
    fields = "--output=size,used,avail"
    command = ["df", "--block-size=1", fields, str(folder)]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return [int(number) for number in lines.splitlines()[1].split()]


async def test_disk_agrees_with_df(driver: Host, tmp_path: Path, build: Build) -> None:
    """Size, used, free and usage are those of df at the same moment."""
    build()
    for _ in range(100):
        before, reading, known = df(tmp_path), await driver.read(), df(tmp_path)
        if before == known:
            break  # No other program wrote meanwhile.
    else:
        pytest.fail("The disk is never quiet")
    sizes = (reading.total_space, reading.used_space, reading.free_space)
    assert [size and size * BYTES_PER_GIB for size in sizes] == known
    used, free = known[1:]
    assert reading.space_usage == round(100 * used / (used + free), 1)
    assert driver.raw["disk"].startswith("os.statvfs_result(f_bsize=")


@pytest.mark.parametrize(
    ("sensors", "temperature"),
    [
        pytest.param([chip("cpu_thermal", 48.3)], 48.3, id="Raspberry Pi"),
        pytest.param([chip("cpu_thermal_0", 48.3)], 48.3, id="with its number"),
        pytest.param(
            [
                chip("nvme", Composite=60.0),
                chip("acpitz", 27.8),
                chip("coretemp", **{"Package id 0": 53.0, "Core 0": 51.0}),
            ],
            53.0,
            id="Intel",
        ),
        pytest.param(
            [chip("coretemp", **{"Core 0": 40.0, "Core 1": 43.0})],
            43.0,
            id="Intel without a package",
        ),
        pytest.param(
            [
                chip("coretemp", **{"Package id 0": 44.0}),
                chip("coretemp", **{"Package id 1": 53.0}),
            ],
            53.0,
            id="two CPUs",
        ),
        pytest.param(
            [chip("k10temp", Tctl=72.0, Tdie=45.0, Tccd1=44.25)], 45.0, id="AMD"
        ),
        pytest.param([chip("k10temp", Tctl=50.5)], 50.5, id="newer AMD"),
        pytest.param([chip("k10temp", 38.0)], 38.0, id="older AMD"),
        pytest.param([chip("zenpower", Tdie=45.0, Tctl=45.0)], 45.0, id="zenpower"),
        pytest.param(
            [chip("cpu_thermal", 41.0), chip("ddr_thermal", 44.0)], 41.0, id="ODROID N2"
        ),
        pytest.param([chip("scpi_sensors", aml_thermal=38.0)], 38.0, id="ODROID-C2"),
        pytest.param(
            [
                chip("package_thermal", 37.9),
                chip("bigcore0_thermal", 38.8),
                chip("littlecore_thermal", 36.1),
                chip("gpu_thermal", 41.0),
            ],
            38.8,
            id="RK3588",
        ),
        pytest.param(
            [zone("cpu-thermal", 45.0), zone("gpu-thermal", 47.0)], 45.0, id="zones"
        ),
        pytest.param([zone("CPU-therm", 45.0)], 45.0, id="Jetson"),
        pytest.param([chip("nvme", 60.0), zone("cpu-thermal", 45.0)], 45.0, id="nvme"),
        pytest.param(
            [chip("ds3231", 24.5), zone("cpu-thermal", 45.0)],
            45.0,
            id="Pi with a clock",
        ),
        pytest.param(
            [chip("w1_slave_temp", 21.0), zone("cpu-thermal", 45.0)],
            45.0,
            id="Pi with a probe",
        ),
        pytest.param(
            [chip("acpitz", 27.8), zone("acpitz", 27.8), zone("x86_pkg_temp", 51.0)],
            51.0,
            id="NUC",
        ),
        pytest.param([chip("cpu", 46.0), chip("gpu", 47.0)], 46.0, id="RK3399"),
        pytest.param(
            [chip("cpu_thermal", 48.0), zone("cpu-thermal", 49.0)], 48.0, id="both"
        ),
        pytest.param(
            [chip("coretemp", None, 255.0), zone("x86_pkg_temp", 51.0)],
            51.0,
            id="hwmon is implausible",
        ),
        pytest.param([chip("acpitz", 27.8), zone("acpitz", 27.8)], None, id="ACPI"),
        pytest.param([chip("cpu_fan", 30.0)], None, id="other"),
        pytest.param([], None, id="virtual machine"),
    ],
)
async def test_temperature_is_that_of_the_cpu(
    driver: Host, build: Build, sensors: list[Sensor], temperature: float | None
) -> None:
    """The temperature is the warmest of the CPU's sensors, and of no others."""
    build(hwmon=sensors)
    reading = await driver.read()
    assert reading.cpu_temperature == temperature
    assert (CPU_QUANTITY in driver.quantities) == (temperature is not None)
    assert not reading.faults


@pytest.mark.parametrize(
    "name",
    [
        *("cpu-thermal0", "cpu0_0_top_thermal", "cpuss-0-thermal", "cpub_thermal_zone"),
        *("cpu_little0_thermal", "MCPU-therm", "mpu_thermal", "ap-thermal-cpu0"),
        *("bigcore_thermal", "little-core-thermal", "cluster0_thermal", "TCPU_PCI"),
        *("soc_thermal", "bcm2835_thermal", "exynos-therm", "imx_thermal_zone"),
    ],
)
async def test_driver_of_a_cpu(driver: Host, build: Build, name: str) -> None:
    """The drivers and zones of many boards are known by their names."""
    build(hwmon=[zone(name, 45.0)])
    assert (await driver.read()).cpu_temperature == 45.0


@pytest.mark.parametrize(
    "name",
    [
        *("acpitz", "w1_slave_temp", "ds3231", "nvme", "drivetemp", "iwlwifi_1"),
        *("gpu_thermal", "ddr_thermal", "pch_skylake", "rp1_adc", "bme280", "lm75"),
        *("cpu_fan", "cpu_idle_zone", "INT3400 Thermal", "SEN1", "sun4i_ts", ""),
    ],
)
def test_driver_of_something_else(name: str) -> None:
    """Sensors of the air, a disk, a radio or a clock are not those of a CPU."""
    assert not CPU_DRIVER_NAME.fullmatch(name.replace("-", "_"))


async def test_other_sensors_are_never_opened(
    driver: Host, build: Build, hang: Hang
) -> None:
    """Of a node that is not that of a CPU, only the name is read.

    To read a DS18B20 takes a second, and makes it measure.
    """
    names = ("w1_slave_temp", "ds3231", "acpitz")
    machine = build(hwmon=[*(chip(name, 21.0) for name in names), zone("acpitz", 28.0)])
    nodes = [machine.sys / f"class/hwmon/hwmon{number}" for number in range(3)]
    hang(*(node / "temp1_input" for node in nodes))
    hang(*(node / "temp1_label" for node in nodes))
    hang(machine.sys / "class/thermal/thermal_zone3/temp")
    (nodes[0] / "device").mkdir()
    hang(nodes[0] / "device/name", nodes[0] / "device/temp1_input")
    (machine.sys / "class/thermal/cooling_device0").mkdir()
    hang(machine.sys / "class/thermal/cooling_device0/type")
    reading = await driver.read()
    assert reading.cpu_temperature is None
    assert not driver._cpu_lane.busy  # noqa: SLF001 - A job that hangs shows only here.
    assert driver.raw["other_drivers"] == "w1_slave_temp, ds3231, acpitz, acpitz"
    assert driver.raw["temperatures"] == "{}"


async def test_zones_are_read_only_without_hwmon(
    driver: Host, build: Build, hang: Hang
) -> None:
    """A thermal zone is left alone if hwmon has a plausible temperature."""
    machine = build(hwmon=[chip("cpu_thermal", 48.0), zone("cpu-thermal", 48.0)])
    hang(machine.sys / "class/thermal/thermal_zone1/temp")
    assert (await driver.read()).cpu_temperature == 48.0


async def test_files_of_an_older_kernel(driver: Host, build: Build) -> None:
    """The files of a driver may be in the folder of its device."""
    device = build().sys / "class/hwmon/hwmon0/device"
    device.mkdir(parents=True)
    for name, text in (("name", "k8temp"), ("temp1_input", "38000")):
        (device / name).write_text(f"{text}\n")
    assert (await driver.read()).cpu_temperature == 38.0
    assert driver.raw["temperatures"] == "{'k8temp': [('', 38.0)]}"


async def test_nodes_that_vanish(driver: Host, build: Build) -> None:
    """A node that vanishes while it is read, or gives no number, is left out."""
    machine = build(hwmon=[chip("coretemp", 40.0), chip("k10temp", 41.0)])
    hwmon = machine.sys / "class/hwmon"
    (hwmon / "hwmon0/temp1_input").write_text("N/A\n")
    (hwmon / "hwmon1/temp1_input").unlink()
    (hwmon / "hwmon1/temp1_input").mkdir()  # A read of it is an error.
    (hwmon / "hwmon2/name").mkdir(parents=True)
    (hwmon / "hwmon3").mkdir()
    (hwmon / "hwmon4").touch()
    reading = await driver.read()
    assert reading.cpu_temperature is None
    assert driver.raw["temperatures"] == (
        "{'coretemp': [('', nan)], 'k10temp': [('', nan)]}"
    )
    assert reading.total_space


async def test_tctl_never_stands_in_for_tdie(driver: Host, build: Build) -> None:
    """Tctl may be 27 °C too high, so it is skipped even if Tdie cannot be read."""
    machine = build(hwmon=[chip("k10temp", Tctl=72.0, Tdie=45.0)])
    assert (await driver.read()).cpu_temperature == 45.0
    (machine.sys / "class/hwmon/hwmon0/temp2_input").write_text("\n")
    reading = await driver.read()
    assert faults(reading) == {CPU_QUANTITY: Fault.CPU_UNREADABLE}


async def test_server_with_many_cores(driver: Host, build: Build, hang: Hang) -> None:
    """Of a hundred sensors the first are read: that of the package is among them."""
    cores = [60.0, *[50.0] * 127]
    machine = build(hwmon=[chip("coretemp", *cores)])
    inputs = (machine.sys / "class/hwmon/hwmon0").glob("temp*_input")
    number_of = {path: int(path.name[4:-6]) for path in inputs}
    hang(*(path for path, number in number_of.items() if number > MAX_DRIVER_SENSORS))
    assert (await driver.read()).cpu_temperature == 60.0


@pytest.mark.parametrize("lie", [-273.15, -40.1, 150.1, 255.0, None])
async def test_implausible_temperature(
    driver: Host, build: Build, lie: float | None
) -> None:
    """A sensor that fails or is implausible is left out; the others are read."""
    machine = build(hwmon=[chip("cpu_thermal", lie)])
    reading = await driver.read()
    assert reading.cpu_temperature is None
    assert reading.total_space
    machine.reload({"hwmon": [chip("coretemp", lie, 38.5)]})
    assert (await driver.read()).cpu_temperature == 38.5


async def test_nothing_blocks_the_event_loop(
    driver: Host, build: Build, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Workers read disk and sensors, so that the event loop is never blocked."""
    machine = build(hwmon=[chip("cpu_thermal", 48.3)])
    threads: dict[str, set[str]] = {}

    def noting(function: Callable[..., object]) -> Callable[..., object]:
        def call(path: str, *args: object) -> object:
            if str(path).startswith((str(machine.sys), str(tmp_path))):
                names = threads.setdefault(function.__name__, set())
                names.add(current_thread().name)
            return function(path, *args)

        return call

    with monkeypatch.context() as patch:
        for function in (os.listdir, os.open, os.statvfs):
            patch.setattr(os, function.__name__, noting(function))
        await driver.read()
    workers = {"temperature_logger"}
    assert threads == {"listdir": workers, "open": workers, "statvfs": workers}


async def test_sensor_comes_and_goes(driver: Host, build: Build) -> None:
    """A sensor that appears or disappears is noticed by the next poll."""
    machine = build()
    reading = await driver.read()
    assert reading.cpu_temperature is None
    assert not reading.faults
    machine.reload({"hwmon": [chip("coretemp", 40.0)]})
    assert (await driver.read()).cpu_temperature == 40.0
    machine.reload({"hwmon": [chip("coretemp", 45.0)]})
    assert (await driver.read_again()).cpu_temperature == 45.0
    machine.reload({})
    reading = await driver.read()
    assert reading.cpu_temperature is None
    assert faults(reading) == {CPU_QUANTITY: Fault.CPU_UNREADABLE}
    assert reading.total_space
    assert driver.quantities == (CPU_QUANTITY, *DISK_QUANTITIES)


@pytest.mark.parametrize(
    "sensors",
    [
        pytest.param([], id="gone"),
        pytest.param([chip("coretemp", 255.0)], id="implausible"),
        pytest.param([chip("coretemp", None)], id="unreadable"),
    ],
)
async def test_sensor_is_missed_after_a_restart(
    lane: Lane, tmp_path: Path, build: Build, sensors: list[Sensor]
) -> None:
    """A sensor that gave values before the restart has a fault, not just no value."""
    build(hwmon=sensors)
    quantities = [CPU_QUANTITY, *DISK_QUANTITIES]
    driver = Host(lane, HOST, {"folder": tmp_path, "quantities": quantities})
    reading = await driver.read()
    assert faults(reading) == {CPU_QUANTITY: Fault.CPU_UNREADABLE}
    assert reading.total_space


async def test_cpu_that_hangs(
    driver: Host, workers: Workers, build: Build, hang: Hang
) -> None:
    """A CPU sensor that hangs costs its own value and one worker, until it answers."""
    machine = build(hwmon=[chip("cpu_thermal", 48.0)])
    await driver.read()
    hang.cpu(machine.sys / "class/hwmon/hwmon0/temp1_input")
    for _ in range(3):
        reading = await driver.read()
        assert faults(reading) == {CPU_QUANTITY: Fault.CPU_UNREADABLE}
        assert reading.total_space
    assert workers.healthy.busy + workers.failing.busy == 1
    assert "temperatures" not in driver.raw
    hang.end()
    machine.reload({"hwmon": [chip("cpu_thermal", 49.0)]})
    await until(lambda: workers.healthy.busy == 0)
    assert (await driver.read()).cpu_temperature == 49.0


async def test_cpu_that_has_always_hung(driver: Host, build: Build, hang: Hang) -> None:
    """A sensor without a single value is not a quantity of this machine."""
    machine = build(hwmon=[chip("cpu_thermal", 48.0)])
    hang.cpu(machine.sys / "class/hwmon/hwmon0/temp1_input")
    reading = await driver.read()
    assert not reading.faults
    assert driver.quantities == DISK_QUANTITIES


@pytest.mark.parametrize(
    ("folder", "error"),
    [("gone", "No such file or directory"), ("/proc", "No data available")],
)
async def test_disk_that_cannot_be_read(
    lane: Lane, tmp_path: Path, build: Build, folder: str, error: str
) -> None:
    """The error names a folder that is missing or cannot be read, and the reason."""
    machine = build()
    driver = Host(lane, HOST, {"folder": tmp_path / folder})
    with pytest.raises(BadFrameError) as caught:
        await driver.read()
    assert caught.value.fault is Fault.DISK_UNREADABLE
    assert caught.value.details == {"folder": str(tmp_path / folder), "error": error}
    assert lane.failing
    machine.reload({"hwmon": [chip("cpu_thermal", 48.3)]})
    reading = await driver.read()
    assert reading.values == {CPU_QUANTITY: 48.3}
    assert faults(reading) == dict.fromkeys(DISK_QUANTITIES, Fault.DISK_UNREADABLE)
    await driver.close()


@pytest.mark.parametrize(
    ("blocks", "sizes"),
    [
        pytest.param((100, 2601, 35), ("100.00", "2601.00", "35.00"), id="less used"),
        pytest.param((100, 40, 41), ("100.00", "40.00", "41.00"), id="more for users"),
        pytest.param((100, 40, -1), ("100.00", "40.00", "-1.00"), id="wrapped free"),
        pytest.param((100, -7, -9), ("100.00", "-7.00", "-9.00"), id="wrapped unused"),
        pytest.param((-5, 40, 35), ("-5.00", "40.00", "35.00"), id="wrapped size"),
        pytest.param((100, 100, 0), ("100.00", "100.00", "0.00"), id="nothing at all"),
        pytest.param(
            (2**34, 40, 35), ("17179869184.00", "40.00", "35.00"), id="16 EiB"
        ),
    ],
)
async def test_disk_that_contradicts_itself(
    driver: Host,
    build: Build,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    blocks: tuple[int, int, int],
    sizes: tuple[str, str, str],
) -> None:
    """Sizes that contradict each other are refused and named; the CPU is published."""
    build(hwmon=[chip("cpu_thermal", 48.3)])
    monkeypatch.setattr(os, "statvfs", lambda _: file_system(*blocks))
    reading = await driver.read()
    assert reading.values == {CPU_QUANTITY: 48.3}
    assert faults(reading) == dict.fromkeys(DISK_QUANTITIES, Fault.DISK_CONTRADICTORY)
    details = dict(zip(("total", "unused", "free"), sizes, strict=True))
    assert reading.faults["free_space"].details == {"folder": str(tmp_path), **details}
    assert driver.raw["disk"] == str(file_system(*blocks))
    monkeypatch.setattr(os, "statvfs", lambda _: file_system(*HEALTHY_DISK))
    assert (await driver.read()).values == {
        CPU_QUANTITY: 48.3,
        "total_space": 100.0,
        "used_space": 60.0,
        "free_space": 35.0,
        "space_usage": 63.2,
    }


async def test_disk_that_hangs(
    driver: Host, workers: Workers, lane: Lane, build: Build, disk: Event
) -> None:
    """A disk that hangs costs its own values and one worker, until it answers."""
    machine = build()
    disk.clear()
    for _ in range(3):
        with pytest.raises(BadFrameError, match="seconds") as caught:
            await driver.read()
        assert caught.value.fault is Fault.DISK_HANGING
    machine.reload({"hwmon": [chip("cpu_thermal", 48.3)]})
    for _ in range(3):
        reading = await driver.read()
        assert reading.values == {CPU_QUANTITY: 48.3}
        assert faults(reading) == dict.fromkeys(DISK_QUANTITIES, Fault.DISK_HANGING)
    assert workers.healthy.busy + workers.failing.busy == 1
    await driver.close()
    disk.set()
    await until(lambda: not lane.busy)
    assert (await driver.read()).total_space
    assert not lane.failing


async def test_poll_while_a_job_hangs(
    driver: Host, lane: Lane, build: Build, disk: Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next poll does not wait until the time of the disk is over again."""
    build(hwmon=[chip("cpu_thermal", 48.3)])
    disk.clear()
    await driver.read()
    monkeypatch.setattr(workers_module, "JOB_GRACE_S", 0.01)
    monkeypatch.setattr(host, "DISK_TIMEOUT_S", 3600.0)
    reading = await driver.read()
    assert faults(reading) == dict.fromkeys(DISK_QUANTITIES, Fault.DISK_HANGING)
    assert lane.busy


async def test_both_hang(
    driver: Host, build: Build, disk: Event, hang: Hang, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If CPU and disk hang, the error of the reading names the disk.

    They are read at the same time: both hang before one of them has failed.
    """
    machine = build(hwmon=[chip("cpu_thermal", 48.0)])
    await driver.read()
    hang(machine.sys / "class/hwmon/hwmon0/temp1_input")
    disk.clear()
    monkeypatch.setattr(host, "DISK_TIMEOUT_S", 60.0)
    reading = asyncio.create_task(driver.read())
    lanes = (driver._cpu_lane, driver._disk_lane)  # noqa: SLF001 - Only there it shows.
    await until(lambda: all(lane.busy for lane in lanes))
    reading.cancel()
    disk.clear()  # Its timeout is short from now on.
    with pytest.raises(BadFrameError) as caught:
        await driver.read()
    assert caught.value.fault is Fault.DISK_HANGING
