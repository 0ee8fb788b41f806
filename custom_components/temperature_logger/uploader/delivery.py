"""Brings readings to a server, batch by batch, until the first that does not arrive."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
import time
from typing import Any, Final, NamedTuple

import aiohttp

from ..history import iso
from .cursor import REMEMBERED, Cursor, Progress
from .endpoints import Endpoint, Request
from .errors import ABOUT_THE_BATCH, DeliveryError, Failure
from .outbox import Outbox
from .points import Batch, Point, first_batch

# Readings of the first batch after one that did not arrive.
SMALL: Final = 10
# Seconds between two batches, for whatever else Home Assistant has to do.
PAUSE: Final = 0.002
# Readings that are refused one after the other before it is asked whether any is taken.
DOUBTFUL: Final = 10

type Job = Callable[..., Awaitable[Any]]
"""Runs a function that blocks."""
type Newest = Callable[[], Point | None]
"""Reads the newest reading."""
type Refusal = tuple[Point, DeliveryError]


class Ready(NamedTuple):
    """A batch that can be posted."""

    batch: Batch
    request: Request
    is_full: bool
    """Whether it will be the same after a restart."""


class Delivery:
    """One server's way of getting its readings; nothing is sent twice at a time."""

    def __init__(
        self,
        endpoint: Endpoint,
        session: aiohttp.ClientSession,
        cursor: Cursor,
        size: int,
        job: Job,
    ) -> None:
        """Begin with full batches."""
        self._cursor = cursor
        self._end = 0
        """Where the last page ended."""
        self._endpoint = endpoint
        self._careful = 0
        """Readings of the next batch, after one that did not arrive."""
        self._is_open = False
        """Whether the last batch may have arrived, though nobody said so."""
        self._job = job
        self._session = session
        self._limit = self._size = size
        self._taken: Point | None = None
        """A reading of this batch, or of later, that the server has taken alone."""

    async def run(
        self, outbox: Outbox, until: float, arrived: Callable[[int, int], None]
    ) -> None:
        """Send all readings whose rows are there, which they are until a Unix time.

        After each batch it is told how many that were, and how many of them the server
        refused. Raises DeliveryError for a batch that did not arrive, and
        HomeAssistantError where the recorder fails; then the cursor stands before it.
        """
        ready = self._ready(outbox, until)
        # One after the other: a thread that works would hold up the event loop.
        while (one := await self._job(next, ready, None)) is not None:
            refused = await self._deliver(one, partial(outbox.last, until))
            await self._arrived(one.batch, refused)
            arrived(len(one.batch.points), len(refused))
            await asyncio.sleep(PAUSE)
        # Behind all that others have written, too.
        self._cursor.progress.state_id = max(self._cursor.progress.state_id, self._end)

    def _ready(self, outbox: Outbox, until: float) -> Iterator[Ready]:
        """Yield batch after batch; what takes long is done here, in a thread."""
        progress = self._cursor.progress
        cursor, pending = progress.state_id, progress.pending
        found: list[Point] = []
        is_last = False
        open_until = 0
        while found or not is_last:
            size = self._careful or self._limit
            if not is_last and (pending is not None or len(found) <= size):
                page = outbox.page(cursor, until, pending)
                found += page.points
                cursor, is_last = page.end, page.is_last
                if pending is None or not is_last:
                    continue
                # This was on its way, and nothing that came since.
                pending, is_last = None, False
                size = self._careful or len(found)
                if not found:
                    continue
            batch, found = first_batch(found, size, open_until, cursor)
            open_until = max([open_until, *(point.last for point in batch.points)])
            is_full = bool(found) and size == self._size
            yield Ready(batch, self._endpoint.prepare(batch.points), is_full)
        self._end = cursor

    async def _deliver(self, ready: Ready, newest: Newest) -> list[Refusal]:
        """Send a batch, in parts if that helps; return what is refused for good."""
        progress = self._cursor.progress
        if not ready.is_full and ready.batch.end not in (None, progress.pending):
            # After a crash it has to be the same one, with the same key.
            progress.pending = ready.batch.end
            await self._cursor.async_save()
        refused: list[Refusal] = []
        self._taken = None
        try:
            await self._endpoint.send(self._session, ready.request)
        except DeliveryError as err:
            if err.failure not in ABOUT_THE_BATCH:
                await self._async_failed(ready.batch, err)
                raise
            await self._send_parts(ready.batch.points, err, refused, newest)
        self._careful, self._is_open = 0, False
        return await self._confirmed(refused, newest) if refused else []

    async def _async_failed(self, batch: Batch, err: DeliveryError) -> None:
        """Begin with little the next time, unless all of this may have arrived.

        Then it is the same batch once more, with the same key.
        """
        is_again, self._is_open = self._is_open, err.is_open
        self._careful = 0
        if is_again or not err.is_open:
            self._careful = min(self._limit, SMALL)
        elif batch.end is not None:
            self._cursor.progress.pending = batch.end
            await self._cursor.async_save()

    async def _send_parts(
        self,
        points: list[Point],
        refusal: DeliveryError,
        refused: list[Refusal],
        newest: Newest,
    ) -> None:
        """Find the readings that are refused alone, and send all others."""
        if refusal.failure is Failure.ENDPOINT_TOO_LARGE:
            self._limit = max(1, len(points) // 2)
        if len(points) == 1:
            refused.append((points[0], refusal))
            if len(refused) == DOUBTFUL and self._taken is None:
                await self._prove(refused, newest)
            return
        half = len(points) // 2
        for part in (points[:half], points[half:]):
            if (again := await self._refusal(part)) is not None:
                await self._send_parts(part, again, refused, newest)

    async def _confirmed(self, refused: list[Refusal], newest: Newest) -> list[Refusal]:
        """Return what is refused once more, while others are taken before and after.

        A server that refused everything for a while does not make readings wrong.
        """
        await self._prove(refused, newest)
        again = [(point, await self._refusal([point])) for point, _ in refused]
        await self._prove(refused, newest)
        return [(point, err) for point, err in again if err is not None]

    async def _prove(self, refused: list[Refusal], newest: Newest) -> None:
        """Send a reading that was taken, or else the newest one of all.

        Raises DeliveryError if that is refused, too: then it is not the readings that
        are wrong, and none is set aside.
        """
        point = self._taken or await self._job(newest)
        if point is None or point.first == refused[-1][0].first:
            raise refused[-1][1]
        if (err := await self._refusal([point])) is not None:
            raise err

    async def _refusal(self, points: list[Point]) -> DeliveryError | None:
        """Send some readings; return the error if the server does not want them.

        Raises DeliveryError if they did not arrive for another reason.
        """
        request = await self._job(self._endpoint.prepare, points)
        try:
            await self._endpoint.send(self._session, request)
        except DeliveryError as err:
            if err.failure not in ABOUT_THE_BATCH:
                raise
            return err
        self._taken = points[-1]
        return None

    async def _arrived(self, batch: Batch, refused: list[Refusal]) -> None:
        """Move the cursor behind a batch."""
        progress = self._cursor.progress
        if refused:
            _set_aside(progress, refused)
        if batch.end is not None:
            progress.state_id, progress.pending = batch.end, None
        progress.delivered += len(batch.points) - len(refused)
        progress.delivered_at = time.time()
        await self._cursor.async_save()


def _set_aside(progress: Progress, refused: list[Refusal]) -> None:
    """Remember what was refused of the batch behind the cursor."""
    times = [point.started for point, _ in refused]
    if progress.refused_after is None:
        progress.refused_after = progress.state_id
    times += filter(None, (progress.refused_since, progress.refused_until))
    progress.refused_since, progress.refused_until = min(times), max(times)
    progress.refused += len(refused)
    told = [_told(point, err) for point, err in refused]
    progress.refusals = [*progress.refusals, *told][-REMEMBERED:]


def _told(point: Point, err: DeliveryError) -> dict[str, Any]:
    """Return what is remembered of a reading that was refused."""
    return {
        "collected_at": iso(point.collected_at),
        "device": point.source.device,
        "device_id": point.source.device_id,
        "values": point.values,
        "reason": err.details.get("answer", str(err.failure)),
    }
