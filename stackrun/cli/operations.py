"""One operation on a whole stack, wherever its reconciler runs: in our daemon, or here for a foreign Docker host.

Both give the same events, as dictionaries of api.stacks.StackEvent's fields.
"""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterator
from contextlib import closing
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from stackrun.cli.engines import chosen, connect
from stackrun.errors import ExecuteFailed, NotFound, StackrunError, Unsupported

if TYPE_CHECKING:
    import argparse

    from stackrun.api.stacks import StackEvent, StackPlan, Stacks
    from stackrun.cli.engines import Engine
    from stackrun.cli.render import Display
    from stackrun.client.http import Response, Transport

T = TypeVar("T")
Event = dict[str, Any]
Here = Callable[["Engine", dict[str, Any]], dict[str, Any]]
"""Answers a request in this process, for a foreign engine."""
ROUTE = "/stackrun/v1/stacks"


class Events(Protocol):
    """The events of an operation under way; closing them ends it, whether the first was taken or not."""

    def __iter__(self) -> Iterator[Event]: ...
    def close(self) -> None: ...


def operate(options: argparse.Namespace, verb: str, request: dict[str, Any]) -> Events:
    """Carries out `verb` (up, down, start, …) and yields its events; closing the iterator ends the work.

    `request` is the body of POST /stackrun/v1/stacks/VERB.
    """
    transport = connect(options)
    engine = chosen(options)
    if engine.own or _reconciles(transport, engine):
        return _Told(transport.request("POST", f"{ROUTE}/{verb}", payload=request))
    return _here(engine, verb, request)


def follow(events: Events, display: Display, action: str) -> None:
    """Shows every event; ExecuteFailed when the last one says so. Interrupted, it ends the operation before it returns."""
    failed: StackrunError | None = None
    with closing(events), display:
        for event in events:
            if event["resource"]:
                display.event(event)
            elif event["phase"] == "failed":
                failed = _failure(event, action)
    if failed:
        raise failed


def summaries(options: argparse.Namespace, *, all: bool) -> list[dict[str, Any]]:
    """Every stack the engine knows, by name: `name`, `status`, `config_files`."""
    transport = connect(options)
    engine = chosen(options)
    if engine.own or _reconciles(transport, engine):
        found: Any = transport.json("GET", ROUTE, query={"all": all})
        return list(found)
    return _summaries_here(engine, all)


def plan_document(options: argparse.Namespace, request: dict[str, Any]) -> dict[str, Any]:
    """What `up` with the same request would do, as JSON of api.stacks.StackPlan; nothing is done."""
    return _document(options, "plan", request, _planned_here)


def planned(options: argparse.Namespace, request: dict[str, Any]) -> StackPlan:
    """The same as a value."""
    from stackrun.api.wire import stacks as wire

    return wire.plan_from_json(plan_document(options, request))


def drift_document(options: argparse.Namespace, request: dict[str, Any]) -> dict[str, Any]:
    """What of the stack is otherwise than declared, as JSON of api.drift.DriftReport."""
    return _document(options, "drift", request, _drift_here)


def reasons_document(options: argparse.Namespace, request: dict[str, Any]) -> dict[str, Any]:
    """Why a service is as it is, as JSON of api.stacks.Reasons."""
    return _document(options, "why", request, _reasons_here)


def history_document(options: argparse.Namespace, request: dict[str, Any]) -> dict[str, Any]:
    """The stack's revisions, as JSON of api.stacks.History."""
    return _document(options, "history", request, _history_here)


def difference_document(options: argparse.Namespace, request: dict[str, Any]) -> dict[str, Any]:
    """What differs between two of them, or one and the file, as JSON of api.stacks.StateDifference."""
    return _document(options, "diff", request, _difference_here)


def kept(options: argparse.Namespace, request: dict[str, Any]) -> dict[str, Any]:
    """Whether and how a stack is kept, as JSON of api.stacks.Keep. Unsupported for a foreign engine, whose stacks nobody keeps."""
    return _document(options, "keep", request, _nobody_keeps)


