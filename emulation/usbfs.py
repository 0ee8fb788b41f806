"""A plugged-in device: its kernel drivers, and its usbfs node for programs.

The node is a Unix socket, so that other processes can use the device, its permissions
are checked, and the end of a program is noticed. A request is one JSON object, and so
is its answer.
"""

from collections import Counter, deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
import errno
from functools import partial
import json
from pathlib import Path
import socket
from typing import Any

from .faults import failure
from .hidraw import HidrawNode
from .loop import Loop
from .serial import SerialNode
from .sticks import Stick
from .tree import Place, Tree, short_path

CONFIGURATION = 1
GET_DESCRIPTOR, SET_REPORT, STRING = (0x80, 6), (0x21, 9), 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Access:
    """The ways to reach a device."""

    hidraw_mode: int = 0o600
    usbfs_mode: int = 0o664
    hidraw_nodes: bool = True
    """Whether hidraw nodes appear in /dev; sysfs shows them all the same."""
    bound: bool = True
    """Whether the data interface has its driver when it is plugged in."""

    @classmethod
    def from_spec(cls, spec: Mapping[str, Any]) -> Access:
        """Return the access of one "usb" entry of a machine spec."""
        values = {key: spec[key] for key in cls.__dataclass_fields__ if key in spec}
        for key in ("hidraw_mode", "usbfs_mode"):
            if key in values:
                values[key] = int(values[key], 8)
        return cls(**values)


class Endpoint:
    """The endpoint that programs read reports from through usbfs."""

    def __init__(self, device: Device) -> None:
        """Serve the reports of a device."""
        self.reports: deque[bytes] = deque()
        """The reports that no program has read yet."""
        self._device = device
        self._readers: deque[Connection] = deque()

    def put(self, report: bytes) -> None:
        """Pass a report on to the first program that waits for one."""
        self.reports.append(report)
        self._serve()

    def read(self, connection: Connection) -> None:
        """Let a program wait for a report."""
        self._readers.append(connection)
        self._serve()

    def stop_reading(self, connection: Connection) -> None:
        """End the wait of a program."""
        if connection in self._readers:
            self._readers.remove(connection)

    def _serve(self) -> None:
        """Answer programs that wait for a report."""
        stick = self._device.stick
        is_halted = stick.model.endpoint in stick.halted
        while self._readers and (is_halted or self.reports):
            reader = self._readers.popleft()
            if is_halted:
                reader.answer(error=errno.EPIPE)
            else:
                reader.answer(self.reports.popleft())
                self._device.reports_read += 1


