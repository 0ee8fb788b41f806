"""A machine with emulated sensors."""

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from importlib import import_module
import os
from pathlib import Path
import tempfile
from typing import Any, Self

from . import hidraw, libusb
from .adapters import Adapter, AdapterTree
from .bme680 import chip_of
from .chips import Chip
from .hardware import hardware
from .hidraw import System
from .hwmon import Hwmon
from .i2c import Bus, Buses
from .loop import Loop
from .sticks import Stick, verbatim
from .tree import Place, Tree, watch
from .usbfs import Access, Device

type Spec = Mapping[str, Any]


def scratch() -> tempfile.TemporaryDirectory[str]:
    """Return a folder for a machine, in memory where the system offers that.

    A tree has thousands of small files; on a disk they take seconds.
    """
    memory = Path("/dev/shm")  # noqa: S108 - the folder in it gets a name of its own
    folder = memory if os.access(memory, os.W_OK) else None
    return tempfile.TemporaryDirectory(prefix="emulated-", dir=folder)


def place_of(spec: Mapping[str, Any]) -> Place:
    """Return the place of a "usb" entry of a machine spec."""
    return Place(**{k: spec[k] for k in ("controller", "bus", "ports") if k in spec})


def reload_buses(buses: Buses, spec: Spec) -> None:
    """Apply the values and faults of a spec's chips and buses."""
    keys = {bus.key: bus for bus in buses.all}
    for entry in spec.get("i2c", []):
        if entry["bus"] not in keys:
            continue  # It applies after a restart.
        bus = keys[entry["bus"]]
        bus.fail_as(entry.get("fault"))
        names = {chip.name for chip in bus.chips.values()}
        for chip_spec in entry.get("chips", []):
            if chip_spec["name"] not in names:
                continue
            chip, fresh = buses.chip(chip_spec["name"]), chip_of(chip_spec)
            if type(chip) is not type(fresh):
                continue
            chip.values, chip.chip_id = fresh.values, fresh.chip_id
            chip.calibration, chip.fault = fresh.calibration, fresh.fault


