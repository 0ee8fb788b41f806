"""An entry follows its chip to the place where that is found."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

from homeassistant.config_entries import ConfigEntryDisabler, ConfigEntryState
from homeassistant.core import HomeAssistant
from homeassistant.helpers import device_registry as dr
from homeassistant.helpers import entity_registry as er
from homeassistant.setup import async_setup_component
import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry

from custom_components.temperature_logger.const import CONF_KIND, DOMAIN, KIND_BME280
from custom_components.temperature_logger.discovery import following
from custom_components.temperature_logger.discovery.following import async_follow_chips
from custom_components.temperature_logger.discovery.search import async_search
from custom_components.temperature_logger.drivers import Fault, finder
from custom_components.temperature_logger.drivers.errors import DeviceAccessError
from emulation.machine import Machine
from tests.conftest import BME_PLACE, CHIP, PINS, SetUp, pass_time
from tests.drivers.conftest import Build
from tests.drivers.i2c.chips import before_transfer, written
from tests.test_chips import MCP2221, MCP2221_BUS, MCP2221_KEY, ROOM, values
from tests.test_config_flow import begin, submit

from .test_hotplug import until

OTHER_PINS: dict[str, Any] = PINS | {
    "bus": 3,
    "adapter": "Synopsys DesignWare I2C adapter",
    "of_node": "axi/pcie@120000/rp1/i2c@74000",
    "chips": [CHIP | {"address": "0x77"}],
}
OTHER_KEY = "axi/pcie@120000/rp1/i2c@74000"
OTHER_PLACE = f"i2c-{OTHER_KEY}-0x77"
EARLIER = "I2C address 0x76 (soc/i2c@7e804000)"
LOG = f"BME280 was found at I2C address 0x77 ({OTHER_KEY})"

pytestmark = [pytest.mark.warns("BME280 was found at"), pytest.mark.warns("fetching")]


@pytest.fixture(name="entry")
async def entry_fixture(
    hass: HomeAssistant, build: Build, set_up: SetUp
) -> MockConfigEntry:
    """Return the entry of a chip, which is not loaded."""
    build(i2c=[PINS])
    entry = await set_up(BME_PLACE)
    await hass.config_entries.async_unload(entry.entry_id)
    return entry


async def restart(hass: HomeAssistant, entry: MockConfigEntry) -> None:
    """Set up the entry, which does not find its chip."""
    await hass.config_entries.async_setup(entry.entry_id)
    assert entry.state is ConfigEntryState.SETUP_RETRY


async def follow(hass: HomeAssistant) -> None:
    """Look for the chips of entries."""
    await async_follow_chips(hass)
    await hass.async_block_till_done()


async def test_restored_on_another_board(
    hass: HomeAssistant,
    build: Build,
    entry: MockConfigEntry,
    device_registry: dr.DeviceRegistry,
    entity_registry: er.EntityRegistry,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The entry follows its chip to the bus of another board, and says so."""
    options = {"calibration": {"temperature": {"offset": 0.0}}}
    hass.config_entries.async_update_entry(entry, options=options)
    entities = er.async_entries_for_config_entry(entity_registry, entry.entry_id)
    machine = build(i2c=[OTHER_PINS])
    await restart(hass, entry)
    for _ in range(2):
        await follow(hass)
    assert entry.state is ConfigEntryState.LOADED
    assert (entry.unique_id, entry.options) == (OTHER_PLACE, options)
    assert values(hass, "bme280") == ROOM
    names = {entity.entity_id for entity in entities}
    after = er.async_entries_for_config_entry(entity_registry, entry.entry_id)
    assert {entity.entity_id for entity in after} == names
    (device,) = dr.async_entries_for_config_entry(device_registry, entry.entry_id)
    place = f"I2C address 0x77 ({OTHER_KEY})"
    assert device.hw_version == f"{place}, moved from {EARLIER}"
    assert caplog.text.count(LOG) == 1
    assert f"It was at {EARLIER} before." in caplog.text
    assert not machine.chip("bme").counters["resets"]


async def test_followed_when_home_assistant_starts(
    hass: HomeAssistant, build: Build, entry: MockConfigEntry
) -> None:
    """The chips are looked for with the offers, which follow the start."""
    build(i2c=[OTHER_PINS])
    await restart(hass, entry)
    assert await async_setup_component(hass, DOMAIN, {})
    await until(hass, lambda: entry.unique_id == OTHER_PLACE)
    assert entry.state is ConfigEntryState.LOADED