class Device:
    """The kernel's state of a device while it is plugged in."""

    def __init__(
        self, stick: Stick, place: Place, access: Access, *, tree: Tree, loop: Loop
    ) -> None:
        """Plug the stick in."""
        self.stick, self.access = stick, access
        self.bound: dict[int, HidrawNode | None] = {}
        """The interfaces with a kernel driver, and their hidraw nodes."""
        self.claims: dict[int, Connection] = {}
        """The interfaces that a program has claimed."""
        self.calls: Counter[str] = Counter()
        """The number of usbfs calls, by kind."""
        self.coming: list[bytes] = []
        """The reports that the stick has made and not sent yet."""
        self.endpoint = Endpoint(self)
        self.reports_read = 0
        """The number of reports that programs have read, over hidraw or usbfs."""
        self._loop, self._tree = loop, tree
        self._connections: set[Connection] = set()
        self.plugged = tree.add_usb(stick.model.gadget, place)
        """The device as sysfs shows it."""
        self.node = tree.usbfs(self.plugged)
        self._listener = self._listen()
        for number in range(len(stick.model.gadget.interfaces)):
            tree.add_interface(self.plugged, number)
            if access.bound or number != stick.model.data:
                self.bind(number)
        self._plugged_in = True
        self._stream()

    @property
    def rdev(self) -> int | None:
        """Return the device number of the data interface's hidraw node."""
        node = self.bound.get(self.stick.model.data)
        return node.rdev if node else None

    @property
    def hidraw(self) -> Path | None:
        """Return the hidraw node of the data interface."""
        node = self.bound.get(self.stick.model.data)
        return node.path if node else None

    def unplug(self) -> None:
        """Remove the device."""
        self._plugged_in = False
        for number in list(self.bound):
            self.unbind(number)
        self._loop.remove(self._listener.fileno())
        self._listener.close()
        for connection in list(self._connections):
            self.forget(connection)
        self._tree.remove_usb(self.plugged)

    def permit(self, *, hidraw: int | None = None, usbfs: int | None = None) -> None:
        """Change the permissions of the nodes."""
        for node in self.bound.values():
            if node and hidraw is not None:
                node.permit(hidraw)
        if usbfs is not None:
            self.node.chmod(usbfs)

    def bind(self, number: int) -> None:
        """Give an interface to its kernel driver."""
        self._tree.bind(self.plugged, number)
        self.bound[number] = None
        if self.stick.model.gadget.interfaces[number].driver == "ch341":
            serial = SerialNode(self._loop, self.command, self.access.hidraw_mode)
            serial.path = self._tree.add_tty(self.plugged, number, serial.rdev)
            self.bound[number] = serial
            if self.access.hidraw_nodes:
                serial.appear()
            return
        if self.stick.model.gadget.interfaces[number].report is None:
            return
        model = self.stick.model
        take = self.command if number == model.data else self.stray_command
        node = HidrawNode(self._loop, take, self.access.hidraw_mode, model.output)
        # usbhid reads and drops the remaining reports of the stick.
        self.endpoint.reports.clear()
        node.path = self._tree.add_hid(self.plugged, number, node.rdev)
        self.bound[number] = node
        if self.access.hidraw_nodes:
            node.appear()

    def unbind(self, number: int) -> None:
        """Take an interface away from its kernel driver."""
        if node := self.bound.pop(number):
            node.close()
        self._tree.unbind(self.plugged, number)

    def command(self, data: bytes) -> None:
        """Take a command over hidraw.

        A program that writes through a System gets an error for a failed transfer;
        another process sees only silence.
        """
        with suppress(OSError):
            self.transmit(data)
        # usbhid clears a halted endpoint by itself.
        self.stick.halted.clear()

    def stray_command(self, data: bytes) -> None:
        """Count a command to an interface that takes none."""
        self.stick.commands["wrong interface"] += 1
        self.stick.log.append(data)

    def transmit(self, data: bytes) -> None:
        """Pass a command on to the stick, and its reports to their readers."""
        for delay, report in self.stick.command(data):
            self.coming.append(report)
            self._loop.later(delay, partial(self._arrive, report))

    def hurry(self) -> None:
        """Deliver at once the requested reports that are not sent yet."""
        if node := self.bound.get(self.stick.model.data):
            node.catch_up()
        for report in list(self.coming):
            self._arrive(report)

    def _arrive(self, report: bytes) -> None:
        """Deliver a report, unless that has been done."""
        if report in self.coming:
            self.coming.remove(report)
            self.deliver(report)

    def deliver(self, report: bytes) -> None:
        """Deliver a report that is ready."""
        if node := self.bound.get(self.stick.model.data):
            node.send(report)
        else:
            self.endpoint.put(report)

    def _stream(self) -> None:
        """Deliver the device's own reports, and check again a little later."""
        if not self._plugged_in or self.stick.interval is None:
            return
        self._loop.later(self.stick.interval, self._stream)
        node = self.bound.get(self.stick.model.data)
        # A report that a late reader has not read is replaced by the present one, not
        # skipped.
        late = node is not None and node.unread
        report = self.stick.repeat() if late else self.stick.report()
        if report is None:
            return
        if node:
            node.send_latest(report)
        elif not self.endpoint.reports:
            # The device holds one report until it is read.
            self.endpoint.put(report)

    def forget(self, connection: Connection) -> None:
        """End a connection; its claimed interfaces are free, and without a driver."""
        self._connections.remove(connection)
        self.endpoint.stop_reading(connection)
        for number in [n for n, owner in self.claims.items() if owner is connection]:
            del self.claims[number]
        connection.close()

    def _listen(self) -> socket.socket:
        """Make the usbfs node."""
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with short_path(self.node) as path:
            listener.bind(path)
        self.node.chmod(self.access.usbfs_mode)
        listener.settimeout(0)
        listener.listen()
        self._loop.add(listener.fileno(), self._accept)
        return listener

    def _accept(self) -> None:
        """Let a program in."""
        self.calls["open"] += 1
        self._connections.add(Connection(self, self._listener.accept()[0], self._loop))


