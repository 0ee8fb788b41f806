"""USB devices and I2C adapters as the kernel lists them in sysfs.

Reading sysfs needs no permission. Bus and device numbers change with the probe order
and with each plug, so they identify nothing here: a place is the path of the controller
or adapter below /sys/devices, with the ports or the address on it.
Source: Documentation/ABI/testing/sysfs-bus-usb and sysfs-bus-i2c of the kernel.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import chain
import os
from pathlib import Path
import re
from threading import Lock
from typing import Any, NamedTuple

from .errors import DeviceNotFoundError, Fault
from .places import Label, UsbPlace

type Ids = frozenset[tuple[int, int]]
"""Vendor and product ids."""
type Plug = tuple[int, int]
"""Device number and number of the sysfs directory of a USB device.

At least one of them changes when the device is plugged in again.
"""

DEV = Path("/dev")
SYS = Path("/sys")
# To find a device takes sixty fast system calls. Threads that make them at the same
# time compete for the interpreter and take five times as long, so a lock lets them read
# in turn. But a device whose port is being reset can block the thread that reads its
# strings. So a thread waits no longer for the lock than a hundred readers in turn take.
READ_LOCK_TIMEOUT_S = 0.05
_READ_LOCK = Lock()
# Drivers of USB adapters append numbers of the bus, the device or the hidraw node to
# the name of an adapter. They change with each plug.
_CHANGING_SUFFIX = r"(?: at| on| USB)? (?:bus|hidraw) ?\d.*|[- ]\d+-[\d.]+:\d.*| #\d.*"
_HID_NAME_COLONS = 2
_PAGE_BYTES = 4096
# The errors of reading a device that is just being plugged in or unplugged.
_VANISHED_ERRORS = (LookupError, OSError, ValueError)


class UsbInterface(NamedTuple):
    """One interface of a device in its current state."""

    number: int
    usb_class: int
    driver: str | None
    """The kernel driver that is bound to it."""
    hidraw: str | None
    """The name of its hidraw node, which changes with each plug."""
    report_descriptor: bytes
    """The report descriptor of a HID interface; empty without the HID driver."""


class UsbDevice(NamedTuple):
    """One connected USB device in its current state."""

    place: UsbPlace
    vendor_id: int
    product_id: int
    manufacturer: str
    product: str
    bus: int
    address: int
    """The device number on the bus, which changes with each plug."""
    path: Path
    """The directory of the device in sysfs."""
    inode: int
    """The number of that directory."""
    interfaces: tuple[UsbInterface, ...]

    @property
    def ids(self) -> str:
        """The vendor and product id in their usual form, such as 0c45:7401."""
        return f"{self.vendor_id:04x}:{self.product_id:04x}"

    @property
    def plug(self) -> Plug:
        """What distinguishes this plug from earlier and later ones."""
        return self.address, self.inode

    @property
    def usbfs(self) -> Path:
        """The node that libusb opens."""
        return DEV / f"bus/usb/{self.bus:03}/{self.address:03}"

    def interface(self, number: int) -> UsbInterface | None:
        """Return an interface; None if the device does not have it."""
        return next((i for i in self.interfaces if i.number == number), None)

    @property
    def summary(self) -> dict[str, Any]:
        """Ids, names and interfaces, in values that JSON has."""
        return {
            "id": self.ids,
            "manufacturer": self.manufacturer,
            "product": self.product,
            "interfaces": [
                interface._asdict()
                | {"report_descriptor": interface.report_descriptor.hex(" ")}
                for interface in self.interfaces
            ],
        }


class I2cAdapter(NamedTuple):
    """One I2C bus of the machine in its current state."""

    key: str
    """An identifier that survives reboots."""
    label: Label | None
    """The name of a USB adapter for the user; other adapters show their key."""
    name: str
    """The name from its driver; it may contain numbers that change."""
    number: int
    """The N of /dev/i2c-N, which changes with the probe order."""
    probed_by_default: bool
    """Whether a search probes the bus by default: pins of the board, or USB."""
    multiplexed: bool
    """Whether the bus is a channel of a multiplexer."""
    has_node: bool
    """Whether i2c-dev has made a node for it."""
    kernel_addresses: frozenset[int]
    """The addresses that kernel drivers use."""
    path: Path
    """The directory of the adapter in sysfs."""
    device_number: int | None
    """The device number of a USB adapter, which changes with each plug; else None."""

    @property
    def node(self) -> Path:
        """The node that the driver opens."""
        return DEV / f"i2c-{self.number}"


def usb_devices(ids: Ids) -> Iterator[UsbDevice]:
    """Yield the connected devices with these vendor and product ids."""
    folder = f"{SYS}/bus/usb/devices"
    for name in names_in(folder):
        if _is_usb_device(name):
            with suppress(*_VANISHED_ERRORS):
                path = _linked(f"{folder}/{name}")
                if device := _usb_device(path, _controller(path), ids):
                    yield device


def usb_device(place: UsbPlace, ids: Ids) -> UsbDevice:
    """Return the device at a place.

    Raises DeviceNotFoundError if no device with these ids is connected there.
    """
    numbers = place.ports.split(".")
    hubs = [".".join(numbers[:depth]) for depth in range(1, len(numbers) + 1)]
    with _read_lock():
        folder = f"{SYS}/devices/{place.controller}"
        for root in filter(_is_root_hub, names_in(folder)):
            bus = root.removeprefix("usb")
            path = "/".join((folder, root, *(f"{bus}-{hub}" for hub in hubs)))
            with suppress(*_VANISHED_ERRORS):
                if device := _usb_device(path, place.controller, ids):
                    return device
    raise DeviceNotFoundError(Fault.STICK_NOT_FOUND)


def usb_tty(device: UsbDevice) -> str | None:
    """Return the name of a device's serial port, which changes with each plug."""
    ttys = device.path.glob(f"{device.path.name}:*/ttyUSB*/tty/ttyUSB*")
    return next((tty.name for tty in ttys), None)


