"""A BME680 keeps what a BME280 promises, and its heater cold."""

from dataclasses import replace
from importlib import import_module
from typing import Any, override

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.strategies import DataObject, data
import pytest

from custom_components.temperature_logger.drivers import (
    BadFrameError,
    DeviceNotFoundError,
    DriverError,
    Fault,
    Identity,
    Lane,
    blinka,
    bme680,
    bosch,
    sysfs,
)
from custom_components.temperature_logger.drivers.bme280 import Bme280
from custom_components.temperature_logger.drivers.bme680 import (
    Bme680,
    Bme680Sensor,
    Trimming,
)
from custom_components.temperature_logger.drivers.i2c import PowerLostError, Registers
from emulation import i2c
from emulation.bme680 import CALIBRATIONS, Calibration680
from emulation.bme680 import Bme680 as EmulatedBme680
from emulation.chips import codes
from emulation.machine import Machine

from .chips import (
    ADDRESS,
    OTHERS,
    PINS,
    VALUES,
    assert_values,
    before_transfer,
    publish,
    written,
)
from .chips import wire as wire_any
from .conftest import Build

# The transfers of a reading of an initialised chip.
TRIGGER, PROOF, BURST, SETTINGS = range(4)
CODES = (0x7A600, 0x56480, 0x4A4B)
"""Temperature, pressure and humidity of a room."""


def wire(build: Build, **chip: Any) -> Machine:  # noqa: ANN401 - as in a machine spec
    """Return a machine with one chip on the pins of the board."""
    return wire_any(build, **{"chip_id": "0x61", **chip})


def emulated(machine: Machine) -> EmulatedBme680:
    """Return the emulated chip."""
    chip = machine.chip("chip")
    assert isinstance(chip, EmulatedBme680)
    return chip


def driver(lane: Lane, **known: str) -> Bme680:
    """Return the driver of the chip."""
    return Bme680(lane, PINS, ADDRESS, **known)


# The values


@pytest.mark.parametrize("calibration", range(len(CALIBRATIONS)))
@pytest.mark.parametrize("variant", [0, 1], ids=["bme680", "bme688"])
async def test_values(build: Build, lane: Lane, variant: int, calibration: int) -> None:
    """What a chip feels is what is read, whatever it was trimmed to."""
    machine = wire(build, variant=variant, calibration=calibration)
    chip = driver(lane)
    for values in (
        VALUES,
        {"temperature": -30.5, "pressure": 870.4, "humidity": 5.5},
        {"temperature": 60.25, "pressure": 1090.0, "humidity": 95.1},
    ):
        machine.chip("chip").values |= values
        assert_values(await chip.read(), values)
    await chip.close()


def test_values_of_a_real_chip() -> None:
    """pimoroni/bme680-python #11 and its tests: one chip's coefficients and codes."""
    trimming = Trimming(
        t1=26041,
        t2=26469,
        t3=3,
        p=(36673, -10515, 88, 7310, -129, 30, 46, -3177, -2379, 30),
        h=(676, 1029, 0, 45, 20, 120, -100),
    )
    temperature = trimming.temperature(501240)
    assert temperature == pytest.approx(26.69, abs=0.01)
    # Those were computed in integers.
    assert trimming.pressure(353485, temperature) == pytest.approx(987.12, abs=0.1)
    assert trimming.humidity(19019, temperature) == pytest.approx(42.402, abs=0.02)


def image_of(
    calibration: Calibration680, data: bytes = b"", *, variant: int = 0
) -> bytearray:
    """Return the registers of a chip that has finished a conversion of ours."""
    image = bytearray(256)
    first, second = calibration.registers()
    image[0x8A : 0x8A + len(first)] = first
    image[0xE1 : 0xE1 + len(second)] = second
    image[0xD0], image[0xF0] = 0x61, variant
    image[0x1D] = bme680.NEW_DATA
    image[0x1F : 0x1F + len(data)] = data
    image[0x70:0x76] = bme680.CONFIGURED
    image[0x74] = bosch.SLEEP_X1
    return image


def data_of(temperature: int, pressure: int, humidity: int) -> bytes:
    """Return the registers of three codes."""
    words = (pressure << 4).to_bytes(3), (temperature << 4).to_bytes(3)
    return b"".join(words) + humidity.to_bytes(2)


