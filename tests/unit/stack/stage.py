"""A stack from its file to an engine in memory, with what was told on the way."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from fakes.engine import Behaviour, FakeEngine

from stackrun.api.stacks import DownOptions, StackEvent, StackPlan, StackSource, UpOptions
from stackrun.stack.operations import StackOperations

SHOP = """\
name: shop
services:
  db:
    image: busybox:1
    healthcheck: {test: [CMD, "true"]}
    volumes: [data:/data]
    secrets: [token]
  migrate:
    image: busybox:1
    depends_on: {db: {condition: service_healthy}}
  web:
    image: busybox:1
    depends_on: {migrate: {condition: service_completed_successfully}}
volumes: {data: {}}
secrets: {token: {environment: TOKEN}}
"""


class Scene:
    def __init__(self, folder: Path) -> None:
        self.engine = FakeEngine(images=("busybox:1",))
        self.engine.behave("migrate", Behaviour(exit_code=0))
        self.folder = folder
        self.state = folder / "state"
        self.operations = StackOperations(self.engine, state_dir=str(self.state))
        self.events: list[StackEvent] = []
        self.write(SHOP)

    def write(self, text: str) -> None:
        (self.folder / "compose.yaml").write_text(text)

    @property
    def source(self) -> StackSource:
        return StackSource(str(self.folder), environment={"TOKEN": "hush"})

    async def up(self, source: StackSource | None = None, **options: object) -> StackEvent:
        return await self.drain(await self.operations.up(source or self.source, UpOptions(**options)))  # type: ignore[arg-type]

    async def plan(self, source: StackSource | None = None, **options: object) -> StackPlan:
        return await self.operations.plan(source or self.source, UpOptions(**options))  # type: ignore[arg-type]

    async def down(self, source: StackSource | None = None, **options: object) -> StackEvent:
        return await self.drain(await self.operations.down(source or self.source, DownOptions(**options)))  # type: ignore[arg-type]

    async def drain(self, events: object) -> StackEvent:
        """Everything that is told; gives the last of it."""
        self.events = [event async for event in events]  # type: ignore[attr-defined]
        return self.events[-1]

    async def states(self) -> dict[str, str]:
        return {one.name: str(one.state.status) for one in await self.engine.containers(all=True)}

    def warnings(self) -> list[tuple[str, str]]:
        return [(one.resource, one.detail) for one in self.events if one.text == "Warning"]


Play = Callable[[Callable[[Scene], Awaitable[None]]], None]


def player(folder: Path) -> Play:
    """Runs a scene in a folder of its own, within a limit of time."""

    def played(scene: Callable[[Scene], Awaitable[None]]) -> None:
        async def within_a_limit() -> None:
            async with asyncio.timeout(20):
                await scene(Scene(folder))

        asyncio.run(within_a_limit())

    return played
