"""The forms: pick a device, move it, change how it is read."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractContextManager
import os
from threading import Event
from typing import Any, Protocol

from homeassistant.config_entries import (
    SOURCE_IGNORE,
    SOURCE_RECONFIGURE,
    SOURCE_USER,
    ConfigEntry,
    ConfigEntryState,
    ConfigFlowContext,
)
from homeassistant.core import HomeAssistant
from homeassistant.data_entry_flow import FlowResultType, InvalidData
from homeassistant.helpers import entity_registry as er
from homeassistant.util import dt as dt_util
import pytest
from pytest_homeassistant_custom_component.common import (
    MockConfigEntry,
    async_fire_time_changed,
)
import voluptuous as vol

from custom_components.temperature_logger.const import DOMAIN
from custom_components.temperature_logger.coordinator import FIRST_RETRY_DELAY
from custom_components.temperature_logger.devices import workers as workers_of
from custom_components.temperature_logger.discovery import async_move, device_flow
from custom_components.temperature_logger.drivers import workers
from custom_components.temperature_logger.drivers.presence import (
    PresentDevices,
    present_devices,
)
from emulation.machine import Machine

from .conftest import (
    BME_PLACE,
    CHIP,
    CONTROLLER,
    GOLD,
    GOLD_PLACE,
    MONITOR,
    MONITOR_PLACE,
    PINS,
    TWO,
    TWO_PLACE,
    SetUp,
    form_error,
    pass_time,
)
from .drivers.conftest import Build
from .drivers.waiting import until

MAINBOARD = {
    "bus": 4,
    "adapter": "SMBus I801 adapter",
    "path": "pci0000:00/0000:00:1f.4",
}
NEW_PLACE = f"usb-{CONTROLLER}-3"
MAINBOARD_KEY = "pci0000:00/0000:00:1f.4/SMBus I801 adapter"


async def begin(
    hass: HomeAssistant, entry: MockConfigEntry | None = None
) -> dict[str, Any]:
    """Open the form that adds a device, or the one that moves an entry."""
    context = ConfigFlowContext(source=SOURCE_USER)
    if entry is not None:
        context = ConfigFlowContext(source=SOURCE_RECONFIGURE, entry_id=entry.entry_id)
    form: Any = await hass.config_entries.flow.async_init(DOMAIN, context=context)
    return dict(form)


async def submit(
    hass: HomeAssistant, form: dict[str, Any], **fields: str | bool
) -> dict[str, Any]:
    """Submit the form."""
    result: Any = await hass.config_entries.flow.async_configure(
        form["flow_id"], fields
    )
    await hass.async_block_till_done()
    return dict(result)


def choices(form: dict[str, Any]) -> dict[str, str]:
    """Return the devices that can be picked besides this machine, with labels."""
    options = form["data_schema"].schema["device"].config["options"]
    return {
        o["value"]: o["label"]
        for o in options
        if o["value"] not in {"endpoint", "host"}
    }


def suggested(form: dict[str, Any]) -> str | None:
    """Return the preselected device of the form; a required field would have one."""
    (field,) = form["data_schema"].schema
    assert isinstance(field, vol.Optional)
    assert field.description is not None
    place: str | None = field.description["suggested_value"]
    return place


def hints(form: dict[str, Any]) -> str:
    """Return the hints of the form about missing devices."""
    return str(form["description_placeholders"]["hints"])


async def test_pick_a_stick(hass: HomeAssistant, machine: Machine) -> None:
    """The form lists the plugged-in devices; the picked one becomes an entry."""
    form = await begin(hass)
    assert form["step_id"] == "user"
    assert choices(form) == {
        BME_PLACE: "BME280, I2C address 0x76 (soc/i2c@7e804000)",
        TWO_PLACE: "TEMPer2, USB port 2 (0000:00:14.0)",
        GOLD_PLACE: "TEMPerGold, USB port 1.4 (0000:00:14.0)",
    }
    assert hints(form) == ""
    result = await submit(hass, form, device=GOLD_PLACE)
    assert result["type"] is FlowResultType.CREATE_ENTRY
    assert result["title"] == "TEMPerGold"
    assert result["result"].unique_id == GOLD_PLACE
    assert result["data"] == {
        "kind": "usb",
        "driver": "temper",
        "controller": CONTROLLER,
        "ports": "1.4",
        "firmware": "TEMPerGold_V3.4",
        "model": "TEMPerGold",
        "quantities": ["temperature"],
    }


async def test_form_without_a_choice(hass: HomeAssistant, machine: Machine) -> None:
    """A form submitted unchanged searches again; after a failure, the choice stays."""
    machine.unplug("gold")
    form = await begin(hass)
    assert suggested(form) is None
    machine.plug("gold")
    form = await submit(hass, form)
    assert GOLD_PLACE in choices(form)
    machine.stick("gold").fail("zero", on="values")
    form = await submit(hass, form, device=GOLD_PLACE)
    assert suggested(form) == GOLD_PLACE


async def test_pick_a_chip(hass: HomeAssistant, machine: Machine) -> None:
    """The entry of a chip stores the identity of the chip."""
    form = await begin(hass)
    result = await submit(hass, form, device=BME_PLACE)
    assert result["title"] == "BME280"
    data = result["data"]
    assert len(data.pop("trimming_hash")) == 16
    assert data == {
        "kind": "bme280",
        "driver": "bme280",
        "adapter": "soc/i2c@7e804000",
        "adapter_name": "soc/i2c@7e804000",
        "address": 0x76,
        "chip": "BME280",
        "quantities": ["temperature", "humidity", "pressure"],
    }


async def test_second_of_a_kind_is_numbered(
    hass: HomeAssistant, build: Build, set_up: SetUp
) -> None:
    """Two sticks of one model get different names."""
    build(GOLD, GOLD | {"name": "other", "ports": "3"})
    assert (await set_up(GOLD_PLACE)).title == "TEMPerGold"
    assert (await set_up(f"usb-{CONTROLLER}-3")).title == "TEMPerGold 2"


async def test_configured_devices_are_not_listed(
    hass: HomeAssistant, machine: Machine, set_up: SetUp
) -> None:
    """A device can be set up once; its bus and node are not touched again."""
    for place in (GOLD_PLACE, TWO_PLACE, BME_PLACE):
        await set_up(place)
    commands = machine.stick("gold").commands.copy()
    form = await begin(hass)
    assert form["step_id"] == "nothing_found"
    assert "set up already" in hints(form)
    assert machine.stick("gold").commands == commands


async def test_same_device_in_two_forms(hass: HomeAssistant, machine: Machine) -> None:
    """Two open forms do not make two entries of one device."""
    first, second = await begin(hass), await begin(hass)
    await submit(hass, first, device=GOLD_PLACE)
    result = await submit(hass, second, device=GOLD_PLACE)
    assert result["type"] is FlowResultType.ABORT
    assert result["reason"] == "already_configured"


async def test_no_device(hass: HomeAssistant, build: Build) -> None:
    """The form names the devices to plug in or enable, and searches again."""
    build()
    form = await begin(hass)
    assert form["step_id"] == "nothing_found"
    assert "No USB device" in hints(form)
    assert "no I2C bus" in hints(form)
    build(GOLD)
    form = await submit(hass, form)
    assert form["step_id"] == "user"
    result = await submit(hass, form, device=GOLD_PLACE)
    assert result["type"] is FlowResultType.CREATE_ENTRY


@pytest.mark.parametrize(
    ("usb", "bus", "text"),
    [
        ({"model": "pedal 413d"}, None, "does not answer"),
        (None, PINS | {"node": False}, "i2c-dev"),
        (None, MAINBOARD | {"node": False}, "no I2C bus"),
        (None, PINS | {"held": {"0x76": "bmp280"}}, "driver of the kernel"),
        (None, PINS | {"chips": []}, "No chip answers"),
        (None, PINS | {"chips": [CHIP | {"chip_id": "0x50"}]}, "BMP388"),
        (None, PINS | {"chips": [CHIP | {"chip_id": "0xff"}]}, "Check the wiring"),
        (None, PINS | {"fault": "timeout"}, "pull-up"),
    ],
)
async def test_missing_step_is_named(
    hass: HomeAssistant,
    build: Build,
    usb: dict[str, Any] | None,
    bus: dict[str, Any] | None,
    text: str,
) -> None:
    """A device that cannot be set up yet is listed with its remedy."""
    build(*([GOLD | usb] if usb else []), i2c=[bus] if bus else [])
    form = await begin(hass)
    assert form["step_id"] == "nothing_found"
    assert text in hints(form)


async def test_missing_permission_is_named(
    hass: HomeAssistant,
    build: Build,
    as_nobody: Callable[[], AbstractContextManager[None]],
) -> None:
    """Each node without permission is named once, with the missing rule.

    Once it has the permission, the device is found without a replug.
    """
    build()
    await begin(hass)  # Home Assistant reads its files while it may.
    machine = build(GOLD | {"usbfs_mode": "600"}, i2c=[PINS])
    with as_nobody():
        form = await begin(hass)
    assert form["step_id"] == "nothing_found"
    assert hints(form).count("may not use") == 2
    assert "udev rule" in hints(form)
    assert not machine.stick("gold").commands
    form = await submit(hass, form)
    assert list(choices(form)) == [BME_PLACE, GOLD_PLACE]


async def test_foot_pedal_is_queried_once(hass: HomeAssistant, build: Build) -> None:
    """A silent device with a stick's id is left alone until it is replugged."""
    machine = build(GOLD | {"model": "pedal 413d"}, TWO)
    for _ in range(3):
        await begin(hass)
    assert machine.stick("gold").commands == {"firmware": 1}
    machine.replug("gold")
    await begin(hass)
    assert machine.stick("gold").commands == {"firmware": 2}


