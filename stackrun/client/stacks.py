"""The Stacks contract over HTTP, as our own daemon keeps it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

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
from stackrun.api.wire import drift, stacks
from stackrun.client.address import TlsFiles
from stackrun.client.async_http import AsyncResponse, AsyncTransport


class HttpStacks:
    """`host` as in client.http.Transport."""

    def __init__(self, host: str, *, tls: TlsFiles | None = None) -> None:
        self._transport = AsyncTransport(host, tls=tls)

    async def __aenter__(self) -> HttpStacks:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.close()

    async def close(self) -> None:
        await self._transport.close()

    async def _operate(self, operation: str, source: StackSource, **rest: Any) -> AsyncIterator[StackEvent]:
        payload = stacks.request_to_json(source, **rest)
        return _events(await self._transport.request("POST", f"/stackrun/v1/stacks/{operation}", payload=payload))

    async def plan(self, source: StackSource, options: UpOptions) -> StackPlan:
        payload = stacks.request_to_json(source, options=stacks.up_options_to_json(options))
        return stacks.plan_from_json(await self._transport.json("POST", "/stackrun/v1/stacks/plan", payload=payload))

    async def drift(self, source: StackSource, options: DriftOptions) -> DriftReport:
        payload = stacks.request_to_json(source, options=drift.drift_options_to_json(options))
        return drift.drift_from_json(await self._transport.json("POST", "/stackrun/v1/stacks/drift", payload=payload))

    async def up(self, source: StackSource, options: UpOptions) -> AsyncIterator[StackEvent]:
        return await self._operate("up", source, options=stacks.up_options_to_json(options))

    async def history(self, source: StackSource) -> History:
        payload = stacks.request_to_json(source)
        return stacks.history_from_json(await self._transport.json("POST", "/stackrun/v1/stacks/history", payload=payload))

    async def diff(self, source: StackSource, before: int, after: int) -> StateDifference:
        payload = stacks.request_to_json(source, before=before, after=after)
        return stacks.difference_from_json(await self._transport.json("POST", "/stackrun/v1/stacks/diff", payload=payload))

    async def down(self, source: StackSource, options: DownOptions) -> AsyncIterator[StackEvent]:
        return await self._operate("down", source, options=stacks.down_options_to_json(options))

    async def start(self, source: StackSource, services: tuple[str, ...]) -> AsyncIterator[StackEvent]:
        return await self._operate("start", source, services=list(services))

    async def stop(self, source: StackSource, services: tuple[str, ...], timeout_s: float | None) -> AsyncIterator[StackEvent]:
        return await self._operate("stop", source, services=list(services), timeout_s=timeout_s)

    async def restart(self, source: StackSource, services: tuple[str, ...], timeout_s: float | None) -> AsyncIterator[StackEvent]:
        return await self._operate("restart", source, services=list(services), timeout_s=timeout_s)

    async def kill(self, source: StackSource, services: tuple[str, ...], signal: str) -> AsyncIterator[StackEvent]:
        return await self._operate("kill", source, services=list(services), signal=signal)

    async def pull(self, source: StackSource, services: tuple[str, ...]) -> AsyncIterator[StackEvent]:
        return await self._operate("pull", source, services=list(services))

    async def build(self, source: StackSource, options: BuildOptions) -> AsyncIterator[StackEvent]:
        return await self._operate("build", source, options=stacks.build_options_to_json(options))

    async def keep(self, source: StackSource, on: bool | None) -> Keep:
        payload = stacks.request_to_json(source, on=on)
        return stacks.keep_from_json(await self._transport.json("POST", "/stackrun/v1/stacks/keep", payload=payload))

    async def stacks(self, *, all: bool = False) -> tuple[StackSummary, ...]:
        return stacks.summaries_from_json(await self._transport.json("GET", "/stackrun/v1/stacks", query={"all": all}))

    async def why(self, source: StackSource, service: str, limit: int = 100) -> Reasons:
        payload = stacks.request_to_json(source, service=service, limit=limit)
        return stacks.reasons_from_json(await self._transport.json("POST", "/stackrun/v1/stacks/why", payload=payload))

    async def changes(self, source: StackSource, query: ChangeQuery) -> AsyncIterator[Change]:
        payload = stacks.request_to_json(source, query=stacks.query_to_json(query))
        return _changes(await self._transport.request("POST", "/stackrun/v1/stacks/events", payload=payload))


async def _changes(response: AsyncResponse) -> AsyncIterator[Change]:
    try:
        async for told in response.lines():
            yield stacks.change_from_json(told)
    finally:
        response.close()


async def _events(response: AsyncResponse) -> AsyncIterator[StackEvent]:
    try:
        async for told in response.lines():
            yield stacks.event_from_json(told)
    finally:
        response.close()
