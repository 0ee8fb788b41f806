"""Every chip of Bosch's gives the reading of one proven conversion, or an error."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
import errno
import os
import re

import pytest

from custom_components.temperature_logger.drivers import DriverError, Fault, sysfs
from custom_components.temperature_logger.drivers.errors import (
    BadFrameError,
    DeviceAccessError,
    DeviceNotFoundError,
)
from custom_components.temperature_logger.drivers.i2c import blinka, bosch
from custom_components.temperature_logger.drivers.i2c.bosch import BoschChip
from custom_components.temperature_logger.drivers.i2c.bus import (
    PowerLostError,
    Registers,
)
from custom_components.temperature_logger.drivers.places import I2cPlace
from custom_components.temperature_logger.drivers.readings import Identity
from custom_components.temperature_logger.drivers.workers import Lane
from emulation import chips, i2c
from emulation.chips import Chip
from emulation.i2c import Bus
from emulation.machine import Machine
from tests.drivers.conftest import AsNobody, Build
from tests.drivers.waiting import until

from .chips import (
    ADDRESS,
    BME280,
    BME680,
    BME688,
    BMP280,
    MODELS,
    OTHER_VALUES,
    PINS,
    VALUES,
    VALUES_TRANSFER,
    Model,
    assert_reads,
    assert_reads_without,
    before_transfer,
    codes_of,
    publish,
    written,
)

HUMIDITY = 2
"""The register of its code."""
ALL_MODELS = (*MODELS, BME688)
QUANTITIES = ("temperature", "pressure", "humidity")
"""The quantities in the order of their codes."""


def name_of(value: object) -> str | None:
    """Return the name of a model for the id of a test, and none for other values."""
    return value.name if isinstance(value, Model) else None


def for_each(
    name: str, count: Callable[[Model], int], models: Iterable[Model] = MODELS
) -> pytest.MarkDecorator:
    """Run a test for each model and each of its transfers or writes."""
    pairs = [(model, number) for model in models for number in range(count(model))]
    return pytest.mark.parametrize(("model", name), pairs, ids=name_of)


has_humidity = pytest.mark.parametrize("model", [BME280, BME680], ids=name_of)
each_calibration = for_each(
    "calibration", lambda model: len(model.calibrations), ALL_MODELS
)
each_quantity = for_each("quantity", lambda model: len(model.quantities))
each_transfer = for_each("transfer", lambda model: model.transfers)
each_first_transfer = for_each("transfer", lambda model: model.first_transfers)


@pytest.fixture(name="model", params=MODELS, ids=name_of)
def model_fixture(request: pytest.FixtureRequest) -> Model:
    """Return the model of the chip."""
    assert isinstance(request.param, Model)
    return request.param


@each_calibration
async def test_values(
    chip: Chip, model: Model, unread: BoschChip, calibration: int
) -> None:
    """The value read is the chip's value, whatever its trimming."""
    chip.calibration = model.calibrations[calibration]
    for values in (
        VALUES,
        {"temperature": -30.5, "pressure": 870.4, "humidity": 5.5},
        {"temperature": 60.25, "pressure": 1090.0, "humidity": 95.1},
    ):
        chip.values |= values
        await assert_reads(unread, values)


@pytest.mark.parametrize("model", ALL_MODELS, ids=name_of)
async def test_identity(
    board: Machine, lane: Lane, model: Model, unread: BoschChip
) -> None:
    """A chip is identified by its model and its trimming."""
    assert (unread.identity.model, unread.facts, unread.quantities) == ("", {}, ())
    await unread.read()
    assert unread.identity == Identity(
        manufacturer="Bosch Sensortec",
        model=model.name,
    )
    assert unread.quantities == model.quantities
    assert unread.facts.keys() == {"chip", "trimming_hash"}
    assert unread.facts["chip"] == model.name
    trimming_hash = unread.facts["trimming_hash"]
    again = model.driver(
        lane, I2cPlace(PINS, ADDRESS), {"trimming_hash": trimming_hash}
    )
    await again.read()
    assert again.facts == unread.facts
    await again.close()


