"""The machine that Home Assistant runs on, from the form to the sensors."""

import os
import shutil
from threading import Event
from typing import Any

from homeassistant.config_entries import ConfigEntryState
from homeassistant.const import STATE_UNAVAILABLE
from homeassistant.core import HomeAssistant
from homeassistant.data_entry_flow import FlowResultType
from homeassistant.exceptions import HomeAssistantError
from homeassistant.helpers import device_registry as dr
from homeassistant.helpers import entity_registry as er
from homeassistant.helpers import issue_registry as ir
from homeassistant.setup import async_setup_component
from homeassistant.util.unit_system import US_CUSTOMARY_SYSTEM
import pytest
from pytest_homeassistant_custom_component.common import snapshot_platform
from pytest_homeassistant_custom_component.components.diagnostics import (
    get_diagnostics_for_config_entry,
)
from pytest_homeassistant_custom_component.typing import ClientSessionGenerator
from syrupy.assertion import SnapshotAssertion
from syrupy.filters import props

from custom_components.temperature_logger.const import DOMAIN, KIND_HOST
from custom_components.temperature_logger.devices import workers as workers_of
from custom_components.temperature_logger.discovery import async_offer_sticks
from custom_components.temperature_logger.disk_guard import async_memory
from custom_components.temperature_logger.disk_guard.decision import Outcome
from emulation.machine import Machine

from .conftest import GOLD, GOLD_PLACE, PINS, SetUp, form_error, pass_time
from .drivers.conftest import Build, Hang, file_system
from .drivers.waiting import until
from .test_config_flow import MAINBOARD, begin, hints, submit

CPU = "sensor.this_machine_cpu_temperature"
USED = "sensor.this_machine_disk_space_used"
DISK = [
    f"sensor.this_machine_disk_{name}"
    for name in ("size", "space_used", "space_free", "usage")
]
CPU_THERMAL = {"driver": "cpu_thermal", "sensors": [{"temperature": 48.312}]}
SEND = "Send readings to a server"
QUANTITIES = ["total_space", "used_space", "free_space", "space_usage"]


def warm_cpu(temperature: float) -> dict[str, Any]:
    """Return the sensor of the CPU at another temperature, as in a machine spec."""
    return {"driver": "cpu_thermal", "sensors": [{"temperature": temperature}]}


def states_of(hass: HomeAssistant) -> dict[str, str]:
    """Return the states of the CPU and of the disk, by entity id."""
    states = filter(None, map(hass.states.get, (CPU, *DISK)))
    return {state.entity_id: state.state for state in states}


def listed(form: dict[str, Any]) -> list[str]:
    """Return the labels of the choices in their order."""
    options = form["data_schema"].schema["device"].config["options"]
    return [option["label"] for option in options]


@pytest.mark.usefixtures("known_id")
async def test_sensors(
    hass: HomeAssistant,
    build: Build,
    set_up: SetUp,
    entity_registry: er.EntityRegistry,
    device_registry: dr.DeviceRegistry,
    snapshot: SnapshotAssertion,
) -> None:
    """The CPU and the disk are sensors of one device; the disk is the real one."""
    build(hwmon=[CPU_THERMAL])
    entry = await set_up("host")
    assert entry.title == "This machine"
    assert entry.unique_id == "host"
    assert entry.data == {
        "kind": "host",
        "driver": "host",
        "quantities": ["cpu_temperature", *QUANTITIES],
    }
    real = snapshot.with_defaults(exclude=props("compat_name", "state"))
    await snapshot_platform(hass, entity_registry, real, entry.entry_id)
    device = device_registry.async_get_device_by_identifier(
        (DOMAIN, entry.entry_id), entry.entry_id
    )
    assert device == snapshot(name="device")
    assert hass.states.is_state(CPU, "48.312")
    size = hass.states.get("sensor.this_machine_disk_size")
    disk = shutil.disk_usage(hass.config.config_dir)
    assert size
    assert float(size.state) == round(disk.total / 2**30, 3)


