"""The pauses before the retries of a server that fails."""

import time

from homeassistant.core import HomeAssistant
from homeassistant.helpers.update_coordinator import UpdateFailed
import pytest

from custom_components.temperature_logger.uploader import backoff
from custom_components.temperature_logger.uploader.backoff import pause_after
from tests.history.conftest import GOLD, record

from .common import deliver, endpoint
from .proxy import Failure, Proxy


def test_pauses() -> None:
    """Pauses grow up to five minutes, and are random."""
    longest = [max(pause_after(failures) for _ in range(200)) for failures in range(20)]
    assert longest == sorted(longest) or longest[-1] > 290
    assert 4 < longest[0] <= 5
    assert all(pause_after(1000) <= 300 for _ in range(100))
    assert len({pause_after(3) for _ in range(10)}) > 1


@pytest.mark.usefixtures("history", "later")
@pytest.mark.warns("Error fetching The server data")
@pytest.mark.parametrize("failure", [Failure.TOO_MANY, Failure.TOO_MANY_UNTIL])
async def test_retry_after(hass: HomeAssistant, proxy: Proxy, failure: Failure) -> None:
    """Nothing is sent before the server's time, but waiting readings are counted."""
    proxy.retry_after = 1234
    await proxy.fail(failure)
    entry = await endpoint(hass, proxy.url)
    sender = await deliver(entry)
    assert 1228 <= sender.backoff.allowed_at - time.monotonic() <= 1234 * 1.1
    sent, waiting = len(proxy.requests), sender.data.waiting
    assert waiting
    await record(hass, {GOLD: [(time.time() - 10, "3.5", "°C")]})
    await deliver(entry)
    assert isinstance(sender.last_exception, UpdateFailed)
    assert sender.last_exception.translation_key == "endpoint_busy"
    assert sender.last_exception.retry_after == backoff.MAX_RETRY_SECONDS
    assert len(proxy.requests) == sent
    assert sender.data.waiting == waiting + 1
    await proxy.heal()
    sender.backoff.allowed_at = time.monotonic()  # As if the time had passed.
    await deliver(entry)
    assert sender.data.waiting == 0
