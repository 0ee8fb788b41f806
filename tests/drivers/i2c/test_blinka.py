"""Adafruit's libraries can be imported on every board without side effects."""

from contextlib import suppress
import json
import os
from pathlib import Path
import subprocess
import sys
from types import ModuleType

import pytest

from custom_components.temperature_logger.drivers.i2c import blinka

# Files with which adafruit_platformdetect recognises a board.
BOARDS = {
    "Raspberry Pi 3": {
        "compatible": "raspberrypi,3-model-b\0brcm,bcm2837\0",
        "model": "Raspberry Pi 3 Model B Rev 1.2\0",
        "cpuinfo": "Hardware\t: BCM2835\nRevision\t: a02082\n",
    },
    "Raspberry Pi 4": {
        "compatible": "raspberrypi,4-model-b\0brcm,bcm2711\0",
        "model": "Raspberry Pi 4 Model B Rev 1.1\0",
        "cpuinfo": "Hardware\t: BCM2835\nRevision\t: c03111\n",
    },
    "Raspberry Pi 5": {
        "compatible": "raspberrypi,5-model-b\0brcm,bcm2712\0",
        "model": "Raspberry Pi 5 Model B Rev 1.0\0",
        "cpuinfo": "Revision\t: c04170\n",
    },
    "Home Assistant Yellow": {
        "compatible": "raspberrypi,4-compute-module\0brcm,bcm2711\0",
        "model": "Raspberry Pi Compute Module 4 Rev 1.1\0",
        "cpuinfo": "Hardware\t: BCM2835\nRevision\t: b03141\n",
    },
    "Home Assistant Green": {
        "compatible": "rockchip,rk3566\0",
        "model": "Home Assistant Green\0",
        "cpuinfo": "processor\t: 0\n",
    },
    "ODROID N2": {
        "compatible": "hardkernel,odroid-n2\0amlogic,s922x\0amlogic,g12b\0",
        "model": "Hardkernel ODROID-N2\0",
        "cpuinfo": "processor\t: 0\n",
    },
    "PC": {"cpuinfo": "vendor_id\t: GenuineIntel\n"},
}
SCRIPT = """
import builtins, importlib.util, io, json, os, sys

module, files, plain = json.loads(sys.argv[1])
real_open = open

def board_open(path, mode="r", *args, **options):
    name = str(path)
    if name.startswith(("/proc/device-tree/", "/proc/cpuinfo")):
        text = files.get(name.rpartition("/")[2])
        if text is None:
            raise FileNotFoundError(2, "No such file or directory", name)
        return io.BytesIO(text.encode()) if "b" in mode else io.StringIO(text)
    return real_open(path, mode, *args, **options)

builtins.open = board_open
before = dict(os.environ)
if plain:
    import adafruit_bme280.basic
else:
    spec = importlib.util.spec_from_file_location("blinka", module)
    blinka = importlib.util.module_from_spec(spec)
    sys.modules["blinka"] = blinka
    spec.loader.exec_module(blinka)
    assert blinka.import_bus().__name__ == "I2C"
    assert "adafruit_bme280" not in sys.modules
    assert blinka.import_bme280().bme280.__name__ == "Adafruit_BME280"
assert dict(os.environ) == before
assert "board" not in sys.modules
"""


def run_on(
    board: str, *, plain: bool = False, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Import the libraries in a process that runs as on a board."""
    argument = json.dumps((str(Path(blinka.__file__)), BOARDS[board], plain))
    return subprocess.run(
        [sys.executable, "-c", SCRIPT, argument],
        capture_output=True,
        check=False,
        env=os.environ | environment,
        input="",
        text=True,
    )


@pytest.mark.parametrize("board", BOARDS)
def test_import(board: str) -> None:
    """The import succeeds and leaves the environment as before."""
    result = run_on(board)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("board", [board for board in BOARDS if board != "PC"])
def test_boards_are_emulated_well(board: str) -> None:
    """Imported without the workaround, the library fails on these boards."""
    assert run_on(board, plain=True).returncode == 1


def test_owner_forced_a_board() -> None:
    """The owner's setting for Blinka is restored after the import."""
    result = run_on("Raspberry Pi 4", BLINKA_FORCEBOARD="RASPBERRY_PI_5")
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("before", [None, "RASPBERRY_PI_5"])
def test_environment_is_restored(
    monkeypatch: pytest.MonkeyPatch, before: str | None
) -> None:
    """Only Blinka sees the setting for no board, and only during the import."""
    monkeypatch.delitem(sys.modules, "digitalio", raising=False)
    monkeypatch.delenv("BLINKA_FORCEBOARD", raising=False)
    if before is not None:
        monkeypatch.setenv("BLINKA_FORCEBOARD", before)
    environment = dict(os.environ)
    with suppress(ImportError), blinka.no_board():
        assert dict(os.environ) == environment | blinka.NO_BOARD_ENVIRONMENT
        raise ImportError
    assert dict(os.environ) == environment


def test_digitalio_is_already_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """With digitalio loaded by another integration, the environment is not changed."""
    monkeypatch.setitem(sys.modules, "digitalio", ModuleType("digitalio"))
    environment = dict(os.environ)
    with blinka.no_board():
        assert dict(os.environ) == environment


def test_import_again() -> None:
    """The libraries are imported once."""
    assert blinka.import_bus() is blinka.import_bus()
    assert blinka.import_bme280() == blinka.import_bme280()
