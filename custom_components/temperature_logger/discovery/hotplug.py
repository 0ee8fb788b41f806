"""Notices devices that are plugged in or unplugged, and wakes their entries.

inotify tells at once that the kernel made or removed the node of a USB device. The
hidraw node and its permissions come later, so one look is not enough.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import suppress
from datetime import timedelta
from typing import Any, Final

from aiousbwatcher import AIOUSBWatcher, InotifyNotAvailableError
from homeassistant.config_entries import ConfigEntryState
from homeassistant.const import EVENT_HOMEASSISTANT_STOP
from homeassistant.core import (
    CALLBACK_TYPE,
    CoreState,
    Event,
    HomeAssistant,
    callback,
)
from homeassistant.helpers.event import async_track_time_interval
from homeassistant.helpers.start import async_at_started

from ..const import CONF_KIND, DOMAIN, KIND_ENDPOINT
from ..coordinator import TemperatureLoggerConfigEntry
from ..devices import place_of, workers
from ..drivers import (
    DriverError,
    PresentDevices,
    present_devices,
    usb_nodes,
    within_deadline,
)

type Offer = Callable[[HomeAssistant], Coroutine[Any, Any, None]]
"""Offers what is plugged in and not set up."""

# Seconds from an event to each look: the node comes after some milliseconds, its
# permissions later.
LOOK_DELAYS_S: Final = (0.0, 0.1, 0.5)
# Seconds to the next look while a device is not ready, or a look was held up.
NEXT_LOOK_S: Final = 0.5
# Seconds after which a device is read and offered, with or without its node.
READY_TIMEOUT_S: Final = 2.0
# Seconds without a change before new devices are offered.
OFFER_DELAY_S: Final = 0.3
# Where inotify cannot be used.
LOOK_INTERVAL: Final = timedelta(seconds=5)


class HotPlug:
    """Looks at what is plugged in: after each event, and again a little later."""

    def __init__(self, hass: HomeAssistant) -> None:
        """Watch nothing yet."""
        self._arrived: dict[str, float] = {}
        """When a device appeared whose entry does not know yet, by hot-plug key."""
        self._hass = hass
        self._lane = workers(hass).lane("hotplug")
        self._looking = asyncio.Lock()
        self._next_look: asyncio.TimerHandle | None = None
        self._offer: Offer
        self._offer_timer: asyncio.TimerHandle | None = None
        self._present: PresentDevices | None = None
        self._timers: list[asyncio.TimerHandle] = []

    @callback
    def async_start(self, offer: Offer) -> None:
        """Watch until Home Assistant stops; offer new devices once it has started."""
        self._offer = offer
        stop = self._async_follow()
        self._async_plugged()

        @callback
        def async_stop(_: Event) -> None:
            stop()
            self._async_cancel()
            if self._offer_timer is not None:
                self._offer_timer.cancel()

        self._hass.bus.async_listen_once(EVENT_HOMEASSISTANT_STOP, async_stop)

        @callback
        def async_started(_: HomeAssistant) -> None:
            self.async_offer_soon()

        async_at_started(self._hass, async_started)

    @callback
    def async_offer_soon(self) -> None:
        """Offer the new devices shortly; several calls at once make one offer."""
        if self._offer_timer is not None:
            self._offer_timer.cancel()
        loop = self._hass.loop
        self._offer_timer = loop.call_later(OFFER_DELAY_S, self._async_offer)

    @callback
    def _async_offer(self) -> None:
        """Offer the new devices in a task, unless Home Assistant is still starting."""
        if self._hass.state is CoreState.running:
            self._hass.async_create_background_task(
                self._offer(self._hass), f"{DOMAIN} - offer devices"
            )

    def _async_follow(self) -> CALLBACK_TYPE:
        """Follow the events of the kernel; return what ends that."""
        if usb_nodes().is_dir() and _inotify_works():
            with suppress(InotifyNotAvailableError):
                watcher = AIOUSBWatcher()
                watcher.async_register_callback(self._async_plugged)
                return watcher.async_start()

        @callback
        def async_look(_: object) -> None:
            self._async_look()

        return async_track_time_interval(
            self._hass, async_look, LOOK_INTERVAL, cancel_on_shutdown=True
        )

    @callback
    def _async_plugged(self) -> None:
        """Look now and a few times more, as something was plugged in or unplugged."""
        self._async_cancel()
        self._timers = [
            self._hass.loop.call_later(delay, self._async_look)
            for delay in LOOK_DELAYS_S
        ]

    @callback
    def _async_cancel(self) -> None:
        """Cancel the looks that are due."""
        for timer in self._timers:
            timer.cancel()
        if self._next_look is not None:
            self._next_look.cancel()

    @callback
    def _async_look(self) -> None:
        """Look, in a task."""
        self._hass.async_create_background_task(self._look(), f"{DOMAIN} - look")

    async def _look(self) -> None:
        """Compare what is plugged in with the last look; wake the entries."""
        async with self._looking:
            try:
                found = await within_deadline(self._lane.run(present_devices))
            except DriverError:  # A device holds it up.
                self._async_look_soon()
                return
            before, self._present = self._present, found
            if before is not None:
                self._async_compare(before, found)

    @callback
    def _async_look_soon(self) -> None:
        """Look once more, a little later."""
        if self._next_look is not None:
            self._next_look.cancel()
        if self._hass.is_stopping:
            return
        self._next_look = self._hass.loop.call_later(NEXT_LOOK_S, self._async_look)

    @callback
    def _async_compare(self, before: PresentDevices, found: PresentDevices) -> None:
        """Wake the entries whose devices came or went."""
        entries = list(_devices(self._hass))
        gone = before.keys() - found.keys()
        come = self._settled(before, found) - {
            place_of(entry.data).hotplug_key  # It is woken once that has ended.
            for entry in entries
            if entry.state is ConfigEntryState.SETUP_IN_PROGRESS
        }
        self._arrived = {
            key: since
            for key, since in self._arrived.items()
            if key in found and key not in come
        }
        for entry in entries:
            if (key := place_of(entry.data).hotplug_key) in gone | come:
                _async_wake(self._hass, entry, come=key in come)
        if self._arrived:
            self._async_look_soon()
        if gone or come:
            self.async_offer_soon()

    def _settled(self, before: PresentDevices, found: PresentDevices) -> set[str]:
        """Return the keys of new devices that are ready, or should be by now."""
        now = self._hass.loop.time()
        for key, plug in found.items():
            if key not in before or before[key].number != plug.number:
                self._arrived[key] = now
        return {
            key
            for key, since in self._arrived.items()
            if key in found and (found[key].ready or now - since > READY_TIMEOUT_S)
        }


def _devices(hass: HomeAssistant) -> Iterator[TemperatureLoggerConfigEntry]:
    """Yield the entries of devices."""
    for entry in hass.config_entries.async_entries(
        DOMAIN, include_ignore=False, include_disabled=False
    ):
        if entry.data[CONF_KIND] != KIND_ENDPOINT:
            yield entry


@callback
def _async_wake(
    hass: HomeAssistant, entry: TemperatureLoggerConfigEntry, *, come: bool
) -> None:
    """Have an entry read its device, which came or went, in a task of its own."""
    if entry.state is ConfigEntryState.LOADED:
        entry.async_create_background_task(
            hass,
            entry.runtime_data.async_look_again(come=come),
            f"{entry.title} - look again",
        )
    elif entry.state is ConfigEntryState.SETUP_RETRY and come:
        hass.config_entries.async_schedule_reload(entry.entry_id)


def _inotify_works() -> bool:
    """Return whether inotify can be used; the watcher would fail silently."""
    try:
        from asyncinotify import Inotify

        Inotify().close()
    except ImportError, OSError:
        return False
    return True
