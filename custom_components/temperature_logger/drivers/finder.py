"""The search for sticks and chips on this machine."""

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping
import os
from types import MappingProxyType
from typing import Any, Final, NamedTuple, Protocol

from .errors import DeviceAccessError, DriverError, Fault
from .places import I2cPlace, Label, Place, UsbPlace
from .readings import Driver, Reading
from .registry import chip_probe, driver_class
from .sysfs import I2cAdapter, Plug, UsbDevice, i2c_adapters, usb_device
from .usb.models import DATA_INTERFACE, USB_IDS, Model, thermometers
from .workers import Workers, within_deadline

type DeviceType = tuple[str, str | None]
"""The driver's name and the firmware name, if the device has a firmware text."""

# The addresses of Bosch's chips; the search probes no others.
CHIP_ADDRESSES: Final = (0x76, 0x77)
# With these faults of the hidraw node, libusb may still be able to read the stick.
HIDRAW_FAULTS: Final = {Fault.NO_NODE, Fault.NO_PERMISSION}
# Faults of a whole bus, not of one address.
BUS_FAULTS: Final = {
    Fault.BUS_DISABLED,
    Fault.BUS_NO_NODE,
    Fault.BUS_NOT_FOUND,
    Fault.HANGING,
    Fault.NO_PERMISSION,
}


class Stick(Driver, Protocol):
    """The driver of a stick whose firmware is not known yet."""

    async def identify(self) -> str:
        """Return the firmware text."""

    async def request_values(self) -> list[bytes]:
        """Return the reports with which the stick answers the value command."""


class Candidate(NamedTuple):
    """A device that can be set up."""

    driver: str
    place: Place
    model: str = ""
    """Empty for this machine."""
    identified: bool = True
    """Whether the firmware, or the ids and names of the device, identify it."""
    firmware: str | None = None
    known: bool = True
    """Whether the firmware is in the table of layouts."""
    shape: str | None = None
    """The layout that the user picked for a firmware that is not in the table."""

    @property
    def device_type(self) -> DeviceType:
        """Driver and firmware name; two devices of one type are interchangeable."""
        return device_type(self.driver, self.firmware)


class Problem(NamedTuple):
    """A reason why a device cannot be set up."""

    fault: Fault
    label: Label
    """The place or bus with the problem."""
    details: Mapping[str, str] = MappingProxyType({})
    bus: str | None = None
    """The key of the I2C bus; None for a device that is not on one."""

    @classmethod
    def of(cls, err: DriverError, label: Label, bus: str | None = None) -> Problem:
        """Return the problem of an error at a place."""
        return cls(fault=err.fault, label=label, details=err.details, bus=bus)


class SearchResult:
    """The result of a search."""

    def __init__(self) -> None:
        """Begin without any device."""
        self.adapters: list[I2cAdapter] = []
        """Buses that the search probes only if the user has picked them."""
        self.candidates: list[Candidate] = []
        self.connected_places: set[str] = set()
        """The ids of the places where a USB thermometer is connected."""
        self.complete = True
        """Whether sysfs could be read, so that no connected device is missing."""
        self.empty_places: list[I2cPlace] = []
        """The places on probed buses where no chip answers."""
        self.has_bus = False
        """Whether the machine has an I2C bus with a node."""
        self.occupied_places: set[str] = set()
        """The ids of the owned places where a device is connected."""
        self.problems: list[Problem] = []


def device_type(driver: str, firmware: str | None) -> DeviceType:
    """Return the type of a device from its driver and firmware text."""
    if firmware is None:
        return driver, None
    from .usb.layouts import firmware_name

    return driver, firmware_name(firmware)


