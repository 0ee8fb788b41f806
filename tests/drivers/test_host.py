"""The CPU and the disk of the machine itself."""

from pathlib import Path
import subprocess
from threading import Event, current_thread
from typing import Any

import psutil
import pytest

from custom_components.temperature_logger.drivers import Fault, Workers
from custom_components.temperature_logger.drivers.errors import DeviceAccessError
from custom_components.temperature_logger.drivers.host import BYTES_PER_GIB, Host
from custom_components.temperature_logger.drivers.places import HOST
from custom_components.temperature_logger.drivers.workers import Lane
from tests.drivers.waiting import until

from .conftest import Build

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


def df(folder: Path) -> list[int]:
    """Return size, used and free bytes of a folder's disk, as df counts them."""
    fields = "--output=size,used,avail"
    command = ["df", "--block-size=1", fields, str(folder)]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return [int(number) for number in lines.splitlines()[1].split()]


async def test_disk_agrees_with_df(driver: Host, tmp_path: Path, build: Build) -> None:
    """Size, used, free and usage are those of df and psutil at the same moment."""
    build()
    for _ in range(100):
        before = psutil.disk_usage(str(tmp_path))
        reading, known = await driver.read(), df(tmp_path)
        if before == psutil.disk_usage(str(tmp_path)):
            break  # No other program wrote meanwhile.
    else:
        pytest.fail("The disk is never quiet")
    sizes = (reading.total_space, reading.used_space, reading.free_space)
    assert [size and size * BYTES_PER_GIB for size in sizes] == known
    assert list(before[:3]) == known
    assert reading.space_usage == before.percent
    used, free = known[1:]
    assert reading.space_usage == pytest.approx(100 * used / (used + free), abs=0.051)


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
        pytest.param([chip("nvme", 60.0), zone("cpu-thermal", 45.0)], None, id="nvme"),
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
    assert ("cpu_temperature" in driver.quantities) == (temperature is not None)
    values = {
        name: [sensor[:2] for sensor in group]
        for name, group in psutil.sensors_temperatures().items()
    }
    assert str(values) == driver.raw["temperatures"]


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
    driver: Host, build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker reads disk and sensors, so that the event loop is never blocked."""
    build(hwmon=[chip("cpu_thermal", 48.3)])
    threads: list[str] = []
    for name in ("disk_usage", "sensors_temperatures"):
        function = getattr(psutil, name)

        def call(*args: str, function: Any = function) -> Any:  # noqa: ANN401 - of psutil
            threads.append(current_thread().name)
            return function(*args)

        monkeypatch.setattr(psutil, name, call)
    await driver.read()
    assert threads == ["temperature_logger"] * 2


async def test_sensor_comes_and_goes(driver: Host, build: Build) -> None:
    """A sensor that appears or disappears is noticed by the next poll."""
    machine = build()
    assert (await driver.read()).cpu_temperature is None
    machine.reload({"hwmon": [chip("coretemp", 40.0)]})
    assert (await driver.read()).cpu_temperature == 40.0
    machine.reload({})
    assert (await driver.read()).cpu_temperature is None


@pytest.mark.parametrize(
    ("folder", "error"),
    [("gone", "No such file or directory"), ("/proc", "No data available")],
)
async def test_disk_that_cannot_be_read(
    lane: Lane, tmp_path: Path, build: Build, folder: str, error: str
) -> None:
    """The error names a folder that is missing or cannot be read, and the reason."""
    build()
    driver = Host(lane, HOST, {"folder": tmp_path / folder})
    with pytest.raises(DeviceAccessError) as caught:
        await driver.read()
    assert caught.value.fault is Fault.DISK_UNREADABLE
    assert caught.value.details == {"folder": str(tmp_path / folder), "error": error}
    assert lane.failing
    await driver.close()


async def test_disk_that_hangs(
    driver: Host, workers: Workers, lane: Lane, build: Build, disk: Event
) -> None:
    """A disk that hangs costs its own readings and one worker, until it answers."""
    build()
    disk.clear()
    for _ in range(3):
        with pytest.raises(DeviceAccessError, match="seconds") as caught:
            await driver.read()
        assert caught.value.fault is Fault.DISK_HANGING
    assert workers.healthy.threads + workers.failing.threads == 1
    await driver.close()
    disk.set()
    await until(lambda: not lane.busy)
    assert (await driver.read()).total_space
    assert not lane.failing