async def test_stick_that_is_being_closed_is_listed(
    hass: HomeAssistant, build: Build
) -> None:
    """A short job of a stick, such as its close after a poll, is no hang."""
    machine = build(GOLD, TWO)
    ends = Event()
    close = hass.async_create_task(workers_of(hass).lane(GOLD_PLACE).run(ends.wait))
    form = hass.async_create_task(begin(hass))
    await until(lambda: bool(machine.stick("two").commands))
    ends.set()
    assert list(choices(await form)) == [TWO_PLACE, GOLD_PLACE]
    await close


async def test_stick_that_hangs_does_not_hold_the_form(
    hass: HomeAssistant, build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stick that hangs is reported by name, and the others are listed."""
    machine = build(GOLD, TWO)
    machine.stick("two").fail("timeout")
    monkeypatch.setattr(
        "custom_components.temperature_logger.drivers.workers.DEVICE_TIMEOUT_S", 0.5
    )
    form = await begin(hass)
    assert list(choices(form)) == [GOLD_PLACE]
    assert "hangs" in hints(form)


async def test_port_that_hangs_does_not_hold_the_form(
    hass: HomeAssistant, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While sysfs itself waits for a stick, the chips are listed all the same."""
    product = machine.sys / "bus/usb/devices/1-1.4/product"
    os.mkfifo(product)
    monkeypatch.setattr(
        "custom_components.temperature_logger.drivers.workers.DEVICE_TIMEOUT_S", 0.5
    )
    form = await begin(hass)
    assert list(choices(form)) == [BME_PLACE]
    assert "The device at USB hangs" in hints(form)
    product.write_text("TEMPerGold")


@pytest.mark.parametrize("way", [{}, {"hidraw_nodes": False}, {"bound": False}])
async def test_stick_that_still_hangs(
    hass: HomeAssistant,
    build: Build,
    monkeypatch: pytest.MonkeyPatch,
    way: dict[str, bool],
) -> None:
    """A stick that hung before is not queried again, and does not delay the others."""
    build(GOLD | way, TWO)
    monkeypatch.setattr(workers, "JOB_GRACE_S", 0)
    kernel = Event()
    hanging = asyncio.create_task(workers_of(hass).lane(GOLD_PLACE).run(kernel.wait))
    form = await begin(hass)
    assert list(choices(form)) == [TWO_PLACE]
    kernel.set()
    await hanging
    assert set(choices(await begin(hass))) == {GOLD_PLACE, TWO_PLACE}


async def test_bus_that_hangs_does_not_hold_the_form(
    hass: HomeAssistant, build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bus that is held low costs only its own sensors."""
    held = {"name": "timeout", "argument": 60}
    machine = build(GOLD, i2c=[PINS | {"fault": held}])
    monkeypatch.setattr(
        "custom_components.temperature_logger.drivers.workers.DEVICE_TIMEOUT_S", 0.5
    )
    form = await begin(hass)
    assert list(choices(form)) == [GOLD_PLACE]
    assert "hangs" in hints(form)
    machine.buses.numbered[1].clear()


async def test_bus_that_hangs_is_not_searched_again(
    hass: HomeAssistant, build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However often the owner searches, a bus that hangs occupies one worker."""
    machine = build(i2c=[PINS | {"fault": {"name": "timeout", "argument": 60}}])
    monkeypatch.setattr(workers, "DEVICE_TIMEOUT_S", 0.3)
    for _ in range(4):
        assert "hangs" in hints(await begin(hass))
    # The other searches end soon.
    await until(lambda: workers_of(hass).healthy.busy == 1)
    machine.buses.numbered[1].clear()


async def test_mainboard_bus_is_searched_when_picked(
    hass: HomeAssistant, build: Build
) -> None:
    """A bus of the mainboard is not searched before the owner picks it."""
    machine = build(i2c=[MAINBOARD | {"chips": [CHIP]}])
    form = await begin(hass)
    assert choices(form) == {MAINBOARD_KEY: "I2C 4: SMBus I801 adapter"}
    assert "No USB device" in hints(form)
    assert not machine.buses.numbered[4].log
    form = await submit(hass, form, device=MAINBOARD_KEY)
    place = f"i2c-{MAINBOARD_KEY}-0x76"
    assert list(choices(form)) == [place]
    result = await submit(hass, form, device=place)
    assert result["type"] is FlowResultType.CREATE_ENTRY


async def test_mainboard_bus_without_a_sensor(
    hass: HomeAssistant, build: Build
) -> None:
    """The error for a picked bus without a sensor names the things to check."""
    build(GOLD, i2c=[MAINBOARD])
    form = await begin(hass)
    form = await submit(hass, form, device=MAINBOARD_KEY)
    assert "No chip answers at I2C address 0x76, 0x77" in form_error(form)
    result = await submit(hass, form, device=GOLD_PLACE)
    assert result["type"] is FlowResultType.CREATE_ENTRY


async def test_mainboard_bus_without_permission(
    hass: HomeAssistant,
    build: Build,
    as_nobody: Callable[[], AbstractContextManager[None]],
) -> None:
    """The error for a picked bus without permission names the missing rule."""
    build()
    await begin(hass)  # Home Assistant reads its files while it may.
    build(i2c=[MAINBOARD | {"chips": [CHIP], "mode": "600"}])
    with as_nobody():
        form = await begin(hass)
        form = await submit(hass, form, device=MAINBOARD_KEY)
    assert "Home Assistant may not use" in form_error(form)
    assert "No chip answers" not in hints(form)


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        ({"fault": "eio"}, "Reading I2C address 0x76 (pci0000:00/0000:00:1f.4"),
        ({"held": {"0x76": "bmp280"}}, "driver of the kernel"),
        ({"chips": [CHIP | {"chip_id": "0x50"}]}, "BMP388"),
    ],
)
async def test_mainboard_bus_with_a_problem(
    hass: HomeAssistant, build: Build, changed: dict[str, Any], text: str
) -> None:
    """The error for a picked bus names its problem."""
    build(i2c=[MAINBOARD | {"chips": [CHIP]} | changed])
    form = await submit(hass, await begin(hass), device=MAINBOARD_KEY)
    assert text in form_error(form)


