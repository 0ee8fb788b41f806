"""What Bosch's chips for temperature, pressure and humidity have in common.

A reading is one forced conversion, proven to have begun, and one burst; the codes are
judged before anything is computed from them. The chips differ in where their registers
are, in their trimming and in what shows that they lost their power.
"""

from abc import ABC, abstractmethod
import asyncio
from collections.abc import Callable
from contextlib import closing, suppress
import hashlib
import time
from typing import ClassVar, Final, NamedTuple

from ..errors import BadFrameError, DeviceNotFoundError, Fault, out_of_range
from ..places import I2cPlace
from ..readings import Facts, Identity, Reading
from ..sysfs import I2cAdapter, i2c_adapter
from ..workers import Lane
from .bus import PowerLostError, Registers

CHIP_ID: Final = 0xD0

# The register that begins a conversion, wherever it is: temperature and pressure are
# measured once each.
MODE: Final = 0x03
SLEEP: Final = 0x00
SLEEP_X1: Final = 0x24
FORCED_X1: Final = SLEEP_X1 | 0x01
HUMIDITY_X1: Final = 0x01

SKIPPED: Final = 0x80000
SKIPPED_HUMIDITY: Final = 0x8000
NO_CODE: Final = {0x00000, 0xFFFFF}

TEMPERATURE_RANGE: Final = (-40.0, 85.0)
PRESSURE_RANGE: Final = (300.0, 1100.0)


class Chip(NamedTuple):
    """What a chip's id says of it."""

    driver: str
    """The name of the module that reads it."""
    model: str


CHIPS: Final = {
    0x58: Chip(driver="bme280", model="BMP280"),
    0x60: Chip(driver="bme280", model="BME280"),
    0x61: Chip(driver="bme680", model="BME680 / BME688"),
}
OTHER_CHIPS: Final = {
    0x50: "BMP388",
    0x55: "BMP180",
    0x56: "BMP280 (sample)",
    0x57: "BMP280 (sample)",
}


class Sensor(ABC):
    """A chip whose trimming is known; every call blocks."""

    CTRL_MEAS: ClassVar[int]
    """The register that begins a conversion."""
    DRIVER: ClassVar[str]
    LONGEST_CONVERSION: ClassVar[float]
    """Seconds that a conversion of another program can take."""

    conversion: float
    """Longest time of our conversion in seconds, rounded up for clocks that round."""
    model: str
    quantities: tuple[str, ...]

    def __init__(self, registers: Registers, trimming_hash: str | None) -> None:
        """Read what the chip is; nothing is written.

        Raises DriverError if it is none of this kind, or another one than the
        trimming's hash says.
        """
        self.registers = registers
        self.chip = identify(registers)
        if self.chip.driver != self.DRIVER:
            raise DeviceNotFoundError(Fault.CHIP_CHANGED)
        self.trimming = self._read_trimming()
        self.trimming_hash = hashlib.sha256(self.trimming).hexdigest()[:16]
        if trimming_hash not in {None, self.trimming_hash}:
            raise DeviceNotFoundError(Fault.CHIP_CHANGED)
        self.burst = b""

    def configure(self) -> None:
        """Write the settings that outlast a conversion, and read them back."""
        if not self._configure():
            # A conversion that another program began may have to end first.
            time.sleep(self.LONGEST_CONVERSION)
            if not self._configure():
                raise BadFrameError(Fault.BAD_REGISTERS)

    def trigger(self) -> float:
        """Start a conversion, prove that it began and return the time it started.

        A trigger that got lost on the bus would give the previous reading again. On a
        slow bus the conversion may be over before the chip can be asked; therefore
        the second try clears the settings first, and finds them set.
        """
        started, began, _ = self._force()
        if began:
            return started
        self.registers.write(self.CTRL_MEAS, SLEEP)
        cleared = self.registers.read(self.CTRL_MEAS, 1)[0] == SLEEP
        started, _, control = self._force()
        if cleared and control & ~MODE == SLEEP_X1:
            return started
        raise BadFrameError(Fault.CONVERSION_LOST)

    @abstractmethod
    def collect(self) -> Reading:
        """Return the values of the conversion.

        Raises PowerLostError if the chip lost its settings, BadFrameError for
        registers that are no reading.
        """

    @abstractmethod
    def _read_trimming(self) -> bytes:
        """Read the coefficients that the factory put into the chip."""

    @abstractmethod
    def _configure(self) -> bool:
        """Write the settings once; return whether they arrived."""

    @abstractmethod
    def _begun(self) -> tuple[bool, int]:
        """Return whether a conversion is seen to run, and the control register."""

    def _force(self) -> tuple[float, bool, int]:
        """Write the trigger; return when, and what the chip shows right after it."""
        self.registers.write(self.CTRL_MEAS, FORCED_X1)
        started = time.monotonic()
        return started, *self._begun()

    def _block(self, start: int, length: int) -> bytes:
        """Read a block of coefficients; one that holds nothing is an error."""
        block = self.registers.read(start, length)
        if len(set(block[:24])) == 1:
            raise BadFrameError(Fault.BAD_REGISTERS)
        return block


