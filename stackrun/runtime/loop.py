"""A shim's event loop: poll(2), a callback a descriptor, and a few deadlines."""

from __future__ import annotations

import select
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

READ = select.POLLIN
WRITE = select.POLLOUT


class Loop:
    """`watch` calls back with the ready events (POLLHUP and POLLERR come unasked); `after` once at a time."""

    __slots__ = ("_callbacks", "_deadlines", "_poll")

    def __init__(self) -> None:
        self._poll = select.poll()
        self._callbacks: dict[int, Callable[[int], None]] = {}
        self._deadlines: list[tuple[float, Callable[[], None]]] = []

    def watch(self, fd: int, events: int, callback: Callable[[int], None]) -> None:
        """Add `fd`, or change what is watched on it."""
        self._poll.register(fd, events)
        self._callbacks[fd] = callback

    def forget(self, fd: int) -> None:
        """Before `fd` is closed.  A descriptor that is not watched is fine."""
        if self._callbacks.pop(fd, None) is not None:
            self._poll.unregister(fd)

    def after(self, seconds: float, callback: Callable[[], None]) -> None:
        self._deadlines.append((time.monotonic() + seconds, callback))

    def cancel(self, callback: Callable[[], None]) -> None:
        self._deadlines = [one for one in self._deadlines if one[1] != callback]

    def turn(self) -> None:
        """Wait for something to happen and handle it."""
        ready = [(fd, events, self._callbacks[fd]) for fd, events in self._poll.poll(self._timeout_ms())]
        for fd, events, callback in ready:
            # An earlier callback of this turn may have forgotten it, and the number may be another descriptor's now.
            if self._callbacks.get(fd) is callback:
                callback(events)
        now = time.monotonic()
        due = [one for one in self._deadlines if one[0] <= now]
        self._deadlines = [one for one in self._deadlines if one[0] > now]
        for _, callback_due in due:
            callback_due()

    def _timeout_ms(self) -> float | None:
        if not self._deadlines:
            return None
        return max(0.0, (min(one[0] for one in self._deadlines) - time.monotonic()) * 1000 + 1)
