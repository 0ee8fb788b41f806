"""Bosch BME280 and BMP280: one forced conversion and one burst per reading.

Source: BME280 data sheet BST-BME280-DS001 (registers: section 5; measurement time:
9.1) and BMP280 data sheet BST-BMP280-DS001. The values are computed by Adafruit's
library from an image of the registers, after the codes were judged: the library
turns codes that mean "nothing was measured" into plausible values.
"""

import asyncio
from contextlib import closing
import hashlib
import time
from typing import Final, NamedTuple

from .blinka import import_blinka
from .errors import BadFrameError, DeviceNotFoundError, Fault
from .i2c import Registers
from .readings import Identity, Reading
from .sysfs import I2cAdapter, i2c_adapter, i2c_place
from .workers import Lane

CHIP_ID: Final = 0xD0
TRIMMING: Final = (0x88, 26)
"""Temperature, pressure and the first humidity coefficient: 0x88 to 0xA1."""
TRIMMING_HUMIDITY: Final = (0xE1, 7)
CTRL_HUM: Final = 0xF2
STATUS: Final = 0xF3
CTRL_MEAS: Final = 0xF4
CONFIG: Final = 0xF5

MEASURING: Final = 0x08
MODE: Final = 0x03
HUMIDITY_X1: Final = 0x01
SLEEP: Final = 0x00
SLEEP_X1: Final = 0x24
FORCED_X1: Final = SLEEP_X1 | 0x01
# The filter is off. The standby time means nothing to forced conversions; it is not
# the one after power-up, so a chip that lost its power shows.
CONFIGURATION: Final = 0xA0

# Seconds, with everything sixteen times.
LONGEST_CONVERSION: Final = 0.113
# The burst: STATUS, CTRL_MEAS, CONFIG, one reserved byte, three codes.
BURST: Final = (STATUS, 12)
BURST_WITHOUT_HUMIDITY: Final = (STATUS, 10)
DATA: Final = 0xF7
SKIPPED: Final = 0x80000
SKIPPED_HUMIDITY: Final = 0x8000
NO_CODE: Final = {0x00000, 0xFFFFF}

TEMPERATURE_RANGE: Final = (-40.0, 85.0)
PRESSURE_RANGE: Final = (300.0, 1100.0)

# Blank registers where a BMP280 has none: they make a library that expects a BME280
# compute, and are never asked for.
NEUTRAL_HUMIDITY: Final = bytes(7)


class Chip(NamedTuple):
    """A chip that is served."""

    chip_id: int
    model: str
    quantities: tuple[str, ...]
    conversion: float
    """Longest time of a conversion in seconds: 1.25 ms, 2.3 ms for each quantity,
    0.575 ms more for each but the temperature; rounded up, for clocks that round."""

    @property
    def has_humidity(self) -> bool:
        """Whether it measures humidity."""
        return "humidity" in self.quantities


BME280: Final = Chip(
    chip_id=0x60,
    model="BME280",
    quantities=("temperature", "humidity", "pressure"),
    conversion=0.0094,
)
BMP280: Final = Chip(
    chip_id=0x58,
    model="BMP280",
    quantities=("temperature", "pressure"),
    conversion=0.0065,
)
CHIPS: Final = {chip.chip_id: chip for chip in (BME280, BMP280)}
OTHER_CHIPS: Final = {
    0x50: "BMP388",
    0x55: "BMP180",
    0x56: "BMP280 (sample)",
    0x57: "BMP280 (sample)",
    0x61: "BME680",
}


class PowerLostError(Exception):
    """The chip forgot how it was configured."""


class RegisterImage:
    """Registers as Adafruit's library reads them; what it writes goes nowhere."""

    def __init__(self, trimming: bytes) -> None:
        """Fill in the trimming block of a chip."""
        self._registers = bytearray(256)
        # The library knows no other chip.
        self._registers[CHIP_ID] = BME280.chip_id
        length = TRIMMING[1]
        self._fill(TRIMMING[0], trimming[:length])
        self._fill(TRIMMING_HUMIDITY[0], trimming[length:] or NEUTRAL_HUMIDITY)

    def set_data(self, data: bytes) -> None:
        """Put in the codes of one conversion."""
        self._fill(DATA, data)

    def read_register(self, register: int, length: int) -> bytearray:
        """Return registers to the library."""
        return self._registers[register : register + length]

    def write_register_byte(self, register: int, value: int) -> None:
        """Accept what the library configures; the driver does that itself."""

    def _fill(self, register: int, content: bytes) -> None:
        """Put bytes into the image."""
        self._registers[register : register + len(content)] = content