class ImageBus:
    """A bus as Adafruit's library knows it, with one chip that never changes."""

    def __init__(self, image: bytearray) -> None:
        """Take the chip's registers."""
        self._image = image
        self._pointer = 0

    def try_lock(self) -> bool:
        """Give the bus away."""
        return True

    def unlock(self) -> None:
        """Take the bus back."""

    def writeto(self, _: int, buffer: bytes, **__: int) -> None:
        """Take the register pointer, and ignore what is written."""
        if buffer:
            self._pointer = buffer[0]

    def readfrom_into(self, _: int, buffer: bytearray, **__: int) -> None:
        """Return registers."""
        buffer[:] = self._image[self._pointer : self._pointer + len(buffer)]


def adafruits(image: bytearray) -> Any:  # noqa: ANN401 - the library has no types
    """Return Adafruit's library on a chip that never changes."""
    with blinka._no_board():
        library = import_module("adafruit_bme680")
    return library.Adafruit_BME680_I2C(ImageBus(image), ADDRESS, refresh_rate=1)


@settings(max_examples=30)
@given(
    calibration=st.sampled_from(CALIBRATIONS),
    temperature=st.floats(-39, 84),
    pressure=st.floats(310, 1090),
    humidity=st.floats(1, 99),
)
def test_adafruits_library_says_the_same(
    calibration: Calibration680, temperature: float, pressure: float, humidity: float
) -> None:
    """It computes in other steps, and takes some of H2 for a fraction of H1."""
    t, p, h = codes(calibration, (0, 0), temperature, pressure, humidity)
    image = image_of(calibration, data_of(t, p, h))
    reading = Bme680Sensor(Image(image), None).collect()
    # To it, the low halves of H1 and H2 stand the other way round.
    image[0xE2] = image[0xE2] >> 4 | image[0xE2] << 4 & 0xF0
    library = adafruits(image)
    assert reading.temperature == pytest.approx(library.temperature, abs=0.01)
    assert reading.pressure == pytest.approx(library.pressure, abs=0.05)
    assert reading.humidity == pytest.approx(library.humidity, abs=0.15)


def test_why_adafruits_library_is_not_used() -> None:
    """With the halves as the data sheet says it, the library's humidity is off."""
    calibration = CALIBRATIONS[2]
    image = image_of(calibration, data_of(*codes(calibration, (0, 0), 20, 1000, 50)))
    reading = Bme680Sensor(Image(image), None).collect()
    library = adafruits(image)
    assert reading.humidity == pytest.approx(50, abs=0.01)
    assert library.humidity == pytest.approx(52.3, abs=0.1)


class Image(Registers):
    """The registers of a chip that never changes, without a bus."""

    def __init__(self, image: bytearray) -> None:
        """Take the chip's registers."""
        self._image = image

    @override
    def read(self, register: int, length: int) -> bytes:
        """Return registers."""
        return bytes(self._image[register : register + length])


@given(data())
def test_nothing_but_a_reading_or_an_error_of_ours(draw: DataObject) -> None:
    """Any coefficients and any burst give values in range, or an error."""
    image = bytearray(draw.draw(st.binary(min_size=256, max_size=256)))
    image[0xD0], image[0xF0] = 0x61, 0
    if draw.draw(st.booleans()):
        # Let more of them come through: real coefficients, and no doubt of the rest.
        real = image_of(draw.draw(st.sampled_from(CALIBRATIONS)))
        codes = image[0x1F:0x27]
        image[:] = real
        image[0x1F:0x27] = codes
    try:
        reading = Bme680Sensor(Image(image), None).collect()
    except DriverError, PowerLostError:
        return
    assert reading.temperature is not None
    assert reading.pressure is not None
    assert reading.humidity is not None
    assert -40 <= reading.temperature <= 85
    assert 300 <= reading.pressure <= 1100
    assert 0 <= reading.humidity <= 100


@pytest.mark.parametrize(
    ("variant", "model"), [(0, "BME680"), (1, "BME688")], ids=["bme680", "bme688"]
)
async def test_identity(build: Build, lane: Lane, variant: int, model: str) -> None:
    """A chip says what it is, and what it was trimmed to tells it from others."""
    wire(build, variant=variant)
    chip = driver(lane)
    assert (chip.identity.model, chip.facts, chip.quantities) == ("", {}, ())
    await chip.read()
    assert chip.identity == Identity(
        manufacturer="Bosch Sensortec",
        model=model,
        place="I2C address 0x76 (soc/i2c@7e804000)",
    )
    assert chip.quantities == ("temperature", "humidity", "pressure")
    assert chip.facts["chip"] == model
    again = driver(lane, trimming_hash=chip.facts["trimming_hash"])
    await again.read()
    assert again.facts == chip.facts
    await chip.close()
    await again.close()


