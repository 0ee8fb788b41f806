"""Deliveries are the same with each kind of database."""

from homeassistant.core import HomeAssistant
import pytest
from pytest_homeassistant_custom_component.components.recorder.common import (
    async_wait_recording_done,
)

from custom_components.temperature_logger.uploader import outbox
from emulation.machine import Machine
from tests.conftest import BME_PLACE, GOLD_PLACE, SetUp
from tests.history.conftest import (
    BME,
    GOLD,
    NOON,
    execute,
    record,
    recorder_db_url,
    server,
)

from .common import arrived, deliver, endpoint, recorded
from .proxy import Failure, Proxy
from .receivers import Victoria

__all__ = ["recorder_db_url", "server"]


@pytest.mark.usefixtures("later")
@pytest.mark.warns("Error fetching The server data")
async def test_all_arrive(
    hass: HomeAssistant,
    machine: Machine,
    set_up: SetUp,
    victoria: Victoria,
    proxy: Proxy,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Pages, an outage and later readings give the same result; gaps are not sent."""
    monkeypatch.setattr(outbox, "PAGE_ROWS", 10)
    await set_up(GOLD_PLACE)
    await set_up(BME_PLACE)
    for n in range(20):
        at = NOON + 300 * n
        await record(hass, {GOLD: [(at, str(n / 2), "°C"), (at + 9, "unknown", "°C")]})
        await record(hass, {BME[0]: [(at + 20, str(n), "°F")]})
        await record(hass, {BME[1]: [(at + 20.01, str(n), "%")]})
    await async_wait_recording_done(hass)
    entry = await endpoint(hass, proxy.url, options={"batch_size": 7})
    await proxy.fail(Failure.BROKEN, times=1, after=2)
    sender = await deliver(entry)
    assert sender.data.waiting
    assert sender.data.oldest
    await deliver(entry)
    assert arrived(victoria) == await recorded(hass)
    assert sender.data.waiting == 0
    await record(hass, {GOLD: [(NOON + 9000, "21.5", "°C")]})
    await deliver(entry)
    assert arrived(victoria) == await recorded(hass)
    # In a new database the row ids start again.
    await execute(hass, "UPDATE states SET old_state_id = NULL")
    await execute(hass, "DELETE FROM states")
    await deliver(entry)
    assert sender.cursor.progress.state_id == 0
    assert sender.last_update_success
