"""Blocking jobs run in threads of their own, one at a time for each device."""

import asyncio
from collections.abc import Generator
from concurrent.futures import Future
from contextlib import suppress
from threading import Event, Semaphore, Thread, current_thread

import pytest

from custom_components.temperature_logger import drivers
from custom_components.temperature_logger.drivers import Fault, Workers
from custom_components.temperature_logger.drivers.errors import DeviceAccessError
from custom_components.temperature_logger.drivers.workers import THREADS, Lane
from tests.drivers.waiting import until


@pytest.fixture(autouse=True)
def short_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the turn of a device that hangs, and do not wait for it."""
    monkeypatch.setattr(drivers.workers, "JOB_GRACE_S", 0.05)
    monkeypatch.setattr(drivers.workers, "HANGING_AFTER_S", 60)


@pytest.fixture(name="kernel")
def kernel_fixture(workers: Workers) -> Generator[Event]:
    """Return an event that a hanging job waits for."""
    released = Event()
    yield released
    released.set()  # Otherwise the workers would never end.


async def abandoned[T](task: asyncio.Task[T], lane: Lane | None = None) -> None:
    """Start a task, or even the job of a lane, then cancel it."""
    await asyncio.sleep(0)
    if lane is not None:
        await until(lambda: lane._job is not None and lane._job.running())
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


async def test_one_job_at_a_time(lane: Lane, kernel: Event) -> None:
    """While a job hangs, its device gets no other."""
    hanging = asyncio.create_task(lane.run(kernel.wait))
    await asyncio.sleep(0)
    with pytest.raises(DeviceAccessError, match=Fault.HANGING):
        await lane.run(divmod, 7, 2)
    kernel.set()
    assert await hanging
    assert await lane.run(divmod, 7, 2) == (3, 1)


async def test_cancelled_job_occupies_its_device(lane: Lane, kernel: Event) -> None:
    """A cancelled job occupies its device until it ends."""
    await abandoned(asyncio.create_task(lane.run(kernel.wait)), lane)
    assert lane.busy
    with pytest.raises(DeviceAccessError, match=Fault.HANGING):
        await lane.run(divmod, 7, 2)
    done = lane.finish(nothing)
    kernel.set()
    await asyncio.wrap_future(done)
    assert await lane.run(divmod, 7, 2) == (3, 1)


async def test_hanging_devices_leave_threads_to_others(
    lane: Lane, workers: Workers, kernel: Event
) -> None:
    """However many devices hang, those that answered get their threads."""
    started = Semaphore(0)

    def hang() -> None:
        started.release()
        kernel.wait()

    tasks = []
    for _ in range(2 * THREADS):
        failing = Lane(workers)
        failing.failing = True
        tasks.append(asyncio.create_task(failing.run(hang)))
    await asyncio.sleep(0)
    for _ in range(THREADS // 4):
        assert await lane.run(started.acquire)
    assert not started.acquire(blocking=False)
    kernel.set()
    await asyncio.gather(*tasks)


async def test_undo_of_a_cancelled_job(lane: Lane, kernel: Event) -> None:
    """The result of a job that ends after its cancellation is given back."""
    undone: Future[bool] = Future()
    opening = lane.run(kernel.wait, undo=undone.set_result)
    await abandoned(asyncio.create_task(opening), lane)
    assert not undone.done()
    kernel.set()
    assert await asyncio.wrap_future(undone)


async def test_nothing_to_undo(lane: Lane, kernel: Event) -> None:
    """A cancelled job that failed has nothing to give back."""
    undone: list[object] = []

    def fail() -> None:
        kernel.wait()
        raise OSError

    await abandoned(asyncio.create_task(lane.run(fail, undo=undone.append)), lane)
    done = lane.finish(nothing)
    kernel.set()
    await asyncio.wrap_future(done)
    assert not undone


async def test_cancelled_in_the_queue(workers: Workers, kernel: Event) -> None:
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


async def test_finish_waits_for_a_hanging_job(lane: Lane, kernel: Event) -> None:
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
    lane: Lane, workers: Workers, kernel: Event, *, busy: bool
) -> None:
    """The device is occupied until its last job has ended, and free right after it."""
    first, begun = Event(), Event()
    if busy:
        await abandoned(asyncio.create_task(lane.run(first.wait)), lane)

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
    lane: Lane, kernel: Event, caplog: pytest.LogCaptureFixture, *, busy: bool
) -> None:
    """A last job runs even if its caller is cancelled."""
    if busy:
        await abandoned(asyncio.create_task(lane.run(kernel.wait)), lane)
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
    job = lane._job
    assert job is not None
    ends.set()
    job.result()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await until(undone.is_set)
    assert threads != [current_thread()]


async def test_close(workers: Workers, kernel: Event) -> None:
    """Closing the workers ends the started jobs and drops the others."""
    lanes = [Lane(workers) for _ in range(THREADS)]
    undone: list[bool] = []
    tasks = [
        asyncio.create_task(lane.run(kernel.wait, undo=undone.append)) for lane in lanes
    ]
    await until(lambda: sum(bool(lane._job) for lane in lanes) == THREADS)
    await until(lambda: workers.healthy.threads == THREADS - THREADS // 4)
    await until(lambda: workers.healthy._tasks.qsize() == THREADS // 4)
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
    workers: Workers, kernel: Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many devices begin to hang at once, the others get their threads."""
    monkeypatch.setattr(drivers.workers, "HANGING_AFTER_S", 0.01)
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
    workers: Workers, kernel: Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The timer ends with the workers."""
    lanes = [Lane(workers) for _ in range(THREADS)]
    tasks = [asyncio.create_task(lane.run(kernel.wait)) for lane in lanes]
    await asyncio.sleep(0)
    timer = workers.healthy._timer
    assert timer is not None
    workers.close()
    assert timer.cancelled()
    kernel.set()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_job_about_to_end(
    lane: Lane, kernel: Event, monkeypatch: pytest.MonkeyPatch
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