class BoschChip:
    """One chip at one place; opened by its first reading and held from then on."""

    SENSOR: ClassVar[type[Sensor]]

    def __init__(
        self,
        lane: Lane,
        place: I2cPlace,
        facts: Facts,
        on_gone: Callable[[], None] = lambda: None,  # noqa: ARG002 - As every driver.
    ) -> None:
        """Prepare to read the chip at a place. Facts: trimming_hash.

        on_gone is never called: nothing tells that a chip is gone but the next reading.
        """
        self.raw: dict[str, str] = {}
        """The trimming block and the last burst, in hexadecimal."""
        self._lane = lane
        self._place = place
        self._registers: Registers | None = None
        self._sensor: Sensor | None = None
        self._trimming_hash: str | None = facts.get("trimming_hash")

    @property
    def identity(self) -> Identity:
        """What the chip is; complete after the first reading."""
        return Identity(
            manufacturer="Bosch Sensortec",
            model=self._sensor.model if self._sensor else "",
        )

    @property
    def facts(self) -> dict[str, str]:
        """The model, and what tells the chip from others of its model."""
        if self._sensor is None:
            return {}
        return {
            "chip": self._sensor.model,
            "trimming_hash": self._sensor.trimming_hash,
        }

    @property
    def quantities(self) -> tuple[str, ...]:
        """The fields of a reading that this chip has."""
        return self._sensor.quantities if self._sensor else ()

    async def read(self) -> Reading:
        """Return one reading; raise DriverError if there is none.

        Whatever went wrong, the chip is initialised anew for the next one.
        """
        try:
            reading = await self._read()
        except BaseException as err:
            self._lane.failing = True
            self._sensor = None
            self._rest(gone=isinstance(err, DeviceNotFoundError))
            raise
        self._rest()
        self._lane.failing = False
        return reading

    async def close(self) -> None:
        """Let go of the bus; a job that hangs has to end first."""
        self._sensor = None
        self._rest(gone=True)

    async def _read(self) -> Reading:
        """Convert once; again, once, for a chip that has to be configured again."""
        with suppress(PowerLostError):
            return await self._convert()
        self._sensor = None
        try:
            return await self._convert()
        except PowerLostError as err:
            raise BadFrameError(Fault.BAD_REGISTERS) from err

    async def _convert(self) -> Reading:
        """Convert once; no thread waits for the chip."""
        sensor = self._sensor
        if sensor is None:
            sensor = self._sensor = await self._lane.run(self._open)
        started = await self._lane.run(sensor.trigger)
        wait = started + sensor.conversion - time.monotonic()
        await asyncio.sleep(wait)
        try:
            return await self._lane.run(sensor.collect)
        finally:
            self.raw = {
                "burst": sensor.burst.hex(" "),
                "trimming": sensor.trimming.hex(" "),
            }

    def _open(self) -> Sensor:
        """Find the bus and initialise the chip."""
        adapter = i2c_adapter(self._place.adapter)
        if self._registers is not None and self._registers.adapter != adapter:
            self._registers.close()
            self._registers = None
        if self._registers is None:
            self._registers = Registers(adapter, self._place.address)
        sensor = self.SENSOR(self._registers, self._trimming_hash)
        sensor.configure()
        return sensor

    def _rest(self, *, gone: bool = False) -> None:
        """Close the node if it is of no use any more.

        That of an adapter that can be pulled out is closed until the next poll.
        """
        if (registers := self._registers) is None:
            return
        if gone:
            self._registers = None
        close = registers.close if gone else registers.rest
        if self._lane.busy:  # With a transaction that was given up.
            self._lane.finish(close)
        else:
            close()


def probe(adapter: I2cAdapter, address: int) -> Chip:
    """Read one register and return what it says; nothing is written.

    Raises DriverError where no chip that is served answers. Blocks.
    """
    with closing(Registers(adapter, address)) as registers:
        return identify(registers)


def identify(registers: Registers) -> Chip:
    """Return what the chip says it is."""
    chip_id = registers.read(CHIP_ID, 1)[0]
    if chip_id in {0x00, 0xFF}:
        raise BadFrameError(Fault.CHIP_WIRING, chip_id=f"{chip_id:#04x}")
    if chip_id not in CHIPS:
        raise unsupported(OTHER_CHIPS.get(chip_id, "?"), chip_id)
    return CHIPS[chip_id]


def unsupported(chip: str, chip_id: int) -> BadFrameError:
    """Return the error of a chip that is not served."""
    return BadFrameError(Fault.CHIP_UNSUPPORTED, chip=chip, chip_id=f"{chip_id:#04x}")


def codes(data: bytes) -> tuple[int, ...]:
    """Return the codes of pressure, temperature and, if there are 8 bytes, humidity.

    Raises BadFrameError for codes that are no measurement, PowerLostError if the
    humidity, which was switched on, was not measured.
    """
    pressure, temperature = (int.from_bytes(data[n : n + 3]) >> 4 for n in (0, 3))
    if {pressure, temperature} & (NO_CODE | {SKIPPED}):
        raise BadFrameError(Fault.BAD_REGISTERS)
    if not (rest := data[6:]):
        return pressure, temperature
    humidity = int.from_bytes(rest)
    if humidity == SKIPPED_HUMIDITY:
        raise PowerLostError
    if humidity in {0x0000, 0xFFFF}:
        raise BadFrameError(Fault.BAD_REGISTERS)
    return pressure, temperature, humidity


def check(unit: str, value: float, limits: tuple[float, float]) -> None:
    """Refuse a value outside the sensor's range."""
    low, high = limits
    if not low <= value <= high:
        raise out_of_range(f"{value:.2f} {unit}", low, high)