class Connection:
    """One program that has the usbfs node open."""

    def __init__(self, device: Device, program: socket.socket, loop: Loop) -> None:
        """Serve the program."""
        self._device, self._program, self._loop = device, program, loop
        self._requests = 0
        self._waiting = False
        program.settimeout(0)
        loop.add(program.fileno(), self._readable)

    def close(self) -> None:
        """Hang up."""
        self._loop.remove(self._program.fileno())
        self._program.close()

    def answer(self, data: bytes = b"", error: int = 0) -> None:
        """Answer the request."""
        self._waiting = False
        with suppress(OSError):
            self._program.send(
                json.dumps({"error": error, "data": data.hex()}).encode()
            )

    def _readable(self) -> None:
        """Handle the program's request."""
        try:
            message = self._program.recv(4096)
        except ConnectionError:
            message = b""
        if not message:
            self._device.forget(self)
            return
        self._requests += 1
        self._waiting = True
        request = json.loads(message)
        operation = request.pop("operation")
        self._device.calls[operation] += 1
        try:
            data = getattr(self, operation)(**request)
        except OSError as error:
            self.answer(error=error.errno or errno.EIO)
        else:
            if data is not None:
                self.answer(data)

    def _claim(self, number: int) -> None:
        """Claim an interface that is not claimed yet, as usbfs does by itself."""
        owner = self._device.claims.get(number)
        if number in self._device.bound or owner not in (None, self):
            raise failure(errno.EBUSY)
        self._device.claims[number] = self

    def _claim_endpoint(self, address: int) -> int:
        """Claim the interface of an endpoint, and return its number."""
        for number, interface in enumerate(self._device.stick.model.gadget.interfaces):
            if any(endpoint[0] == address for endpoint in interface.endpoints):
                self._claim(number)
                return number
        raise failure(errno.ENOENT)

    def _expire(self, request: int) -> None:
        """Answer a request that has waited long enough."""
        if self._waiting and self._requests == request:
            self._device.endpoint.stop_reading(self)
            self.answer(error=errno.ETIMEDOUT)

    def _expire_later(self, timeout: int) -> None:
        """Let the request wait, forever if timeout is 0."""
        if timeout:
            self._loop.later(timeout / 1000, partial(self._expire, self._requests))

    # The operations. Each returns the data of its answer, or None to answer later.

    def claim_interface(self, number: int) -> bytes:
        """Claim an interface."""
        self._claim(number)
        return b""

    def release_interface(self, number: int) -> bytes:
        """Release an interface."""
        if self._device.claims.get(number) is not self:
            raise failure(errno.EINVAL)
        del self._device.claims[number]
        return b""

    def kernel_driver(self, number: int) -> bytes:
        """Return whether an interface has a kernel driver."""
        return bytes((number in self._device.bound,))

    def detach_kernel_driver(self, number: int) -> bytes:
        """Take an interface from its kernel driver."""
        if number not in self._device.bound:
            raise failure(errno.ENOENT)
        self._device.unbind(number)
        return b""

    def attach_kernel_driver(self, number: int) -> bytes:
        """Give an interface back to its kernel driver."""
        if number in self._device.bound or number in self._device.claims:
            raise failure(errno.EBUSY)
        self._device.bind(number)
        return b""

    def set_configuration(self, value: int) -> bytes:
        """Refuse to configure a device that is in use."""
        if self._device.bound or self._device.claims or value != CONFIGURATION:
            raise failure(errno.EBUSY)
        return b""

    def clear_halt(self, endpoint: int) -> bytes:
        """Clear a stalled endpoint."""
        self._device.stick.halted.discard(endpoint)
        return b""

    def reset(self) -> bytes:
        """Reset the device."""
        self._device.stick.halted.clear()
        return b""

    def control(
        self, setup: list[int], data: str, length: int, timeout: int
    ) -> bytes | None:
        """Do a control transfer; setup: request type, request, value, index."""
        request_type, request, value, index = setup
        if (request_type, request) == GET_DESCRIPTOR and value >> 8 == STRING:
            text = self._device.stick.model.gadget.string_descriptor(value & 0xFF)
            if text is None:
                raise failure(errno.EPIPE)
            return text[:length]
        if (request_type, request) != SET_REPORT:
            raise failure(errno.EPIPE)
        self._claim(index)
        try:
            self._command(index, bytes.fromhex(data))
        except TimeoutError:
            self._expire_later(timeout)
            return None
        return b""

    def interrupt_out(self, endpoint: int, data: str) -> bytes:
        """Write to an interrupt endpoint."""
        self._command(self._claim_endpoint(endpoint), bytes.fromhex(data))
        return b""

    def interrupt_in(self, endpoint: int, timeout: int) -> None:
        """Wait for a report."""
        if self._claim_endpoint(endpoint) == self._device.stick.model.data:
            self._device.endpoint.read(self)
        self._expire_later(timeout)

    def set_feature(self, data: str) -> bytes:
        """Do the kernel's HIDIOCSFEATURE."""
        self._device.stick.set_feature(bytes.fromhex(data))
        return b""

    def get_feature(self, length: int) -> bytes:
        """Do the kernel's HIDIOCGFEATURE, after all writes before it."""
        if node := self._device.bound.get(self._device.stick.model.data):
            node.catch_up()
        return self._device.stick.get_feature(length)

    def _command(self, number: int, data: bytes) -> None:
        """Pass a command on to an interface."""
        if number == self._device.stick.model.data:
            self._device.transmit(data)
        else:
            self._device.stray_command(data)
