"""Only a stick that appeared after a loss can be the lost one."""

from typing import Any

from homeassistant.const import EVENT_HOMEASSISTANT_FINAL_WRITE
from homeassistant.core import CoreState, HomeAssistant
import pytest

from custom_components.temperature_logger.discovery import Ports, ports

LOST = "port of the lost stick"
OTHER = "other port"
THIRD = "third port"
WAIT = "wait"


class Clock:
    """A clock that advances only when a test says so."""

    now = 0.0

    def advance(self) -> None:
        """Advance to when the next device leaves by itself."""
        self.now += ports.LEFT_TOGETHER_S


class Machine:
    """The ports of a machine, of which a scan is recorded."""

    def __init__(self, ports: Ports, clock: Clock) -> None:
        """Begin without devices."""
        self.clock = clock
        self.ports = ports
        self._numbers: dict[str, int] = {}
        self._next = 1

    def plug(self, *keys: str) -> None:
        """Plug a device in at each of these ports."""
        for key in keys:
            self._numbers[key] = self._next
            self._next += 1

    def unplug(self, *keys: str) -> None:
        """Unplug the devices at these ports."""
        for key in keys:
            del self._numbers[key]

    def scan(self) -> None:
        """Record what is connected now."""
        self.ports.async_update(dict(self._numbers))


