"""A pyusb backend for the devices of an emulated machine.

Like libusb on Linux it finds them in sysfs, reads their descriptors there and does
everything else through the usbfs node, so any process that knows the root can use it.
"""

import array
from collections.abc import Callable, Iterator
from contextlib import suppress
import errno
from importlib import import_module
import json
import os
from pathlib import Path
import socket
import struct
import threading
from types import ModuleType, SimpleNamespace
from typing import Any

from .tree import short_path

type Descriptor = SimpleNamespace

COMMON = "bLength bDescriptorType "
INTERFACE = 4
LAYOUTS = {
    1: "<BBHBBBBHHHBBBB",
    2: "<BBHBBBBB",
    INTERFACE: "<9B",
    5: "<BBBBHB",
}
FIELDS = {
    1: f"{COMMON} bcdUSB bDeviceClass bDeviceSubClass bDeviceProtocol bMaxPacketSize0 "
    "idVendor idProduct bcdDevice iManufacturer iProduct iSerialNumber "
    "bNumConfigurations",
    2: f"{COMMON} wTotalLength bNumInterfaces bConfigurationValue iConfiguration "
    "bmAttributes bMaxPower",
    INTERFACE: f"{COMMON} bInterfaceNumber bAlternateSetting bNumEndpoints "
    "bInterfaceClass bInterfaceSubClass bInterfaceProtocol iInterface",
    5: f"{COMMON} bEndpointAddress bmAttributes wMaxPacketSize bInterval",
}
LIBUSB_ERRORS = {errno.EPROTO: errno.EIO}
"""The error of libusb for kernel errors without a name of their own."""
SPEEDS = {"1.5": 1, "12": 2, "480": 3}
MESSAGES = {
    errno.EACCES: "Access denied (insufficient permissions)",
    errno.EBUSY: "Resource busy",
    errno.EIO: "Input/Output Error",
    errno.EINVAL: "Invalid parameter",
    errno.ENODEV: "No such device (it may have been disconnected)",
    errno.ENOENT: "Entity not found",
    errno.EPIPE: "Pipe error",
    errno.ETIMEDOUT: "Operation timed out",
}


def usb_error(number: int) -> OSError:
    """Return pyusb's exception of an errno."""
    core = import_module("usb.core")
    kind = core.USBTimeoutError if number == errno.ETIMEDOUT else core.USBError
    message = MESSAGES.get(number, os.strerror(number))
    error: OSError = kind(message, None, number)
    return error


def split(data: bytes) -> Iterator[Descriptor]:
    """Yield the descriptors in a row of them, HID descriptors left out."""
    while data:
        if layout := LAYOUTS.get(data[1]):
            values = struct.unpack_from(layout, data)
            fields = dict(zip(FIELDS[data[1]].split(), values, strict=True))
            yield SimpleNamespace(**fields, extra_descriptors=[])
        data = data[data[0] :]


class UsbDevice:
    """A device as libusb sees it: its descriptors and its place."""

    def __init__(self, path: Path) -> None:
        """Read the device from its directory in sysfs."""
        data = (path / "descriptors").read_bytes()
        self.device, self.configuration, *parts = split(data)
        self.interfaces: list[tuple[Descriptor, list[Descriptor]]] = []
        for part in parts:
            if part.bDescriptorType == INTERFACE:
                self.interfaces.append((part, []))
            else:
                part.bRefresh = part.bSynchAddress = 0
                self.interfaces[-1][1].append(part)
        self.device.bus = int((path / "busnum").read_text())
        self.device.address = int((path / "devnum").read_text())
        self.device.speed = SPEEDS[(path / "speed").read_text().strip()]
        ports = (path / "devpath").read_text().split(".")
        self.device.port_numbers = tuple(int(p) for p in ports if int(p)) or None
        self.device.port_number = int(ports[-1])


class Handle:
    """An open device."""

    def __init__(self, node: Path) -> None:
        """Open the usbfs node."""
        self._lock = threading.Lock()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            with short_path(node) as path:
                number = self._socket.connect_ex(path)
        except FileNotFoundError:
            number = errno.ENODEV
        if number:
            self._socket.close()
            raise usb_error(number if number == errno.EACCES else errno.ENODEV)

    def close(self) -> None:
        """Close the node."""
        self._socket.close()

    def __call__(self, operation: str, **arguments: object) -> bytes:
        """Do one operation."""
        request = json.dumps({"operation": operation, **arguments}).encode()
        reply = b""
        with self._lock, suppress(ConnectionError):
            self._socket.send(request)
            reply = self._socket.recv(4096)
        if not reply:
            raise usb_error(errno.ENODEV)
        answer = json.loads(reply)
        if answer["error"]:
            raise usb_error(LIBUSB_ERRORS.get(answer["error"], answer["error"]))
        return bytes.fromhex(answer["data"])


