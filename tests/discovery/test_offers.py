"""A plugged-in device is offered as a new one, or to the entry that misses it."""

import asyncio
from collections.abc import Iterator
import dataclasses
import itertools
from typing import Any

from homeassistant.config_entries import (
    SOURCE_IGNORE,
    SOURCE_INTEGRATION_DISCOVERY,
    ConfigEntry,
    ConfigEntryDisabler,
    ConfigEntryState,
)
from homeassistant.const import STATE_UNAVAILABLE
from homeassistant.core import HomeAssistant
from homeassistant.data_entry_flow import FlowResultType
from homeassistant.helpers import entity_registry as er
from homeassistant.helpers import issue_registry as ir
from homeassistant.setup import async_setup_component
import pytest

from custom_components import temperature_logger
from custom_components.temperature_logger.const import DOMAIN
from custom_components.temperature_logger.discovery import (
    async_offer_sticks,
    device_flow,
)
from custom_components.temperature_logger.drivers import Fault, finder
from custom_components.temperature_logger.drivers.errors import DeviceAccessError
from emulation.machine import Machine
from tests.conftest import (
    CONTROLLER,
    GOLD,
    GOLD_PLACE,
    TWO,
    TWO_PLACE,
    SetUp,
    form_error,
)
from tests.drivers.conftest import Build
from tests.test_repairs import begin_repair, submit_repair

from .test_hotplug import until

NEW_PLACE = f"usb-{CONTROLLER}-3"
GOLD_ENTITY = "sensor.tempergold_temperature"


@pytest.fixture(name="announced")
def announced_fixture(monkeypatch: pytest.MonkeyPatch) -> list[HomeAssistant]:
    """Return a list that grows by one item with each completed round of offers."""
    announced: list[HomeAssistant] = []

    async def offer(hass: HomeAssistant) -> None:
        await async_offer_sticks(hass)
        announced.append(hass)

    monkeypatch.setattr(temperature_logger, "async_offer_sticks", offer)
    return announced


def offered(hass: HomeAssistant) -> dict[str | None, str]:
    """Return the flow of each device that is under "Discovered", by its place."""
    return {
        flow["context"]["unique_id"]: flow["flow_id"]
        for flow in hass.config_entries.flow.async_progress_by_handler(DOMAIN)
        if flow["context"]["source"] == SOURCE_INTEGRATION_DISCOVERY
    }


def moved(hass: HomeAssistant) -> set[str]:
    """Return the entries with a repair that asks whether their device has moved."""
    prefix = "stick_moved_"
    return {
        issue_id.removeprefix(prefix)
        for _, issue_id in ir.async_get(hass).issues
        if issue_id.startswith(prefix)
    }


async def move_gold(hass: HomeAssistant, machine: Machine, entry: ConfigEntry) -> None:
    """Move a stick to a new place, and wait until that is offered to its entry."""
    machine.replug("gold", ports="3")
    await until(hass, lambda: moved(hass) == {entry.entry_id})


def ignored(hass: HomeAssistant, entry: ConfigEntry) -> bool:
    """Return whether the owner ignored the repair."""
    issue_id = f"stick_moved_{entry.entry_id}"
    issue = ir.async_get(hass).async_get_issue(DOMAIN, issue_id)
    return issue is not None and issue.dismissed_version is not None


def restarted(hass: HomeAssistant, entry: ConfigEntry) -> None:
    """Reduce an issue to the parts that Home Assistant keeps over a restart."""
    registry = ir.async_get(hass)
    key = DOMAIN, f"stick_moved_{entry.entry_id}"
    registry.issues[key] = dataclasses.replace(
        registry.issues[key], active=False, data=None
    )


