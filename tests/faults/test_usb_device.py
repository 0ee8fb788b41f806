"""Faults of USB devices: in another port, in use by other programs, or inaccessible."""

import asyncio
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
import subprocess
import sys
import textwrap

import pytest
from usb.backend import libusb1

from custom_components.temperature_logger import coordinator
from custom_components.temperature_logger.discovery import hotplug
from custom_components.temperature_logger.drivers import Driver, Fault, Reading
from custom_components.temperature_logger.drivers.usb.stream import Stream
from emulation.machine import Machine
from tests.drivers.conftest import AsNobody, open_files
from tests.drivers.waiting import until

from .conftest import (
    MAKERS,
    OTHER_CONTROLLER,
    OTHER_MAKERS,
    STICKS,
    Home,
    outdated,
)

pytestmark = pytest.mark.warns("Error fetching")

HIDRAW, LIBUSB = "two", "borrowed"
BOTH_WAYS = pytest.mark.parametrize("stick", [HIDRAW, LIBUSB], ids=["hidraw", "libusb"])
DEVICES = [
    (STICKS, HIDRAW),
    (STICKS, LIBUSB),
    *((MAKERS, name) for name in OTHER_MAKERS),
]
EVERY_DEVICE = pytest.mark.parametrize(
    ("home", "device"),
    DEVICES,
    ids=["hidraw", "libusb", *OTHER_MAKERS],
    indirect=["home"],
)
# Other programs. Each prints when it is ready and ends with its standard input.
LOCKING_PROGRAM = """
    import fcntl
    node = os.open(sys.argv[1], os.O_RDWR | os.O_NOCTTY)
    fcntl.flock(node, fcntl.LOCK_EX | fcntl.LOCK_NB)
    print("ready", flush=True)
    sys.stdin.read()
"""
READING_PROGRAM = """
    import select
    node = os.open(sys.argv[1], os.O_RDWR | os.O_NOCTTY)
    print("ready", flush=True)
    while node in (ready := select.select([node, 0], [], [], 0.01)[0]) or not ready:
        if ready:
            os.read(node, 8)
        if sys.argv[2] == "asks":
            os.write(node, bytes.fromhex("000180330100000000"))
"""
CLAIMING_PROGRAM = """
    import pathlib
    import usb.core
    from emulation.libusb import Backend
    found = usb.core.find(
        backend=Backend(pathlib.Path(sys.argv[1])),
        bus=int(sys.argv[2]), address=int(sys.argv[3]),
    )
    found.detach_kernel_driver(1)
    usb.util.claim_interface(found, 1)
    print("ready", flush=True)
    sys.stdin.read()
"""


