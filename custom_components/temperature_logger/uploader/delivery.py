"""Sends readings to a server, batch by batch, until one does not arrive."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
import time
from typing import Any, Final, NamedTuple, Protocol

import aiohttp

from .cursor import MAX_REFUSALS, Cursor, Progress
from .endpoints import Endpoint, Post
from .errors import ABOUT_THE_BATCH, DeliveryError, Failure
from .points import Batch, Page, Point, first_batch

# Readings in the first batch after a failure.
RETRY_BATCH_SIZE: Final = 10
# The pause after a batch, in seconds, so that the rest of Home Assistant runs.
BATCH_PAUSE_SECONDS: Final = 0.002
# If a server refuses this many readings and accepts none, it is sent a good one: it may
# refuse all readings.
REFUSALS_BEFORE_PROOF: Final = 10

type Job = Callable[..., Awaitable[Any]]
"""Runs a blocking function in a thread."""
type ReadNewest = Callable[[], Point | None]
"""Reads the newest reading."""
type RefusedReading = tuple[Point, DeliveryError]


class PageSource(Protocol):
    """Gives the readings to send, in the order of their rows."""

    def page(self, cursor: int, until: float, limit: int | None = None) -> Page:
        """Return the next readings after the cursor, up to the row of the limit."""

    def last(self, until: float) -> Point | None:
        """Return the newest reading, if it is recent."""


class ReadyBatch(NamedTuple):
    """A batch that can be posted."""

    batch: Batch
    post: Post
    is_full: bool
    """Whether the same batch is built again after a restart."""


class Delivery:
    """Sends the readings of one endpoint; runs must not overlap."""

    def __init__(
        self,
        endpoint: Endpoint,
        session: aiohttp.ClientSession,
        cursor: Cursor,
        size: int,
        job: Job,
    ) -> None:
        """Start with full batches."""
        self._cursor = cursor
        self._end = 0
        """The row at which the last page ended."""
        self._endpoint = endpoint
        self._retry_size = 0
        """Readings in the next batch after a failure; 0 for a full batch."""
        self._may_have_arrived = False
        """Whether the server may have stored the last batch without confirming it."""
        self._job = job
        self._session = session
        self._max_size = self._size = size
        self._accepted: Point | None = None
        """The last reading that the server accepted since it refused this batch."""

    async def run(
        self, source: PageSource, until: float, arrived: Callable[[int, int], None]
    ) -> None:
        """Send all readings that are complete at a Unix time.

        After each batch, `arrived` is called with the number of its readings and the
        number of those that the server refused. Raises DeliveryError for a batch that
        did not arrive, and HomeAssistantError if the recorder fails; the cursor then
        stands before that batch.
        """
        batches = self._batches(source, until)
        # Read and send in turn: a thread that reads slows the event loop.
        while (ready := await self._job(next, batches, None)) is not None:
            refused = await self._deliver(ready, partial(source.last, until))
            await self._move_cursor(ready.batch, refused)
            arrived(len(ready.batch.points), len(refused))
            await asyncio.sleep(BATCH_PAUSE_SECONDS)
        # The rows after the last reading are of other entities: skip them next time.
        self._cursor.progress.state_id = max(self._cursor.progress.state_id, self._end)

    def _batches(self, source: PageSource, until: float) -> Iterator[ReadyBatch]:
        """Yield the batches one by one; it does the slow work, in a thread."""
        progress = self._cursor.progress
        cursor, pending = progress.state_id, progress.pending
        points: list[Point] = []
        is_last = False
        open_until = 0
        while points or not is_last:
            size = self._retry_size or self._max_size
            if not is_last and (pending is not None or len(points) <= size):
                page = source.page(cursor, until, pending)
                points += page.points
                cursor, is_last = page.end, page.is_last
                if pending is None or not is_last:
                    continue
                # The pending batch is complete: newer readings are not added to it.
                pending, is_last = None, False
                size = self._retry_size or len(points)
                if not points:
                    continue
            batch, points = first_batch(points, size, open_until, cursor)
            open_until = max([open_until, *(point.last for point in batch.points)])
            is_full = bool(points) and size == self._size
            yield ReadyBatch(batch, self._endpoint.prepare(batch.points), is_full)
        self._end = cursor

    async def _deliver(
        self, ready: ReadyBatch, read_newest: ReadNewest
    ) -> list[RefusedReading]:
        """Send a batch, in parts if the server refuses it; return refused readings."""
        progress = self._cursor.progress
        if not ready.is_full and ready.batch.end not in (None, progress.pending):
            # After a crash, the same batch with the same key has to be sent again.
            progress.pending = ready.batch.end
            await self._cursor.async_save()
        refused: list[RefusedReading] = []
        self._accepted = None
        try:
            await self._endpoint.send(self._session, ready.post)
        except DeliveryError as err:
            if err.failure not in ABOUT_THE_BATCH:
                await self._prepare_retry(ready.batch, err)
                raise
            await self._send_parts(ready.batch.points, err, refused, read_newest)
        self._retry_size, self._may_have_arrived = 0, False
        return await self._confirm_refusals(refused, read_newest) if refused else []

    async def _prepare_retry(self, batch: Batch, err: DeliveryError) -> None:
        """Repeat the batch if the server may have stored it; else send a small one.

        It is repeated once, with the same idempotency key; after that, a small one
        follows.
        """
        is_second, self._may_have_arrived = self._may_have_arrived, err.may_have_arrived
        self._retry_size = 0
        if is_second or not err.may_have_arrived:
            self._retry_size = min(self._max_size, RETRY_BATCH_SIZE)
        elif batch.end is not None:
            self._cursor.progress.pending = batch.end
            await self._cursor.async_save()

    async def _send_parts(
        self,
        points: list[Point],
        error: DeliveryError,
        refused: list[RefusedReading],
        read_newest: ReadNewest,
    ) -> None:
        """Halve a refused batch until each reading is sent or refused alone."""
        if error.failure is Failure.ENDPOINT_TOO_LARGE:
            self._max_size = max(1, len(points) // 2)
        if len(points) == 1:
            refused.append((points[0], error))
            if len(refused) == REFUSALS_BEFORE_PROOF and self._accepted is None:
                await self._prove(refused, read_newest)
            return
        half = len(points) // 2
        for part in (points[:half], points[half:]):
            if (part_error := await self._try(part)) is not None:
                await self._send_parts(part, part_error, refused, read_newest)

    async def _confirm_refusals(
        self, refused: list[RefusedReading], read_newest: ReadNewest
    ) -> list[RefusedReading]:
        """Send refused readings again; return those that are refused again.

        Before and after them, the server must accept a good one. If it does not, it
        refuses everything for a while, and the refused readings may be good.
        """
        await self._prove(refused, read_newest)
        results = [(point, await self._try([point])) for point, _ in refused]
        await self._prove(refused, read_newest)
        return [(point, err) for point, err in results if err is not None]

    async def _prove(
        self, refused: list[RefusedReading], read_newest: ReadNewest
    ) -> None:
        """Check that the server accepts the last accepted reading, or the newest one.

        Raises DeliveryError if it refuses that one as well. The server is then at
        fault, and no reading is set aside.
        """
        point = self._accepted or await self._job(read_newest)
        if point is None or point.first == refused[-1][0].first:
            raise refused[-1][1]
        if (err := await self._try([point])) is not None:
            raise err

    async def _try(self, points: list[Point]) -> DeliveryError | None:
        """Send some readings; return the error if the server refuses them.

        Raises DeliveryError if they do not arrive for another reason.
        """
        post = await self._job(self._endpoint.prepare, points)
        try:
            await self._endpoint.send(self._session, post)
        except DeliveryError as err:
            if err.failure not in ABOUT_THE_BATCH:
                raise
            return err
        self._accepted = points[-1]
        return None

    async def _move_cursor(self, batch: Batch, refused: list[RefusedReading]) -> None:
        """Move the cursor behind a batch, and save it."""
        progress = self._cursor.progress
        if refused:
            _set_aside(progress, refused)
        if batch.end is not None:
            progress.state_id, progress.pending = batch.end, None
        progress.delivered += len(batch.points) - len(refused)
        progress.delivered_at = time.time()
        await self._cursor.async_save()


def _set_aside(progress: Progress, refused: list[RefusedReading]) -> None:
    """Note the refused readings of the batch after the cursor."""
    times = [point.started for point, _ in refused]
    if progress.refused_after is None:
        progress.refused_after = progress.state_id
    times += filter(None, (progress.refused_since, progress.refused_until))
    progress.refused_since, progress.refused_until = min(times), max(times)
    progress.refused += len(refused)
    summaries = [_summary(point, err) for point, err in refused]
    progress.refusals = [*progress.refusals, *summaries][-MAX_REFUSALS:]


def _summary(point: Point, err: DeliveryError) -> dict[str, Any]:
    """Return a refused reading and the reason, as diagnostics show them."""
    return {
        "collected_at": point.collected_at_utc,
        "device": point.source.device,
        "device_id": point.source.device_id,
        "values": point.values,
        "reason": err.details.get("answer", str(err.failure)),
    }
