"""Faults of I2C buses and chips give no wrong value, and end by themselves."""

from collections.abc import Callable

import pytest

from custom_components.temperature_logger.drivers import Fault
from emulation.i2c import Bus
from emulation.machine import Machine
from tests.drivers.i2c.chips import TRIGGER_TRANSFER, VALUES_TRANSFER, before_transfer

from .conftest import MAKERS, NO_FAULT, STICKS, Home

pytestmark = pytest.mark.warns("Error fetching")

type Inject = Callable[[Machine], None]

CHIP = "bme"


def bus_of(machine: Machine) -> Bus:
    """Return the bus of the chip that fails."""
    return machine.buses.numbered[1]


def fault(name: str, argument: float | None = None, count: int = 0) -> Inject:
    """Return a function that makes the chip fail."""
    return lambda machine: machine.chip(CHIP).fail(name, argument, count=count)


def fault_at(transfer: int, name: str) -> Inject:
    """Return a function that makes one transfer of the next reading fail."""

    def inject(machine: Machine) -> None:
        chip = machine.chip(CHIP)
        before_transfer(bus_of(machine), transfer, lambda: chip.fail(name, count=1))

    return inject


def brown_out(machine: Machine) -> None:
    """Let the chip lose its power for a moment."""
    machine.chip(CHIP).power_cycle()


def brown_out_while_measuring(machine: Machine) -> None:
    """Let the chip lose its power before its values are fetched."""
    before_transfer(bus_of(machine), VALUES_TRANSFER, machine.chip(CHIP).power_cycle)


def brown_out_without_calibration(machine: Machine) -> None:
    """Let the chip come back without its coefficients."""
    machine.chip(CHIP).power_cycle()
    machine.chip(CHIP).fail("zero-calibration")


def other_chip(machine: Machine) -> None:
    """Put another BME280 in the place of the chip."""
    chip = machine.chip(CHIP)
    chip.calibration = chip.CALIBRATIONS[2]
    chip.power_cycle()


def other_id(chip_id: int) -> Inject:
    """Return a function that replaces the chip by another kind."""

    def inject(machine: Machine) -> None:
        machine.chip(CHIP).chip_id = chip_id
        machine.chip(CHIP).power_cycle()

    return inject


# fault, and its effect on the entities
FAULTS = {
    "address NACK": (fault("nack"), Fault.CHIP_NOT_FOUND),
    # The name depends on the adapter's driver.
    "data NACK, EREMOTEIO": (fault_at(TRIGGER_TRANSFER, "nack"), Fault.CHIP_NOT_FOUND),
    "data NACK, EIO": (fault_at(TRIGGER_TRANSFER, "eio"), Fault.BUS_ERROR),
    "time-out": (fault("timeout", 0.05), Fault.BUS_ERROR),
    "arbitration lost at the trigger": (fault_at(TRIGGER_TRANSFER, "arb"), NO_FAULT),
    "arbitration lost at the burst": (fault_at(VALUES_TRANSFER, "arb"), NO_FAULT),
    "arbitration never won": (fault("arb"), Fault.BUS_ERROR),
    "I/O error": (fault("eio"), Fault.BUS_ERROR),
    "I/O error at the burst": (fault_at(VALUES_TRANSFER, "eio"), Fault.BUS_ERROR),
    "all ff": (fault("ff"), Fault.BAD_REGISTERS),
    "all ff at the burst": (fault_at(VALUES_TRANSFER, "ff"), Fault.BAD_REGISTERS),
    "all zero": (fault("zero"), Fault.CONVERSION_LOST),
    "all zero at the burst": (fault_at(VALUES_TRANSFER, "zero"), Fault.BAD_REGISTERS),
    "conversion never ends": (fault("stuck"), Fault.CONVERSION_UNFINISHED),
    "conversion never began": (fault("lost-trigger"), Fault.CONVERSION_LOST),
    "trigger lost once": (fault("lost-trigger", count=1), NO_FAULT),
    "skipped-measurement codes": (fault("nodata"), Fault.BAD_REGISTERS),
    "calibration read as zero": (brown_out_without_calibration, Fault.BAD_REGISTERS),
    "brown-out between polls": (brown_out, NO_FAULT),
    "brown-out while measuring": (brown_out_while_measuring, NO_FAULT),
    "another chip at the address": (other_chip, Fault.CHIP_CHANGED),
    "chip id of a BMP280": (other_id(0x58), Fault.CHIP_CHANGED),
    "chip id of a BME680": (other_id(0x61), Fault.CHIP_CHANGED),
    "chip id of a BMP388": (other_id(0x50), Fault.CHIP_UNSUPPORTED),
    "chip id of nothing": (other_id(0x00), Fault.CHIP_WIRING),
}