async def test_cost_of_a_reading(chip: Chip, model: Model, unread: BoschChip) -> None:
    """A reading is one conversion without heating, and one burst after its end."""
    await unread.read()
    first = Counter(transfers=model.first_transfers, conversions=1)
    assert chip.counters == first
    await unread.read()
    assert chip.counters - first == {"transfers": model.transfers, "conversions": 1}
    assert not chip.counters["early_reads"]
    assert not chip.counters["heated"]
    assert not chip.counters["resets"]


async def test_read_again(chip: Chip, driver: BoschChip) -> None:
    """A second reading is a conversion of its own."""
    before = chip.counters["conversions"]
    await driver.read_again()
    assert chip.counters["conversions"] == before + 1


async def test_identify(
    bus: Bus, chip: Chip, driver: BoschChip, model: Model, lane: Lane
) -> None:
    """The hash of the coefficients is read without a write to the chip."""
    bus.log.clear()
    other = model.driver(lane, I2cPlace(PINS, ADDRESS), {})
    assert await other.identify() == driver.facts["trimming_hash"]
    await other.close()
    assert not written(bus)


async def test_closed_and_opened_again(board: Machine, driver: BoschChip) -> None:
    """A driver holds the node from its first reading until it is closed."""
    assert len(board.buses.open_nodes) == 1
    await driver.close()
    assert not board.buses.open_nodes
    await assert_reads(driver, VALUES)
    assert len(board.buses.open_nodes) == 1


# Failed conversions


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ("lost-trigger", Fault.CONVERSION_LOST),
        ("stuck", Fault.CONVERSION_UNFINISHED),
        ("nodata", Fault.BAD_REGISTERS),
        ("ff", None),
        ("zero", Fault.CONVERSION_LOST),
    ],
)
async def test_failed_conversion(
    chip: Chip,
    driver: BoschChip,
    lane: Lane,
    model: Model,
    fault: str,
    expected: Fault | None,
) -> None:
    """Without a conversion there is no reading; with the next one there is."""
    chip.fail(fault)
    with pytest.raises(BadFrameError, match=expected or model.all_ff):
        await driver.read()
    assert lane.failing
    chip.clear()
    if fault == "stuck":  # A BME680 ignores commands while it measures.
        chip.power_cycle()
    chip.values |= OTHER_VALUES
    await assert_reads(driver, OTHER_VALUES)
    assert not lane.failing


@pytest.mark.parametrize("fault", ["ff", "zero"])
async def test_burst_of_nothing(
    bus: Bus, chip: Chip, driver: BoschChip, fault: str
) -> None:
    """A wire that is stuck during the burst gives no reading."""
    before_transfer(bus, VALUES_TRANSFER, lambda: chip.fail(fault, count=1))
    with pytest.raises(BadFrameError, match=Fault.BAD_REGISTERS):
        await driver.read()


async def test_lost_trigger_is_sent_again(chip: Chip, driver: BoschChip) -> None:
    """One lost trigger costs nothing, and gives no old value."""
    chip.values |= OTHER_VALUES
    chip.fail("lost-trigger", count=1)
    await assert_reads(driver, OTHER_VALUES)


async def test_every_write_lost(chip: Chip, driver: BoschChip) -> None:
    """A chip that ignores every write gives no old value either."""
    chip.fail("lost-write")
    with pytest.raises(BadFrameError, match=Fault.CONVERSION_LOST):
        await driver.read()


