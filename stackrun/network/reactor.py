"""A poll loop with deadlines, small enough for a process that every machine with one container keeps."""

from __future__ import annotations

import heapq
import select
import time
from collections.abc import Callable
from itertools import count

READ = select.EPOLLIN
WRITE = select.EPOLLOUT


class Reactor:
    """Calls a handler when its descriptor is ready, and another once its time has come."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._handlers: dict[int, Callable[[], None]] = {}
        self._deadlines: list[tuple[float, int, Callable[[], None]]] = []
        self._ticket = count()
        self._running = True

    def watch(self, fd: int, handler: Callable[[], None], events: int = READ) -> None:
        """Handler and events of a descriptor, first or anew."""
        if fd in self._handlers:
            self._epoll.modify(fd, events)
        else:
            self._epoll.register(fd, events)
        self._handlers[fd] = handler

    def forget(self, fd: int) -> None:
        """Before the descriptor is closed."""
        if self._handlers.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def after(self, seconds: float, handler: Callable[[], None]) -> None:
        """The handler itself finds out whether it is still wanted."""
        heapq.heappush(self._deadlines, (time.monotonic() + seconds, next(self._ticket), handler))

    def stop(self) -> None:
        self._running = False

    def run(self) -> None:
        while self._running:
            ready = [(fd, self._handlers[fd]) for fd, _ in self._epoll.poll(self._until_deadline())]
            for fd, handler in ready:
                # An earlier handler of this round may have closed it, and its number may be another's by now.
                if self._handlers.get(fd) is handler:
                    handler()
            self._expire()

    def _until_deadline(self) -> float:
        return max(0.0, self._deadlines[0][0] - time.monotonic()) if self._deadlines else -1.0

    def _expire(self) -> None:
        while self._deadlines and self._deadlines[0][0] <= time.monotonic():
            heapq.heappop(self._deadlines)[2]()
