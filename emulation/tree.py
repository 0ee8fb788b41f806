"""The sysfs tree and the device nodes of a machine, laid out as the kernel does."""

from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
import itertools
import os
from pathlib import Path
import shutil
from types import ModuleType
from typing import Any, Self

from .descriptors import HUB_INTERFACE, Gadget

HUB = Gadget(
    vid=0x1A40,
    pid=0x0101,
    product="USB 2.0 Hub",
    usb=0x0200,
    device_class=9,
    speed="480",
    interfaces=(HUB_INTERFACE,),
)
FIRST_DYNAMIC = 3
"""The numbers below are for the adapters of a board."""
ROOT_HUB = replace(HUB, vid=0x1D6B, pid=0x0002, product="xHCI Host Controller")


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Where a USB device is plugged in."""

    controller: str = "pci0000:00/0000:00:14.0"
    """Path of the host controller below /sys/devices."""
    bus: int = 1
    ports: str = "1"

    @property
    def name(self) -> str:
        """Return the kernel's name of the device."""
        return f"{self.bus}-{self.ports}" if self.ports else f"usb{self.bus}"

    @property
    def hub(self) -> Place:
        """Return the place of the hub that it is plugged into."""
        ports = self.ports.rpartition(".")[0]
        return Place(controller=self.controller, bus=self.bus, ports=ports)


@dataclass(frozen=True, slots=True)
class Plugged:
    """A USB device in the tree."""

    gadget: Gadget
    place: Place
    number: int
    """The device number, new at each plug."""
    path: Path

    def interface_path(self, number: int) -> Path:
        """Return the directory of one of its interfaces."""
        # The interface of a root hub is called 1-0:1.0, not usb1:1.0.
        name = self.place.name if self.place.ports else f"{self.place.bus}-0"
        return self.path / f"{name}:1.{number}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Adapter:
    """An I2C adapter as sysfs shows it."""

    number: int
    name: str
    path: str
    """Path of the parent device below /sys/devices; unused below a multiplexer."""
    usb: str = ""
    """Name of the USB device that it is part of."""
    interface: int = 0
    """The interface of that device."""
    of_node: str = ""
    """Path of the device-tree node below the base."""
    held: Mapping[int, str] = field(default_factory=dict)
    """Addresses held by kernel drivers."""
    mux: tuple[int, int] | None = None
    """Bus and address of the multiplexer that it is a channel of."""
    node: bool = True
    """Whether there is a /dev/i2c-N."""
    mode: int = 0o600

    @classmethod
    def from_spec(cls, spec: Mapping[str, Any]) -> Self:
        """Return the adapter of one "i2c" entry of a machine spec."""
        number, of_node = spec["bus"], spec.get("of_node", "")
        # A board's i2c@7e804000 is the platform device 7e804000.i2c.
        unit = of_node.rpartition("@")[2] or f"emulated-{number}"
        held = spec.get("held", {}).items()
        mux = spec.get("mux")
        return cls(
            number=number,
            name=spec.get("adapter", "emulated i2c"),
            path=spec.get("path", f"platform/soc/{unit}.i2c"),
            usb=spec.get("usb", ""),
            interface=spec.get("interface", 0),
            of_node=of_node,
            held={int(address, 0): driver for address, driver in held},
            mux=(mux["bus"], int(mux["address"], 0)) if mux else None,
            node=spec.get("node", True),
            mode=int(spec.get("mode", "600"), 8),
        )


def write(directory: Path, **attributes: str | int) -> None:
    """Write the attributes of a kernel object, making its directory."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, text in attributes.items():
        (directory / name).write_text(f"{text}\n")


def link(path: Path, target: Path) -> None:
    """Make a symbolic link as sysfs does: relative, and ending in the target's name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(Path(os.path.relpath(target.parent, path.parent), target.name))


def watch(module: ModuleType, root: Path) -> Callable[[], None]:
    """Let aiousbwatcher.impl watch the tree below root; return an undo function."""
    namespace = vars(module)
    before = namespace["_PATH"]
    namespace["_PATH"] = str(root / "dev/bus/usb")
    return lambda: namespace.update(_PATH=before)


@contextmanager
def short_path(path: Path) -> Generator[str]:
    """Return a path that is short enough for the address of a Unix socket."""
    folder = os.open(path.parent, os.O_PATH)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


def uevent(**variables: str | int) -> str:
    """Return the content of an object's uevent file."""
    return "\n".join(f"{name}={value}" for name, value in variables.items())


