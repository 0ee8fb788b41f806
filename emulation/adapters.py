"""I2C adapters in the sysfs tree, laid out as the kernel does."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
import itertools
from pathlib import Path
import shutil
from typing import Any, Self

from .tree import Plugged, link, uevent, write

FIRST_DYNAMIC_NUMBER = 3
"""The numbers below are for the adapters of a board."""


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
    kernel_drivers: Mapping[int, str] = field(default_factory=dict)
    """The kernel driver that holds an address."""
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
        kernel_drivers = spec.get("held", {}).items()
        mux = spec.get("mux")
        return cls(
            number=number,
            name=spec.get("adapter", "emulated i2c"),
            path=spec.get("path", f"platform/soc/{unit}.i2c"),
            usb=spec.get("usb", ""),
            interface=spec.get("interface", 0),
            of_node=of_node,
            kernel_drivers={
                int(address, 0): driver for address, driver in kernel_drivers
            },
            mux=(mux["bus"], int(mux["address"], 0)) if mux else None,
            node=spec.get("node", True),
            mode=int(spec.get("mode", "600"), 8),
        )


class AdapterTree:
    """The I2C adapters in ROOT/sys and ROOT/dev."""

    def __init__(self, root: Path) -> None:
        """Make the folders that exist before any adapter."""
        self._sys, self._dev = root / "sys", root / "dev"
        for folder in ("bus/i2c/devices", "bus/i2c/drivers", "class/i2c-dev"):
            (self._sys / folder).mkdir(parents=True)
        self._paths: dict[int, Path] = {}
        """The directory of each adapter, by its number."""

    def add_on_usb(self, adapter: Adapter, plugged: Plugged) -> Adapter:
        """Add an adapter as the driver of a USB device does, and return it.

        Its number is the lowest free one.
        """
        parent = plugged.interface_path(adapter.interface)
        hid = next(parent.glob("0003:*"), None)
        hidraw = next(hid.glob("hidraw/*")).name if hid else ""
        name = adapter.name.format(
            bus=plugged.place.bus, device=plugged.number, hidraw=hidraw
        )
        numbers = itertools.count(FIRST_DYNAMIC_NUMBER)
        added = replace(
            adapter,
            number=next(n for n in numbers if n not in self._paths),
            name=name,
            path=str((hid or parent).relative_to(self._sys / "devices")),
        )
        self.add(added)
        return added

    def add(self, adapter: Adapter) -> None:
        """Add an I2C adapter."""
        name = f"i2c-{adapter.number}"
        parent = self._sys / "devices" / adapter.path
        if adapter.mux:
            parent = self._paths[adapter.mux[0]]
        path = self._paths[adapter.number] = parent / name
        write(path, name=adapter.name)
        link(path / "subsystem", self._sys / "bus/i2c")
        if adapter.of_node:
            node = self._sys / "firmware/devicetree/base" / adapter.of_node
            node.mkdir(parents=True, exist_ok=True)
            link(path / "of_node", node)
        if adapter.mux:
            link(path / "mux_device", parent / "{}-{:04x}".format(*adapter.mux))
        for address, driver in adapter.kernel_drivers.items():
            self._add_client(path, f"{adapter.number}-{address:04x}", driver)
        link(self._sys / "bus/i2c/devices" / name, path)
        if adapter.node:
            self._add_i2c_dev(path, adapter)

    def remove(self, number: int) -> None:
        """Remove an I2C adapter."""
        path, name = self._paths.pop(number), f"i2c-{number}"
        (self._sys / "class/i2c-dev" / name).unlink(missing_ok=True)
        for entry in (path, *path.glob(f"{number}-*")):
            (self._sys / "bus/i2c/devices" / entry.name).unlink()
        (self._dev / name).unlink(missing_ok=True)
        shutil.rmtree(path)

    def _add_client(self, adapter: Path, name: str, driver: str) -> None:
        """Add the device of an address that a kernel driver holds."""
        write(adapter / name, name=driver, modalias=f"i2c:{driver}")
        drivers = self._sys / "bus/i2c/drivers" / driver
        drivers.mkdir(exist_ok=True)
        link(adapter / name / "driver", drivers)
        link(adapter / name / "subsystem", self._sys / "bus/i2c")
        link(self._sys / "bus/i2c/devices" / name, adapter / name)

    def _add_i2c_dev(self, path: Path, adapter: Adapter) -> None:
        """Add the i2c-dev object and the node of an adapter."""
        number, name = adapter.number, f"i2c-{adapter.number}"
        dev = path / "i2c-dev" / name
        event = uevent(MAJOR=89, MINOR=number, DEVNAME=name)
        write(dev, name=adapter.name, dev=f"89:{number}", uevent=event)
        link(dev / "device", path)
        link(dev / "subsystem", self._sys / "class/i2c-dev")
        link(self._sys / "class/i2c-dev" / name, dev)
        (self._dev / name).touch(mode=adapter.mode)
        (self._dev / name).chmod(adapter.mode)