async def test_slow_bus(
    chip: Chip, driver: BoschChip, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A conversion that ends before it can be seen is proven all the same."""
    monkeypatch.setattr(i2c, "BYTE_TIME", 0.004)
    chip.outrun = True
    chip.values |= OTHER_VALUES
    await assert_reads(driver, OTHER_VALUES)


async def test_another_program_uses_the_chip(
    bus: Bus, chip: Chip, driver: BoschChip, model: Model
) -> None:
    """A conversion with another program's settings is not used."""
    other = bytes((driver.SENSOR.CTRL_MEAS, 0x48))
    before_transfer(bus, model.transfers - 1, lambda: chip.write(other))
    with pytest.raises(BadFrameError, match=Fault.BAD_REGISTERS):
        await driver.read()


@each_quantity
@pytest.mark.parametrize("code", [0x00000, 0x0000F, 0xFFFF0, 0xFFFFC, 0xFFFFF], ids=hex)
async def test_stuck_codes(
    chip: Chip,
    driver: BoschChip,
    monkeypatch: pytest.MonkeyPatch,
    code: int,
    quantity: int,
) -> None:
    """Stuck bits are not a value: they cost their quantity, or all with the first."""
    codes = codes_of(chip)
    publish(monkeypatch, codes)
    await assert_reads(driver, VALUES)
    # The code of the humidity has four bits less.
    codes[quantity] = code >> 4 if quantity == HUMIDITY else code
    if QUANTITIES[quantity] == "temperature":
        with pytest.raises(BadFrameError, match=Fault.BAD_REGISTERS):
            await driver.read()
    else:
        await assert_reads_without(driver, QUANTITIES[quantity])


@for_each("quantity", lambda model: len(model.quantities) - 1)
async def test_skipped_measurement(
    chip: Chip, driver: BoschChip, monkeypatch: pytest.MonkeyPatch, quantity: int
) -> None:
    """The code of a skipped pressure or humidity costs that quantity alone."""
    codes = codes_of(chip)
    publish(monkeypatch, codes)
    codes[quantity + 1] = 0x8000 if quantity + 1 == HUMIDITY else 0x80000
    for _ in range(2):
        await assert_reads_without(driver, QUANTITIES[quantity + 1])


async def test_temperature_with_the_code_of_a_skipped_one(
    chip: Chip, driver: BoschChip, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At about 25 °C the code may mean "skipped"; another conversion gives a value."""
    codes = codes_of(chip)
    conversions = iter([0x80000, 0x80000, 0x80010])

    def measured(*_: object) -> list[int]:
        codes[0] = next(conversions)
        return codes

    monkeypatch.setattr(chips, "codes", measured)
    before = chip.counters.copy()
    reading = await driver.read()
    expected = chip.calibration.temperature(0x80010)
    assert reading.temperature == pytest.approx(expected, abs=0.001)
    assert not reading.faults
    assert chip.counters - before == {
        "transfers": 3 * model.transfers,
        "conversions": 3,
    }


async def test_temperature_that_is_never_measured(
    chip: Chip, driver: BoschChip, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A temperature part that always gives this code is dead, also after a reset."""
    codes = codes_of(chip)
    publish(monkeypatch, codes)
    codes[0] = 0x80000
    with pytest.raises(BadFrameError, match=Fault.BAD_REGISTERS):
        await driver.read()
    assert chip.counters["resets"] == 1


async def test_nothing_measured_once(
    chip: Chip, driver: BoschChip, model: Model
) -> None:
    """A conversion that measures nothing is repeated, and gives no value."""
    chip.values |= OTHER_VALUES
    chip.fail("nodata", count=1)
    before = chip.counters.copy()
    await assert_reads(driver, OTHER_VALUES)
    assert (chip.counters - before)["transfers"] == 2 * model.transfers
    assert not chip.counters["resets"]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (85.2, "value 85.20 °C, low -40, high 85"),
        (-40.2, "value -40.20 °C, low -40, high 85"),
    ],
)
async def test_temperature_out_of_range(
    chip: Chip, unread: BoschChip, value: float, message: str
) -> None:
    """A temperature that the chip cannot measure is an error that quotes it."""
    chip.values["temperature"] = value
    with pytest.raises(BadFrameError, match=rf"^out_of_range \({message}\)$"):
        await unread.read()


