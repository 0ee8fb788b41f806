"""A hidraw node returns the answers to the driver's commands, and nothing else."""

import asyncio
from collections.abc import AsyncGenerator
import errno
import fcntl
import os
from pathlib import Path
import select

import pytest

from custom_components.temperature_logger.drivers import DriverError, Fault, Workers
from custom_components.temperature_logger.drivers.errors import (
    BadFrameError,
    DeviceAccessError,
    DeviceNotFoundError,
)
from custom_components.temperature_logger.drivers.usb.descriptors import report_sizes
from custom_components.temperature_logger.drivers.usb.hidraw import (
    MAX_DRAINED_REPORTS,
    HidrawTransport,
    Node,
)
from custom_components.temperature_logger.drivers.workers import Lane
from emulation.descriptors import KEYBOARD_REPORT, VENDOR_REPORT
from emulation.machine import Machine
from tests.drivers.conftest import (
    EXTERNAL,
    INTERNAL,
    LIMITS,
    READ_VALUES,
    REPORTS,
    SHORT_LIMITS,
    STALE_REPORT,
    AsNobody,
    Build,
    Wake,
)
from tests.drivers.kernel import Kernel, is_watched
from tests.drivers.waiting import until


@pytest.fixture(name="node")
def node_fixture(machine: Machine) -> Path:
    """Return the stick's node."""
    node = machine.device("two").hidraw
    assert node is not None
    return node


@pytest.fixture(name="gone")
def gone_fixture() -> asyncio.Event:
    """Return an event that is set when the stick disappears while idle."""
    return asyncio.Event()


@pytest.fixture(name="opened")
def opened_fixture(node: Path) -> Node:
    """Return the opened node, which the transport closes."""
    return Node(node)


@pytest.fixture(name="transport")
async def transport_fixture(
    lane: Lane, opened: Node, gone: asyncio.Event, wake: Wake
) -> AsyncGenerator[HidrawTransport]:
    """Return the transport of the opened node."""
    transport = HidrawTransport(lane, opened, gone.set)
    yield transport
    await transport.close()


@pytest.fixture(name="kernel")
def kernel_fixture(monkeypatch: pytest.MonkeyPatch, node: Path) -> Kernel:
    """Return a kernel whose system calls on the node can fail or hang."""
    return Kernel(monkeypatch, node)


def lock(node: Path) -> int:
    """Open and lock a node as another program does."""
    descriptor = os.open(node, os.O_RDWR | os.O_NONBLOCK | os.O_NOCTTY)
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return descriptor


async def waiting_exchange(
    transport: HidrawTransport, machine: Machine
) -> asyncio.Task[list[bytes]]:
    """Begin an exchange that has its first report and waits for two more."""
    machine.stick("two").fail("partial")
    exchange = asyncio.create_task(transport.exchange(READ_VALUES, 3 * (60.0,)))
    await until(lambda: machine.device("two").reports_read == 1)
    return exchange


def receive(opened: Node, wake: Wake) -> None:
    """Receive what comes next from a node before the exchange goes on."""
    select.select([opened], [], [])
    wake()


async def test_exchange(transport: HidrawTransport, machine: Machine) -> None:
    """A command is sent unchanged, and its reports are returned unchanged."""
    assert await transport.exchange(READ_VALUES, LIMITS) == REPORTS
    assert list(machine.stick("two").log) == [READ_VALUES]


async def test_no_more_than_expected(transport: HidrawTransport) -> None:
    """A command that expects one report returns one."""
    assert await transport.exchange(READ_VALUES, LIMITS[:1]) == REPORTS[:1]


async def test_silence(transport: HidrawTransport, machine: Machine) -> None:
    """A silent stick ends the wait after its time limit."""
    machine.stick("two").fail("partial")
    assert await transport.exchange(READ_VALUES, (1.0, 0.05)) == REPORTS[:1]
    machine.stick("two").fail("timeout")
    assert await transport.exchange(READ_VALUES, SHORT_LIMITS) == []


async def test_stale_in_the_kernel(
    transport: HidrawTransport, machine: Machine
) -> None:
    """Reports queued before a command are not returned as its answer."""
    machine.send("two", *[STALE_REPORT] * (MAX_DRAINED_REPORTS - 1))
    assert await transport.exchange(READ_VALUES, LIMITS) == REPORTS


async def test_stale_while_idle(transport: HidrawTransport, machine: Machine) -> None:
    """Reports received while the driver was idle are not the next answer."""
    machine.send("two", STALE_REPORT, STALE_REPORT)
    await until(lambda: machine.device("two").reports_read == 2)
    assert await transport.exchange(READ_VALUES, LIMITS) == REPORTS


async def test_late_answer(transport: HidrawTransport, machine: Machine) -> None:
    """A late answer is not returned as the answer to the next command."""
    stick = machine.stick("two")
    stick.fail("delay", 60, count=1)
    assert await transport.exchange(READ_VALUES, SHORT_LIMITS) == []
    machine.hurry("two")
    await until(lambda: machine.device("two").reports_read == 2)
    stick.values["temperature"] = 21.0
    changed = bytes.fromhex("808008344e200000")
    assert await transport.exchange(READ_VALUES, LIMITS) == [changed, REPORTS[1]]


