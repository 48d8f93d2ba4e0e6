"""`/_ping`, `/version`, `/info`, `/events`, and our own `/stackrun/v1`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import Any

from stackrun.api import filters
from stackrun.api.engine import Engine
from stackrun.api.routes import API_VERSION, MIN_API_VERSION
from stackrun.api.stacks import StackEvent, Stacks
from stackrun.api.wire import drift, stacks, system
from stackrun.api.wire.times import timestamp_s
from stackrun.errors import NotFound
from stackrun.server.http import Reply, Request, Response, Streaming, json_response
from stackrun.server.streams import closer, json_lines, stream_failure

_PING = (("Content-Type", "text/plain; charset=utf-8"), ("Cache-Control", "no-cache, no-store, must-revalidate"), ("Swarm", "inactive"))


class System:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def ping(self, request: Request) -> Reply:
        return Response(200, b"OK", _PING)

    async def version(self, request: Request) -> Reply:
        """The API versions are those of this server, whatever engine stands behind it."""
        told = replace(await self._engine.version(), api_version=API_VERSION, min_api_version=MIN_API_VERSION)
        return json_response(system.version_to_json(told))

    async def info(self, request: Request) -> Reply:
        return json_response(system.info_to_json(await self._engine.info()))

    async def events(self, request: Request) -> Reply:
        found = await self._engine.events(
            since_s=timestamp_s(request.query.get("since", "")), until_s=timestamp_s(request.query.get("until", "")),
            filters=filters.parse(request.query.get("filters", "")),
        )  # fmt: skip
        return Streaming(json_lines(found, system.event_to_json, stream_failure), close=found.aclose)


class StackRoutes:
    def __init__(self, service: Stacks, on_shutdown: Callable[[], None]) -> None:
        self._stacks = service
        self._on_shutdown = on_shutdown

    async def list_stacks(self, request: Request) -> Reply:
        return json_response(stacks.summaries_to_json(await self._stacks.stacks(all=request.flag("all"))))

    async def operate_stack(self, request: Request) -> Reply:
        body = await request.json()
        if request.variables["operation"] == "plan":
            plan = await self._stacks.plan(stacks.source_from_json(body), stacks.up_options_from_json(body))
            return json_response(stacks.plan_to_json(plan))
        if request.variables["operation"] == "drift":
            report = await self._stacks.drift(stacks.source_from_json(body), drift.drift_options_from_json(body))
            return json_response(drift.drift_to_json(report))
        if request.variables["operation"] == "why":
            reasons = await self._stacks.why(stacks.source_from_json(body), *stacks.asked_from_json(body))
            return json_response(stacks.reasons_to_json(reasons))
        if request.variables["operation"] == "events":
            return await self._changes(body)
        if request.variables["operation"] == "history":
            return json_response(stacks.history_to_json(await self._stacks.history(stacks.source_from_json(body))))
        if request.variables["operation"] == "diff":
            found = await self._stacks.diff(stacks.source_from_json(body), *stacks.compared_from_json(body))
            return json_response(stacks.difference_to_json(found))
        if request.variables["operation"] == "keep":
            kept = await self._stacks.keep(stacks.source_from_json(body), stacks.switch_from_json(body))
            return json_response(stacks.keep_to_json(kept))
        events = await self._begun(request.variables["operation"], body)
        lines = json_lines(events, stacks.event_to_json, lambda error: stacks.event_to_json(stacks.failure_event(error)))
        return Streaming(lines, close=closer(events))

    async def _changes(self, body: Any) -> Reply:
        found = await self._stacks.changes(stacks.source_from_json(body), stacks.query_from_json(body))
        return Streaming(json_lines(found, stacks.change_to_json, stream_failure), close=closer(found))

    def _begun(self, operation: str, body: Any) -> Awaitable[AsyncIterator[StackEvent]]:
        source = stacks.source_from_json(body)
        services, timeout_s, signal = stacks.arguments_from_json(body)
        match operation:
            case "up":
                return self._stacks.up(source, stacks.up_options_from_json(body))
            case "build":
                return self._stacks.build(source, stacks.build_options_from_json(body))
            case "down":
                return self._stacks.down(source, stacks.down_options_from_json(body))
            case "start":
                return self._stacks.start(source, services)
            case "stop":
                return self._stacks.stop(source, services, timeout_s)
            case "restart":
                return self._stacks.restart(source, services, timeout_s)
            case "kill":
                return self._stacks.kill(source, services, signal)
            case "pull":
                return self._stacks.pull(source, services)
        raise NotFound("page not found")

    async def shutdown(self, request: Request) -> Reply:
        return Response(204, afterwards=self._on_shutdown)
