"""Events: what is remembered, who hears what, when a stream ends."""

from __future__ import annotations

import asyncio

import pytest

from stackrun.api.types import Event, Filters
from stackrun.engine import events as module
from stackrun.engine.events import REMEMBERED, Events
from stackrun.errors import InvalidArgument


class Clock:
    def __init__(self) -> None:
        self.now_ns = 1_000_000_000

    def __call__(self) -> int:
        self.now_ns += 1_000_000_000
        return self.now_ns


async def taken(events: Events, count: int, **query: object) -> list[str]:
    stream = events.subscribe(**query)  # type: ignore[arg-type]
    found = [(await anext(stream)).action for _ in range(count)]
    await stream.aclose()
    return found


def test_a_subscriber_hears_what_happens_after_it_was_registered() -> None:
    async def scenario() -> None:
        events = Events(Clock())
        events.publish("container", "create", "1", {})
        stream = events.subscribe()
        events.publish("container", "start", "1", {"name": "x"})
        assert await anext(stream) == Event("container", "start", "1", {"name": "x"}, 3_000_000_000)
        await stream.aclose()

    asyncio.run(scenario())


def test_since_and_until_look_into_the_past() -> None:
    async def scenario() -> None:
        events = Events(Clock())
        for action in ("one", "two", "three", "four"):
            events.publish("container", action, "1", {})
        assert [event.action async for event in events.subscribe(since_s=3.0, until_s=4.0)] == ["two", "three"]
        assert await taken(events, 2, since_s=4.0) == ["three", "four"]

    asyncio.run(scenario())


def test_filters_choose_and_unknown_ones_are_refused() -> None:
    async def scenario() -> None:
        events = Events(Clock())
        stream = events.subscribe(filters=Filters({"event": ("health_status",), "label": ("a=b",)}))
        events.publish("container", "health_status: healthy", "1", {"a": "c"})
        events.publish("container", "start", "1", {"a": "b"})
        events.publish("container", "health_status: unhealthy", "1", {"a": "b"})
        assert (await anext(stream)).action == "health_status: unhealthy"
        await stream.aclose()
        with pytest.raises(InvalidArgument, match="invalid filter 'odd'"):
            events.subscribe(filters=Filters({"odd": ("x",)}))

    asyncio.run(scenario())


def test_the_past_is_bounded() -> None:
    async def scenario() -> None:
        events = Events(Clock())
        for number in range(REMEMBERED + 5):
            events.publish("container", str(number), "1", {})
        assert await taken(events, 1, since_s=0.5) == ["5"]

    asyncio.run(scenario())


def test_one_who_never_listens_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        events = Events(Clock())
        stream = events.subscribe()
        for number in range(5):
            events.publish("container", str(number), "1", {})
        assert [event.action async for event in stream] == ["0", "1", "2"]

    monkeypatch.setattr(module, "QUEUED_MAX", 3)
    asyncio.run(scenario())


def test_closing_ends_every_stream_after_what_is_queued() -> None:
    async def scenario() -> None:
        events = Events(Clock())
        stream = events.subscribe()
        events.publish("container", "start", "1", {})
        events.close()
        assert [event.action async for event in stream] == ["start"]

    asyncio.run(scenario())
