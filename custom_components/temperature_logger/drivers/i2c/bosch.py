"""The base of the drivers for Bosch's temperature, pressure and humidity chips.

A reading is one forced conversion and one burst. The driver verifies that the
conversion has begun, and checks the codes before it computes values from them. A chip
that gives no plausible values is reset once. The chips differ in their registers, their
trimming (the calibration coefficients from the factory), and the way in which they show
that they lost their power.
"""

from abc import ABC, abstractmethod
import asyncio
from collections.abc import Callable
from contextlib import closing, suppress
import hashlib
import time
from typing import TYPE_CHECKING, ClassVar, Final, NamedTuple, Protocol, Self

from ..errors import (
    BadFrameError,
    DeviceNotFoundError,
    DriverError,
    Fault,
    Invalid,
)
from ..places import I2cPlace
from ..readings import Facts, Identity, Reading, Value
from ..sysfs import I2cAdapter, i2c_adapter
from ..values import HUMIDITY_RANGE_PERCENT, Range, checked
from ..workers import Lane
from .bus import PowerLostError, Registers

CHIP_ID_REGISTER: Final = 0xD0
RESET_REGISTER: Final = 0xE0
RESET_COMMAND: Final = 0xB6
# After a reset the chip copies its coefficients into their registers. The data sheets
# say that this takes 2 ms; some chips need 20 ms until they answer.
RESET_TIME_S: Final = 0.002
RESET_CHECKS: Final = 15

# CTRL_MEAS, the register that begins a conversion, has the same bits in all chips. X1
# means one sample: of temperature and pressure each, or in CTRL_HUM of the humidity.
MODE_BITS: Final = 0x03
SLEEP_MODE: Final = 0x00
SLEEP_MODE_X1: Final = 0x24
FORCED_MODE_X1: Final = SLEEP_MODE_X1 | 0x01
HUMIDITY_X1: Final = 0x01

SKIPPED_CODE: Final = 0x80000
# After a temperature with that code.
EXTRA_CONVERSIONS: Final = 2
SKIPPED_HUMIDITY_CODE: Final = 0x8000
# All bits are stuck: the 16 bits of a humidity, or the first 16 of the 20 bits of a
# pressure or temperature.
STUCK_CODES: Final = {0x0000, 0xFFFF}

TEMPERATURE_RANGE_C: Final = Range(-40, 85)
PRESSURE_RANGE_HPA: Final = Range(300, 1100)


class Chip(NamedTuple):
    """Driver and model of a chip with a known id."""

    driver: str
    model: str


CHIPS: Final = {
    0x56: Chip(driver="bme280", model="BMP280"),  # A sample, made before the series.
    0x57: Chip(driver="bme280", model="BMP280"),  # The same.
    0x58: Chip(driver="bme280", model="BMP280"),
    0x60: Chip(driver="bme280", model="BME280"),
    0x61: Chip(driver="bme680", model="BME680 / BME688"),
}
UNSUPPORTED_CHIPS: Final = {
    0x50: "BMP388",
    0x55: "BMP180",
}


class ImplausibleError(BadFrameError):
    """The chip rejects its settings or gives impossible values; a reset may help."""


class SettingsError(ImplausibleError):
    """The chip does not accept its settings."""


class UnconfirmedError(ImplausibleError):
    """The code of the temperature is that of a measurement that was skipped.

    It is also that of about 25 °C. Then the next conversion gives another code, as the
    last digits of a measurement are noise.
    """


class ResetCause(NamedTuple):
    """The fault for which a chip was reset; in its lane until a reading without one."""

    fault: str


class Codes(NamedTuple):
    """The codes of one conversion."""

    pressure: int
    temperature: int
    humidity: int | None
    """None if the chip does not measure humidity."""

    @classmethod
    def of(cls, data: bytes) -> Self:
        """Extract the codes.

        Pressure and temperature have 20 bits in 3 bytes, a humidity has 16 bits. All
        are big-endian.
        """
        pressure, temperature = (int.from_bytes(data[n : n + 3]) >> 4 for n in (0, 3))
        rest = data[6:]
        return cls(pressure, temperature, int.from_bytes(rest) if rest else None)


class Compensation(Protocol):
    """The formulas of one chip, with its coefficients; they do not limit the values."""

    def temperature(self, code: int, /) -> float:
        """Return the temperature in °C."""

    def pressure(self, code: int, temperature: float, /) -> float:
        """Return the pressure in hPa.

        Raises ArithmeticError if the coefficients are impossible.
        """

    def humidity(self, code: int, temperature: float, /) -> float:
        """Return the relative humidity in %."""