async def test_machine_without_a_cpu_sensor(
    hass: HomeAssistant, build: Build, set_up: SetUp
) -> None:
    """A CPU sensor that appears becomes an entity, unavailable once it is gone."""
    machine = build()
    entry = await set_up("host")
    assert entry.data["quantities"] == QUANTITIES
    assert len(hass.states.async_entity_ids("sensor")) == len(QUANTITIES)
    machine.reload({"hwmon": [CPU_THERMAL]})
    await pass_time(hass, 305)
    assert hass.states.is_state(CPU, "48.312")
    machine.reload({})
    await pass_time(hass, 610)
    assert hass.states.is_state(CPU, STATE_UNAVAILABLE)
    assert not hass.states.is_state(USED, STATE_UNAVAILABLE)
    await hass.config_entries.async_reload(entry.entry_id)
    await hass.async_block_till_done()
    assert hass.states.is_state(CPU, STATE_UNAVAILABLE)


async def test_listed_last(hass: HomeAssistant, build: Build, set_up: SetUp) -> None:
    """The machine is once at the end of the list, and never preselected."""
    build(GOLD, i2c=[PINS, MAINBOARD])
    form = await begin(hass)
    assert listed(form) == [
        "BME280, I2C address 0x76 (soc/i2c@7e804000)",
        "TEMPerGold, USB port 1.4 (0000:00:14.0)",
        "I2C 4: SMBus I801 adapter",
        "This machine, CPU and disk",
        SEND,
    ]
    assert form["data_schema"]({}) == {}
    other = await begin(hass)
    result = await submit(hass, form, device="host")
    assert result["type"] is FlowResultType.CREATE_ENTRY
    result = await submit(hass, other, device="host")
    assert result["reason"] == "already_configured"
    assert "This machine, CPU and disk" not in listed(await begin(hass))


async def test_alone_in_the_list(hass: HomeAssistant, build: Build) -> None:
    """Without a thermometer the form shows why, and searches again."""
    build()
    form = await begin(hass)
    assert form["step_id"] == "nothing_found"
    assert "No USB device" in hints(form)
    assert "no I2C bus" in hints(form)
    assert listed(form) == ["This machine, CPU and disk", SEND]
    assert form["data_schema"]({}) == {}
    form = await submit(hass, form)
    assert form["step_id"] == "nothing_found"
    build(GOLD)
    form = await submit(hass, form)
    assert form["step_id"] == "user"
    assert listed(form) == [
        "TEMPerGold, USB port 1.4 (0000:00:14.0)",
        "This machine, CPU and disk",
        SEND,
    ]


async def test_picked_alone(hass: HomeAssistant, build: Build) -> None:
    """The machine can be set up from that form as well; then the list is empty."""
    build()
    result = await submit(hass, await begin(hass), device="host")
    assert result["type"] is FlowResultType.CREATE_ENTRY
    form = await begin(hass)
    assert form["step_id"] == "nothing_found"
    assert listed(form) == [SEND]
    assert "No USB device" in hints(form)


async def test_not_discovered(hass: HomeAssistant, build: Build, set_up: SetUp) -> None:
    """The machine itself is not under "Discovered"."""
    build(GOLD)
    await set_up(GOLD_PLACE)
    await async_offer_sticks(hass)
    await hass.async_block_till_done()
    assert not hass.config_entries.flow.async_progress()


async def test_it_stays_where_it_is(
    hass: HomeAssistant, build: Build, set_up: SetUp
) -> None:
    """The machine has no other place."""
    build()
    entry = await set_up("host")
    result = await begin(hass, entry)
    assert result["type"] is FlowResultType.ABORT
    assert result["reason"] == "host_stays"


async def test_disk_that_cannot_be_read_is_not_set_up(
    hass: HomeAssistant, build: Build
) -> None:
    """The form shows the fault of the disk, and accepts it once that is gone."""
    build()
    form, folder = await begin(hass), hass.config.config_dir
    hass.config.config_dir = f"{folder}/gone"
    form = await submit(hass, form, device="host")
    assert "does not tell how full it is (No such file or directory)" in form_error(
        form
    )
    hass.config.config_dir = folder
    result = await submit(hass, form, device="host")
    assert result["type"] is FlowResultType.CREATE_ENTRY


async def test_cpu_goes_on_while_the_disk_hangs(
    hass: HomeAssistant, build: Build, set_up: SetUp, disk: Event
) -> None:
    """A disk that hangs costs its four values; the CPU is read, despite reloads."""
    machine = build(hwmon=[CPU_THERMAL])
    entry = await set_up("host")
    disk.clear()
    machine.reload({"hwmon": [warm_cpu(49.0)]})
    await pass_time(hass, 305)
    assert states_of(hass) == {CPU: "49.0", **dict.fromkeys(DISK, STATE_UNAVAILABLE)}
    for _ in range(2):
        await hass.config_entries.async_reload(entry.entry_id)
        await hass.async_block_till_done()
        assert entry.state is ConfigEntryState.LOADED
    workers = workers_of(hass)
    assert workers.healthy.busy + workers.failing.busy == 1
    disk.set()
    await until(lambda: not workers.lane(KIND_HOST).busy)
    await pass_time(hass, 610)
    assert STATE_UNAVAILABLE not in states_of(hass).values()


