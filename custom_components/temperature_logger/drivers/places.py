"""The places of devices, by names that survive reboots and replugging."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, NamedTuple


class Label(NamedTuple):
    """The name of a place or bus for the user: a text by its key, and placeholders."""

    key: str
    placeholders: Mapping[str, str | Label] = MappingProxyType({})


class UsbPlace(NamedTuple):
    """A USB port."""

    controller: str
    """Path of the host controller below /sys/devices."""
    ports: str
    """Port numbers from the root hub to the device, such as 1.4.2."""

    @property
    def id(self) -> str:
        """The unique id of the place."""
        return f"usb-{self.controller}-{self.ports}"

    @property
    def hotplug_key(self) -> str:
        """The key of the port, to which the device is connected."""
        return self.id

    @property
    def label(self) -> Label:
        """The name of the place for the user."""
        controller = self.controller.rpartition("/")[2]
        return Label("usb_port", {"ports": self.ports, "controller": controller})


class I2cPlace(NamedTuple):
    """An address on an I2C bus."""

    adapter: str
    """The key of the bus; see I2cAdapter.key."""
    address: int
    bus: str | Label = ""
    """The name of the bus for the user; if it is empty, the key of the adapter."""

    @property
    def id(self) -> str:
        """The unique id of the place."""
        return f"{self.hotplug_key}-{self.address:#x}"

    @property
    def hotplug_key(self) -> str:
        """The key of the bus, to which the device is connected."""
        return bus_key(self.adapter)

    @property
    def label(self) -> Label:
        """The name of the place for the user."""
        return addresses_label(self.bus or self.adapter, self.address)


class HostPlace:
    """The machine that runs Home Assistant."""

    @property
    def id(self) -> str:
        """The unique id of the place."""
        return "host"

    @property
    def hotplug_key(self) -> str:
        """A key that no connected device has: the machine is always there."""
        return self.id

    @property
    def label(self) -> Label:
        """The name of the place for the user."""
        return Label("cpu_and_disk")


type Place = UsbPlace | I2cPlace | HostPlace

HOST: Final = HostPlace()


def bus_key(adapter: str) -> str:
    """Return the hot-plug key of an I2C bus."""
    return f"i2c-{adapter}"


def addresses_label(bus: str | Label, *addresses: int) -> Label:
    """Return the label of one or more addresses on an I2C bus."""
    listed = ", ".join(map(hex, addresses))
    return Label("i2c_address", {"addresses": listed, "bus": bus})
