"""The emulated hardware agrees with data sheets, captures and the kernel."""

from collections.abc import Generator
import errno
import itertools
import json
import os
from pathlib import Path
import re
import select
import stat
import struct
from typing import Any

import pytest
import usb.backend.libusb1
import usb.core
import usb.util

from emulation.bme680 import Bme680
from emulation.chips import CALIBRATIONS, DATA, Calibration, Chip, codes
from emulation.hwmon import Hwmon
from emulation.i2c import Message
from emulation.machine import Machine, scratch
from emulation.spec import SpecFile
from emulation.sticks import MODELS, Stick
from emulation.values import now, value_at

FIRMWARE = bytes.fromhex("0186ff0100000000")
VALUES = bytes.fromhex("0180330100000000")
SET_REPORT = (0x21, 9, 0x0200, 1)
GOLD: dict[str, Any] = {
    "name": "gold",
    "model": "TEMPerGold_V3.4",
    "temperature": 20.0,
}
MACHINES = Path(__file__).parent.parent / "emulation/machines"


@pytest.fixture(name="machine")
def machine_fixture() -> Generator[Machine]:
    """Start the machine with every model, below this process as well."""
    spec = json.loads((MACHINES / "all.json").read_text())
    with scratch() as root, Machine(spec, Path(root)) as machine:
        machine.install()
        yield machine


def stick(model: str, **spec: object) -> Stick:
    """Return a stick that is not plugged in."""
    return Stick({"name": model, "model": model, **spec})


def answer(stick: Stick, command: bytes) -> list[str]:
    """Return the reports of a stick's answer, in hexadecimal."""
    return [report.hex() for _, report in stick.command(command)]


