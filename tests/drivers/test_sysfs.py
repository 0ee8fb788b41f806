"""Devices are found by their ports, whatever numbers the kernel gives them."""

import os
from pathlib import Path
import shutil
from threading import Thread
from typing import Any

import pytest

from custom_components.temperature_logger.drivers import Fault, sysfs
from custom_components.temperature_logger.drivers.errors import DeviceNotFoundError
from custom_components.temperature_logger.drivers.places import Label, UsbPlace
from custom_components.temperature_logger.drivers.sysfs import UsbDevice
from custom_components.temperature_logger.drivers.usb.models import USB_IDS
from emulation.descriptors import VENDOR_REPORT
from emulation.values import now
from tests.drivers.waiting import MAX_WAIT_S, block_until

from .conftest import Build

FIRST = "pci0000:00/0000:00:14.0"
SECOND = "pci0000:00/0000:00:1a.0"
PI = "platform/scb/fd500000.pcie/pci0000:00/0000:00:00.0/0000:01:00.0"


def usb_label(adapter: str, port: str) -> Label:
    """Return the label of a USB adapter."""
    quoted = {"adapter": adapter, "port": port, "controller": "0000:00:14.0"}
    return Label("usb_adapter", quoted)


def gold(**spec: object) -> dict[str, Any]:
    """Return the spec of a stick."""
    return {"name": "gold", "model": "TEMPerGold_V3.5", **spec}


def sticks() -> list[UsbDevice]:
    """Return the sticks that are plugged in."""
    return list(sysfs.usb_devices(USB_IDS))


def test_stick(build: Build) -> None:
    """A stick is found with everything that the kernel knows about it."""
    machine = build(gold(controller=PI, ports="1.4.2"))
    (device,) = sticks()
    assert device.place == UsbPlace(PI, "1.4.2")
    assert (device.vendor_id, device.product_id) == (0x3553, 0xA001)
    assert device.product == "TEMPerGold"
    assert device.place.id == f"usb-{PI}-1.4.2"
    quoted = {"ports": "1.4.2", "controller": "0000:01:00.0"}
    assert device.place.label == Label("usb_port", quoted)
    assert device.usbfs == machine.device("gold").node
    keyboard, data = device.interfaces
    assert (keyboard.number, keyboard.usb_class) == (0, 3)
    assert (data.number, data.usb_class, data.driver) == (1, 3, "usbhid")
    assert data.report_descriptor == VENDOR_REPORT
    node = machine.device("gold").hidraw
    assert node is not None
    assert data.hidraw == node.name
    assert device.interface(1) == data
    assert device.interface(2) is None


def test_hubs_and_other_devices_are_not_sticks(build: Build) -> None:
    """Behind two hubs and beside a mouse, one device is a stick."""
    build(
        gold(ports="1.4.2"),
        {"name": "mouse", "model": "mouse", "ports": "2"},
        {"name": "ch340", "model": "ch340", "ports": "1.1"},
    )
    assert [device.place.ports for device in sticks()] == ["1.4.2"]


def test_no_usb(build: Build) -> None:
    """A machine without USB has no sticks."""
    machine = build()
    machine.sys.joinpath("bus/usb/devices").rmdir()
    assert not sticks()


def test_controllers_in_the_other_order(build: Build) -> None:
    """Bus numbers are swapped, and the places stay the same."""
    machine = build(
        gold(name="one", controller=FIRST, bus=1, ports="4"),
        gold(name="two", controller=SECOND, bus=2, ports="4"),
    )
    before = {device.place.id: device for device in sticks()}
    machine.unplug("one")
    machine.unplug("two")
    machine.plug("one", bus=2)
    machine.plug("two", bus=1)
    after = {device.place.id: device for device in sticks()}
    assert {a: d.bus for a, d in before.items()} == {
        f"usb-{FIRST}-4": 1,
        f"usb-{SECOND}-4": 2,
    }
    assert {a: d.bus for a, d in after.items()} == {
        f"usb-{FIRST}-4": 2,
        f"usb-{SECOND}-4": 1,
    }
    assert sysfs.usb_device(UsbPlace(FIRST, "4"), USB_IDS).bus == 2


