"""The base of the drivers for Bosch's temperature, pressure and humidity chips.

A reading is one forced conversion and one burst. The driver verifies that the
conversion has begun, and checks the codes before it computes values from them. The
chips differ in their registers, their trimming (the calibration coefficients from the
factory), and the way in which they show that they lost their power.
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

CHIP_ID_REGISTER: Final = 0xD0

# CTRL_MEAS, the register that begins a conversion, has the same bits in all chips. X1
# means one sample: of temperature and pressure each, or in CTRL_HUM of the humidity.
MODE_BITS: Final = 0x03
SLEEP_MODE: Final = 0x00
SLEEP_MODE_X1: Final = 0x24
FORCED_MODE_X1: Final = SLEEP_MODE_X1 | 0x01
HUMIDITY_X1: Final = 0x01

SKIPPED_CODE: Final = 0x80000
SKIPPED_HUMIDITY_CODE: Final = 0x8000
INVALID_CODES: Final = {0x00000, 0xFFFFF}

TEMPERATURE_RANGE_C: Final = (-40.0, 85.0)
PRESSURE_RANGE_HPA: Final = (300.0, 1100.0)


class Chip(NamedTuple):
    """Driver and model of a chip with a known id."""

    driver: str
    model: str


CHIPS: Final = {
    0x58: Chip(driver="bme280", model="BMP280"),
    0x60: Chip(driver="bme280", model="BME280"),
    0x61: Chip(driver="bme680", model="BME680 / BME688"),
}
UNSUPPORTED_CHIPS: Final = {
    0x50: "BMP388",
    0x55: "BMP180",
    0x56: "BMP280 (sample)",
    0x57: "BMP280 (sample)",
}


class Sensor(ABC):
    """An initialised chip with its coefficients; every call blocks."""

    CTRL_MEAS: ClassVar[int]
    """The register that begins a conversion."""
    DRIVER: ClassVar[str]
    LONGEST_CONVERSION_S: ClassVar[float]
    """The longest conversion of another program in seconds."""

    conversion_s: float
    """The longest conversion of this driver, rounded up for coarse clocks."""
    model: str
    quantities: tuple[str, ...]

    def __init__(self, registers: Registers, trimming_hash: str | None) -> None:
        """Identify the chip and read its coefficients; write nothing.

        Raises DriverError if the chip needs another driver, or if its coefficients do
        not match the hash.
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
        """Write the settings that a conversion keeps, and verify them.

        Raises BadFrameError if the chip does not accept them.
        """
        if not self._configure():
            # A conversion that another program started may have to end first.
            time.sleep(self.LONGEST_CONVERSION_S)
            if not self._configure():
                raise BadFrameError(Fault.BAD_REGISTERS)

    def trigger(self) -> float:
        """Start a conversion, verify that it has begun, and return the start time.

        Without the check, a trigger that got lost on the bus would repeat the previous
        reading. On a slow bus the conversion may end before the check. So a second try
        clears the settings first: if they are set afterwards, the trigger arrived.
        Raises BadFrameError if no conversion has begun.
        """
        started, began, _ = self._start_conversion()
        if began:
            return started
        self.registers.write(self.CTRL_MEAS, SLEEP_MODE)
        cleared = self.registers.read(self.CTRL_MEAS, 1)[0] == SLEEP_MODE
        started, _, control = self._start_conversion()
        if cleared and control & ~MODE_BITS == SLEEP_MODE_X1:
            return started
        raise BadFrameError(Fault.CONVERSION_LOST)

    @abstractmethod
    def collect(self) -> Reading:
        """Return the values of the conversion.

        Raises PowerLostError if the chip lost its settings, and BadFrameError if the
        registers do not hold a valid reading.
        """

    @abstractmethod
    def _read_trimming(self) -> bytes:
        """Read the coefficients that the factory stored in the chip."""

    @abstractmethod
    def _configure(self) -> bool:
        """Write the settings once; return whether the chip accepted them."""

    @abstractmethod
    def _conversion_state(self) -> tuple[bool, int]:
        """Return whether a conversion runs, and the register CTRL_MEAS."""

    def _start_conversion(self) -> tuple[float, bool, int]:
        """Write the trigger; return the time, and the conversion state after it."""
        self.registers.write(self.CTRL_MEAS, FORCED_MODE_X1)
        started = time.monotonic()
        return started, *self._conversion_state()

    def _block(self, start: int, length: int) -> bytes:
        """Read a block of coefficients; raise BadFrameError if all bytes are equal."""
        block = self.registers.read(start, length)
        if len(set(block[:24])) == 1:
            raise BadFrameError(Fault.BAD_REGISTERS)
        return block


