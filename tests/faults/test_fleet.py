"""Many devices, a third of which hang."""

from threading import enumerate as threads

from homeassistant.core import CoreState, HomeAssistant
from homeassistant.setup import async_setup_component
import pytest

from custom_components.temperature_logger.const import DOMAIN
from custom_components.temperature_logger.drivers import Fault, workers
from custom_components.temperature_logger.drivers.usb import layouts, temper
from emulation.fleet import fleet
from tests.drivers.conftest import Build

from .conftest import Home, stick_entry

pytestmark = pytest.mark.warns("Error fetching")

SIZE = 333


@pytest.fixture(autouse=True)
def long_timeouts(short_timeouts: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Allow many devices more time than real ones get, as the machine is slower."""
    monkeypatch.setattr(layouts, "REPORT_TIMEOUT_S", 3.0)
    monkeypatch.setattr(temper, "FIRMWARE_TIMEOUTS_S", (3.0, 3.0))
    monkeypatch.setattr(workers, "DEVICE_TIMEOUT_S", 60)


def worker_threads() -> int:
    """Return how many threads the workers have."""
    return sum(thread.name.startswith("temperature_logger") for thread in threads())


@pytest.mark.parametrize(
    ("fault", "argument", "trouble", "each"),
    [
        pytest.param("timeout", None, Fault.NO_ANSWER, 0, id="silent"),
        # The time after which the kernel gives up a dead control pipe; a poll outlives
        # it.
        pytest.param("control-timeout", 2, Fault.REFUSED, 1, id="hanging"),
    ],
)
async def test_a_third_fails(
    hass: HomeAssistant,
    build: Build,
    fault: str,
    argument: float | None,
    trouble: Fault,
    each: int,
) -> None:
    """All others publish in the same poll; each device that hangs has one thread.

    In the end there is none.
    """
    specs = [
        spec | {"temperature": 20.0, "external_temperature": 5.0}
        for spec in fleet(SIZE, "temper")["usb"]
    ]
    home = Home(hass, build(*specs))
    await async_setup_component(hass, DOMAIN, {})
    for spec in specs:
        home.add(stick_entry(spec, "TEMPer2"))
    await home.set_up()
    failing = [spec["name"] for spec in specs[::3]]
    for stick in failing:
        home.machine.stick(stick).fail(fault, argument)
    for _ in range(2):
        home.change()
        await home.poll()
        home.assert_others_went_on(*failing)
        assert {home.trouble(stick) for stick in failing} <= {trouble, Fault.HANGING}
        assert worker_threads() <= workers.THREADS + each * len(failing)
    for stick in failing:
        home.machine.stick(stick).clear()
    home.change()
    await home.poll()
    home.assert_others_went_on()
    home.assert_nothing_wrong()
    await hass.async_stop()
    assert hass.state is CoreState.stopped
    assert worker_threads() == 0