def reread(device: UsbDevice) -> UsbDevice:
    """Read a device again; raise DeviceNotFoundError if it is gone."""
    ids = frozenset({(device.vendor_id, device.product_id)})
    return usb_device(device.place, ids)


@contextmanager
def _read_lock() -> Iterator[None]:
    """Hold the lock for reading; go on without it if the holder hangs."""
    acquired = _READ_LOCK.acquire(timeout=READ_LOCK_TIMEOUT_S)
    try:
        yield
    finally:
        if acquired:
            _READ_LOCK.release()


def _usb_device(path: str, controller: str, ids: Ids) -> UsbDevice | None:
    """Read the directory of a device; return None for other ids."""
    facts = _uevent(path)
    vendor_id, product_id, _ = (int(n, 16) for n in facts["PRODUCT"].split("/"))
    if (vendor_id, product_id) not in ids:
        return None
    name = os.path.basename(path)
    return UsbDevice(
        place=UsbPlace(controller, name.partition("-")[2]),
        vendor_id=vendor_id,
        product_id=product_id,
        manufacturer=text_of(f"{path}/manufacturer", ""),
        product=text_of(f"{path}/product", ""),
        bus=int(facts["BUSNUM"]),
        address=int(facts["DEVNUM"]),
        path=Path(path),
        inode=os.stat(path).st_ino,
        interfaces=tuple(
            _usb_interface(f"{path}/{interface}")
            for interface in names_in(path)
            if interface.startswith(f"{name}:")
        ),
    )


