"""A chip's reading is one proven conversion, or an error."""

import asyncio
import errno
import os
from typing import Any

import pytest

from custom_components.temperature_logger.drivers import (
    BadFrameError,
    DeviceAccessError,
    DeviceNotFoundError,
    DriverError,
    Fault,
    Identity,
    Lane,
    blinka,
    bme280,
    bosch,
    sysfs,
)
from custom_components.temperature_logger.drivers.bme280 import Bme280
from custom_components.temperature_logger.drivers.i2c import Registers
from emulation import i2c
from emulation.chips import CALIBRATIONS, Calibration

from .chips import (
    ADDRESS,
    BURST,
    OTHERS,
    PINS,
    PROOF,
    TRIGGER,
    VALUES,
    assert_values,
    before_transfer,
    publish,
    wire,
    written,
)
from .conftest import AsNobody, Build, until


def driver(lane: Lane, **known: str) -> Bme280:
    """Return the driver of the chip."""
    return Bme280(lane, PINS, ADDRESS, **known)


@pytest.mark.parametrize("calibration", range(len(CALIBRATIONS)))
@pytest.mark.parametrize("chip_id", ["0x60", "0x58"], ids=["bme280", "bmp280"])
async def test_values(build: Build, lane: Lane, chip_id: str, calibration: int) -> None:
    """What a chip feels is what is read, whatever it was trimmed to."""
    machine = wire(build, chip_id=chip_id, calibration=calibration)
    chip = driver(lane)
    for values in (
        VALUES,
        {"temperature": -30.5, "pressure": 870.4, "humidity": 5.5},
        {"temperature": 60.25, "pressure": 1090.0, "humidity": 95.1},
    ):
        machine.chip("chip").values |= values
        reading = await chip.read()
        assert_values(reading, {q: values[q] for q in chip.quantities})
        assert (reading.humidity is None) == (chip_id == "0x58")
    await chip.close()


@pytest.mark.parametrize(
    ("chip_id", "model", "quantities"),
    [
        ("0x60", "BME280", ("temperature", "humidity", "pressure")),
        ("0x58", "BMP280", ("temperature", "pressure")),
    ],
)
async def test_identity(
    build: Build, lane: Lane, chip_id: str, model: str, quantities: tuple[str, ...]
) -> None:
    """A chip says what it is, and what it was trimmed to tells it from others."""
    place = "I2C address 0x76 (soc/i2c@7e804000)"
    wire(build, chip_id=chip_id)
    chip = driver(lane)
    assert (chip.identity.model, chip.facts, chip.quantities) == ("", {}, ())
    await chip.read()
    assert chip.identity == Identity(
        manufacturer="Bosch Sensortec", model=model, place=place
    )
    assert chip.quantities == quantities
    assert chip.facts.keys() == {"chip", "trimming_hash"}
    assert chip.facts["chip"] == model
    again = driver(lane, trimming_hash=chip.facts["trimming_hash"])
    await again.read()
    assert again.facts == chip.facts
    await chip.close()
    await again.close()


@pytest.mark.parametrize("chip_id", ["0x60", "0x58"], ids=["bme280", "bmp280"])
async def test_cost_of_a_reading(build: Build, lane: Lane, chip_id: str) -> None:
    """A reading is three transfers and one conversion, never read before its end."""
    machine = wire(build, chip_id=chip_id)
    chip = driver(lane)
    await chip.read()
    counters = machine.chip("chip").counters
    before = counters.copy()
    await chip.read()
    assert counters - before == {"transfers": 3, "conversions": 1}
    assert not counters["early_reads"]
    assert not counters["resets"]
    await chip.close()


