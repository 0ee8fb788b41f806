"""Blocking jobs run in threads of their own, one at a time for each device."""

import asyncio
from collections.abc import Callable, Generator
from concurrent.futures import Future
from contextlib import suppress
from threading import Barrier, Event, Semaphore, Thread, current_thread
from typing import override

import pytest

from custom_components.temperature_logger import drivers
from custom_components.temperature_logger.drivers import Fault, Workers
from custom_components.temperature_logger.drivers.errors import DeviceAccessError
from custom_components.temperature_logger.drivers.workers import THREADS, Lane
from tests.drivers.waiting import block_until, until


@pytest.fixture(autouse=True)
def short_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the turn of a device that hangs, and do not wait for it."""
    monkeypatch.setattr(drivers.workers, "JOB_GRACE_S", 0.05)
    monkeypatch.setattr(drivers.workers, "HANGING_AFTER_S", 60)


class Kernel(Event):
    """A kernel in which jobs hang until it is set."""

    def __init__(self) -> None:
        """Begin without a job."""
        super().__init__()
        self.entered = Semaphore(0)
        """Released by each job that begins to hang."""

    @override
    def wait(self, timeout: float | None = None) -> bool:
        self.entered.release()
        return super().wait(timeout)


@pytest.fixture(name="kernel")
def kernel_fixture(workers: Workers) -> Generator[Kernel]:
    """Return the kernel that a hanging job waits for."""
    kernel = Kernel()
    yield kernel
    kernel.set()  # Otherwise the workers would never end.


async def hangs(kernel: Kernel) -> None:
    """Wait until one more job hangs."""
    await until(lambda: kernel.entered.acquire(blocking=False))


async def abandoned[T](task: asyncio.Task[T], kernel: Kernel | None = None) -> None:
    """Start a task, or even its job that hangs, then cancel it."""
    await asyncio.sleep(0)
    if kernel is not None:
        await hangs(kernel)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


def nothing() -> None:
    """Do nothing."""


async def test_result_and_error(lane: Lane) -> None:
    """The result of a job is returned, and its error raised."""
    assert await lane.run(divmod, 7, 2) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        await lane.run(divmod, 7, 0)
    assert not lane.busy


async def test_one_job_at_a_time(lane: Lane, kernel: Kernel) -> None:
    """While a job hangs, its device gets no other."""
    hanging = asyncio.create_task(lane.run(kernel.wait))
    await asyncio.sleep(0)
    with pytest.raises(DeviceAccessError, match=Fault.HANGING):
        await lane.run(divmod, 7, 2)
    kernel.set()
    assert await hanging
    assert await lane.run(divmod, 7, 2) == (3, 1)


async def test_another_lane_of_the_same_device(lane: Lane, kernel: Kernel) -> None:
    """A job that hangs on another lane of a device leaves the first lane free."""
    other = lane.sibling("other")
    hanging = asyncio.create_task(other.run(kernel.wait))
    await hangs(kernel)
    assert await lane.run(divmod, 7, 2) == (3, 1)
    assert lane.sibling("other") is other  # Another driver of the device finds it busy.
    assert lane.sibling("third") is not other
    kernel.set()
    assert await hanging


async def test_cancelled_job_occupies_its_device(lane: Lane, kernel: Kernel) -> None:
    """A cancelled job occupies its device until it ends."""
    await abandoned(asyncio.create_task(lane.run(kernel.wait)), kernel)
    assert lane.busy
    with pytest.raises(DeviceAccessError, match=Fault.HANGING):
        await lane.run(divmod, 7, 2)
    done = lane.finish(nothing)
    kernel.set()
    await asyncio.wrap_future(done)
    assert await lane.run(divmod, 7, 2) == (3, 1)


async def test_hanging_devices_leave_threads_to_others(
    lane: Lane, workers: Workers, kernel: Kernel
) -> None:
    """However many devices hang, those that answered get their threads."""
    tasks = []
    for _ in range(2 * THREADS):
        failing = Lane(workers)
        failing.failing = True
        tasks.append(asyncio.create_task(failing.run(kernel.wait)))
    await asyncio.sleep(0)
    for _ in range(THREADS // 4):
        assert await lane.run(kernel.entered.acquire)
    assert not kernel.entered.acquire(blocking=False)
    kernel.set()
    await asyncio.gather(*tasks)


async def test_undo_of_a_cancelled_job(lane: Lane, kernel: Kernel) -> None:
    """The result of a job that ends after its cancellation is given back."""
    undone: Future[bool] = Future()
    opening = lane.run(kernel.wait, undo=undone.set_result)
    await abandoned(asyncio.create_task(opening), kernel)
    assert not undone.done()
    kernel.set()
    assert await asyncio.wrap_future(undone)


async def test_nothing_to_undo(lane: Lane, kernel: Kernel) -> None:
    """A cancelled job that failed has nothing to give back."""
    undone: list[object] = []

    def fail() -> None:
        kernel.wait()
        raise OSError

    await abandoned(asyncio.create_task(lane.run(fail, undo=undone.append)), kernel)
    done = lane.finish(nothing)
    kernel.set()
    await asyncio.wrap_future(done)
    assert not undone


async def test_cancelled_in_the_queue(workers: Workers, kernel: Kernel) -> None:
    """A job cancelled before a thread was free never starts."""
    lanes = [Lane(workers) for _ in range(THREADS // 4 + 1)]
    for lane in lanes:
        lane.failing = True
    hanging = [asyncio.create_task(lane.run(kernel.wait)) for lane in lanes[1:]]
    await asyncio.sleep(0)
    done: list[object] = []
    queued = lanes[0].run(done.append, "done", undo=done.append)
    await abandoned(asyncio.create_task(queued))
    assert not lanes[0].busy
    kernel.set()
    await asyncio.gather(*hanging)
    await lanes[0].run(nothing)
    assert not done


async def test_finish_waits_for_a_hanging_job(lane: Lane, kernel: Kernel) -> None:
    """The last job begins when the one before it has ended."""
    order: list[str] = []

    def hang() -> None:
        kernel.wait()
        order.append("job")

    hanging = asyncio.create_task(lane.run(hang))
    await asyncio.sleep(0)
    done = lane.finish(lambda: order.append("last job"))
    kernel.set()
    await asyncio.wrap_future(done)
    await hanging
    assert order == ["job", "last job"]


@pytest.mark.parametrize("busy", [False, True])
async def test_finish_occupies_the_device(
    lane: Lane, workers: Workers, kernel: Kernel, *, busy: bool
) -> None:
    """The device is occupied until its last job has ended, and free right after it."""
    first, begun = Kernel(), Event()
    if busy:
        await abandoned(asyncio.create_task(lane.run(first.wait)), first)

    def last() -> None:
        begun.set()
        kernel.wait()

    done = lane.finish(last)
    first.set()
    await Lane(workers).run(begun.wait)
    states: list[bool] = []
    done.add_done_callback(lambda _: states.append(lane.busy))
    with pytest.raises(DeviceAccessError, match=Fault.HANGING):
        await lane.run(divmod, 7, 2)
    kernel.set()
    await asyncio.wrap_future(done)
    assert states == [False]


@pytest.mark.parametrize("busy", [False, True])
async def test_finish_is_not_cancelled(
    lane: Lane, kernel: Kernel, caplog: pytest.LogCaptureFixture, *, busy: bool
) -> None:
    """A last job runs even if its caller is cancelled."""
    if busy:
        await abandoned(asyncio.create_task(lane.run(kernel.wait)), kernel)
    ended: list[bool] = []
    done = lane.finish(lambda: ended.append(kernel.wait()))
    waiting = asyncio.ensure_future(asyncio.wrap_future(done))
    waiting.cancel()
    await asyncio.sleep(0)
    kernel.set()
    await asyncio.wrap_future(done)
    assert ended == [True]
    assert not caplog.records


async def test_cancelled_as_the_job_ends(lane: Lane) -> None:
    """A worker gives back the result of a job, never the event loop."""
    ends, undone = Event(), Event()
    threads: list[Thread] = []

    def undo(_: object) -> None:
        threads.append(current_thread())
        undone.set()

    task = asyncio.create_task(lane.run(ends.wait, undo=undo))
    await asyncio.sleep(0)
    assert lane.busy
    ends.set()
    block_until(lambda: not lane.busy)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await until(undone.is_set)
    assert threads != [current_thread()]


async def test_close(workers: Workers, kernel: Kernel) -> None:
    """Closing the workers ends the started jobs and drops the others."""
    lanes = [Lane(workers) for _ in range(THREADS)]
    undone: list[bool] = []
    tasks = [
        asyncio.create_task(lane.run(kernel.wait, undo=undone.append)) for lane in lanes
    ]
    await until(lambda: all(lane.busy for lane in lanes))
    for _ in range(THREADS - THREADS // 4):
        await hangs(kernel)
    assert workers.healthy.threads == THREADS - THREADS // 4
    assert workers.healthy.busy == THREADS
    workers.close()
    await until(lambda: sum(task.cancelled() for task in tasks) == THREADS // 4)
    with pytest.raises(RuntimeError):
        await Lane(workers).run(nothing)
    last = lanes[0].finish(nothing)
    kernel.set()
    await asyncio.to_thread(workers.join)
    await asyncio.wrap_future(last)
    assert workers.healthy.threads == workers.healthy.busy == 0
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert results.count(True) == THREADS - THREADS // 4
    assert not undone


async def test_hanging_devices_lose_their_turn(
    workers: Workers, kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many devices begin to hang at once, the others get their threads."""
    monkeypatch.setattr(drivers.workers, "HANGING_AFTER_S", 0.01)
    workers.add_user()
    lanes = [Lane(workers) for _ in range(3 * THREADS)]
    hanging = [asyncio.create_task(lane.run(kernel.wait)) for lane in lanes]
    await asyncio.sleep(0)
    for _ in range(2):
        assert await Lane(workers).run(divmod, 7, 2) == (3, 1)
    assert not any(task.done() for task in hanging)
    kernel.set()
    assert all(await asyncio.gather(*hanging))
    await until(lambda: workers.healthy.threads == THREADS - THREADS // 4)


async def test_timer_ends_with_the_workers(
    workers: Workers, kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The timer ends with the workers."""
    loop = asyncio.get_running_loop()
    call_later = loop.call_later
    timers: list[asyncio.TimerHandle] = []

    def recorded[*Ts](
        delay: float, callback: Callable[[*Ts], object], *args: *Ts
    ) -> asyncio.TimerHandle:
        timers.append(call_later(delay, callback, *args))
        return timers[-1]

    monkeypatch.setattr(loop, "call_later", recorded)
    lanes = [Lane(workers) for _ in range(THREADS)]
    tasks = [asyncio.create_task(lane.run(kernel.wait)) for lane in lanes]
    await asyncio.sleep(0)
    (timer,) = timers
    assert not timer.cancelled()
    workers.close()
    assert timer.cancelled()
    kernel.set()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_job_about_to_end(
    lane: Lane, kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job that is about to end does not count as a device that hangs."""
    monkeypatch.setattr(drivers.workers, "JOB_GRACE_S", 5)
    first = asyncio.create_task(lane.run(kernel.wait))
    await asyncio.sleep(0)
    second = asyncio.create_task(lane.run(divmod, 7, 2))
    await asyncio.sleep(0)
    assert not second.done()
    kernel.set()
    assert await second == (3, 1)
    assert await first


async def test_idle_threads_end_with_their_last_user(
    workers: Workers, kernel: Kernel
) -> None:
    """Threads wait for work while a device is set up, and end with the last one."""
    ends = [workers.add_user(), workers.add_user()]
    for name in ("first", "second"):
        await workers.lane(name).run(nothing)
    assert workers.healthy.threads
    ends.pop()()
    assert workers.healthy.threads
    hanging = asyncio.create_task(workers.lane("hanging").run(kernel.wait))
    await hangs(kernel)
    ends.pop()()
    await until(lambda: workers.healthy.threads == 1)
    kernel.set()
    assert await hanging
    await until(lambda: not workers.healthy.threads)


async def test_threads_without_a_user(workers: Workers) -> None:
    """A search that runs while no device is set up leaves no thread behind."""
    lanes = [workers.lane(str(number)) for number in range(3 * THREADS)]
    await asyncio.gather(*(lane.run(nothing) for lane in lanes))
    await until(lambda: not workers.healthy.threads)
    assert not workers.healthy.busy


async def test_last_job_after_the_threads_were_told_to_end(workers: Workers) -> None:
    """A device that closes as the last one still gets a thread."""
    for _ in range(20):
        end = workers.add_user()
        barrier = Barrier(THREADS - THREADS // 4)
        lanes = [workers.lane(str(number)) for number in range(barrier.parties)]
        await asyncio.gather(*(lane.run(barrier.wait) for lane in lanes))
        await until(lambda: workers.healthy.busy == 0)
        end()
        last = lanes[0].finish(nothing)
        await asyncio.wrap_future(last)
        assert last.done()
    await until(lambda: not workers.healthy.threads)