async def test_mainboard_bus_beside_one_with_a_problem(
    hass: HomeAssistant, build: Build
) -> None:
    """The error for a picked bus is not that of another bus."""
    build(i2c=[PINS | {"fault": "eio"}, MAINBOARD])
    form = await submit(hass, await begin(hass), device=MAINBOARD_KEY)
    assert form_error(form).startswith("No chip answers at I2C address 0x76, 0x77")


async def test_mainboard_bus_that_is_set_up(hass: HomeAssistant, build: Build) -> None:
    """The error for a picked bus says that its chips are set up."""
    build(i2c=[MAINBOARD | {"chips": [CHIP]}])
    form = await submit(hass, await begin(hass), device=MAINBOARD_KEY)
    await submit(hass, form, device=f"i2c-{MAINBOARD_KEY}-0x76")
    form = await submit(hass, await begin(hass), device=MAINBOARD_KEY)
    assert form_error(form).startswith(
        f"Every chip that answers on I2C bus {MAINBOARD_KEY}"
    )


async def test_mainboard_bus_that_is_gone(hass: HomeAssistant, build: Build) -> None:
    """The error for a picked bus says that it is gone."""
    machine = build(i2c=[MAINBOARD | {"chips": [CHIP]}])
    form = await begin(hass)
    machine.unplug_bus(4)
    form = await submit(hass, form, device=MAINBOARD_KEY)
    assert "is not there any more" in form_error(form)


