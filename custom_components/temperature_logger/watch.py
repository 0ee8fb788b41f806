"""Notices what is plugged in and pulled out, and tells whom it concerns.

The kernel's node of a USB device appears and goes at once, which inotify tells; the
hidraw node and its permissions come later. So one look is not enough.
"""

import asyncio
from contextlib import suppress
from datetime import timedelta
from typing import Final

from aiousbwatcher import AIOUSBWatcher, InotifyNotAvailableError
from homeassistant.config_entries import ConfigEntryState
from homeassistant.const import EVENT_HOMEASSISTANT_STOP
from homeassistant.core import CALLBACK_TYPE, Event, HomeAssistant, callback
from homeassistant.helpers.event import async_track_time_interval
from homeassistant.helpers.start import async_at_started

from .announcement import async_announce
from .const import DOMAIN
from .coordinator import TemperatureLoggerConfigEntry
from .drivers import DriverError, sysfs, within_deadline
from .drivers.plugs import Plugs, plugs
from .kinds import async_lane, port

# Seconds from an event to each look: the node comes after some milliseconds, its
# permissions later.
LOOKS: Final = (0.0, 0.1, 0.5, 2.0)
# Seconds after which a device is used, and announced, with or without its node.
PATIENCE: Final = 1.9
# Where nobody tells, so often somebody looks.
LOOK_INTERVAL: Final = timedelta(seconds=5)


class Watch:
    """Looks at what is plugged in, after each event and a while later."""

    def __init__(self, hass: HomeAssistant) -> None:
        """Watch nothing yet."""
        self._hass = hass
        self._lane = async_lane(hass)
        self._lane.failing = True  # The readings come first.
        self._looking = asyncio.Lock()
        self._new: dict[str, float] = {}
        """Since when something is in a port that nobody was told of yet."""
        self._plugs: Plugs | None = None
        self._timers: list[asyncio.TimerHandle] = []

    @callback
    def async_start(self) -> None:
        """Watch until Home Assistant stops."""
        stop = self._async_follow()
        self._async_plugged()

        @callback
        def async_stop(_: Event) -> None:
            stop()
            self._async_cancel()

        self._hass.bus.async_listen_once(EVENT_HOMEASSISTANT_STOP, async_stop)
        async_at_started(self._hass, async_announce)

    def _async_follow(self) -> CALLBACK_TYPE:
        """Be told of events; return what ends that."""
        if (sysfs.DEV / "bus/usb").is_dir():
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
        """Look now and a few times more; something was plugged in or pulled out."""
        self._async_cancel()
        self._timers = [
            self._hass.loop.call_later(delay, self._async_look) for delay in LOOKS
        ]

    @callback
    def _async_cancel(self) -> None:
        """Do not look any more."""
        for timer in self._timers:
            timer.cancel()

    @callback
    def _async_look(self) -> None:
        """Look, in a task."""
        self._hass.async_create_background_task(self._look(), f"{DOMAIN} - look")

    async def _look(self) -> None:
        """Find out what has changed, and tell the entries that it concerns."""
        async with self._looking:
            try:
                found = await within_deadline(self._lane.run(plugs))
            except DriverError:
                return  # A device holds it up; the next look finds the rest.
            before, self._plugs = self._plugs, found
            if before is None:
                return
            gone = before.keys() - found.keys()
            come = self._settled(before, found)
            await asyncio.gather(
                *(
                    _tell(self._hass, entry, come=port(entry.data) in come)
                    for entry in self._hass.config_entries.async_entries(
                        DOMAIN, include_ignore=False, include_disabled=False
                    )
                    if port(entry.data) in gone | come
                )
            )
        if gone or come:
            async_announce(self._hass)

    def _settled(self, before: Plugs, found: Plugs) -> set[str]:
        """Return the ports whose new device is ready, or should be by now."""
        now = self._hass.loop.time()
        for name, plug in found.items():
            if name not in before or before[name].number != plug.number:
                self._new[name] = now
        settled = {
            name
            for name, since in self._new.items()
            if name in found and (found[name].ready or now - since > PATIENCE)
        }
        self._new = {
            name: since
            for name, since in self._new.items()
            if name in found and name not in settled
        }
        return settled


async def _tell(
    hass: HomeAssistant, entry: TemperatureLoggerConfigEntry, *, come: bool
) -> None:
    """Let an entry find out that its device came or went."""
    if entry.state is ConfigEntryState.LOADED:
        await entry.runtime_data.async_look_again(come=come)
    elif entry.state is ConfigEntryState.SETUP_RETRY and come:
        hass.config_entries.async_schedule_reload(entry.entry_id)