def _usb_interface(path: str) -> UsbInterface:
    """Read the directory of an interface."""
    facts = _uevent(path)
    hid = next(filter(_is_hid_device, names_in(path)), None)
    nodes = names_in(f"{path}/{hid}/hidraw") if hid else []
    return UsbInterface(
        number=int(path.rpartition(".")[2]),
        usb_class=int(facts["INTERFACE"].partition("/")[0]),
        driver=_target(f"{path}/driver"),
        hidraw=next(iter(nodes), None),
        report_descriptor=_content(f"{path}/{hid}/report_descriptor") if hid else b"",
    )


def i2c_adapters() -> Iterator[I2cAdapter]:
    """Yield the I2C buses of the machine."""
    return _i2c_adapters(f"{SYS}/bus/i2c/devices")


def i2c_adapter(key: str) -> I2cAdapter:
    """Return the adapter with this key; raise DeviceNotFoundError if it is gone."""
    # Without a device tree, a key begins with the path of the adapter's parent. To look
    # there first saves reading the other adapters.
    parent = os.path.dirname(f"{SYS}/devices/{key}")
    adapters = chain(_i2c_adapters(parent), i2c_adapters())
    with _read_lock():
        adapter = next((adapter for adapter in adapters if adapter.key == key), None)
    if adapter is None:
        # The device tree of many boards has buses that the user has to enable.
        known = (SYS / "firmware/devicetree/base" / key).is_dir()
        raise DeviceNotFoundError(Fault.BUS_DISABLED if known else Fault.BUS_NOT_FOUND)
    return adapter


def is_as_before(adapter: I2cAdapter) -> bool:
    """Return whether an adapter is still there and was not replugged."""
    with _read_lock(), suppress(*_VANISHED_ERRORS):
        return _i2c_adapter(str(adapter.path)) == adapter
    return False


def _i2c_adapters(folder: str) -> Iterator[I2cAdapter]:
    """Yield the I2C adapters in a directory."""
    for name in names_in(folder):
        if _is_i2c_adapter(name):
            with suppress(*_VANISHED_ERRORS):
                yield _i2c_adapter(_linked(f"{folder}/{name}"))


def _i2c_adapter(path: str) -> I2cAdapter:
    """Read the directory of an adapter."""
    name = text_of(f"{path}/name")
    parts = _below_devices(path).split("/")[:-1]
    on_usb = any(map(_is_root_hub, parts))
    multiplexed = any(map(_is_i2c_adapter, parts))
    firmware_node = Path(path) / "of_node"
    # An adapter without a parent has only its name, and the adapters of one parent,
    # such as a graphics card, differ in their names.
    key = "/".join((*parts, name))
    label = device_number = None
    if on_usb and not multiplexed:
        key, label, device_number = _usb_adapter(Path(path), name)
    # In a container, the target of the link may not be visible.
    if firmware_node.is_symlink():
        base = (SYS / "firmware/devicetree/base").resolve()
        key, label = firmware_node.resolve().relative_to(base).as_posix(), None
    number = _number(path)
    return I2cAdapter(
        key=key,
        label=label,
        name=name,
        number=number,
        probed_by_default=firmware_node.is_symlink() or on_usb,
        multiplexed=multiplexed,
        has_node=(DEV / f"i2c-{number}").exists(),
        kernel_addresses=frozenset(
            int(client.partition("-")[2], 16)
            for client in names_in(path)
            if client.startswith(f"{number}-")
            and os.path.exists(f"{path}/{client}/driver")
        ),
        path=Path(path),
        device_number=device_number,
    )


def _usb_adapter(path: Path, name: str) -> tuple[str, Label, int]:
    """Return key, label and device number of the I2C adapter of a USB device."""
    device = next(parent for parent in path.parents if _is_usb_device(parent.name))
    controller = _controller(str(device))
    port = device.name.partition("-")[2] + _adapter_suffix(path, device)
    placeholders = {
        "adapter": re.sub(_CHANGING_SUFFIX, "", name),
        "port": port,
        "controller": controller.rpartition("/")[2],
    }
    device_number = int(_uevent(str(device))["DEVNUM"])
    return f"{controller}-{port}", Label("usb_adapter", placeholders), device_number