class Sensor:
    """An initialised chip; every call blocks."""

    def __init__(self, registers: Registers, trimming_hash: str | None) -> None:
        """Read what the chip is, and configure it.

        Raises DriverError if it is none that is served, or another one than the
        trimming's hash says.
        """
        self.registers = registers
        self.chip = _chip(registers)
        self.trimming = _trimming(registers, self.chip)
        self.trimming_hash = hashlib.sha256(self.trimming).hexdigest()[:16]
        if trimming_hash not in {None, self.trimming_hash}:
            raise DeviceNotFoundError(Fault.CHIP_CHANGED)
        self.burst = b""
        blinka = import_blinka()
        self._image = RegisterImage(self.trimming)
        self._library = blinka.bme280(self._image)
        self._library.mode = blinka.normal_mode  # Only compute, never trigger.
        self.configure()

    def configure(self) -> None:
        """Write the settings that outlast a conversion, and read them back."""
        if not self._configure():
            # A conversion that another program began may have to end first.
            time.sleep(LONGEST_CONVERSION)
            if not self._configure():
                raise BadFrameError(Fault.BAD_REGISTERS)

    def _configure(self) -> bool:
        """Write the settings once; return whether they arrived."""
        self.registers.write(CTRL_MEAS, SLEEP_X1)
        self.registers.write(CONFIG, CONFIGURATION)
        if self.chip.has_humidity:
            self.registers.write(CTRL_HUM, HUMIDITY_X1)
        humidity, _, _, config = self.registers.read(CTRL_HUM, 4)
        return config == CONFIGURATION and (
            humidity == HUMIDITY_X1 or not self.chip.has_humidity
        )

    def trigger(self) -> float:
        """Start a conversion, prove that it began and return the time it started.

        A trigger that got lost on the bus would give the previous reading again. On a
        slow bus the conversion may be over before the chip can be asked; therefore
        the second try clears the settings first, and finds them set.
        """
        started, status, control = self._force()
        if status & MEASURING or control & MODE == FORCED_X1 & MODE:
            return started
        self.registers.write(CTRL_MEAS, SLEEP)
        cleared = self.registers.read(CTRL_MEAS, 1)[0] == SLEEP
        started, _, control = self._force()
        if cleared and control & ~MODE == SLEEP_X1:
            return started
        raise BadFrameError(Fault.CONVERSION_LOST)

    def _force(self) -> tuple[float, int, int]:
        """Write the trigger; return when, and what the chip shows right after it."""
        self.registers.write(CTRL_MEAS, FORCED_X1)
        started = time.monotonic()
        status, control = self.registers.read(STATUS, 2)
        return started, status, control

    def collect(self) -> Reading:
        """Return the values of the conversion.

        Raises PowerLostError if the chip lost its settings, BadFrameError for
        registers that are no reading.
        """
        burst = BURST if self.chip.has_humidity else BURST_WITHOUT_HUMIDITY
        self.burst = self.registers.read(*burst)
        status, control, config = self.burst[:3]
        if len(set(self.burst)) == 1:
            raise BadFrameError(Fault.BAD_REGISTERS)
        if config != CONFIGURATION:
            raise PowerLostError
        if status & MEASURING or control & MODE:
            raise BadFrameError(Fault.CONVERSION_UNFINISHED)
        if control != SLEEP_X1:  # Another program uses the chip, too.
            raise BadFrameError(Fault.BAD_REGISTERS)
        data = self.burst[DATA - STATUS :]
        self._judge(data)
        self._image.set_data(data)
        return self._compute()

    def _judge(self, data: bytes) -> None:
        """Refuse codes that are no measurement."""
        pressure = int.from_bytes(data[:3]) >> 4
        temperature = int.from_bytes(data[3:6]) >> 4
        if {pressure, temperature} & (NO_CODE | {SKIPPED}):
            raise BadFrameError(Fault.BAD_REGISTERS)
        if self.chip.has_humidity:
            humidity = int.from_bytes(data[6:8])
            if humidity == SKIPPED_HUMIDITY:
                raise PowerLostError
            if humidity in {0x0000, 0xFFFF}:
                raise BadFrameError(Fault.BAD_REGISTERS)

    def _compute(self) -> Reading:
        """Let the library compensate what stands in the image."""
        library = self._library
        try:
            temperature = library.temperature
            pressure = library.pressure
        except ArithmeticError as err:
            raise BadFrameError(Fault.BAD_REGISTERS) from err
        _check("°C", temperature, TEMPERATURE_RANGE)
        _check("hPa", pressure, PRESSURE_RANGE)
        humidity = library.humidity if self.chip.has_humidity else None
        return Reading(temperature=temperature, humidity=humidity, pressure=pressure)


