"""Where devices are wired to, by what stays the same across reboots and plugging."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, NamedTuple


class Label(NamedTuple):
    """A place or bus for people: the key of its text, and what the text quotes."""

    key: str
    quoted: Mapping[str, str | Label] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class UsbPlace:
    """A USB port."""

    controller: str
    """Path of the host controller below /sys/devices."""
    ports: str
    """Port numbers from the root hub to the device, such as 1.4.2."""

    @property
    def id(self) -> str:
        """What identifies the place."""
        return f"usb-{self.controller}-{self.ports}"

    @property
    def hotplug_key(self) -> str:
        """What comes and goes with the device: its port."""
        return self.id

    @property
    def label(self) -> Label:
        """The place for people."""
        controller = self.controller.rpartition("/")[2]
        return Label("usb_port", {"ports": self.ports, "controller": controller})


@dataclass(frozen=True, slots=True)
class I2cPlace:
    """An address on an I2C bus."""

    adapter: str
    """What identifies the bus; see I2cAdapter.key."""
    address: int
    bus: str | Label = field(default="", compare=False)
    """The bus for people; where it is empty, the adapter's key serves."""

    @property
    def id(self) -> str:
        """What identifies the place."""
        return f"{self.hotplug_key}-{self.address:#x}"

    @property
    def hotplug_key(self) -> str:
        """What comes and goes with the device: its bus."""
        return bus_key(self.adapter)

    @property
    def label(self) -> Label:
        """The place for people."""
        return addresses_label(self.bus or self.adapter, self.address)


@dataclass(frozen=True, slots=True)
class HostPlace:
    """The machine that runs Home Assistant."""

    @property
    def id(self) -> str:
        """What identifies the place."""
        return "host"

    @property
    def hotplug_key(self) -> str:
        """What comes and goes with the device: nothing does."""
        return self.id

    @property
    def label(self) -> Label:
        """The place for people."""
        return Label("cpu_and_disk")


type Place = UsbPlace | I2cPlace | HostPlace

HOST: Final = HostPlace()


def bus_key(adapter: str) -> str:
    """Return the hot-plug key of an I2C bus."""
    return f"i2c-{adapter}"


def addresses_label(bus: str | Label, *addresses: int) -> Label:
    """Return one or more addresses on an I2C bus for people."""
    listed = ", ".join(map(hex, addresses))
    return Label("i2c_address", {"addresses": listed, "bus": bus})
