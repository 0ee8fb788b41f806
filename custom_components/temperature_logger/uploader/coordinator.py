"""One coordinator per endpoint: sends new readings and keeps the status up to date."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
import time
from typing import Final, Self, override

from homeassistant.config_entries import SOURCE_REAUTH, ConfigEntry
from homeassistant.const import CONF_VERIFY_SSL
from homeassistant.core import HomeAssistant, callback
from homeassistant.exceptions import HomeAssistantError
from homeassistant.helpers.aiohttp_client import async_get_clientsession
from homeassistant.helpers.recorder import DATA_INSTANCE, get_instance
from homeassistant.helpers.update_coordinator import DataUpdateCoordinator, UpdateFailed
from homeassistant.util import dt as dt_util

from ..const import (
    CONF_BATCH_SIZE,
    CONF_PAST,
    CONF_PROTOCOL,
    DEFAULT_BATCH_SIZE,
    LOGGER,
    Refusal,
)
from ..history.recorder import async_recorded
from ..translation import as_update_failed, update_failed
from .backoff import Backoff
from .cursor import Cursor, Progress
from .delivery import Delivery
from .endpoints import ENDPOINTS
from .errors import DeliveryError, Failure
from .expiry import (
    async_report_loss,
    async_update_expiry_issue,
    async_update_refusal_issue,
)
from .outbox import Outbox, Waiting
from .points import MAX_AHEAD_SECONDS
from .sources import async_sources

# Devices are read every 5 minutes by default; a minute later the server has it.
DELIVERY_INTERVAL: Final = timedelta(minutes=1)
# The status is updated this often during a long delivery.
STATUS_INTERVAL_SECONDS: Final = 30

type EndpointConfigEntry = ConfigEntry[EndpointCoordinator]


@dataclass(frozen=True, kw_only=True)
class Status:
    """The progress of an endpoint, as its entities show it."""

    waiting: int | None = None
    """The number of waiting readings; None before the first count."""
    oldest: float | None = None
    """The Unix time of the first of them."""
    delivered: int = 0
    delivered_at: float | None = None
    """The Unix time of the last delivery."""

    @classmethod
    def of(cls, progress: Progress, waiting: Waiting | None = None) -> Self:
        """Return the status for the progress and for the waiting readings, if known."""
        return cls(
            waiting=None if waiting is None else waiting.readings,
            oldest=None if waiting is None else waiting.oldest,
            delivered=progress.delivered,
            delivered_at=progress.delivered_at,
        )


@dataclass(frozen=True, kw_only=True)
class Backlog:
    """The readings that wait for an endpoint, as read at one time."""

    hass: HomeAssistant
    entry: EndpointConfigEntry
    cursor: Cursor
    outbox: Outbox
    until: float
    """The Unix time until which the recorder has written all rows."""

    @property
    def has_cursor_moved(self) -> bool:
        """Whether the cursor has moved since the readings were counted."""
        progress = self.cursor.progress
        return progress.state_id != progress.oldest_after

    async def async_restart(self) -> None:
        """Move the cursor before the first reading that the user wants to send."""
        state_id = 0
        if not self.entry.data.get(CONF_PAST, True):
            added = self.entry.created_at.timestamp()
            latest = time.time() + MAX_AHEAD_SECONDS
            state_id = await _async_job(self.hass, self.outbox.before, added, latest)
        await self.cursor.async_restart(state_id)

    async def async_apply_answer(self) -> None:
        """Apply the user's answer about refused readings, or ask again.

        The registry saves issues late, so the progress decides whether to ask. There is
        nothing left to ask once the recorder has deleted the last refused reading.
        """
        progress = self.cursor.progress
        last = progress.refused_until
        if progress.is_again:
            await self.cursor.async_rewind()
        elif last is not None and not await _async_job(
            self.hass, self.outbox.has, last
        ):
            await self.cursor.async_answer(is_again=False)
        async_update_refusal_issue(self.hass, self.entry, progress)

    async def async_count(self) -> Waiting:
        """Count the readings after the cursor; report those that were deleted unsent.

        The cursor starts again if the rows have new ids, as in a new database.
        """
        progress, outbox = self.cursor.progress, self.outbox
        if await _async_job(
            self.hass, outbox.has_new_row_ids, progress.newest, progress.newest_at
        ):
            await self.async_restart()
        waiting = await _async_job(self.hass, outbox.waiting, progress.state_id)
        previous = progress.oldest
        if (
            previous is not None
            and previous != waiting.oldest
            and not self.has_cursor_moved
            and not await _async_job(self.hass, outbox.has, previous)
        ):
            remaining = self.until if waiting.oldest is None else waiting.oldest
            async_report_loss(self.hass, self.entry, previous, remaining)
        await self.cursor.async_note_waiting(
            waiting.oldest, outbox.newest, outbox.newest_at, self.until
        )
        return waiting


async def async_open_backlog(
    hass: HomeAssistant, entry: EndpointConfigEntry, cursor: Cursor
) -> Backlog:
    """Return the backlog of an endpoint, with the newest readings.

    Entities that were added or renamed meanwhile are looked up again.
    """
    while True:
        sources = async_sources(hass, entry.options)
        until = await _async_recorded(hass)
        outbox = Outbox(hass, sources)
        await _async_job(hass, outbox.open)
        if sources == async_sources(hass, entry.options):
            return Backlog(
                hass=hass, entry=entry, cursor=cursor, outbox=outbox, until=until
            )


async def _async_recorded(hass: HomeAssistant) -> float:
    """Return the Unix time until which all rows are in the database."""
    until = time.time()
    await async_recorded(hass)
    return until


class EndpointCoordinator(DataUpdateCoordinator[Status]):
    """Sends readings to one server."""

    config_entry: EndpointConfigEntry

    def __init__(
        self, hass: HomeAssistant, entry: EndpointConfigEntry, cursor: Cursor
    ) -> None:
        """Prepare deliveries without sending anything."""
        super().__init__(
            hass,
            LOGGER,
            config_entry=entry,
            name=entry.title,
            update_interval=DELIVERY_INTERVAL,
        )
        zone = dt_util.get_default_time_zone()
        self.backoff = Backoff()
        self.cursor = cursor
        self.is_connected: bool | None = None
        """Whether the last batch arrived; None before the first one."""
        self.data = Status.of(cursor.progress)
        self._delivery = Delivery(
            ENDPOINTS[entry.data[CONF_PROTOCOL]](entry.data, zone),
            async_get_clientsession(hass, entry.data.get(CONF_VERIFY_SSL, True)),
            cursor,
            entry.options.get(CONF_BATCH_SIZE, DEFAULT_BATCH_SIZE),
            partial(_async_job, hass),
        )
        self._status_at = 0.0
        """The monotonic time of the last status update."""

    @override
    async def _async_update_data(self) -> Status:
        """Send new readings; update the status whether or not they arrive."""
        if DATA_INSTANCE not in self.hass.data:
            raise update_failed(Refusal.NO_RECORDER)
        try:
            backlog = await async_open_backlog(
                self.hass, self.config_entry, self.cursor
            )
            if self.cursor.is_new:
                await backlog.async_restart()
            await self._async_update_status(backlog)
            await backlog.async_apply_answer()
            if backlog.has_cursor_moved:
                await self._async_update_status(backlog)
            await self._async_deliver(backlog)
        except UpdateFailed:
            raise
        except HomeAssistantError as err:
            raise as_update_failed(err) from err
        return self.data

    async def _async_update_status(self, backlog: Backlog) -> None:
        """Count the waiting readings and show the number."""
        waiting = await backlog.async_count()
        self._status_at = time.monotonic()
        self.data = Status.of(self.cursor.progress, waiting)
        self.async_update_listeners()

    async def _async_deliver(self, backlog: Backlog) -> None:
        """Send all readings; raise UpdateFailed with the time of the next try.

        While the server wants to be left alone, only status and issues are updated.
        """
        if self.backoff.is_allowed:
            await self._async_send(backlog)
        if backlog.has_cursor_moved:
            await self._async_update_status(backlog)
        error = self.backoff.error
        async_update_expiry_issue(
            self.hass,
            self.config_entry,
            self.data.oldest,
            self.data.waiting,
            is_failing=error is not None,
        )
        if error is not None:
            raise update_failed(
                error.failure, retry_after=self.backoff.retry_after, **error.details
            )

    async def _async_send(self, backlog: Backlog) -> None:
        """Send all readings; note the error if a batch does not arrive."""
        try:
            await self._delivery.run(backlog.outbox, backlog.until, self._batch_arrived)
        except DeliveryError as err:
            LOGGER.debug("%s: a batch did not arrive", self.name, exc_info=err)
            self._async_set_connected(is_connected=False)
            if err.failure is Failure.ENDPOINT_UNAUTHORISED:
                self.config_entry.async_start_reauth(self.hass)
            self.backoff.failed(err)
        else:
            self.backoff.succeeded()

    @callback
    def _batch_arrived(self, readings: int, refused: int) -> None:
        """Update the status after a batch, and the listeners from time to time."""
        if refused:
            async_update_refusal_issue(
                self.hass, self.config_entry, self.cursor.progress
            )
        waiting = max(0, (self.data.waiting or 0) - readings)
        self.data = replace(
            Status.of(self.cursor.progress), waiting=waiting, oldest=self.data.oldest
        )
        self.backoff.batch_arrived()
        self._async_set_connected(is_connected=True)
        if time.monotonic() - self._status_at > STATUS_INTERVAL_SECONDS:
            self._status_at = time.monotonic()
            self.async_update_listeners()

    @callback
    def _async_set_connected(self, *, is_connected: bool) -> None:
        """Show at once that the connection was lost, or that batches arrive again."""
        if self.is_connected is is_connected:
            return
        self.is_connected = is_connected
        self.async_update_listeners()
        if is_connected:  # The login works, so the forms that ask for it can close.
            flows = self.config_entry.async_get_active_flows(self.hass, {SOURCE_REAUTH})
            for flow in list(flows):
                self.hass.config_entries.flow.async_abort(flow["flow_id"])


async def _async_job[*Arguments, Result](
    hass: HomeAssistant,
    job: Callable[[*Arguments], Result],
    *arguments: *Arguments,
) -> Result:
    """Run a function that uses the database, in a thread of the recorder."""
    return await get_instance(hass).async_add_executor_job(job, *arguments)