class Sensor(ABC):
    """An initialised chip with its coefficients; every call blocks."""

    CTRL_MEAS: ClassVar[int]
    """The register that begins a conversion."""
    DRIVER: ClassVar[str]
    LONGEST_CONVERSION_S: ClassVar[float]
    """The longest conversion of another program in seconds."""

    compensation: Compensation
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
        self._has_humidity_code = False
        """Whether the last burst had the code of a measured humidity."""

    @abstractmethod
    def configure(self) -> bool:
        """Write the settings that a conversion keeps.

        Return whether the chip accepted them. Forced conversions keep them.
        """

    def reset(self) -> None:
        """Reset the chip, which then has its settings from power-up.

        Raises DeviceNotFoundError if another chip is there, before or after the reset,
        and ImplausibleError if the chip does not answer in time.
        """
        if identify(self.registers) != self.chip:
            raise DeviceNotFoundError(Fault.CHIP_CHANGED)
        self.registers.write(RESET_REGISTER, RESET_COMMAND)
        trimming = b""
        for _ in range(RESET_CHECKS):
            time.sleep(RESET_TIME_S)
            with suppress(DriverError):
                trimming = self._read_trimming()
            if trimming == self.trimming:
                return
        if trimming:
            raise DeviceNotFoundError(Fault.CHIP_CHANGED)
        raise ImplausibleError(Fault.BAD_REGISTERS)

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

        Raises PowerLostError if the chip lost its settings, UnconfirmedError if another
        conversion may give a certain value, ImplausibleError if a reset may help, and
        BadFrameError if the registers do not hold a reading.
        """

    @abstractmethod
    def _read_trimming(self) -> bytes:
        """Read the coefficients that the factory stored in the chip."""

    @abstractmethod
    def _conversion_state(self) -> tuple[bool, int]:
        """Return whether a conversion runs, and the register CTRL_MEAS."""

    def _start_conversion(self) -> tuple[float, bool, int]:
        """Write the trigger; return the time, and the conversion state after it."""
        self.registers.write(self.CTRL_MEAS, FORCED_MODE_X1)
        started = time.monotonic()
        return started, *self._conversion_state()

    def _compute(self, data: bytes) -> Reading:
        """Return the values of a conversion whose settings are proven."""
        codes = Codes.of(data)
        if codes.temperature == SKIPPED_CODE:
            raise UnconfirmedError(Fault.BAD_REGISTERS)
        if codes.temperature >> 4 in STUCK_CODES:
            raise ImplausibleError(Fault.BAD_REGISTERS)
        temperature = checked(
            "temperature",
            self.compensation.temperature(codes.temperature),
            TEMPERATURE_RANGE_C,
        )
        if isinstance(temperature, Invalid):  # The other formulas need it.
            raise ImplausibleError(temperature.fault, **temperature.details)
        values: dict[str, Value] = {
            "temperature": temperature,
            "pressure": self._pressure(codes.pressure, temperature),
        }
        if codes.humidity is not None:
            values["humidity"] = self._humidity(codes.humidity, temperature)
        return Reading.of(values)

    def _pressure(self, code: int, temperature: float) -> Value:
        """Return the pressure of a code; invalid if the chip cannot measure it."""
        if code == SKIPPED_CODE or code >> 4 in STUCK_CODES:
            return Invalid.of(Fault.BAD_REGISTERS)
        try:
            pressure = self.compensation.pressure(code, temperature)
        except ArithmeticError:
            return Invalid.of(Fault.BAD_REGISTERS)
        return checked("pressure", pressure, PRESSURE_RANGE_HPA)

    def _humidity(self, code: int, temperature: float) -> Value:
        """Return the humidity of a code; invalid if the chip cannot measure it.

        Raises PowerLostError if the code shows a lost setting for humidity. If it comes
        again after the chip was configured, the humidity sensor is dead.
        """
        had_code, self._has_humidity_code = self._has_humidity_code, False
        if code == SKIPPED_HUMIDITY_CODE and had_code:
            raise PowerLostError
        if code == SKIPPED_HUMIDITY_CODE or code in STUCK_CODES:
            return Invalid.of(Fault.BAD_REGISTERS)
        self._has_humidity_code = True
        humidity = self.compensation.humidity(code, temperature)
        return checked("humidity", humidity, HUMIDITY_RANGE_PERCENT)

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
            if gone := isinstance(err, DeviceNotFoundError):
                self._lane.memory = None  # The next chip has not been reset yet.
            self._release_node(gone=gone)
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

    async def identify(self) -> str:
        """Return the hash of the coefficients; write nothing to the chip.

        Raises DriverError if there is no chip for this driver.
        """
        sensor = await self._lane.run(self._open)
        return sensor.trimming_hash

    async def _read(self) -> Reading:
        """Measure; reset a chip with a fault, and measure once more.

        After a reset, the same fault causes no further one until a reading without a
        fault.
        """
        reading: Reading | None = None
        try:
            reading = await self._measure()
            cause = ResetCause(", ".join(sorted(reading.faults)))
        except ImplausibleError as err:
            cause = ResetCause(f"{type(err).__name__} {err.fault}")
            if self._lane.memory == cause:
                raise
        if reading is None or (reading.faults and self._lane.memory != cause):
            self._lane.memory = cause
            reading = await self._measure_after_reset(reading)
        if not reading.faults:
            self._lane.memory = None
        return reading

    async def _measure_after_reset(self, before: Reading | None) -> Reading:
        """Reset the chip and measure; return the reading before it if that fails.

        The chip may then lack its settings, which the next burst shows.
        """
        sensor = self._sensor
        if TYPE_CHECKING:
            assert sensor is not None
        try:
            await self._lane.run(sensor.reset)
            await configure(self._lane, sensor)
            await run_conversion(self._lane, sensor)  # Discard the first one.
            return await self._measure()
        except BadFrameError:
            if before is None:
                raise
            self._sensor = sensor
            return before

    async def _measure(self) -> Reading:
        """Measure; configure a chip that lost its settings, and measure once more."""
        with suppress(PowerLostError):
            return await self._convert()
        self._sensor = None
        try:
            return await self._convert()
        except PowerLostError as err:
            raise BadFrameError(Fault.BAD_REGISTERS) from err

    async def _convert(self) -> Reading:
        """Measure; replace a doubtful value by that of another conversion."""
        if self._sensor is None:
            self._sensor = await self._lane.run(self._open)
            await configure(self._lane, self._sensor)
        for _ in range(EXTRA_CONVERSIONS):
            with suppress(UnconfirmedError):
                return await self._convert_once(self._sensor)
        return await self._convert_once(self._sensor)

    async def _convert_once(self, sensor: Sensor) -> Reading:
        """Measure with one conversion."""
        await run_conversion(self._lane, sensor)
        try:
            return await self._lane.run(sensor.collect)
        finally:
            self.raw = {
                "burst": sensor.burst.hex(" "),
                "trimming": sensor.trimming.hex(" "),
            }

    def _open(self) -> Sensor:
        """Find the bus, identify the chip and read its coefficients; write nothing."""
        adapter = i2c_adapter(self._place.adapter)
        if self._registers is not None and self._registers.adapter != adapter:
            self._registers.close()
            self._registers = None
        if self._registers is None:
            self._registers = Registers(adapter, self._place.address)
        return self.SENSOR(self._registers, self._trimming_hash)

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


async def configure(lane: Lane, sensor: Sensor) -> None:
    """Configure a chip; raise SettingsError if it does not accept the settings."""
    if not await lane.run(sensor.configure):
        # A conversion that another program started may have to end first.
        await asyncio.sleep(sensor.LONGEST_CONVERSION_S)
        if not await lane.run(sensor.configure):
            raise SettingsError(Fault.BAD_REGISTERS)


async def run_conversion(lane: Lane, sensor: Sensor) -> None:
    """Run one conversion; no worker waits while the chip converts."""
    started = await lane.run(sensor.trigger)
    wait = started + sensor.conversion_s - time.monotonic()
    await asyncio.sleep(wait)


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
    chip_id = registers.read(CHIP_ID_REGISTER, 1, is_probe=True)[0]
    if chip_id in {0x00, 0xFF}:
        raise BadFrameError(Fault.CHIP_WIRING, chip_id=f"{chip_id:#04x}")
    if chip_id not in CHIPS:
        raise unsupported_chip(UNSUPPORTED_CHIPS.get(chip_id, "?"), chip_id)
    return CHIPS[chip_id]


def unsupported_chip(chip: str, chip_id: int) -> BadFrameError:
    """Return the error of an unsupported chip."""
    return BadFrameError(Fault.CHIP_UNSUPPORTED, chip=chip, chip_id=f"{chip_id:#04x}")
