"""What one poll of one device gives."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
import re
from typing import Any, Final, NamedTuple, Protocol, Self


@dataclass(frozen=True, kw_only=True)
class Reading:
    """One value per quantity; None is a quantity that is not there, never a failure.

    A stick with two sensors has the internal and the external ones, an adapter its
    probes, this machine those of the CPU and the disk, any other device the first three
    or CO2.
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
    """GiB of it that are used."""
    free_space: float | None = None
    """GiB of it that are free for everybody; some may be set apart for root."""
    space_usage: float | None = None
    """Percent of what everybody may use that is used."""
    probes: Mapping[str, float] = field(default_factory=dict)
    """Degrees Celsius at each probe of an adapter, by ROM code."""

    @classmethod
    def of(cls, values: Mapping[str, float | None]) -> Self:
        """Return the reading with these values, by quantity."""
        own: dict[str, Any] = {}
        probes: dict[str, float] = {}
        for quantity, value in values.items():
            if (rom := rom_of(quantity)) is None:
                own[quantity] = value
            elif value is not None:
                probes[rom] = value
        return cls(**own, probes=probes)

    def value(self, quantity: str) -> float | None:
        """Return the value of a quantity; None if it is not there."""
        if (rom := rom_of(quantity)) is not None:
            return self.probes.get(rom)
        value: float | None = getattr(self, quantity)
        return value

    @property
    def values(self) -> dict[str, float]:
        """The values that are there, by quantity."""
        quantities = (*QUANTITIES, *map(probe_quantity, self.probes))
        values = {quantity: self.value(quantity) for quantity in quantities}
        return {quantity: v for quantity, v in values.items() if v is not None}


QUANTITIES: Final = tuple(
    quantity.name for quantity in fields(Reading) if quantity.name != "probes"
)
# The code that is in each DS18B20, family 28, as it goes over the wire.
_PROBE: Final = re.compile("(28[0-9a-f]{14})_temperature")


def probe_quantity(rom: str) -> str:
    """Return the quantity of the probe with a ROM code."""
    return f"{rom}_temperature"


def rom_of(quantity: str) -> str | None:
    """Return the ROM code in a quantity, if it is that of a probe."""
    found = _PROBE.fullmatch(quantity)
    return found and found[1]


def is_quantity(name: str) -> bool:
    """Return whether something is a quantity of a reading."""
    return name in QUANTITIES or rom_of(name) is not None


def without_probes(quantities: Iterable[str]) -> list[str]:
    """Return the quantities that a device has whatever is plugged into it."""
    return [quantity for quantity in quantities if rom_of(quantity) is None]


def in_order(quantities: Iterable[str]) -> list[str]:
    """Return quantities in the order of a reading's fields, probes by their codes."""
    found = set(quantities)
    probes = sorted(found - set(QUANTITIES))
    return [quantity for quantity in QUANTITIES if quantity in found] + probes


type Facts = Mapping[str, Any]
"""What is known of a device from before; see Driver.facts."""


class Identity(NamedTuple):
    """What a device says it is."""

    manufacturer: str = ""
    model: str = ""
    """Empty for the machine itself, and before the first reading of a device."""
    firmware: str | None = None


class Driver(Protocol):
    """One device at one place."""

    @property
    def identity(self) -> Identity:
        """What the device is; complete after the first reading."""

    @property
    def quantities(self) -> tuple[str, ...]:
        """What a reading of the device can have; more where a probe is added."""

    @property
    def facts(self) -> dict[str, str]:
        """What tells the device from another one at its place.

        A later driver of the device is made with them.
        """

    @property
    def raw(self) -> dict[str, str]:
        """What the last reading was made from, in hexadecimal."""

    async def read(self) -> Reading:
        """Return one reading; raise DriverError if there is none."""

    async def close(self) -> None:
        """Let go of the device."""
