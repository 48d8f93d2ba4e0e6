"""Our own routes and the router, over the real server with fakes behind it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from fakes.engine import Behaviour, FakeEngine
from fakes.served import served_in_thread
from fakes.stacks import FakeStacks

from stackrun.api.routes import ROUTES
from stackrun.api.stacks import Phase, StackEvent, StackSource, StackSummary, UpOptions
from stackrun.client.http import Transport
from stackrun.errors import ComposeError, Diagnostic, ExecuteFailed, InvalidArgument, NotFound, StackrunError, Unavailable, Unsupported
from stackrun.server.app import App

SOURCE = {"working_dir": "/srv", "project_name": "shop"}


@dataclass
class Served:
    engine: FakeEngine
    stacks: FakeStacks
    client: Transport


@pytest.fixture
def server(short_tmp: Path) -> Iterator[Served]:
    engine, stacks = FakeEngine(images=("busybox:1",)), FakeStacks()
    with served_in_thread(engine, short_tmp, stacks) as host:
        client = Transport(host, timeout_s=10)
        yield Served(engine, stacks, client)
        client.close()


def test_every_route_has_an_answer() -> None:
    app = App(FakeEngine(), FakeStacks(), lambda: None)
    assert set(app._handlers) == {name for _, _, name in ROUTES}


def test_a_ping_tells_what_clients_negotiate_by(server: Served) -> None:
    for method, path in (("HEAD", "/_ping"), ("GET", "/_ping"), ("GET", "/v1.30/_ping")):
        response = server.client.request(method, path)
        assert response.read() == (b"" if method == "HEAD" else b"OK")
        assert {key: response.headers[key] for key in ("api-version", "ostype", "docker-experimental", "swarm")} == {
            "api-version": "1.47", "ostype": "linux", "docker-experimental": "false", "swarm": "inactive",
        }  # fmt: skip


@pytest.mark.parametrize(
    ("method", "path", "error", "said"),
    [
        ("GET", "/nope", NotFound, "^page not found$"),
        ("PUT", "/containers/json", NotFound, "^page not found$"),
        ("GET", "/v1.99/info", InvalidArgument, "too new"),
        ("GET", "/v1.5/info", InvalidArgument, "too old"),
        ("POST", "/grpc", Unsupported, "does not support building images with BuildKit"),
        ("GET", "/services", Unavailable, "not a swarm manager"),
        ("GET", "/containers/json?filters=x", InvalidArgument, "^invalid filter$"),
        ("POST", "/containers/x/wait?condition=foo", InvalidArgument, '^invalid condition: "foo"$'),
        ("GET", "/containers/x/logs", InvalidArgument, "you must choose at least one stream"),
        ("POST", "/stackrun/v1/stacks/fly", NotFound, "^page not found$"),
    ],
)
def test_refusals_are_dockers(server: Served, method: str, path: str, error: type[StackrunError], said: str) -> None:
    path, _, query = path.partition("?")
    asked: dict[str, object] = dict([query.split("=")]) if query else {}
    with pytest.raises(error, match=said):
        server.client.json(method, path, query=asked, payload={"source": SOURCE} if "stacks" in path else None)


def test_warnings_name_what_was_left_out(server: Served) -> None:
    payload = {"Image": "busybox:1", "Cmd": ["true"], "HostConfig": {"Links": ["a:b"]}}
    told = server.client.json("POST", "/containers/create", query={"name": "web", "platform": "linux/arm64"}, payload=payload)
    assert isinstance(told, dict)
    assert [warning.split()[0] for warning in told["Warnings"]] == ["HostConfig.Links", "platform"]


def test_the_head_of_a_wait_comes_before_the_exit(server: Served) -> None:
    server.engine.behave("web", Behaviour(exit_code=3))
    server.client.json("POST", "/containers/create", query={"name": "web"}, payload={"Image": "busybox:1", "Cmd": ["true"]})
    waiting = server.client.request("POST", "/containers/web/wait", query={"condition": "next-exit"})
    assert waiting.status == 200
    with Transport(server.client.address.text) as other:
        other.json("POST", "/containers/web/start")
    assert json.loads(waiting.read()) == {"StatusCode": 3, "Error": None}


def test_a_stacks_events_stream(server: Served) -> None:
    server.stacks.events = [StackEvent("Container web", Phase.DONE, "Started"), StackEvent("", Phase.DONE, "")]
    payload = {"source": SOURCE, "options": {"wait": True, "scale": {"web": 2}}}
    lines = list(server.client.lines("POST", "/stackrun/v1/stacks/up", payload=payload))
    assert [(line["resource"], line["phase"], line["text"]) for line in lines] == [("Container web", "done", "Started"), ("", "done", "")]
    assert server.stacks.requests == [("up", StackSource("/srv", project_name="shop"), UpOptions(wait=True, scale={"web": 2}))]


@pytest.mark.parametrize("operation", ["down", "start", "stop", "restart", "kill", "pull"])
def test_every_operation_of_a_stack_is_reached(server: Served, operation: str) -> None:
    payload = {"source": SOURCE, "services": ["web"], "timeout_s": 2, "signal": "TERM"}
    assert list(server.client.lines("POST", f"/stackrun/v1/stacks/{operation}", payload=payload)) == []
    assert server.stacks.requests[0][0] == operation


def test_a_faulty_file_is_told_before_the_stream(server: Served) -> None:
    server.stacks.error = ComposeError([Diagnostic("c.yaml", 2, 3, "unknown key 'imge'", hint="did you mean image?", code="unknown-key")])
    with pytest.raises(ComposeError) as refusal:
        server.client.lines("POST", "/stackrun/v1/stacks/up", payload={"source": SOURCE})
    (fault,) = refusal.value.diagnostics
    assert (fault.line, fault.column, fault.hint, fault.code) == (2, 3, "did you mean image?", "unknown-key")


def test_a_failure_in_the_middle_is_the_last_event(server: Served) -> None:
    server.stacks.events = [StackEvent("Container web", Phase.WORKING, "Starting")]
    server.stacks.broken = ExecuteFailed("1 step failed", ("start web: taken",), hint="free the port")
    last = list(server.client.lines("POST", "/stackrun/v1/stacks/up", payload={"source": SOURCE}))[-1]
    assert last == {
        "resource": "", "phase": "failed", "text": "Error", "detail": "1 step failed\nstart web: taken", "hint": "free the port",
        "current": 0, "total": 0, "exit_code": 1,
    }  # fmt: skip


def test_stacks_are_listed(server: Served) -> None:
    server.stacks.summaries = (StackSummary("shop", "running(3)", ("/srv/compose.yaml",)),)
    listed = server.client.json("GET", "/stackrun/v1/stacks", query={"all": True})
    assert listed == [{"name": "shop", "status": "running(3)", "config_files": ["/srv/compose.yaml"]}]
    assert server.stacks.requests == [("stacks", True)]


def test_shutdown_is_answered_and_then_done(server: Served) -> None:
    assert server.client.json("POST", "/stackrun/v1/shutdown") is None
    with pytest.raises(Unavailable):
        while True:
            server.client.json("GET", "/_ping")