def texts_in(folder: Path) -> dict[str, str]:
    """Return the texts of the files below a folder."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_text().strip() for path in files}


def ask(command: bytes, *nodes: Path | None) -> list[list[bytes]]:
    """Write a command to hidraw nodes; return the reports of each until silence."""
    flags = os.O_RDWR | os.O_NONBLOCK | os.O_NOCTTY
    reports: dict[int, list[bytes]] = {
        os.open(node, flags): [] for node in nodes if node
    }
    for descriptor in reports:
        os.write(descriptor, b"\0" + command)
    while readable := select.select(reports, [], [], 0.2)[0]:
        for descriptor in readable:
            reports[descriptor].append(os.read(descriptor, 8))
    for descriptor in reports:
        os.close(descriptor)
    return list(reports.values())


def registers(chip: Chip, register: int, length: int) -> bytes:
    """Read registers."""
    chip.write(bytes((register,)))
    return chip.read(length)


def convert(chip: Chip) -> tuple[int, int, int]:
    """Do one forced conversion; return its codes."""
    chip.write(bytes((0xF2, 0x01, 0xF4, 0x25)))
    limit = now() + 1
    while registers(chip, 0xF3, 1)[0] & 0x08:
        assert now() < limit
    p, t, h = struct.unpack(">3s3sH", registers(chip, DATA, 8))
    return int.from_bytes(t) >> 4, int.from_bytes(p) >> 4, h


def test_value_at() -> None:
    """A value is constant, or follows the sun, the same for the same time."""
    assert value_at(None, 0) is None
    assert value_at(21.5, 0) == 21.5
    moving = {"mean": 20.0, "daily": 2.0}
    assert value_at(moving, 15 * 3600) == pytest.approx(22, abs=0.11)
    assert value_at(moving, 3 * 3600) == pytest.approx(18, abs=0.11)
    assert value_at(moving, 1e9) == value_at(moving, 1e9)


@pytest.mark.parametrize("calibration", CALIBRATIONS)
@pytest.mark.parametrize("dropped", [(0, 0), (4, 4)])
def test_codes(calibration: Calibration, dropped: tuple[int, int]) -> None:
    """The formulas of the data sheet turn the codes into the values that were set."""
    sweep = itertools.product((-30.5, 0.0, 21.37, 60.25), (870.4, 1013.25), (5.5, 95.1))
    for temperature, pressure, humidity in sweep:
        t, p, h = codes(calibration, dropped, temperature, pressure, humidity)
        assert calibration.temperature(t) == pytest.approx(temperature, abs=0.005)
        t_fine = calibration.t_fine(t)
        assert calibration.pressure(p, t_fine) == pytest.approx(pressure, abs=0.02)
        assert calibration.humidity(h, t_fine) == pytest.approx(humidity, abs=0.02)


def test_forced_conversion() -> None:
    """A conversion takes its time, resolves 16 bits, and returns to sleep."""
    chip = Chip({"name": "chip", "temperature": 21.5})
    trimming = registers(chip, 0x88, 24)
    if registers(chip, 0xF3, 1)[0]:
        assert trimming == bytes(24)
    assert registers(chip, 0xF7, 8) == bytes.fromhex("8000008000008000")
    assert registers(chip, 0xD0, 1) == b"\x60"
    started = now()
    t, p, _ = convert(chip)
    assert now() - started >= 0.0093
    assert chip.calibration.temperature(t) == pytest.approx(21.5, abs=0.005)
    assert not (t | p) & 0x0F
    assert registers(chip, 0xF4, 1) == b"\x24"
    assert chip.counters["conversions"] == 1


def test_humidity_is_skipped_after_a_brown_out() -> None:
    """The written settings are lost."""
    chip = Chip({"name": "chip"})
    convert(chip)
    chip.power_cycle()
    chip.write(bytes((0xF4, 0x25)))
    while registers(chip, 0xF3, 1)[0] & 0x08:
        pass
    assert registers(chip, 0xFD, 2) == b"\x80\x00"


def test_bme680() -> None:
    """A chip converts once, flags the data as new, and ignores writes meanwhile."""
    chip = Bme680({"name": "chip", "chip_id": "0x61", "variant": 1})
    assert registers(chip, 0xD0, 1) + registers(chip, 0xF0, 1) == b"\x61\x01"
    assert registers(chip, 0x1D, 10) == bytes.fromhex("00008000008000008000")
    chip.write(bytes((0x72, 0x01, 0x74, 0x25, 0x72, 0x05)))
    status, limit = registers(chip, 0x1D, 1)[0], now() + 1
    assert (status, registers(chip, 0x74, 1)) == (0x20, b"\x25")
    while not (status := registers(chip, 0x1D, 1)[0]) & 0x80:
        assert now() < limit
    assert (status, registers(chip, 0x72, 3)) == (0x80, b"\x01\x00\x24")
    assert registers(chip, 0x25, 2) != b"\x80\x00"
    assert chip.counters == {"conversions": 1, "heated": 0}
    chip.write(bytes((0x71, 0x20, 0x74, 0x25)))
    end = now() + 0.02
    while now() < end:
        assert registers(chip, 0x1D, 1) == b"\x20"
    chip.write(bytes((0xE0, 0xB6)))
    assert chip.counters["resets"] == 1
    assert registers(chip, 0x70, 6) == bytes(6)


@pytest.mark.parametrize("fault", ["stuck", "lost-trigger", "nodata"])
def test_conversion_faults(fault: str) -> None:
    """A conversion that does not end, does not begin, or gives nothing."""
    chip = Chip({"name": "chip"})
    chip.fail(fault, count=1)
    chip.write(bytes((0xF2, 0x01, 0xF4, 0x25)))
    status, control = registers(chip, 0xF3, 2)
    assert (status & 0x08, control) == ((0, 0) if fault == "lost-trigger" else (8, 37))
    end = now() + 0.012
    while now() < end:
        registers(chip, 0xF3, 1)
    status = registers(chip, 0xF3, 1)[0]
    assert status & 0x08 == (8 if fault == "stuck" else 0)
    assert registers(chip, DATA, 8) == bytes.fromhex("8000008000008000")
    assert convert(chip) != (0x80000, 0x80000, 0x8000)


@pytest.mark.parametrize(
    ("fault", "number"),
    [
        ("gone", errno.EREMOTEIO),
        ("timeout", errno.ETIMEDOUT),
        ("arb", errno.EAGAIN),
        ("eio", errno.EIO),
    ],
)
def test_transfer_faults(machine: Machine, fault: str, number: int) -> None:
    """A transfer fails once, with an error."""
    read_id = [Message(0x76, b"\xd0"), Message(0x76, b"\0", read=True)]
    bus = machine.buses.numbered[1]
    machine.chip("bme280 0").fail(fault, 0.01, count=1)
    with pytest.raises(OSError, match=os.strerror(number)) as caught:
        bus.transfer(read_id)
    assert caught.value.errno == number
    assert bus.transfer(read_id)[1].data == b"\x60"


def test_kernel_driver_holds_an_address(machine: Machine) -> None:
    """An address that a kernel driver holds cannot be selected."""
    node = machine.buses.open("/dev/i2c-5")
    with pytest.raises(OSError, match="busy"):
        machine.buses.ioctl(node.fileno(), 0x0703, 0x76)
    node.close()


@pytest.mark.parametrize(
    ("model", "spec", "reports"),
    [
        ("TEMPerF1.4", {"temperature": 21.5}, ["8002158065724631"]),
        ("TEMPerF1.4", {"temperature": -0.0625}, ["8002fff065724631"]),
        ("TEMPer1F_V1.3", {}, ["8004ffffffff0000"]),
        (
            "TEMPerHumM12V1.2",
            {"temperature": 26.94, "humidity": 26.81},
            ["80046b8043322e32"],
        ),
        (
            "TEMPer1F_H1V1.4F",
            {"temperature": 22.09, "humidity": 40.08},
            ["8004191c05e6"],
        ),
        ("TEMPerGold_V3.1", {"temperature": 23.37}, ["808009214e200000"]),
        (
            "TEMPerX_V3.2",
            {"temperature": 26.43, "external_temperature": 25.25},
            ["80800a534e200000", "800109dd4e200000"],
        ),
        (
            "TEMPerHUM_V3.8",
            {"temperature": 23.05, "humidity": 44.99},
            ["8020090111930000"],
        ),
        (
            "TEMPer2_V4.1",
            {"temperature": 29.0, "external_temperature": 25.06},
            ["80800b544e200000", "800109ca4e200000"],
        ),
        ("TEMPer2_V4.1", {"temperature": 29.0}, ["80800b544e200000"]),
        ("TEMPer1F_V4.1", {}, []),
        (
            "TEMPer2V1.3",
            {"reports": ["80 04 0b60 1450 1d15"]},
            ["80040b6014501d15"],
        ),
    ],
)
def test_captures(model: str, spec: dict[str, Any], reports: list[str]) -> None:
    """An emulated stick sends the reports of a real one."""
    answers = answer(stick(model, **spec), VALUES)
    assert len(answers) == len(reports)
    for report, expected in zip(answers, reports, strict=True):
        assert report.startswith(expected)


@pytest.mark.parametrize(
    ("model", "text"),
    [
        ("TEMPerF1.4", b"TEMPerF1.4MPerF1"),
        ("TEMPer1F1.1", b"TEMPer1F1.1Per1F"),
        ("TEMPer1F_V1.3", b"TEMPer1F_V1.3r1F"),
        ("TEMPerHumV1.0", b"TEMPerHumV1.0rHu"),
        ("TEMPer1F_H1V1.4F", b"TEMPer1F_H1V1.4F"),
        ("TEMPerGold_V3.1", b"TEMPerGold_V3.1 "),
        ("TEMPer2_V4.1", b"TEMPer2_V4.1\0\0\0\0"),
    ],
)
def test_firmware(model: str, text: bytes) -> None:
    """Each generation pads its firmware string its own way."""
    assert "".join(answer(stick(model), FIRMWARE)) == text.hex()


@pytest.mark.parametrize(
    ("fault", "reports"),
    [
        ("timeout", []),
        ("zero", ["00" * 8, "00" * 8]),
        ("ff", ["ff" * 8, "ff" * 8]),
        ("short", ["8080", "8001"]),
        ("partial", ["808007d04e200000"]),
        ("drop-first", ["800103e84e200000"]),
        ("noprobe", ["80804e204e200000", "80014e204e200000"]),
        ("extra", ["808000074e200000", "808007d04e200000", "800103e84e200000"]),
        ("wrong-tag", ["908007d04e200000", "900103e84e200000"]),
        ("swap", [b"TEMPer2_".hex(), b"V3.9    ".hex()]),
    ],
)
def test_stick_faults(fault: str, reports: list[str]) -> None:
    """A fault spoils the next answer only."""
    two = stick("TEMPer2_V3.9", temperature=20, external_temperature=10)
    healthy = answer(two, VALUES)
    two.fail(fault, count=1, on="values")
    assert len(answer(two, FIRMWARE)) == 2
    assert answer(two, VALUES) == reports
    assert answer(two, VALUES) == healthy
    assert two.commands == {"values": 3, "firmware": 1}


def test_tree(machine: Machine) -> None:
    """Every symbolic link in sysfs has a target, and every attribute exists."""
    links = [path for path in machine.sys.rglob("*") if path.is_symlink()]
    assert len(links) > 500
    assert all(path.exists() and not path.readlink().is_absolute() for path in links)
    device = machine.sys / "bus/usb/devices/1-5.4"
    assert (device.resolve().parent.name, device.resolve().parents[1].name) == (
        "1-5",
        "usb1",
    )
    assert (device / "idVendor").read_text() == "3553\n"
    interface = machine.sys / "bus/usb/devices/1-5.4:1.1"
    assert (interface / "driver").resolve().name == "usbhid"
    (hid,) = interface.glob("0003:3553:A001.*")
    assert b"\x75\x08\x95\x08" in (hid / "report_descriptor").read_bytes()
    (hidraw,) = (hid / "hidraw").iterdir()
    assert machine.dev / hidraw.name == machine.device("TEMPer2_V4.1").hidraw
    adapter = machine.sys / "bus/i2c/devices/i2c-1"
    assert (adapter / "of_node").resolve().name == "i2c@7e804000"
    assert (adapter.parent / "5-0076/driver").resolve().name == "bmp280"


def test_machine_leaves_nothing(tmp_path: Path) -> None:
    """The tree is deleted with the machine."""
    spec = {"usb": [{"name": "a", "model": "mouse"}], "i2c": [{"bus": 1}]}
    with Machine(spec, tmp_path):
        assert len(list(tmp_path.iterdir())) == 2
    assert not list(tmp_path.iterdir())


def test_every_model_answers_through_hidraw(machine: Machine) -> None:
    """Every thermometer, and nothing else, answers the firmware query."""
    nodes = {name: machine.device(name).hidraw for name in MODELS}
    hid = [name for name, node in nodes.items() if node]
    for name, reports in zip(hid, ask(FIRMWARE, *nodes.values()), strict=True):
        firmware = MODELS[name].firmware
        assert b"".join(reports)[: len(firmware)].decode() == firmware
        assert machine.stick(name).commands == {"firmware": 1}


def test_replug(machine: Machine) -> None:
    """A replug hangs up the open node; node and device number are new."""
    device = machine.device("TEMPer2_V4.1")
    node, usbfs = device.hidraw, device.node
    assert node
    descriptor = os.open(node, os.O_RDWR | os.O_NONBLOCK | os.O_NOCTTY)
    machine.replug("TEMPer2_V4.1", ports="6.7")
    assert os.read(descriptor, 8) == b""
    with pytest.raises(OSError, match="Input/output error"):
        os.write(descriptor, bytes(9))
    os.close(descriptor)
    assert not node.exists()
    again = machine.device("TEMPer2_V4.1")
    assert (again.hidraw, again.node) != (node, usbfs)
    assert len(ask(VALUES, again.hidraw)[0]) == 2


def test_hub_that_is_not_needed(tmp_path: Path) -> None:
    """A port is free again once the device behind a hub there is unplugged."""
    other = GOLD | {"name": "other", "ports": "9", "plugged": False}
    with Machine({"usb": [GOLD | {"ports": "9.3.1"}, other]}, tmp_path) as machine:
        with pytest.raises(ValueError, match="Port 1-9 is taken"):
            machine.plug("other")
        machine.unplug("gold")
        machine.plug("other")
        assert (machine.sys / "bus/usb/devices/1-9:1.1").exists()


def test_buses_swap(machine: Machine) -> None:
    """Two controllers can be bound in the other order."""
    for name in machine.plugged_in:
        machine.unplug(name)
    other = "pci0000:00/0000:00:1a.0"
    machine.plug("TEMPerF1.4", controller=other, bus=1)
    machine.plug("TEMPerGold_V3.1", bus=2)
    usb1 = (machine.sys / "bus/usb/devices/usb1").resolve()
    assert str(usb1).endswith(f"sys/devices/{other}/usb1")
    with pytest.raises(ValueError, match="Bus 1 is"):
        machine.plug("mouse", bus=1)


def test_pyusb(machine: Machine) -> None:
    """The same stick answers through pyusb, and the kernel gets it back."""
    stick, device = machine.stick("TEMPer2_V4.1"), machine.device("TEMPer2_V4.1")
    bus, address = (int(part) for part in device.node.parts[-2:])
    backend = usb.backend.libusb1.get_backend()
    usb_device = usb.core.find(backend=backend, bus=bus, address=address)
    assert isinstance(usb_device, usb.core.Device)
    assert usb_device.product == "TEMPer2"
    with pytest.raises(usb.core.USBError, match="busy"):
        usb_device.ctrl_transfer(*SET_REPORT, VALUES)
    usb_device.detach_kernel_driver(1)
    assert device.hidraw is None
    usb_device.ctrl_transfer(*SET_REPORT, VALUES)
    assert usb_device.read(0x82, 8, 500).tobytes()[:2] == b"\x80\x80"
    assert usb_device.read(0x82, 8, 500).tobytes()[:2] == b"\x80\x01"
    with pytest.raises(usb.core.USBTimeoutError):
        usb_device.read(0x82, 8, 10)
    stick.fail("stall", count=1)
    with pytest.raises(usb.core.USBError) as stalled:
        usb_device.ctrl_transfer(*SET_REPORT, VALUES)
    assert stalled.value.errno == errno.EPIPE
    usb.util.release_interface(usb_device, 1)
    usb_device.attach_kernel_driver(1)
    assert len(ask(VALUES, device.hidraw)[0]) == 2
    machine.unplug("TEMPer2_V4.1")
    with pytest.raises(usb.core.USBError) as gone:
        usb_device.is_kernel_driver_active(1)
    assert gone.value.errno == errno.ENODEV
    usb.util.dispose_resources(usb_device)


def test_permissions(machine: Machine) -> None:
    """The nodes have the configured permissions."""
    device = machine.device("TEMPerF1.4")
    machine.permit("TEMPerF1.4", hidraw=0o660, usbfs=0o600)
    assert device.hidraw
    assert stat.S_IMODE(device.hidraw.stat().st_mode) == 0o660
    assert stat.S_IMODE(device.node.stat().st_mode) == 0o600


def test_hwmon(machine: Machine) -> None:
    """The machine's sensors have the files of the kernel, if they can be read."""
    assert texts_in(machine.sys / "class/hwmon") == {
        "hwmon0/name": "nvme",
        "hwmon0/temp1_label": "Composite",
        "hwmon0/temp1_input": "39850",
        "hwmon1/name": "coretemp",
        "hwmon1/temp1_label": "Package id 0",
        "hwmon1/temp1_input": "53000",
        "hwmon1/temp2_label": "Core 0",
        "hwmon1/temp2_input": "51000",
        "hwmon1/temp3_label": "Core 1",
    }
    machine.reload({"hwmon": [{"driver": "d", "sensors": [{"temperature": -1.5}]}]})
    assert texts_in(machine.sys / "class/hwmon") == {
        "hwmon0/name": "d",
        "hwmon0/temp1_input": "-1500",
    }
    zone = {"driver": "cpu-thermal", "zone": True, "sensors": [{"temperature": 45.0}]}
    machine.reload({"hwmon": [zone]})
    assert not texts_in(machine.sys / "class/hwmon")
    assert texts_in(machine.sys / "class/thermal") == {
        "thermal_zone0/type": "cpu-thermal",
        "thermal_zone0/temp": "45000",
    }