class BoschChip:
    """One chip at one place; the first reading opens it, and it stays open."""

    SENSOR: ClassVar[type[Sensor]]

    def __init__(
        self,
        lane: Lane,
        place: I2cPlace,
        facts: Facts,
        on_gone: Callable[[], None] = lambda: None,  # noqa: ARG002 - Every driver takes it.
    ) -> None:
        """Prepare to read the chip at a place. Facts: trimming_hash.

        The driver never calls on_gone: only the next reading shows that a chip is gone.
        """
        self.raw: dict[str, str] = {}
        """The coefficients and the last burst, in hexadecimal."""
        self._lane = lane
        self._place = place
        self._registers: Registers | None = None
        self._sensor: Sensor | None = None
        self._trimming_hash: str | None = facts.get("trimming_hash")

    @property
    def identity(self) -> Identity:
        """Manufacturer and model; complete after the first reading."""
        return Identity(
            manufacturer="Bosch Sensortec",
            model=self._sensor.model if self._sensor else "",
        )

    @property
    def facts(self) -> dict[str, str]:
        """The model, and the hash of the coefficients, which identifies the chip."""
        if self._sensor is None:
            return {}
        return {
            "chip": self._sensor.model,
            "trimming_hash": self._sensor.trimming_hash,
        }

    @property
    def quantities(self) -> tuple[str, ...]:
        """The quantities of a reading of this chip; empty before the first one."""
        return self._sensor.quantities if self._sensor else ()

    async def read(self) -> Reading:
        """Return one reading; raise DriverError if there is none.

        After an error the next reading initialises the chip again.
        """
        try:
            reading = await self._read()
        except BaseException as err:
            self._lane.failing = True
            self._sensor = None
            self._release_node(gone=isinstance(err, DeviceNotFoundError))
            raise
        self._release_node()
        self._lane.failing = False
        return reading

    async def read_again(self) -> Reading:
        """Return a reading of values that are measured now, like every reading."""
        return await self.read()

    async def close(self) -> None:
        """Close the bus; a job that hangs has to end first."""
        self._sensor = None
        self._release_node(gone=True)

    async def _read(self) -> Reading:
        """Measure; configure a chip that lost its power, and measure once more."""
        with suppress(PowerLostError):
            return await self._convert()
        self._sensor = None
        try:
            return await self._convert()
        except PowerLostError as err:
            raise BadFrameError(Fault.BAD_REGISTERS) from err

    async def _convert(self) -> Reading:
        """Measure once; no worker waits while the chip converts."""
        sensor = self._sensor
        if sensor is None:
            sensor = self._sensor = await self._lane.run(self._open)
        started = await self._lane.run(sensor.trigger)
        wait = started + sensor.conversion_s - time.monotonic()
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

    def _release_node(self, *, gone: bool = False) -> None:
        """Close the node if the chip is gone or the adapter can be unplugged.

        The node of such an adapter stays open only during a poll; see Registers.
        """
        if (registers := self._registers) is None:
            return
        if gone:
            self._registers = None
        close = registers.close if gone else registers.suspend
        if self._lane.busy:  # An abandoned transaction still runs.
            self._lane.finish(close)
        else:
            close()


def probe(adapter: I2cAdapter, address: int) -> Chip:
    """Read the chip id at an address and return the chip; write nothing; blocks.

    Raises DriverError if no supported chip answers.
    """
    with closing(Registers(adapter, address)) as registers:
        return identify(registers)


def identify(registers: Registers) -> Chip:
    """Read the chip id and return the chip.

    Raises BadFrameError for an unsupported chip, and for an id that means a wiring
    fault.
    """
    chip_id = registers.read(CHIP_ID_REGISTER, 1)[0]
    if chip_id in {0x00, 0xFF}:
        raise BadFrameError(Fault.CHIP_WIRING, chip_id=f"{chip_id:#04x}")
    if chip_id not in CHIPS:
        raise unsupported_chip(UNSUPPORTED_CHIPS.get(chip_id, "?"), chip_id)
    return CHIPS[chip_id]


def unsupported_chip(chip: str, chip_id: int) -> BadFrameError:
    """Return the error of an unsupported chip."""
    return BadFrameError(Fault.CHIP_UNSUPPORTED, chip=chip, chip_id=f"{chip_id:#04x}")


def unpack_codes(data: bytes) -> tuple[int, ...]:
    """Return the codes of pressure, temperature and, if there are 8 bytes, humidity.

    The first two have 20 bits in 3 bytes, the humidity 16 bits; all are big-endian.
    Raises BadFrameError for codes of a missing measurement, and PowerLostError if only
    the humidity is missing: the chip has lost the setting that switches it on.
    """
    pressure, temperature = (int.from_bytes(data[n : n + 3]) >> 4 for n in (0, 3))
    if {pressure, temperature} & (INVALID_CODES | {SKIPPED_CODE}):
        raise BadFrameError(Fault.BAD_REGISTERS)
    if not (rest := data[6:]):
        return pressure, temperature
    humidity = int.from_bytes(rest)
    if humidity == SKIPPED_HUMIDITY_CODE:
        raise PowerLostError
    if humidity in {0x0000, 0xFFFF}:
        raise BadFrameError(Fault.BAD_REGISTERS)
    return pressure, temperature, humidity


def check_range(unit: str, value: float, limits: tuple[float, float]) -> None:
    """Raise BadFrameError for a value outside the range of the sensor."""
    low, high = limits
    if not low <= value <= high:
        raise out_of_range(f"{value:.2f} {unit}", low, high)