async def submit(hass: HomeAssistant, flow_id: str, **fields: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    """Submit a form."""
    result: Any = await hass.config_entries.flow.async_configure(flow_id, fields)
    await hass.async_block_till_done()
    return dict(result)


async def test_offered_when_plugged_in(
    hass: HomeAssistant, machine: Machine, set_up: SetUp
) -> None:
    """A stick that is plugged in can be added with a click, until it is unplugged."""
    await set_up(TWO_PLACE)
    await until(hass, lambda: set(offered(hass)) == {GOLD_PLACE})
    machine.unplug("gold")
    await until(hass, lambda: not offered(hass))
    machine.plug("gold", ports="3")
    await until(hass, lambda: set(offered(hass)) == {NEW_PLACE})
    (flow,) = hass.config_entries.flow.async_progress_by_handler(DOMAIN)
    assert flow["step_id"] == "discovered"
    assert flow["context"]["title_placeholders"] == {
        "name": "TEMPerGold, USB port 3 (0000:00:14.0)"
    }
    result = await submit(hass, flow["flow_id"])
    assert result["type"] is FlowResultType.CREATE_ENTRY
    assert result["result"].unique_id == NEW_PLACE
    assert hass.states.is_state(GOLD_ENTITY, "19.87")
    assert not offered(hass)


async def test_offered_when_home_assistant_starts(
    hass: HomeAssistant, machine: Machine
) -> None:
    """A device plugged in before the start is offered once; a foot pedal is not."""
    assert await async_setup_component(hass, DOMAIN, {})
    await until(hass, lambda: set(offered(hass)) == {GOLD_PLACE, TWO_PLACE})
    assert machine.stick("gold").commands == {"firmware": 1}
    machine.replug("two")
    await until(hass, lambda: machine.stick("two").commands == {"firmware": 2})
    assert set(offered(hass)) == {GOLD_PLACE, TWO_PLACE}
    assert machine.stick("gold").commands == {"firmware": 1}


@pytest.mark.parametrize(
    "thing", ["pedal 413d", "mouse", "TEMPerGold_V3.4 without a node"]
)
async def test_unidentified_device_is_not_offered(
    hass: HomeAssistant,
    build: Build,
    set_up: SetUp,
    announced: list[HomeAssistant],
    thing: str,
) -> None:
    """Only devices that identified themselves as thermometers are offered."""
    model, _, access = thing.partition(" without")
    build(
        TWO,
        {
            "name": "thing",
            "model": model,
            "ports": "3",
            "hidraw_nodes": not access,
            "temperature": 20.0,
        },
    )
    await set_up(TWO_PLACE)
    await until(hass, lambda: bool(announced))
    assert not offered(hass)


async def test_ignored(
    hass: HomeAssistant,
    machine: Machine,
    set_up: SetUp,
    announced: list[HomeAssistant],
) -> None:
    """A stick that its owner ignores is not offered again, but can be picked."""
    await set_up(TWO_PLACE)
    await until(hass, lambda: set(offered(hass)) == {GOLD_PLACE})
    await hass.config_entries.flow.async_init(
        DOMAIN,
        context={"source": SOURCE_IGNORE},
        data={"unique_id": GOLD_PLACE, "title": "Not this one"},
    )
    announced.clear()
    machine.replug("gold")
    await until(hass, lambda: bool(announced))
    assert not offered(hass)
    await set_up(GOLD_PLACE)
    assert hass.states.is_state(GOLD_ENTITY, "19.87")


async def test_offer_ends_with_another_flow(
    hass: HomeAssistant, machine: Machine, set_up: SetUp
) -> None:
    """The offer ends once the device is set up with the form."""
    await set_up(TWO_PLACE)
    await until(hass, lambda: set(offered(hass)) == {GOLD_PLACE})
    await set_up(GOLD_PLACE)
    assert not offered(hass)


async def test_stick_that_fails_when_it_is_added(
    hass: HomeAssistant, machine: Machine, set_up: SetUp
) -> None:
    """A stick that cannot be read is not added; the form can be submitted again."""
    await set_up(TWO_PLACE)
    await until(hass, lambda: set(offered(hass)) == {GOLD_PLACE})
    machine.stick("gold").fail("zero", on="values")
    flow_id = offered(hass)[GOLD_PLACE]
    form = await submit(hass, flow_id)
    assert "no reading" in form_error(form)
    machine.stick("gold").clear()
    assert (await submit(hass, flow_id))["type"] is FlowResultType.CREATE_ENTRY


@pytest.mark.warns("No thermometer is plugged in")
async def test_moved_to_another_port(
    hass: HomeAssistant, machine: Machine, set_up: SetUp
) -> None:
    """An entry follows its stick once the owner confirms; its entities stay."""
    entry = await set_up(GOLD_PLACE)
    await set_up(TWO_PLACE)
    before = er.async_get(hass).async_get(GOLD_ENTITY)
    await move_gold(hass, machine, entry)
    assert not offered(hass)
    form = await begin_repair(hass, f"stick_moved_{entry.entry_id}")
    assert form["description_placeholders"] == {
        "device": "TEMPerGold",
        "place": "USB port 1.4 (0000:00:14.0)",
        "found": "TEMPerGold, USB port 3 (0000:00:14.0)",
    }
    assert hass.states.is_state(GOLD_ENTITY, STATE_UNAVAILABLE)
    await submit_repair(hass, form, next_step_id="follow")
    await until(hass, lambda: hass.states.is_state(GOLD_ENTITY, "19.87"))
    assert entry.unique_id == NEW_PLACE
    assert er.async_get(hass).async_get(GOLD_ENTITY) == before
    assert not moved(hass)


@pytest.mark.warns("No thermometer is plugged in")
async def test_another_stick_at_another_port(
    hass: HomeAssistant,
    machine: Machine,
    set_up: SetUp,
    announced: list[HomeAssistant],
) -> None:
    """Another stick than the missing one is offered as new, and no repair remains."""
    entry = await set_up(GOLD_PLACE)
    await set_up(TWO_PLACE)
    await move_gold(hass, machine, entry)
    form = await begin_repair(hass, f"stick_moved_{entry.entry_id}")
    assert form["type"] is FlowResultType.MENU
    result = await submit_repair(hass, form, next_step_id="other")
    assert result["reason"] == "other"
    await until(hass, lambda: set(offered(hass)) == {NEW_PLACE})
    restarted(hass, entry)
    announced.clear()
    machine.replug("two")
    await until(hass, lambda: bool(announced))
    await async_offer_sticks(hass)
    assert set(offered(hass)) == {NEW_PLACE}
    assert ignored(hass, entry)
    result = await submit(hass, offered(hass)[NEW_PLACE])
    assert result["type"] is FlowResultType.CREATE_ENTRY
    await until(hass, lambda: not moved(hass))
    assert entry.unique_id == GOLD_PLACE


@pytest.mark.warns("No thermometer is plugged in")
async def test_answer_is_forgotten_once_the_stick_moves(
    hass: HomeAssistant, machine: Machine, set_up: SetUp
) -> None:
    """An answer about a stick at one port does not apply at the next port."""
    entry = await set_up(GOLD_PLACE)
    await move_gold(hass, machine, entry)
    form = await begin_repair(hass, f"stick_moved_{entry.entry_id}")
    late = await begin_repair(hass, f"stick_moved_{entry.entry_id}")
    await submit_repair(hass, form, next_step_id="other")
    await until(hass, lambda: NEW_PLACE in offered(hass))
    machine.replug("gold", ports="5")
    await until(hass, lambda: NEW_PLACE not in offered(hass))
    assert moved(hass) == {entry.entry_id}
    assert not ignored(hass, entry)
    result = await submit_repair(hass, late, next_step_id="other")
    assert result["reason"] == "gone"
    assert not ignored(hass, entry)


@pytest.mark.warns("No thermometer is plugged in")
async def test_moved_and_back(
    hass: HomeAssistant, machine: Machine, set_up: SetUp
) -> None:
    """A stick that is back at its port leaves no repair."""
    entry = await set_up(GOLD_PLACE)
    await move_gold(hass, machine, entry)
    machine.replug("gold", ports="1.4")
    await until(hass, lambda: not moved(hass))
    await until(hass, lambda: hass.states.is_state(GOLD_ENTITY, "19.87"))


@pytest.mark.warns("No thermometer is plugged in")
async def test_moved_from_a_deleted_device(
    hass: HomeAssistant, machine: Machine, set_up: SetUp
) -> None:
    """Once the missing device is deleted, the stick is a new one."""
    entry = await set_up(GOLD_PLACE)
    await move_gold(hass, machine, entry)
    await hass.config_entries.async_remove(entry.entry_id)
    await until(hass, lambda: NEW_PLACE in offered(hass))
    assert not moved(hass)


@pytest.mark.warns("No thermometer is plugged in")
async def test_two_missing_sticks(
    hass: HomeAssistant, build: Build, set_up: SetUp
) -> None:
    """A stick that may be either of two missing ones is offered as new."""
    machine = build(GOLD, GOLD | {"name": "other", "ports": "2"})
    await set_up(GOLD_PLACE)
    await set_up(f"usb-{CONTROLLER}-2")
    machine.unplug("other")
    machine.replug("gold", ports="3")
    await until(hass, lambda: set(offered(hass)) == {NEW_PLACE})
    assert not moved(hass)


async def test_disabled_is_not_missing(
    hass: HomeAssistant, machine: Machine, set_up: SetUp
) -> None:
    """A device that its owner disabled is not missing."""
    entry = await set_up(GOLD_PLACE)
    await hass.config_entries.async_set_disabled_by(
        entry.entry_id, ConfigEntryDisabler.USER
    )
    assert entry.state is ConfigEntryState.NOT_LOADED
    machine.replug("gold", ports="3")
    await until(hass, lambda: NEW_PLACE in offered(hass))
    assert not moved(hass)


@pytest.mark.warns("No thermometer is plugged in")
async def test_repair_after_the_device_was_set_up(
    hass: HomeAssistant, machine: Machine, set_up: SetUp
) -> None:
    """A late answer to a repair changes no device set up or deleted meanwhile."""
    entry = await set_up(GOLD_PLACE)
    await move_gold(hass, machine, entry)
    form = await begin_repair(hass, f"stick_moved_{entry.entry_id}")
    other = await set_up(NEW_PLACE)
    assert (await submit_repair(hass, form, next_step_id="follow"))["reason"] == "taken"
    assert (entry.unique_id, other.unique_id) == (GOLD_PLACE, NEW_PLACE)
    await until(hass, lambda: not moved(hass))
    machine.replug("gold", ports="5")
    await hass.config_entries.async_remove(other.entry_id)
    await until(hass, lambda: moved(hass) == {entry.entry_id})
    form = await begin_repair(hass, f"stick_moved_{entry.entry_id}")
    await hass.config_entries.async_remove(entry.entry_id)
    assert (await submit_repair(hass, form, next_step_id="follow"))["reason"] == "gone"


@pytest.mark.warns("No thermometer is plugged in")
async def test_repair_of_a_place_that_is_ignored(
    hass: HomeAssistant, machine: Machine, set_up: SetUp
) -> None:
    """A repair can be completed though its place was ignored meanwhile."""
    entry = await set_up(GOLD_PLACE)
    await move_gold(hass, machine, entry)
    form = await begin_repair(hass, f"stick_moved_{entry.entry_id}")
    await hass.config_entries.flow.async_init(
        DOMAIN,
        context={"source": SOURCE_IGNORE},
        data={"unique_id": NEW_PLACE, "title": "Not this one"},
    )
    await submit_repair(hass, form, next_step_id="follow")
    await until(hass, lambda: hass.states.is_state(GOLD_ENTITY, "19.87"))
    assert hass.config_entries.async_entries(DOMAIN) == [entry]


async def test_unknown_firmware_is_offered(
    hass: HomeAssistant, build: Build, set_up: SetUp
) -> None:
    """A stick with an unknown firmware is offered, and its form asks for the model."""
    build(TWO, GOLD | {"firmware": "TEMPerNew_V9.9"})
    await set_up(TWO_PLACE)
    await until(hass, lambda: set(offered(hass)) == {GOLD_PLACE})
    flow_id = offered(hass)[GOLD_PLACE]
    form = await submit(hass, flow_id, thermometer=True)
    assert form["step_id"] == "shape"
    result = await submit(hass, flow_id, shape="one_100th")
    assert result["type"] is FlowResultType.CREATE_ENTRY


async def test_search_that_hangs(
    hass: HomeAssistant,
    machine: Machine,
    set_up: SetUp,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """While a search hangs, no offer is withdrawn."""
    await set_up(TWO_PLACE)
    await until(hass, lambda: set(offered(hass)) == {GOLD_PLACE})

    def hold_up() -> Iterator[None]:
        yield from ()
        raise DeviceAccessError(Fault.HANGING)

    monkeypatch.setattr(finder, "thermometers", hold_up)
    await async_offer_sticks(hass)
    assert set(offered(hass)) == {GOLD_PLACE}


@pytest.mark.warns("Error fetching")
async def test_waiting_stick_is_not_the_lost_one(
    hass: HomeAssistant, build: Build, set_up: SetUp
) -> None:
    """A stick that waits under "Discovered" is not offered to a like one's entry."""
    machine = build(GOLD, GOLD | {"name": "like", "ports": "3"})
    entry = await set_up(GOLD_PLACE)
    await until(hass, lambda: set(offered(hass)) == {NEW_PLACE})
    flows = offered(hass)
    machine.unplug("gold")
    await until(hass, lambda: hass.states.is_state(GOLD_ENTITY, STATE_UNAVAILABLE))
    await async_offer_sticks(hass)
    assert not moved(hass)
    assert offered(hass) == flows
    machine.plug("gold", ports="4")
    await until(hass, lambda: moved(hass) == {entry.entry_id})
    assert offered(hass) == flows
    question = await begin_repair(hass, f"stick_moved_{entry.entry_id}")
    await submit_repair(hass, question, next_step_id="follow")
    assert entry.unique_id == f"usb-{CONTROLLER}-4"
    assert hass.states.is_state(GOLD_ENTITY, "19.87")


@pytest.mark.warns("Error fetching")
async def test_waiting_stick_changes_its_port(
    hass: HomeAssistant, build: Build, set_up: SetUp
) -> None:
    """A stick that waits stays a new one at another port, until the lost one is back.

    While both are gone, a stick that appears may be either.
    """
    machine = build(GOLD, GOLD | {"name": "like", "ports": "3"})
    entry = await set_up(GOLD_PLACE)
    await until(hass, lambda: set(offered(hass)) == {NEW_PLACE})
    machine.unplug("gold")
    await until(hass, lambda: hass.states.is_state(GOLD_ENTITY, STATE_UNAVAILABLE))
    machine.replug("like", ports="5")
    await until(hass, lambda: set(offered(hass)) == {f"usb-{CONTROLLER}-5"})
    await async_offer_sticks(hass)
    assert not moved(hass)
    machine.plug("gold")
    await until(hass, lambda: hass.states.is_state(GOLD_ENTITY, "19.87"))
    machine.replug("gold", ports="4")
    await until(hass, lambda: moved(hass) == {entry.entry_id})


async def plug_in_turn(hass: HomeAssistant, machine: Machine, names: list[str]) -> None:
    """Plug these sticks in and out, one after the other, and offer each time."""
    for name in itertools.cycle(names):
        machine.plug(name)
        await async_offer_sticks(hass)
        machine.unplug(name)
        await async_offer_sticks(hass)


async def add(hass: HomeAssistant, flow_id: str) -> str | None:
    """Add the stick of an offer; return the place of its entry."""
    result = await hass.config_entries.flow.async_configure(flow_id, {})
    assert result["type"] is FlowResultType.CREATE_ENTRY
    place: str | None = result["result"].unique_id
    return place


@pytest.mark.parametrize("order", ["in a row", "at once"])
async def test_twelve_sticks_are_added_while_others_are_plugged_in(
    hass: HomeAssistant, build: Build, order: str
) -> None:
    """Each flow that its owner submits ends in an entry, whatever happens beside it."""
    names = [f"stick{number}" for number in range(12)]
    others = [f"other{number}" for number in range(4)]
    sticks = [
        GOLD | {"name": name, "ports": f"1.{n}"} for n, name in enumerate(names, 1)
    ]
    machine = build(
        *sticks,
        *(GOLD | {"name": name, "ports": f"2.{n}"} for n, name in enumerate(others, 1)),
    )
    for name in names + others:
        machine.unplug(name)
    assert await async_setup_component(hass, DOMAIN, {})
    for name in names:
        machine.plug(name)
        machine.stick(name).fail("delay", 0.1, on="values")
    places = {f"usb-{CONTROLLER}-{stick['ports']}" for stick in sticks}
    await until(hass, lambda: places <= set(offered(hass)))
    flows = [offered(hass)[place] for place in sorted(places)]
    plugging = hass.async_create_background_task(
        plug_in_turn(hass, machine, others), "plug others"
    )
    if order == "in a row":
        added = [await add(hass, flow) for flow in flows]
    else:
        added = await asyncio.gather(*(add(hass, flow) for flow in flows))
    plugging.cancel()
    await hass.async_block_till_done(wait_background_tasks=True)
    assert set(added) == places
    assert not places & set(offered(hass))
    assert {
        entry.unique_id for entry in hass.config_entries.async_loaded_entries(DOMAIN)
    } == places


async def test_stick_that_is_read_stays_offered(
    hass: HomeAssistant, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stick that another program holds for a moment stays under "Discovered"."""
    assert await async_setup_component(hass, DOMAIN, {})
    await until(hass, lambda: set(offered(hass)) == {GOLD_PLACE, TWO_PLACE})
    flows = offered(hass)

    async def held(*_: object) -> DeviceAccessError:
        return DeviceAccessError(Fault.IN_USE, node="/dev/hidraw1")

    monkeypatch.setattr(finder.Finder, "_firmware", held)
    await async_offer_sticks(hass)
    assert offered(hass) == flows


async def test_offer_after_an_unexpected_error(
    hass: HomeAssistant, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An offer whose flow failed is withdrawn once its stick is unplugged."""
    assert await async_setup_component(hass, DOMAIN, {})
    await until(hass, lambda: GOLD_PLACE in offered(hass))

    async def fail(*_: object) -> None:
        raise RuntimeError

    with monkeypatch.context() as failing:
        failing.setattr(device_flow, "_async_read", fail)
        with pytest.raises(RuntimeError):
            await submit(hass, offered(hass)[GOLD_PLACE])
    machine.unplug("gold")
    await until(hass, lambda: GOLD_PLACE not in offered(hass))
