"""The rows of the recorder become pages of whole readings."""

import time

from homeassistant.core import HomeAssistant
import pytest

from custom_components.temperature_logger.history import rows
from custom_components.temperature_logger.uploader import coordinator, outbox
from tests.history.conftest import BME, GOLD, NOON, record

from .common import LATER_CLOCK, READINGS, arrived, deliver, endpoint, recorded
from .proxy import Proxy
from .receivers import Victoria

pytestmark = pytest.mark.usefixtures("history", "later")


async def test_written_at_once(
    hass: HomeAssistant,
    victoria: Victoria,
    proxy: Proxy,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Pages stay correct if many rows have nearly the same time, as after a start."""
    at = NOON - 10_000
    for n, entity in enumerate((GOLD, *BME)):
        times = [(at + n / 10 + m / 1000, str(m % 40), "°C") for m in range(50)]
        await record(hass, {entity: times})
    monkeypatch.setattr(outbox, "PAGE_ROWS", 30)
    sender = await deliver(await endpoint(hass, proxy.url))
    assert sender.data.delivered == READINGS + 2
    monkeypatch.setattr(outbox, "MAX_PAGE_ROWS", 60)  # Fewer rows than there are.
    sender = await deliver(await endpoint(hass, f"{proxy.url}/"))
    assert sender.data.waiting == 0


async def test_pages(
    hass: HomeAssistant,
    victoria: Victoria,
    proxy: Proxy,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The readings do not depend on the size of pages."""
    monkeypatch.setattr(outbox, "PAGE_ROWS", 7)
    monkeypatch.setattr(rows, "ROW_IDS_AT_ONCE", 5)
    entry = await endpoint(hass, proxy.url, options={"batch_size": 20})
    sender = await deliver(entry)
    assert arrived(victoria) == await recorded(hass)
    assert sender.data.delivered == READINGS


async def test_incomplete_reading(
    hass: HomeAssistant,
    victoria: Victoria,
    proxy: Proxy,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A reading waits until no more rows can belong to it."""
    entry = await endpoint(hass, proxy.url)
    await deliver(entry)
    monkeypatch.setattr(coordinator, "time", time)
    now = time.time()
    await record(hass, {BME[0]: [(now, "50", "°C")]})
    sender = await deliver(entry)
    assert sender.data.waiting == 1
    assert len(proxy.requests) == 1
    await record(hass, {BME[1]: [(now + 0.5, "60", "%")]})
    monkeypatch.setattr(coordinator, "time", LATER_CLOCK)
    await deliver(entry)
    assert proxy.requests[-1].body.endswith(
        f"temperature=50.0,humidity=60.0 {int(now)}"
    )
