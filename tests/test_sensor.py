"""The sensors of a device."""

from homeassistant.core import HomeAssistant
from homeassistant.helpers import device_registry as dr
from homeassistant.helpers import entity_registry as er
import pytest
from pytest_homeassistant_custom_component.common import snapshot_platform
from syrupy.assertion import SnapshotAssertion

from custom_components.temperature_logger.const import DOMAIN

from .conftest import BME_PLACE, CONTROLLER, PINS, SetUp, pass_time
from .drivers.conftest import Build

ALL_FOUR = {
    "name": "x",
    "model": "TEMPerX_V3.3",
    "ports": "1",
    "temperature": 22.34,
    "humidity": 41.25,
    "external_temperature": -7.06,
    "external_humidity": 63.5,
}
THREE = {
    "name": "ntc",
    "model": "TEMPerNTC1.O",
    "ports": "1",
    "temperature": 22.5,
    "external_temperature": -1.75,
    "second_external_temperature": 31.75,
}
HUM = {
    "name": "hum",
    "model": "TEMPerHUM_V4.0",
    "ports": "1",
    "temperature": 23.05,
    "humidity": 44.99,
}
PLACE = f"usb-{CONTROLLER}-1"


@pytest.mark.usefixtures("known_id")
@pytest.mark.parametrize("stick", [ALL_FOUR, THREE, HUM], ids=lambda s: s["name"])
async def test_sensors_of_a_stick(
    hass: HomeAssistant,
    build: Build,
    set_up: SetUp,
    stick: dict[str, object],
    entity_registry: er.EntityRegistry,
    device_registry: dr.DeviceRegistry,
    snapshot: SnapshotAssertion,
) -> None:
    """Each quantity of a stick is a sensor."""
    build(stick)
    entry = await set_up(PLACE)
    await snapshot_platform(hass, entity_registry, snapshot, entry.entry_id)
    device = device_registry.async_get_device_by_identifier(
        (DOMAIN, entry.entry_id), entry.entry_id
    )
    assert device == snapshot(name="device")


@pytest.mark.usefixtures("known_id")
async def test_sensors_of_a_chip(
    hass: HomeAssistant,
    build: Build,
    set_up: SetUp,
    entity_registry: er.EntityRegistry,
    device_registry: dr.DeviceRegistry,
    snapshot: SnapshotAssertion,
) -> None:
    """Each quantity of a BME280 is a sensor."""
    build(i2c=[PINS])
    entry = await set_up(BME_PLACE)
    await snapshot_platform(hass, entity_registry, snapshot, entry.entry_id)
    device = device_registry.async_get_device_by_identifier(
        (DOMAIN, entry.entry_id), entry.entry_id
    )
    assert device == snapshot(name="device")


async def test_humidity_appears_with_its_first_value(
    hass: HomeAssistant, build: Build, set_up: SetUp
) -> None:
    """An empty slot for humidity has no entity until a probe measures it.

    Later, without a value, it is unknown.
    """
    machine = build(ALL_FOUR | {"external_humidity": None, "humidity": None})
    entry = await set_up(PLACE)
    assert len(hass.states.async_entity_ids("sensor")) == 2
    stick = machine.stick("x")
    stick.values["external_humidity"] = 63.5
    await pass_time(hass, 305)
    assert hass.states.is_state("sensor.temper2_external_humidity", "63.5")
    stick.values["external_humidity"] = None
    await hass.config_entries.async_reload(entry.entry_id)
    await hass.async_block_till_done()
    assert hass.states.is_state("sensor.temper2_external_humidity", "unknown")
    assert hass.states.get("sensor.temper2_internal_humidity") is None


async def test_entity_id_changes(
    hass: HomeAssistant,
    build: Build,
    set_up: SetUp,
    entity_registry: er.EntityRegistry,
) -> None:
    """A sensor shows its readings under its new entity id, and only there."""
    machine = build(HUM)
    await set_up(PLACE)
    old, new = "sensor.temperhum_temperature", "sensor.attic"
    entity_registry.async_update_entity(old, new_entity_id=new)
    await hass.async_block_till_done()
    assert hass.states.is_state(new, "23.05")
    machine.stick("hum").values["temperature"] = 24.5
    await pass_time(hass, 305)
    assert hass.states.is_state(new, "24.5")
    assert hass.states.get(old) is None
