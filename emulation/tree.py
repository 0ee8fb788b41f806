"""The sysfs tree and the device nodes of a machine, laid out as the kernel does."""

from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
import itertools
import os
from pathlib import Path
import shutil
from types import ModuleType

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
ROOT_HUB = replace(HUB, vid=0x1D6B, pid=0x0002, product="xHCI Host Controller")


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

    def attributes(self) -> dict[str, str | int]:
        """Return the attributes of the device."""
        gadget, place = self.gadget, self.place
        minor = (place.bus - 1) * 128 + self.number - 1
        return {
            **gadget.attributes(),
            "busnum": place.bus,
            "devnum": self.number,
            "devpath": place.ports or "0",
            "dev": f"189:{minor}",
            "bConfigurationValue": 1,
            "uevent": uevent(
                MAJOR=189,
                MINOR=minor,
                DEVNAME=f"bus/usb/{place.bus:03}/{self.number:03}",
                DEVTYPE="usb_device",
                DRIVER="usb",
                PRODUCT=f"{gadget.vid:x}/{gadget.pid:x}/{gadget.release:x}",
                TYPE=f"{gadget.device_class}/0/0",
                BUSNUM=f"{place.bus:03}",
                DEVNUM=f"{self.number:03}",
            ),
        }

    def interface_attributes(self, number: int) -> dict[str, str | int]:
        """Return the attributes of one of its interfaces."""
        gadget, interface = self.gadget, self.gadget.interfaces[number]
        kind = interface.kind
        modalias = (
            f"usb:v{gadget.vid:04X}p{gadget.pid:04X}d{gadget.release:04x}"
            f"dc{gadget.device_class:02x}dsc00dp00"
            "ic{:02x}isc{:02x}ip{:02x}".format(*kind)
            + f"in{number:02x}"
        )
        return {
            "bInterfaceNumber": f"{number:02x}",
            "bAlternateSetting": " 0",
            "bNumEndpoints": f"{len(interface.endpoints):02x}",
            "bInterfaceClass": f"{kind[0]:02x}",
            "bInterfaceSubClass": f"{kind[1]:02x}",
            "bInterfaceProtocol": f"{kind[2]:02x}",
            "modalias": modalias,
            "uevent": uevent(
                DEVTYPE="usb_interface",
                PRODUCT=f"{gadget.vid:x}/{gadget.pid:x}/{gadget.release:x}",
                TYPE=f"{gadget.device_class}/0/0",
                INTERFACE="/".join(map(str, kind)),
                MODALIAS=modalias,
            ),
        }

    def hid_attributes(self, number: int) -> dict[str, str | int]:
        """Return the attributes of the HID device of one of its interfaces."""
        gadget = self.gadget
        controller = self.place.controller.rpartition("/")[2]
        return {
            "country": "00",
            "modalias": f"hid:b0003g0001v{gadget.vid:08X}p{gadget.pid:08X}",
            "uevent": uevent(
                DRIVER="hid-generic",
                HID_ID=f"0003:{gadget.vid:08X}:{gadget.pid:08X}",
                HID_NAME=f"{gadget.manufacturer} {gadget.product}".strip()
                or f"HID {gadget.vid:04x}:{gadget.pid:04x}",
                HID_PHYS=f"usb-{controller}-{self.place.ports}/input{number}",
                HID_UNIQ="",
            ),
        }


class Tree:
    """ROOT/sys and ROOT/dev, with the USB devices in them."""

    def __init__(self, root: Path) -> None:
        """Make the folders that exist before any device."""
        self.sys, self.dev = root / "sys", root / "dev"
        for bus in ("usb", "hid"):
            for kind in ("devices", "drivers"):
                (self.sys / "bus" / bus / kind).mkdir(parents=True)
        for name in ("hidraw", "tty"):
            (self.sys / "class" / name).mkdir(parents=True)
        (self.sys / "devices").mkdir()
        (self.dev / "bus/usb").mkdir(parents=True)
        self._usb: dict[str, Plugged] = {}
        self._numbers: dict[int, Iterator[int]] = {}
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
            hubs = [p for name, p in self._usb.items() if f"{name}.".startswith(below)]
            self._vacate(hubs, f"Port {place.name} is taken")
        used_numbers = {
            p.number for p in self._usb.values() if p.place.bus == place.bus
        }
        numbers = self._numbers.setdefault(place.bus, itertools.cycle(range(1, 128)))
        number = next(number for number in numbers if number not in used_numbers)
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
        path = plugged.interface_path(number)
        write(path, **plugged.interface_attributes(number))
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
        write(path, **plugged.hid_attributes(number))
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
        gadget, path = plugged.gadget, plugged.path
        write(path, **plugged.attributes())
        (path / "descriptors").write_bytes(
            gadget.device_descriptor() + gadget.configuration_descriptor()
        )
        link(path / "subsystem", self.sys / "bus/usb")
        driver = self.sys / "bus/usb/drivers/usb"
        driver.mkdir(exist_ok=True)
        link(path / "driver", driver)
