"""Finds the sticks and chips that are wired to this machine."""

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
import os
from types import MappingProxyType
from typing import Any, Final, NamedTuple, Protocol

from .errors import DeviceAccessError, DriverError, Fault
from .places import I2cPlace, Label, Place, UsbPlace
from .readings import Driver, Reading
from .registry import chip_probe, driver_class
from .sysfs import I2cAdapter, UsbDevice, i2c_adapters, usb_device
from .usb.models import DATA_INTERFACE, USB_IDS, Model, thermometers
from .workers import Workers, within_deadline

type Sort = tuple[str, str | None]
"""The name of a driver, and the firmware where the device has one."""

# The addresses of Bosch's chips, the only ones that are probed.
ADDRESSES: Final = (0x76, 0x77)
# Faults of a hidraw node where libusb may still read the stick.
HIDRAW_FAULTS: Final = {Fault.NO_NODE, Fault.NO_PERMISSION}
# Faults that every address of a bus shares.
BUS_FAULTS: Final = {
    Fault.BUS_DISABLED,
    Fault.BUS_NO_NODE,
    Fault.BUS_NOT_FOUND,
    Fault.HANGING,
    Fault.NO_PERMISSION,
}


class Stick(Driver, Protocol):
    """The driver of a stick that can be asked before its firmware is known."""

    async def identify(self) -> str:
        """Return the firmware's text."""

    async def request_values(self) -> list[bytes]:
        """Return the reports that answer the value command."""


class Candidate(NamedTuple):
    """A device that can be set up."""

    driver: str
    place: Place
    model: str = ""
    """Empty for this machine."""
    identified: bool = True
    """Whether the device itself, or its ids and names, told what it is."""
    firmware: str | None = None
    known: bool = True
    """Whether the firmware is in the table of layouts."""
    shape: str | None = None
    """The layout that the owner picked for a firmware that is not."""

    @property
    def sort(self) -> Sort:
        """What tells it from devices that measure otherwise."""
        return sort_of(self.driver, self.firmware)


class Problem(NamedTuple):
    """A reason why a device cannot be set up."""

    fault: Fault
    label: Label
    """The place, or the bus, that it is about."""
    details: Mapping[str, str] = MappingProxyType({})

    @classmethod
    def of(cls, err: DriverError, label: Label) -> Problem:
        """Return what went wrong at a place."""
        return cls(fault=err.fault, label=label, details=err.details)


@dataclass(kw_only=True)
class Found:
    """The result of a search."""

    adapters: list[I2cAdapter] = field(default_factory=list)
    """Buses that are probed only once their owner picked them."""
    candidates: list[Candidate] = field(default_factory=list)
    complete: bool = True
    """Whether sysfs could be read, so that nothing that is there is missing."""
    empty: list[I2cPlace] = field(default_factory=list)
    """The addresses on probed buses where no chip answers."""
    has_bus: bool = False
    """Whether there is an I2C bus with a node."""
    has_stick: bool = False
    """Whether a USB device is there that may be a thermometer."""
    occupied: set[str] = field(default_factory=set)
    """The ids of the places left out where a device is plugged in."""
    problems: list[Problem] = field(default_factory=list)


class Values(NamedTuple):
    """The answer of a stick whose firmware is not in the table."""

    reports: list[bytes]
    readings: dict[str, Reading]
    """What the reports mean, by each layout that they fit."""


def sort_of(driver: str, firmware: str | None) -> Sort:
    """Return what tells a device from devices that measure otherwise."""
    if firmware is None:
        return driver, None
    from .usb.layouts import firmware_name

    return driver, firmware_name(firmware)