def test_registers_without_a_meaning_do_not_make_another_chip() -> None:
    """Nobody says that they stay the same."""
    image = image_of(CALIBRATIONS[0])
    before = Bme680Sensor(Image(image), None).trimming_hash
    for register in (0x8D, 0x93, 0x9A, 0x9B):
        image[register] ^= 0xFF
    assert Bme680Sensor(Image(image), before).trimming_hash == before
    image[0x8A] ^= 0x01
    with pytest.raises(DeviceNotFoundError, match=Fault.CHIP_CHANGED):
        Bme680Sensor(Image(image), before)


async def test_cost_of_a_reading(build: Build, lane: Lane) -> None:
    """A reading is four transfers and one conversion, which never heats."""
    chip = emulated(wire(build))
    sensor = driver(lane)
    await sensor.read()
    before = chip.counters.copy()
    await sensor.read()
    assert chip.counters - before == {"transfers": 4, "conversions": 1}
    assert not chip.counters["early_reads"]
    assert not chip.counters["heated"]
    assert not chip.counters["resets"]
    await sensor.close()


async def test_raw_registers(build: Build, lane: Lane) -> None:
    """The registers of the last reading are kept, of a refused one as well."""
    machine = wire(build)
    chip = driver(lane)
    await chip.read()
    assert len(bytes.fromhex(chip.raw["trimming"])) == 37
    assert chip.raw["burst"].startswith("80 00 ")
    machine.chip("chip").fail("nodata")
    with pytest.raises(BadFrameError, match=Fault.BAD_REGISTERS):
        await chip.read()
    assert chip.raw["burst"] == "80 00 80 00 00 80 00 00 80 00"
    await chip.close()


# Conversions that are none


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ("lost-trigger", Fault.CONVERSION_LOST),
        ("stuck", Fault.CONVERSION_UNFINISHED),
        ("nodata", Fault.BAD_REGISTERS),
        ("ff", Fault.CONVERSION_LOST),
        ("zero", Fault.CONVERSION_LOST),
    ],
)
async def test_no_conversion(
    build: Build, lane: Lane, fault: str, expected: Fault
) -> None:
    """Without a conversion there is no reading; with one there is again."""
    machine = wire(build)
    chip = driver(lane)
    await chip.read()
    machine.chip("chip").fail(fault)
    with pytest.raises(BadFrameError, match=expected):
        await chip.read()
    assert lane.failing
    machine.chip("chip").clear()
    if fault == "stuck":
        machine.chip("chip").power_cycle()
    machine.chip("chip").values |= OTHERS
    assert_values(await chip.read(), OTHERS)
    assert not lane.failing
    await chip.close()


@pytest.mark.parametrize("fault", ["ff", "zero"])
async def test_burst_of_nothing(build: Build, lane: Lane, fault: str) -> None:
    """A wire that is stuck while the codes are read gives none."""
    machine = wire(build)
    chip = driver(lane)
    await chip.read()
    bus, wired = machine.buses.numbered[1], machine.chip("chip")
    before_transfer(bus, BURST, lambda: wired.fail(fault, count=1))
    with pytest.raises(BadFrameError, match=Fault.BAD_REGISTERS):
        await chip.read()
    await chip.close()


async def test_lost_trigger_is_sent_again(build: Build, lane: Lane) -> None:
    """One trigger that got lost costs nothing, and gives no old value."""
    machine = wire(build)
    chip = driver(lane)
    await chip.read()
    machine.chip("chip").values |= OTHERS
    machine.chip("chip").fail("lost-trigger", count=1)
    assert_values(await chip.read(), OTHERS)
    await chip.close()