@pytest.mark.parametrize(
    ("value", "text"),
    [(1101.0, "110[01].[0-9]{2} hPa"), (299.0, "29[89].[0-9]{2} hPa")],
)
async def test_pressure_out_of_range(
    chip: Chip, unread: BoschChip, value: float, text: str
) -> None:
    """A pressure that the chip cannot measure costs itself, and its fault quotes it."""
    chip.values["pressure"] = value
    reading = await unread.read()
    assert reading.faults.keys() == {"pressure"}
    fault, details = reading.faults["pressure"]
    assert fault is Fault.OUT_OF_RANGE
    assert re.fullmatch(text, details["value"])
    assert (details["low"], details["high"]) == ("300", "1100")
    assert reading.values.keys() == {*unread.quantities} - {"pressure"}


@has_humidity
@pytest.mark.parametrize(
    ("value", "text"), [(111.0, "11[01].[0-9]{2} %"), (-11.0, "-1[01].[0-9]{2} %")]
)
async def test_humidity_out_of_range(
    chip: Chip, unread: BoschChip, value: float, text: str
) -> None:
    """A humidity far beyond 0 or 100 % costs itself, and its fault quotes it."""
    chip.values["humidity"] = value
    reading = await unread.read()
    assert reading.faults.keys() == {"humidity"}
    fault, details = reading.faults["humidity"]
    assert fault is Fault.OUT_OF_RANGE
    assert re.fullmatch(text, details["value"])
    assert reading.values.keys() == {"temperature", "pressure"}


@has_humidity
@pytest.mark.parametrize(("value", "read"), [(104.0, 100.0), (-5.0, 0.0)])
async def test_saturated_and_dry_air(
    chip: Chip, unread: BoschChip, value: float, read: float
) -> None:
    """A humidity just beyond 0 or 100 % is limited to that range."""
    chip.values["humidity"] = value
    assert (await unread.read()).humidity == read