async def test_flooded(transport: HidrawTransport, machine: Machine) -> None:
    """A node that reports without end gets no command."""
    machine.send("two", *[STALE_REPORT] * MAX_DRAINED_REPORTS)
    with pytest.raises(BadFrameError, match=Fault.FLOODED):
        await transport.exchange(READ_VALUES, LIMITS)
    assert not machine.stick("two").commands


async def test_unplugged_while_idle(
    transport: HidrawTransport, machine: Machine, gone: asyncio.Event
) -> None:
    """An idle node reports the unplug at once, and every later command fails."""
    machine.unplug("two")
    await gone.wait()
    with pytest.raises(DeviceNotFoundError, match=Fault.STICK_NOT_FOUND):
        await transport.exchange(READ_VALUES, LIMITS)


async def test_unplugged_while_reading(
    transport: HidrawTransport, machine: Machine, gone: asyncio.Event
) -> None:
    """An unplug ends a wait for a report with an error."""
    machine.stick("two").fail("timeout")
    reading = asyncio.create_task(transport.exchange(READ_VALUES, (60.0,)))
    await until(lambda: bool(machine.stick("two").commands))
    machine.unplug("two")
    with pytest.raises(DeviceNotFoundError, match=Fault.STICK_NOT_FOUND):
        await reading
    assert not gone.is_set()


@pytest.mark.parametrize("call", ["read", "write"])
async def test_unplugged_during_a_system_call(
    transport: HidrawTransport, machine: Machine, kernel: Kernel, call: str
) -> None:
    """An I/O error on a node that hung up means that the stick is gone."""
    machine.unplug("two")
    kernel.fail(call, errno.EIO)
    with pytest.raises(DeviceNotFoundError, match=Fault.STICK_NOT_FOUND):
        await transport.exchange(READ_VALUES, LIMITS)


async def test_exclusive(transport: HidrawTransport, node: Path) -> None:
    """An open node is locked against other programs until it is closed."""
    with pytest.raises(BlockingIOError):
        lock(node)
    await transport.close()
    other = lock(node)
    with pytest.raises(DeviceAccessError, match=Fault.IN_USE) as error:
        Node(node)
    assert error.value.details == {"node": str(node)}
    os.close(other)
    Node(node).close()


async def test_closed(transport: HidrawTransport) -> None:
    """Closing twice is harmless, and a closed node cannot be read."""
    await transport.close()
    await transport.close()
    with pytest.raises(DeviceNotFoundError, match=Fault.STICK_NOT_FOUND):
        await transport.exchange(READ_VALUES, LIMITS)
    with pytest.raises(DeviceNotFoundError, match=Fault.STICK_NOT_FOUND):
        await transport.feature(8)


def test_no_permission(machine: Machine, node: Path, as_nobody: AsNobody) -> None:
    """The error names a node that may not be opened."""
    machine.permit("two", hidraw=0)
    with (
        as_nobody(),
        pytest.raises(DeviceAccessError, match=Fault.NO_PERMISSION) as error,
    ):
        Node(node)
    assert error.value.details == {"node": str(node)}


def test_no_node(build: Build) -> None:
    """The error names a node that is missing in the container."""
    spec = {"name": "two", "model": "TEMPer2_V3.9", "hidraw_nodes": False}
    node = build(spec).device("two").hidraw
    assert node is not None
    with pytest.raises(DeviceAccessError, match=Fault.NO_NODE) as error:
        Node(node)
    assert error.value.details == {"node": str(node)}


@pytest.mark.parametrize(
    ("number", "kind", "message"),
    [
        (errno.EPERM, DeviceAccessError, "no_permission"),
        (errno.ENODEV, DeviceNotFoundError, "stick_not_found"),
        (errno.ENXIO, DeviceNotFoundError, "stick_not_found"),
        (errno.EIO, BadFrameError, r"refused \(error Input/output error\)"),
        (errno.EMFILE, BadFrameError, r"refused \(error Too many open files\)"),
    ],
    ids=errno.errorcode.get,
)
def test_open_fails(
    node: Path, kernel: Kernel, *, number: int, kind: type[DriverError], message: str
) -> None:
    """Each error that the kernel raises on opening becomes a driver error."""
    kernel.fail("open", number)
    with pytest.raises(kind, match=message):
        Node(node)


@pytest.mark.parametrize("call", ["read", "write"])
@pytest.mark.parametrize(
    ("number", "kind", "message"),
    [
        (errno.ENODEV, DeviceNotFoundError, "stick_not_found"),
        (errno.ESHUTDOWN, DeviceNotFoundError, "stick_not_found"),
        (errno.EIO, BadFrameError, r"refused \(error Input/output error\)"),
        (errno.EPIPE, BadFrameError, r"refused \(error Broken pipe\)"),
    ],
    ids=errno.errorcode.get,
)
async def test_exchange_fails(
    transport: HidrawTransport,
    kernel: Kernel,
    *,
    call: str,
    number: int,
    kind: type[DriverError],
    message: str,
) -> None:
    """An I/O error on a node that did not hang up does not mean an unplug."""
    kernel.fail(call, number)
    with pytest.raises(kind, match=message):
        await transport.exchange(READ_VALUES, LIMITS)


