"""The system information about the history."""

from unittest.mock import patch

from homeassistant.core import HomeAssistant
from homeassistant.helpers.recorder import DATA_INSTANCE, get_instance
from homeassistant.setup import async_setup_component
from homeassistant.util import dt as dt_util
from pytest_homeassistant_custom_component.common import get_system_health_info

from custom_components.temperature_logger import system_health
from custom_components.temperature_logger.const import DOMAIN
from emulation.machine import Machine
from tests.conftest import GOLD_PLACE, SetUp

from .conftest import GOLD, NOON, Answer, record


async def test_facts(hass: HomeAssistant, machine: Machine, set_up: SetUp) -> None:
    """The rows are counted again only after some minutes."""
    await async_setup_component(hass, "system_health", {})

    async def facts() -> Answer:
        return await get_system_health_info(hass, DOMAIN)

    await set_up(GOLD_PLACE)
    oldest = dt_util.utc_from_timestamp(NOON)
    await record(hass, {GOLD: [(NOON, "20", "°C"), (NOON + 300, "20", "°C")]})
    assert await facts() == {"days_kept": 10, "rows": 3, "oldest_reading": oldest}
    await record(hass, {GOLD: [(NOON - 300, "20", "°C")]})
    get_instance(hass).auto_purge = False
    assert await facts() == {"days_kept": "∞", "rows": 3, "oldest_reading": oldest}
    with patch.object(system_health, "COUNT_MAX_AGE_S", -1):
        assert (await facts())["rows"] == 4


async def test_nothing(hass: HomeAssistant, machine: Machine, set_up: SetUp) -> None:
    """Without a row there is no oldest one, without a recorder nothing is kept."""
    await async_setup_component(hass, DOMAIN, {})
    await async_setup_component(hass, "system_health", {})
    health = await get_system_health_info(hass, DOMAIN)
    assert health == {"days_kept": 10, "rows": 0, "oldest_reading": None}
    with patch.dict(hass.data):
        del hass.data[DATA_INSTANCE]
        assert await get_system_health_info(hass, DOMAIN) == {"days_kept": 0}