@contextmanager
def program(code: str, *arguments: str) -> Generator[subprocess.Popen[bytes]]:
    """Run another program, from when it is ready to the end of the block."""
    with subprocess.Popen(
        [sys.executable, "-c", f"import os, sys\n{textwrap.dedent(code)}", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        try:
            yield process
        finally:
            process.kill()


def node_of(machine: Machine, stick: str) -> str:
    """Return the hidraw node of a stick."""
    node = machine.device(stick).hidraw
    assert node is not None
    return str(node)


async def unplug(home: Home, *sticks: str) -> None:
    """Unplug sticks that are read over hidraw, and wait until that is noticed."""
    for stick in sticks:
        home.machine.unplug(stick)
    await until(lambda: all(home.trouble(stick) for stick in sticks))
    assert {home.trouble(stick) for stick in sticks} == {Fault.STICK_NOT_FOUND}


async def unload(home: Home, *devices: str) -> None:
    """Unload devices, as before a restart."""
    for device in devices:
        await home.hass.config_entries.async_unload(home.entries[device].entry_id)


async def load(home: Home, *devices: str) -> None:
    """Load devices again."""
    for device in devices:
        await home.hass.config_entries.async_setup(home.entries[device].entry_id)
    await home.hass.async_block_till_done(wait_background_tasks=True)


def rely_on_the_watch(monkeypatch: pytest.MonkeyPatch, device: str) -> None:
    """Let only hot-plug find that a device is back."""
    # A missing hidraw node is waited for; any other one is there at once.
    monkeypatch.setattr(hotplug, "READY_TIMEOUT_S", 0.1 if device == LIBUSB else 60)
    monkeypatch.setattr(coordinator, "FIRST_RETRY_DELAY", timedelta(minutes=5))


# In other ports


@EVERY_DEVICE
async def test_unplugged_and_replugged(
    home: Home, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A device is unavailable while unplugged, and back with its new values.

    Only hot-plug notices both, and no descriptor stays open.
    """
    rely_on_the_watch(monkeypatch, device)
    await home.settle()
    opened = open_files()
    for _ in range(2):
        home.machine.unplug(device)
        await until(lambda: home.trouble(device) == Fault.STICK_NOT_FOUND)
        await home.settle()  # The poll may not interrupt other listeners.
        home.change()
        await home.poll()
        assert home.trouble(device) == Fault.STICK_NOT_FOUND
        home.assert_others_went_on(device)
        home.sights.clear()
        home.machine.plug(device)
        await until(lambda: home.trouble(device) is None)
        await home.settle()
        assert home.published(device)
        await until(lambda: open_files() <= opened)


def beginning(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """Return an event that is set when a poll has begun, and waits."""
    begun, read = asyncio.Event(), driver.read

    async def noted_read() -> Reading:
        begun.set()
        return await read()

    monkeypatch.setattr(driver, "read", noted_read)
    return begun


@EVERY_DEVICE
async def test_unplugged_during_a_poll(
    home: Home, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The unplug ends a waiting poll at once."""
    rely_on_the_watch(monkeypatch, device)
    stick = home.machine.stick(device)
    driver = home.entries[device].runtime_data.driver
    begun, before = beginning(driver, monkeypatch), stick.commands.total()
    silence = next((f for f in ("timeout", "silent") if f in stick.FAULTS), None)
    if silence is not None:  # The poll waits for a HidTEMPer in any case.
        stick.fail(silence)
    with outdated(device):
        home.change()
        poll = asyncio.create_task(home.poll())
        await until(begun.is_set)
        if not isinstance(driver, Stream):  # It gets a command.
            await until(lambda: stick.commands.total() > before)
        home.machine.unplug(device)
        await poll
    assert home.trouble(device) == Fault.STICK_NOT_FOUND
    home.assert_others_went_on(device)
    stick.clear()
    home.machine.plug(device)
    await until(lambda: home.trouble(device) is None)
    await home.settle()
    await home.assert_comes_back(device)


@BOTH_WAYS
async def test_unplugged_during_set_up(home: Home, stick: str) -> None:
    """A device unplugged during its set-up is set up when it is back."""
    await unload(home, stick)
    commands = home.machine.stick(stick).commands
    before = commands["values"]
    home.machine.stick(stick).fail("timeout")
    setup = asyncio.create_task(load(home, stick))
    await until(lambda: commands["values"] > before)
    home.machine.unplug(stick)
    await setup
    assert home.trouble(stick) == Fault.STICK_NOT_FOUND
    home.change()
    await home.poll()
    home.assert_others_went_on(stick)
    home.machine.stick(stick).clear()
    home.machine.plug(stick)
    await home.assert_comes_back(stick)


@BOTH_WAYS
async def test_replugged_at_the_same_port(home: Home, stick: str) -> None:
    """A stick at the same port with other numbers is the same stick."""
    number = home.machine.device(stick).node
    home.machine.replug(stick)
    assert home.machine.device(stick).node != number
    home.change()
    await home.poll()
    if home.trouble(stick):  # libusb learns of it only now.
        assert home.trouble(stick) == Fault.STICK_NOT_FOUND
    home.assert_others_went_on(stick)
    await home.assert_comes_back(stick)


@BOTH_WAYS
@pytest.mark.parametrize(
    "place",
    [{"ports": "4"}, {"controller": "pci0000:00/0000:00:1d.0", "bus": 5}],
    ids=["port", "controller"],
)
async def test_replugged_elsewhere(
    home: Home, stick: str, place: dict[str, object]
) -> None:
    """At another place it is another device, until the owner confirms the move."""
    before = asdict(home.machine.place(stick))
    home.machine.replug(stick, **place)
    home.change()
    await home.poll()
    assert home.trouble(stick) == Fault.STICK_NOT_FOUND
    home.assert_others_went_on(stick)
    home.machine.replug(stick, **before)
    await home.assert_comes_back(stick)


async def test_another_stick_in_its_place(home: Home) -> None:
    """The values of one stick are never published as those of another."""
    machine = home.machine
    ports = {name: machine.place(name).ports for name in ("gold", "two")}
    await unplug(home, *ports)
    machine.plug("gold", ports=ports["two"])
    machine.plug("two", ports=ports["gold"])
    home.change()
    await home.poll()
    for name in ports:
        assert home.trouble(name) == Fault.STICK_CHANGED
    home.assert_others_went_on(*ports)
    for name in ports:
        machine.unplug(name)
    for name, port in ports.items():
        machine.plug(name, ports=port)
    for name in ports:
        await home.assert_comes_back(name)


async def test_identical_sticks_in_the_other_order(home: Home) -> None:
    """Two sticks of one model are distinguished by their ports alone."""
    machine = home.machine

    def number(stick: str) -> int:
        return int(node_of(machine, stick).rpartition("hidraw")[2])

    machine.replug(LIBUSB, hidraw_nodes=True)
    first = min(HIDRAW, LIBUSB, key=number)
    order = sorted((HIDRAW, LIBUSB), key=number, reverse=True)
    for stick in order:
        machine.unplug(stick)
    for stick in order:
        machine.plug(stick)
    assert min(HIDRAW, LIBUSB, key=number) != first
    home.change()
    await home.poll()
    home.assert_others_went_on(HIDRAW, LIBUSB)
    for stick in (HIDRAW, LIBUSB):
        await home.assert_comes_back(stick)


async def test_controllers_in_the_other_order(home: Home) -> None:
    """The numbers of the buses identify no device, not even over a restart."""
    machine, sticks = home.machine, ("gold", HIDRAW, LIBUSB)
    await unload(home, *sticks)
    for stick in sticks:
        machine.unplug(stick)
    machine.plug(LIBUSB, bus=1)
    machine.plug("gold", bus=2)
    machine.plug(HIDRAW, bus=2)
    usb1 = (machine.sys / "bus/usb/devices/usb1").resolve()
    assert str(usb1).endswith(OTHER_CONTROLLER + "/usb1")
    home.change()
    await load(home, *sticks)
    await home.poll()
    home.assert_others_went_on()


# In use by other programs


async def test_locked_by_another_program(home: Home) -> None:
    """A stick that another program has locked is left to it, and read after that."""
    await unload(home, "gold")
    with program(LOCKING_PROGRAM, node_of(home.machine, "gold")):
        await load(home, "gold")
        assert home.trouble("gold") == Fault.IN_USE
        home.change()
        await home.poll()
        home.assert_others_went_on("gold")
    await home.assert_comes_back("gold")


@pytest.mark.parametrize("habit", ["reads", "asks"])
async def test_second_reader(home: Home, habit: str) -> None:
    """A report taken by another program is missing, and its own are not mistaken.

    The kernel gives a report to each program that has the node open. The emulated node
    gives it to one of them, which is worse.
    """
    with program(READING_PROGRAM, node_of(home.machine, "gold"), habit):
        for _ in range(3):
            home.change()
            home.machine.hurry("gold")  # The answer to the earlier command is gone.
            await home.poll()
            assert home.trouble("gold") in {None, Fault.NO_ANSWER, Fault.BAD_REPORT}
            home.assert_others_went_on("gold")
    home.machine.hurry("gold")  # The answer to its last command is gone as well.
    await home.assert_comes_back("gold")


async def test_taken_by_another_libusb(home: Home) -> None:
    """A stick claimed by another program is left to it, and read after its end."""
    machine = home.machine
    bus, address = (str(int(part)) for part in machine.device("gold").node.parts[-2:])
    with program(CLAIMING_PROGRAM, str(machine.root), bus, address):
        await until(lambda: home.trouble("gold") is not None)
        await home.retry("gold")
        assert home.trouble("gold") == Fault.IN_USE
        home.change()
        await home.poll()
        assert home.trouble("gold") == Fault.IN_USE
        home.assert_others_went_on("gold")
    await until(lambda: not machine.device("gold").claims)
    assert set(machine.device("gold").bound) == {0}
    await home.assert_comes_back("gold")
    assert set(machine.device("gold").bound) == {0, 1}


# Inaccessible


async def test_late_permission(home: Home, as_nobody: AsNobody) -> None:
    """Without permission the error names it; once granted, the device is read."""
    machine = home.machine
    machine.replug("gold", hidraw_mode="000", usbfs_mode="000")
    with as_nobody():
        await until(lambda: home.trouble("gold") == Fault.NO_PERMISSION)
        await home.settle()
        home.change()
        await home.poll()
        assert home.trouble("gold") == Fault.NO_PERMISSION
        home.assert_others_went_on("gold")
    machine.permit("gold", hidraw=0o666)
    with as_nobody():
        await home.assert_comes_back("gold")


async def test_no_libusb(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without libusb only the sticks that need it are unavailable."""
    await unload(home, LIBUSB)
    with monkeypatch.context() as system:
        system.setattr(libusb1, "get_backend", lambda **_: None)
        await load(home, LIBUSB)
        assert home.trouble(LIBUSB) == Fault.NO_LIBUSB
        home.change()
        await home.poll()
        home.assert_others_went_on(LIBUSB)
    await home.assert_comes_back(LIBUSB)


async def test_interface_left_without_a_driver(home: Home) -> None:
    """An interface without its driver gets it back, and is read as before."""
    home.machine.unbind("gold")
    await until(lambda: home.trouble("gold") == Fault.STICK_NOT_FOUND)
    home.change()
    await home.poll()
    home.assert_others_went_on()
    assert set(home.machine.device("gold").bound) == {0, 1}


@BOTH_WAYS
async def test_suspended_port(home: Home, stick: str) -> None:
    """A stick on a suspended port is read.

    The kernel wakes the stick for the first transfer, which takes some time. Only this
    delay can be seen, and only it is emulated.
    """
    home.machine.stick(stick).fail("delay", 0.2, count=1)
    home.change()
    await home.poll()
    home.assert_others_went_on()