async def test_closed_while_a_command_hangs(
    transport: HidrawTransport, workers: Workers, node: Path, kernel: Kernel
) -> None:
    """The node is closed once the hanging call ends, and is not read again."""
    kernel.hang("write")
    reading = asyncio.create_task(transport.exchange(READ_VALUES, LIMITS))
    await Lane(workers).run(kernel.hangs.wait)
    closed = transport.close()
    assert not closed.done()
    kernel.ends.set()
    with pytest.raises(DeviceNotFoundError, match=Fault.STICK_NOT_FOUND):
        await reading
    await closed
    os.close(lock(node))


async def test_report_while_a_command_hangs(
    transport: HidrawTransport,
    machine: Machine,
    workers: Workers,
    node: Path,
    kernel: Kernel,
) -> None:
    """The report stays queued in order, so that the driver sees one too many."""
    kernel.hang("write")
    reading = asyncio.create_task(transport.exchange(READ_VALUES, LIMITS))
    await Lane(workers).run(kernel.hangs.wait)
    machine.send("two", STALE_REPORT)
    await until(lambda: not is_watched(node))
    kernel.ends.set()
    assert await reading == [bytes.fromhex(STALE_REPORT), REPORTS[0]]


async def test_late_callback(
    transport: HidrawTransport, gone: asyncio.Event, wake: Wake
) -> None:
    """A callback without a report, or after the close, does nothing."""
    wake()
    await transport.close()
    wake()
    assert not gone.is_set()


async def test_queued_reports(
    transport: HidrawTransport, machine: Machine, opened: Node, wake: Wake
) -> None:
    """Reports are returned in their order, however late they are taken."""
    reading = await waiting_exchange(transport, machine)
    machine.send("two", INTERNAL, EXTERNAL)
    receive(opened, wake)
    receive(opened, wake)
    assert machine.device("two").reports_read == 3
    assert await reading == [REPORTS[0], *REPORTS]


async def test_listen_on_a_slow_loop(
    transport: HidrawTransport, machine: Machine, opened: Node
) -> None:
    """A report that has arrived is found, however late the event loop looks."""
    assert await transport.exchange(READ_VALUES, LIMITS) == REPORTS
    machine.send("two", STALE_REPORT)
    select.select([opened], [], [])
    assert await transport.listen(0) == bytes.fromhex(STALE_REPORT)
    assert await transport.listen(0.05) is None


async def test_unplugged_between_two_reports(
    transport: HidrawTransport,
    machine: Machine,
    gone: asyncio.Event,
    opened: Node,
    wake: Wake,
) -> None:
    """An unplug is noticed at once, even with one report left to take."""
    reading = await waiting_exchange(transport, machine)
    machine.send("two", EXTERNAL)
    receive(opened, wake)
    machine.unplug("two")
    receive(opened, wake)
    with pytest.raises(DeviceNotFoundError, match=Fault.STICK_NOT_FOUND):
        await reading
    assert gone.is_set()


@pytest.mark.parametrize("unplugged", [False, True])
async def test_report_at_the_time_limit(
    transport: HidrawTransport,
    machine: Machine,
    gone: asyncio.Event,
    opened: Node,
    wake: Wake,
    *,
    unplugged: bool,
) -> None:
    """A report that arrives just after the time limit raises nothing."""
    reading = await waiting_exchange(transport, machine)
    if unplugged:
        machine.unplug("two")
    else:
        machine.send("two", STALE_REPORT)
    select.select([opened], [], [])
    reading.cancel()
    wake()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert gone.is_set() == unplugged


@pytest.mark.parametrize(
    ("descriptor", "sizes"),
    [
        (VENDOR_REPORT, (8, 8)),
        (KEYBOARD_REPORT, (8, 1)),
        # TEMPerGold_V3.5 and TEMPerHUM_V4.1 (charlieh0tel/temper, docs/protocol.md).
        # The first has also a feature report.
        (
            bytes.fromhex(
                "0600ff0901a10109011500 26ff00750895088102"
                "090195089102050c09001580257f75089508b102c0"
            ),
            (8, 8),
        ),
        (bytes.fromhex("05010900a1010901150025ff9508750881020901 9102c0"), (8, 8)),
        (bytes.fromhex("fe0200aabb") + VENDOR_REPORT, (0, 0)),
        (b"", (0, 0)),
        (VENDOR_REPORT[:-3] + b"\x97", (8, 0)),
    ],
    ids=["stick", "keyboard", "gold", "hum", "long item", "empty", "cut off"],
)
def test_report_sizes(descriptor: bytes, sizes: tuple[int, int]) -> None:
    """The descriptor gives the sizes of the reports."""
    assert report_sizes(descriptor) == sizes
