"""One coordinator per device: polls it, calibrates, tells what is wrong."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from typing import Final, override

from homeassistant.config_entries import ConfigEntry
from homeassistant.const import EVENT_HOMEASSISTANT_STOP
from homeassistant.core import Event, HomeAssistant, callback
from homeassistant.helpers.update_coordinator import DataUpdateCoordinator, UpdateFailed

from .const import (
    CONF_CALIBRATION,
    CONF_INTERVAL,
    CONF_QUANTITIES,
    DEFAULT_INTERVAL,
    LOGGER,
    RETRY,
)
from .devices.calibration import calibrated
from .devices.faults import async_update_issue
from .devices.kinds import async_make_driver, place
from .drivers import DriverError, Reading, in_order, within_deadline
from .translation import update_failed

# Seconds that a reading gets to end before its device is taken from it.
GRACE: Final = 1.0

type TemperatureLoggerConfigEntry = ConfigEntry[ReadingCoordinator]


class ReadingCoordinator(DataUpdateCoordinator[Reading]):
    """Polls one device."""

    config_entry: TemperatureLoggerConfigEntry

    def __init__(
        self, hass: HomeAssistant, entry: TemperatureLoggerConfigEntry
    ) -> None:
        """Make the driver; nothing is opened yet."""
        super().__init__(
            hass,
            LOGGER,
            config_entry=entry,
            name=entry.title,
            update_interval=timedelta(
                seconds=entry.options.get(CONF_INTERVAL, DEFAULT_INTERVAL)
            ),
        )
        self.driver = async_make_driver(hass, entry.data, self._gone)
        self.raw_reading: Reading | None = None
        self._failures = 0
        entry.async_on_unload(
            hass.bus.async_listen(EVENT_HOMEASSISTANT_STOP, self._stop)
        )

    @override
    async def async_shutdown(self) -> None:
        """Stop polling and give the device back."""
        await super().async_shutdown()
        with suppress(TimeoutError):
            # A reading that still runs may be opening the device just now.
            async with asyncio.timeout(GRACE), self._debounced_refresh.async_lock():
                pass
        await self.driver.close()

    @override
    async def _async_update_data(self) -> Reading:
        """Read the device once."""
        try:
            self.raw_reading = await within_deadline(self.driver.read())
        except DriverError as err:
            async_update_issue(self.hass, self.config_entry, err)
            raise self._failed(err) from err
        finally:
            if self._shutdown_requested:  # It was opened for nobody any more.
                await self.driver.close()
        async_update_issue(self.hass, self.config_entry, None)
        self._failures = 0
        self._remember(self.driver.quantities)
        calibration = self.config_entry.options.get(CONF_CALIBRATION, {})
        return calibrated(self.raw_reading, calibration)

    async def async_look_again(self, *, come: bool) -> None:
        """Read at once, as the device was just plugged in or pulled out."""
        self._failures = 0
        if come or self.last_update_success:
            await self.async_refresh()
        if come and not self.last_update_success:
            # What was open was the device that is gone; now it is closed.
            await self.async_refresh()

    @asynccontextmanager
    async def async_paused(self) -> AsyncGenerator[None]:
        """Leave the device to somebody else, who is to read it meanwhile."""
        async with self._debounced_refresh.async_lock():
            await self.driver.close()
            yield

    @callback
    def _remember(self, quantities: tuple[str, ...]) -> None:
        """Add what shows up only now, such as a probe, to what the device has."""
        data = self.config_entry.data
        known = data[CONF_QUANTITIES]
        if not set(quantities) <= set(known):
            self.hass.config_entries.async_update_entry(
                self.config_entry,
                data=data | {CONF_QUANTITIES: in_order({*known, *quantities})},
            )

    def _failed(self, err: DriverError) -> UpdateFailed:
        """Return the translated error, with the time of the next try."""
        retry_after = RETRY * 2**self._failures
        if self.update_interval is not None and retry_after < self.update_interval:
            self._failures += 1
        else:
            retry_after = self.update_interval or RETRY
        return update_failed(
            err.fault,
            retry_after=retry_after.total_seconds(),
            **err.details | {"place": place(self.config_entry.data)},
        )

    @callback
    def _gone(self) -> None:
        """Find out at once, not at the next poll, that the device was pulled out."""
        self.config_entry.async_create_background_task(
            self.hass, self.async_refresh(), f"{self.name} - device gone"
        )

    async def _stop(self, _: Event) -> None:
        """Give the device back before Home Assistant ends."""
        await self.async_shutdown()