@pytest.fixture(name="clock", autouse=True)
def clock_fixture(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Return the clock by which devices leave together or one after the other."""
    clock = Clock()
    monkeypatch.setattr(ports, "monotonic", lambda: clock.now)
    return clock


@pytest.fixture(name="machine")
async def machine_fixture(hass: HomeAssistant, clock: Clock) -> Machine:
    """Return a machine with two devices, of which one is set up at the port LOST."""
    record = Ports(hass)
    await record.async_load()
    machine = Machine(record, clock)
    machine.plug(LOST, OTHER)
    machine.scan()
    return machine


def run(machine: Machine, *steps: str) -> None:
    """Perform steps such as "+other port" or "-other port"; scan after each one.

    A step with several parts, separated by commas, is one scan. The step "wait" lets
    the devices after it leave by themselves.
    """
    for step in steps:
        if step == WAIT:
            machine.clock.advance()
            continue
        for part in step.split(","):
            action = machine.plug if part[0] == "+" else machine.unplug
            action(part[1:])
        machine.scan()


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ([f"-{LOST}"], set()),
        ([f"-{LOST}", f"+{THIRD}"], {THIRD}),
        ([f"-{LOST},+{THIRD}"], {THIRD}),
        ([f"+{THIRD}", f"-{LOST}"], set()),
        # The other stick is pulled before: its port is free for the lost one.
        ([f"-{OTHER}", WAIT, f"-{LOST}", f"+{OTHER}"], {OTHER}),
        # A hub is reset, and one of its sticks does not come back.
        ([f"-{LOST},-{OTHER}", f"+{OTHER}"], set()),
        ([f"-{LOST}", f"-{OTHER}", f"+{OTHER}"], set()),
        ([f"-{LOST},-{OTHER}", f"+{OTHER}", f"-{OTHER}", f"+{OTHER}"], set()),
        ([f"-{LOST},-{OTHER},+{OTHER}"], set()),
        # A scan in the middle of the reset finds only one of its sticks gone.
        ([f"-{OTHER}", f"-{LOST}", f"+{OTHER}"], set()),
        ([f"-{OTHER}", f"-{LOST}", f"+{OTHER}", f"-{OTHER}", f"+{OTHER}"], set()),
        # The stick moves there and back, which its owner does within a moment.
        ([f"-{OTHER}", f"+{THIRD}", f"-{LOST}", f"+{OTHER}"], {OTHER}),
        ([f"-{OTHER},+{THIRD}", f"-{LOST}", f"+{OTHER}"], {OTHER}),
        # The other stick is pulled after the loss: either of the two may be back.
        ([f"-{LOST}", f"-{OTHER}", f"+{THIRD}"], set()),
        ([f"-{LOST},-{OTHER}", f"+{THIRD}"], set()),
        # It is back at its port, or was still there when the third one appeared.
        ([f"-{LOST}", f"-{OTHER}", f"+{THIRD}", f"+{OTHER}"], {THIRD}),
        ([f"-{LOST}", f"+{THIRD}", f"-{OTHER}"], {THIRD}),
        # The moved stick is pulled again, and put back.
        ([f"-{LOST}", f"+{THIRD}", f"-{THIRD}", f"+{THIRD}"], {THIRD}),
        ([f"-{LOST}", f"+{THIRD}", f"-{THIRD},+{THIRD}"], {THIRD}),
        # It is back, and lost a second time.
        ([f"-{LOST}", f"+{THIRD}", f"+{LOST}", f"-{LOST}"], set()),
        ([f"-{LOST}", f"+{LOST}"], set()),
        # The stick at the other port is replugged before the loss.
        ([f"-{OTHER}", f"+{OTHER}", f"-{LOST}"], set()),
    ],
)
async def test_only_what_appeared_after_the_loss(
    machine: Machine, steps: list[str], expected: set[str]
) -> None:
    """A stick that was there before, or is back at its own port, has not moved."""
    run(machine, *steps)
    moved = {
        port
        for port in (OTHER, THIRD)
        if machine.ports.async_may_have_moved(LOST, port)
    }
    assert moved == expected


@pytest.mark.parametrize("steps", [[], [f"-{LOST}"], [f"-{LOST}", f"+{THIRD}"]])
async def test_restart(
    hass: HomeAssistant,
    machine: Machine,
    hass_storage: dict[str, Any],
    steps: list[str],
) -> None:
    """The record goes on after a restart, in which every device gets a new number."""
    run(machine, *steps)
    hass.bus.async_fire(EVENT_HOMEASSISTANT_FINAL_WRITE)
    await hass.async_block_till_done()
    assert "temperature_logger.ports" in hass_storage
    record = Ports(hass)
    await record.async_load()
    restarted = Machine(record, machine.clock)
    restarted.plug("new device", OTHER, *([THIRD] if f"+{THIRD}" in steps else []))
    restarted.scan()
    assert not record.async_may_have_moved(LOST, OTHER)
    assert record.async_may_have_moved(LOST, "new device")
    assert record.async_may_have_moved(LOST, THIRD) == (f"+{THIRD}" in steps)


async def test_stick_of_another_entry(machine: Machine) -> None:
    """The lost stick of another entry is told apart by that entry, not by its port."""
    run(machine, f"-{LOST}", f"-{OTHER}", f"+{THIRD}")
    assert machine.ports.async_may_have_moved(LOST, THIRD, {OTHER})
    assert machine.ports.async_may_have_moved(OTHER, THIRD, {LOST})


async def test_loss_before_the_record_began(machine: Machine) -> None:
    """What was there when the record began is not what was lost before."""
    assert not machine.ports.async_may_have_moved("never occupied", OTHER)
    run(machine, f"+{THIRD}")
    assert machine.ports.async_may_have_moved("never occupied", THIRD)


async def test_loss_before_the_record_began_and_replugs(machine: Machine) -> None:
    """However often a stick returns to its own port, it is not the lost one."""
    for _ in range(3):
        run(machine, f"-{OTHER}", f"+{OTHER}")
        assert not machine.ports.async_may_have_moved("never occupied", OTHER)


async def test_slow_start(hass: HomeAssistant, clock: Clock) -> None:
    """What is found until Home Assistant has started was there when it started."""
    hass.set_state(CoreState.starting)
    machine = Machine(Ports(hass), clock)
    run(machine, f"+{OTHER}", f"+{THIRD}")
    hass.set_state(CoreState.running)
    for port in (OTHER, THIRD):
        assert not machine.ports.async_may_have_moved("never occupied", port)
    run(machine, f"-{THIRD}", f"+{LOST}")
    assert machine.ports.async_may_have_moved("never occupied", LOST, {THIRD})


@pytest.mark.parametrize(
    "data",
    [
        {},
        [],
        {"event": 3},
        {"event": None, "stays": {}},
        {"event": 3, "stays": {"a": []}},
        {"event": 3, "stays": {"a": [[1, 2, 3]]}},
        {"event": 3, "stays": {"a": 5}},
        {"event": 3, "stays": 5},
    ],
)
async def test_damaged_record(
    hass: HomeAssistant, hass_storage: dict[str, Any], clock: Clock, data: object
) -> None:
    """A damaged record begins again."""
    hass_storage["temperature_logger.ports"] = {
        "version": 1,
        "minor_version": 1,
        "key": "temperature_logger.ports",
        "data": data,
    }
    record = Ports(hass)
    await record.async_load()
    machine = Machine(record, clock)
    run(machine, f"+{LOST}", f"-{LOST}", f"+{THIRD}")
    assert record.async_may_have_moved(LOST, THIRD)


async def test_not_scanned_yet(machine: Machine) -> None:
    """A stick that no scan has found yet may have been there before."""
    run(machine, f"-{LOST}")
    assert not machine.ports.async_may_have_moved(LOST, THIRD)


async def test_record_stays_small(
    hass: HomeAssistant, machine: Machine, hass_storage: dict[str, Any]
) -> None:
    """However often a stick is replugged, only stays that matter are kept."""
    run(machine, f"-{LOST}")
    for _ in range(100):
        run(machine, f"-{OTHER}", f"+{OTHER}", f"+{THIRD}", f"-{THIRD}")
    assert not machine.ports.async_may_have_moved(LOST, OTHER)
    hass.bus.async_fire(EVENT_HOMEASSISTANT_FINAL_WRITE)
    await hass.async_block_till_done()
    stays = hass_storage["temperature_logger.ports"]["data"]["stays"]
    assert sum(map(len, stays.values())) < 10