async def test_disk_goes_on_while_the_cpu_hangs(
    hass: HomeAssistant, build: Build, set_up: SetUp, hang: Hang
) -> None:
    """A CPU sensor that hangs costs its own value, also after a reload."""
    machine = build(hwmon=[CPU_THERMAL])
    entry = await set_up("host")
    hang.cpu(machine.sys / "class/hwmon/hwmon0/temp1_input")
    await pass_time(hass, 305)
    assert hass.states.is_state(CPU, STATE_UNAVAILABLE)
    assert not hass.states.is_state(USED, STATE_UNAVAILABLE)
    for _ in range(2):
        await hass.config_entries.async_reload(entry.entry_id)
        await hass.async_block_till_done()
        assert hass.states.is_state(CPU, STATE_UNAVAILABLE)
        assert not hass.states.is_state(USED, STATE_UNAVAILABLE)
    workers = workers_of(hass)
    assert workers.healthy.busy + workers.failing.busy == 1
    hang.end()
    machine.reload({"hwmon": [warm_cpu(49.0)]})
    await until(lambda: not workers.lane(KIND_HOST).sibling("cpu").busy)
    await pass_time(hass, 610)
    assert hass.states.is_state(CPU, "49.0")


@pytest.mark.warns("did not answer within")
async def test_disk_that_hangs(
    hass: HomeAssistant,
    machine: Machine,
    set_up: SetUp,
    disk: Event,
    issue_registry: ir.IssueRegistry,
) -> None:
    """A disk that hangs costs its own readings and one worker, despite reloads."""
    entry = await set_up("host")
    await set_up(GOLD_PLACE)
    issues = set(issue_registry.issues)
    disk.clear()
    await pass_time(hass, 305)
    assert hass.states.is_state(USED, STATE_UNAVAILABLE)
    assert hass.states.is_state("sensor.tempergold_temperature", "19.87")
    workers = workers_of(hass)
    threads = workers.healthy.threads + workers.failing.threads
    for _ in range(3):
        await hass.config_entries.async_reload(entry.entry_id)
        assert entry.state is ConfigEntryState.SETUP_RETRY
        assert "did not answer within" in str(entry.reason)
    assert workers.healthy.threads + workers.failing.threads == threads
    assert set(issue_registry.issues) == issues
    disk.set()
    await until(lambda: not workers_of(hass).lane(KIND_HOST).busy)
    await hass.config_entries.async_reload(entry.entry_id)
    assert entry.state is ConfigEntryState.LOADED


async def test_options(hass: HomeAssistant, build: Build, set_up: SetUp) -> None:
    """The CPU's temperature can be calibrated; the disk's values cannot."""
    build(hwmon=[CPU_THERMAL])
    entry = await set_up("host")
    before = hass.states.get("sensor.this_machine_disk_size")
    form: Any = await hass.config_entries.options.async_init(entry.entry_id)
    values = {
        "interval": 60,
        "cpu_temperature_offset": -1.5,
        "cpu_temperature_factor": 1.0,
        "disk_guard": "off",
        "disk_limit": 90,
    }
    assert list(map(str, form["data_schema"].schema)) == list(values)
    await hass.config_entries.options.async_configure(form["flow_id"], values)
    await hass.async_block_till_done()
    assert entry.runtime_data.update_interval.total_seconds() == 60
    assert hass.states.is_state(CPU, "46.812")
    after = hass.states.get("sensor.this_machine_disk_size")
    assert before
    assert after
    assert after.state == before.state


async def test_limits_of_the_disk_guard(
    hass: HomeAssistant, build: Build, set_up: SetUp
) -> None:
    """An impossible limit is refused at its field; valid ones are stored."""
    build()
    entry = await set_up("host")
    form: Any = await hass.config_entries.options.async_init(entry.entry_id)
    values = {"interval": 300, "disk_guard": "thin"}
    for limit in (49, 100):
        form = await hass.config_entries.options.async_configure(
            form["flow_id"], values | {"disk_limit": limit}
        )
        assert form["errors"] == {"disk_limit": "disk_limit_out_of_range"}
    await hass.config_entries.options.async_configure(
        form["flow_id"], values | {"disk_limit": 99}
    )
    await hass.async_block_till_done()
    assert entry.options["disk_guard"] == "thin"
    assert entry.options["disk_limit"] == 99


