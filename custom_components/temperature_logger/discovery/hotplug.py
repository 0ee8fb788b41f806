"""Detects that devices are plugged in or unplugged, and polls them at once.

inotify reports at once that the kernel made or removed the node of a USB device. The
hidraw node and its permissions follow later, so one scan is not enough.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Iterator
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
from homeassistant.helpers.dispatcher import async_dispatcher_connect
from homeassistant.helpers.event import async_track_time_interval
from homeassistant.helpers.start import async_at_started

from ..const import CONF_KIND, DOMAIN, KIND_ENDPOINT
from ..coordinator import SIGNAL_CHIP_LOST, TemperatureLoggerConfigEntry
from ..devices import place_of, workers
from ..drivers import DriverError, within_deadline
from ..drivers.presence import PresentDevices, present_devices, usb_nodes
from ..shared import shared_object
from .nodes import async_watch_nodes
from .ports import Ports

type Offer = Callable[[HomeAssistant], Coroutine[Any, Any, None]]
"""Offers the connected devices that are not set up."""

# From an event to each scan: the node comes after some milliseconds, its permissions
# later.
SCAN_DELAYS_S: Final = (0.0, 0.1, 0.5)
# To the next scan while a device is not ready, or after a scan that a device blocked.
RESCAN_DELAY_S: Final = 0.5
# After this time a new device is polled and offered, even without its node.
READY_TIMEOUT_S: Final = 2.0
# New devices are offered after this time without a change.
OFFER_DELAY_S: Final = 0.3
# One for the folder of all nodes, and one for the folder of USB devices.
WATCHES: Final = 2
# Between scans, if a watch does not work.
SCAN_INTERVAL: Final = timedelta(seconds=5)


class HotPlug:
    """Scans the connected devices after each event, and again a little later."""

    def __init__(self, hass: HomeAssistant) -> None:
        """Watch nothing yet."""
        self._arrived_at: dict[str, float] = {}
        """The arrival of each new device that was not polled yet, by hot-plug key."""
        self._hass = hass
        self._is_scan_waiting = False
        self._lane = workers(hass).lane("hotplug")
        self._scan_lock = asyncio.Lock()
        self._next_scan: asyncio.TimerHandle | None = None
        self._offer: Offer
        self._offer_timer: asyncio.TimerHandle | None = None
        self._present: PresentDevices | None = None
        self._timers: list[asyncio.TimerHandle] = []

    @callback
    def async_start(self, offer: Offer) -> None:
        """Watch until Home Assistant stops; offer new devices once it has started."""
        self._offer = offer
        stops = (
            self._async_follow(),
            async_dispatcher_connect(
                self._hass, SIGNAL_CHIP_LOST, self.async_offer_soon
            ),
        )
        self._async_scan()  # The next scans are compared with this one.

        @callback
        def async_stop(_: Event) -> None:
            for stop in stops:
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
        """Scan after kernel events, or else regularly; return the stop function."""
        stops: list[CALLBACK_TYPE] = []
        with suppress(ImportError, InotifyNotAvailableError, OSError):
            stops.append(async_watch_nodes(self._async_schedule_scans))
            if usb_nodes().is_dir():  # Otherwise the watcher would fail silently.
                watcher = AIOUSBWatcher()
                watcher.async_register_callback(self._async_schedule_scans)
                stops.append(watcher.async_start())
        if len(stops) < WATCHES:
            stops.append(self._async_scan_regularly())

        @callback
        def stop() -> None:
            for each in stops:
                each()

        return stop

    def _async_scan_regularly(self) -> CALLBACK_TYPE:
        """Scan at regular intervals; return the stop function."""

        @callback
        def async_scan(_: object) -> None:
            self._async_scan()

        return async_track_time_interval(
            self._hass, async_scan, SCAN_INTERVAL, cancel_on_shutdown=True
        )

    @callback
    def _async_schedule_scans(self) -> None:
        """Scan now and a few times later, after a device has come or gone."""
        self._async_cancel()
        self._timers = [
            self._hass.loop.call_later(delay, self._async_scan)
            for delay in SCAN_DELAYS_S
        ]

    @callback
    def _async_cancel(self) -> None:
        """Cancel the scheduled scans."""
        for timer in self._timers:
            timer.cancel()
        if self._next_scan is not None:
            self._next_scan.cancel()

    @callback
    def _async_scan(self) -> None:
        """Scan in a background task, unless a scan is about to begin."""
        if self._is_scan_waiting:
            return
        self._is_scan_waiting = True
        self._hass.async_create_background_task(self._scan(), f"{DOMAIN} - scan")

    async def _scan(self) -> None:
        """Scan the connected devices, and compare them with those of the last scan."""
        async with self._scan_lock:
            self._is_scan_waiting = False
            try:
                present = await within_deadline(self._lane.run(present_devices))
            except DriverError:  # A device blocks the scan.
                self._async_rescan_soon()
                return
            shared_object(self._hass, Ports).async_update(
                {key: device.number for key, device in present.items()}
            )
            before, self._present = self._present, present
            if before is None:  # Only now it is known which ports lost their devices.
                self.async_offer_soon()
            else:
                self._async_compare(before, present)

    @callback
    def _async_rescan_soon(self) -> None:
        """Scan once more, a little later."""
        if self._next_scan is not None:
            self._next_scan.cancel()
        if self._hass.is_stopping:
            return
        self._next_scan = self._hass.loop.call_later(RESCAN_DELAY_S, self._async_scan)

    @callback
    def _async_compare(self, before: PresentDevices, present: PresentDevices) -> None:
        """Poll the devices that came or went, and offer new ones."""
        entries = list(_device_entries(self._hass))
        gone = before.keys() - present.keys()
        unusable = _changed_keys(before, present, is_ready=False)
        arrivals = _arrivals(before, present, entries)
        self._arrived_at |= dict.fromkeys(arrivals, self._hass.loop.time())
        plugged_in = self._ready_keys(present) - {
            place_of(entry.data).hotplug_key  # These are polled after their set-up.
            for entry in entries
            if entry.state is ConfigEntryState.SETUP_IN_PROGRESS
        }
        self._arrived_at = {
            key: arrived_at
            for key, arrived_at in self._arrived_at.items()
            if key in present and key not in plugged_in
        }
        for entry in entries:
            key = place_of(entry.data).hotplug_key
            if key in gone | unusable | plugged_in:
                _async_refresh_entry(
                    self._hass,
                    entry,
                    plugged_in=key in plugged_in,
                    is_gone=key in gone,
                )
        if self._arrived_at:
            self._async_rescan_soon()
        if gone or plugged_in:
            self.async_offer_soon()

    def _ready_keys(self, present: PresentDevices) -> set[str]:
        """Return the keys of new devices that are ready, or whose time is over."""
        now = self._hass.loop.time()
        return {
            key
            for key, arrived_at in self._arrived_at.items()
            if key in present
            and (present[key].ready or now - arrived_at > READY_TIMEOUT_S)
        }


def _arrivals(
    before: PresentDevices,
    present: PresentDevices,
    entries: Iterable[TemperatureLoggerConfigEntry],
) -> set[str]:
    """Return the keys of new devices, and of those that are usable again.

    A device that works without its node, such as through libusb, is not new.
    """
    replugged = {
        key
        for key, device in present.items()
        if key not in before or before[key].number != device.number
    }
    working = {
        place_of(entry.data).hotplug_key
        for entry in entries
        if entry.state is ConfigEntryState.LOADED
        and entry.runtime_data.last_update_success
    }
    return replugged | _changed_keys(before, present, is_ready=True) - working


def _changed_keys(
    before: PresentDevices, present: PresentDevices, *, is_ready: bool
) -> set[str]:
    """Return the keys of devices whose node became usable or unusable.

    Devices that were plugged in again are not among them, nor those whose node came or
    went because a program claimed them.
    """
    return {
        key
        for key, device in present.items()
        if device.ready is is_ready
        and before.get(key) == device._replace(ready=not is_ready)
    }


def _device_entries(hass: HomeAssistant) -> Iterator[TemperatureLoggerConfigEntry]:
    """Yield the entries of devices."""
    for entry in hass.config_entries.async_entries(
        DOMAIN, include_ignore=False, include_disabled=False
    ):
        if entry.data[CONF_KIND] != KIND_ENDPOINT:
            yield entry


@callback
def _async_refresh_entry(
    hass: HomeAssistant,
    entry: TemperatureLoggerConfigEntry,
    *,
    plugged_in: bool,
    is_gone: bool,
) -> None:
    """Poll a device that came or went, in its own background task."""
    if entry.state is ConfigEntryState.LOADED:
        entry.async_create_background_task(
            hass,
            entry.runtime_data.async_refresh_now(
                plugged_in=plugged_in, is_gone=is_gone
            ),
            f"{entry.title} - refresh now",
        )
    elif entry.state is ConfigEntryState.SETUP_RETRY and plugged_in:
        hass.config_entries.async_schedule_reload(entry.entry_id)