async def test_coefficients_that_divide_by_zero(
    chip: Chip, unread: BoschChip, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Coefficients that would divide by zero cost the pressure alone."""
    publish(monkeypatch, codes_of(chip))
    nothing = (0,) * len(chip.calibration.p)
    chip.calibration = replace(chip.calibration, p=nothing)
    await assert_reads_without(unread, "pressure")


async def test_no_coefficients(chip: Chip, unread: BoschChip) -> None:
    """Without coefficients there is no reading; with them there is one again."""
    chip.fail("zero-calibration")
    with pytest.raises(BadFrameError, match=Fault.BAD_REGISTERS):
        await unread.read()
    chip.clear()
    await assert_reads(unread, VALUES)


# A chip that lost its power or was replaced, or has another master


@each_transfer
async def test_brown_out(
    bus: Bus, chip: Chip, driver: BoschChip, transfer: int
) -> None:
    """A chip that lost its settings gets them back in the same poll."""
    chip.values |= OTHER_VALUES
    before_transfer(bus, transfer, chip.power_cycle)
    await assert_reads(driver, OTHER_VALUES)
    await assert_reads(driver, OTHER_VALUES)


async def test_brown_out_again(
    bus: Bus, chip: Chip, driver: BoschChip, model: Model
) -> None:
    """A chip that loses its power with each conversion has no reading."""
    for transfer in (VALUES_TRANSFER, model.first_transfers + VALUES_TRANSFER):
        before_transfer(bus, transfer, chip.power_cycle)
    with pytest.raises(BadFrameError, match=Fault.BAD_REGISTERS) as error:
        await driver.read()
    assert isinstance(error.value.__cause__, PowerLostError)
    await assert_reads(driver, VALUES)


@pytest.mark.parametrize("times", [1, 2])
async def test_chip_that_another_program_keeps_busy(
    chip: Chip,
    model: Model,
    unread: BoschChip,
    monkeypatch: pytest.MonkeyPatch,
    times: int,
) -> None:
    """A write that a running conversion made the chip ignore is repeated.

    If both tries are lost, a reset follows.
    """
    monkeypatch.setattr(unread.SENSOR, "LONGEST_CONVERSION_S", 0.001)
    chip.fail("lost-write", count=times * model.settings)
    await assert_reads(unread, VALUES)
    assert chip.fault is None
    assert chip.counters["resets"] == times - 1


async def test_chip_that_accepts_no_settings(
    chip: Chip, model: Model, unread: BoschChip, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A chip that accepts no settings is an error, until it accepts them."""
    monkeypatch.setattr(unread.SENSOR, "LONGEST_CONVERSION_S", 0.001)
    for _ in range(2):
        chip.fail("lost-write")
        with pytest.raises(BadFrameError, match=Fault.BAD_REGISTERS):
            await unread.read()
    chip.clear()
    await assert_reads(unread, VALUES)
    assert unread.quantities == model.quantities


# The reset of a chip


@has_humidity
async def test_locked_setting(
    chip: Chip, unread: BoschChip, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A chip that keeps its humidity off after power-up works after a reset.

    The first conversion after the reset is not used.
    """
    monkeypatch.setattr(unread.SENSOR, "LONGEST_CONVERSION_S", 0.001)
    chip.fail("locked-humidity")
    await assert_reads(unread, VALUES)
    assert (chip.counters["resets"], chip.counters["conversions"]) == (1, 2)


@pytest.mark.parametrize(
    ("model", "part"),
    [
        (model, part)
        for model in MODELS
        for part in ("pressure", "humidity")
        if part in model.quantities
    ],
    ids=name_of,
)
async def test_dead_part(
    chip: Chip, lane: Lane, model: Model, unread: BoschChip, part: str
) -> None:
    """A dead part costs its quantity, and one reset until it has worked again."""
    for resets in (1, 2):
        chip.fail(f"dead-{part}")
        for _ in range(2):
            await assert_reads_without(unread, part)
            again = model.driver(lane, I2cPlace(PINS, ADDRESS), {})
            await assert_reads_without(again, part)
            await again.close()
        assert chip.counters["resets"] == resets
        before = chip.counters.copy()
        await assert_reads_without(unread, part)
        cost = {"transfers": model.transfers, "conversions": 1}
        assert chip.counters - before == cost
        chip.clear()
        await assert_reads(unread, VALUES)


async def test_value_that_a_reset_repairs(
    bus: Bus, chip: Chip, driver: BoschChip, model: Model
) -> None:
    """An impossible value that a reset repairs costs nothing."""
    chip.values["temperature"] = 99.0
    before_transfer(bus, model.transfers, lambda: chip.values.update(OTHER_VALUES))
    await assert_reads(driver, OTHER_VALUES)
    assert chip.counters["resets"] == 1
    assert chip.counters["conversions"] == 4


@pytest.mark.parametrize("chip_id", [0x50, 0xFF])
async def test_reset_of_another_chip(
    bus: Bus, chip: Chip, driver: BoschChip, model: Model, chip_id: int
) -> None:
    """A chip with an unknown id is not reset."""
    chip.values["temperature"] = 99.0
    before_transfer(bus, model.transfers, lambda: vars(chip).update(chip_id=chip_id))
    with pytest.raises(BadFrameError, match=f"chip_id {chip_id:#04x}"):
        await driver.read()
    assert not chip.counters["resets"]


@pytest.mark.parametrize("transfers", [0, 2])
async def test_exchanged_for_another_chip(
    bus: Bus, chip: Chip, driver: BoschChip, model: Model, transfers: int
) -> None:
    """A chip that another one replaces before or during its reset gives no value."""

    def exchange() -> None:
        chip.calibration = model.calibrations[1]
        if not transfers:
            chip.chip_id = 0x60 if model is BME680 else 0x61

    chip.values["pressure"] = 2000.0
    before_transfer(bus, model.transfers + transfers, exchange)
    with pytest.raises(DeviceNotFoundError, match=Fault.CHIP_CHANGED):
        await driver.read()
    assert chip.counters["resets"] == bool(transfers)


async def test_failed_reset(
    bus: Bus, chip: Chip, driver: BoschChip, model: Model
) -> None:
    """A fault of the bus during a reset does not cost the other quantities."""
    chip.fail("dead-pressure")
    facts = driver.facts
    # The third transfer of a reset reads the coefficients, before the settings.
    before_transfer(bus, model.transfers + 2, lambda: bus.fail("eio", count=1))
    await assert_reads_without(driver, "pressure")
    assert (driver.facts, driver.quantities) == (facts, model.quantities)
    chip.clear()
    await assert_reads(driver, VALUES)


@pytest.mark.parametrize("fault", ["nack", "eio"])
async def test_slow_reset(
    bus: Bus, chip: Chip, driver: BoschChip, model: Model, fault: str
) -> None:
    """A chip that does not answer at once after its reset gets more time."""
    chip.fail("dead-pressure")

    def restart() -> None:
        chip.clear()
        bus.fail(fault, count=5)

    # The third transfer of a reset is the first one after it.
    before_transfer(bus, model.transfers + 2, restart)
    await assert_reads(driver, VALUES)
    assert chip.counters["resets"] == 1


async def test_chip_that_never_answers_after_its_reset(
    bus: Bus, chip: Chip, driver: BoschChip, model: Model
) -> None:
    """The values from before the reset are published; the next poll says what is."""
    chip.fail("dead-pressure")
    before_transfer(bus, model.transfers + 2, lambda: bus.fail("nack"))
    await assert_reads_without(driver, "pressure")
    with pytest.raises(DeviceNotFoundError, match=Fault.CHIP_NOT_FOUND):
        await driver.read()
    bus.clear()
    chip.clear()
    await assert_reads(driver, VALUES)


async def test_reset_for_each_fault(chip: Chip, driver: BoschChip) -> None:
    """A part that is dead for ever does not keep another fault from a reset."""
    chip.fail("dead-pressure")
    for _ in range(2):
        await assert_reads_without(driver, "pressure")
    assert chip.counters["resets"] == 1
    chip.fail("dead-humidity")
    if "humidity" in driver.quantities:
        for _ in range(2):
            await assert_reads_without(driver, "humidity")
        assert chip.counters["resets"] == 2


async def test_reset_again_after_the_chip_was_away(
    chip: Chip, driver: BoschChip, model: Model
) -> None:
    """A chip that was away may be another one, so it can be reset again."""
    chip.fail("dead-pressure")
    await assert_reads_without(driver, "pressure")
    chip.fail("gone")
    with pytest.raises(DeviceNotFoundError, match=Fault.CHIP_NOT_FOUND):
        await driver.read()
    chip.fail("dead-pressure")
    await assert_reads_without(driver, "pressure")
    assert chip.counters["resets"] == 2
    assert driver.quantities == model.quantities


@pytest.mark.parametrize("running", [True, False])
async def test_another_chip(
    chip: Chip, driver: BoschChip, lane: Lane, model: Model, *, running: bool
) -> None:
    """Another chip at the address is not read in place of the first."""
    trimming_hash = driver.facts["trimming_hash"]
    known = model.driver(
        lane, I2cPlace(PINS, ADDRESS), {"trimming_hash": trimming_hash}
    )
    if running:
        await known.read()
    chip.calibration = model.calibrations[1]
    chip.power_cycle()
    with pytest.raises(DeviceNotFoundError, match=Fault.CHIP_CHANGED):
        await known.read()
    await known.close()


@pytest.mark.parametrize(
    ("model", "other"), [(BME280, BME680), (BME680, BME280)], ids=name_of
)
async def test_chip_of_the_other_driver(bus: Bus, lane: Lane, other: Model) -> None:
    """A BME280 is not read in place of a BME680, nor a BME680 in place of a BME280."""
    with pytest.raises(DeviceNotFoundError, match=Fault.CHIP_CHANGED):
        await other.driver(lane, I2cPlace(PINS, ADDRESS), {}).read()
    assert not written(bus)


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
    bus: Bus,
    chip: Chip,
    unread: BoschChip,
    chip_id: int,
    fault: Fault,
    details: dict[str, str],
) -> None:
    """A chip that is not supported is named, and nothing is written to it."""
    chip.chip_id = chip_id
    with pytest.raises(BadFrameError) as error:
        await unread.read()
    assert (error.value.fault, error.value.details) == (fault, details)
    with pytest.raises(BadFrameError, match=fault):
        bosch.probe(sysfs.i2c_adapter(PINS), ADDRESS)
    assert not written(bus)


@pytest.mark.parametrize("model", [BMP280], ids=name_of)
@pytest.mark.parametrize("chip_id", [0x56, 0x57], ids=hex)
async def test_samples_of_a_bmp280(chip: Chip, unread: BoschChip, chip_id: int) -> None:
    """The samples of a BMP280 from before its series are read as one."""
    chip.chip_id = chip_id
    assert bosch.probe(sysfs.i2c_adapter(PINS), ADDRESS) == BMP280.probed
    await assert_reads(unread, VALUES)
    assert unread.identity.model == "BMP280"


def test_probe(bus: Bus, chip: Chip, model: Model) -> None:
    """A probe reads one register to identify a chip, and writes nothing."""
    assert bosch.probe(sysfs.i2c_adapter(PINS), ADDRESS) == model.probed
    assert chip.counters == {"transfers": 1}
    assert not written(bus)
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
        # The trigger may get lost silently; the transfers that detect this are
        # repeated.
        (errno.EAGAIN, BadFrameError, Fault.BUS_ERROR, 3),
    ],
    ids=lambda value: errno.errorcode.get(value) if isinstance(value, int) else "",
)
async def test_bus_error(
    board: Machine,
    chip: Chip,
    driver: BoschChip,
    monkeypatch: pytest.MonkeyPatch,
    *,
    number: int,
    kind: type[DriverError],
    fault: Fault,
    transfers: int,
) -> None:
    """Each error that the kernel gives for a transfer becomes a driver error."""
    monkeypatch.setitem(i2c.ERRORS, "eio", number)
    chip.fail("eio")
    before = chip.counters["transfers"]
    with pytest.raises(kind, match=fault):
        await driver.read()
    assert chip.counters["transfers"] == before + transfers
    # Nothing is left open of a chip or bus that is gone, once the event loop and the
    # worker have dropped the error.
    await until(lambda: kind is BadFrameError or not board.buses.open_nodes)
    assert bool(board.buses.open_nodes) == (kind is BadFrameError)
    chip.clear()
    chip.values |= OTHER_VALUES
    await assert_reads(driver, OTHER_VALUES)
    await driver.close()
    await until(lambda: not board.buses.open_nodes)


async def test_timeout_of_the_bus(chip: Chip, driver: BoschChip) -> None:
    """A bus that is held low costs the poll one time-out of the kernel."""
    chip.fail("timeout", 0.01)
    message = r"bus_error \(error Connection timed out\)"
    with pytest.raises(BadFrameError, match=message):
        await driver.read()


@each_transfer
async def test_arbitration_lost_once(
    bus: Bus, chip: Chip, driver: BoschChip, transfer: int
) -> None:
    """A transfer that lost the bus to another master is repeated."""
    chip.values |= OTHER_VALUES
    before_transfer(bus, transfer, lambda: bus.fail("arb", count=1))
    await assert_reads(driver, OTHER_VALUES)


@each_first_transfer
async def test_arbitration_lost_while_initialising(
    bus: Bus, chip: Chip, unread: BoschChip, transfer: int
) -> None:
    """A lost setting is noticed: there is a right value or an error."""
    before_transfer(bus, transfer, lambda: bus.fail("arb", count=1))
    try:
        await assert_reads(unread, VALUES)
    except BadFrameError as err:
        assert err.fault is Fault.BAD_REGISTERS  # noqa: PT017 - either is right
        await assert_reads(unread, VALUES)
    assert not chip.counters["heated"]


@each_first_transfer
async def test_garbage(
    bus: Bus, chip: Chip, lane: Lane, unread: BoschChip, transfer: int
) -> None:
    """Corrupted bytes raise nothing but driver errors."""
    before_transfer(bus, transfer, lambda: chip.fail("garbage", count=1))
    try:
        await unread.read()
    except DriverError:
        assert lane.failing


async def test_bus_under_another_number(board: Machine, driver: BoschChip) -> None:
    """A bus that returns under another number is found."""
    board.unplug_bus(1)
    await driver.read()  # The open node still works, until it is closed.
    await driver.close()
    for _ in range(2):
        with pytest.raises(DeviceNotFoundError, match=Fault.BUS_DISABLED):
            await driver.read()
    board.renumber_bus(1, 7)
    board.plug_bus(7)
    await assert_reads(driver, VALUES)


async def test_address_held(build: Build, model: Model, unread: BoschChip) -> None:
    """An address held by a kernel driver is not touched."""
    board = build(i2c=[model.on_pins(held={"0x76": "bmp280"})])
    with pytest.raises(DeviceAccessError, match=Fault.ADDRESS_HELD) as error:
        await unread.read()
    assert error.value.details == {"address": "0x76"}
    assert not board.chip("chip").counters


async def test_address_held_later(bus: Bus, driver: BoschChip) -> None:
    """An address is not touched after a kernel driver takes it between two polls."""
    bus.kernel_addresses.add(ADDRESS)
    with pytest.raises(DeviceAccessError, match=Fault.ADDRESS_HELD):
        await driver.read()


@pytest.mark.parametrize(
    ("number", "fault"),
    [
        (errno.ENXIO, Fault.BUS_NOT_FOUND),
        (errno.ENODEV, Fault.BUS_NOT_FOUND),
        (errno.EIO, Fault.BUS_ERROR),
    ],
)
async def test_node_that_cannot_be_opened(
    board: Machine,
    unread: BoschChip,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    fault: Fault,
) -> None:
    """Every error on opening the node becomes a driver error."""

    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(blinka.import_bus(), "__init__", refuse)
    with pytest.raises(DriverError, match=fault):
        await unread.read()
    assert not board.buses.open_nodes


async def test_no_node(build: Build, model: Model, unread: BoschChip) -> None:
    """The error names a bus without a node."""
    board = build(i2c=[model.on_pins(node=False)])
    with pytest.raises(DeviceAccessError, match=Fault.BUS_NO_NODE) as error:
        await unread.read()
    assert error.value.details == {"node": str(board.dev / "i2c-1")}


async def test_no_permission(
    build: Build, model: Model, unread: BoschChip, as_nobody: AsNobody
) -> None:
    """The error names a node that may not be opened."""
    board = build(i2c=[model.on_pins(mode="000")])
    with (
        as_nobody(),
        pytest.raises(DeviceAccessError, match=Fault.NO_PERMISSION) as error,
    ):
        await unread.read()
    assert error.value.details == {"node": str(board.dev / "i2c-1")}


async def test_no_bus(build: Build, unread: BoschChip) -> None:
    """A bus that never existed is not found."""
    build()
    with pytest.raises(DeviceNotFoundError, match=Fault.BUS_NOT_FOUND):
        await unread.read()


def test_bus_removed_while_opening(board: Machine) -> None:
    """A bus that disappears between search and opening is not found."""
    adapter = sysfs.i2c_adapter(PINS)
    board.unplug_bus(1)
    with pytest.raises(DeviceNotFoundError, match=Fault.BUS_NOT_FOUND):
        Registers(adapter, ADDRESS)


async def test_cancelled_reading(
    chip: Chip, driver: BoschChip, lane: Lane, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cancelled reading leaves nothing behind for the next one."""
    before = chip.counters["transfers"]
    with monkeypatch.context() as patch:
        # The conversion has not ended when the reading is cancelled.
        long = property(lambda _: 60.0)
        patch.setattr(driver.SENSOR, "conversion_s", long, raising=False)
        reading = asyncio.create_task(driver.read())
        await until(lambda: chip.counters["transfers"] > before and not lane.busy)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
    assert lane.failing
    await asyncio.wrap_future(lane.finish(lambda: None))
    chip.values |= OTHER_VALUES
    await assert_reads(driver, OTHER_VALUES)