def test_same_port_of_two_controllers(build: Build) -> None:
    """The same port number on another controller is another place."""
    build(
        gold(name="one", controller=FIRST, bus=1, ports="4"),
        gold(name="two", controller=SECOND, bus=2, ports="4"),
    )
    place = UsbPlace(SECOND, "4")
    assert sysfs.usb_device(place, USB_IDS).place == place


def test_replugged(build: Build) -> None:
    """A replugged stick is the same stick under another number."""
    machine = build(gold())
    (before,) = sticks()
    machine.replug("gold")
    after = sysfs.reread(before)
    assert after.place == before.place
    assert after.address != before.address


def test_each_plug_has_its_numbers(build: Build) -> None:
    """Device numbers repeat after 127, so the number of the directory counts, too."""
    machine = build(gold())
    (device,) = sticks()
    assert device.plug == (device.address, device.path.stat().st_ino)
    machine.replug("gold")
    (again,) = sticks()
    assert again.plug != device.plug


def test_unplugged(build: Build) -> None:
    """An unplugged stick is not found any more."""
    machine = build(gold())
    (device,) = sticks()
    machine.unplug("gold")
    with pytest.raises(DeviceNotFoundError, match=Fault.STICK_NOT_FOUND):
        sysfs.reread(device)


def test_another_device_at_the_place(build: Build) -> None:
    """A mouse in the stick's port is not the stick."""
    build({"name": "mouse", "model": "mouse", "ports": "1.2"})
    with pytest.raises(DeviceNotFoundError, match=Fault.STICK_NOT_FOUND):
        sysfs.usb_device(UsbPlace(FIRST, "1.2"), USB_IDS)


@pytest.mark.parametrize("fact", ["PRODUCT", "BUSNUM", "DEVNUM"])
def test_unplugged_while_reading(build: Build, fact: str) -> None:
    """A device with incomplete files is left out, and the others are found."""
    build(gold(name="one", ports="1"), gold(name="two", ports="2"))
    (one, _) = sticks()
    event = one.path / "uevent"
    event.write_text(event.read_text().replace(f"{fact}=", "X="))
    assert [device.place.ports for device in sticks()] == ["2"]
    event.unlink()
    assert [device.place.ports for device in sticks()] == ["2"]


def test_unplugged_while_reading_interfaces(build: Build) -> None:
    """A device that disappears halfway is left out, and the others are found."""
    build(gold())
    (device,) = sticks()
    (device.path / f"{device.path.name}:1.1/uevent").write_text("")
    assert not sticks()


def descriptors(path: Path) -> int:
    """Return how many descriptors of a file this process has open."""
    links = Path("/proc/self/fd").iterdir()
    return sum(link.resolve() == path.resolve() for link in links)