async def test_followed_after_a_hotplug_event(
    hass: HomeAssistant, build: Build, entry: MockConfigEntry
) -> None:
    """The entry follows its chip to a USB adapter that is plugged in."""
    machine = build(MCP2221, i2c=[PINS | {"chips": []}, MCP2221_BUS])
    machine.unplug("mcp")
    await restart(hass, entry)
    machine.plug("mcp")
    await until(hass, lambda: entry.unique_id == f"i2c-{MCP2221_KEY}-0x76")
    assert values(hass, "bme280") == ROOM


async def test_followed_while_loaded(
    hass: HomeAssistant, build: Build, set_up: SetUp
) -> None:
    """A chip that was wired to its other address is followed after its next poll."""
    machine = build(i2c=[PINS])
    entry = await set_up(BME_PLACE)
    assert await async_setup_component(hass, DOMAIN, {})
    chips = machine.buses.numbered[1].chips
    await follow(hass)
    chips[0x77] = chips.pop(0x76)
    await follow(hass)
    assert entry.unique_id == BME_PLACE
    await pass_time(hass, 305)
    await until(hass, lambda: entry.unique_id == BME_PLACE.replace("0x76", "0x77"))
    await hass.async_block_till_done()
    assert values(hass, "bme280") == ROOM


async def test_reconfigured_after_that(
    hass: HomeAssistant,
    build: Build,
    entry: MockConfigEntry,
    device_registry: dr.DeviceRegistry,
) -> None:
    """A place that the owner gives is shown without the earlier one."""
    machine = build(i2c=[OTHER_PINS])
    await restart(hass, entry)
    await follow(hass)
    await hass.config_entries.async_unload(entry.entry_id)
    chips = machine.buses.numbered[3].chips
    chips[0x76] = chips.pop(0x77)
    place = OTHER_PLACE.replace("0x77", "0x76")
    result = await submit(hass, await begin(hass, entry), device=place)
    assert result["reason"] == "reconfigure_successful"
    (device,) = dr.async_entries_for_config_entry(device_registry, entry.entry_id)
    assert device.hw_version == f"I2C address 0x76 ({OTHER_KEY})"


def other_entry(hash_of: MockConfigEntry, unique_id: str) -> MockConfigEntry:
    """Return one more entry of a chip with the same hash."""
    return MockConfigEntry(domain=DOMAIN, unique_id=unique_id, data=hash_of.data)


def twice(hass: HomeAssistant, entry: MockConfigEntry, machine: Machine) -> None:
    """Wire a second chip with the same coefficients."""
    chips = machine.buses.numbered[3].chips
    chips[0x76] = type(chips[0x77])(CHIP)


def two_entries(hass: HomeAssistant, entry: MockConfigEntry, machine: Machine) -> None:
    """Add another entry with the same hash."""
    other_entry(entry, "elsewhere").add_to_hass(hass)


def owned(hass: HomeAssistant, entry: MockConfigEntry, machine: Machine) -> None:
    """Add the entry of another chip at the place."""
    data = entry.data | {"trimming_hash": "other"}
    MockConfigEntry(domain=DOMAIN, unique_id=OTHER_PLACE, data=data).add_to_hass(hass)


def other_chip(hass: HomeAssistant, entry: MockConfigEntry, machine: Machine) -> None:
    """Put another chip at the place."""
    chip = machine.chip("bme")
    chip.calibration = chip.CALIBRATIONS[1]


def bme680(hass: HomeAssistant, entry: MockConfigEntry, machine: Machine) -> None:
    """Put a chip of another driver at the place."""
    machine.chip("bme").chip_id = 0x61


def unreadable(hass: HomeAssistant, entry: MockConfigEntry, machine: Machine) -> None:
    """Let the chip come without its coefficients."""
    machine.chip("bme").fail("zero-calibration")


def old_entry(hass: HomeAssistant, entry: MockConfigEntry, machine: Machine) -> None:
    """Take the hash from the entry."""
    data = {key: v for key, v in entry.data.items() if key != "trimming_hash"}
    hass.config_entries.async_update_entry(entry, data=data)


