"""One coordinator per endpoint: sends what is new, and tells how far that is."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
import random
import time
from typing import Any, Final, override

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
    CONF_DEVICES,
    CONF_LABELS,
    CONF_PAST,
    CONF_PROTOCOL,
    DEFAULT_BATCH_SIZE,
    LOGGER,
    Refusal,
)
from ..history import async_chosen
from ..history.recorder import async_recorded
from ..translation import update_failed
from .cursor import Cursor
from .delivery import Delivery
from .endpoints import ENDPOINTS
from .errors import DeliveryError, Failure
from .expiry import async_tell_of_expiry, async_tell_of_loss, async_tell_of_refusal
from .outbox import Outbox, Waiting
from .points import FUTURE, Source

# Readings come every 5 minutes; a minute later they are elsewhere, too.
EVERY: Final = timedelta(minutes=1)
# Seconds between two looks at how much is waiting, while a lot of it is sent.
LOOK_EVERY: Final = 30
# The first pause after a failure, in seconds, and the longest.
FIRST_PAUSE: Final = 5
LONGEST_PAUSE: Final = 300

type EndpointConfigEntry = ConfigEntry[EndpointCoordinator]


@dataclass(frozen=True, kw_only=True)
class Status:
    """What an owner sees of an endpoint."""

    waiting: int | None = None
    """Readings; None before it is known."""
    oldest: float | None = None
    """Unix time of the first of them."""
    delivered: int = 0
    delivered_at: float | None = None
    """Unix time."""


class EndpointCoordinator(DataUpdateCoordinator[Status]):
    """Sends readings to one server."""

    config_entry: EndpointConfigEntry

    def __init__(
        self, hass: HomeAssistant, entry: EndpointConfigEntry, cursor: Cursor
    ) -> None:
        """Take the settings; nothing is sent yet."""
        super().__init__(
            hass, LOGGER, config_entry=entry, name=entry.title, update_interval=EVERY
        )
        zone = dt_util.get_default_time_zone()
        self.cursor = cursor
        self.is_connected: bool | None = None
        """Whether the last batch arrived; None before the first one."""
        self.data = self._status(None)
        self._delivery = Delivery(
            ENDPOINTS[entry.data[CONF_PROTOCOL]](entry.data, zone),
            async_get_clientsession(hass, entry.data.get(CONF_VERIFY_SSL, True)),
            cursor,
            entry.options.get(CONF_BATCH_SIZE, DEFAULT_BATCH_SIZE),
            self._async_job,
        )
        self._failures = 0
        self._looked_at = 0.0
        self._next_at = 0.0
        """Until when the server wants to be left in peace, by the monotonic clock."""
        self._pause_until = 0.0
        """Until when it is not tried again by itself, by the same clock."""
        self._refusal: tuple[Failure, dict[str, str]] | None = None
        """Why the last try failed, with what its text quotes."""

    @override
    async def _async_update_data(self) -> Status:
        """Send what is new; tell how much is left, whether or not that went well."""
        if DATA_INSTANCE not in self.hass.data:
            raise update_failed(Refusal.NO_RECORDER)
        try:
            outbox, until = await self._async_open()
            if self.cursor.is_new:
                await self._async_begin(outbox)
            await self._async_look(outbox, until)
            await self._async_heed(outbox)
            if self._has_moved:
                await self._async_look(outbox, until)
            await self._async_deliver(outbox, until)
        except UpdateFailed:
            raise
        except HomeAssistantError as err:
            raise UpdateFailed(
                translation_domain=err.translation_domain,
                translation_key=err.translation_key,
                translation_placeholders=err.translation_placeholders,
            ) from err
        return self.data

    async def _async_open(self) -> tuple[Outbox, float]:
        """Return what is to be sent, and the Unix time until which all of it is there.

        An entity that comes or is renamed meanwhile is looked up once more.
        """
        while True:
            sources = async_sources(self.hass, self.config_entry.options)
            until = await self._async_recorded()
            outbox = Outbox(self.hass, sources)
            await self._async_job(outbox.open)
            if sources == async_sources(self.hass, self.config_entry.options):
                return outbox, until

    async def _async_recorded(self) -> float:
        """Return the Unix time until which all rows are in the database."""
        until = time.time()
        await async_recorded(self.hass)
        return until

    async def _async_begin(self, outbox: Outbox) -> None:
        """Begin with the first row that the owner wants, whatever was sent."""
        begin = 0
        if not self.config_entry.data.get(CONF_PAST, True):
            added = self.config_entry.created_at.timestamp()
            latest = time.time() + FUTURE
            begin = await self._async_job(outbox.before, added, latest)
        progress = self.cursor.progress
        progress.state_id, progress.pending = begin, None
        progress.forget_refused()
        await self.cursor.async_save()

    async def _async_heed(self, outbox: Outbox) -> None:
        """Do what the owner says of what was refused, or ask while it is there.

        The question is not left to the registry of issues, which is saved later.
        """
        progress = self.cursor.progress
        last = progress.refused_until
        if progress.is_again:
            await self.cursor.async_go_back()
        elif last is not None and not await self._async_job(outbox.has, last):
            await self.cursor.async_answer(is_again=False)
        async_tell_of_refusal(self.hass, self.config_entry, progress)

    async def _async_look(self, outbox: Outbox, until: float) -> None:
        """Find out what is waiting, and whether some of it was deleted."""
        progress = self.cursor.progress
        if await self._async_job(
            outbox.is_numbered_anew, progress.newest, progress.newest_at
        ):
            await self._async_begin(outbox)
        waiting = await self._async_job(outbox.waiting, progress.state_id)
        before = progress.oldest
        if (
            before is not None
            and before != waiting.oldest
            and progress.oldest_after == progress.state_id
            and not await self._async_job(outbox.has, before)
        ):
            now = until if waiting.oldest is None else waiting.oldest
            async_tell_of_loss(self.hass, self.config_entry, before, now)
        held = progress.unsent_since
        progress.oldest, progress.oldest_after = waiting.oldest, progress.state_id
        progress.newest, progress.newest_at = outbox.newest, outbox.newest_at
        progress.known_until = until
        if progress.unsent_since < held:  # What is remembered never holds too little.
            await self.cursor.async_save()
        self._looked_at = time.monotonic()
        self.data = self._status(waiting)
        self.async_update_listeners()

    @property
    def _has_moved(self) -> bool:
        """Whether the cursor stands elsewhere than at the last look."""
        progress = self.cursor.progress
        return progress.state_id != progress.oldest_after

    async def _async_deliver(self, outbox: Outbox, until: float) -> None:
        """Send all there is; raise UpdateFailed with the time of the next try.

        A server that wants to be left in peace for long is; what is waiting is looked
        at meanwhile, for it may have to be told of.
        """
        if time.monotonic() >= self._next_at:
            await self._async_try(outbox, until)
        if self._has_moved:
            await self._async_look(outbox, until)
        async_tell_of_expiry(
            self.hass,
            self.config_entry,
            self.data.oldest,
            self.data.waiting,
            is_failing=self._refusal is not None,
        )
        if self._refusal is None:
            return
        failure, details = self._refusal
        now = time.monotonic()
        rest = self._next_at - now + 1  # The timer may come a second early.
        raise update_failed(
            failure,
            retry_after=min(max(self._pause_until - now, rest), LONGEST_PAUSE),
            **details,
        )

    async def _async_try(self, outbox: Outbox, until: float) -> None:
        """Send all there is; remember why that failed, if it did."""
        try:
            await self._delivery.run(outbox, until, self._arrived)
        except DeliveryError as err:
            LOGGER.debug("%s: a batch did not arrive", self.name, exc_info=err)
            self._async_connected(is_connected=False)
            if err.failure is Failure.ENDPOINT_UNAUTHORISED:
                self.config_entry.async_start_reauth(self.hass)
            self._refusal = err.failure, err.details
            now = time.monotonic()
            self._pause_until = now + pause_after(self._failures)
            self._next_at = now + not_before(err.retry_after)
            self._failures += 1
        else:
            self._failures, self._refusal = 0, None

    @callback
    def _arrived(self, readings: int, refused: int) -> None:
        """Tell of what was refused and, now and then, how far it is."""
        if refused:
            async_tell_of_refusal(self.hass, self.config_entry, self.cursor.progress)
        waiting = max(0, (self.data.waiting or 0) - readings)
        self.data = replace(
            self._status(None), waiting=waiting, oldest=self.data.oldest
        )
        self._failures = 0
        self._async_connected(is_connected=True)
        if time.monotonic() - self._looked_at > LOOK_EVERY:
            self._looked_at = time.monotonic()
            self.async_update_listeners()

    @callback
    def _async_connected(self, *, is_connected: bool) -> None:
        """Tell at once whether batches arrive, where that has changed."""
        if self.is_connected is is_connected:
            return
        self.is_connected = is_connected
        self.async_update_listeners()
        if is_connected:  # Whatever was wrong, nobody needs to log in any more.
            flows = self.config_entry.async_get_active_flows(self.hass, {SOURCE_REAUTH})
            for flow in list(flows):
                self.hass.config_entries.flow.async_abort(flow["flow_id"])

    def _status(self, waiting: Waiting | None) -> Status:
        """Return what an owner sees."""
        progress = self.cursor.progress
        return Status(
            waiting=None if waiting is None else waiting.readings,
            oldest=None if waiting is None else waiting.oldest,
            delivered=progress.delivered,
            delivered_at=progress.delivered_at,
        )

    async def _async_job[*Arguments, Result](
        self, job: Callable[[*Arguments], Result], *arguments: *Arguments
    ) -> Result:
        """Do something with the database, in the recorder's threads."""
        return await get_instance(self.hass).async_add_executor_job(job, *arguments)


def pause_after(failures: int) -> float:
    """Return the seconds to wait after so many failures before this one.

    Chance keeps many machines from asking one server at the same moment.
    """
    longest = min(LONGEST_PAUSE, float(FIRST_PAUSE << min(failures, 10)))
    return longest * random.uniform(0.5, 1)  # noqa: S311 - It keeps no secret.


def not_before(seconds: float) -> float:
    """Return the seconds that a server wants, and some more, not the same for all."""
    return seconds * random.uniform(1, 1.1)  # noqa: S311 - As above.


@callback
def async_sources(hass: HomeAssistant, options: Mapping[str, Any]) -> dict[str, Source]:
    """Return what each entity shows whose readings are sent, by an entry's options."""
    targets = async_chosen(
        hass, options.get(CONF_DEVICES, []), options.get(CONF_LABELS, [])
    )
    return {
        entity_id: Source(target.device_id, target.name, quantity)
        for target in targets
        for quantity, entity_id in target.entities.items()
    }