async def test_raw_registers(build: Build, lane: Lane) -> None:
    """The registers of the last reading are kept, of a refused one as well."""
    machine = wire(build)
    chip = driver(lane)
    await chip.read()
    trimming = b"".join(CALIBRATIONS[0].registers())
    assert bytes.fromhex(chip.raw["trimming"]) == trimming
    assert chip.raw["burst"].startswith("00 24 a0 00 ")
    machine.chip("chip").fail("nodata")
    with pytest.raises(BadFrameError, match=Fault.BAD_REGISTERS):
        await chip.read()
    assert chip.raw["burst"] == "00 24 a0 00 80 00 00 80 00 00 80 00"
    await chip.close()


# Conversions that are none


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ("lost-trigger", Fault.CONVERSION_LOST),
        ("stuck", Fault.CONVERSION_UNFINISHED),
        ("nodata", Fault.BAD_REGISTERS),
        ("ff", Fault.BAD_REGISTERS),
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
    machine.chip("chip").values |= OTHERS
    assert_values(await chip.read(), OTHERS)
    assert not lane.failing
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


async def test_every_write_lost(
    build: Build, lane: Lane, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A chip that takes no command any more gives no old value either."""
    machine = wire(build)
    chip = driver(lane)
    await chip.read()
    monkeypatch.setattr(machine.chip("chip"), "_set", lambda *_: None)
    with pytest.raises(BadFrameError, match=Fault.CONVERSION_LOST):
        await chip.read()
    await chip.close()


async def test_slow_bus(
    build: Build, lane: Lane, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A conversion that is over before it can be seen is proven all the same."""
    machine = wire(build)
    chip = driver(lane)
    await chip.read()
    monkeypatch.setattr(i2c, "BYTE_TIME", 0.003)
    machine.chip("chip").values |= OTHERS
    assert_values(await chip.read(), OTHERS)
    await chip.close()


async def test_another_program_uses_the_chip(build: Build, lane: Lane) -> None:
    """A conversion with other settings is not the one that was asked for."""
    machine = wire(build)
    chip = driver(lane)
    await chip.read()
    other = bytes((bme280.CTRL_MEAS, 0x48))
    before_transfer(
        machine.buses.numbered[1], BURST, lambda: machine.chip("chip").write(other)
    )
    with pytest.raises(BadFrameError, match=Fault.BAD_REGISTERS):
        await chip.read()
    await chip.close()


@pytest.mark.parametrize(
    "codes",
    [
        (0x80000, 0x51000, 0x6D00),
        (0x7F000, 0x80000, 0x6D00),
        (0x00000, 0x51000, 0x6D00),
        (0xFFFFF, 0x51000, 0x6D00),
        (0x7F000, 0x00000, 0x6D00),
        (0x7F000, 0xFFFFF, 0x6D00),
        (0x7F000, 0x51000, 0x0000),
        (0x7F000, 0x51000, 0xFFFF),
    ],
)
async def test_codes_that_are_no_measurement(
    build: Build,
    lane: Lane,
    monkeypatch: pytest.MonkeyPatch,
    codes: tuple[int, int, int],
) -> None:
    """Codes that the library would turn into plausible values are refused."""
    wire(build)
    publish(monkeypatch, codes)
    chip = driver(lane)
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


async def test_coefficients_that_do_not_compute(
    build: Build, lane: Lane, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Coefficients that the library cannot divide by are an error."""
    machine = wire(build)
    chip = machine.chip("chip")
    chip.calibration = Calibration(CALIBRATIONS[0].t, (0,) * 9, CALIBRATIONS[0].h)
    publish(monkeypatch, (0x7F000, 0x51000, 0x6D00))
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


# A chip that lost its power, or its place


@pytest.mark.parametrize("chip_id", ["0x60", "0x58"], ids=["bme280", "bmp280"])
@pytest.mark.parametrize("transfer", [TRIGGER, BURST])
async def test_brown_out(build: Build, lane: Lane, chip_id: str, transfer: int) -> None:
    """A chip that forgot its settings gets them back in the same poll."""
    machine = wire(build, chip_id=chip_id)
    emulated, chip = machine.chip("chip"), driver(lane)
    await chip.read()
    emulated.values |= OTHERS
    before_transfer(machine.buses.numbered[1], transfer, emulated.power_cycle)
    reading = await chip.read()
    assert_values(reading, {q: OTHERS[q] for q in chip.quantities})
    await chip.read()
    await chip.close()


async def test_humidity_switched_off(build: Build, lane: Lane) -> None:
    """Without its setting for humidity a chip is configured anew."""
    machine = wire(build)
    chip = driver(lane)
    await chip.read()
    machine.chip("chip").values |= OTHERS
    machine.chip("chip").write(bytes((bme280.CTRL_HUM, 0)))
    assert_values(await chip.read(), OTHERS)
    await chip.close()


async def test_brown_out_for_ever(
    build: Build, lane: Lane, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A chip that loses its power with each conversion has no reading."""
    machine = wire(build)
    emulated, chip = machine.chip("chip"), driver(lane)
    await chip.read()
    monkeypatch.setattr(emulated, "_convert", lambda _: emulated._set(bme280.CONFIG, 0))
    with pytest.raises(BadFrameError, match=Fault.BAD_REGISTERS):
        await chip.read()
    await chip.close()


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


@pytest.mark.parametrize(
    ("chip_id", "fault", "details"),
    [
        (0x55, Fault.CHIP_UNSUPPORTED, {"chip": "BMP180", "chip_id": "0x55"}),
        (0x50, Fault.CHIP_UNSUPPORTED, {"chip": "BMP388", "chip_id": "0x50"}),
        (0x42, Fault.CHIP_UNSUPPORTED, {"chip": "?", "chip_id": "0x42"}),
        (0x00, Fault.CHIP_WIRING, {"chip_id": "0x00"}),
        (0xFF, Fault.CHIP_WIRING, {"chip_id": "0xff"}),
    ],
)
async def test_other_chips(
    build: Build, lane: Lane, chip_id: int, fault: Fault, details: dict[str, str]
) -> None:
    """What is no BME280 is named, and nothing is written to it."""
    machine = wire(build, chip_id=hex(chip_id))
    with pytest.raises(BadFrameError) as error:
        await driver(lane).read()
    assert (error.value.fault, error.value.details) == (fault, details)
    with pytest.raises(BadFrameError, match=fault):
        bosch.probe(sysfs.i2c_adapter(PINS), ADDRESS)
    assert not written(machine)


def test_probe(build: Build) -> None:
    """To tell what a chip is, one register is read and none written."""
    machine = wire(build, chip_id="0x58")
    assert bosch.probe(sysfs.i2c_adapter(PINS), ADDRESS).model == "BMP280"
    assert machine.chip("chip").counters == {"transfers": 1}
    assert not written(machine)
    with pytest.raises(DeviceNotFoundError, match=Fault.CHIP_NOT_FOUND) as error:
        bosch.probe(sysfs.i2c_adapter(PINS), 0x77)
    assert error.value.details == {"address": "0x77"}


# The bus


@pytest.mark.parametrize(
    ("number", "kind", "fault", "transfers"),
    [
        (errno.EREMOTEIO, DeviceNotFoundError, Fault.CHIP_NOT_FOUND, 1),
        (errno.ENXIO, DeviceNotFoundError, Fault.CHIP_NOT_FOUND, 1),
        (errno.ENODEV, DeviceNotFoundError, Fault.BUS_NOT_FOUND, 1),
        (errno.ESHUTDOWN, DeviceNotFoundError, Fault.BUS_NOT_FOUND, 1),
        (errno.EIO, BadFrameError, Fault.BUS_ERROR, 1),
        (errno.ETIMEDOUT, BadFrameError, Fault.BUS_ERROR, 1),
        # The trigger is lost without a word; what tells is asked twice.
        (errno.EAGAIN, BadFrameError, Fault.BUS_ERROR, 3),
    ],
    ids=lambda value: errno.errorcode.get(value) if isinstance(value, int) else "",
)
async def test_bus_error(
    build: Build,
    lane: Lane,
    monkeypatch: pytest.MonkeyPatch,
    *,
    number: int,
    kind: type[DriverError],
    fault: Fault,
    transfers: int,
) -> None:
    """What the kernel says of a transfer has a name of ours, and ends the poll."""
    machine = wire(build)
    chip = driver(lane)
    await chip.read()
    monkeypatch.setitem(i2c.ERRORS, "eio", number)
    machine.chip("chip").fail("eio")
    counters = machine.chip("chip").counters
    before = counters["transfers"]
    with pytest.raises(kind, match=fault):
        await chip.read()
    assert counters["transfers"] == before + transfers
    # Nothing is left open of a chip or a bus that is gone, as soon as the event loop
    # and the worker have forgotten the error.
    await until(lambda: kind is BadFrameError or not machine.buses._nodes)
    assert bool(machine.buses._nodes) == (kind is BadFrameError)
    machine.chip("chip").clear()
    machine.chip("chip").values |= OTHERS
    assert_values(await chip.read(), OTHERS)
    await chip.close()
    await until(lambda: not machine.buses._nodes)


async def test_timeout_of_the_bus(build: Build, lane: Lane) -> None:
    """A bus that is held low costs the poll one time-out of the kernel."""
    machine = wire(build)
    chip = driver(lane)
    await chip.read()
    machine.chip("chip").fail("timeout", 0.01)
    message = r"bus_error \(error Connection timed out\)"
    with pytest.raises(BadFrameError, match=message):
        await chip.read()
    await chip.close()


@pytest.mark.parametrize("transfer", [TRIGGER, PROOF, BURST])
async def test_arbitration_lost_once(build: Build, lane: Lane, transfer: int) -> None:
    """A transfer that lost the bus to another master is done again."""
    machine = wire(build)
    chip = driver(lane)
    await chip.read()
    machine.chip("chip").values |= OTHERS
    bus = machine.buses.numbered[1]
    before_transfer(bus, transfer, lambda: bus.fail("arb", count=1))
    assert_values(await chip.read(), OTHERS)
    await chip.close()


@pytest.mark.parametrize("transfer", range(10))
async def test_arbitration_lost_while_initialising(
    build: Build, lane: Lane, transfer: int
) -> None:
    """A setting that got lost is noticed: there is a right value, or none."""
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
    await chip.close()


@pytest.mark.parametrize("transfer", range(10))
async def test_garbage(build: Build, lane: Lane, transfer: int) -> None:
    """Bytes that came apart on the wire never raise anything but our errors."""
    machine = wire(build)
    bus, emulated = machine.buses.numbered[1], machine.chip("chip")
    before_transfer(bus, transfer, lambda: emulated.fail("garbage", count=1))
    chip = driver(lane)
    try:
        await chip.read()
    except DriverError:
        assert lane.failing
    await chip.close()


async def test_bus_under_another_number(build: Build, lane: Lane) -> None:
    """A bus that went and came back is found again, whatever its number."""
    chips = [{"name": "chip", "address": hex(ADDRESS), **VALUES}]
    machine = build(
        i2c=[
            {"bus": 1, "of_node": PINS, "chips": chips},
            {"bus": 7, "of_node": PINS, "chips": chips},
        ]
    )
    machine.unplug_bus(7)
    chip = driver(lane)
    await chip.read()
    machine.unplug_bus(1)
    for fault in (Fault.BUS_NOT_FOUND, Fault.BUS_DISABLED):
        with pytest.raises(DeviceNotFoundError, match=fault):
            await chip.read()
    machine.plug_bus(7)
    assert_values(await chip.read(), VALUES)
    await chip.close()


async def test_address_held(build: Build, lane: Lane) -> None:
    """An address that a driver of the kernel uses is not touched."""
    machine = wire(build, bus={"held": {"0x76": "bmp280"}})
    with pytest.raises(DeviceAccessError, match=Fault.ADDRESS_HELD) as error:
        await driver(lane).read()
    assert error.value.details == {"address": "0x76"}
    assert not machine.chip("chip").counters


async def test_address_held_later(build: Build, lane: Lane) -> None:
    """The same for a driver that was loaded in between."""
    machine = wire(build)
    chip = driver(lane)
    await chip.read()
    machine.buses.numbered[1].held.add(ADDRESS)
    with pytest.raises(DeviceAccessError, match=Fault.ADDRESS_HELD):
        await chip.read()
    await chip.close()


@pytest.mark.parametrize(
    ("number", "fault"),
    [
        (errno.ENXIO, Fault.BUS_NOT_FOUND),
        (errno.ENODEV, Fault.BUS_NOT_FOUND),
        (errno.EIO, Fault.BUS_ERROR),
    ],
)
async def test_node_that_cannot_be_opened(
    build: Build,
    lane: Lane,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    fault: Fault,
) -> None:
    """Whatever the system says, it is said in words."""
    machine = wire(build)

    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(blinka.import_bus(), "__init__", refuse)
    with pytest.raises(DriverError, match=fault):
        await driver(lane).read()
    assert not machine.buses._nodes


@pytest.mark.parametrize("times", [1, 2])
async def test_chip_that_another_program_keeps_busy(
    build: Build, lane: Lane, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    """A write that a running conversion made the chip ignore is written once more."""
    chip = wire(build).chip("chip")
    ignored = times * [bme280.CONFIG]
    write = chip._set

    def busy(register: int, value: int) -> None:
        if register in ignored:
            ignored.remove(register)
        else:
            write(register, value)

    monkeypatch.setattr(chip, "_set", busy)
    sensor = driver(lane)
    if times > 1:
        with pytest.raises(BadFrameError, match=Fault.BAD_REGISTERS):
            await sensor.read()
    assert_values(await sensor.read(), VALUES)
    assert not ignored


async def test_no_node(build: Build, lane: Lane) -> None:
    """A bus without a node is an error that names it."""
    machine = wire(build, bus={"node": False})
    with pytest.raises(DeviceAccessError, match=Fault.BUS_NO_NODE) as error:
        await driver(lane).read()
    assert error.value.details == {"node": str(machine.dev / "i2c-1")}


async def test_no_permission(build: Build, lane: Lane, as_nobody: AsNobody) -> None:
    """A node that is not ours to open is an error that names it."""
    machine = wire(build, bus={"mode": "000"})
    with (
        as_nobody(),
        pytest.raises(DeviceAccessError, match=Fault.NO_PERMISSION) as error,
    ):
        await driver(lane).read()
    assert error.value.details == {"node": str(machine.dev / "i2c-1")}


async def test_no_bus(build: Build, lane: Lane) -> None:
    """A bus that was never there is not found."""
    build()
    with pytest.raises(DeviceNotFoundError, match=Fault.BUS_NOT_FOUND):
        await driver(lane).read()


def test_bus_removed_while_it_is_opened(build: Build) -> None:
    """A bus that goes between being found and being opened is not found."""
    machine = wire(build)
    adapter = sysfs.i2c_adapter(PINS)
    machine.unplug_bus(1)
    with pytest.raises(DeviceNotFoundError, match=Fault.BUS_NOT_FOUND):
        Registers(adapter, ADDRESS)


async def test_given_up(build: Build, lane: Lane) -> None:
    """A reading that is given up leaves nothing behind for the next one."""
    machine = wire(build)
    chip = driver(lane)
    await chip.read()
    machine.chip("chip").fail("stuck", count=1)
    reading = asyncio.create_task(chip.read())
    await asyncio.sleep(0.005)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert lane.failing
    await asyncio.wrap_future(lane.finish(lambda: None))
    machine.chip("chip").values |= OTHERS
    assert_values(await chip.read(), OTHERS)
    await chip.close()
