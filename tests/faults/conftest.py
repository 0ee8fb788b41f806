"""Homes with several devices, one of which is about to fail."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Generator, Iterable, Sequence
from contextlib import contextmanager, suppress
import gc
from hashlib import sha256
from typing import Any, Final, NamedTuple

from homeassistant.config_entries import ConfigEntryState
from homeassistant.const import EVENT_STATE_CHANGED, STATE_UNAVAILABLE
from homeassistant.core import Event, EventStateChangedData, HomeAssistant, callback
from homeassistant.helpers import entity_registry as er
from homeassistant.setup import async_setup_component
import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry

from custom_components.temperature_logger.const import DOMAIN
from custom_components.temperature_logger.devices import place_of
from custom_components.temperature_logger.devices import workers as workers_of
from custom_components.temperature_logger.discovery import hotplug
from custom_components.temperature_logger.drivers import Reading, Workers, workers
from custom_components.temperature_logger.drivers.errors import BadFrameError
from custom_components.temperature_logger.drivers.i2c import bme680
from custom_components.temperature_logger.drivers.usb import (
    diamex,
    hidtemper,
    lascar,
    layouts,
    libusb,
    stream,
    temper,
    temperx232,
    zytemp,
)
from custom_components.temperature_logger.drivers.usb.stream import Stream
from emulation.bme680 import chip_of
from emulation.machine import Machine
from tests.conftest import (
    ADAPTER,
    CHIP,
    CONTROLLER,
    GO_TEMP,
    GOLD,
    HID_2,
    LASCAR,
    MONITOR,
    PINS,
    ROM,
    TWO,
    X232,
    pass_time,
)
from tests.drivers.conftest import EMULATED_QUANTITIES, Build, open_files
from tests.drivers.kernel import is_watched
from tests.drivers.waiting import until

OTHER_CONTROLLER = "pci0000:00/0000:00:1a.0"
# All reports of an answer arrive well before the driver stops listening.
QUICK_TWO = TWO | {"gap_ms": 1}
# It is read through libusb.
BORROWED = QUICK_TWO | {
    "name": "borrowed",
    "controller": OTHER_CONTROLLER,
    "bus": 2,
    "ports": "3",
    "hidraw_nodes": False,
}
OTHER_CHIP = CHIP | {"name": "other bme", "address": "0x77", "calibration": 1}
OTHER_PINS = {
    "bus": 3,
    "adapter": "bcm2835 (i2c@7e205600)",
    "of_node": "soc/i2c@7e205600",
    "chips": [OTHER_CHIP],
}


# The other home has one stick and devices of other makers. Real devices report less
# often.
GO = GO_TEMP | {"gap_ms": 30}
QUICK_LASCAR = LASCAR | {"gap_ms": 20}
SERIAL = "internal_temperature", "internal_humidity", "external_temperature"
PINS_680 = PINS | {"chips": [CHIP | {"chip_id": "0x61"}]}


def usb_entry(
    spec: dict[str, Any], driver: str, quantities: Iterable[str], **known: str
) -> MockConfigEntry:
    """Return the entry that the form makes of a USB device."""
    data = {
        "kind": "usb",
        "driver": driver,
        "controller": spec.get("controller", CONTROLLER),
        "ports": spec["ports"],
        "quantities": list(quantities),
        **known,
    }
    return MockConfigEntry(
        domain=DOMAIN, title=spec["name"], unique_id=place_of(data).id, data=data
    )


def stick_entry(spec: dict[str, Any], model: str) -> MockConfigEntry:
    """Return the entry that the form makes of a stick."""
    firmware = spec["model"]
    quantities = layouts.layouts_of(firmware, "")[0].quantities
    return usb_entry(spec, "temper", quantities, firmware=firmware, model=model)


def chip_entry(adapter: dict[str, Any]) -> MockConfigEntry:
    """Return the entry that the form makes of the chip on a bus."""
    (spec,) = adapter["chips"]
    blocks = chip_of(spec).calibration.registers
    model, driver = "BME280", "bme280"
    if "chip_id" in spec:
        model, driver = "BME680", "bme680"
        formats = bme680.BME680_TRIMMING_FORMAT, bme680.BME680_TRIMMING_HUMIDITY_FORMAT
        blocks = tuple(
            form.pack(*form.unpack(block[: form.size]))
            for form, block in zip(formats, blocks, strict=True)
        )
    data = {
        "kind": "bme280",
        "driver": driver,
        "adapter": adapter["of_node"],
        "address": int(spec["address"], 0),
        "chip": model,
        "quantities": ["temperature", "humidity", "pressure"],
        "trimming_hash": sha256(b"".join(blocks)).hexdigest()[:16],
    }
    return MockConfigEntry(
        domain=DOMAIN, title=spec["name"], unique_id=place_of(data).id, data=data
    )


class Furniture(NamedTuple):
    """The devices in a home."""

    usb: Sequence[dict[str, Any]]
    i2c: Sequence[dict[str, Any]]
    entries: Callable[[], Iterable[MockConfigEntry]]


STICKS: Final = "sticks"
MAKERS: Final = "makers"
OTHER_MAKERS: Final = ("x232", "hid", "monitor", "adapter", "go", "lascar")
"""The USB devices of other makers, and the sticks without HID reports."""
HOMES: Final = {
    # Three sticks, one of them without a hidraw node, and two chips.
    STICKS: Furniture(
        usb=(GOLD, QUICK_TWO, BORROWED),
        i2c=(PINS, OTHER_PINS),
        entries=lambda: (
            stick_entry(GOLD, "TEMPerGold"),
            stick_entry(QUICK_TWO, "TEMPer2"),
            stick_entry(BORROWED, "TEMPer2"),
            chip_entry(PINS),
            chip_entry(OTHER_PINS),
        ),
    ),
    # One of every other kind.
    MAKERS: Furniture(
        usb=(GOLD, X232, HID_2, MONITOR, ADAPTER, GO, QUICK_LASCAR),
        i2c=(PINS_680,),
        entries=lambda: (
            stick_entry(GOLD, "TEMPerGold"),
            usb_entry(X232, "temperx232", SERIAL, firmware=X232["model"]),
            usb_entry(HID_2, "hidtemper", SERIAL[::2], model=HID_2["model"]),
            usb_entry(MONITOR, "zytemp", ("temperature", "humidity", "co2")),
            usb_entry(ADAPTER, "diamex", (f"{ROM}_temperature",)),
            usb_entry(GO, "gotemp", ("temperature",)),
            usb_entry(QUICK_LASCAR, "lascar", ("temperature", "humidity")),
            chip_entry(PINS_680),
        ),
    ),
}


# The emulated hardware's name of a quantity.
SENSOR_NAMES: Final = EMULATED_QUANTITIES | {f"{ROM}_temperature": ROM}
# The change of a value from one poll to the next: an old value is a wrong one.
# Below the limits of a jump, so that a wrong value is not measured again by chance.
STEP: Final = {
    "temperature": 0.5,
    "humidity": 4.0,
    "pressure": 0.75,
    "co2": 20,
    ROM: 0.5,
}
TOLERANCE: Final = 0.05
# A dead control pipe blocks a writer for this time; the deadline is shorter.
LONG_BLOCK_S: Final = 2.3
# A write stays in the kernel for this time; the deadline is longer, as in reality.
SHORT_BLOCK_S: Final = 0.3
# A fault that the driver overcomes within the poll leaves the right value.
NO_FAULT: Final = None


class Sight(NamedTuple):
    """A state of an entity, as the owner of the home sees it."""

    device: str
    quantity: str
    state: str


class Home:
    """Home Assistant with several devices, and all states that its owner sees."""

    def __init__(self, hass: HomeAssistant, machine: Machine) -> None:
        """Listen to every state from the start."""
        self.entries: dict[str, MockConfigEntry] = {}
        """The devices, by the names of the emulated ones."""
        self.hass, self.machine = hass, machine
        self.wrong: list[Sight] = []
        """The states that were neither right nor unavailable."""
        self.sights: list[Sight] = []
        """The states since the last poll began."""
        hass.bus.async_listen(EVENT_STATE_CHANGED, self._look)

    def add(self, entry: MockConfigEntry) -> None:
        """Add the entry of a device, not set up yet."""
        self.entries[entry.title] = entry
        entry.add_to_hass(self.hass)

    async def set_up(self) -> None:
        """Set all devices up at once."""
        setup = self.hass.config_entries.async_setup
        with unhurried():
            await asyncio.gather(*(setup(e.entry_id) for e in self.entries.values()))
            await self.hass.async_block_till_done()

    def present_value(self, device: str, quantity: str) -> float:
        """Return the present value at a sensor of an emulated device."""
        name = SENSOR_NAMES.get(quantity, quantity)
        value = self._values(device)[name]
        assert isinstance(value, float | int)
        return value

    def change(self) -> None:
        """Change the value at every sensor."""
        for device in self.entries:
            values = self._values(device)
            for quantity, value in values.items():
                if isinstance(value, float | int):
                    values[quantity] = value + STEP[quantity.rpartition("_")[2]]

    async def settle(self) -> None:
        """Wait for the end of the last poll, late reports included."""
        await pass_time(self.hass, 1)
        await until(lambda: self.busy() == 0)

    async def poll(self) -> None:
        """Move to the time of the next poll of each device."""
        await self._hear()
        self.sights.clear()
        await pass_time(self.hass, 305)

    async def retry(self, device: str) -> None:
        """Move to the time of a failed device's next retry."""
        entry = self.entries[device]
        await self._hear()
        self.sights.clear()
        if entry.state is ConfigEntryState.SETUP_RETRY:
            await pass_time(self.hass, 130)
        else:
            wait = entry.runtime_data.last_exception.retry_after
            await pass_time(self.hass, wait + 5)

    def states(self, device: str) -> dict[str, str]:
        """Return the states of a device's entities, by quantity."""
        return {
            quantity: state.state
            for entity_id, (name, quantity) in self._entities().items()
            if name == device and (state := self.hass.states.get(entity_id))
        }

    def trouble(self, device: str) -> str | None:
        """Return the key of the error of a device that is unavailable."""
        entry = self.entries[device]
        states = set(self.states(device).values())
        if entry.state is ConfigEntryState.SETUP_RETRY:
            assert states <= {STATE_UNAVAILABLE}
            return entry.error_reason_translation_key
        assert entry.state is ConfigEntryState.LOADED
        if entry.runtime_data.last_update_success:
            assert STATE_UNAVAILABLE not in states
            return None
        assert states == {STATE_UNAVAILABLE}
        key: str = entry.runtime_data.last_exception.translation_key
        return key

    def published(self, device: str) -> bool:
        """Return whether all values of a device came since the last poll began."""
        fresh = {
            s.quantity for s in self.sights if s.device == device and right(s, self)
        }
        return fresh == set(self.states(device)) != set()

    def assert_others_went_on(self, *failed: str) -> None:
        """Check that all other devices published their present values."""
        for device in self.entries.keys() - set(failed):
            assert self.published(device), device
            assert self.trouble(device) is None

    async def assert_comes_back(self, device: str) -> None:
        """Check that a device whose fault is over publishes without a reload."""
        self.change()
        with unhurried():
            await (self.retry(device) if self.trouble(device) else self.poll())
        assert self.trouble(device) is None
        assert self.published(device)

    def assert_nothing_wrong(self) -> None:
        """Check that every state was right or unavailable."""
        assert not self.wrong

    @property
    def workers(self) -> Workers:
        """The threads of all devices."""
        return workers_of(self.hass)

    def busy(self) -> int:
        """Return how many workers have a job."""
        return self.workers.failing.busy + self.workers.healthy.busy

    async def _hear(self) -> None:
        """Let each device that reports by itself send its present values."""
        await until(lambda: all(map(self._is_heard, self.entries)))

    def _is_heard(self, device: str) -> bool:
        """Return whether the latest reports, if any come, have the present values."""
        entry = self.entries[device]
        if entry.state is not ConfigEntryState.LOADED:
            return True
        driver = entry.runtime_data.driver
        if not isinstance(driver, Stream) or not self._is_listened_to(device):
            return True
        reading = reported(driver)
        return self.machine.stick(device).fault is not None or (
            reading is not None
            and all(
                right(Sight(device, quantity, str(value)), self)
                for quantity, value in reading.values.items()
            )
        )

    def _is_listened_to(self, device: str) -> bool:
        """Return whether the driver hears each report of a device at once."""
        if device not in self.machine.plugged_in:
            return False
        node = self.machine.device(device).hidraw
        return node is not None and is_watched(node)

    def _values(self, device: str) -> dict[str, Any]:
        """Return the values of an emulated device, which can be changed."""
        machine, places = self.machine, self.entries[device].data
        return (
            machine.stick(device) if places["kind"] == "usb" else machine.chip(device)
        ).values

    def _entities(self) -> dict[str, tuple[str, str]]:
        """Return the device and quantity of each entity."""
        registry = er.async_get(self.hass)
        return {
            entity.entity_id: (
                device,
                entity.unique_id.removeprefix(f"{entry.entry_id}_"),
            )
            for device, entry in self.entries.items()
            for entity in er.async_entries_for_config_entry(registry, entry.entry_id)
        }

    @callback
    def _look(self, event: Event[EventStateChangedData]) -> None:
        """Record a state."""
        entity = er.async_get(self.hass).async_get(event.data["entity_id"])
        if entity is None or (state := event.data["new_state"]) is None:
            return
        device = next(
            (
                device
                for device, entry in self.entries.items()
                if entry.entry_id == entity.config_entry_id
            ),
            None,
        )
        if device is None:
            return
        quantity = entity.unique_id.removeprefix(f"{entity.config_entry_id}_")
        sight = Sight(device, quantity, state.state)
        self.sights.append(sight)
        if not right(sight, self) and sight.state != STATE_UNAVAILABLE:
            self.wrong.append(sight)


