"""The coordinator of a device: polls it, calibrates readings and reports faults."""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Final, override

from homeassistant.config_entries import ConfigEntry
from homeassistant.const import EVENT_HOMEASSISTANT_STOP
from homeassistant.core import Event, HomeAssistant, callback
from homeassistant.helpers.dispatcher import async_dispatcher_send
from homeassistant.helpers.update_coordinator import DataUpdateCoordinator, UpdateFailed

from .const import (
    CONF_CALIBRATION,
    CONF_INTERVAL,
    CONF_QUANTITIES,
    DEFAULT_INTERVAL,
    DOMAIN,
    LOGGER,
)
from .devices import (
    VALUE_FAULTS,
    JumpCheck,
    async_clear_fault,
    async_make_driver,
    async_report_fault,
    async_report_values,
    calibrated,
    place_name,
    workers,
)
from .drivers import Driver, DriverError, Fault, Invalid, Reading, in_order
from .translation import update_failed

SIGNAL_CHIP_LOST: Final = f"{DOMAIN}_chip_lost"
# A chip with one of these faults is not at its place.
LOST_CHIP_FAULTS: Final = {
    Fault.BUS_DISABLED,
    Fault.BUS_NOT_FOUND,
    Fault.CHIP_CHANGED,
    Fault.CHIP_NOT_FOUND,
}
# Delay of the first retry after a failed poll; it doubles with each further failure.
FIRST_RETRY_DELAY: Final = timedelta(seconds=15)
# Before its device is closed, a running poll has this time to end.
SHUTDOWN_GRACE_S: Final = 1.0

type TemperatureLoggerConfigEntry = ConfigEntry[ReadingCoordinator]


class ReadingCoordinator(DataUpdateCoordinator[Reading]):
    """Polls one device."""

    config_entry: TemperatureLoggerConfigEntry

    def __init__(
        self, hass: HomeAssistant, entry: TemperatureLoggerConfigEntry
    ) -> None:
        """Set the interval of the entry; the first refresh makes the driver."""
        interval = timedelta(seconds=entry.options.get(CONF_INTERVAL, DEFAULT_INTERVAL))
        super().__init__(
            hass,
            LOGGER,
            config_entry=entry,
            name=entry.title,
            update_interval=interval,
        )
        self.raw_reading: Reading | None = None
        """The last reading before calibration."""
        self._driver: Driver | None = None
        self._failures = 0
        self._has_invalid_values = True  # They may have been before a reload.
        self._is_shut_down = False
        self._jump_check = JumpCheck(interval)
        self._lock = asyncio.Lock()
        """Held while the device is in use."""
        entry.async_on_unload(
            hass.bus.async_listen(EVENT_HOMEASSISTANT_STOP, self._stop)
        )

    @property
    def driver(self) -> Driver:
        """The driver of the device; it exists from the first refresh on."""
        if TYPE_CHECKING:
            assert self._driver is not None
        return self._driver

    @override
    async def async_shutdown(self) -> None:
        """Stop polling and close the device."""
        await super().async_shutdown()
        self._is_shut_down = True
        with suppress(TimeoutError):
            # A poll that still runs may open the device at this moment.
            async with asyncio.timeout(SHUTDOWN_GRACE_S), self._lock:
                pass
        if self._driver is not None:
            await self._driver.close()

    @override
    async def _async_setup(self) -> None:
        """Make the driver, and keep threads ready for it; open nothing yet."""
        self.config_entry.async_on_unload(workers(self.hass).add_user())
        self._driver = await async_make_driver(
            self.hass, self.config_entry.data, self._on_gone
        )

    @override
    async def _async_update_data(self) -> Reading:
        """Poll the device and return the calibrated reading."""
        try:
            async with self._lock:
                self.raw_reading = await self._jump_check.read(self.driver)
        except DriverError as err:
            if err.fault in VALUE_FAULTS:
                invalid = Invalid(err.fault, err.details)
                known = self.config_entry.data[CONF_QUANTITIES]
                await self._report_values(dict.fromkeys(known, invalid))
            raise self._update_failed(err) from err
        finally:
            if self._is_shut_down:  # The entry was unloaded during the poll.
                await self.driver.close()
        async_clear_fault(self.hass, self.config_entry)
        self._failures = 0
        self._add_quantities(self.driver.quantities)
        await self._report_values(self.raw_reading.faults)
        calibration = self.config_entry.options.get(CONF_CALIBRATION, {})
        return calibrated(self.raw_reading, calibration)

    async def async_refresh_now(self, *, plugged_in: bool, is_gone: bool) -> None:
        """Poll at once, after the device came, went, or lost its node.

        A device that is gone is closed before: an open bus would answer for ever, and
        keep the kernel from adding it again.
        """
        if is_gone:
            async with self.async_paused():
                pass
        if plugged_in:
            self._failures = 0
        if plugged_in or self.last_update_success:
            await self.async_refresh()
        if plugged_in and not self.last_update_success:
            # The first poll only closed the node from before the device was replugged.
            await self.async_refresh()

    @asynccontextmanager
    async def async_paused(self) -> AsyncGenerator[None]:
        """Close the device and stop polling, so that another driver can open it."""
        async with self._lock:
            await self.driver.close()
            yield

    async def _report_values(self, faults: Mapping[str, Invalid]) -> None:
        """Report the invalid values of a reading, or that there are none any more."""
        if faults or self._has_invalid_values:
            place = place_name(self.hass, self.config_entry.data)
            await async_report_values(self.hass, self.config_entry, faults, place)
        self._has_invalid_values = bool(faults)

    @callback
    def _add_quantities(self, quantities: tuple[str, ...]) -> None:
        """Add new quantities, such as those of a new probe, to the entry."""
        data = self.config_entry.data
        known = data[CONF_QUANTITIES]
        if not set(quantities) <= set(known):
            self.hass.config_entries.async_update_entry(
                self.config_entry,
                data=data | {CONF_QUANTITIES: in_order({*known, *quantities})},
            )

    def _update_failed(self, err: DriverError) -> UpdateFailed:
        """Report a fault; return its translated error with the delay of the retry."""
        place = place_name(self.hass, self.config_entry.data)
        placeholders = {**err.details, "place": place}
        async_report_fault(self.hass, self.config_entry, err.fault, placeholders)
        if err.fault in LOST_CHIP_FAULTS:
            async_dispatcher_send(self.hass, SIGNAL_CHIP_LOST)
        return update_failed(
            err.fault, retry_after=self._retry_after_s(), **placeholders
        )

    def _retry_after_s(self) -> float | None:
        """Return the seconds until the next retry, which double with each failure.

        Before the first reading, Home Assistant itself retries the set-up.
        """
        if self.raw_reading is None:
            return None
        retry_after: timedelta = FIRST_RETRY_DELAY * 2**self._failures
        if self.update_interval is not None and retry_after < self.update_interval:
            self._failures += 1
        else:
            retry_after = self.update_interval or FIRST_RETRY_DELAY
        return retry_after.total_seconds()

    @callback
    def _on_gone(self) -> None:
        """Poll at once, after the device was unplugged."""
        self.config_entry.async_create_background_task(
            self.hass, self.async_refresh(), f"{self.name} - device gone"
        )

    async def _stop(self, _: Event) -> None:
        """Close the device before Home Assistant stops."""
        await self.async_shutdown()