async def test_channels_of_a_multiplexer_are_left_alone(
    hass: HomeAssistant, build: Build
) -> None:
    """A multiplexer would take the number of a register for a channel mask."""
    mux = {"bus": 1, "address": "0x70"}
    machine = build(GOLD, i2c=[PINS, PINS | {"bus": 7, "mux": mux, "of_node": ""}])
    form = await begin(hass)
    assert list(choices(form)) == [BME_PLACE, GOLD_PLACE]
    assert not machine.buses.numbered[7].log


async def test_stick_without_a_driver_is_read_when_picked(
    hass: HomeAssistant, build: Build
) -> None:
    """A stick that a killed program left without a driver gets it back, and is read."""
    machine = build(GOLD | {"bound": False})
    form = await begin(hass)
    label = "TEMPer (1a86:e025), USB port 1.4 (0000:00:14.0)"
    assert choices(form) == {GOLD_PLACE: label}
    assert not machine.stick("gold").commands
    result = await submit(hass, form, device=GOLD_PLACE)
    assert result["title"] == "TEMPerGold"
    assert set(machine.device("gold").bound) == {0, 1}


@pytest.mark.parametrize(
    ("fault", "text"),
    [
        ("timeout", "does not answer"),
        ("garbage", "is no reading"),
        ("noprobe", "its own sensor is missing"),
    ],
)
async def test_stick_that_cannot_be_read(
    hass: HomeAssistant, machine: Machine, fault: str, text: str
) -> None:
    """A stick without a reading becomes no entry; later the same form makes it."""
    form = await begin(hass)
    machine.stick("gold").fail(fault, on="values")
    form = await submit(hass, form, device=GOLD_PLACE)
    assert text in form_error(form)
    machine.stick("gold").clear()
    result = await submit(hass, form, device=GOLD_PLACE)
    assert result["type"] is FlowResultType.CREATE_ENTRY


async def test_stick_unplugged_while_the_form_is_open(
    hass: HomeAssistant, machine: Machine
) -> None:
    """An unplugged device is reported as gone, and is off the list."""
    form = await begin(hass)
    machine.unplug("gold")
    form = await submit(hass, form, device=GOLD_PLACE)
    assert "Plug it back in" in form_error(form)
    assert GOLD_PLACE not in choices(form)
    result = await submit(hass, form, device=TWO_PLACE)
    assert result["type"] is FlowResultType.CREATE_ENTRY


async def test_move_a_stick(
    hass: HomeAssistant,
    machine: Machine,
    set_up: SetUp,
    entity_registry: er.EntityRegistry,
) -> None:
    """A stick at another port keeps its entry and its entities."""
    entry = await set_up(GOLD_PLACE)
    entities = er.async_entries_for_config_entry(entity_registry, entry.entry_id)
    await hass.config_entries.async_unload(entry.entry_id)
    machine.replug("gold", ports="3.1")
    form = await begin(hass, entry)
    assert form["description_placeholders"]["device"] == "TEMPerGold"
    assert BME_PLACE not in choices(form)
    result = await submit(hass, form, device=f"usb-{CONTROLLER}-3.1")
    assert result["reason"] == "reconfigure_successful"
    assert entry.unique_id == f"usb-{CONTROLLER}-3.1"
    assert entry.data["ports"] == "3.1"
    assert entry.state is ConfigEntryState.LOADED
    now = er.async_entries_for_config_entry(entity_registry, entry.entry_id)
    assert [e.unique_id for e in now] == [e.unique_id for e in entities]


async def test_move_while_the_stick_is_out(
    hass: HomeAssistant, machine: Machine, set_up: SetUp
) -> None:
    """A chip cannot replace a stick: the form asks for the stick to be plugged in."""
    entry = await set_up(GOLD_PLACE)
    await hass.config_entries.async_unload(entry.entry_id)
    machine.unplug("gold")
    machine.unplug("two")
    form = await begin(hass, entry)
    assert form["step_id"] == "nothing_found"
    assert "No USB device" in hints(form)
    assert "I2C" not in hints(form)


async def test_stick_for_libusb_is_taken_only_when_picked(
    hass: HomeAssistant, build: Build
) -> None:
    """Opening the form takes nothing from the kernel; picking the stick does."""
    machine = build(GOLD | {"hidraw_nodes": False})
    form = await begin(hass)
    label = "TEMPer (1a86:e025), USB port 1.4 (0000:00:14.0)"
    assert choices(form) == {GOLD_PLACE: label}
    assert not machine.stick("gold").commands
    assert set(machine.device("gold").bound) == {0, 1}
    result = await submit(hass, form, device=GOLD_PLACE)
    assert result["title"] == "TEMPerGold"


async def test_two_forms_at_once(hass: HomeAssistant, machine: Machine) -> None:
    """Two searches at the same time do not disturb each other."""
    first, second = await asyncio.gather(begin(hass), begin(hass))
    assert choices(first) == choices(second)
    assert len(choices(first)) == 3


