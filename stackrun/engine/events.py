"""What happened lately, and who wants to hear of it (Docker's events)."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Mapping

from stackrun.api.filters import EVENT_KEYS, check, event_matches
from stackrun.api.types import NO_FILTERS, Event, Filters

REMEMBERED = 1024
"""Events kept for `since`; dockerd keeps 256."""
QUEUED_MAX = 65_536
"""Events that wait for one slow subscriber; beyond, its stream ends."""

class Subscriber:
    """One listener's queue. `None` in it ends the stream."""

    __slots__ = ("filters", "queue", "until_ns")

    def __init__(self, filters: Filters, until_ns: int) -> None:
        self.filters = filters
        self.until_ns = until_ns
        self.queue: asyncio.Queue[Event | None] = asyncio.Queue()

    def offer(self, event: Event) -> bool:
        """False: this subscriber is hopelessly behind and was cut off."""
        if not event_matches(event, self.filters):
            return True
        if self.queue.qsize() >= QUEUED_MAX:
            self.queue.put_nowait(None)
            return False
        self.queue.put_nowait(event)
        return True


class Events:
    """Published to on the loop's thread."""

    def __init__(self, clock_ns: Callable[[], int] = time.time_ns) -> None:
        self._clock_ns = clock_ns
        self._past: deque[Event] = deque(maxlen=REMEMBERED)
        self._subscribers: set[Subscriber] = set()

    def publish(self, kind: str, action: str, identity: str, attributes: Mapping[str, str]) -> Event:
        event = Event(kind, action, identity, attributes, self._clock_ns())
        self._past.append(event)
        for subscriber in tuple(self._subscribers):
            if not subscriber.offer(event):
                self._subscribers.discard(subscriber)
        return event

    def subscribe(self, *, since_s: float = 0.0, until_s: float = 0.0, filters: Filters = NO_FILTERS) -> AsyncGenerator[Event, None]:
        """Registered on return. InvalidArgument "invalid filter 'x'" for a key that Docker lacks."""
        check(filters, EVENT_KEYS)
        until_ns = round(until_s * 1e9)
        subscriber = Subscriber(filters, until_ns)
        if since_s or until_s:
            since_ns = round(since_s * 1e9)
            for event in self._past:
                if event.time_ns >= since_ns and (not until_ns or event.time_ns <= until_ns):
                    subscriber.offer(event)
        self._subscribers.add(subscriber)
        return self._stream(subscriber)

    async def _stream(self, subscriber: Subscriber) -> AsyncGenerator[Event, None]:
        try:
            while (event := await self._next(subscriber)) is not None:
                yield event
        finally:
            self._subscribers.discard(subscriber)

    async def _next(self, subscriber: Subscriber) -> Event | None:
        if not subscriber.until_ns:
            return await subscriber.queue.get()
        try:
            left_s = (subscriber.until_ns - self._clock_ns()) / 1e9
            if left_s <= 0:
                return subscriber.queue.get_nowait()
            async with asyncio.timeout(left_s):
                return await subscriber.queue.get()
        except (asyncio.QueueEmpty, TimeoutError):
            return None

    def close(self) -> None:
        """Every stream ends after what is queued already."""
        for subscriber in self._subscribers:
            subscriber.queue.put_nowait(None)
        self._subscribers.clear()

