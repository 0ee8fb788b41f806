"""The entities with readings that a target selects."""

from homeassistant.core import HomeAssistant
from homeassistant.exceptions import ServiceValidationError
from homeassistant.helpers import area_registry as ar
from homeassistant.helpers import device_registry as dr
from homeassistant.helpers import entity_registry as er
import pytest
from pytest_homeassistant_custom_component.components.recorder.common import (
    async_wait_recording_done,
)

from emulation.machine import Machine
from tests.conftest import BME_PLACE, GOLD_PLACE, SetUp

from .conftest import GOLD, TIMES, ask


async def test_targets(hass: HomeAssistant, machine: Machine, set_up: SetUp) -> None:
    """Devices and areas may hold other entities; a named entity must be a reading."""
    await set_up(GOLD_PLACE)
    entity = er.async_get(hass).async_get(GOLD)
    assert entity is not None
    area = ar.async_get(hass).async_create("Cellar")
    dr.async_get(hass).async_update_device(entity.device_id or "", area_id=area.id)
    other = er.async_get(hass).async_get_or_create(
        "light", "other", "1", device_id=entity.device_id
    )
    lonely = er.async_get(hass).async_get_or_create("light", "other", "2")
    er.async_get(hass).async_update_entity(lonely.entity_id, area_id=area.id)
    await async_wait_recording_done(hass)
    for target in ({"device_id": entity.device_id}, {"area_id": area.id}):
        (device,) = (await ask(hass, target))["devices"]
        assert device["device_id"] == entity.device_id
        assert len(device["readings"]) == 1
    with pytest.raises(ServiceValidationError, match=other.entity_id):
        await ask(hass, {"entity_id": [GOLD, other.entity_id]})
    with pytest.raises(ServiceValidationError, match=r"nothing called sensor\.none"):
        await ask(hass, {"entity_id": "sensor.none"})
    with pytest.raises(ServiceValidationError, match="nothing called attic"):
        await ask(hass, {"area_id": "attic"})
    with pytest.raises(ServiceValidationError, match="is not before the end"):
        await ask(
            hass, {"entity_id": GOLD, "start": TIMES["end"], "end": TIMES["start"]}
        )


async def test_everything(hass: HomeAssistant, machine: Machine, set_up: SetUp) -> None:
    """The target "all" selects all entities that show a reading, and no others."""
    await set_up(GOLD_PLACE)
    await set_up(BME_PLACE)
    er.async_get(hass).async_get_or_create("light", "other", "1")
    answer = await ask(hass, {"entity_id": "all"})
    assert [device["name"] for device in answer["devices"]] == ["BME280", "TEMPerGold"]