class Bme280:
    """One chip at one place; opened by its first reading and held from then on."""

    def __init__(
        self,
        lane: Lane,
        adapter: str,
        address: int,
        *,
        trimming_hash: str | None = None,
    ) -> None:
        """Name the place, and the chip that was found there before if any was."""
        self.raw: dict[str, str] = {}
        """The trimming block and the last burst, in hexadecimal."""
        self._adapter = adapter
        self._address = address
        self._lane = lane
        self._registers: Registers | None = None
        self._sensor: Sensor | None = None
        self._trimming_hash = trimming_hash

    @property
    def identity(self) -> Identity:
        """What the chip is; complete after the first reading."""
        return Identity(
            manufacturer="Bosch Sensortec",
            model=self._sensor.chip.model if self._sensor else "",
            place=i2c_place(self._adapter, self._address),
        )

    @property
    def facts(self) -> dict[str, str]:
        """The model, and what tells the chip from others of its model."""
        if self._sensor is None:
            return {}
        return {
            "chip": self._sensor.chip.model,
            "trimming_hash": self._sensor.trimming_hash,
        }

    @property
    def quantities(self) -> tuple[str, ...]:
        """The fields of a reading that this chip has."""
        return self._sensor.chip.quantities if self._sensor else ()

    async def read(self) -> Reading:
        """Return one reading; raise DriverError if there is none.

        Whatever went wrong, the chip is initialised anew for the next one.
        """
        try:
            reading = await self._read()
        except BaseException as err:
            self._lane.failing = True
            self._sensor = None
            if isinstance(err, DeviceNotFoundError):
                await self.close()
            raise
        self._lane.failing = False
        return reading

    async def close(self) -> None:
        """Let go of the bus; a job that hangs has to end first."""
        self._sensor = None
        if self._registers is not None or self._lane.busy:
            await asyncio.wrap_future(self._lane.finish(self._release))

    async def _read(self) -> Reading:
        """Convert once; again, once, for a chip that had to be configured again."""
        sensor = self._sensor
        if sensor is None:
            sensor = self._sensor = await self._lane.run(self._open)
        try:
            return await self._convert(sensor)
        except PowerLostError:
            self._sensor = sensor = await self._lane.run(self._open)
        try:
            return await self._convert(sensor)
        except PowerLostError as err:
            raise BadFrameError(Fault.BAD_REGISTERS) from err

    async def _convert(self, sensor: Sensor) -> Reading:
        """Convert once; no thread waits for the chip."""
        started = await self._lane.run(sensor.trigger)
        wait = started + sensor.chip.conversion - time.monotonic()
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
        adapter = i2c_adapter(self._adapter)
        if self._registers is None or self._registers.adapter != adapter:
            self._release()
            self._registers = Registers(adapter, self._address)
        return Sensor(self._registers, self._trimming_hash)

    def _release(self) -> None:
        """Close the bus, if it is open."""
        registers, self._registers = self._registers, None
        if registers is not None:
            registers.close()


def probe(adapter: I2cAdapter, address: int) -> Chip:
    """Read one register and return the chip; nothing is written.

    Raises DriverError where no chip that is served answers. Blocks.
    """
    with closing(Registers(adapter, address)) as registers:
        return _chip(registers)


def _chip(registers: Registers) -> Chip:
    """Return what the chip says it is."""
    chip_id = registers.read(CHIP_ID, 1)[0]
    if chip_id in {0x00, 0xFF}:
        raise BadFrameError(Fault.CHIP_WIRING, chip_id=f"{chip_id:#04x}")
    if chip_id not in CHIPS:
        name = OTHER_CHIPS.get(chip_id, "?")
        raise BadFrameError(
            Fault.CHIP_UNSUPPORTED, chip=name, chip_id=f"{chip_id:#04x}"
        )
    return CHIPS[chip_id]


def _trimming(registers: Registers, chip: Chip) -> bytes:
    """Read the coefficients the factory put into the chip."""
    trimming = registers.read(*TRIMMING)
    if chip.has_humidity:
        trimming += registers.read(*TRIMMING_HUMIDITY)
    if len(set(trimming[:24])) == 1:
        raise BadFrameError(Fault.BAD_REGISTERS)
    return trimming


def _check(unit: str, value: float, limits: tuple[float, float]) -> None:
    """Refuse a value outside the sensor's range."""
    low, high = limits
    if not low <= value <= high:
        raise BadFrameError(
            Fault.OUT_OF_RANGE,
            value=f"{value:.2f} {unit}",
            low=f"{low:g}",
            high=f"{high:g}",
        )