class Finder:
    """Finds devices; one search at a time, as a node can be open only once."""

    def __init__(self, workers: Workers) -> None:
        """Share the workers with the drivers."""
        self._answers: dict[tuple[str, int], str | DriverError] = {}
        """Firmware, or why there is none, by sysfs directory and device number.

        A device that did not answer is not asked again until it is plugged in again.
        """
        self._searching = asyncio.Lock()
        self._workers = workers

    async def search(
        self,
        *,
        usb: bool = False,
        i2c: bool = False,
        owned: Collection[str] = (),
        chosen: Collection[str] = (),
    ) -> Found:
        """Look for devices at all places but those owned, by their ids.

        Buses whose keys are chosen are probed even if no sensor is expected there. A
        device that hangs costs the deadline and nothing more.
        """
        found = Found()
        async with self._searching:
            devices = await self._list(thermometers, "usb", found) if usb else []
            adapters = await self._list(i2c_adapters, "i2c", found) if i2c else []
            found.has_stick = bool(devices)
            found.has_bus = any(adapter.has_node for adapter in adapters)
            await asyncio.gather(
                *(self._identify(*device, owned, found) for device in devices),
                *(self._probe(bus, owned, chosen, found) for bus in adapters),
            )
        found.candidates.sort(
            key=lambda candidate: (candidate.model, candidate.place.id)
        )
        return found

    async def request_values(self, place: UsbPlace) -> Values:
        """Ask a stick with an unknown firmware for its values.

        Its owner must have agreed. Raises DriverError if it does not answer.
        """
        from .usb.layouts import plausible

        reports = await within_deadline(self._stick(place).request_values())
        return Values(reports, plausible(reports))

    async def kernel_facts(self, place: UsbPlace) -> dict[str, Any]:
        """Return what the kernel knows of a USB device.

        Raises DriverError if it is not plugged in.
        """
        lane = self._workers.lane(place.id)
        device = await within_deadline(lane.run(usb_device, place, USB_IDS))
        return {
            "id": device.ids,
            "manufacturer": device.manufacturer,
            "product": device.product,
            "interfaces": [
                interface._asdict()
                | {"report_descriptor": interface.report_descriptor.hex(" ")}
                for interface in device.interfaces
            ],
        }

    async def _list[T](
        self, look: Callable[[], Iterable[T]], name: str, found: Found
    ) -> list[T]:
        """Return what sysfs lists; nothing, and a problem, if a device blocks that."""
        try:
            return await within_deadline(self._workers.lane(name).run(list, look()))
        except DriverError as err:
            found.problems.append(Problem.of(err, Label(name)))
            found.complete = False
            return []

    async def _identify(
        self, model: Model, device: UsbDevice, owned: Collection[str], found: Found
    ) -> None:
        """Add a USB device to what was found."""
        if device.place.id in owned:
            found.occupied.add(device.place.id)
        elif model.name is not None:
            name = model.name if model.is_certain else f"{model.name} ({device.ids})"
            found.candidates.append(
                Candidate(model.driver, device.place, name, model.is_certain)
            )
        else:
            await self._identify_stick(model, device, found)

    async def _identify_stick(
        self, model: Model, device: UsbDevice, found: Found
    ) -> None:
        """Add a stick to what was found, as its firmware tells which one it is."""
        from .usb.layouts import firmware_name, layouts_of

        answer = await self._firmware(device)
        if isinstance(answer, str):
            layouts = layouts_of(answer, device.product)
            names = " / ".join(row.model for row in layouts) or firmware_name(answer)
            found.candidates.append(
                Candidate(
                    model.driver,
                    device.place,
                    names,
                    firmware=answer,
                    known=bool(layouts),
                )
            )
        elif answer.fault in HIDRAW_FAULTS and await self._may_claim(device):
            # It has to be taken from the kernel, which only its owner may decide.
            name = f"TEMPer ({device.ids})"
            found.candidates.append(
                Candidate(model.driver, device.place, name, identified=False)
            )
        else:
            found.problems.append(Problem.of(answer, device.place.label))

    async def _may_claim(self, device: UsbDevice) -> bool:
        """Return whether libusb may take a device from the kernel."""
        lane = self._workers.lane(device.place.id)
        try:
            return await within_deadline(lane.run(os.access, device.usbfs, os.W_OK))
        except DriverError:
            return False

    async def _firmware(self, device: UsbDevice) -> str | DriverError:
        """Return the firmware's text, asked for once per plug-in."""
        interface = device.interface(DATA_INTERFACE)
        if interface is None or interface.hidraw is None:
            return DeviceAccessError(Fault.NO_NODE, node=str(device.usbfs))
        plug = (str(device.path), device.address)
        if plug not in self._answers:
            if self._workers.lane(device.place.id).busy:
                return DeviceAccessError(Fault.HANGING)
            stick = self._stick(device.place)
            try:
                self._answers[plug] = await within_deadline(stick.identify())
            except DriverError as err:
                if isinstance(err, DeviceAccessError) and err.fault != Fault.HANGING:
                    return err  # It was not asked.
                # A new error: that one keeps the frames that it came through.
                self._answers[plug] = DriverError(err.fault, **err.details)
        return self._answers[plug]

    def _stick(self, place: UsbPlace) -> Stick:
        """Return the driver of a stick whose firmware is not known yet."""
        stick: Any = driver_class("temper")(self._workers.lane(place.id), place, {})
        driver: Stick = stick
        return driver

    async def _probe(
        self,
        bus: I2cAdapter,
        owned: Collection[str],
        chosen: Collection[str],
        found: Found,
    ) -> None:
        """Add the chips of a bus to what was found.

        The channels of a multiplexer are left alone: it would take the number of a
        register for a channel mask. So are addresses that a kernel driver holds.
        """
        if bus.multiplexed:
            return
        if bus.expected or bus.key in chosen:
            await self._probe_addresses(bus, owned, found)
        elif bus.has_node:
            found.adapters.append(bus)

    async def _probe_addresses(
        self, bus: I2cAdapter, owned: Collection[str], found: Found
    ) -> None:
        """Add the chips at the addresses that a sensor can have."""
        lane = self._workers.lane(bus.key)
        for address in ADDRESSES:
            place = I2cPlace(bus.key, address, bus.label or "")
            if place.id in owned:
                found.occupied.add(place.id)
                continue
            try:
                chip = await within_deadline(lane.run(_probe, bus, address))
            except DriverError as err:
                if err.fault is Fault.CHIP_NOT_FOUND:
                    found.empty.append(place)
                    continue
                if err.fault in BUS_FAULTS:
                    found.problems.append(Problem.of(err, _label(bus)))
                    return
                found.problems.append(Problem.of(err, place.label))
            else:
                driver, model = chip
                found.candidates.append(Candidate(driver, place, model))


def _probe(bus: I2cAdapter, address: int) -> tuple[str, str]:
    """Return the driver's name and the model of the chip at an address; blocks."""
    return chip_probe()(bus, address)


def _label(bus: I2cAdapter) -> Label:
    """Return an I2C bus for people."""
    return bus.label or Label("i2c_bus", {"bus": bus.key})