class Finder:
    """Finds devices, in one search at a time: a node cannot be opened twice."""

    def __init__(self, workers: Workers) -> None:
        """Share the workers with the drivers."""
        self._answers: dict[str, tuple[Plug, str | DriverError]] = {}
        """The last stick at each place, with its firmware text or the error instead.

        A device that did not answer is not queried again until it is plugged in again.
        """
        self._searching = asyncio.Lock()
        self._workers = workers

    async def search(
        self,
        *,
        usb: bool = False,
        i2c: bool = False,
        owned_places: Collection[str] = (),
        chosen_buses: Collection[str] = (),
    ) -> SearchResult:
        """Search for devices on USB, on I2C buses, or on both.

        The search does not open devices at owned places, given by their ids. It probes
        the chosen buses, given by their keys, even if they are not probed by default. A
        device that hangs delays the result only until its timeout.
        """
        result = SearchResult()
        async with self._searching:
            devices = await self._list(thermometers, "usb", result) if usb else []
            adapters = await self._list(i2c_adapters, "i2c", result) if i2c else []
            result.connected_places = {device.place.id for _, device in devices}
            result.has_bus = any(adapter.has_node for adapter in adapters)
            await asyncio.gather(
                *(self._identify(*device, owned_places, result) for device in devices),
                *(
                    self._probe(bus, owned_places, chosen_buses, result)
                    for bus in adapters
                ),
            )
        result.candidates.sort(
            key=lambda candidate: (candidate.model, candidate.place.id)
        )
        return result

    async def request_values(
        self, place: UsbPlace
    ) -> tuple[list[bytes], dict[str, Reading]]:
        """Request the values of a stick with an unknown firmware.

        Return the reports of its answer, and their reading by each shape that they fit.
        The user must have agreed. Raises DriverError if the stick does not answer.
        """
        from .usb.layouts import plausible

        reports = await within_deadline(self._stick(place).request_values())
        return reports, plausible(reports)

    async def connected_device(self, place: UsbPlace) -> UsbDevice:
        """Return the USB device at a place; raise DriverError if there is none."""
        lane = self._workers.lane(place.id)
        return await within_deadline(lane.run(usb_device, place, USB_IDS))

    async def _list[T](
        self, look: Callable[[], Iterable[T]], name: str, result: SearchResult
    ) -> list[T]:
        """Return the list of a sysfs reader; add a problem if a device hangs."""
        try:
            return await within_deadline(self._workers.lane(name).run(list, look()))
        except DriverError as err:
            result.problems.append(Problem.of(err, Label(name)))
            result.complete = False
            return []

    async def _identify(
        self,
        model: Model,
        device: UsbDevice,
        owned_places: Collection[str],
        result: SearchResult,
    ) -> None:
        """Add a USB device to the result."""
        if device.place.id in owned_places:
            result.occupied_places.add(device.place.id)
        elif model.name is not None:
            name = model.name if model.is_certain else f"{model.name} ({device.ids})"
            result.candidates.append(
                Candidate(model.driver, device.place, name, model.is_certain)
            )
        else:
            await self._identify_stick(model, device, result)

    async def _identify_stick(
        self, model: Model, device: UsbDevice, result: SearchResult
    ) -> None:
        """Add a stick to the result, with the model that its firmware names."""
        from .usb.layouts import firmware_name, layouts_of

        answer = await self._firmware(device)
        if isinstance(answer, str):
            layouts = layouts_of(answer, device.product)
            names = " / ".join(row.model for row in layouts) or firmware_name(answer)
            result.candidates.append(
                Candidate(
                    model.driver,
                    device.place,
                    names,
                    firmware=answer,
                    known=bool(layouts),
                )
            )
        elif answer.fault in HIDRAW_FAULTS and await self._may_claim(device):
            # libusb would take it from the kernel, which only the user may allow.
            name = f"TEMPer ({device.ids})"
            result.candidates.append(
                Candidate(model.driver, device.place, name, identified=False)
            )
        else:
            result.problems.append(Problem.of(answer, device.place.label))

    async def _may_claim(self, device: UsbDevice) -> bool:
        """Return whether the system lets libusb take a device from the kernel."""
        lane = self._workers.lane(device.place.id)
        try:
            return await within_deadline(lane.run(os.access, device.usbfs, os.W_OK))
        except DriverError:
            return False

    async def _firmware(self, device: UsbDevice) -> str | DriverError:
        """Return the firmware text or an error; query a stick once for each plug-in."""
        interface = device.interface(DATA_INTERFACE)
        if interface is None or interface.hidraw is None:
            return DeviceAccessError(Fault.NO_NODE, node=str(device.usbfs))
        plug, answer = self._answers.get(device.place.id, (None, None))
        if answer is not None and plug == device.plug:
            return answer
        try:
            await self._workers.lane(device.place.id).idle()
        except DeviceAccessError as err:
            return err
        try:
            answer = await within_deadline(self._stick(device.place).identify())
        except DriverError as err:
            if isinstance(err, DeviceAccessError) and err.fault != Fault.HANGING:
                return err  # The stick got no command, so it may be queried again.
            # A new error: the caught one keeps its frames alive.
            answer = DriverError(err.fault, **err.details)
        self._answers[device.place.id] = device.plug, answer
        return answer

    def _stick(self, place: UsbPlace) -> Stick:
        """Return the driver of a stick whose firmware is not known yet."""
        stick: Any = driver_class("temper")(self._workers.lane(place.id), place, {})
        driver: Stick = stick
        return driver

    async def _probe(
        self,
        bus: I2cAdapter,
        owned_places: Collection[str],
        chosen_buses: Collection[str],
        result: SearchResult,
    ) -> None:
        """Add the chips of a bus to the result.

        The channels of a multiplexer are not probed, as the multiplexer would take the
        number of a register for a channel mask. A bus that is neither chosen nor probed
        by default is only listed.
        """
        if bus.multiplexed:
            return
        if bus.probed_by_default or bus.key in chosen_buses:
            await self._probe_addresses(bus, owned_places, result)
        elif bus.has_node:
            result.adapters.append(bus)

    async def _probe_addresses(
        self, bus: I2cAdapter, owned_places: Collection[str], result: SearchResult
    ) -> None:
        """Probe the addresses of the supported chips; add chips and problems."""
        lane = self._workers.lane(bus.key)
        for address in CHIP_ADDRESSES:
            place = I2cPlace(bus.key, address, bus.label or "")
            if place.id in owned_places:
                result.occupied_places.add(place.id)
                continue
            try:
                chip = await within_deadline(lane.run(_probe, bus, address))
            except DriverError as err:
                if err.fault is Fault.CHIP_NOT_FOUND:
                    result.empty_places.append(place)
                    continue
                if err.fault in BUS_FAULTS:
                    result.problems.append(Problem.of(err, _label(bus), bus.key))
                    return
                result.problems.append(Problem.of(err, place.label, bus.key))
            else:
                driver, model = chip
                result.candidates.append(Candidate(driver, place, model))


def _probe(bus: I2cAdapter, address: int) -> tuple[str, str]:
    """Return driver name and model of the chip at an address; blocks.

    Raises DriverError if no supported chip answers, or a kernel driver uses it.
    """
    return chip_probe()(bus, address)


def _label(bus: I2cAdapter) -> Label:
    """Return the label of an I2C bus."""
    return bus.label or Label("i2c_bus", {"bus": bus.key})
