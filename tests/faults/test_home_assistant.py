"""Actions of Home Assistant during a poll: unload, reload, stop, and a clock change."""

import asyncio
from datetime import timedelta
from threading import active_count
import time

from homeassistant.config_entries import ConfigEntryState
from homeassistant.core import CoreState
from homeassistant.util import dt as dt_util
import pytest

from custom_components.temperature_logger.drivers import workers
from emulation.faults import Faulty
from tests.conftest import pass_time
from tests.drivers.waiting import until

from .conftest import LONG_BLOCK_S, Home

pytestmark = pytest.mark.warns("Error fetching")

HANGING_DEVICES = pytest.mark.parametrize(
    ("device", "fault", "seconds"),
    [
        ("two", "timeout", None),
        ("two", "control-timeout", LONG_BLOCK_S),
        ("borrowed", "timeout", None),
        ("borrowed", "control-timeout", None),
        ("bme", "timeout", 0.5),
        ("bme", "stuck", None),
    ],
)


def hardware(home: Home, device: str) -> Faulty:
    """Return a device's hardware."""
    machine = home.machine
    return machine.chip(device) if device == "bme" else machine.stick(device)


async def hang(
    home: Home, device: str, fault: str, seconds: float | None
) -> asyncio.Task[None]:
    """Begin a poll in which one device hangs."""
    home.change()
    failing = hardware(home, device)
    await home.settle()
    failing.fail(fault, seconds, count=1)
    poll = asyncio.create_task(home.poll())
    await until(lambda: failing.fault is None)
    return poll


@HANGING_DEVICES
async def test_unload_while_a_poll_hangs(
    home: Home, device: str, fault: str, seconds: float | None
) -> None:
    """The device is given back once the kernel releases it, and can be read again."""
    poll = await hang(home, device, fault, seconds)
    entry = home.entries[device]
    assert await home.hass.config_entries.async_unload(entry.entry_id)
    assert entry.state is ConfigEntryState.NOT_LOADED
    await poll
    home.assert_others_went_on(device)
    await until(lambda: home.busy() == 0)
    assert await home.hass.config_entries.async_setup(entry.entry_id)
    await home.poll()
    home.assert_others_went_on()


@HANGING_DEVICES
async def test_reload_while_a_poll_hangs(
    home: Home, device: str, fault: str, seconds: float | None
) -> None:
    """A device that is reloaded waits for its own hanging poll and for no other."""
    poll = await hang(home, device, fault, seconds)
    await home.hass.config_entries.async_reload(home.entries[device].entry_id)
    await poll
    home.assert_others_went_on(device)
    await until(lambda: home.busy() == 0)
    if home.trouble(device):
        await home.retry(device)
    assert home.trouble(device) is None


@HANGING_DEVICES
async def test_stop_while_a_poll_hangs(
    home: Home, device: str, fault: str, seconds: float | None
) -> None:
    """Home Assistant stops without a remaining thread, and gives each device back."""
    machine = home.machine
    poll = await hang(home, device, fault, seconds)
    await home.hass.async_stop()
    assert home.hass.state is CoreState.stopped
    await poll
    assert not home.workers.failing.threads + home.workers.healthy.threads
    for stick in ("gold", "two", "borrowed"):
        assert set(machine.device(stick).bound) == {0, 1}
        assert not machine.device(stick).claims
    assert not machine.buses.open_nodes


@pytest.mark.parametrize(
    ("device", "fault", "seconds"),
    # The first reload of a stick does not end before its command has.
    [("two", "control-timeout", 3 * LONG_BLOCK_S), ("bme", "timeout", 60)],
)
async def test_reloads_while_a_device_hangs(
    home: Home, device: str, fault: str, seconds: float
) -> None:
    """However often a device that hangs is set up, it occupies one worker."""
    poll = await hang(home, device, fault, seconds)
    for _ in range(3):
        await home.hass.config_entries.async_reload(home.entries[device].entry_id)
    await until(lambda: home.busy() <= 1)  # The other searches end soon.
    await poll
    hardware(home, device).clear()
    home.assert_others_went_on(device)
    await until(lambda: home.busy() == 0)
    await home.assert_comes_back(device)


async def test_reload_storm(home: Home) -> None:
    """However often devices are reloaded at the same time, all work in the end."""
    reload = home.hass.config_entries.async_reload
    entries = 5 * list(home.entries.values())
    before = active_count()
    for _ in range(3):
        home.change()
        await asyncio.gather(*(reload(entry.entry_id) for entry in entries))
        await home.hass.async_block_till_done(wait_background_tasks=True)
    assert active_count() <= before + workers.THREADS
    home.change()
    await home.poll()
    home.assert_others_went_on()


@pytest.mark.parametrize("seconds", [86400, -86400], ids=["ahead", "back"])
async def test_clock_jump(
    home: Home, monkeypatch: pytest.MonkeyPatch, seconds: int
) -> None:
    """A clock set during a poll moves neither that poll nor the next one."""
    gold, utcnow, time_of_day = home.machine.stick("gold"), dt_util.utcnow, time.time
    gold.fail("delay", 0.2, count=1)
    home.change()
    poll = asyncio.create_task(home.poll())
    await until(lambda: gold.fault is None)
    jump = timedelta(seconds=seconds)
    monkeypatch.setattr(dt_util, "utcnow", lambda: utcnow() + jump)
    monkeypatch.setattr(time, "time", lambda: time_of_day() + seconds)
    await poll
    home.assert_others_went_on()
    polled = gold.commands["values"]
    await pass_time(home.hass, 290)
    assert gold.commands["values"] == polled
    home.change()
    await home.poll()
    home.assert_others_went_on()
    assert gold.commands["values"] == polled + 1
