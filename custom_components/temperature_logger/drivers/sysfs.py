"""What the kernel knows of USB devices and I2C adapters; needs no permission.

Source: Documentation/ABI/testing/sysfs-bus-usb and sysfs-bus-i2c of the kernel.
Bus and device numbers change with probe order and plugging, so nothing here is
identified by them: a place is the path of the controller or adapter below
/sys/devices, and the ports or the address on it.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import chain
import os
from pathlib import Path
import re
from threading import Lock
from typing import NamedTuple

from .errors import DeviceNotFoundError, Fault
from .places import Label, UsbPlace

type Ids = frozenset[tuple[int, int]]
"""Vendor and product ids."""

DEV = Path("/dev")
SYS = Path("/sys")
# Sixty system calls that each take no time find one device. Threads that make them at
# once only take the interpreter from each other, and all take five times as long. But
# a device whose port is being reset can hold up who reads its strings: nobody waits for
# another longer than a hundred readers in turn would take.
PATIENCE = 0.05
_TURN = Lock()
# What drivers of USB adapters put behind an adapter's name: numbers of the bus, the
# device or the hidraw node, which are others at the next plug.
_NUMBERS = re.compile(
    r"(?: at| on| USB)? (?:bus|hidraw) ?\d.*|[- ]\d+-[\d.]+:\d.*| #\d.*"
)
_HID_COLONS = 2
_PAGE = 4096
# What reading says of a device that goes, or comes, at the same time.
_VANISHED = (LookupError, OSError, ValueError)


class UsbInterface(NamedTuple):
    """One interface of a device, as it is now."""

    number: int
    usb_class: int
    driver: str | None
    """The kernel's driver that is bound to it."""
    hidraw: str | None
    """Name of its hidraw node; another one at each plug."""
    report_descriptor: bytes
    """What a HID interface says of its reports; empty without the HID driver."""


class UsbDevice(NamedTuple):
    """One plugged-in USB device, as it is now."""

    place: UsbPlace
    vendor_id: int
    product_id: int
    manufacturer: str
    product: str
    bus: int
    address: int
    """Device number on the bus; another one at each plug."""
    path: Path
    """Directory of the device in sysfs."""
    interfaces: tuple[UsbInterface, ...]

    @property
    def ids(self) -> str:
        """The vendor and product id as people write them."""
        return f"{self.vendor_id:04x}:{self.product_id:04x}"

    @property
    def usbfs(self) -> Path:
        """The node that libusb opens."""
        return DEV / f"bus/usb/{self.bus:03}/{self.address:03}"

    def interface(self, number: int) -> UsbInterface | None:
        """Return an interface, if the device is configured and has it."""
        return next((i for i in self.interfaces if i.number == number), None)


class I2cAdapter(NamedTuple):
    """One I2C bus of the machine, as it is now."""

    key: str
    """What identifies the adapter across reboots."""
    label: Label | None
    """A USB adapter for people; others are called by their key."""
    name: str
    """What its driver calls it; may have numbers in it that change."""
    number: int
    """The N of /dev/i2c-N; changes with probe order."""
    expected: bool
    """Whether a sensor may be looked for unasked: the board's pins, or USB."""
    multiplexed: bool
    """Whether the bus is a channel of a multiplexer."""
    has_node: bool
    """Whether i2c-dev made a node of it."""
    held: frozenset[int]
    """The addresses that drivers of the kernel use."""
    path: Path
    """Directory of the adapter in sysfs."""
    plug: int | None
    """Device number of a USB adapter; another one at each plug."""

    @property
    def node(self) -> Path:
        """The node that the driver opens."""
        return DEV / f"i2c-{self.number}"


def usb_devices(ids: Ids) -> Iterator[UsbDevice]:
    """Yield the plugged-in devices with these vendor and product ids."""
    folder = f"{SYS}/bus/usb/devices"
    for name in _names(folder):
        if _is_usb_device(name):
            with suppress(*_VANISHED):
                path = _linked(f"{folder}/{name}")
                if device := _usb_device(path, _controller(path), ids):
                    yield device