# The same for a BME680, where it differs from a BME280 or has code of its own.
FAULTS_680 = {
    "address NACK": (fault("nack"), Fault.CHIP_NOT_FOUND),
    "arbitration lost at the burst": (fault_at(VALUES_TRANSFER, "arb"), NO_FAULT),
    "I/O error": (fault("eio"), Fault.BUS_ERROR),
    "all ff": (fault("ff"), Fault.CONVERSION_LOST),
    "all ff at the burst": (fault_at(VALUES_TRANSFER, "ff"), Fault.BAD_REGISTERS),
    "all zero at the burst": (fault_at(VALUES_TRANSFER, "zero"), Fault.BAD_REGISTERS),
    "conversion never ends": (fault("stuck"), Fault.CONVERSION_UNFINISHED),
    "brown-out between polls": (brown_out, NO_FAULT),
    "brown-out while measuring": (brown_out_while_measuring, NO_FAULT),
    "another chip at the address": (other_chip, Fault.CHIP_CHANGED),
    "chip id of a BME280": (other_id(0x60), Fault.CHIP_CHANGED),
}
ROWS = {STICKS: FAULTS, MAKERS: FAULTS_680}


@pytest.mark.parametrize(
    ("home", "kind", "name"),
    [(kind, kind, name) for kind, rows in ROWS.items() for name in rows],
    ids=[
        f"{chip}, {name}"
        for chip, rows in zip(("BME280", "BME680"), ROWS.values(), strict=True)
        for name in rows
    ],
    indirect=["home"],
)
async def test_fault_costs_one_reading_at_most(
    home: Home, kind: str, name: str
) -> None:
    """A fault costs at most the readings of this chip while it lasts."""
    inject, expected = ROWS[kind][name]
    chip = home.machine.chip(CHIP)
    chip_id = chip.chip_id
    await home.settle()
    home.change()
    inject(home.machine)
    await home.poll()
    assert home.trouble(CHIP) == expected
    assert home.published(CHIP) == (expected is NO_FAULT)
    home.assert_others_went_on(CHIP)
    chip.clear()
    chip.calibration, chip.chip_id = chip.CALIBRATIONS[0], chip_id
    chip.power_cycle()
    await home.assert_comes_back(CHIP)


async def test_bus_held_low(home: Home) -> None:
    """A bus held for longer than a poll may take occupies one worker."""
    home.machine.chip(CHIP).fail("timeout", 60, count=1)
    home.change()
    await home.poll()
    for _ in range(2):
        assert home.trouble(CHIP) == Fault.HANGING
        assert home.busy() == 1
        await home.retry(CHIP)
    home.change()
    await home.poll()
    home.assert_others_went_on(CHIP)
    home.machine.chip(CHIP).clear()
    await home.settle()
    await home.assert_comes_back(CHIP)


async def test_adapter_under_another_number(home: Home) -> None:
    """A bus that went is unavailable, and found again under another number."""
    machine = home.machine
    machine.unplug_bus(1)
    home.change()
    await home.poll()
    # The second search, such as that after a hotplug event, finds it switched off.
    assert home.trouble(CHIP) in {Fault.BUS_NOT_FOUND, Fault.BUS_DISABLED}
    home.assert_others_went_on(CHIP)
    machine.renumber_bus(1, 7)
    machine.plug_bus(7)
    await home.assert_comes_back(CHIP)