async def test_full_disk_without_a_recorder(
    hass: HomeAssistant,
    build: Build,
    set_up: SetUp,
    issue_registry: ir.IssueRegistry,
) -> None:
    """A full disk gives a warning, even without a recorder to thin."""
    build()
    entry = await set_up("host")
    options = {"disk_guard": "thin", "disk_limit": 0}
    hass.config_entries.async_update_entry(entry, options=options)
    await hass.config_entries.async_reload(entry.entry_id)
    await hass.async_block_till_done()
    assert issue_registry.async_get_issue(DOMAIN, Outcome.DISK_FULL)
    with pytest.raises(HomeAssistantError) as refused:
        await hass.services.async_call(
            DOMAIN, "preview_thinning", blocking=True, return_response=True
        )
    assert refused.value.translation_key == "no_recorder"


async def test_disk_guard_waits_for_a_valid_value(
    hass: HomeAssistant,
    build: Build,
    set_up: SetUp,
    issue_registry: ir.IssueRegistry,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A disk that was full is not reported as emptier because it gives no values."""
    full, impossible, emptier = (100, 10, 5), (100, 10, 41), (100, 60, 55)
    build(hwmon=[CPU_THERMAL])
    monkeypatch.setattr(os, "statvfs", lambda _: file_system(*full))
    entry = await set_up("host")
    options = {"disk_guard": "warn", "disk_limit": 90}
    hass.config_entries.async_update_entry(entry, options=options)
    await hass.config_entries.async_reload(entry.entry_id)
    await hass.async_block_till_done()
    assert issue_registry.async_get_issue(DOMAIN, Outcome.DISK_FULL)
    memory = await async_memory(hass)
    memory.has_cleared = False
    monkeypatch.setattr(os, "statvfs", lambda _: file_system(*impossible))
    await pass_time(hass, 305)
    assert hass.states.is_state(USED, STATE_UNAVAILABLE)
    assert hass.states.is_state(CPU, "48.312")
    assert issue_registry.async_get_issue(DOMAIN, Outcome.DISK_FULL)
    assert not memory.has_cleared
    monkeypatch.setattr(os, "statvfs", lambda _: file_system(*emptier))
    await pass_time(hass, 610)
    assert hass.states.is_state(USED, "40.0")
    assert not issue_registry.async_get_issue(DOMAIN, Outcome.DISK_FULL)
    assert memory.has_cleared


async def test_us_units(hass: HomeAssistant, build: Build, set_up: SetUp) -> None:
    """The temperature is in °F; a GiB is the same everywhere."""
    hass.config.units = US_CUSTOMARY_SYSTEM
    build(hwmon=[{"driver": "cpu_thermal", "sensors": [{"temperature": 50.0}]}])
    await set_up("host")
    temperature, used = hass.states.get(CPU), hass.states.get(USED)
    assert temperature
    assert used
    assert (temperature.state, temperature.attributes["unit_of_measurement"]) == (
        "122.0",
        "°F",
    )
    assert used.attributes["unit_of_measurement"] == "GiB"


async def test_diagnostics(
    hass: HomeAssistant,
    hass_client: ClientSessionGenerator,
    build: Build,
    set_up: SetUp,
) -> None:
    """The diagnostics have what the kernel gave, and the names of other drivers."""
    assert await async_setup_component(hass, "diagnostics", {})
    composite = {"label": "Composite", "temperature": 39.85}
    build(hwmon=[CPU_THERMAL, {"driver": "nvme", "sensors": [composite]}])
    entry = await set_up("host")
    diagnostics: Any = await get_diagnostics_for_config_entry(hass, hass_client, entry)
    assert diagnostics["raw"]["disk"].startswith("os.statvfs_result(")
    assert diagnostics["raw"]["temperatures"] == "{'cpu_thermal': [('', 48.312)]}"
    assert diagnostics["raw"]["other_drivers"] == "nvme"
    assert diagnostics["reading"]["cpu_temperature"] == 48.312
    assert list(diagnostics["reading"]) == ["cpu_temperature", *QUANTITIES]
    assert diagnostics["usb_device"] is None