def usb_device(place: UsbPlace, ids: Ids) -> UsbDevice:
    """Return what is plugged in at a place; raise DeviceNotFoundError if nothing is."""
    numbers = place.ports.split(".")
    hubs = [".".join(numbers[:depth]) for depth in range(1, len(numbers) + 1)]
    with _in_turn():
        folder = f"{SYS}/devices/{place.controller}"
        for root in filter(_is_root_hub, _names(folder)):
            bus = root.removeprefix("usb")
            path = "/".join((folder, root, *(f"{bus}-{hub}" for hub in hubs)))
            with suppress(*_VANISHED):
                if device := _usb_device(path, place.controller, ids):
                    return device
    raise DeviceNotFoundError(Fault.STICK_NOT_FOUND)


def usb_tty(device: UsbDevice) -> str | None:
    """Return the name of a device's serial port; another one at each plug."""
    ttys = device.path.glob(f"{device.path.name}:*/ttyUSB*/tty/ttyUSB*")
    return next((tty.name for tty in ttys), None)


def reread(device: UsbDevice) -> UsbDevice:
    """Return a device as it is now."""
    ids = frozenset({(device.vendor_id, device.product_id)})
    return usb_device(device.place, ids)


@contextmanager
def _in_turn() -> Iterator[None]:
    """Let the threads read one after the other, as far as none of them hangs."""
    taken = _TURN.acquire(timeout=PATIENCE)
    try:
        yield
    finally:
        if taken:
            _TURN.release()


def _usb_device(path: str, controller: str, ids: Ids) -> UsbDevice | None:
    """Read one device's directory."""
    facts = _uevent(path)
    vendor_id, product_id, _ = (int(n, 16) for n in facts["PRODUCT"].split("/"))
    if (vendor_id, product_id) not in ids:
        return None
    name = os.path.basename(path)
    return UsbDevice(
        place=UsbPlace(controller, name.partition("-")[2]),
        vendor_id=vendor_id,
        product_id=product_id,
        manufacturer=_text(f"{path}/manufacturer", ""),
        product=_text(f"{path}/product", ""),
        bus=int(facts["BUSNUM"]),
        address=int(facts["DEVNUM"]),
        path=Path(path),
        interfaces=tuple(
            _usb_interface(f"{path}/{interface}")
            for interface in _names(path)
            if interface.startswith(f"{name}:")
        ),
    )


def _usb_interface(path: str) -> UsbInterface:
    """Read one interface's directory."""
    facts = _uevent(path)
    hid = next(filter(_is_hid_device, _names(path)), None)
    nodes = _names(f"{path}/{hid}/hidraw") if hid else []
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
    # Where there is no device tree a key begins with the path of the adapter's parent,
    # which saves reading what other adapters a machine has.
    parent = os.path.dirname(f"{SYS}/devices/{key}")
    found = chain(_i2c_adapters(parent), i2c_adapters())
    with _in_turn():
        adapter = next((adapter for adapter in found if adapter.key == key), None)
    if adapter is None:
        # Many kinds of boards have nodes of buses that their owner has to enable.
        known = (SYS / "firmware/devicetree/base" / key).is_dir()
        raise DeviceNotFoundError(Fault.BUS_DISABLED if known else Fault.BUS_NOT_FOUND)
    return adapter


def is_as_before(adapter: I2cAdapter) -> bool:
    """Return whether an adapter is still there and was not plugged in anew."""
    with _in_turn(), suppress(*_VANISHED):
        return _i2c_adapter(str(adapter.path)) == adapter
    return False


def _i2c_adapters(folder: str) -> Iterator[I2cAdapter]:
    """Yield the adapters in a directory."""
    for name in _names(folder):
        if _is_i2c_adapter(name):
            with suppress(*_VANISHED):
                yield _i2c_adapter(_linked(f"{folder}/{name}"))


