"""A stack service that answers what a test told it to."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from stackrun.api.drift import DriftOptions, DriftReport
from stackrun.api.stacks import (
    BuildOptions,
    Change,
    ChangeQuery,
    DownOptions,
    History,
    Keep,
    Reasons,
    StackEvent,
    StackPlan,
    StackSource,
    StackSummary,
    StateDifference,
    UpOptions,
)
from stackrun.errors import StackrunError


@dataclass
class FakeStacks:
    """`error` is raised before the stream; `broken` after its events."""

    events: list[StackEvent] = field(default_factory=list)
    error: StackrunError | None = None
    broken: StackrunError | None = None
    summaries: tuple[StackSummary, ...] = ()
    planned: StackPlan = field(default_factory=lambda: StackPlan("shop"))
    drifted: DriftReport = field(default_factory=lambda: DriftReport("shop"))
    kept: Keep = field(default_factory=lambda: Keep("shop"))
    past: History = field(default_factory=lambda: History("shop"))
    difference: StateDifference = field(default_factory=lambda: StateDifference("shop", "revision 1", "the file"))
    reasons: Reasons = field(default_factory=lambda: Reasons("shop", "db"))
    changed: list[Change] = field(default_factory=list)
    requests: list[tuple[object, ...]] = field(default_factory=list)

    async def _run(self, *request: object) -> AsyncIterator[StackEvent]:
        self.requests.append(request)
        if self.error:
            raise self.error
        return self._stream()

    async def _stream(self) -> AsyncIterator[StackEvent]:
        for event in self.events:
            yield event
        if self.broken:
            raise self.broken

    async def plan(self, source: StackSource, options: UpOptions) -> StackPlan:
        self.requests.append(("plan", source, options))
        if self.error:
            raise self.error
        return self.planned

    async def drift(self, source: StackSource, options: DriftOptions) -> DriftReport:
        self.requests.append(("drift", source, options))
        if self.error:
            raise self.error
        return self.drifted

    async def up(self, source: StackSource, options: UpOptions) -> AsyncIterator[StackEvent]:
        return await self._run("up", source, options)

    async def keep(self, source: StackSource, on: bool | None) -> Keep:
        self.requests.append(("keep", source, on))
        if self.error:
            raise self.error
        return self.kept

    async def history(self, source: StackSource) -> History:
        self.requests.append(("history", source))
        if self.error:
            raise self.error
        return self.past

    async def diff(self, source: StackSource, before: int, after: int) -> StateDifference:
        self.requests.append(("diff", source, before, after))
        if self.error:
            raise self.error
        return self.difference

    async def down(self, source: StackSource, options: DownOptions) -> AsyncIterator[StackEvent]:
        return await self._run("down", source, options)

    async def start(self, source: StackSource, services: tuple[str, ...]) -> AsyncIterator[StackEvent]:
        return await self._run("start", source, services)

    async def stop(self, source: StackSource, services: tuple[str, ...], timeout_s: float | None) -> AsyncIterator[StackEvent]:
        return await self._run("stop", source, services, timeout_s)

    async def restart(self, source: StackSource, services: tuple[str, ...], timeout_s: float | None) -> AsyncIterator[StackEvent]:
        return await self._run("restart", source, services, timeout_s)

    async def kill(self, source: StackSource, services: tuple[str, ...], signal: str) -> AsyncIterator[StackEvent]:
        return await self._run("kill", source, services, signal)

    async def pull(self, source: StackSource, services: tuple[str, ...]) -> AsyncIterator[StackEvent]:
        return await self._run("pull", source, services)

    async def build(self, source: StackSource, options: BuildOptions) -> AsyncIterator[StackEvent]:
        return await self._run("build", source, options)

    async def stacks(self, *, all: bool = False) -> tuple[StackSummary, ...]:
        self.requests.append(("stacks", all))
        return self.summaries

    async def why(self, source: StackSource, service: str, limit: int = 100) -> Reasons:
        self.requests.append(("why", source, service, limit))
        if self.error:
            raise self.error
        return self.reasons

    async def changes(self, source: StackSource, query: ChangeQuery) -> AsyncIterator[Change]:
        self.requests.append(("changes", source, query))
        if self.error:
            raise self.error
        return self._changed()

    async def _changed(self) -> AsyncIterator[Change]:
        for one in self.changed:
            yield one