@pytest.mark.warns("does not answer")
async def test_form_and_poll_at_once(
    hass: HomeAssistant, machine: Machine, set_up: SetUp
) -> None:
    """The form that moves an entry waits for that entry's poll, and for no other."""
    entry = await set_up(GOLD_PLACE)
    gold = machine.stick("gold")
    gold.fail("timeout")
    await entry.runtime_data.async_refresh()
    form = await begin(hass, entry)
    gold.fail("delay", 0.2, count=1)
    async_fire_time_changed(hass, dt_util.utcnow() + 2 * FIRST_RETRY_DELAY)
    await until(lambda: gold.fault is None)  # The poll has begun.
    result = await submit(hass, form, device=GOLD_PLACE)
    assert result["reason"] == "reconfigure_successful"
    await hass.async_block_till_done(wait_background_tasks=True)
    assert entry.state is ConfigEntryState.LOADED


async def test_move_to_another_model_is_refused(
    hass: HomeAssistant, machine: Machine, set_up: SetUp
) -> None:
    """An entry cannot move to a stick that measures something else."""
    entry = await set_up(GOLD_PLACE)
    form = await begin(hass, entry)
    assert list(choices(form)) == [TWO_PLACE]
    assert suggested(form) is None
    form = await submit(hass, form, device=TWO_PLACE)
    assert "does not measure the same" in form_error(form)
    assert entry.unique_id == GOLD_PLACE
    assert entry.state is ConfigEntryState.LOADED


async def test_move_to_a_place_that_was_taken_meanwhile(
    hass: HomeAssistant, build: Build, set_up: SetUp
) -> None:
    """An entry cannot move to a place that another entry took meanwhile."""
    build(GOLD, GOLD | {"name": "other", "ports": "3"})
    entry = await set_up(GOLD_PLACE)
    form = await begin(hass, entry)
    other = f"usb-{CONTROLLER}-3"
    await set_up(other)
    result = await submit(hass, form, device=other)
    assert result["reason"] == "already_configured"


class ChangePlaces(Protocol):
    """Plug sticks into other ports while their entries are not loaded; load these."""

    async def __call__(
        self, machine: Machine, *entries: MockConfigEntry, **ports: str
    ) -> None:
        """Give the new ports by the names of the sticks."""


@pytest.fixture(name="change_places")
def change_places_fixture(
    hass: HomeAssistant, scans: list[PresentDevices]
) -> ChangePlaces:
    """Return a function that plugs sticks into other ports."""

    async def change_places(
        machine: Machine, *entries: MockConfigEntry, **ports: str
    ) -> None:
        for entry in entries:
            await hass.config_entries.async_unload(entry.entry_id)
        for name in ports:
            machine.unplug(name)
        for name, port in ports.items():
            machine.plug(name, ports=port)
        await until(lambda: scans[-1:] == [present_devices()])
        await hass.async_block_till_done(wait_background_tasks=True)
        for entry in entries:
            await hass.config_entries.async_setup(entry.entry_id)
        await hass.async_block_till_done(wait_background_tasks=True)

    return change_places


@pytest.mark.warns("another stick")
async def test_exchange_the_places_of_two_sticks(
    hass: HomeAssistant, machine: Machine, set_up: SetUp, change_places: ChangePlaces
) -> None:
    """Each of two swapped sticks gets its own entry back with one form."""
    entries = [await set_up(GOLD_PLACE), await set_up(TWO_PLACE)]
    gold, two = entries
    names = sorted(hass.states.async_entity_ids("sensor"))
    await change_places(machine, *entries, gold="2", two="1.4")
    assert {entry.state for entry in entries} == {ConfigEntryState.SETUP_RETRY}
    form = await begin(hass, gold)
    assert set(choices(form)) == {GOLD_PLACE, TWO_PLACE}
    assert suggested(form) == TWO_PLACE
    form = await submit(hass, form, device=GOLD_PLACE)
    assert "delete that one first" in form_error(form)
    result = await submit(hass, form, device=TWO_PLACE)
    assert result["reason"] == "reconfigure_successful"
    assert [entry.unique_id for entry in entries] == [TWO_PLACE, GOLD_PLACE]
    assert (gold.data["ports"], two.data["ports"]) == ("2", "1.4")
    assert {entry.state for entry in entries} == {ConfigEntryState.LOADED}
    assert hass.states.is_state("sensor.tempergold_temperature", "19.87")
    assert hass.states.is_state("sensor.temper2_internal_temperature", "29.0")
    assert sorted(hass.states.async_entity_ids("sensor")) == names


@pytest.mark.warns("No thermometer is plugged in")
@pytest.mark.warns("another stick")
async def test_exchange_while_both_are_loaded(
    hass: HomeAssistant, machine: Machine, set_up: SetUp
) -> None:
    """Both places are closed before they are opened again."""
    entries = [await set_up(GOLD_PLACE), await set_up(TWO_PLACE)]
    machine.unplug("two")
    machine.replug("gold", ports="2")
    machine.plug("two", ports="1.4")

    def noticed() -> bool:
        errors = [entry.runtime_data.last_exception for entry in entries]
        return all(e and e.translation_key == "stick_changed" for e in errors)

    await until(noticed)
    await hass.async_block_till_done(wait_background_tasks=True)
    result = await submit(hass, await begin(hass, entries[1]), device=GOLD_PLACE)
    assert result["reason"] == "reconfigure_successful"
    assert [entry.unique_id for entry in entries] == [TWO_PLACE, GOLD_PLACE]
    assert {entry.state for entry in entries} == {ConfigEntryState.LOADED}
    assert hass.states.is_state("sensor.tempergold_temperature", "19.87")


