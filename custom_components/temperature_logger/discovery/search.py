"""What is wired to the machine now, and which step is missing to what is not seen."""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
import os
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from homeassistant.const import CONF_ADDRESS
from homeassistant.core import HomeAssistant
from homeassistant.util.hass_dict import HassKey

from ..const import (
    CONF_ADAPTER,
    CONF_ADAPTER_NAME,
    CONF_CONTROLLER,
    CONF_DRIVER,
    CONF_FIRMWARE,
    CONF_KIND,
    CONF_PORTS,
    DOMAIN,
    KIND_BME280,
    KIND_HOST,
    KIND_USB,
)
from ..devices.kinds import (
    EntryData,
    async_import_drivers,
    async_lane,
    attachment,
    driver_name,
    place,
)
from ..drivers import HOST_MODEL, DeviceAccessError, DriverError, Fault, within_deadline
from ..drivers.sysfs import I2cAdapter, UsbDevice, i2c_adapters
from ..drivers.usb.models import INTERFACE, Family, thermometers

if TYPE_CHECKING:
    from ..drivers.i2c.bosch import Chip

type Sort = tuple[str, str | None]
type Asked = dict[tuple[str, int], str | DriverError]
"""The answers to the firmware query, by the device's directory and number: a device
that did not answer is left alone until it is plugged in again."""

# The addresses of Bosch's chips, and with it the only ones that are looked at.
ADDRESSES: Final = (0x76, 0x77)
# What asks the devices of a kind what they are.
SEARCHED: Final = {KIND_BME280: "bosch", KIND_USB: "temper"}
# Faults of hidraw where libusb may do.
NEEDS_LIBUSB: Final = {Fault.NO_NODE, Fault.NO_PERMISSION}
# Faults that the next address of the bus has, too.
BUS_FAULTS: Final = {
    Fault.BUS_DISABLED,
    Fault.BUS_NO_NODE,
    Fault.BUS_NOT_FOUND,
    Fault.HANGING,
    Fault.NO_PERMISSION,
}
DATA_ASKED: HassKey[Asked] = HassKey(f"{DOMAIN}_asked")
DATA_SEARCHING: HassKey[asyncio.Lock] = HassKey(f"{DOMAIN}_searching")


class Candidate(NamedTuple):
    """A device that can be set up."""

    data: dict[str, Any]
    """The part of its entry's data that says where it is."""
    model: str
    asked: bool = True
    """Whether it said itself what it is."""
    firmware: str | None = None
    """What it said, if it has a firmware that says something."""
    known: bool = True
    """Whether what it said is in the table."""

    @property
    def attachment(self) -> str:
        """What identifies the place."""
        return attachment(self.data)

    @property
    def sort(self) -> Sort:
        """What tells it from devices that measure otherwise."""
        return sort_of(self.data | {CONF_FIRMWARE: self.firmware})

    @property
    def label(self) -> str:
        """The device for people."""
        return f"{self.model}, {place(self.data)}"


def sort_of(data: EntryData) -> Sort:
    """Return the driver of a device and its firmware, if it has one that is known."""
    from ..drivers.usb.layouts import firmware_name

    firmware: str | None = data.get(CONF_FIRMWARE)
    return driver_name(data), firmware and firmware_name(firmware)


class Hint(StrEnum):
    """What a search says besides the faults of devices."""

    ALL_SET_UP = "all_set_up"
    MOVED_NOWHERE = "moved_nowhere"
    NO_BUS = "no_bus"
    NO_STICK = "no_stick"
    NOT_MOVED = "not_moved"
    OTHER_MODEL = "other_model"
    PICK_BUS = "pick_bus"


class Problem(NamedTuple):
    """Something that cannot be set up."""

    key: Fault | Hint
    """The key of the text that names the remedy."""
    details: Mapping[str, str] = MappingProxyType({})

    @classmethod
    def of(cls, err: DriverError, where: str) -> Problem:
        """Return what went wrong at a place."""
        return cls(key=err.fault, details=err.details | {"place": where})


@dataclass(kw_only=True)
class Found:
    """What a search came upon."""

    adapters: list[I2cAdapter] = field(default_factory=list)
    """Buses that are not searched unasked."""
    candidates: list[Candidate] = field(default_factory=list)
    empty: list[str] = field(default_factory=list)
    """The places on searched buses where no chip answers."""
    listed: bool = True
    """Whether the system said what is there."""
    owned: set[str] = field(default_factory=set)
    """The places of devices that are set up, where something is now."""
    problems: list[Problem] = field(default_factory=list)


