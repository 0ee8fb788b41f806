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
from homeassistant.core import (
    CALLBACK_TYPE,
    CoreState,
    Event,
    HomeAssistant,
    callback,
)
from homeassistant.helpers.event import async_track_time_interval
from homeassistant.helpers.importlib import async_import_module
from homeassistant.helpers.start import async_at_started
from homeassistant.util.hass_dict import HassKey

from ..const import CONF_KIND, DOMAIN, KIND_ENDPOINT
from ..coordinator import TemperatureLoggerConfigEntry
from ..devices.kinds import async_lane, port
from ..drivers import DriverError, sysfs, within_deadline
from ..drivers.presence import Plugs, plugs

# Seconds from an event to each look: the node comes after some milliseconds, its
# permissions later.
LOOKS: Final = (0.0, 0.1, 0.5)
# Seconds to the next look while a device is not ready, or a look was held up.
AGAIN: Final = 0.5
# Seconds after which a device is used, and announced, with or without its node.
PATIENCE: Final = 2.0
# Seconds without a change before what is new is announced.
CALM: Final = 0.3
# Where nobody tells, so often somebody looks.
LOOK_INTERVAL: Final = timedelta(seconds=5)


DATA_WATCH: HassKey[Watch] = HassKey(f"{DOMAIN}_watch")


class Watch:
    """Looks at what is plugged in, after each event and a while later."""

    def __init__(self, hass: HomeAssistant) -> None:
        """Watch nothing yet."""
        self._again: asyncio.TimerHandle | None = None
        self._announcement: asyncio.TimerHandle | None = None
        self._hass = hass
        self._lane = async_lane(hass, "watch")
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
            if self._announcement is not None:
                self._announcement.cancel()

        self._hass.bus.async_listen_once(EVENT_HOMEASSISTANT_STOP, async_stop)
        async_at_started(self._hass, self._async_started)

    @callback
    def async_announce_soon(self) -> None:
        """Announce what there is; of many calls at once the last one is enough."""
        if self._announcement is not None:
            self._announcement.cancel()
        self._announcement = self._hass.loop.call_later(CALM, self._async_announce)

    @callback
    def _async_started(self, _: HomeAssistant) -> None:
        """Announce what was plugged in before Home Assistant started."""
        self.async_announce_soon()

    @callback
    def _async_announce(self) -> None:
        """Announce, in a task, once everything that is set up has been set up."""
        if self._hass.state is CoreState.running:
            self._hass.async_create_background_task(
                self._announce(), f"{DOMAIN} - announce"
            )

    async def _announce(self) -> None:
        """Announce; what that takes is imported with the first time."""
        await async_import_module(self._hass, f"{__package__}.offers")
        from .offers import async_announce

        await async_announce(self._hass)

    def _async_follow(self) -> CALLBACK_TYPE:
        """Be told of events; return what ends that."""
        if (sysfs.DEV / "bus/usb").is_dir() and _inotify_works():
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
        if self._again is not None:
            self._again.cancel()

    @callback
    def _async_look(self) -> None:
        """Look, in a task."""
        self._hass.async_create_background_task(self._look(), f"{DOMAIN} - look")

    async def _look(self) -> None:
        """Find out what has changed, and tell the entries that it concerns."""
        async with self._looking:
            try:
                found = await within_deadline(self._lane.run(plugs))
            except DriverError:  # A device holds it up.
                self._async_look_again()
                return
            before, self._plugs = self._plugs, found
            if before is not None:
                self._async_compare(before, found)

    @callback
    def _async_look_again(self) -> None:
        """Look a while later, once."""
        if self._again is not None:
            self._again.cancel()
        if self._hass.is_stopping:
            return
        self._again = self._hass.loop.call_later(AGAIN, self._async_look)

    @callback
    def _async_compare(self, before: Plugs, found: Plugs) -> None:
        """Tell the entries whose devices came or went."""
        entries = [
            entry
            for entry in self._hass.config_entries.async_entries(
                DOMAIN, include_ignore=False, include_disabled=False
            )
            if entry.data[CONF_KIND] != KIND_ENDPOINT
        ]
        gone = before.keys() - found.keys()
        come = self._settled(before, found) - {
            port(entry.data)  # Told once that has ended.
            for entry in entries
            if entry.state is ConfigEntryState.SETUP_IN_PROGRESS
        }
        self._new = {
            name: since
            for name, since in self._new.items()
            if name in found and name not in come
        }
        for entry in entries:
            if (name := port(entry.data)) in gone | come:
                _async_tell(self._hass, entry, come=name in come)
        if self._new:
            self._async_look_again()
        if gone or come:
            self.async_announce_soon()

    def _settled(self, before: Plugs, found: Plugs) -> set[str]:
        """Return the ports whose new device is ready, or should be by now."""
        now = self._hass.loop.time()
        for name, plug in found.items():
            if name not in before or before[name].number != plug.number:
                self._new[name] = now
        return {
            name
            for name, since in self._new.items()
            if name in found and (found[name].ready or now - since > PATIENCE)
        }


@callback
def _async_tell(
    hass: HomeAssistant, entry: TemperatureLoggerConfigEntry, *, come: bool
) -> None:
    """Let an entry find out, in a task of its own, that its device came or went."""
    if entry.state is ConfigEntryState.LOADED:
        entry.async_create_background_task(
            hass,
            entry.runtime_data.async_look_again(come=come),
            f"{entry.title} - look again",
        )
    elif entry.state is ConfigEntryState.SETUP_RETRY and come:
        hass.config_entries.async_schedule_reload(entry.entry_id)


def _inotify_works() -> bool:
    """Return whether inotify can be had; the watcher would fail in silence."""
    try:
        from asyncinotify import Inotify

        Inotify().close()
    except ImportError, OSError:
        return False
    return True