@pytest.mark.warns("No thermometer is plugged in")
async def test_exchange_the_places_of_two_families(
    hass: HomeAssistant, build: Build, set_up: SetUp, change_places: ChangePlaces
) -> None:
    """Two swapped devices of different makers get their entries back with one form."""
    machine = build(GOLD, MONITOR)
    gold, monitor = await set_up(GOLD_PLACE), await set_up(MONITOR_PLACE)
    await change_places(machine, gold, monitor, gold="3", monitor="1.4")
    result = await submit(hass, await begin(hass, gold), device=MONITOR_PLACE)
    assert result["reason"] == "reconfigure_successful"
    assert (gold.unique_id, monitor.unique_id) == (MONITOR_PLACE, GOLD_PLACE)
    assert hass.states.is_state("sensor.tempergold_temperature", "19.87")
    assert monitor.state is ConfigEntryState.LOADED


@pytest.mark.warns("another sensor")
async def test_exchange_the_places_of_two_chips(
    hass: HomeAssistant, build: Build, set_up: SetUp
) -> None:
    """Two chips of one model are distinguished by their trimming."""
    other = CHIP | {"name": "other", "address": "0x77", "calibration": 1}
    machine = build(i2c=[PINS | {"chips": [CHIP, other]}])
    places = [BME_PLACE, BME_PLACE.replace("0x76", "0x77")]
    entries = [await set_up(place) for place in places]
    hashes = [entry.data["trimming_hash"] for entry in entries]
    first, second = machine.chip("bme"), machine.chip("other")
    first.calibration, second.calibration = second.calibration, first.calibration
    for entry in entries:
        await hass.config_entries.async_reload(entry.entry_id)
    result = await submit(hass, await begin(hass, entries[0]), device=places[1])
    assert result["reason"] == "reconfigure_successful"
    assert [entry.unique_id for entry in entries] == places[::-1]
    assert [entry.data["address"] for entry in entries] == [0x77, 0x76]
    assert [entry.data["trimming_hash"] for entry in entries] == hashes
    assert {entry.state for entry in entries} == {ConfigEntryState.LOADED}


@pytest.mark.warns("another stick")
async def test_three_swapped_sticks(
    hass: HomeAssistant, build: Build, set_up: SetUp, change_places: ChangePlaces
) -> None:
    """The entry still at the wrong stick after an exchange reports so, and is moved."""
    new = TWO | {"name": "new", "model": "TEMPer2_V4.1", "ports": "3"}
    machine = build(GOLD, TWO, new)
    places = [GOLD_PLACE, TWO_PLACE, NEW_PLACE]
    entries = [await set_up(place) for place in places]
    await change_places(machine, *entries, gold="2", two="3", new="1.4")
    await submit(hass, await begin(hass, entries[0]), device=TWO_PLACE)
    assert [entry.unique_id for entry in entries] == [TWO_PLACE, GOLD_PLACE, NEW_PLACE]
    assert [entry.state for entry in entries] == [
        ConfigEntryState.LOADED,
        ConfigEntryState.SETUP_RETRY,
        ConfigEntryState.SETUP_RETRY,
    ]
    await submit(hass, await begin(hass, entries[1]), device=NEW_PLACE)
    assert [entry.unique_id for entry in entries] == [TWO_PLACE, NEW_PLACE, GOLD_PLACE]
    assert {entry.state for entry in entries} == {ConfigEntryState.LOADED}


@pytest.mark.warns("another stick")
@pytest.mark.parametrize("meanwhile", ["before it is picked", "before it is moved"])
async def test_exchange_with_a_working_device(
    hass: HomeAssistant,
    machine: Machine,
    set_up: SetUp,
    change_places: ChangePlaces,
    monkeypatch: pytest.MonkeyPatch,
    meanwhile: str,
) -> None:
    """A device that is read where it is keeps its place."""
    gold, two = await set_up(GOLD_PLACE), await set_up(TWO_PLACE)
    await change_places(machine, gold, two, gold="2", two="1.4")
    form = await begin(hass, gold)

    async def put_back() -> None:
        await change_places(machine, two, gold="3", two="2")
        assert two.state is ConfigEntryState.LOADED

    async def put_back_and_move(
        hass: HomeAssistant, entry: ConfigEntry, data: dict[str, Any]
    ) -> bool:
        await put_back()
        return await async_move(hass, entry, data)

    if meanwhile == "before it is picked":
        await put_back()
    else:
        monkeypatch.setattr(device_flow, "async_move", put_back_and_move)
    result = await submit(hass, form, device=TWO_PLACE)
    assert result["reason"] == "already_configured"
    assert (gold.unique_id, two.unique_id) == (GOLD_PLACE, TWO_PLACE)


async def test_move_to_a_place_that_is_ignored(
    hass: HomeAssistant, machine: Machine, set_up: SetUp, change_places: ChangePlaces
) -> None:
    """An entry can move to a device that was ignored as a new one."""
    entry = await set_up(GOLD_PLACE)
    await set_up(TWO_PLACE)
    await hass.config_entries.flow.async_init(
        DOMAIN,
        context={"source": SOURCE_IGNORE},
        data={"unique_id": NEW_PLACE, "title": "Not this one"},
    )
    await change_places(machine, entry, gold="3")
    form = await begin(hass, entry)
    assert list(choices(form)) == [NEW_PLACE]
    result = await submit(hass, form, device=NEW_PLACE)
    assert result["reason"] == "reconfigure_successful"
    assert entry.unique_id == NEW_PLACE
    assert entry.state is ConfigEntryState.LOADED
    assert not [e for e in hass.config_entries.async_entries(DOMAIN) if not e.data]


