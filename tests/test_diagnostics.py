"""The diagnostics have everything that a problem report needs."""

from typing import Any

from homeassistant.core import HomeAssistant
from homeassistant.setup import async_setup_component
import pytest
from pytest_homeassistant_custom_component.components.diagnostics import (
    get_diagnostics_for_config_entry,
)
from pytest_homeassistant_custom_component.typing import ClientSessionGenerator
from syrupy.assertion import SnapshotAssertion
from syrupy.filters import props

from emulation.machine import Machine

from .conftest import BME_PLACE, GOLD_PLACE, TWO_PLACE, SetUp, pass_time


@pytest.mark.parametrize("place", [GOLD_PLACE, BME_PLACE])
async def test_diagnostics(
    hass: HomeAssistant,
    hass_client: ClientSessionGenerator,
    machine: Machine,
    set_up: SetUp,
    snapshot: SnapshotAssertion,
    place: str,
) -> None:
    """The diagnostics have the raw frames and registers, and the values from them."""
    assert await async_setup_component(hass, "diagnostics", {})
    entry = await set_up(place)
    diagnostics = await get_diagnostics_for_config_entry(hass, hass_client, entry)
    assert diagnostics == snapshot(exclude=props("entry_id"))


@pytest.mark.warns("Error fetching TEMPerGold data")
async def test_diagnostics_of_a_failing_stick(
    hass: HomeAssistant,
    hass_client: ClientSessionGenerator,
    machine: Machine,
    set_up: SetUp,
) -> None:
    """The diagnostics have the refused frame, and the reason."""
    assert await async_setup_component(hass, "diagnostics", {})
    entry = await set_up(GOLD_PLACE)
    machine.stick("gold").fail("zero", on="values")
    await pass_time(hass, 305)
    diagnostics: Any = await get_diagnostics_for_config_entry(hass, hass_client, entry)
    assert diagnostics["raw"] == {"reports": "00 00 00 00 00 00 00 00"}
    assert not diagnostics["last_poll_succeeded"]
    assert "is no reading" in diagnostics["last_error"]
    assert diagnostics["usb_device"]["id"] == "1a86:e025"
    machine.unplug("gold")
    diagnostics = await get_diagnostics_for_config_entry(hass, hass_client, entry)
    assert diagnostics["usb_device"] is None


async def test_diagnostics_of_an_invalid_value(
    hass: HomeAssistant,
    hass_client: ClientSessionGenerator,
    machine: Machine,
    set_up: SetUp,
) -> None:
    """The diagnostics have the fault of each value that is not published."""
    assert await async_setup_component(hass, "diagnostics", {})
    entry = await set_up(TWO_PLACE)
    machine.stick("two").values["external_temperature"] = 126.0
    await pass_time(hass, 305)
    diagnostics: Any = await get_diagnostics_for_config_entry(hass, hass_client, entry)
    assert diagnostics["reading"] == {
        "external_temperature": None,
        "internal_temperature": 29.0,
    }
    assert diagnostics["faults"] == {
        "external_temperature": "out_of_range (value 126.00 °C, low -40, high 125)"
    }
