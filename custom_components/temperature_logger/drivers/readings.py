"""Readings, and the interface of the drivers that return them."""

from collections.abc import Iterable, Mapping
import re
from types import MappingProxyType
from typing import Any, Final, NamedTuple, Protocol, Self

from .errors import Invalid

type Value = float | Invalid | None
"""A value of a reading; None if there is nothing to measure, such as no probe."""


class Reading(NamedTuple):
    """The values of one poll; None is a quantity that does not exist, never a failure.

    An invalid value is None, and has a fault.

    A stick with two sensors has the internal and external quantities, an adapter those
    of its probes, and this machine those of the CPU and the disk. All other devices
    have some of the first three, or CO2.
    """

    temperature: float | None = None
    """Degrees Celsius."""
    humidity: float | None = None
    """Relative humidity in percent."""
    pressure: float | None = None
    """Hectopascal at the sensor, not reduced to sea level."""
    internal_temperature: float | None = None
    """Degrees Celsius inside the stick."""
    internal_humidity: float | None = None
    """Relative humidity in percent inside the stick."""
    external_temperature: float | None = None
    """Degrees Celsius at the end of the cable."""
    external_humidity: float | None = None
    """Relative humidity in percent at the end of the cable."""
    thermistor_temperature: float | None = None
    """Degrees Celsius at the thermistor (NTC) of sticks that have a third sensor."""
    co2: float | None = None
    """Carbon dioxide in parts per million."""
    cpu_temperature: float | None = None
    """Degrees Celsius in this machine's CPU."""
    total_space: float | None = None
    """Size of the disk's file system in GiB."""
    used_space: float | None = None
    """Used space of the file system in GiB."""
    free_space: float | None = None
    """Free space for all users in GiB, without the space that is reserved for root."""
    space_usage: float | None = None
    """Used share of the space for all users in percent."""
    probes: Mapping[str, float] = MappingProxyType({})
    """Degrees Celsius at each probe of an adapter, by ROM code."""
    faults: Mapping[str, Invalid] = MappingProxyType({})
    """The fault of each invalid value, by quantity."""

    @classmethod
    def of(cls, values: Mapping[str, Value]) -> Self:
        """Return the reading with the given values by quantity.

        Raises BadFrameError if some values are invalid and none is valid.
        """
        quantities: dict[str, Any] = {}
        probes: dict[str, float] = {}
        faults: dict[str, Invalid] = {}
        for quantity, value in values.items():
            if isinstance(value, Invalid):
                faults[quantity] = value
            elif (rom := rom_of(quantity)) is None:
                quantities[quantity] = value
            elif value is not None:
                probes[rom] = value
        reading = cls(**quantities, probes=probes, faults=faults)
        if faults and not reading.values:
            raise next(iter(faults.values())).error
        return reading

    def value(self, quantity: str) -> float | None:
        """Return the value of a quantity; None if it does not exist."""
        if (rom := rom_of(quantity)) is not None:
            return self.probes.get(rom)
        value: float | None = getattr(self, quantity)
        return value

    @property
    def values(self) -> dict[str, float]:
        """The values that exist, by quantity."""
        fields: Iterable[tuple[str, Any]] = zip(QUANTITIES, self, strict=False)
        values = {quantity: value for quantity, value in fields if value is not None}
        for rom, value in self.probes.items():
            values[probe_quantity(rom)] = value
        return values


QUANTITIES: Final = Reading._fields[: Reading._fields.index("probes")]
# The ROM code of a DS18B20, in the order in which the bus transfers it: its family, 28,
# comes first.
_PROBE_QUANTITY: Final = re.compile("(28[0-9a-f]{14})_temperature")


def probe_quantity(rom: str) -> str:
    """Return the quantity of the probe with a ROM code."""
    return f"{rom}_temperature"


def rom_of(quantity: str) -> str | None:
    """Return the ROM code in the quantity of a probe; None for other quantities."""
    match = _PROBE_QUANTITY.fullmatch(quantity)
    return match and match[1]


def is_quantity(name: str) -> bool:
    """Return whether a name is that of a quantity of a reading."""
    return name in QUANTITIES or rom_of(name) is not None


def in_order(quantities: Iterable[str]) -> list[str]:
    """Return quantities in the order of a reading's fields, then probes by ROM code."""
    unordered = set(quantities)
    probes = sorted(unordered - set(QUANTITIES))
    return [quantity for quantity in QUANTITIES if quantity in unordered] + probes


type Facts = Mapping[str, Any]
"""Facts about a device from an earlier driver; see Driver.facts."""


class Identity(NamedTuple):
    """Manufacturer, model and firmware of a device."""

    manufacturer: str = ""
    model: str = ""
    """Empty for the machine itself, and before the first reading of a device."""
    firmware: str | None = None


class Driver(Protocol):
    """The driver of one device at one place."""

    @property
    def identity(self) -> Identity:
        """Manufacturer, model and firmware; complete after the first reading."""

    @property
    def quantities(self) -> tuple[str, ...]:
        """The quantities of a reading of the device; a new probe adds more."""

    @property
    def facts(self) -> dict[str, str]:
        """Facts that distinguish the device from a different one at its place.

        The config entry keeps them for later drivers of the device.
        """

    @property
    def raw(self) -> dict[str, str]:
        """The data of the last reading as received, for diagnostics."""

    async def read(self) -> Reading:
        """Return one reading; raise DriverError if there is none."""

    async def read_again(self) -> Reading:
        """Return a reading whose values were all measured after this call."""

    async def close(self) -> None:
        """Close the device."""
