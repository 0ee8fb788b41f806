"""Queries that are refused before anything is read."""

from homeassistant.core import HomeAssistant
from homeassistant.exceptions import ServiceValidationError
import pytest

from emulation.machine import Machine
from tests.conftest import GOLD_PLACE, SetUp

from .conftest import GOLD, readings


async def test_impossible_time(
    hass: HomeAssistant, machine: Machine, set_up: SetUp
) -> None:
    """A time that no clock or database knows is refused."""
    await hass.config.async_set_time_zone("Europe/Berlin")
    await set_up(GOLD_PLACE)
    for time in ("0001-01-01T00:00:00", "1200-01-01", "2100-01-01T00:00:00+01:00"):
        with pytest.raises(ServiceValidationError, match="from the year"):
            await readings(hass, entity_id=GOLD, start=time)