def _adapter_suffix(path: Path, device: Path) -> str:
    """Return the end of a key, which distinguishes the adapters of one USB device.

    Its parts are the number of the interface, if an interface of the same kind comes
    before it, with or without a driver; and the position among the adapters of the
    interface, unless it is the first. The driver always makes them in the same order.
    """
    interface = next((p for p in path.parents if p.parent == device), device)
    number = interface.name.rpartition(".")[2]
    kind = _uevent(str(interface)).get("INTERFACE")
    later = any(
        int(other.name.rpartition(".")[2]) < int(number)
        for other in device.glob(f"{device.name}:*")
        if _uevent(str(other))["INTERFACE"] == kind
    )
    # Between the interface and the adapter may be the directory of a HID device or of
    # the driver; behind a multiplexer an adapter does not count.
    position = sum(
        _number(str(other)) < _number(str(path))
        for other in chain(interface.glob("i2c-*"), interface.glob("*/i2c-*"))
        if _is_i2c_adapter(other.name) and not _is_i2c_adapter(other.parent.name)
    )
    return (f":{number}" if later else "") + (f"+{position}" if position else "")


def _controller(path: str) -> str:
    """Return the path of a USB device's host controller below /sys/devices."""
    parts = _below_devices(path).split("/")
    root = next(i for i, part in enumerate(parts) if _is_root_hub(part))
    return "/".join(parts[:root])


def _below_devices(path: str) -> str:
    """Return a path relative to /sys/devices; raise ValueError if it is elsewhere."""
    folder = f"{SYS}/devices/"
    if not path.startswith(folder):
        raise ValueError(path)
    return path.removeprefix(folder)


def _number(path: str) -> int:
    """Return the number of a directory with a name like i2c-1."""
    return int(os.path.basename(path).partition("-")[2])


def _is_root_hub(name: str) -> bool:
    """Return whether the name of a directory is like usb1."""
    return name.startswith("usb") and name[3:].isdigit()


def _is_usb_device(name: str) -> bool:
    """Return whether the name of a directory is like 1-1.4, not 1-1.4:1.0."""
    bus, _, ports = name.partition("-")
    return bus.isdigit() and ports.replace(".", "").isdigit()


def _is_i2c_adapter(name: str) -> bool:
    """Return whether the name of a directory is like i2c-1."""
    return name.startswith("i2c-") and name[4:].isdigit()


def _is_hid_device(name: str) -> bool:
    """Return whether the name of a directory is like 0003:0C45:7401.0001."""
    return name.count(":") == _HID_NAME_COLONS and "." in name


def _uevent(path: str) -> dict[str, str]:
    """Return the properties of a kernel object from its uevent file."""
    lines = text_of(f"{path}/uevent").splitlines()
    return dict(line.split("=", 1) for line in lines)


def _linked(path: str) -> str:
    """Return the target of a kernel link; a path that is not a link stays as it is."""
    if not os.path.islink(path):
        return path
    return os.path.normpath(os.path.join(os.path.dirname(path), os.readlink(path)))


def _target(path: str) -> str | None:
    """Return the name of the target of a link; None if there is no link."""
    try:
        return os.path.basename(os.readlink(path))
    except FileNotFoundError:
        return None


def names_in(path: str) -> list[str]:
    """Return the sorted names in a directory; none if there is no directory."""
    try:
        return sorted(os.listdir(path))
    except FileNotFoundError:
        return []


def text_of(path: str, default: str | None = None) -> str:
    """Read one attribute; without a default, a missing one raises FileNotFoundError."""
    try:
        return _content(path).decode("utf-8", errors="replace").strip()
    except FileNotFoundError:
        if default is None:
            raise
        return default


def _content(path: str) -> bytes:
    """Read one attribute; the kernel returns it in one piece of up to a page."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(descriptor, _PAGE_BYTES)
    finally:
        os.close(descriptor)
