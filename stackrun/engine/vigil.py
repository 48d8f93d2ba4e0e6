"""Running containers of kept stacks, looked at again when the kernel tells that their limits or mounts have changed.

    news ──► after a moment, once for many, later and later for one that changes all the time ──► Truth.repair_container

A volume whose directory was taken away is made again, as new, and mounted where it was: what runs sees it without a restart.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from pathlib import Path

from stackrun.api import labels
from stackrun.api.types import Event, Filters, MountType
from stackrun.engine.drift import Patience, Truth
from stackrun.engine.events import Events
from stackrun.engine.planner import Planner
from stackrun.engine.pool import Pool
from stackrun.engine.registry import Entry, Registry
from stackrun.engine.tasks import Tasks
from stackrun.engine.volumes import Volumes
from stackrun.errors import StackrunError
from stackrun.kernel import cgroup
from stackrun.kernel.container_news import ContainerNews, MountNews

_FOLLOWED = Filters({"type": ("container",), "event": ("start", "die", "destroy")})
_CONTROLLERS = ("memory", "cpu", "pids")


class Vigil:
    """`is_held`: whether nobody keeps a project; then its containers are left alone, and so are those of no project."""

    def __init__(
        self,
        *,
        registry: Registry,
        events: Events,
        pool: Pool,
        tasks: Tasks,
        planner: Planner,
        volumes: Volumes,
        truth: Truth,
        report: Callable[[str], None],
    ) -> None:
        self._registry = registry
        self._events = events
        self._pool = pool
        self._tasks = tasks
        self._planner = planner
        self._volumes = volumes
        self._truth = truth
        truth.restore = self._restore
        self._report = report
        self._layout = cgroup.detect()
        self._news: ContainerNews | None = None
        self._mounts: MountNews | None = None
        self._due: dict[str, asyncio.TimerHandle] = {}
        self._patience: dict[str, Patience] = {}

    def watch(self) -> None:
        try:
            self._news = ContainerNews()
        except StackrunError as error:
            self._report(f"changes of limits and mounts are not heard of: {error.message}")
            return
        loop = asyncio.get_running_loop()
        loop.add_reader(self._news.fileno(), self._readable)

        def tell(names: frozenset[str]) -> None:
            loop.call_soon_threadsafe(self._stirred, names)

        self._mounts = MountNews(tell)
        self._tasks.spawn(self._follow(self._events.subscribe(filters=_FOLLOWED)), "follow containers")
        for entry in self._registry:
            self._begin(entry)

    def close(self) -> None:
        for timer in self._due.values():
            timer.cancel()
        self._due.clear()
        if self._news is not None:
            asyncio.get_running_loop().remove_reader(self._news.fileno())
            self._news.close()
            self._news = None
        if self._mounts is not None:
            self._mounts.close()
            self._mounts = None

    async def _follow(self, events: AsyncGenerator[Event, None]) -> None:
        async with aclosing(events):
            async for event in events:
                entry = self._registry.get(event.id)
                if event.action == "start" and entry is not None:
                    self._begin(entry)
                elif event.action != "start":
                    self._end(event.id)

    def _begin(self, entry: Entry) -> None:
        if entry.handle is None or not entry.alive or labels.PROJECT not in entry.definition.spec.labels:
            return
        self._follow_files(entry)
        if self._mounts is not None:
            self._mounts.forget(entry.id)
            self._mounts.follow(entry.id, entry.handle.pid)

    def _follow_files(self, entry: Entry) -> None:
        """Of its cgroup, and where its volumes lie."""
        group = cgroup.Cgroup.load(self._layout, self._planner.cgroup_path(entry))
        groups = {group.directory(one) for one in _CONTROLLERS} - {""} if group.directories else set[str]()
        directories = (self._volumes.own_directory(name) for name in _volumes_of(entry))
        folders = {str(Path(one).parent) for one in directories if one}
        if self._news is not None:
            self._news.follow(entry.id, sorted(groups), sorted(folders))

    def _end(self, container_id: str) -> None:
        self._patience.pop(container_id, None)
        timer = self._due.pop(container_id, None)
        if timer is not None:
            timer.cancel()
        if self._news is not None:
            self._news.forget(container_id)
        if self._mounts is not None:
            self._mounts.forget(container_id)

    def _readable(self) -> None:
        if self._news is not None:
            self._stirred(self._news.names())

    def _stirred(self, names: frozenset[str]) -> None:
        for container_id in names if self._news is not None else ():
            if container_id not in self._due:
                patience = self._patience.setdefault(container_id, Patience())
                pause_s = patience.next_pause_s(time.monotonic())
                self._due[container_id] = asyncio.get_running_loop().call_later(pause_s, self._now, container_id)

    def _now(self, container_id: str) -> None:
        self._due.pop(container_id, None)
        entry = self._registry.get(container_id)
        if entry is not None and entry.alive and self._news is not None:
            self._patience.setdefault(container_id, Patience()).repaired(time.monotonic())
            self._tasks.spawn(self._look(entry), f"look at {entry.name} again")

    async def _look(self, entry: Entry) -> None:
        project = entry.definition.spec.labels.get(labels.PROJECT, "")
        if not self._truth.repairs or self._truth.is_held(project):
            return
        try:
            await self._truth.repair_container(entry)
        except StackrunError as error:
            self._report(f"repair {entry.name}: {error.message}")
        self._follow_files(entry)  # a directory that was made again is another one to watch

    async def _restore(self, entry: Entry) -> None:
        """The volumes that it has mounted."""
        for one in entry.definition.mounts:
            if one.type is MountType.VOLUME and one.name:
                whole = one.source == self._volumes.own_directory(one.name)
                await self._volumes.restore(one.name, entry.definition.lower if whole else (), one.target)


def _volumes_of(entry: Entry) -> list[str]:
    return [one.name for one in entry.definition.mounts if one.type is MountType.VOLUME and one.name]