def _document(options: argparse.Namespace, verb: str, request: dict[str, Any], here: Here) -> dict[str, Any]:
    transport = connect(options)
    engine = chosen(options)
    if engine.own or _reconciles(transport, engine):
        told: Any = transport.json("POST", f"{ROUTE}/{verb}", payload=request)
        return dict(told)
    return here(engine, request)


def _nobody_keeps(engine: Engine, request: dict[str, Any]) -> dict[str, Any]:
    raise Unsupported(f"the stacks on {engine.host} are not kept", hint="our own daemon keeps those on its own engine; leave out --host")


def changes(options: argparse.Namespace, request: dict[str, Any]) -> Events:
    """What happens to a stack from now on, as JSON of api.stacks.Change; first of all, for a foreign host, what is not seen there."""
    transport = connect(options)
    engine = chosen(options)
    if engine.own or _reconciles(transport, engine):
        return _Told(transport.request("POST", f"{ROUTE}/events", payload=request))
    return _changes_here(engine, request)


class _Told:
    """Events as the daemon tells them. No generator: one that has not begun closes nothing."""

    def __init__(self, response: Response) -> None:
        self._response = response

    def __iter__(self) -> Iterator[Event]:
        return (json.loads(line) for line in self._response.lines())

    def close(self) -> None:
        self._response.close()


def _failure(event: Event, action: str) -> StackrunError:
    causes = tuple(event.get("detail", "").splitlines())
    error = ExecuteFailed(f"{action} failed", causes, hint=event.get("hint", ""))
    if len(causes) == 1:
        error = ExecuteFailed(f"{action} failed: {causes[0]}", hint=event.get("hint", ""))
    error.exit_code = event.get("exit_code") or error.exit_code
    return error


def _reconciles(transport: Transport, engine: Engine) -> bool:
    """Whether a daemon of ours is behind this address, on this machine, where the stack's files are."""
    if not engine.host.startswith("unix://"):
        return False
    try:
        transport.json("GET", ROUTE)
    except NotFound:
        return False
    return True


def _here(engine: Engine, verb: str, request: dict[str, Any]) -> Generator[Event, None, None]:
    """The reconciler in this process, one event at a time."""
    import asyncio

    from stackrun.api.wire import stacks as wire
    from stackrun.client.engine import HttpEngine
    from stackrun.stack.operations import StackOperations

    with asyncio.Runner() as runner:
        client = HttpEngine(engine.host)
        operations = StackOperations(client, state_dir=_state_dir(engine.host))
        try:
            iterator: Any = runner.run(_begun(operations, verb, request))
            try:
                while (event := runner.run(_next(iterator))) is not None:
                    yield wire.event_to_json(event)
            finally:
                runner.run(iterator.aclose())
        finally:
            runner.run(client.close())


async def _begun(operations: Stacks, verb: str, request: dict[str, Any]) -> AsyncIterator[StackEvent]:
    """What the daemon's route of this verb does with the same body."""
    from stackrun.api.wire import stacks as wire

    source = wire.source_from_json(request)
    if verb == "up":
        return await operations.up(source, wire.up_options_from_json(request))
    if verb == "build":
        return await operations.build(source, wire.build_options_from_json(request))
    if verb == "down":
        return await operations.down(source, wire.down_options_from_json(request))
    services, timeout_s, signal = wire.arguments_from_json(request)
    match verb:
        case "start":
            return await operations.start(source, services)
        case "stop":
            return await operations.stop(source, services, timeout_s)
        case "restart":
            return await operations.restart(source, services, timeout_s)
        case "kill":
            return await operations.kill(source, services, signal)
        case _:
            return await operations.pull(source, services)


async def _next(iterator: Any) -> Any:
    return await anext(iterator, None)