async def test_no_place_to_move_to(
    hass: HomeAssistant, build: Build, set_up: SetUp
) -> None:
    """While the device is read where it is, there is no place to pick."""
    machine = build(GOLD, TWO, i2c=[PINS])
    entry = await set_up(GOLD_PLACE)
    await set_up(TWO_PLACE)
    form = await begin(hass, entry)
    assert form["step_id"] == "nothing_found"
    assert hints(form).startswith("- TEMPerGold still works where it was set up.")
    await hass.config_entries.async_unload(entry.entry_id)
    machine.unplug("gold")
    form = await submit(hass, form)
    assert hints(form).startswith("- TEMPerGold is not found anywhere.")
    machine.plug("gold", ports="3")
    form = await submit(hass, form)
    assert form["step_id"] == "reconfigure"
    result = await submit(hass, form, device=f"usb-{CONTROLLER}-3")
    assert result["reason"] == "reconfigure_successful"


async def test_chip_at_no_address(
    hass: HomeAssistant, machine: Machine, set_up: SetUp
) -> None:
    """For a chip the form names the addresses without an answer, and no sticks."""
    entry = await set_up(BME_PLACE)
    await hass.config_entries.async_unload(entry.entry_id)
    machine.chip("bme").fail("gone")
    form = await begin(hass, entry)
    assert form["step_id"] == "nothing_found"
    assert [hint.split(". ")[0] for hint in hints(form).split("\n")] == [
        "- No chip answers at I2C address 0x76 (soc/i2c@7e804000)",
        "- No chip answers at I2C address 0x77 (soc/i2c@7e804000)",
    ]


async def test_move_to_a_port_that_cannot_be_read(
    hass: HomeAssistant, build: Build, set_up: SetUp
) -> None:
    """The form shows only errors that fit the devices there."""
    machine = build(GOLD, TWO)
    entry = await set_up(GOLD_PLACE)
    await set_up(TWO_PLACE)
    await hass.config_entries.async_unload(entry.entry_id)
    machine.stick("gold").fail("timeout")
    machine.replug("gold", ports="3")
    form = await begin(hass, entry)
    assert form["step_id"] == "nothing_found"
    assert "does not answer" in hints(form)
    assert hints(form).count("\n") == 0


@pytest.mark.warns("Error fetching BME280 data")
async def test_accept_another_chip(
    hass: HomeAssistant, machine: Machine, set_up: SetUp
) -> None:
    """The owner can accept a replaced chip, and its readings go on."""
    entry = await set_up(BME_PLACE)
    old = entry.data["trimming_hash"]
    chip = machine.chip("bme")
    chip.calibration = type(chip)({"name": "other", "calibration": 1}).calibration
    chip.power_cycle()
    await pass_time(hass, 305)
    assert not entry.runtime_data.last_update_success
    form = await begin(hass, entry)
    assert suggested(form) == BME_PLACE
    result = await submit(hass, form, device=BME_PLACE)
    assert result["reason"] == "reconfigure_successful"
    assert entry.data["trimming_hash"] != old
    assert entry.state is ConfigEntryState.LOADED


async def options(hass: HomeAssistant, entry: MockConfigEntry) -> dict[str, Any]:
    """Open the options."""
    form: Any = await hass.config_entries.options.async_init(entry.entry_id)
    return dict(form)


async def test_options(hass: HomeAssistant, machine: Machine, set_up: SetUp) -> None:
    """Interval and calibration are stored, and applied at once."""
    entry = await set_up(TWO_PLACE)
    form = await options(hass, entry)
    assert {str(key): key.description for key in form["data_schema"].schema} == {
        "interval": {"suggested_value": 300},
        "internal_temperature_offset": {"suggested_value": 0.0},
        "internal_temperature_factor": {"suggested_value": 1.0},
        "external_temperature_offset": {"suggested_value": 0.0},
        "external_temperature_factor": {"suggested_value": 1.0},
    }
    await hass.config_entries.options.async_configure(
        form["flow_id"],
        {
            "interval": 10,
            "internal_temperature_offset": -1.5,
            "internal_temperature_factor": 1.0,
            "external_temperature_offset": 0.0,
            "external_temperature_factor": 1.0,
        },
    )
    await hass.async_block_till_done()
    correction = {"offset": -1.5, "factor": 1.0}
    assert entry.options == {
        "interval": 10,
        "calibration": {"internal_temperature": correction},
    }
    assert entry.runtime_data.update_interval.total_seconds() == 10
    assert hass.states.is_state("sensor.temper2_internal_temperature", "27.5")


@pytest.mark.parametrize(
    ("field", "value", "error"),
    [
        ("interval", 9, "interval_out_of_range"),
        ("interval", 3601, "interval_out_of_range"),
        ("temperature_factor", 0, "factor_out_of_range"),
        ("temperature_offset", 51, "temperature_offset_out_of_range"),
        ("humidity_offset", -51, "humidity_offset_out_of_range"),
        ("pressure_offset", 201, "pressure_offset_out_of_range"),
        ("pressure_offset", float("nan"), "pressure_offset_out_of_range"),
    ],
)
async def test_options_out_of_range(
    hass: HomeAssistant,
    machine: Machine,
    set_up: SetUp,
    field: str,
    value: float,
    error: str,
) -> None:
    """An invalid value has an error at its field, and the entered values stay."""
    entry = await set_up(BME_PLACE)
    form = await options(hass, entry)
    typed = {
        str(key): key.description["suggested_value"]
        for key in form["data_schema"].schema
    } | {"humidity_offset": 1.25, field: value}
    again: Any = await hass.config_entries.options.async_configure(
        form["flow_id"], typed
    )
    assert again["errors"] == {field: error}
    shown = {
        str(key): key.description["suggested_value"]
        for key in again["data_schema"].schema
    }
    assert shown == typed
    typed |= {"humidity_offset": 1.25, field: 10 if field == "interval" else 1.0}
    result = await hass.config_entries.options.async_configure(form["flow_id"], typed)
    assert result["type"] is FlowResultType.CREATE_ENTRY