async def test_slow_bus(
    build: Build, lane: Lane, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A conversion that is over before it can be seen is proven all the same."""
    machine = wire(build)
    chip = driver(lane)
    await chip.read()
    monkeypatch.setattr(i2c, "BYTE_TIME", 0.004)
    machine.chip("chip").values |= OTHERS
    assert_values(await chip.read(), OTHERS)
    await chip.close()


async def test_another_program_uses_the_chip(build: Build, lane: Lane) -> None:
    """A conversion with other settings is not the one that was asked for."""
    machine = wire(build)
    chip = driver(lane)
    await chip.read()
    other = bytes((bme680.CTRL_MEAS, 0x48))
    before_transfer(
        machine.buses.numbered[1], SETTINGS, lambda: machine.chip("chip").write(other)
    )
    with pytest.raises(BadFrameError, match=Fault.BAD_REGISTERS):
        await chip.read()
    await chip.close()


async def test_codes_without_the_flag_that_they_are_new(
    build: Build, lane: Lane, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the chip does not call new may be old."""
    chip = emulated(wire(build))
    sensor = driver(lane)
    await sensor.read()
    convert = chip._convert

    def forgetful(conversions: int) -> None:
        convert(conversions)
        chip._new_data = False

    monkeypatch.setattr(chip, "_convert", forgetful)
    with pytest.raises(BadFrameError, match=Fault.CONVERSION_UNFINISHED):
        await sensor.read()
    await sensor.close()


@pytest.mark.parametrize(
    "codes",
    [
        (0x80000, *CODES[1:]),
        (CODES[0], 0x80000, CODES[2]),
        (CODES[0], 0x00000, CODES[2]),
        (CODES[0], 0xFFFFF, CODES[2]),
        (0x00000, *CODES[1:]),
        (0xFFFFF, *CODES[1:]),
        (*CODES[:2], 0x0000),
        (*CODES[:2], 0x8000),
        (*CODES[:2], 0xFFFF),
    ],
)
async def test_codes_that_are_no_measurement(
    build: Build,
    lane: Lane,
    monkeypatch: pytest.MonkeyPatch,
    codes: tuple[int, int, int],
) -> None:
    """Codes that say that nothing was measured are refused."""
    wire(build)
    publish(monkeypatch, CODES)
    chip = driver(lane)
    await chip.read()
    publish(monkeypatch, codes)
    with pytest.raises(BadFrameError, match=Fault.BAD_REGISTERS):
        await chip.read()
    await chip.close()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"temperature": 85.2}, "value 85.20 °C, low -40, high 85"),
        ({"temperature": -40.2}, "value -40.20 °C, low -40, high 85"),
        ({"pressure": 1101.0}, "value 110[01].[0-9]{2} hPa, low 300, high 1100"),
        ({"pressure": 299.0}, "value 29[89].[0-9]{2} hPa, low 300, high 1100"),
        ({"humidity": 111.0}, "value 11[01].[0-9]{2} %, low 0, high 100"),
        ({"humidity": -11.0}, "value -1[01].[0-9]{2} %, low 0, high 100"),
    ],
)
async def test_out_of_range(
    build: Build, lane: Lane, values: dict[str, Any], message: str
) -> None:
    """A value that the chip is not made to measure is an error, which quotes it."""
    wire(build, **values)
    chip = driver(lane)
    with pytest.raises(BadFrameError, match=rf"^out_of_range \({message}\)$"):
        await chip.read()
    await chip.close()


@pytest.mark.parametrize(("felt", "read"), [(104.0, 100.0), (-3.0, 0.0)])
async def test_saturated_and_dry_air(
    build: Build, lane: Lane, felt: float, read: float
) -> None:
    """So far beyond its limits the sensor is just not exact."""
    wire(build, humidity=felt)
    chip = driver(lane)
    assert (await chip.read()).humidity == read
    await chip.close()


