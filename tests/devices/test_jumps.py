"""A jump that physics does not make is read again, and never published unconfirmed."""

from collections.abc import Callable, Iterable
from datetime import timedelta
from itertools import chain, repeat
from math import exp

import pytest

from custom_components.temperature_logger.devices import JumpCheck, jumps
from custom_components.temperature_logger.drivers import (
    DriverError,
    Fault,
    Invalid,
    Reading,
)
from custom_components.temperature_logger.drivers.readings import Identity

INTERVAL = timedelta(minutes=5)
PROBE = "285ebf799715039b"
OTHER_PROBE = "28aa11e24b14010b"

type Values = dict[str, float | None]


class Clock:
    """A clock that a test sets forward."""

    def __init__(self) -> None:
        """Begin at an arbitrary time."""
        self.now = 1000.0

    def __call__(self) -> float:
        """Return the time in seconds."""
        return self.now


class Device:
    """A device whose readings a test writes down; each takes some time."""

    identity = Identity()
    quantities = ("temperature",)

    def __init__(self, clock: Clock, read_s: float = 0.02) -> None:
        """Begin with nothing to report."""
        self.facts: dict[str, str] = {}
        self.raw: dict[str, str] = {}
        self.readings = 0
        self._clock = clock
        self._read_s = read_s
        self._next: Callable[[float], Reading | DriverError]

    def report(self, *readings: Reading | DriverError) -> None:
        """Report these readings, and then the last of them for ever."""
        following = chain(readings, repeat(readings[-1]))
        self._next = lambda _: next(following)

    def follow(self, temperature: Callable[[float], float]) -> None:
        """Report a temperature that depends on the time."""
        self._next = lambda now: Reading(temperature=temperature(now))

    async def read(self) -> Reading:
        """Return the next reading."""
        self.readings += 1
        self._clock.now += self._read_s
        result = self._next(self._clock.now)
        if isinstance(result, DriverError):
            raise result
        return result

    async def read_again(self) -> Reading:
        """Return the next reading."""
        return await self.read()

    async def close(self) -> None:
        """Do nothing."""


def temperatures(*values: float) -> list[Reading]:
    """Return readings of temperatures."""
    return [Reading(temperature=value) for value in values]


async def second_poll(device: Device, clock: Clock) -> Reading:
    """Return the reading of a device one interval after its first reading."""
    check = JumpCheck(INTERVAL)
    await check.read(device)
    clock.now += INTERVAL.total_seconds()
    return await check.read(device)


