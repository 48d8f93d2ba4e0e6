"""`/containers` and `/exec`."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Awaitable

from stackrun.api import filters
from stackrun.api.engine import Engine, Stream
from stackrun.api.types import AttachQuery, ExitStatus, LogQuery, WaitCondition
from stackrun.api.wire import containers, specs
from stackrun.api.wire.fields import members
from stackrun.api.wire.times import timestamp_s
from stackrun.errors import InvalidArgument, Unsupported
from stackrun.server.http import Duplex, Hijack, Reply, Request, Response, Streaming, json_response
from stackrun.server.streams import DETACH_KEYS, DetachKeys, closer, log_output, output_type, pump

_DONE = Response(204)


class Containers:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def list_containers(self, request: Request) -> Reply:
        limit = request.number("limit")
        found = await self._engine.containers(
            all=request.flag("all") or limit > 0, filters=filters.parse(request.query.get("filters", "")), size=request.flag("size")
        )
        now_ns = time.time_ns()
        return json_response([containers.summary_to_json(one, now_ns) for one in found[: limit if limit > 0 else None]])

    async def create_container(self, request: Request) -> Reply:
        spec, warnings = specs.container_spec(await request.json())
        if request.query.get("platform"):
            warnings = (*warnings, f"platform {request.query['platform']} was left out: the image runs as it is stored here")
        created = await self._engine.create_container(request.query.get("name", ""), spec)
        return json_response(containers.created_to_json(created, warnings), 201)

    async def inspect_container(self, request: Request) -> Reply:
        return json_response(containers.container_to_json(await self._engine.container(request.variables["id"], size=request.flag("size"))))

    async def start_container(self, request: Request) -> Reply:
        if request.query.get("checkpoint"):
            raise Unsupported("starting from a checkpoint is not supported")
        await self._engine.start_container(request.variables["id"])
        return _DONE

    async def stop_container(self, request: Request) -> Reply:
        await self._engine.stop_container(request.variables["id"], timeout_s=_timeout(request), signal=request.query.get("signal", ""))
        return _DONE

    async def restart_container(self, request: Request) -> Reply:
        await self._engine.restart_container(request.variables["id"], timeout_s=_timeout(request), signal=request.query.get("signal", ""))
        return _DONE

    async def kill_container(self, request: Request) -> Reply:
        await self._engine.kill_container(request.variables["id"], request.query.get("signal") or "SIGKILL")
        return _DONE

    async def pause_container(self, request: Request) -> Reply:
        await self._engine.pause_container(request.variables["id"])
        return _DONE

    async def unpause_container(self, request: Request) -> Reply:
        await self._engine.unpause_container(request.variables["id"])
        return _DONE

    async def rename_container(self, request: Request) -> Reply:
        name = request.query.get("name", "").removeprefix("/")
        if not name:
            raise InvalidArgument("Neither old nor new names may be empty")
        await self._engine.rename_container(request.variables["id"], name)
        return _DONE

    async def update_container(self, request: Request) -> Reply:
        resources, policy = specs.update_from_json(await request.json())
        return json_response({"Warnings": list(await self._engine.update_container(request.variables["id"], resources, policy))})

    async def wait_container(self, request: Request) -> Reply:
        asked = request.query.get("condition") or WaitCondition.NOT_RUNNING
        if asked not in tuple(WaitCondition):
            raise InvalidArgument(f'invalid condition: "{asked}"')
        return Streaming(_exit(await self._engine.wait_container(request.variables["id"], WaitCondition(asked))))

    async def resize_container(self, request: Request) -> Reply:
        rows, columns = _size(request)
        await self._engine.resize_container(request.variables["id"], rows=rows, columns=columns)
        return Response(200)

    async def container_top(self, request: Request) -> Reply:
        table = await self._engine.container_top(request.variables["id"], request.query.get("ps_args") or "-ef")
        return json_response(containers.processes_to_json(table))

    async def remove_container(self, request: Request) -> Reply:
        if request.flag("link"):
            raise Unsupported("legacy links cannot be removed: there are none")
        await self._engine.remove_container(request.variables["id"], force=request.flag("force"), volumes=request.flag("v"))
        return _DONE

    async def container_logs(self, request: Request) -> Reply:
        query = _log_query(request)
        ref = request.variables["id"]
        tty = (await self._engine.container(ref)).spec.tty
        lines = await self._engine.container_logs(ref, query)
        output = log_output(lines, tty=tty, timestamps=request.flag("timestamps"))
        return Streaming(output, output_type(tty, request.version), closer(lines))

    async def attach_container(self, request: Request) -> Reply:
        query = AttachQuery(**{name: request.flag(name) for name in ("stdin", "stdout", "stderr", "stream", "logs")})
        keys = DetachKeys(request.query.get("detachKeys") or DETACH_KEYS)
        stream = await self._engine.attach_container(request.variables["id"], query)
        return _process(stream, request, stdin=query.stdin, keys=keys)

    # --- exec

    async def create_exec(self, request: Request) -> Reply:
        spec = containers.exec_spec_from_json(await request.json())
        return json_response({"Id": await self._engine.create_exec(request.variables["id"], spec)}, 201)

    async def start_exec(self, request: Request) -> Reply:
        asked = members(await request.json(), "the body")
        exec_id = request.variables["id"]
        if asked.get("Detach"):
            await self._engine.start_exec_detached(exec_id)
            return Response(200)
        rows, columns = (int(part) for part in asked.get("ConsoleSize") or (0, 0))
        spec = (await self._engine.exec(exec_id)).spec
        keys = DetachKeys(spec.detach_keys or DETACH_KEYS)
        stream = await self._engine.start_exec(exec_id, tty=bool(asked.get("Tty")), rows=rows, columns=columns)
        return _process(stream, request, stdin=spec.attach_stdin, keys=keys)

    async def resize_exec(self, request: Request) -> Reply:
        rows, columns = _size(request)
        await self._engine.resize_exec(request.variables["id"], rows=rows, columns=columns)
        return Response(200)

    async def inspect_exec(self, request: Request) -> Reply:
        return json_response(containers.exec_to_json(await self._engine.exec(request.variables["id"])))


def _timeout(request: Request) -> float | None:
    return float(request.number("t")) if request.query.get("t") else None


def _size(request: Request) -> tuple[int, int]:
    return request.number("h"), request.number("w")


def _log_query(request: Request) -> LogQuery:
    since_s, until_s = (timestamp_s(request.query.get(name, "")) for name in ("since", "until"))
    query = LogQuery(
        stdout=request.flag("stdout"), stderr=request.flag("stderr"), follow=request.flag("follow"),
        tail=_tail(request.query.get("tail", "")), since_s=since_s, until_s=until_s,
    )  # fmt: skip
    if not (query.stdout or query.stderr):
        raise InvalidArgument("Bad parameters: you must choose at least one stream")
    return query


def _tail(text: str) -> int | None:
    """A number of lines; everything else, `all` and negative numbers too, is every line."""
    return int(text) if text.isdecimal() else None


async def _exit(exited: Awaitable[ExitStatus]) -> AsyncIterator[bytes]:
    yield json.dumps(containers.exit_to_json(await exited)).encode() + b"\n"


def _process(stream: Stream, request: Request, *, stdin: bool, keys: DetachKeys) -> Hijack:
    async def run(connection: Duplex) -> None:
        await pump(connection, stream, stdin=stdin, keys=keys if stream.tty else None)

    return Hijack(run, output_type(stream.tty, request.version), stream.close)