async def async_search(
    hass: HomeAssistant, kinds: set[str], owned: set[str], chosen: set[str]
) -> Found:
    """Look for devices of some kinds at all places but those owned.

    The buses chosen are searched, too. A device behind a bus or port that hangs costs
    the deadline and nothing more.
    """
    async with hass.data.setdefault(DATA_SEARCHING, asyncio.Lock()):
        return await _async_search(hass, kinds, owned, chosen)


async def _async_search(
    hass: HomeAssistant, kinds: set[str], owned: set[str], chosen: set[str]
) -> Found:
    """Look, while nobody else does: a node can be open once."""
    await async_import_drivers(
        hass, (SEARCHED[kind] for kind in kinds & SEARCHED.keys())
    )
    found = Found()
    devices: list[tuple[Family, UsbDevice]] = []
    adapters: list[I2cAdapter] = []
    if KIND_USB in kinds:
        devices = await _async_listed(hass, _sticks, "USB", found)
    if KIND_BME280 in kinds:
        adapters = await _async_listed(hass, _adapters, "I2C", found)
    await asyncio.gather(
        *(_async_ask(hass, *device, owned, found) for device in devices),
        *(_async_probe(hass, adapter, owned, chosen, found) for adapter in adapters),
    )
    if found.adapters:
        found.problems.append(Problem(key=Hint.PICK_BUS))
    if not found.candidates:
        found.problems += _reasons(kinds, devices, adapters, found)
    found.candidates.sort(key=lambda candidate: candidate.label)
    if KIND_HOST in kinds and KIND_HOST not in owned:
        # It is always there, and no reason not to say what is missing.
        data = {CONF_KIND: KIND_HOST, CONF_DRIVER: "host"}
        found.candidates.append(Candidate(data=data, model=HOST_MODEL))
    await async_import_drivers(hass, {driver_name(c.data) for c in found.candidates})
    return found


async def _async_listed[T](
    hass: HomeAssistant, look: Callable[[], list[T]], where: str, found: Found
) -> list[T]:
    """Return what sysfs lists; nothing, and a problem, if a device holds that up."""
    try:
        return await within_deadline(async_lane(hass, where).run(look))
    except DriverError as err:
        found.problems.append(Problem.of(err, where))
        found.listed = False
        return []


def _reasons(
    kinds: set[str],
    devices: list[tuple[Family, UsbDevice]],
    adapters: list[I2cAdapter],
    found: Found,
) -> Iterator[Problem]:
    """Yield why there is no device to pick, so that there is always a next step."""
    if any(isinstance(problem.key, Fault) for problem in found.problems):
        return  # What is there, and why it cannot be picked, has been said.
    if found.owned:
        yield Problem(key=Hint.ALL_SET_UP)
        return
    if KIND_USB in kinds and not devices:
        yield Problem(key=Hint.NO_STICK)
    if KIND_BME280 in kinds:
        if not any(adapter.has_node for adapter in adapters):
            yield Problem(key=Hint.NO_BUS)
        for where in found.empty:
            yield Problem(key=Fault.CHIP_NOT_FOUND, details={"place": where})


async def _async_ask(
    hass: HomeAssistant,
    family: Family,
    device: UsbDevice,
    owned: set[str],
    found: Found,
) -> None:
    """Find out what a device is."""
    if device.attachment in owned:
        found.owned.add(device.attachment)
        return
    data = {
        CONF_KIND: KIND_USB,
        CONF_DRIVER: family.driver,
        CONF_CONTROLLER: device.controller,
        CONF_PORTS: device.ports,
    }
    if family.model is not None:
        model = family.model if family.sure else f"{family.model} ({device.ids})"
        found.candidates.append(Candidate(data=data, model=model, asked=family.sure))
    else:
        await _async_ask_temper(hass, device, data, found)


