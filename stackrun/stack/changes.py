"""All that happens to one stack or to every one, as it happens: the engine's events and our own decisions in one stream.

Networks and volumes tell no labels with their events, so whose they are is asked when they appear and remembered until they go.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import aclosing

from stackrun.api import labels
from stackrun.api.engine import Engine
from stackrun.api.stacks import Change, ChangeQuery, Decision
from stackrun.api.types import Event, Filters
from stackrun.errors import StackrunError
from stackrun.stack.journal import Journal
from stackrun.stack.witness import EVERYTHING_S

QUEUED_MAX = 65_536
"""Changes that wait for one slow reader; beyond, its stream ends."""
_TYPES = Filters({"type": ("container", "network", "volume")})
_MINE = Filters({"label": (labels.PROJECT,)})
_COMPOSE = "com.docker.compose."


class Changes:
    """An iterator that has begun once `begin` returns: nothing that happens afterwards is missed. `aclose` ends it.

    `project` empty: of every stack.
    """

    def __init__(self, engine: Engine, journal: Journal, project: str, query: ChangeQuery) -> None:
        self._engine = engine
        self._journal = journal
        self._project = project
        self._query = query
        self._owners = _Owners(engine)
        self._queue: asyncio.Queue[Change | None] = asyncio.Queue()
        self._live: AsyncGenerator[Event, None] | None = None
        self._listening: asyncio.Task[None] | None = None
        self._deaf: Callable[[], None] = _nothing

    async def begin(self) -> Changes:
        now_s, until_s = time.time(), self._query.until_s
        try:
            await self._owners.learn()
            if not until_s or until_s > now_s:
                self._hear_decisions()
                self._live = await self._engine.events(filters=_TYPES)
                now_s = time.time()
            if self._query.since_s or until_s:
                await self._queue_past(min(now_s, until_s or now_s))
        except BaseException:
            await self.aclose()
            raise
        if self._live is None:
            self._queue.put_nowait(None)
        else:
            self._listening = asyncio.create_task(self._listen(self._live, now_s))
        return self

    def _hear_decisions(self) -> None:
        loop = asyncio.get_running_loop()

        def hear(project: str, decision: Decision) -> None:
            loop.call_soon_threadsafe(self._offer, decided(project, decision))

        self._deaf = self._journal.listen(hear)

    async def _queue_past(self, until_s: float) -> None:
        found: list[Change] = []
        past = await self._engine.events(since_s=self._query.since_s or EVERYTHING_S, until_s=until_s, filters=_TYPES)
        async with aclosing(past):
            async for event in past:
                change = await self._owners.change(event)
                found += [change] if change else []
        projects = (self._project,) if self._project else await asyncio.to_thread(self._journal.projects)
        for project in projects:
            noted = await asyncio.to_thread(self._journal.every_count, project)
            found += [decided(project, one) for one in noted if self._query.since_s <= one.time_s <= until_s]
        for change in sorted(found, key=lambda one: (one.time_ns // 1000, one.type == "stack")):  # as exactly as a decision's time is
            self._offer(change)

    async def _listen(self, live: AsyncGenerator[Event, None], after_s: float) -> None:
        try:
            async with aclosing(live):
                async for event in live:
                    change = await self._owners.change(event)
                    if change is not None and event.time_ns > after_s * 1e9:
                        self._offer(change)
        finally:
            self._queue.put_nowait(None)

    def _offer(self, change: Change) -> None:
        if self._project and change.project != self._project:
            return
        if self._query.services and change.service not in self._query.services:
            return
        self._queue.put_nowait(change if self._queue.qsize() < QUEUED_MAX else None)

    def __aiter__(self) -> Changes:
        return self

    async def __anext__(self) -> Change:
        try:
            async with asyncio.timeout(self._query.until_s - time.time() if self._live and self._query.until_s else None):
                change = await self._queue.get()
        except TimeoutError:
            change = None
        if change is None:
            await self.aclose()
            raise StopAsyncIteration
        return change

    async def aclose(self) -> None:
        self._deaf()
        if self._listening is not None:
            self._listening.cancel()
            await asyncio.wait([self._listening])
        if self._live is not None:
            await self._live.aclose()
        self._queue.put_nowait(None)


def _nothing() -> None:
    """Nobody listens yet."""


def decided(project: str, decision: Decision) -> Change:
    attributes = {"by": decision.by, "cause": decision.cause}
    attributes |= {"detail": decision.detail} if decision.detail else {}
    attributes |= {"times": str(decision.times)} if decision.times > 1 else {}
    time_ns = round(decision.time_s * 1e9)
    return Change(time_ns, "stack", decision.did, decision.resource, project, decision.service, attributes)


class _Owners:
    """Which stack a network or a volume belongs to."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._projects: dict[tuple[str, str], str] = {}

    async def learn(self) -> None:
        networks, volumes = await asyncio.gather(self._engine.networks(filters=_MINE), self._engine.volumes(filters=_MINE))
        self._projects |= {("network", one.id): one.spec.labels[labels.PROJECT] for one in networks}
        self._projects |= {("volume", one.name): one.labels[labels.PROJECT] for one in volumes}

    async def change(self, event: Event) -> Change | None:
        """None for what belongs to no stack, and for one-off containers, which Compose leaves out too."""
        attributes = event.attributes
        if event.type == "container":
            project = attributes.get(labels.PROJECT, "")
            if attributes.get(labels.ONEOFF, "").lower() == "true":
                return None
        else:
            project = await self._project(event)
        if not project:
            return None
        shown = _shown(attributes.items())
        return Change(event.time_ns, event.type, event.action, event.id, project, attributes.get(labels.SERVICE, ""), shown)

    async def _project(self, event: Event) -> str:
        place = (event.type, event.id)
        if event.action == "create" and place not in self._projects:
            self._projects[place] = await self._asked(event)
        project = self._projects.get(place, "")
        if event.action == "destroy":
            self._projects.pop(place, None)
        return project

    async def _asked(self, event: Event) -> str:
        try:
            if event.type == "network":
                return (await self._engine.network(event.id)).spec.labels.get(labels.PROJECT, "")
            return (await self._engine.volume(event.id)).labels.get(labels.PROJECT, "")
        except StackrunError:
            return ""  # it is gone again already


def _shown(attributes: Iterable[tuple[str, str]]) -> dict[str, str]:
    return {key: value for key, value in sorted(attributes) if not key.startswith(_COMPOSE)}
