"""One thread that serves every node of a machine."""

from collections.abc import Callable
from contextlib import suppress
import heapq
import itertools
import os
import select
import threading

from .values import now


class Loop:
    """Call handlers when descriptors are readable, and functions when they are due."""

    def __init__(self) -> None:
        """Prepare; nothing runs before start()."""
        self.lock = threading.RLock()
        """Held while the loop calls anything: take it to change the served nodes."""
        self._epoll = select.epoll()
        self._handlers: dict[int, Callable[[], None]] = {}
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._wake = os.eventfd(0, os.EFD_CLOEXEC)
        self.add(self._wake, self._woken)
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="emulated hardware")
        self._thread.daemon = True

    def start(self) -> None:
        """Start serving."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stopped = True
        os.eventfd_write(self._wake, 1)
        self._thread.join()
        self._epoll.close()
        os.close(self._wake)

    def add(self, descriptor: int, handler: Callable[[], None]) -> None:
        """Call handler whenever descriptor is readable."""
        self._handlers[descriptor] = handler
        self._epoll.register(descriptor, select.EPOLLIN)

    def remove(self, descriptor: int) -> None:
        """Forget a descriptor, before it is closed."""
        self._epoll.unregister(descriptor)
        del self._handlers[descriptor]

    def later(self, delay: float, function: Callable[[], None]) -> None:
        """Call function after delay seconds; the lock has to be held."""
        heapq.heappush(self._due, (now() + delay, next(self._order), function))
        if threading.current_thread() is not self._thread:
            os.eventfd_write(self._wake, 1)

    def _woken(self) -> None:
        """Check again when the next function is due."""
        os.eventfd_read(self._wake)

    def _run(self) -> None:
        """Serve until stopped."""
        while not self._stopped:
            timeout = max(self._due[0][0] - now(), 0) if self._due else None
            events = self._epoll.poll(timeout)
            with self.lock:
                for descriptor, _ in events:
                    if handler := self._handlers.get(descriptor):
                        # Another descriptor may have the number by now, with nothing to
                        # read.
                        with suppress(BlockingIOError):
                            handler()
                while self._due and self._due[0][0] <= now():
                    heapq.heappop(self._due)[2]()
