"""I2C buses below Adafruit_PureIO: open() and ioctl() of /dev/i2c-N."""

from collections import deque
from collections.abc import Callable, Iterable, Mapping
import ctypes
import errno
from pathlib import Path
import threading
import time
from types import ModuleType
from typing import Any, ClassVar, NamedTuple
from weakref import WeakValueDictionary

from .bme680 import chip_of
from .chips import Chip, spoil
from .faults import Fault, Faulty, failure

I2C_SLAVE, I2C_SLAVE_FORCE, I2C_RDWR = 0x0703, 0x0706, 0x0707
I2C_M_RD = 0x0001
BYTE_TIME = 90e-6
"""Eight bits and the acknowledge at 100 kHz."""
KERNEL_TIMEOUT = 1.0
"""Seconds for which an adapter driver waits for a bus that is held low."""
ERRORS = {
    "gone": errno.EREMOTEIO,
    "nack": errno.EREMOTEIO,
    "arb": errno.EAGAIN,
    "eio": errno.EIO,
    "timeout": errno.ETIMEDOUT,
}


class I2cMsg(ctypes.Structure):
    """The kernel's struct i2c_msg."""

    _fields_ = (
        ("addr", ctypes.c_uint16),
        ("flags", ctypes.c_uint16),
        ("len", ctypes.c_uint16),
        ("buf", ctypes.c_void_p),
    )


class I2cRdwrIoctlData(ctypes.Structure):
    """The kernel's struct i2c_rdwr_ioctl_data."""

    _fields_ = (("msgs", ctypes.POINTER(I2cMsg)), ("nmsgs", ctypes.c_uint32))


class Message(NamedTuple):
    """One message of a transfer, with the bytes that were written or read."""

    address: int
    data: bytes
    read: bool = False
    error: int = 0


def duration(messages: list[Message]) -> float:
    """Return the seconds that the messages of a transfer take."""
    return BYTE_TIME * sum(1 + len(message.data) for message in messages)


class Bus(Faulty):
    """One adapter and the chips behind it."""

    FAULTS: ClassVar = dict.fromkeys(ERRORS, frozenset({"transfer"}))

    def __init__(self, spec: Mapping[str, Any]) -> None:
        """Build the bus of one "i2c" entry of a machine spec."""
        self.key: int = spec["bus"]
        """Its number in the machine spec; on a USB device it gets another one."""
        self.number = self.key
        chips = map(chip_of, spec.get("chips", []))
        self.chips = {chip.address: chip for chip in chips}
        self.kernel_addresses = {int(address, 0) for address in spec.get("held", {})}
        """The addresses that kernel drivers hold."""
        self.fail_as(spec.get("fault"))
        self.plugged = True
        self.is_on_usb = "usb" in spec
        self.log: deque[Message] = deque(maxlen=256)
        self._lock = threading.Lock()

    def transfer(self, messages: list[Message]) -> list[Message]:
        """Do one transfer; the answer holds the bytes that were read."""
        with self._lock:
            # A bus of the board answers through nodes that are still open.
            if not self.plugged and self.is_on_usb:
                raise failure(errno.ENODEV)
            chip = self.chips.get(messages[0].address)
            fault = self.strike("transfer")
            if chip:
                chip.counters["transfers"] += 1
                fault = fault or chip.strike("transfer")
            if fault and fault.name == "timeout":
                fault.hold(KERNEL_TIMEOUT)
            else:
                time.sleep(duration(messages))
            return [self._message(message, fault) for message in messages]

    def _message(self, message: Message, fault: Fault | None) -> Message:
        """Do one message."""
        chip, spoiler = self.chips.get(message.address), fault.name if fault else ""
        number = ERRORS.get(spoiler, 0) if chip else errno.EREMOTEIO
        data = message.data
        if chip and not number and message.read:
            data = spoil(spoiler, chip.read(len(data)))
        elif chip and not number and data and spoiler not in {"ff", "zero"}:
            chip.write(data)
        answer = Message(message.address, data, message.read, number)
        self.log.append(answer)
        if number:
            raise failure(number)
        return answer


