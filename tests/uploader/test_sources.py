"""An endpoint sends the readings of the selected entities."""

from homeassistant.core import HomeAssistant
from homeassistant.helpers import entity_registry as er
import pytest

from tests.history.conftest import BME

from .common import arrived, deliver, endpoint, recorded
from .proxy import Proxy
from .receivers import Victoria

pytestmark = pytest.mark.usefixtures("history", "later")


async def test_hidden_and_disabled(
    hass: HomeAssistant, victoria: Victoria, proxy: Proxy
) -> None:
    """Hidden and disabled entities are sent, whether by device or by label."""
    everything = await recorded(hass)
    registry = er.async_get(hass)
    entity = registry.async_update_entity(
        BME[1], hidden_by=er.RegistryEntryHider.USER, labels={"north"}
    )
    registry.async_update_entity(BME[2], disabled_by=er.RegistryEntryDisabler.USER)
    await hass.async_block_till_done()
    options = {"devices": [entity.device_id], "labels": []}
    await deliver(await endpoint(hass, proxy.url, options=options))
    there = arrived(victoria)
    assert {quantity for _, quantity in there} == {
        "temperature",
        "humidity",
        "pressure",
    }
    for series, points in there.items():
        assert set(everything[series]) <= set(points)
    victoria.clear()
    options = {"devices": [], "labels": ["north"]}
    await deliver(await endpoint(hass, f"{proxy.url}/", options=options))
    assert {quantity for _, quantity in arrived(victoria)} == {"humidity"}
