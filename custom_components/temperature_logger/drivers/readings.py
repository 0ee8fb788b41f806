"""What one poll of one device gives."""

from dataclasses import dataclass, fields
from typing import Final, NamedTuple, Protocol


@dataclass(frozen=True, kw_only=True)
class Reading:
    """One value per quantity; None is a quantity that is not there, never a failure.

    A stick with two sensors has the internal and the external ones, any other
    device the first three.
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


QUANTITIES: Final = tuple(quantity.name for quantity in fields(Reading))


class Identity(NamedTuple):
    """What a device says it is."""

    manufacturer: str
    model: str
    place: str
    """Where it is attached, for people."""
    firmware: str | None = None


class Driver(Protocol):
    """One device at one place."""

    @property
    def identity(self) -> Identity:
        """What the device is; complete after the first reading."""

    @property
    def quantities(self) -> tuple[str, ...]:
        """The fields of a reading that the device can have."""

    @property
    def facts(self) -> dict[str, str]:
        """What tells the device from another one at its place; to be remembered."""

    @property
    def raw(self) -> dict[str, str]:
        """What the last reading was made from, in hexadecimal."""

    async def read(self) -> Reading:
        """Return one reading; raise DriverError if there is none."""

    async def close(self) -> None:
        """Let go of the device."""
