"""What happened lately, and who wants to hear of it (Docker's events)."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from typing import Any

from stackrun.api.filters import EVENT_KEYS, check, event_matches
from stackrun.api.types import NO_FILTERS, Event, Filters

REMEMBERED = 1024
"""Events kept for `since`; dockerd keeps 256."""
QUEUED_MAX = 65_536
"""Events that wait for one slow subscriber; beyond, its stream ends."""


class Subscription(AsyncGenerator[Event, None]):
    """One listener's stream: registered from the start, and gone when it is closed, whether it was ever listened to or not."""

    def __init__(self, filters: Filters, until_ns: int, clock_ns: Callable[[], int], leave: Callable[[Subscription], None]) -> None:
        self._filters = filters
        self._until_ns = until_ns
        self._clock_ns = clock_ns
        self._leave = leave
        self._queue: asyncio.Queue[Event | None] = asyncio.Queue()
        self._over = False

    def offer(self, event: Event) -> None:
        """A listener who is hopelessly behind is cut off."""
        if not event_matches(event, self._filters):
            return
        if self._queue.qsize() >= QUEUED_MAX:
            self.end()
        else:
            self._queue.put_nowait(event)

    def end(self) -> None:
        """After what is queued already."""
        self._queue.put_nowait(None)
        self._leave(self)

    async def asend(self, value: None) -> Event:
        event = None if self._over else await self._next()
        if event is None:
            await self.aclose()
            raise StopAsyncIteration
        return event

    async def _next(self) -> Event | None:
        if not self._until_ns:
            return await self._queue.get()
        left_s = (self._until_ns - self._clock_ns()) / 1e9
        try:
            if left_s <= 0:
                return self._queue.get_nowait()
            async with asyncio.timeout(left_s):
                return await self._queue.get()
        except (asyncio.QueueEmpty, TimeoutError):
            return None

    async def athrow(self, typ: Any, val: Any = None, tb: Any = None) -> Event:
        await self.aclose()
        raise val if val is not None else typ

    async def aclose(self) -> None:
        self._over = True
        self._leave(self)


class Events:
    """Published to on the loop's thread. `keep` is given each event, for those who ask when this process is gone."""

    def __init__(self, clock_ns: Callable[[], int] = time.time_ns, keep: Callable[[Event], None] = lambda event: None) -> None:
        self._clock_ns = clock_ns
        self._keep = keep
        self._past: deque[Event] = deque(maxlen=REMEMBERED)
        self._subscriptions: set[Subscription] = set()

    def publish(self, kind: str, action: str, identity: str, attributes: Mapping[str, str]) -> Event:
        event = Event(kind, action, identity, attributes, self._clock_ns())
        self._past.append(event)
        self._keep(event)
        for subscription in tuple(self._subscriptions):
            subscription.offer(event)
        return event

    @property
    def remembered_from_ns(self) -> int:
        """What was before is known to `keep` alone."""
        return self._past[0].time_ns if self._past else self._clock_ns()

    def subscribe(
        self, *, since_s: float = 0.0, until_s: float = 0.0, filters: Filters = NO_FILTERS, earlier: Iterable[Event] = ()
    ) -> AsyncGenerator[Event, None]:
        """Registered on return. InvalidArgument "invalid filter 'x'" for a key that Docker lacks.

        `earlier`: what happened before all that is remembered here.
        """
        check(filters, EVENT_KEYS)
        until_ns = round(until_s * 1e9)
        subscription = Subscription(filters, until_ns, self._clock_ns, self._subscriptions.discard)
        self._subscriptions.add(subscription)
        if since_s or until_s:
            since_ns = round(since_s * 1e9)
            for event in (*earlier, *self._past):
                if event.time_ns >= since_ns and (not until_ns or event.time_ns <= until_ns):
                    subscription.offer(event)
        return subscription

    def close(self) -> None:
        """Every stream ends after what is queued already."""
        for subscription in tuple(self._subscriptions):
            subscription.end()