def _planned_here(engine: Engine, request: dict[str, Any]) -> dict[str, Any]:
    import asyncio

    from stackrun.api.wire import stacks as wire
    from stackrun.client.engine import HttpEngine
    from stackrun.stack.operations import StackOperations

    async def ask() -> dict[str, Any]:
        async with HttpEngine(engine.host) as client:
            operations = StackOperations(client, state_dir=_state_dir(engine.host))
            return wire.plan_to_json(await operations.plan(wire.source_from_json(request), wire.up_options_from_json(request)))

    return asyncio.run(ask())


def _reasons_here(engine: Engine, request: dict[str, Any]) -> dict[str, Any]:
    import asyncio

    from stackrun.api.wire import stacks as wire
    from stackrun.client.engine import HttpEngine
    from stackrun.stack.operations import StackOperations

    async def ask() -> dict[str, Any]:
        async with HttpEngine(engine.host) as client:
            operations = StackOperations(client, state_dir=_state_dir(engine.host))
            return wire.reasons_to_json(await operations.why(wire.source_from_json(request), *wire.asked_from_json(request)))

    return asyncio.run(ask())


def _history_here(engine: Engine, request: dict[str, Any]) -> dict[str, Any]:
    from stackrun.api.wire import stacks as wire

    return _asked_here(engine, lambda stacks: stacks.history(wire.source_from_json(request)), wire.history_to_json)


def _drift_here(engine: Engine, request: dict[str, Any]) -> dict[str, Any]:
    from stackrun.api.wire import drift
    from stackrun.api.wire import stacks as wire

    asked = drift.drift_options_from_json(request)
    return _asked_here(engine, lambda stacks: stacks.drift(wire.source_from_json(request), asked), drift.drift_to_json)


def _difference_here(engine: Engine, request: dict[str, Any]) -> dict[str, Any]:
    from stackrun.api.wire import stacks as wire

    before, after = wire.compared_from_json(request)
    return _asked_here(engine, lambda stacks: stacks.diff(wire.source_from_json(request), before, after), wire.difference_to_json)


def _asked_here(engine: Engine, question: Callable[[Stacks], Awaitable[T]], to_json: Callable[[T], dict[str, Any]]) -> dict[str, Any]:
    import asyncio

    from stackrun.client.engine import HttpEngine
    from stackrun.stack.operations import StackOperations

    async def ask() -> dict[str, Any]:
        async with HttpEngine(engine.host) as client:
            return to_json(await question(StackOperations(client, state_dir=_state_dir(engine.host))))

    return asyncio.run(ask())


def _changes_here(engine: Engine, request: dict[str, Any]) -> Generator[Event, None, None]:
    import asyncio

    from stackrun.api.wire import stacks as wire
    from stackrun.client.engine import HttpEngine
    from stackrun.stack.operations import StackOperations

    with asyncio.Runner() as runner:
        client = HttpEngine(engine.host)
        operations = StackOperations(client, state_dir=_state_dir(engine.host))
        try:
            found: Any = runner.run(operations.changes(wire.source_from_json(request), wire.query_from_json(request)))
            try:
                yield {"error": "this is no engine of ours: decisions of other commands are shown with --since alone, once they are taken"}
                while (change := runner.run(_next(found))) is not None:
                    yield wire.change_to_json(change)
            finally:
                runner.run(found.aclose())
        finally:
            runner.run(client.close())


def _summaries_here(engine: Engine, all: bool) -> list[dict[str, Any]]:
    import asyncio

    from stackrun.client.engine import HttpEngine
    from stackrun.stack.operations import StackOperations

    async def ask() -> list[dict[str, Any]]:
        async with HttpEngine(engine.host) as client:
            found = await StackOperations(client, state_dir=_state_dir(engine.host)).stacks(all=all)
        return [{"name": one.name, "status": one.status, "config_files": list(one.config_files)} for one in found]

    return asyncio.run(ask())


def _state_dir(host: str) -> str:
    """Where configs and secrets of stacks on that host are kept while they are mounted."""
    import hashlib

    base = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    return f"{base}/stackrun/{hashlib.sha256(host.encode()).hexdigest()[:12]}"
