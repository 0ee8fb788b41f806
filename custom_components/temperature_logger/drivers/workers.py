"""Threads for the short jobs that block: opening, one command, one transaction.

They are our own because a job can stay in the kernel for seconds and cannot be
cancelled there: a hidraw write to a stick whose control pipe is dead takes 5 s,
even on a node opened non-blocking.
"""

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, Final

from .errors import DeviceAccessError, Fault

# A poll takes 0.3 s at most and a fresh opening 1.5 s. Six leave a write that hangs in
# the kernel, for 5 s, the time to end before the next one is tried.
DEADLINE: Final = 6
# Threads start when there is work. Nine that are not set apart keep a poll of 333
# sticks, whose writes take 3 ms of bus time each, near a tenth of a second; more would
# only fight for the interpreter.
SIZE: Final = 12


class Workers:
    """The pool; devices whose last poll failed share a quarter of it."""

    def __init__(self) -> None:
        """Make the pool; no thread starts yet."""
        self.failing = ThreadPoolExecutor(SIZE // 4, "temperature_logger_failing")
        self.healthy = ThreadPoolExecutor(SIZE - SIZE // 4, "temperature_logger")

    def close(self) -> None:
        """Wait for the threads to end; jobs that did not begin are dropped."""
        self.failing.shutdown(cancel_futures=True)
        self.healthy.shutdown(cancel_futures=True)


class Lane:
    """One device's way to the workers: one job at a time."""

    def __init__(self, workers: Workers) -> None:
        """Share the workers with the other devices."""
        self.failing = False
        self._job: Future[Any] | None = None
        self._workers = workers

    @property
    def busy(self) -> bool:
        """Whether a job runs, perhaps one that its caller gave up."""
        return self._job is not None and not self._job.done()

    async def run[T, *Ts](
        self,
        job: Callable[[*Ts], T],
        *args: *Ts,
        undo: Callable[[T], object] | None = None,
    ) -> T:
        """Run a job on a worker and return its result.

        If the caller gives up while the job runs, undo gets the result once there
        is one. Raises DeviceAccessError while an earlier job still hangs.
        """
        if self.busy:
            raise DeviceAccessError(Fault.HANGING)
        pool = self._workers.failing if self.failing else self._workers.healthy
        self._job = future = pool.submit(job, *args)
        try:
            return await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            if undo is not None and not future.cancelled():
                self.finish(partial(_undo, future, undo))
            raise
        finally:
            # An error keeps this frame alive: were it to keep the error, too, what the
            # job had opened would stay open until the garbage collector comes.
            if not self.busy:
                self._job = None
            del future

    def finish(self, job: Callable[[], None]) -> Future[None]:
        """Run a last job as soon as nothing else of this device runs."""
        last: Future[None] = Future()
        last.set_running_or_notify_cancel()  # Who waits may give up; the job is done.

        def run_last(_: object = None) -> None:
            try:
                job()
            finally:
                last.set_result(None)

        if self._job is not None and self.busy:
            self._job.add_done_callback(run_last)
        else:
            self._workers.healthy.submit(run_last)
        self._job = last
        return last


async def within_deadline[T](work: Awaitable[T]) -> T:
    """Return what comes of it; raise DeviceAccessError for a device that hangs."""
    try:
        async with asyncio.timeout(DEADLINE):
            return await work
    except TimeoutError as err:
        raise DeviceAccessError(Fault.HANGING) from err


def _undo[T](ended: Future[T], undo: Callable[[T], object]) -> None:
    """Give back what an abandoned job got."""
    if not ended.cancelled() and ended.exception() is None:
        undo(ended.result())