@pytest.mark.parametrize(
    "change", [twice, two_entries, owned, other_chip, bme680, unreadable, old_entry]
)
async def test_not_followed(
    hass: HomeAssistant,
    build: Build,
    entry: MockConfigEntry,
    change: Callable[[HomeAssistant, MockConfigEntry, Machine], None],
) -> None:
    """An entry stays unless exactly one free place has exactly its chip."""
    machine = build(i2c=[OTHER_PINS])
    await restart(hass, entry)
    change(hass, entry, machine)
    await follow(hass)
    assert entry.unique_id == BME_PLACE
    assert entry.state is ConfigEntryState.SETUP_RETRY
    assert not written(machine.buses.numbered[3])


async def test_disabled_entry_stays(
    hass: HomeAssistant, build: Build, entry: MockConfigEntry
) -> None:
    """An entry that its owner disabled does not follow its chip."""
    machine = build(i2c=[OTHER_PINS])
    await restart(hass, entry)
    await hass.config_entries.async_set_disabled_by(
        entry.entry_id, ConfigEntryDisabler.USER
    )
    await follow(hass)
    assert entry.unique_id == BME_PLACE
    assert not machine.chip("bme").counters


async def test_other_faults_are_not_a_move(hass: HomeAssistant, build: Build) -> None:
    """A bus that fails is not a chip that was moved: no other bus is searched."""
    machine = build(i2c=[PINS, OTHER_PINS])
    machine.buses.numbered[1].fail("eio")
    data = {"kind": "bme280", "adapter": PINS["of_node"], "address": 0x76}
    entry = MockConfigEntry(
        domain=DOMAIN, unique_id=BME_PLACE, data=data | {"trimming_hash": "hash"}
    )
    entry.add_to_hass(hass)
    await restart(hass, entry)
    await follow(hass)
    assert not machine.buses.numbered[3].log


async def test_unread_list_of_buses(
    hass: HomeAssistant,
    build: Build,
    entry: MockConfigEntry,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """While the buses cannot be listed, no entry is moved."""
    machine = build(i2c=[OTHER_PINS])
    await restart(hass, entry)

    def hold_up() -> Iterator[None]:
        yield from ()
        raise DeviceAccessError(Fault.HANGING)

    monkeypatch.setattr(finder, "i2c_adapters", hold_up)
    await follow(hass)
    assert entry.unique_id == BME_PLACE
    assert not machine.chip("bme").counters


async def test_two_searches(
    hass: HomeAssistant,
    build: Build,
    entry: MockConfigEntry,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Two searches at once move the entry once."""
    build(i2c=[OTHER_PINS])
    await restart(hass, entry)
    await asyncio.gather(follow(hass), follow(hass))
    assert entry.state is ConfigEntryState.LOADED
    assert entry.data["moved_from"] == EARLIER
    assert caplog.text.count(LOG) == 1


async def test_place_set_up_during_the_search(
    hass: HomeAssistant,
    build: Build,
    entry: MockConfigEntry,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """An entry that gets the place during the search keeps it."""
    machine = build(i2c=[OTHER_PINS])
    await restart(hass, entry)
    other = other_entry(entry, OTHER_PLACE)
    before_transfer(
        machine.buses.numbered[3],
        0,
        lambda: hass.loop.call_soon_threadsafe(other.add_to_hass, hass),
    )
    await follow(hass)
    assert (entry.unique_id, other.unique_id) == (BME_PLACE, OTHER_PLACE)
    assert LOG not in caplog.text


@pytest.mark.parametrize("change", ["disabled", "deleted", "taken"])
async def test_change_during_the_search(
    hass: HomeAssistant,
    build: Build,
    entry: MockConfigEntry,
    monkeypatch: pytest.MonkeyPatch,
    change: str,
) -> None:
    """An entry or place that changes during the search stays as the owner left it."""
    build(i2c=[OTHER_PINS])
    await restart(hass, entry)

    async def search(*args: Any) -> finder.SearchResult:  # noqa: ANN401 - as it comes
        result = await async_search(*args)
        if change == "disabled":
            await hass.config_entries.async_set_disabled_by(
                entry.entry_id, ConfigEntryDisabler.USER
            )
        elif change == "deleted":
            await hass.config_entries.async_remove(entry.entry_id)
        else:
            other = MockConfigEntry(
                domain=DOMAIN, unique_id=OTHER_PLACE, data={CONF_KIND: KIND_BME280}
            )
            other.add_to_hass(hass)
        return result

    monkeypatch.setattr(following, "async_search", search)
    await follow(hass)
    assert entry.unique_id == BME_PLACE