async def test_coefficients_that_do_not_compute(
    build: Build, lane: Lane, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Coefficients that nothing can be divided by are an error."""
    chip = emulated(wire(build))
    chip.calibration = replace(CALIBRATIONS[0], p=(0,) * 10)
    publish(monkeypatch, CODES)
    with pytest.raises(BadFrameError, match=Fault.BAD_REGISTERS) as error:
        await driver(lane).read()
    assert isinstance(error.value.__cause__, ArithmeticError)


async def test_no_coefficients(build: Build, lane: Lane) -> None:
    """Without coefficients there is no reading; with them there is again."""
    machine = wire(build)
    machine.chip("chip").fail("zero-calibration")
    chip = driver(lane)
    with pytest.raises(BadFrameError, match=Fault.BAD_REGISTERS):
        await chip.read()
    machine.chip("chip").clear()
    assert_values(await chip.read(), VALUES)
    await chip.close()


@pytest.mark.parametrize("transfer", range(14))
async def test_garbage(build: Build, lane: Lane, transfer: int) -> None:
    """Bytes that came apart on the wire never raise anything but our errors."""
    machine = wire(build)
    bus, chip = machine.buses.numbered[1], machine.chip("chip")
    before_transfer(bus, transfer, lambda: chip.fail("garbage", count=1))
    sensor = driver(lane)
    try:
        await sensor.read()
    except DriverError:
        assert lane.failing
    await sensor.close()


@pytest.mark.parametrize("transfer", range(14))
async def test_arbitration_lost(build: Build, lane: Lane, transfer: int) -> None:
    """A transfer that got lost is noticed: there is a right value, or none."""
    machine = wire(build)
    bus = machine.buses.numbered[1]
    before_transfer(bus, transfer, lambda: bus.fail("arb", count=1))
    chip = driver(lane)
    try:
        reading = await chip.read()
    except BadFrameError as err:
        assert err.fault is Fault.BAD_REGISTERS  # noqa: PT017 - either is right
        reading = await chip.read()
    assert_values(reading, VALUES)
    assert not machine.chip("chip").counters["heated"]
    await chip.close()


# A chip that lost its power or its place, or has another master


@pytest.mark.parametrize("transfer", [TRIGGER, BURST, SETTINGS])
async def test_brown_out(build: Build, lane: Lane, transfer: int) -> None:
    """A chip that forgot its settings gets them back in the same poll."""
    machine = wire(build)
    chip, sensor = machine.chip("chip"), driver(lane)
    await sensor.read()
    chip.values |= OTHERS
    before_transfer(machine.buses.numbered[1], transfer, chip.power_cycle)
    assert_values(await sensor.read(), OTHERS)
    await sensor.read()
    await sensor.close()


@pytest.mark.parametrize(
    "setting", [(0x70, 0x00), (0x71, 0x10), (0x72, 0x00), (0x75, 0x08)]
)
async def test_settings_of_another_program(
    build: Build, lane: Lane, setting: tuple[int, int]
) -> None:
    """With the heater on, no humidity or a filter, the chip is configured anew."""
    machine = wire(build)
    chip = driver(lane)
    await chip.read()
    machine.chip("chip").values |= OTHERS
    machine.chip("chip").write(bytes(setting))
    try:
        reading = await chip.read()
    except BadFrameError as err:  # It heats longer than our conversion takes.
        assert setting[0] == 0x71
        assert err.fault is Fault.CONVERSION_UNFINISHED  # noqa: PT017
        reading = await chip.read()
    assert_values(reading, OTHERS)
    await chip.close()


async def test_conversion_of_another_program(
    build: Build, lane: Lane, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is written while a conversion runs is ignored, and written once more."""
    monkeypatch.setattr(Bme680Sensor, "LONGEST_CONVERSION", 0.12)
    machine = wire(build)
    chip, sensor = machine.chip("chip"), driver(lane)
    before = chip.counters.copy()
    chip.write(bytes((0x72, 0x05, 0x74, 0xB5)))  # Everything sixteen times.
    assert_values(await sensor.read(), VALUES)
    assert (chip.counters - before)["conversions"] == 2
    await sensor.close()


@pytest.mark.parametrize("running", [True, False])
async def test_another_chip(build: Build, lane: Lane, *, running: bool) -> None:
    """Another chip at the address is not read in the place of the first."""
    machine = wire(build)
    first = driver(lane)
    await first.read()
    chip = driver(lane, trimming_hash=first.facts["trimming_hash"])
    if running:
        await chip.read()
    machine.chip("chip").calibration = CALIBRATIONS[1]
    machine.chip("chip").power_cycle()
    with pytest.raises(DeviceNotFoundError, match=Fault.CHIP_CHANGED):
        await chip.read()
    await first.close()
    await chip.close()


async def test_chip_of_the_other_driver(build: Build, lane: Lane) -> None:
    """A BME280 in the place of a BME680 is another chip, and so the other way."""
    machine = wire(build)
    with pytest.raises(DeviceNotFoundError, match=Fault.CHIP_CHANGED):
        await Bme280(lane, PINS, ADDRESS).read()
    assert not written(machine)
    machine = wire(build, chip_id="0x60")
    with pytest.raises(DeviceNotFoundError, match=Fault.CHIP_CHANGED):
        await driver(lane).read()
    assert not written(machine)


@pytest.mark.parametrize(("variant", "name"), [(2, "BME690"), (7, "?")])
async def test_other_variants(
    build: Build, lane: Lane, variant: int, name: str
) -> None:
    """A BME690 has the same id and computes otherwise; nothing is written to it."""
    machine = wire(build, variant=variant)
    with pytest.raises(BadFrameError, match=Fault.CHIP_UNSUPPORTED) as error:
        await driver(lane).read()
    assert error.value.details == {"chip": name, "chip_id": "0x61"}
    assert not written(machine)


def test_probe(build: Build) -> None:
    """To tell what a chip is, one register is read and none written."""
    machine = wire(build)
    chip = bosch.probe(sysfs.i2c_adapter(PINS), ADDRESS)
    assert chip == bosch.Chip(driver="bme680", model="BME680 / BME688")
    assert machine.chip("chip").counters == {"transfers": 1}
    assert not written(machine)