class Backend:
    """The methods of pyusb's IBackend."""

    def __init__(self, root: Path) -> None:
        """Use the machine below root."""
        self._devices = root / "sys/bus/usb/devices"
        self._nodes = root / "dev/bus/usb"

    def enumerate_devices(self) -> Iterator[UsbDevice]:
        """Yield the devices that are plugged in."""
        for path in sorted(self._devices.iterdir()):
            # An interface has no descriptors, and a device may go meanwhile.
            with suppress(OSError):
                yield UsbDevice(path)

    def get_parent(self, device: UsbDevice) -> None:
        """Return no parent."""

    def get_device_descriptor(self, device: UsbDevice) -> Descriptor:
        """Return the device descriptor."""
        return device.device

    def get_configuration_descriptor(
        self, device: UsbDevice, configuration: int
    ) -> Descriptor:
        """Return the only configuration's descriptor."""
        return [device.configuration][configuration]

    def get_interface_descriptor(
        self, device: UsbDevice, interface: int, alternate: int, _configuration: int
    ) -> Descriptor:
        """Return an interface descriptor."""
        return [device.interfaces[interface][0]][alternate]

    def get_endpoint_descriptor(
        self,
        device: UsbDevice,
        endpoint: int,
        interface: int,
        _alternate: int,
        _configuration: int,
    ) -> Descriptor:
        """Return an endpoint descriptor."""
        return device.interfaces[interface][1][endpoint]

    def open_device(self, device: UsbDevice) -> Handle:
        """Open a device."""
        bus, address = device.device.bus, device.device.address
        return Handle(self._nodes / f"{bus:03}/{address:03}")

    def close_device(self, handle: Handle) -> None:
        """Close a device."""
        handle.close()

    def set_configuration(self, handle: Handle, value: int) -> None:
        """Set the configuration."""
        handle("set_configuration", value=value)

    def get_configuration(self, _handle: Handle) -> int:
        """Return the configuration that the kernel has set."""
        return 1

    def set_interface_altsetting(
        self, handle: Handle, interface: int, alternate: int
    ) -> None:
        """Accept the only alternate setting."""

    def claim_interface(self, handle: Handle, interface: int) -> None:
        """Claim an interface."""
        handle("claim_interface", number=interface)

    def release_interface(self, handle: Handle, interface: int) -> None:
        """Release an interface."""
        handle("release_interface", number=interface)

    def is_kernel_driver_active(self, handle: Handle, interface: int) -> bool:
        """Return whether an interface has a kernel driver."""
        return handle("kernel_driver", number=interface) == b"\1"

    def detach_kernel_driver(self, handle: Handle, interface: int) -> None:
        """Detach the kernel driver."""
        handle("detach_kernel_driver", number=interface)

    def attach_kernel_driver(self, handle: Handle, interface: int) -> None:
        """Attach the kernel driver."""
        handle("attach_kernel_driver", number=interface)

    def clear_halt(self, handle: Handle, endpoint: int) -> None:
        """Clear a stalled endpoint."""
        handle("clear_halt", endpoint=endpoint)

    def reset_device(self, handle: Handle) -> None:
        """Reset the device."""
        handle("reset")

    def ctrl_transfer(  # noqa: PLR0917 - pyusb's signature
        self,
        handle: Handle,
        request_type: int,
        request: int,
        value: int,
        index: int,
        data: array.array[int],
        timeout: int,
    ) -> int:
        """Do a control transfer; fill data if it is an IN transfer."""
        incoming = request_type & 0x80
        answer = handle(
            "control",
            setup=[request_type, request, value, index],
            data="" if incoming else data.tobytes().hex(),
            length=len(data),
            timeout=timeout,
        )
        return fill(data, answer) if incoming else len(data)

    def intr_write(
        self,
        handle: Handle,
        endpoint: int,
        _interface: int,
        data: array.array[int],
        _timeout: int,
    ) -> int:
        """Write to an interrupt endpoint."""
        handle("interrupt_out", endpoint=endpoint, data=data.tobytes().hex())
        return len(data)

    def intr_read(
        self,
        handle: Handle,
        endpoint: int,
        _interface: int,
        data: array.array[int],
        timeout: int,
    ) -> int:
        """Read a report."""
        return fill(data, handle("interrupt_in", endpoint=endpoint, timeout=timeout))

    # pyusb looks all three kinds up before it takes one.
    bulk_write = iso_write = intr_write
    bulk_read = iso_read = intr_read


def fill(data: array.array[int], answer: bytes) -> int:
    """Put an answer into the caller's buffer."""
    if len(answer) > len(data):
        raise usb_error(errno.EOVERFLOW)
    data[: len(answer)] = array.array("B", answer)
    return len(answer)


def install(module: ModuleType, root: Path) -> Callable[[], None]:
    """Let usb.backend.libusb1 find the machine below root; return an undo function."""
    namespace, backend = vars(module), Backend(root)
    original = namespace["get_backend"]

    def get_backend(**_: Any) -> Backend:  # noqa: ANN401 - pyusb's signature
        return backend

    namespace["get_backend"] = get_backend
    return lambda: namespace.update(get_backend=original)