UNKNOWN = GOLD | {"firmware": "TEMPerNew_V9.9"}


async def test_unknown_firmware(hass: HomeAssistant, build: Build) -> None:
    """A stick that is not in the table is read once its owner has chosen a model."""
    machine = build(UNKNOWN)
    form = await begin(hass)
    assert choices(form) == {GOLD_PLACE: "TEMPerNew_V9.9, USB port 1.4 (0000:00:14.0)"}
    form = await submit(hass, form, device=GOLD_PLACE)
    assert form["step_id"] == "unknown_firmware"
    assert form["description_placeholders"]["firmware"] == "TEMPerNew_V9.9"
    assert machine.stick("gold").commands == {"firmware": 1}
    form = await submit(hass, form, thermometer=True)
    assert form["step_id"] == "shape"
    assert form["description_placeholders"]["reports"] == "80 80 07 c3 4e 20 00 00"
    selector = form["data_schema"].schema["shape"]
    assert {o["value"]: o["label"] for o in selector.config["options"]} == {
        "one_100th": "19.87 °C: one sensor, in 1/100 °C",
        "two_100th_optional": "19.87 °C: internal and external sensor in 1/100 °C, "
        "silent without the external one",
    }
    form = await submit(hass, form)
    assert form["step_id"] == "shape"
    assert form["errors"] == {"shape": "nothing_picked"}
    assert suggested(form) is None
    result = await submit(hass, form, shape="one_100th")
    assert result["type"] is FlowResultType.CREATE_ENTRY
    assert result["title"] == "TEMPerNew_V9.9"
    assert result["data"] == {
        "kind": "usb",
        "driver": "temper",
        "controller": CONTROLLER,
        "ports": "1.4",
        "firmware": "TEMPerNew_V9.9",
        "model": "TEMPerNew_V9.9",
        "quantities": ["temperature"],
        "shape": "one_100th",
    }
    assert hass.states.is_state("sensor.tempernew_v9_9_temperature", "19.87")


async def test_unknown_firmware_of_another_device(
    hass: HomeAssistant, build: Build
) -> None:
    """A device that its owner does not call a thermometer gets no further command."""
    machine = build(UNKNOWN)
    form = await submit(hass, await begin(hass), device=GOLD_PLACE)
    form = await submit(hass, form, thermometer=False)
    assert form["step_id"] == "unknown_firmware"
    assert form["errors"] == {"thermometer": "no_thermometer"}
    assert machine.stick("gold").commands == {"firmware": 1}
    form = await submit(hass, form, thermometer=True)
    assert form["step_id"] == "shape"


async def test_unknown_answer(hass: HomeAssistant, build: Build) -> None:
    """An answer that fits no model is shown for a report, and no entry is made."""
    build(UNKNOWN | {"reports": ["80 77 01 02 03 04 05 06"]})
    form = await submit(hass, await begin(hass), device=GOLD_PLACE)
    result = await submit(hass, form, thermometer=True)
    assert result["reason"] == "no_shape"
    quoted = result["description_placeholders"]
    assert quoted["reports"] == "80 77 01 02 03 04 05 06"
    assert quoted["issues"].startswith("https://")


async def test_unknown_firmware_that_fails(hass: HomeAssistant, build: Build) -> None:
    """Every failure on the way is shown, and can be retried."""
    machine = build(UNKNOWN)
    form = await submit(hass, await begin(hass), device=GOLD_PLACE)
    machine.stick("gold").fail("timeout", on="values")
    form = await submit(hass, form, thermometer=True)
    assert "does not answer" in form_error(form)
    machine.stick("gold").clear()
    form = await submit(hass, form, thermometer=True)
    machine.stick("gold").fail("zero", on="values")
    form = await submit(hass, form, shape="one_100th")
    assert "no reading" in form_error(form)
    assert suggested(form) == "one_100th"
    machine.stick("gold").clear()
    result = await submit(hass, form, shape="one_100th")
    assert result["type"] is FlowResultType.CREATE_ENTRY


async def test_unknown_firmware_without_a_node(
    hass: HomeAssistant, build: Build
) -> None:
    """A stick that only libusb can reach gets the same forms."""
    build(UNKNOWN | {"hidraw_nodes": False})
    form = await submit(hass, await begin(hass), device=GOLD_PLACE)
    assert form["step_id"] == "unknown_firmware"
    assert form["description_placeholders"]["firmware"] == "TEMPerNew_V9.9"
    form = await submit(hass, form, thermometer=True)
    result = await submit(hass, form, shape="one_100th")
    assert result["type"] is FlowResultType.CREATE_ENTRY
    assert hass.states.is_state("sensor.tempernew_v9_9_temperature", "19.87")


async def test_picked_device_is_gone(hass: HomeAssistant, machine: Machine) -> None:
    """A device that has left the list is not set up; the form lists the others."""
    form = await begin(hass)
    machine.unplug("gold")
    form = await submit(hass, form)
    assert form["step_id"] == "user"
    assert GOLD_PLACE not in choices(form)
    with pytest.raises(InvalidData):  # As from a window that shows the old list.
        await submit(hass, form, device=GOLD_PLACE)
    assert not hass.config_entries.async_entries(DOMAIN)
    assert choices(await submit(hass, form)) == choices(form)