class Machine:
    """The hardware of a machine spec, with its sysfs tree and nodes below root.

    It exists while its context manager is entered.
    """

    def __init__(self, spec: Spec, root: Path) -> None:
        """Build the hardware; nothing is plugged in before entering."""
        self.root, self.sys, self.dev = root, root / "sys", root / "dev"
        self.buses = Buses(spec.get("i2c", []), self.dev)
        self._spec = spec
        self._usb = {entry["name"]: entry for entry in spec.get("usb", [])}
        if len(self._usb) < len(spec.get("usb", [])):
            raise ValueError("Two USB devices have the same name")
        self._sticks = {name: hardware(entry) for name, entry in self._usb.items()}
        self._devices: dict[str, Device] = {}
        self.system = System(self._devices.values())
        """The module os for a driver of hidraw nodes."""
        self._adapters = {
            entry["bus"]: Adapter.from_spec(entry) for entry in spec.get("i2c", [])
        }
        for bus in self.buses.all:
            if self._adapters[bus.key].usb:
                del self.buses.numbered[bus.number]
        self._undo = ExitStack()

    def __enter__(self) -> Self:
        """Plug everything in."""
        self._tree, self._loop = Tree(self.root), Loop()
        self._adapter_tree = AdapterTree(self.root)
        self._hwmon = Hwmon(self.sys)
        self.refresh()
        for name, entry in self._usb.items():
            if entry.get("plugged", True):
                self.plug(name)
        for number, adapter in self._adapters.items():
            if not adapter.usb:
                self.plug_bus(number)
        self._loop.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Unplug everything, and remove the tree."""
        self._undo.close()
        with self._loop.lock:
            for device in self._devices.values():
                device.unplug()
        self._devices.clear()
        self._loop.stop()
        self._tree.remove()

    def install(self) -> None:
        """Put the machine below the libraries of this process."""
        smbus = import_module("Adafruit_PureIO.smbus")
        self._undo.callback(self.buses.install(smbus))
        libusb1 = import_module("usb.backend.libusb1")
        self._undo.callback(libusb.install(libusb1, self.root))
        watcher = import_module("aiousbwatcher.impl")
        self._undo.callback(watch(watcher, self.root))
        self._undo.callback(hidraw.install(import_module(hidraw.MODULE), self.root))

    def refresh(self) -> None:
        """Write the present values of the machine's own sensors."""
        self._hwmon.show(self._spec.get("hwmon", []))

    def stick(self, name: str) -> Stick:
        """Return a USB device's values, faults and counters."""
        return self._sticks[name]

    def chip(self, name: str) -> Chip:
        """Return a chip's values, faults and counters."""
        return self.buses.chip(name)

    def device(self, name: str) -> Device:
        """Return the kernel's state of a USB device that is plugged in."""
        return self._devices[name]

    @property
    def plugged_in(self) -> list[str]:
        """The names of the USB devices that are plugged in."""
        return list(self._devices)

    def place(self, name: str) -> Place:
        """Return the place of a USB device, where it is plugged in or was last."""
        return place_of(self._usb[name])

    def plug(self, name: str, **place: Any) -> Device:  # noqa: ANN401 - fields of Place
        """Plug a USB device in, at its own place or another one."""
        entry = self._usb[name] = {**self._usb[name], **place}
        with self._loop.lock:
            self._devices[name] = Device(
                self._sticks[name],
                place_of(entry),
                Access.from_spec(entry),
                tree=self._tree,
                loop=self._loop,
            )
        for bus in self._buses_on(name):
            self._plug_usb_bus(bus)
        return self._devices[name]

    def unplug(self, name: str) -> None:
        """Unplug a USB device, and the I2C adapters on it."""
        for bus in self._buses_on(name):
            self.unplug_bus(bus.number)
            del self.buses.numbered[bus.number]
        with self._loop.lock:
            self._devices.pop(name).unplug()

    def replug(self, name: str, **place: Any) -> Device:  # noqa: ANN401 - fields of Place
        """Unplug a USB device and plug it in, at its own place or another one."""
        self.unplug(name)
        return self.plug(name, **place)

    def permit(self, name: str, **modes: int) -> None:
        """Change the permissions of a USB device's hidraw or usbfs nodes."""
        with self._loop.lock:
            self._devices[name].permit(**modes)

    def bind(self, name: str, number: int = 1) -> None:
        """Give an interface of a USB device to its kernel driver."""
        with self._loop.lock:
            self._devices[name].bind(number)

    def unbind(self, name: str, number: int = 1) -> None:
        """Take an interface of a USB device from its kernel driver."""
        with self._loop.lock:
            self._devices[name].unbind(number)

    @property
    def silent(self) -> bool:
        """Whether the sticks have sent all requested reports."""
        with self._loop.lock:
            return not any(device.coming for device in self._devices.values())

    def hurry(self, name: str) -> None:
        """Let a stick send the requested reports at once."""
        with self._loop.lock:
            self._devices[name].hurry()

    def send(self, name: str, *reports: str) -> None:
        """Let a stick send reports (hexadecimal) without a request."""
        with self._loop.lock:
            for report in verbatim(reports):
                self._devices[name].deliver(report)

    def plug_bus(self, number: int, *, node: bool | None = None) -> None:
        """Plug an I2C adapter in; node changes whether it has one from now on."""
        if node is not None:
            self._adapters[number] = replace(self._adapters[number], node=node)
        self._adapter_tree.add(self._adapters[number])
        self.buses.numbered[number].plugged = True

    def _buses_on(self, name: str) -> list[Bus]:
        """Return the buses of the I2C adapters on a USB device."""
        return [bus for bus in self.buses.all if self._adapters[bus.key].usb == name]

    def _plug_usb_bus(self, bus: Bus) -> None:
        """Give an I2C adapter on a USB device its path and number."""
        adapter = self._adapters[bus.key]
        device = self._devices[adapter.usb].plugged
        adapter = self._adapter_tree.add_on_usb(adapter, device)
        bus.number, bus.plugged = adapter.number, True
        self.buses.numbered[bus.number] = bus

    def unplug_bus(self, number: int) -> None:
        """Unplug an I2C adapter."""
        self.buses.numbered[number].plugged = False
        self._adapter_tree.remove(number)

    def renumber_bus(self, number: int, new: int) -> None:
        """Give an unplugged I2C adapter the number it will have from now on."""
        bus = self.buses.numbered[new] = self.buses.numbered.pop(number)
        bus.number = new
        self._adapters[new] = replace(self._adapters.pop(number), number=new)

    def reload(self, spec: Spec) -> None:
        """Apply a spec's values and faults, and plug and unplug devices."""
        self._spec = spec
        self.refresh()
        reload_buses(self.buses, spec)
        for entry in spec.get("usb", []):
            name, stick = entry["name"], hardware(entry)
            if name not in self._sticks:
                continue  # It applies after a restart.
            self._sticks[name].values = stick.values
            self._sticks[name].fault = stick.fault
            has_moved = place_of(entry) != place_of(self._usb[name])
            plugged = entry.get("plugged", True)
            self._usb[name] = entry
            if name in self._devices and (has_moved or not plugged):
                self.unplug(name)
            if name not in self._devices and plugged:
                self.plug(name)