class I2cNode:
    """An open /dev/i2c-N; the file below it gives the permissions and the number."""

    def __init__(self, path: Path, buses: Buses) -> None:
        """Open the node."""
        self._file = path.open("r+b", buffering=0)
        self._buses = buses
        self._bus = buses.numbered[int(path.name.removeprefix("i2c-"))]
        self._address = 0

    def fileno(self) -> int:
        """Return the descriptor."""
        return self._file.fileno()

    def close(self) -> None:
        """Close the node."""
        self._buses.forget(self)
        self._file.close()

    def read(self, length: int) -> bytes | None:
        """Read from the selected address."""
        answer = self._plain(Message(self._address, bytes(length), read=True))
        return None if answer is None else answer.data

    def write(self, data: bytes) -> int | None:
        """Write to the selected address."""
        answer = self._plain(Message(self._address, bytes(data)))
        return None if answer is None else len(data)

    def select(self, address: int, *, force: bool) -> None:
        """Select an address, as I2C_SLAVE does."""
        if address in self._bus.kernel_addresses and not force:
            raise failure(errno.EBUSY)
        self._address = address

    def transfer(self, data: I2cRdwrIoctlData) -> int:
        """Do a combined transfer, as I2C_RDWR does."""
        structures = data.msgs[: data.nmsgs]
        messages = [
            Message(
                m.addr,
                ctypes.string_at(m.buf, m.len) if m.len else b"",
                read=bool(m.flags & I2C_M_RD),
            )
            for m in structures
        ]
        answers = self._transfer(messages)
        for structure, answer in zip(structures, answers, strict=True):
            if answer.read:
                ctypes.memmove(structure.buf, answer.data, structure.len)
        return len(answers)

    def _plain(self, message: Message) -> Message | None:
        """Do a transfer of one message; a raw file turns EAGAIN into None."""
        try:
            return self._transfer([message])[0]
        except BlockingIOError:
            return None

    def _transfer(self, messages: list[Message]) -> list[Message]:
        """Do a transfer."""
        self._buses.refresh()
        return self._bus.transfer(messages)


class Buses:
    """The buses of a machine, in place of the kernel's."""

    def __init__(
        self,
        specs: Iterable[Mapping[str, Any]],
        dev: Path,
        refresh: Callable[[], None] = lambda: None,
    ) -> None:
        """Build the buses of the "i2c" of a machine spec, with their nodes in dev."""
        self.all = list(map(Bus, specs))
        self.numbered = {bus.number: bus for bus in self.all}
        self.refresh = refresh
        """Called before each transfer."""
        self._dev = dev
        self.open_nodes: WeakValueDictionary[int, I2cNode] = WeakValueDictionary()
        """The nodes that are open, by their descriptors."""

    def chip(self, name: str) -> Chip:
        """Return a chip by its name."""
        chips = (c for bus in self.all for c in bus.chips.values())
        return next(chip for chip in chips if chip.name == name)

    def open(self, file: str, *_: object, **__: object) -> I2cNode:
        """Open /dev/i2c-N."""
        node = I2cNode(self._dev / Path(file).name, self)
        self.open_nodes[node.fileno()] = node
        return node

    def forget(self, node: I2cNode) -> None:
        """Note that a node is about to be closed."""
        del self.open_nodes[node.fileno()]

    def ioctl(self, descriptor: int, request: int, argument: Any = 0) -> int:  # noqa: ANN401 - a number or a structure
        """Do an ioctl of i2c-dev."""
        node = self.open_nodes[descriptor]
        if request == I2C_RDWR:
            # The structures of the caller's library, with the kernel's layout.
            return node.transfer(I2cRdwrIoctlData.from_buffer(argument))
        if request not in (I2C_SLAVE, I2C_SLAVE_FORCE):
            raise failure(errno.ENOTTY)
        node.select(argument, force=request == I2C_SLAVE_FORCE)
        return 0

    def install(self, module: ModuleType) -> Callable[[], None]:
        """Put the buses below Adafruit_PureIO.smbus; return a function to undo it."""
        namespace = vars(module)
        ioctl = namespace["ioctl"]
        namespace.update(open=self.open, ioctl=self.ioctl)

        def undo() -> None:
            namespace["ioctl"] = ioctl
            # Until then its open() is the built-in one.
            del namespace["open"]

        return undo