def test_hwmon_follows_the_sun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The value read is that of the moment of the read."""
    day = {"mean": 50.0, "daily": 5.0}
    sensors, chip = Hwmon(tmp_path), {"driver": "d", "sensors": [{"temperature": day}]}
    for hour in (3, 15):
        monkeypatch.setattr("time.time", lambda: hour * 3600)  # noqa: B023 - used here
        sensors.show([chip])
        text = (tmp_path / "class/hwmon/hwmon0/temp1_input").read_text()
        assert int(text) == 1000 * (value_at(day, hour * 3600) or 0)


def test_reload(machine: Machine) -> None:
    """A changed spec changes values, faults and the plugged-in devices."""
    spec = json.loads((MACHINES / "all.json").read_text())
    for entry in spec["usb"]:
        entry["temperature"] = 1.0
    spec["usb"][0]["plugged"] = False
    spec["i2c"][0]["chips"][0] |= {"temperature": 3.0, "fault": "gone"}
    machine.reload(spec)
    assert not (machine.sys / "bus/usb/devices/1-1.1").exists()
    assert answer(machine.stick("TEMPerGold_V3.1"), VALUES) == ["808000644e200000"]
    assert machine.chip("bme280 0").values["temperature"] == 3.0
    assert machine.chip("bme280 0").fault


@pytest.mark.parametrize(
    ("spec", "problem"),
    [
        ([], "the machine: 'list' object has no attribute 'get'"),
        ({"usb": [{"name": "a"}]}, "a: 'model' is missing or not known"),
        ({"usb": [GOLD | {"model": "X"}]}, "gold: 'X' is missing or not known"),
        ({"usb": [GOLD | {"fault": "X"}]}, "gold: 'X' is missing or not known"),
        ({"usb": [GOLD | {"ports": 1}]}, "gold: ports is a text, such as 1.4"),
        ({"usb": [GOLD, GOLD]}, "two USB devices have the same name or port"),
        (
            {"usb": [GOLD | {"temperature": "warm"}]},
            "gold: could not convert string to float: 'warm'",
        ),
        ({"i2c": [{"chips": []}]}, "an I2C bus: 'bus' is missing or not known"),
        (
            {"i2c": [{"bus": 1, "chips": [{"name": "b", "address": "zz"}]}]},
            "b: invalid literal for int",
        ),
        ({"hwmon": [{"sensors": []}]}, "hwmon: 'driver' is missing or not known"),
        (
            {"hwmon": [{"driver": "d", "sensors": [{"temperature": "warm"}]}]},
            "hwmon: could not convert string to float: 'warm'",
        ),
    ],
)
def test_machine_that_cannot_be_emulated(
    tmp_path: Path, spec: object, problem: str
) -> None:
    """A spec with an error is refused with a message; the machine stays as it was."""
    path = tmp_path / "machine.json"
    path.write_text(json.dumps(spec))
    with pytest.raises(ValueError, match=re.escape(problem)):
        SpecFile(path)
    good = {"usb": [GOLD]}
    path.write_text(json.dumps(good))
    file = SpecFile(path)
    os.utime(path, ns=(0, 1))
    path.write_text(json.dumps(spec))
    assert not file.reread()
    assert problem in file.problem
    assert file.spec == good
    path.unlink()
    assert not file.reread()
    path.write_text(json.dumps(good))
    os.utime(path, ns=(0, 2))
    assert file.reread()
    assert not file.problem


def test_changes_that_need_a_restart(tmp_path: Path) -> None:
    """A new device, or another kind of chip, waits for the next start."""
    bus: dict[str, Any] = {"bus": 1, "chips": [{"name": "b", "address": "0x76"}]}
    more = {"bus": 1, "chips": [*bus["chips"], {"name": "c", "address": "0x77"}]}
    with Machine({"usb": [GOLD], "i2c": [bus]}, tmp_path) as machine:
        machine.reload(
            {"usb": [GOLD, GOLD | {"name": "more"}], "i2c": [more, more | {"bus": 2}]}
        )
        other = {"bus": 1, "chips": [bus["chips"][0] | {"chip_id": "0x61"}]}
        machine.reload({"i2c": [other]})
        assert machine.chip("b").chip_id == 0x60
        assert machine.stick("gold").values["temperature"] == GOLD["temperature"]
