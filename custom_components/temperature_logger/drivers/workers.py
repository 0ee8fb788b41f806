"""Threads for the short jobs that block: opening, one command, one transaction.

They are our own because a job can stay in the kernel for seconds and cannot be
cancelled there: a hidraw write to a stick whose control pipe is dead takes 5 s,
even on a node opened non-blocking.
"""

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from functools import partial
from queue import SimpleQueue
from threading import Lock, Thread, current_thread
from time import monotonic
from typing import Any, Final

from .errors import DeviceAccessError, Fault

# A poll takes 0.3 s at most and a fresh opening 1.5 s. Six leave a write that hangs in
# the kernel, for 5 s, the time to end before the next one is tried.
DEADLINE: Final = 6
# Threads start when there is work. Nine that are not set apart keep a poll of 333
# sticks, whose writes take 3 ms of bus time each, near a tenth of a second; more would
# only fight for the interpreter.
SIZE: Final = 12


# Seconds after which a job hangs; opening a node takes 0.05. It waits in the kernel and
# fights for nothing, so its thread counts no more, and the next job gets another one.
# Else a poll in which many devices begin to hang would be lost for all.
TURN: Final = 0.1
# Seconds that a job is let end before its device counts as hanging to the next one.
GRACE: Final = 0.5

type Task = tuple[Future[Any], Callable[[], Any]]


class Pool:
    """Threads that take jobs in turn, and one more for each job that hangs."""

    def __init__(self, size: int, name: str) -> None:
        """Make the pool; threads start when there is work."""
        self._begun: dict[Thread, float] = {}
        """When each thread that has a job began with it."""
        self._closed = False
        self._idle = 0
        """Threads that have no job, nor one that waits for them."""
        self._lock = Lock()
        self._name = name
        self._size = size
        self._tasks: SimpleQueue[Task | None] = SimpleQueue()
        self._threads: set[Thread] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._waiting = 0
        """Jobs that have no thread yet."""

    @property
    def busy(self) -> int:
        """How many jobs there are that have not ended."""
        return len(self._begun) + self._tasks.qsize()

    @property
    def threads(self) -> int:
        """How many threads there are."""
        return len(self._threads)

    def submit(self, job: Callable[[], Any]) -> Future[Any]:
        """Have a thread do a job, soon."""
        future: Future[Any] = Future()
        with self._lock:
            if self._closed:
                raise RuntimeError("The workers have ended")
            self._tasks.put((future, job))
            if self._idle:
                self._idle -= 1
            elif self._may_be(len(self._threads)):
                self._start_thread()
            else:
                self._waiting += 1
        return future

    def watch(self, loop: asyncio.AbstractEventLoop) -> None:
        """See to it that no job waits for one that hangs."""
        if self._timer is None and self._waiting:
            self._timer = loop.call_later(TURN, self._relieve, loop)

    def close(self) -> None:
        """Begin no job any more; those that did not begin are dropped."""
        if self._timer is not None:
            self._timer.cancel()
        with self._lock:
            self._closed, self._waiting = True, 0
            dropped = [self._tasks.get() for _ in range(self._tasks.qsize())]
            for _ in self._threads:
                self._tasks.put(None)
        for task in filter(None, dropped):
            task[0].cancel()

    def join(self) -> None:
        """Wait until all jobs and threads have ended."""
        with self._lock:
            threads = list(self._threads)
        for thread in threads:
            thread.join()

    def _relieve(self, loop: asyncio.AbstractEventLoop) -> None:
        """Start the threads that stand in for those whose jobs hang."""
        self._timer = None
        with self._lock:
            while self._waiting and self._may_be(len(self._threads)):
                self._waiting -= 1
                self._start_thread()
        self.watch(loop)

    def _start_thread(self) -> None:
        """Start a thread for a job; it is not to hold up the end of Home Assistant."""
        thread = Thread(target=self._work, name=self._name, daemon=True)
        self._threads.add(thread)
        thread.start()

    def _may_be(self, others: int) -> bool:
        """Return whether there may be a thread beside so many others."""
        if others < self._size:
            return True
        late = monotonic() - TURN
        return others < self._size + sum(begun < late for begun in self._begun.values())

    def _work(self) -> None:
        """Do jobs, as a thread."""
        own = current_thread()
        while (task := self._tasks.get()) is not None:
            with self._lock:
                self._begun[own] = monotonic()
            _do(*task)
            del task  # What the job returned may be open.
            with self._lock:
                del self._begun[own]
                if self._waiting:
                    self._waiting -= 1
                elif self._closed or self._may_be(len(self._threads) - 1):
                    self._idle += 1
                else:
                    break
        with self._lock:
            self._threads.discard(own)


class Workers:
    """The threads of all devices; those whose last poll failed share a quarter."""

    def __init__(self) -> None:
        """Make the pools; no thread starts yet."""
        self.failing = Pool(SIZE // 4, "temperature_logger_failing")
        self.healthy = Pool(SIZE - SIZE // 4, "temperature_logger")
        self._lanes: dict[str, Lane] = {}

    def lane(self, name: str) -> Lane:
        """Return the lane of a device, a bus or a task, the same one for each name.

        A job that hangs keeps its lane busy, however often its device is set up again,
        so that a device never holds more than one worker.
        """
        if (lane := self._lanes.get(name)) is None:
            lane = self._lanes[name] = Lane(self)
        return lane

    def close(self) -> None:
        """Begin no job any more."""
        self.failing.close()
        self.healthy.close()

    def join(self) -> None:
        """Wait for the threads to end; blocks."""
        self.failing.join()
        self.healthy.join()


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
            await self._let_end()
        pool = self._workers.failing if self.failing else self._workers.healthy
        self._job = future = pool.submit(partial(job, *args))
        pool.watch(asyncio.get_running_loop())
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

        def run_last() -> None:
            try:
                job()
            finally:
                last.set_result(None)

        def submit_last(_: object = None) -> None:
            try:
                self._workers.healthy.submit(run_last)
            except RuntimeError:  # They have ended, but for the one that calls this.
                run_last()

        if self._job is not None and self.busy:
            # It may be called at once, by the event loop.
            self._job.add_done_callback(submit_last)
        else:
            submit_last()
        self._job = last
        return last

    async def _let_end(self) -> None:
        """Give a job that runs a moment to end; raise DeviceAccessError if it hangs."""
        ends = monotonic() + GRACE
        while self.busy:
            if monotonic() > ends:
                raise DeviceAccessError(Fault.HANGING)
            await asyncio.sleep(GRACE / 50)


async def within_deadline[T](work: Awaitable[T]) -> T:
    """Return what comes of it; raise DeviceAccessError for a device that hangs."""
    try:
        async with asyncio.timeout(DEADLINE):
            return await work
    except TimeoutError as err:
        raise DeviceAccessError(Fault.HANGING) from err


def _do(future: Future[Any], job: Callable[[], Any]) -> None:
    """Do a job, unless who waited for it has given up."""
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = job()
    except BaseException as err:  # noqa: BLE001 - It is raised where it is waited for.
        future.set_exception(err)
    else:
        future.set_result(result)


def _undo[T](ended: Future[T], undo: Callable[[T], object]) -> None:
    """Give back what an abandoned job got."""
    if not ended.cancelled() and ended.exception() is None:
        undo(ended.result())