@pytest.fixture(name="clock")
def clock_fixture(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Return the clock by which jumps are judged."""
    clock = Clock()
    monkeypatch.setattr(jumps, "monotonic", clock)
    return clock


@pytest.fixture(name="device")
def device_fixture(clock: Clock) -> Device:
    """Return a device that reports 25 °C."""
    device = Device(clock)
    device.report(*temperatures(25.0))
    return device


@pytest.fixture(name="check")
async def check_fixture(device: Device, clock: Clock) -> JumpCheck:
    """Return the check after a first reading of 25 °C, at the time of the next poll."""
    check = JumpCheck(INTERVAL)
    assert (await check.read(device)).temperature == 25.0
    clock.now += INTERVAL.total_seconds()
    device.readings = 0
    return check


@pytest.mark.parametrize(
    ("reported", "published", "readings"),
    [
        ([25.0], 25.0, 1),
        ([29.9], 29.9, 1),
        ([20.1], 20.1, 1),
        ([-15.85, 25.1], 25.1, 2),
        ([-15.85, -15.9], -15.9, 2),
        ([79.75, -15.85, 25.2], 25.2, 3),
        ([79.75, -15.85, 79.5], 79.5, 3),
        ([79.75, -15.85, -15.9], -15.9, 3),
    ],
    ids=[
        *("steady", "warmer", "colder", "back", "confirmed"),
        *("third is like before", "third is like first", "third is like second"),
    ],
)
async def test_jump_is_read_again(
    check: JumpCheck,
    device: Device,
    reported: list[float],
    published: float,
    readings: int,
) -> None:
    """The second reading decides, or else a third; a steady value is read once."""
    device.report(*temperatures(*reported))
    assert (await check.read(device)).temperature == published
    assert device.readings == readings


async def test_three_values_that_contradict_each_other(
    check: JumpCheck, device: Device, clock: Clock
) -> None:
    """They are an error, and the next reading is compared with the one before them."""
    device.report(*temperatures(79.75, -15.85, 60.0))
    with pytest.raises(DriverError) as raised:
        await check.read(device)
    assert raised.value.fault is Fault.CONTRADICTORY
    assert raised.value.details == {"values": "79.75, -15.85, 60.00"}
    device.report(*temperatures(-15.85, 25.3))
    clock.now += 15
    assert (await check.read(device)).temperature == 25.3


async def test_contradiction_costs_only_its_value(
    check: JumpCheck, device: Device
) -> None:
    """The other values of the last reading are published."""
    device.report(
        Reading(temperature=79.75, humidity=40.0),
        Reading(temperature=-15.85, humidity=41.0),
        Reading(temperature=60.0, humidity=42.0),
    )
    reading = await check.read(device)
    assert reading.values == {"humidity": 42.0}
    assert reading.faults["temperature"].fault is Fault.CONTRADICTORY


@pytest.mark.parametrize(
    ("before", "jump", "after"),
    [
        (Reading(humidity=40.0), Reading(humidity=70.0), Reading(humidity=40.5)),
        (Reading(pressure=1000.0), Reading(pressure=980.0), Reading(pressure=1000.1)),
        (Reading(co2=600.0), Reading(co2=4000.0), Reading(co2=610.0)),
        (
            Reading(external_temperature=-18.0),
            Reading(external_temperature=20.0),
            Reading(external_temperature=-18.1),
        ),
        (
            Reading(probes={PROBE: -16.4}),
            Reading(probes={PROBE: 79.75}),
            Reading(probes={PROBE: -16.5}),
        ),
    ],
    ids=lambda reading: next(iter(reading.values)),
)
async def test_every_quantity(
    device: Device, clock: Clock, before: Reading, jump: Reading, after: Reading
) -> None:
    """Each quantity has its own limit."""
    device.report(before, jump, after)
    assert await second_poll(device, clock) == after


async def test_this_machine_may_jump(device: Device, clock: Clock) -> None:
    """A processor heats up within a second, and a disk fills or empties at once."""
    device.report(
        Reading(cpu_temperature=40.0, free_space=500.0, space_usage=20.0),
        Reading(cpu_temperature=95.0, free_space=5.0, space_usage=99.0),
    )
    assert (await second_poll(device, clock)).cpu_temperature == 95.0
    assert device.readings == 2


async def test_first_value_and_value_after_a_gap(
    check: JumpCheck, device: Device, clock: Clock
) -> None:
    """After two intervals without a reading, any value may be right."""
    clock.now += INTERVAL.total_seconds()
    device.report(*temperatures(-15.85))
    assert (await check.read(device)).temperature == -15.85
    assert device.readings == 1


async def test_one_failed_poll_is_no_gap(
    check: JumpCheck, device: Device, clock: Clock
) -> None:
    """A value after one failed poll is compared with the last one."""
    device.report(DriverError(Fault.NO_ANSWER))
    with pytest.raises(DriverError):
        await check.read(device)
    clock.now += 15
    device.report(*temperatures(-15.85, 25.1))
    assert (await check.read(device)).temperature == 25.1


async def test_failure_of_the_second_reading(check: JumpCheck, device: Device) -> None:
    """An unconfirmed jump is not published if the device then fails."""
    device.report(*temperatures(-15.85), DriverError(Fault.NO_ANSWER))
    with pytest.raises(DriverError, match=Fault.NO_ANSWER):
        await check.read(device)


async def test_failure_costs_only_the_jump(device: Device, clock: Clock) -> None:
    """If the second reading fails, the other values of the first one are published."""
    device.report(
        Reading(temperature=25.0, humidity=40.0),
        Reading(temperature=-15.85, humidity=41.0),
        DriverError(Fault.NO_ANSWER),
    )
    reading = await second_poll(device, clock)
    assert reading.values == {"humidity": 41.0}
    assert reading.faults["temperature"].details == {"values": "-15.85"}


@pytest.mark.parametrize("read_s", [0.02, 0.5, 1.0, 2.0, 5.0])
@pytest.mark.parametrize("time_constant_s", [0.5, 2.0, 5.0, 15.0, 60.0])
@pytest.mark.parametrize("delay_s", [0.01, 0.3, 1.0, 2.5, 5.0, 20.0, 100.0, 300.0])
async def test_probe_in_hot_water(
    clock: Clock, read_s: float, time_constant_s: float, delay_s: float
) -> None:
    """A probe from -18 °C that is put into water of 60 °C loses no poll."""
    device = Device(clock, read_s)
    device.report(*temperatures(-18.0))
    check = JumpCheck(INTERVAL)
    await check.read(device)
    begins = clock.now + INTERVAL.total_seconds() - delay_s
    device.follow(lambda now: 60 - 78 * exp(-max(0.0, now - begins) / time_constant_s))
    for _ in range(5):
        clock.now += INTERVAL.total_seconds()
        assert (await check.read(device)).temperature is not None


@pytest.mark.parametrize(
    "faults", [{}, {f"{OTHER_PROBE}_temperature": Invalid(Fault.NO_ANSWER)}]
)
async def test_probe_without_a_second_value(
    clock: Clock, device: Device, faults: dict[str, Invalid]
) -> None:
    """A probe that has not measured again keeps its value, if that did not jump."""
    device.report(
        Reading(probes={PROBE: -16.4, OTHER_PROBE: 20.0}),
        Reading(probes={PROBE: 79.75, OTHER_PROBE: 20.1}),
        Reading(probes={PROBE: -16.5}, faults=faults),
    )
    reading = await second_poll(device, clock)
    assert reading.probes == {PROBE: -16.5, OTHER_PROBE: 20.1}
    assert not reading.faults


@pytest.mark.parametrize(
    "second",
    [
        Reading(probes={OTHER_PROBE: 20.0}),
        Reading(
            probes={OTHER_PROBE: 20.0},
            faults={f"{PROBE}_temperature": Invalid(Fault.PROBE_RESET)},
        ),
    ],
    ids=["silent", "reset"],
)
async def test_jump_that_vanishes(
    clock: Clock, device: Device, second: Reading
) -> None:
    """A jump is not published if the second and third reading have no such value."""
    device.report(
        Reading(probes={PROBE: -16.4, OTHER_PROBE: 20.0}),
        Reading(probes={PROBE: 79.75, OTHER_PROBE: 20.0}),
        second,
    )
    reading = await second_poll(device, clock)
    assert device.readings == 4
    assert reading == second


async def test_second_value_jumps_as_well(clock: Clock, device: Device) -> None:
    """Each value is that of the newest reading in which it did not jump."""
    device.report(
        Reading(temperature=25.0, humidity=40.0),
        Reading(temperature=-15.85, humidity=40.5),
        Reading(temperature=25.1, humidity=90.0),
    )
    expected: Values = {"temperature": 25.1, "humidity": 40.5}
    assert (await second_poll(device, clock)).values == expected
    assert device.readings == 3


async def test_two_of_three_agree(clock: Clock, device: Device) -> None:
    """A value that jumps only in the third reading has that of the second."""
    device.report(
        Reading(temperature=25.0, humidity=40.0),
        Reading(temperature=79.75, humidity=40.0),
        Reading(temperature=-15.85, humidity=41.0),
        Reading(temperature=25.1, humidity=90.0),
    )
    expected: Values = {"temperature": 25.1, "humidity": 41.0}
    assert (await second_poll(device, clock)).values == expected


async def test_rising_garbage(clock: Clock) -> None:
    """Values that rise faster and faster are not those of a probe in hot water."""
    device = Device(clock, read_s=1.2)
    device.report(*temperatures(25.0, 41.0, 73.0, 121.0))
    check = JumpCheck(INTERVAL)
    await check.read(device)
    clock.now += INTERVAL.total_seconds()
    with pytest.raises(DriverError, match=Fault.CONTRADICTORY):
        await check.read(device)


async def test_short_intervals(clock: Clock, device: Device) -> None:
    """Polls that follow each other at once allow the change of a minute."""
    check = JumpCheck(timedelta(seconds=10))
    device.report(*temperatures(25.0, 25.9, 26.8, 40.0, 26.9))
    published: Iterable[float | None] = [
        (await check.read(device)).temperature for _ in range(4)
    ]
    assert published == [25.0, 25.9, 26.8, 26.9]