def _i2c_adapter(path: str) -> I2cAdapter:
    """Read one adapter's directory."""
    name = _text(f"{path}/name")
    parts = _below_devices(path).split("/")[:-1]
    on_usb = any(map(_is_root_hub, parts))
    multiplexed = any(map(_is_i2c_adapter, parts))
    firmware_node = Path(path) / "of_node"
    # An adapter without a parent has nothing but its name; a parent with several
    # adapters (a graphics card) tells them apart by it.
    key = "/".join((*parts, name))
    label = plug = None
    if on_usb and not multiplexed:
        key, label, plug = _usb_adapter(Path(path), name)
    # The target of the link may be hidden from a container.
    if firmware_node.is_symlink():
        base = (SYS / "firmware/devicetree/base").resolve()
        key, label = firmware_node.resolve().relative_to(base).as_posix(), None
    number = _number(path)
    return I2cAdapter(
        key=key,
        label=label,
        name=name,
        number=number,
        expected=firmware_node.is_symlink() or on_usb,
        multiplexed=multiplexed,
        has_node=(DEV / f"i2c-{number}").exists(),
        held=frozenset(
            int(client.partition("-")[2], 16)
            for client in _names(path)
            if client.startswith(f"{number}-")
            and os.path.exists(f"{path}/{client}/driver")
        ),
        path=Path(path),
        plug=plug,
    )


def _usb_adapter(path: Path, name: str) -> tuple[str, Label, int]:
    """Return key, label and device number of a USB device's I2C adapter."""
    device = next(parent for parent in path.parents if _is_usb_device(parent.name))
    controller = _controller(str(device))
    port = device.name.partition("-")[2] + _which_of_several(path, device)
    quoted = {
        "adapter": _NUMBERS.sub("", name),
        "port": port,
        "controller": controller.rpartition("/")[2],
    }
    plug = int(_uevent(str(device))["DEVNUM"])
    return f"{controller}-{port}", Label("usb_adapter", quoted), plug


def _which_of_several(path: Path, device: Path) -> str:
    """Return what tells an adapter from the others of its USB device, if that has any.

    It is the interface's number, unless no interface of the same kind comes before it,
    with a driver or without; and the position among the adapters of that interface,
    which its driver makes in the same order each time.
    """
    interface = next((p for p in path.parents if p.parent == device), device)
    number = interface.name.rpartition(".")[2]
    kind = _uevent(str(interface)).get("INTERFACE")
    later = any(
        int(other.name.rpartition(".")[2]) < int(number)
        for other in device.glob(f"{device.name}:*")
        if _uevent(str(other))["INTERFACE"] == kind
    )
    # A HID device or a part of the driver may stand between; a multiplexer does not.
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
    """Return the number of a directory called like i2c-1."""
    return int(os.path.basename(path).partition("-")[2])


def _is_root_hub(name: str) -> bool:
    """Return whether a directory is called like usb1."""
    return name.startswith("usb") and name[3:].isdigit()


def _is_usb_device(name: str) -> bool:
    """Return whether a directory is called like 1-1.4; an interface, 1-1.4:1.0."""
    bus, _, ports = name.partition("-")
    return bus.isdigit() and ports.replace(".", "").isdigit()


def _is_i2c_adapter(name: str) -> bool:
    """Return whether a directory is called like i2c-1."""
    return name.startswith("i2c-") and name[4:].isdigit()


def _is_hid_device(name: str) -> bool:
    """Return whether a directory is called like 0003:0C45:7401.0001."""
    return name.count(":") == _HID_COLONS and "." in name


def _uevent(path: str) -> dict[str, str]:
    """Return the facts that the kernel announced an object with."""
    lines = _text(f"{path}/uevent").splitlines()
    return dict(line.split("=", 1) for line in lines)


def _linked(path: str) -> str:
    """Return the directory that a link of the kernel leads to, or that a path is."""
    if not os.path.islink(path):
        return path
    return os.path.normpath(os.path.join(os.path.dirname(path), os.readlink(path)))


def _target(path: str) -> str | None:
    """Return the name of what a link leads to, if it is there."""
    try:
        return os.path.basename(os.readlink(path))
    except FileNotFoundError:
        return None


def _names(path: str) -> list[str]:
    """Return the names in a directory, in order; none if it is not there."""
    try:
        return sorted(os.listdir(path))
    except FileNotFoundError:
        return []


def _text(path: str, default: str | None = None) -> str:
    """Read one attribute; a missing one is an error unless it has a default."""
    try:
        return _content(path).decode("utf-8", errors="replace").strip()
    except FileNotFoundError:
        if default is None:
            raise
        return default


def _content(path: str) -> bytes:
    """Read one attribute, which the kernel gives in one piece of up to a page."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(descriptor, _PAGE)
    finally:
        os.close(descriptor)