def right(sight: Sight, home: Home) -> bool:
    """Return whether a state is the value at the sensor."""
    try:
        value = float(sight.state)
    except ValueError:
        return False
    return abs(value - home.present_value(sight.device, sight.quantity)) <= TOLERANCE


def reported(driver: Stream) -> Reading | None:
    """Return the values in the last reports that a driver received."""
    decoder, now = driver.DECODER(), stream.boot_time()
    for report in driver.raw["reports"].split(" / "):
        with suppress(BadFrameError):
            decoder.feed(bytes.fromhex(report), now)
    return decoder.reading(now)


@contextmanager
def unhurried() -> Generator[None]:
    """Let a poll take long, where no device is expected to hang."""
    with pytest.MonkeyPatch.context() as limits:
        limits.setattr(workers, "DEVICE_TIMEOUT_S", 60)
        yield


MAX_AGES: Final = {
    "adapter": (diamex, "DIAMEX_MAX_AGE_S"),
    "lascar": (lascar, "LASCAR_MAX_AGE_S"),
    "monitor": (zytemp, "ZYTEMP_MAX_AGE_S"),
}
"""What limits the age of the values that a device reports by itself."""


@contextmanager
def outdated(device: str) -> Generator[None]:
    """Make the reports of a device that reports by itself too old."""
    with pytest.MonkeyPatch.context() as limits:
        if device in MAX_AGES:
            limits.setattr(*MAX_AGES[device], -10.0)
        yield


