"""Faults of thermometers of other makers: silence or nonsense, until the fault ends."""

import pytest

from custom_components.temperature_logger.drivers import Fault
from tests.drivers.waiting import until

from .conftest import MAKERS, Home, outdated

pytestmark = pytest.mark.warns("Error fetching")

# device, fault, and its effect on the entities
FAULTS = (
    ("x232", "silent", Fault.NO_ANSWER),
    ("x232", "garbage", Fault.BAD_REPORT),
    ("x232", "partial", Fault.BAD_REPORT),
    # It answers every feature report, if only by a stall.
    ("hid", "stall", Fault.REFUSED),
    ("hid", "stale", Fault.BAD_REPORT),
    ("hid", "garbage", Fault.BAD_REPORT),
    ("monitor", "silent", Fault.NO_ANSWER),
    ("monitor", "garbage", Fault.BAD_REPORT),
    ("adapter", "silent", Fault.NO_ANSWER),
    ("adapter", "garbage", Fault.BAD_REPORT),
    ("go", "silent", Fault.NO_ANSWER),
    ("go", "zero", Fault.BAD_REPORT),
    # One report in a hundred random ones would be a valid humidity.
    ("lascar", "silent", Fault.NO_ANSWER),
    ("lascar", "ff", Fault.BAD_REPORT),
)


@pytest.mark.parametrize("home", [MAKERS], indirect=True)
@pytest.mark.parametrize(("device", "name", "expected"), FAULTS)
async def test_fault_costs_this_reading(
    home: Home, device: str, name: str, expected: Fault
) -> None:
    """A fault costs the readings of this device while it lasts."""
    await home.settle()
    home.change()
    home.machine.stick(device).fail(name)
    with outdated(device):
        await home.poll()
        assert home.trouble(device) == expected
        home.assert_others_went_on(device)
        await until(lambda: home.busy() == 0)
    home.machine.stick(device).clear()
    await home.assert_comes_back(device)