def test_device_that_blocks(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    """A port during its reset costs its own device, not the others."""
    build(gold(name="one", ports="1"), gold(name="two", ports="2"))
    (one, two) = sticks()
    product = one.path / "product"
    product.unlink()
    os.mkfifo(product)
    held = Thread(target=sysfs.reread, args=[one])
    with product.open("r+b", buffering=0) as port:
        held.start()
        block_until(lambda: descriptors(product) > 1)
        began = now()
        assert sysfs.reread(two) == two
        assert now() - began >= sysfs.READ_LOCK_TIMEOUT_S  # It waits for its turn.
        port.write(b"TEMPerGold")  # The blocked reader ends.
        held.join()
    monkeypatch.setattr(sysfs, "READ_LOCK_TIMEOUT_S", MAX_WAIT_S)
    began = now()
    assert sysfs.reread(two) == two
    assert now() - began < MAX_WAIT_S  # The next reader does not wait.


def test_stick_without_strings(build: Build) -> None:
    """Sticks of 2017 have no strings."""
    build({"name": "x", "model": "TEMPerGold_V3.1"})
    (device,) = sticks()
    assert not device.product


def test_stick_claimed_by_a_program(build: Build) -> None:
    """An interface without a driver has no node, and no report descriptor."""
    build(gold(bound=False))
    (device,) = sticks()
    data = device.interface(1)
    assert data is not None
    assert (data.driver, data.hidraw, data.report_descriptor) == (None, None, b"")


def adapter(bus: int = 1, **spec: object) -> dict[str, Any]:
    """Return the spec of an I2C adapter."""
    return {"bus": bus, **spec}


@pytest.mark.parametrize(
    ("spec", "key", "expected"),
    [
        (
            {"of_node": "soc/i2c@7e804000"},
            "soc/i2c@7e804000",
            True,
        ),
        (
            {"path": f"{FIRST}/0000:02:00.0", "adapter": "NVIDIA i2c adapter 1"},
            f"{FIRST}/0000:02:00.0/NVIDIA i2c adapter 1",
            False,
        ),
        ({"path": "", "adapter": "SMBus stub driver"}, "SMBus stub driver", False),
    ],
    ids=["device tree", "mainboard", "no parent"],
)
def test_adapter_key(
    build: Build, spec: dict[str, Any], key: str, *, expected: bool
) -> None:
    """An adapter is identified by its place, not by its number."""
    machine = build(i2c=[adapter(7, **spec)])
    (i2c_bus,) = sysfs.i2c_adapters()
    assert (i2c_bus.key, i2c_bus.label, i2c_bus.number) == (key, None, 7)
    assert i2c_bus.device_number is None
    assert i2c_bus.probed_by_default is expected
    assert i2c_bus.node == machine.dev / "i2c-7"
    assert i2c_bus.has_node
    assert not i2c_bus.multiplexed
    assert not i2c_bus.kernel_addresses
    assert sysfs.i2c_adapter(key) == i2c_bus


BRIDGE = "i2c-tiny-usb at bus {bus:03} device {device:03}"


def bridge(model: str = "i2c-tiny-usb", **spec: object) -> dict[str, Any]:
    """Return the spec of a USB device with an I2C bus."""
    return {"name": "bridge", "model": model, "ports": "1.3", **spec}


@pytest.mark.parametrize(
    ("model", "interface", "name", "shown"),
    [
        ("i2c-tiny-usb", 0, BRIDGE, "i2c-tiny-usb"),
        (
            "i2c-tiny-usb",
            0,
            "CH341 I2C USB bus {bus:03} device {device:03}",
            "CH341 I2C",
        ),
        ("i2c-tiny-usb", 0, "OSIF at bus {bus:03} device {device:03}", "OSIF"),
        ("i2c-tiny-usb", 0, "dln2-i2c-{bus}-1.3:1.0-0", "dln2-i2c"),
        ("i2c-tiny-usb", 0, "cx231xx #0-1", "cx231xx"),
        ("MCP2221", 2, "MCP2221 usb-i2c bridge", "MCP2221 usb-i2c bridge"),
        ("MCP2221", 2, "MCP2221 usb-i2c bridge on {hidraw}", "MCP2221 usb-i2c bridge"),
        ("CP2112", 0, "CP2112 SMBus Bridge on {hidraw}", "CP2112 SMBus Bridge"),
    ],
)
def test_usb_adapter(
    build: Build, model: str, interface: int, name: str, shown: str
) -> None:
    """A USB adapter has its port as key, and a label without numbers that change."""
    spec = {"usb": "bridge", "interface": interface, "adapter": name}
    machine = build(bridge(model), i2c=[adapter(3, **spec)])
    (i2c_bus,) = sysfs.i2c_adapters()
    assert i2c_bus.key == f"{FIRST}-1.3"
    assert i2c_bus.label == usb_label(shown, "1.3")
    assert i2c_bus.number == 3
    assert i2c_bus.probed_by_default
    assert sysfs.i2c_adapter(i2c_bus.key) == i2c_bus
    assert sysfs.is_as_before(i2c_bus)
    machine.replug("bridge")
    (again,) = sysfs.i2c_adapters()
    assert (again.key, again.label) == (i2c_bus.key, i2c_bus.label)
    assert again.number == i2c_bus.number
    assert not sysfs.is_as_before(i2c_bus)
    machine.unplug("bridge")
    assert not sysfs.is_as_before(again)
    with pytest.raises(DeviceNotFoundError, match=Fault.BUS_NOT_FOUND):
        sysfs.i2c_adapter(i2c_bus.key)


def test_two_buses_of_one_usb_device(build: Build) -> None:
    """The second bus has its interface in its key, with or without the first bus."""
    specs = [adapter(3 + n, usb="bridge", interface=n, adapter=BRIDGE) for n in (0, 1)]
    machine = build(bridge("two i2c-tiny-usb"), i2c=specs)
    keys = [f"{FIRST}-1.3", f"{FIRST}-1.3:1"]
    assert [i2c_bus.key for i2c_bus in sysfs.i2c_adapters()] == keys
    label = usb_label("i2c-tiny-usb", "1.3:1")
    assert sysfs.i2c_adapter(keys[1]).label == label
    machine.unplug_bus(3)
    assert [i2c_bus.key for i2c_bus in sysfs.i2c_adapters()] == keys[1:]


def test_two_buses_of_one_interface(build: Build) -> None:
    """Several buses of one interface are numbered in their order."""
    spec = {"usb": "bridge", "interface": 1, "adapter": BRIDGE}
    specs = [adapter(number, **spec) for number in (3, 4)]
    build(bridge("two i2c-tiny-usb"), i2c=specs)
    keys = [f"{FIRST}-1.3:1", f"{FIRST}-1.3:1+1"]
    assert [i2c_bus.key for i2c_bus in sysfs.i2c_adapters()] == keys


def test_bus_of_a_whole_usb_device(build: Build) -> None:
    """Some drivers put the bus below the device, not below its interface."""
    machine = build(bridge(), i2c=[adapter(3, usb="bridge", adapter=BRIDGE)])
    link = machine.sys / "bus/i2c/devices/i2c-3"
    below = link.resolve()
    link.unlink()
    link.symlink_to(below.rename(below.parents[1] / "i2c-3"))
    (i2c_bus,) = sysfs.i2c_adapters()
    assert i2c_bus.key == f"{FIRST}-1.3"


def test_usb_adapters_swapped(build: Build) -> None:
    """Two adapters plugged in again in the other order keep their places."""
    machine = build(
        bridge(name="one", ports="1"),
        bridge(name="two", ports="2"),
        i2c=[
            adapter(3 + n, usb=usb, adapter=BRIDGE)
            for n, usb in enumerate(("one", "two"))
        ],
    )
    before = {i2c_bus.key: i2c_bus.number for i2c_bus in sysfs.i2c_adapters()}
    machine.unplug("one")
    machine.unplug("two")
    machine.plug("two")
    machine.plug("one")
    after = {i2c_bus.key: i2c_bus.number for i2c_bus in sysfs.i2c_adapters()}
    assert before == {f"{FIRST}-1": 3, f"{FIRST}-2": 4}
    assert after == {f"{FIRST}-1": 4, f"{FIRST}-2": 3}


def test_multiplexer_on_a_usb_adapter(build: Build) -> None:
    """The channels of a multiplexer are not searched, nor taken for the adapter."""
    channel = {"mux": {"bus": 3, "address": "0x70"}, "adapter": "channel 0"}
    build(
        bridge(),
        i2c=[adapter(3, usb="bridge", adapter=BRIDGE), adapter(10, **channel)],
    )
    buses = {bus.number: bus for bus in sysfs.i2c_adapters()}
    assert not buses[3].multiplexed
    assert buses[10].multiplexed
    assert buses[10].key != buses[3].key
    assert sysfs.i2c_adapter(f"{FIRST}-1.3") == buses[3]


def test_device_tree_hidden_from_a_container(build: Build) -> None:
    """A container may see the link to the board's node, and not the node."""
    machine = build(i2c=[adapter(1, of_node="soc/i2c@7e804000")])
    shutil.rmtree(machine.sys / "firmware")
    i2c_bus = sysfs.i2c_adapter("soc/i2c@7e804000")
    assert i2c_bus.probed_by_default


def test_adapter_under_another_number(build: Build) -> None:
    """An adapter that gets another number is still found."""
    pins, other = {"of_node": "soc/i2c@7e804000"}, {"of_node": "soc/i2c@7e205000"}
    build(i2c=[adapter(1, **pins), adapter(2, **other)])
    before = {i2c_bus.key: i2c_bus.number for i2c_bus in sysfs.i2c_adapters()}
    build(i2c=[adapter(1, **other), adapter(2, **pins)])
    after = {i2c_bus.key: i2c_bus.number for i2c_bus in sysfs.i2c_adapters()}
    assert before == {"soc/i2c@7e804000": 1, "soc/i2c@7e205000": 2}
    assert after == {"soc/i2c@7e804000": 2, "soc/i2c@7e205000": 1}


def test_adapters_of_one_parent(build: Build) -> None:
    """The connectors of a graphics card have different keys."""
    card = f"{FIRST}/0000:01:00.0"
    build(i2c=[adapter(n, path=card, adapter=f"card {n}") for n in (1, 2)])
    assert len({i2c_bus.key for i2c_bus in sysfs.i2c_adapters()}) == 2


def test_multiplexer(build: Build) -> None:
    """A channel of a multiplexer is marked, and the multiplexer's address is held."""
    pins = adapter(1, of_node="soc/i2c@7e804000", held={"0x77": "pca954x"})
    build(i2c=[pins, adapter(4, mux={"bus": 1, "address": "0x77"})])
    buses = {bus.number: bus for bus in sysfs.i2c_adapters()}
    assert buses[1].kernel_addresses == {0x77}
    assert not buses[1].multiplexed
    assert buses[4].multiplexed


def test_held_addresses(build: Build) -> None:
    """An address is held if a driver is bound to it, not if it is only declared."""
    machine = build(i2c=[adapter(3, held={"0x76": "bmp280", "0x68": "rtc-ds1307"})])
    devices = machine.sys / "bus/i2c/devices"
    (devices / "3-0068").resolve().joinpath("driver").unlink()
    (i2c_bus,) = sysfs.i2c_adapters()
    assert i2c_bus.kernel_addresses == {0x76}


def test_clients_are_not_adapters(build: Build) -> None:
    """A chip declared by ACPI is not an adapter, though its name begins like one."""
    machine = build(i2c=[adapter(1)])
    devices = machine.sys / "bus/i2c/devices"
    (devices / "i2c-BOSC0200:00").symlink_to((devices / "i2c-1").readlink())
    assert len(list(sysfs.i2c_adapters())) == 1


def test_adapter_without_node(build: Build) -> None:
    """Without i2c-dev an adapter is found, without a node."""
    build(i2c=[adapter(1, node=False)])
    (i2c_bus,) = sysfs.i2c_adapters()
    assert not i2c_bus.has_node


def test_adapter_removed_while_reading(build: Build) -> None:
    """An adapter whose files vanish is left out, and the others are found."""
    machine = build(i2c=[adapter(1), adapter(2)])
    (machine.sys / "bus/i2c/devices/i2c-1/name").unlink()
    assert [i2c_bus.number for i2c_bus in sysfs.i2c_adapters()] == [2]


def test_adapter_outside_the_device_tree(build: Build) -> None:
    """An adapter that links out of /sys/devices is left out; the others are found."""
    machine = build(i2c=[adapter(1), adapter(2)])
    link = machine.sys / "bus/i2c/devices/i2c-1"
    outside = machine.sys / "elsewhere/i2c-1"
    shutil.copytree(link.resolve(), outside, symlinks=True)
    link.unlink()
    link.symlink_to(outside)
    assert [i2c_bus.number for i2c_bus in sysfs.i2c_adapters()] == [2]


@pytest.mark.parametrize(
    ("place", "key", "fault"),
    [
        (
            {"of_node": "soc/i2c@7e804000"},
            "soc/i2c@7e804000",
            Fault.BUS_DISABLED,
        ),
        (
            {"path": "pci0000:00/0000:00:1f.4"},
            "pci0000:00/0000:00:1f.4/emulated i2c",
            Fault.BUS_NOT_FOUND,
        ),
    ],
)
def test_adapter_removed(
    build: Build, place: dict[str, str], key: str, fault: Fault
) -> None:
    """A removed adapter is not found; a board's own bus counts as switched off."""
    machine = build(i2c=[adapter(1, **place)])
    assert sysfs.i2c_adapter(key).number == 1
    machine.unplug_bus(1)
    with pytest.raises(DeviceNotFoundError, match=fault):
        sysfs.i2c_adapter(key)
