"""Threads for short blocking jobs: to open a node, send a command, run a transaction.

The drivers have their own threads, because a job can hang in the kernel for seconds and
cannot be cancelled there. A hidraw write to a stick with a dead control pipe takes 5 s,
even on a node that was opened non-blocking.
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

# A poll takes up to 0.3 s, and opening a device up to 1.5 s. A write that hangs ends
# after 5 s in the kernel, before the next one begins.
DEVICE_TIMEOUT_S: Final = 6
# Threads start when there is work. Nine of them are for healthy devices: with these, a
# poll of 333 sticks, whose writes take 3 ms of bus time each, takes about 0.1 s. More
# would only compete for the interpreter.
THREADS: Final = 12
# A job that takes longer hangs; opening a node takes 0.05 s. It waits in the kernel and
# needs no interpreter, so its thread no longer counts, and the next job gets an
# additional one. Otherwise many devices that begin to hang would stop the polls of all.
HANGING_AFTER_S: Final = 0.1
# A job gets this time to end before the next job of its device fails.
JOB_GRACE_S: Final = 0.5

type Task = tuple[Future[Any], Callable[[], Any]]


class Pool:
    """A thread pool that starts an additional thread for each job that hangs."""

    def __init__(self, size: int, name: str) -> None:
        """Make the pool; threads start when there is work."""
        self._started_at: dict[Thread, float] = {}
        """The start time of the job of each busy thread."""
        self._busy = 0
        self._closed = False
        self._idle = 0
        """The number of threads that are free for a new job."""
        self._keeps_idle = False
        self._lock = Lock()
        self._name = name
        self._size = size
        self._tasks: SimpleQueue[Task | None] = SimpleQueue()
        self._threads: set[Thread] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._waiting = 0
        """The number of jobs without a thread."""

    @property
    def busy(self) -> int:
        """The number of jobs that have not ended."""
        return self._busy

    @property
    def threads(self) -> int:
        """The number of threads."""
        return len(self._threads)

    def submit(self, job: Callable[[], Any]) -> Future[Any]:
        """Queue a job for the threads; return its future."""
        future: Future[Any] = Future()
        with self._lock:
            if self._closed:
                raise RuntimeError("The workers have ended")
            self._tasks.put((future, job))
            self._busy += 1
            if self._idle:
                self._idle -= 1
            elif self._has_room(len(self._threads)):
                self._start_thread()
            else:
                self._waiting += 1
        return future

    def watch(self, loop: asyncio.AbstractEventLoop) -> None:
        """Start more threads a little later, if jobs still wait behind hanging ones."""
        if self._timer is None and self._waiting:
            self._timer = loop.call_later(HANGING_AFTER_S, self._add_threads, loop)

    def keep_idle(self, *, keep: bool) -> None:
        """Let idle threads wait for work, or end them."""
        with self._lock:
            self._keeps_idle = keep
            if not keep:
                for _ in range(self._idle):
                    self._tasks.put(None)
                self._idle = 0

    def close(self) -> None:
        """Refuse new jobs, cancel the waiting ones, and let the threads end."""
        if self._timer is not None:
            self._timer.cancel()
        with self._lock:
            self._closed, self._waiting = True, 0
            dropped = [self._tasks.get() for _ in range(self._tasks.qsize())]
            self._busy -= sum(task is not None for task in dropped)
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

    def _add_threads(self, loop: asyncio.AbstractEventLoop) -> None:
        """Start a thread in place of each one whose job hangs, for the waiting jobs."""
        self._timer = None
        with self._lock:
            while self._waiting and self._has_room(len(self._threads)):
                self._waiting -= 1
                self._start_thread()
        self.watch(loop)

    def _start_thread(self) -> None:
        """Start a daemon thread, which does not delay the stop of Home Assistant."""
        thread = Thread(target=self._work, name=self._name, daemon=True)
        self._threads.add(thread)
        thread.start()

    def _has_room(self, others: int) -> bool:
        """Return whether the pool may have one more thread than these others."""
        if others < self._size:
            return True
        late = monotonic() - HANGING_AFTER_S
        return others < self._size + sum(
            started_at < late for started_at in self._started_at.values()
        )

    def _may_wait(self) -> bool:
        """Return whether a thread without a job may wait for the next one."""
        return self._keeps_idle and self._has_room(len(self._threads) - 1)

    def _work(self) -> None:
        """Run jobs until the thread is not needed; the target of each thread."""
        thread = current_thread()
        while (task := self._tasks.get()) is not None:
            with self._lock:
                self._started_at[thread] = monotonic()
            _run_job(*task)
            del task  # Its result may be an open file.
            with self._lock:
                del self._started_at[thread]
                self._busy -= 1
                if self._waiting:
                    self._waiting -= 1
                elif self._closed or self._may_wait():
                    self._idle += 1
                else:
                    self._threads.discard(thread)
                    return
        with self._lock:
            self._threads.discard(thread)
            if self._waiting:  # A job that came after all threads were told to end.
                self._waiting -= 1
                self._start_thread()


class Workers:
    """The thread pools; a quarter of the threads is for devices whose poll failed.

    A user is a device that is set up. While there are users, idle threads wait for
    work. Without users, the threads of a search or a scan end with it.
    """

    def __init__(self) -> None:
        """Make the pools; no thread starts yet."""
        self._users = 0
        self.failing = Pool(THREADS // 4, "temperature_logger_failing")
        self.healthy = Pool(THREADS - THREADS // 4, "temperature_logger")
        self._lanes: dict[str, Lane] = {}

    def lane(self, name: str) -> Lane:
        """Return the lane of a device, a bus or a task; each name has one.

        A job that hangs keeps its lane busy, even if its device is set up again. So a
        device never occupies more than one worker for each of its lanes.
        """
        if (lane := self._lanes.get(name)) is None:
            lane = self._lanes[name] = Lane(self)
        return lane

    def add_user(self) -> Callable[[], None]:
        """Keep threads ready for a device; return the function that ends this."""
        self._change_users(1)
        return partial(self._change_users, -1)

    def _change_users(self, change: int) -> None:
        """Count users; keep idle threads while there are any."""
        self._users += change
        for pool in (self.failing, self.healthy):
            pool.keep_idle(keep=self._users > 0)

    def close(self) -> None:
        """Refuse new jobs and cancel the waiting ones."""
        self.failing.close()
        self.healthy.close()

    def join(self) -> None:
        """Wait for the threads to end; blocks."""
        self.failing.join()
        self.healthy.join()


class Lane:
    """Runs the jobs of one device on the workers, one at a time."""

    def __init__(self, workers: Workers) -> None:
        """Make a lane to the shared workers."""
        self.failing = False
        self.memory: object = None
        """What a driver of the device leaves to the next one."""
        self._siblings: dict[str, Lane] = {}
        """The other lanes of the device, by name."""
        self._job: Future[Any] | None = None
        self._workers = workers

    @property
    def busy(self) -> bool:
        """Whether a job runs, even if its caller has given up."""
        return self._job is not None and not self._job.done()

    def sibling(self, name: str) -> Lane:
        """Return another lane of the device, for a job that runs at the same time.

        Each name has one lane. It stays busy while its job hangs, even if the device is
        set up again.
        """
        if (lane := self._siblings.get(name)) is None:
            lane = self._siblings[name] = Lane(self._workers)
        return lane

    async def run[T, *Ts](
        self,
        job: Callable[[*Ts], T],
        *args: *Ts,
        undo: Callable[[T], object] | None = None,
    ) -> T:
        """Run a job on a worker and return its result.

        If the caller is cancelled while the job runs, undo is called with the result.
        Raises DeviceAccessError while an earlier job hangs.
        """
        await self.idle()
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
            # An error keeps this frame alive. If the frame kept the error as well,
            # files of the job would stay open until the garbage collector runs.
            if not self.busy:
                self._job = None
            del future

    def finish(self, job: Callable[[], None]) -> Future[None]:
        """Run a last job as soon as no other job of this device runs."""
        last: Future[None] = Future()
        last.set_running_or_notify_cancel()  # So a caller that gives up cannot cancel.

        def run_last() -> None:
            try:
                job()
            finally:
                last.set_result(None)

        def submit_last(_: object = None) -> None:
            try:
                self._workers.healthy.submit(run_last)
            except RuntimeError:  # The pool is closed; this thread can still run it.
                run_last()

        if self._job is not None and self.busy:
            # If the job ends just now, the callback runs at once in the event loop.
            self._job.add_done_callback(submit_last)
        else:
            submit_last()
        self._job = last
        return last

    async def idle(self) -> None:
        """Wait briefly for the running job; raise DeviceAccessError if it hangs."""
        ends = monotonic() + JOB_GRACE_S
        while self.busy:
            if monotonic() > ends:
                raise DeviceAccessError(Fault.HANGING)
            await asyncio.sleep(JOB_GRACE_S / 50)


async def within_deadline[T](work: Awaitable[T]) -> T:
    """Await the work of a device; raise DeviceAccessError if the device hangs."""
    try:
        async with asyncio.timeout(DEVICE_TIMEOUT_S):
            return await work
    except TimeoutError as err:
        raise DeviceAccessError(Fault.HANGING) from err


def _run_job(future: Future[Any], job: Callable[[], Any]) -> None:
    """Run a job and set its future, unless the future was cancelled."""
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = job()
    except BaseException as err:  # noqa: BLE001 - The caller gets it from the future.
        future.set_exception(err)
    else:
        future.set_result(result)


def _undo[T](ended: Future[T], undo: Callable[[T], object]) -> None:
    """Undo the result of a job whose caller has given up, if it has one."""
    if not ended.cancelled() and ended.exception() is None:
        undo(ended.result())