class Tree:
    """ROOT/sys and ROOT/dev."""

    def __init__(self, root: Path) -> None:
        """Make the folders that exist before any device."""
        self.sys, self.dev = root / "sys", root / "dev"
        for bus in ("usb", "hid", "i2c"):
            for kind in ("devices", "drivers"):
                (self.sys / "bus" / bus / kind).mkdir(parents=True)
        for name in ("hidraw", "i2c-dev", "tty"):
            (self.sys / "class" / name).mkdir(parents=True)
        (self.sys / "devices").mkdir()
        (self.dev / "bus/usb").mkdir(parents=True)
        self._usb: dict[str, Plugged] = {}
        self._numbers: dict[int, Iterator[int]] = {}
        self._adapters: dict[int, Path] = {}
        self._hid, self._hidraw = itertools.count(1), itertools.count()
        self._ttys = itertools.count()

    def remove(self) -> None:
        """Remove everything."""
        shutil.rmtree(self.sys)
        shutil.rmtree(self.dev)

    def add_usb(self, gadget: Gadget, place: Place) -> Plugged:
        """Add a USB device, and the hubs before it; interfaces come by themselves."""
        parent = self.sys / "devices" / place.controller
        if place.ports:
            parent = self._hub(place.hub).path
        if place.name in self._usb:
            # A hub that was added for a device may go after the device.
            below = f"{place.name}."
            own = [p for name, p in self._usb.items() if f"{name}.".startswith(below)]
            self._vacate(own, f"Port {place.name} is taken")
        used = {p.number for p in self._usb.values() if p.place.bus == place.bus}
        numbers = self._numbers.setdefault(place.bus, itertools.cycle(range(1, 128)))
        number = next(number for number in numbers if number not in used)
        plugged = Plugged(gadget, place, number, parent / place.name)
        self._usb[place.name] = plugged
        self._write_device(plugged)
        link(self.sys / "bus/usb/devices" / place.name, plugged.path)
        self.usbfs(plugged).parent.mkdir(exist_ok=True)
        return plugged

    def usbfs(self, plugged: Plugged) -> Path:
        """Return the path of a device's usbfs node."""
        return self.dev / f"bus/usb/{plugged.place.bus:03}/{plugged.number:03}"

    def remove_usb(self, plugged: Plugged) -> None:
        """Remove a USB device whose interfaces have been unbound."""
        devices = self.sys / "bus/usb/devices"
        for number in range(len(plugged.gadget.interfaces)):
            (devices / plugged.interface_path(number).name).unlink(missing_ok=True)
        (devices / plugged.place.name).unlink()
        self.usbfs(plugged).unlink(missing_ok=True)
        shutil.rmtree(plugged.path)
        del self._usb[plugged.place.name]

    def add_interface(self, plugged: Plugged, number: int) -> None:
        """Add one interface, without a driver."""
        gadget, path = plugged.gadget, plugged.interface_path(number)
        interface = gadget.interfaces[number]
        kind = interface.kind
        modalias = (
            f"usb:v{gadget.vid:04X}p{gadget.pid:04X}d{gadget.release:04x}"
            f"dc{gadget.device_class:02x}dsc00dp00"
            "ic{:02x}isc{:02x}ip{:02x}".format(*kind)
            + f"in{number:02x}"
        )
        write(
            path,
            bInterfaceNumber=f"{number:02x}",
            bAlternateSetting=" 0",
            bNumEndpoints=f"{len(interface.endpoints):02x}",
            bInterfaceClass=f"{kind[0]:02x}",
            bInterfaceSubClass=f"{kind[1]:02x}",
            bInterfaceProtocol=f"{kind[2]:02x}",
            modalias=modalias,
            uevent=uevent(
                DEVTYPE="usb_interface",
                PRODUCT=f"{gadget.vid:x}/{gadget.pid:x}/{gadget.release:x}",
                TYPE=f"{gadget.device_class}/0/0",
                INTERFACE="/".join(map(str, kind)),
                MODALIAS=modalias,
            ),
        )
        link(path / "subsystem", self.sys / "bus/usb")
        link(self.sys / "bus/usb/devices" / path.name, path)

    def bind(self, plugged: Plugged, number: int) -> None:
        """Link an interface to its driver."""
        path, driver = plugged.interface_path(number), plugged.gadget.interfaces[number]
        drivers = self.sys / "bus/usb/drivers" / driver.driver
        drivers.mkdir(exist_ok=True)
        link(path / "driver", drivers)
        link(drivers / path.name, path)

    def add_hid(self, plugged: Plugged, number: int, rdev: int) -> Path:
        """Add the HID device of an interface; return the path for its hidraw node."""
        gadget = plugged.gadget
        minor = next(self._hidraw)
        ids = f"{gadget.vid:04X}:{gadget.pid:04X}"
        parent = plugged.interface_path(number)
        path = parent / f"0003:{ids}.{next(self._hid):04X}"
        controller = plugged.place.controller.rpartition("/")[2]
        write(
            path,
            country="00",
            modalias=f"hid:b0003g0001v{gadget.vid:08X}p{gadget.pid:08X}",
            uevent=uevent(
                DRIVER="hid-generic",
                HID_ID=f"0003:{gadget.vid:08X}:{gadget.pid:08X}",
                HID_NAME=f"{gadget.manufacturer} {gadget.product}".strip()
                or f"HID {ids.lower()}",
                HID_PHYS=f"usb-{controller}-{plugged.place.ports}/input{number}",
                HID_UNIQ="",
            ),
        )
        report = gadget.interfaces[number].report
        (path / "report_descriptor").write_bytes(report or b"")
        generic = self.sys / "bus/hid/drivers/hid-generic"
        generic.mkdir(exist_ok=True)
        link(path / "driver", generic)
        link(path / "subsystem", self.sys / "bus/hid")
        link(self.sys / "bus/hid/devices" / path.name, path)
        self._add_hidraw(path, f"hidraw{minor}", rdev)
        return self.dev / f"hidraw{minor}"

    def add_tty(self, plugged: Plugged, number: int, rdev: int) -> Path:
        """Add the serial port of an interface; return the path for its node."""
        name = f"ttyUSB{next(self._ttys)}"
        port = plugged.interface_path(number) / name
        path = port / "tty" / name
        major, minor = os.major(rdev), os.minor(rdev)
        write(
            path,
            dev=f"{major}:{minor}",
            uevent=uevent(MAJOR=major, MINOR=minor, DEVNAME=name),
        )
        link(path / "device", port)
        link(path / "subsystem", self.sys / "class/tty")
        link(self.sys / "class/tty" / name, path)
        return self.dev / name

    def unbind(self, plugged: Plugged, number: int) -> None:
        """Take the driver off an interface, and the HID device with it."""
        path = plugged.interface_path(number)
        for hid in path.glob("0003:*"):
            for hidraw in (hid / "hidraw").iterdir():
                (self.sys / "class/hidraw" / hidraw.name).unlink()
            (self.sys / "bus/hid/devices" / hid.name).unlink()
            shutil.rmtree(hid)
        for port in path.glob("ttyUSB*"):
            (self.sys / "class/tty" / port.name).unlink()
            shutil.rmtree(port)
        ((path / "driver").resolve() / path.name).unlink()
        (path / "driver").unlink()

    def _add_hidraw(self, hid: Path, name: str, rdev: int) -> None:
        """Add the hidraw object of a HID device."""
        path = hid / "hidraw" / name
        major, minor = os.major(rdev), os.minor(rdev)
        write(
            path,
            dev=f"{major}:{minor}",
            uevent=uevent(MAJOR=major, MINOR=minor, DEVNAME=name),
        )
        link(path / "device", hid)
        link(path / "subsystem", self.sys / "class/hidraw")
        link(self.sys / "class/hidraw" / name, path)

    def _hub(self, place: Place) -> Plugged:
        """Return the hub at a place, and add it where there is none.

        A bus number is taken over from another controller that has only hubs left.
        """
        hub = self._usb.get(place.name)
        if hub and hub.place.controller != place.controller:
            bus = [p for p in self._usb.values() if p.place.bus == hub.place.bus]
            self._vacate(bus, f"Bus {place.bus} is {hub.place.controller}'s")
            hub = None
        if hub is None:
            hub = self.add_usb(HUB if place.ports else ROOT_HUB, place)
            self.add_interface(hub, 0)
            self.bind(hub, 0)
            self.usbfs(hub).touch()
        return hub

    def _vacate(self, hubs: list[Plugged], problem: str) -> None:
        """Remove hubs; raise ValueError if they include another device."""
        if any(p.gadget.device_class != HUB.device_class for p in hubs):
            raise ValueError(problem)
        for plugged in reversed(hubs):
            self.unbind(plugged, 0)
            self.remove_usb(plugged)

    def _write_device(self, plugged: Plugged) -> None:
        """Write the attributes of a USB device."""
        gadget, place, path = plugged.gadget, plugged.place, plugged.path
        minor = (place.bus - 1) * 128 + plugged.number - 1
        write(
            path,
            **gadget.attributes(),
            busnum=place.bus,
            devnum=plugged.number,
            devpath=place.ports or "0",
            dev=f"189:{minor}",
            bConfigurationValue=1,
            uevent=uevent(
                MAJOR=189,
                MINOR=minor,
                DEVNAME=f"bus/usb/{place.bus:03}/{plugged.number:03}",
                DEVTYPE="usb_device",
                DRIVER="usb",
                PRODUCT=f"{gadget.vid:x}/{gadget.pid:x}/{gadget.release:x}",
                TYPE=f"{gadget.device_class}/0/0",
                BUSNUM=f"{place.bus:03}",
                DEVNUM=f"{plugged.number:03}",
            ),
        )
        (path / "descriptors").write_bytes(
            gadget.device_descriptor() + gadget.configuration_descriptor()
        )
        link(path / "subsystem", self.sys / "bus/usb")
        driver = self.sys / "bus/usb/drivers/usb"
        driver.mkdir(exist_ok=True)
        link(path / "driver", driver)

    def on_usb(self, adapter: Adapter, plugged: Plugged) -> Adapter:
        """Return an adapter as the driver of a USB device makes it.

        Its number is the lowest free one.
        """
        parent = plugged.interface_path(adapter.interface)
        hid = next(parent.glob("0003:*"), None)
        hidraw = next(hid.glob("hidraw/*")).name if hid else ""
        name = adapter.name.format(
            bus=plugged.place.bus, device=plugged.number, hidraw=hidraw
        )
        numbers = itertools.count(FIRST_DYNAMIC)
        return replace(
            adapter,
            number=next(n for n in numbers if n not in self._adapters),
            name=name,
            path=str((hid or parent).relative_to(self.sys / "devices")),
        )

    def add_adapter(self, adapter: Adapter) -> None:
        """Add an I2C adapter."""
        name = f"i2c-{adapter.number}"
        parent = self.sys / "devices" / adapter.path
        if adapter.mux:
            parent = self._adapters[adapter.mux[0]]
        path = self._adapters[adapter.number] = parent / name
        write(path, name=adapter.name)
        link(path / "subsystem", self.sys / "bus/i2c")
        if adapter.of_node:
            node = self.sys / "firmware/devicetree/base" / adapter.of_node
            node.mkdir(parents=True, exist_ok=True)
            link(path / "of_node", node)
        if adapter.mux:
            link(path / "mux_device", parent / "{}-{:04x}".format(*adapter.mux))
        for address, driver in adapter.held.items():
            self._add_client(path, f"{adapter.number}-{address:04x}", driver)
        link(self.sys / "bus/i2c/devices" / name, path)
        if adapter.node:
            self._add_i2c_dev(path, adapter)

    def remove_adapter(self, number: int) -> None:
        """Remove an I2C adapter."""
        path, name = self._adapters.pop(number), f"i2c-{number}"
        (self.sys / "class/i2c-dev" / name).unlink(missing_ok=True)
        for entry in (path, *path.glob(f"{number}-*")):
            (self.sys / "bus/i2c/devices" / entry.name).unlink()
        (self.dev / name).unlink(missing_ok=True)
        shutil.rmtree(path)

    def _add_client(self, adapter: Path, name: str, driver: str) -> None:
        """Add the device of an address that a kernel driver holds."""
        write(adapter / name, name=driver, modalias=f"i2c:{driver}")
        drivers = self.sys / "bus/i2c/drivers" / driver
        drivers.mkdir(exist_ok=True)
        link(adapter / name / "driver", drivers)
        link(adapter / name / "subsystem", self.sys / "bus/i2c")
        link(self.sys / "bus/i2c/devices" / name, adapter / name)

    def _add_i2c_dev(self, path: Path, adapter: Adapter) -> None:
        """Add the i2c-dev object and the node of an adapter."""
        number, name = adapter.number, f"i2c-{adapter.number}"
        dev = path / "i2c-dev" / name
        event = uevent(MAJOR=89, MINOR=number, DEVNAME=name)
        write(dev, name=adapter.name, dev=f"89:{number}", uevent=event)
        link(dev / "device", path)
        link(dev / "subsystem", self.sys / "class/i2c-dev")
        link(self.sys / "class/i2c-dev" / name, dev)
        (self.dev / name).touch(mode=adapter.mode)
        (self.dev / name).chmod(adapter.mode)