@pytest.fixture(autouse=True)
def short_timeouts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the times that real devices may need."""
    monkeypatch.setattr(layouts, "REPORT_TIMEOUT_S", 0.5)
    monkeypatch.setattr(libusb, "CONTROL_TIMEOUT_MS", 100)
    # Far more than an emulated device takes between two reports.
    monkeypatch.setattr(libusb, "DRAIN_TIMEOUT_MS", 5)
    monkeypatch.setattr(hidtemper, "ANSWER_DELAY_S", 0.05)
    monkeypatch.setattr(stream, "LIBUSB_TIMEOUTS_S", 4 * (0.3,))
    monkeypatch.setattr(stream, "VALUES_TIMEOUT_S", 0.5)
    monkeypatch.setattr(temper, "FIRMWARE_TIMEOUTS_S", (0.5, 0.5))
    monkeypatch.setattr(temperx232, "ANSWER_TIMEOUT_S", 0.5)
    monkeypatch.setattr(libusb, "DRAIN_DELAY_S", 0.1)
    monkeypatch.setattr(workers, "DEVICE_TIMEOUT_S", 2.0)
    monkeypatch.setattr(hotplug, "OFFER_DELAY_S", 0)


@pytest.fixture(name="home")
async def home_fixture(
    hass: HomeAssistant, build: Build, request: pytest.FixtureRequest
) -> AsyncGenerator[Home]:
    """Return a home whose devices work: that of the sticks, or another by its name.

    At its end all published values were right, and no job of a worker and no open file
    is left.
    """
    furniture = HOMES[getattr(request, "param", STICKS)]
    home = Home(hass, build(*furniture.usb, i2c=list(furniture.i2c)))
    await async_setup_component(hass, DOMAIN, {})
    await hass.async_block_till_done(wait_background_tasks=True)
    await until(lambda: home.busy() == 0)
    gc.collect()  # An earlier test may have left descriptors to the collector.
    before = open_files()
    for entry in furniture.entries():
        home.add(entry)
    await home.set_up()
    for device in home.entries:
        assert home.trouble(device) is None
        for quantity, state in home.states(device).items():
            assert right(Sight(device, quantity, state), home)
    yield home
    home.assert_nothing_wrong()
    for entry in home.entries.values():
        await hass.config_entries.async_unload(entry.entry_id)
    await until(lambda: home.busy() == 0)
    await until(lambda: open_files() <= before)
    assert (
        home.workers.failing.threads + home.workers.healthy.threads <= workers.THREADS
    )
