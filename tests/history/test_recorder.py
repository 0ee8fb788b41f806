"""A database that fails, or that has other tables, is reported."""

from homeassistant.core import HomeAssistant
from homeassistant.exceptions import HomeAssistantError
import pytest
from pytest_homeassistant_custom_component.components.recorder.common import (
    async_wait_recording_done,
)

from custom_components.temperature_logger.history import recorder
from custom_components.temperature_logger.shared import shared_object
from emulation.machine import Machine
from tests.conftest import GOLD_PLACE, SetUp

from .conftest import GOLD, ask, execute, readings


async def test_database_that_fails(
    hass: HomeAssistant, machine: Machine, set_up: SetUp
) -> None:
    """The error names the table that is missing."""
    await set_up(GOLD_PLACE)
    await async_wait_recording_done(hass)
    await readings(hass, entity_id=GOLD)
    await execute(hass, "ALTER TABLE states RENAME TO gone")
    with pytest.raises(HomeAssistantError, match="did not answer"):
        await readings(hass, entity_id=GOLD)
    shared_object(hass, recorder.known_columns).clear()
    with pytest.raises(HomeAssistantError, match=r"states\.state is missing"):
        await readings(hass, entity_id=GOLD)
    await execute(hass, "ALTER TABLE gone RENAME TO states")


async def test_recorder_that_changed(
    hass: HomeAssistant, machine: Machine, set_up: SetUp
) -> None:
    """A renamed column gives an error, never a wrong answer."""
    await set_up(GOLD_PLACE)
    await async_wait_recording_done(hass)
    table = "ALTER TABLE state_attributes"
    await execute(hass, f"{table} RENAME COLUMN shared_attrs TO shared")
    with pytest.raises(
        HomeAssistantError, match=r"\(state_attributes\.shared_attrs is"
    ):
        await ask(hass, {"entity_id": GOLD})
    await execute(hass, f"{table} RENAME COLUMN shared TO shared_attrs")