async def _async_ask_temper(
    hass: HomeAssistant, device: UsbDevice, data: dict[str, Any], found: Found
) -> None:
    """Find out which of the TEMPer sticks a device is."""
    from ..drivers.usb.layouts import firmware_name, layouts_of

    answer = await _async_firmware(hass, device)
    if isinstance(answer, DriverError):
        if answer.fault in NEEDS_LIBUSB and await _async_claimable(hass, device):
            # It has to be taken from the kernel: only if the owner picks it.
            model = f"TEMPer ({device.ids})"
            found.candidates.append(Candidate(data=data, model=model, asked=False))
            return
        found.problems.append(Problem.of(answer, device.place))
    elif layouts := layouts_of(answer, device.product):
        models = " / ".join(row.model for row in layouts)
        found.candidates.append(Candidate(data=data, model=models, firmware=answer))
    else:
        found.candidates.append(
            Candidate(
                data=data, model=firmware_name(answer), firmware=answer, known=False
            )
        )


async def _async_claimable(hass: HomeAssistant, device: UsbDevice) -> bool:
    """Return whether libusb may take a device from the kernel."""
    lane = async_lane(hass, device.attachment)
    try:
        return await within_deadline(lane.run(os.access, device.usbfs, os.W_OK))
    except DriverError:
        return False


async def _async_firmware(hass: HomeAssistant, device: UsbDevice) -> str | DriverError:
    """Return the firmware's text, asked for once per plug-in."""
    from ..drivers.usb.temper import Temper

    interface = device.interface(INTERFACE)
    if interface is None or interface.hidraw is None:
        return DeviceAccessError(Fault.NO_NODE, node=str(device.usbfs))
    asked = hass.data.setdefault(DATA_ASKED, {})
    plug = (str(device.path), device.address)
    if plug not in asked:
        lane = async_lane(hass, device.attachment)
        if lane.busy:
            return DeviceAccessError(Fault.HANGING)
        stick = Temper(lane, device.controller, device.ports)
        try:
            asked[plug] = await within_deadline(stick.identify())
        except DriverError as err:
            if isinstance(err, DeviceAccessError) and err.fault is not Fault.HANGING:
                return err  # It was not asked.
            asked[plug] = DriverError(err.fault, **err.details)
    return asked[plug]


async def async_survey(hass: HomeAssistant, data: EntryData) -> list[bytes]:
    """Return what a stick with an unknown firmware answers, once its owner agreed.

    Raises DriverError if it does not answer.
    """
    from ..drivers.usb.temper import Temper

    lane = async_lane(hass, attachment(data))
    stick = Temper(lane, data[CONF_CONTROLLER], data[CONF_PORTS])
    return await within_deadline(stick.survey())


async def _async_probe(
    hass: HomeAssistant,
    adapter: I2cAdapter,
    owned: set[str],
    chosen: set[str],
    found: Found,
) -> None:
    """Find out which chips are on a bus.

    To a multiplexer, the number of a register would be a channel mask: its channels
    are left alone, and so is an address that a driver of the kernel holds.
    """
    if adapter.multiplexed:
        return
    if adapter.expected or adapter.key in chosen:
        await _async_probe_addresses(hass, adapter, owned, found)
    elif adapter.has_node:
        found.adapters.append(adapter)


async def _async_probe_addresses(
    hass: HomeAssistant, adapter: I2cAdapter, owned: set[str], found: Found
) -> None:
    """Find out which chips answer at the addresses that a sensor can have."""
    lane = async_lane(hass, adapter.key)
    for address in ADDRESSES:
        data = {
            CONF_KIND: KIND_BME280,
            CONF_ADAPTER: adapter.key,
            CONF_ADAPTER_NAME: adapter.label,
            CONF_ADDRESS: address,
        }
        if (where := attachment(data)) in owned:
            found.owned.add(where)
            continue
        try:
            chip = await within_deadline(lane.run(_chip, adapter, address))
        except DriverError as err:
            if err.fault is Fault.CHIP_NOT_FOUND:
                found.empty.append(place(data))
                continue
            if err.fault in BUS_FAULTS:
                found.problems.append(Problem.of(err, adapter.label))
                return
            found.problems.append(Problem.of(err, place(data)))
        else:
            data[CONF_DRIVER] = chip.driver
            found.candidates.append(Candidate(data=data, model=chip.model))


def _sticks() -> list[tuple[Family, UsbDevice]]:
    """Return what is plugged in and may be a thermometer; blocks."""
    return list(thermometers())


def _adapters() -> list[I2cAdapter]:
    """Return the I2C buses of the machine; blocks."""
    return list(i2c_adapters())


def _chip(adapter: I2cAdapter, address: int) -> Chip:
    """Read a chip's id; blocks."""
    from ..drivers.i2c.bosch import probe

    return probe(adapter, address)
