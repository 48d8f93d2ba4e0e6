"""Log lines: put together from frames, prefixed, merged by time, and followed over restarts."""

from __future__ import annotations

import json
import queue
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from stackrun.api.wire.frames import frame
from stackrun.cli import logs
from stackrun.cli.commands.logs import moment
from stackrun.errors import InvalidArgument, NotFound


def entry(second: int, text: str, stream: int = 1) -> bytes:
    return frame(stream, f"2026-01-01T00:00:{second:02}.000000000Z {text}".encode())


class FakeEngine:
    """Containers with their log streams; every transport opened talks to it."""

    def __init__(self) -> None:
        self.running: dict[str, str] = {}
        self.output: dict[str, list[list[bytes]]] = {}
        self.tty: set[str] = set()
        self.events: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self.asked: list[dict[str, Any]] = []
        self.gates: dict[str, threading.Event] = {}

    def transport(self) -> Any:
        return FakeTransport(self)


class FakeTransport:
    def __init__(self, engine: FakeEngine) -> None:
        self.engine = engine

    def json(self, method: str, path: str, *, query: Any = None, payload: Any = None) -> Any:
        if path == "/containers/json":
            return [
                {"Id": key, "Names": [f"/{name}"], "State": "running", "Labels": {"com.docker.compose.service": name.split("-")[1]}}
                for key, name in self.engine.running.items()
            ]
        container = path.split("/")[2]
        if container not in self.engine.output:
            raise NotFound(f"No such container: {container}")
        return {"Config": {"Tty": container in self.engine.tty}}

    def request(self, method: str, path: str, *, query: Any = None, **_: Any) -> Any:
        if path == "/events":
            return FakeResponse(self.lines())
        container = path.split("/")[2]
        self.engine.asked.append({"container": container, **query})
        return FakeResponse(self.chunks(container))

    def chunks(self, container: str) -> Iterator[bytes]:
        streams = self.engine.output[container]
        yield from streams.pop(0) if streams else []
        if gate := self.engine.gates.get(container):
            gate.wait(10)

    def lines(self) -> Iterator[bytes]:
        while (event := self.engine.events.get()) is not None:
            yield json.dumps(event).encode()

    def close(self) -> None:
        """Nothing is open."""


class FakeResponse:
    def __init__(self, pieces: Iterator[bytes]) -> None:
        self.pieces = pieces

    def __enter__(self) -> FakeResponse:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is open."""

    def __iter__(self) -> Iterator[bytes]:
        return self.pieces

    def lines(self) -> Iterator[bytes]:
        return self.pieces


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


def read(engine: FakeEngine, container: str) -> list[logs.Line]:
    return list(logs.lines(engine.transport(), container, {}))


def test_a_long_line_comes_in_several_entries_and_is_one_line(engine: FakeEngine) -> None:
    engine.output["a"] = [[entry(1, "begin, "), entry(1, "other\n", 2), entry(2, "end\n")]]
    assert read(engine, "a") == [("2026-01-01T00:00:01.000000000Z", 2, "other"), ("2026-01-01T00:00:01.000000000Z", 1, "begin, end")]


def test_a_last_line_without_its_end_is_shown(engine: FakeEngine) -> None:
    engine.output["a"] = [[entry(1, "prompt> ")]]
    assert [text for _, _, text in read(engine, "a")] == ["prompt> "]


def test_a_terminals_output_is_not_framed(engine: FakeEngine) -> None:
    engine.tty.add("a")
    engine.output["a"] = [[b"2026-01-01T00:00:01Z on", b"e\r\n2026-01-01T00:00:02Z two\r\n"]]
    assert [text for _, _, text in read(engine, "a")] == ["one", "two"]


def test_bytes_that_are_no_text_are_shown_as_such(engine: FakeEngine) -> None:
    engine.output["a"] = [[frame(1, b"2026-01-01T00:00:01Z \xff\n")]]
    assert [text for _, _, text in read(engine, "a")] == ["�"]


def test_stored_lines_of_all_containers_come_in_the_order_of_time(engine: FakeEngine) -> None:
    engine.output = {"1": [[entry(1, "a\n"), entry(3, "c\n")]], "2": [[entry(2, "b\n", 2)]]}
    found = [{"Id": "1", "Names": ["/s-web-1"]}, {"Id": "2", "Names": ["/s-database-1"]}]
    shown: list[tuple[str, bool]] = []
    logs.stored(engine.transport, "s", found, {}, logs.Prefixes(coloured=False), lambda *line: shown.append(line))
    assert shown == [("web-1       | a", False), ("database-1  | b", True), ("web-1       | c", False)]


def test_prefixes_are_coloured_and_may_be_left_out() -> None:
    coloured = logs.Prefixes(coloured=True)
    coloured.add("a")
    assert coloured.line("a", "", "text") == "\x1b[36ma  | \x1b[0mtext"
    bare = logs.Prefixes(coloured=True, shown=False, timestamps=True)
    bare.add("a")
    assert bare.line("a", "12:00", "text") == "12:00 text"


class Followed:
    """A follower of stack `s` and what it showed."""

    def __init__(self, engine: FakeEngine, services: tuple[str, ...] = ()) -> None:
        self.lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        prefixes = logs.Prefixes(coloured=False)
        self.follower = logs.Follower(engine.transport, "s", prefixes, lambda text, _: self.lines.put(text), services)

    def next(self) -> str:
        return self.lines.get(timeout=10)


def notice(action: str, container: str, name: str, **attributes: str) -> dict[str, Any]:
    service = {"com.docker.compose.service": name.split("-")[1]}
    return {"Action": action, "Actor": {"ID": container, "Attributes": {"name": name, **service, **attributes}}}


def test_a_container_that_starts_later_is_followed_and_its_exit_told(engine: FakeEngine) -> None:
    followed = Followed(engine)
    followed.follower.watch({"since": "5.0"}, exits=True)
    engine.output["1"] = [[entry(1, "hello\n")]]
    engine.events.put(notice("start", "1", "s-web-1"))
    assert followed.next() == "web-1  | hello"
    engine.events.put(notice("die", "1", "s-web-1", exitCode="3"))
    assert followed.next() == "web-1 exited with code 3"
    followed.follower.wait()


def test_a_restart_is_followed_from_the_last_line_shown(engine: FakeEngine) -> None:
    followed = Followed(engine)
    engine.running["1"] = "s-web-1"
    engine.gates["1"] = threading.Event()
    engine.output["1"] = [[entry(1, "first\n")], [entry(1, "first\n"), entry(2, "second\n")]]
    followed.follower.watch({"tail": 1}, exits=False)
    assert followed.next() == "web-1  | first"
    engine.events.put(notice("start", "1", "s-web-1"))
    engine.gates["1"].set()
    assert followed.next() == "web-1  | second"
    assert [(one["since"], one["tail"]) for one in engine.asked[1:]] == [("1767225601.000000000", None)]


def test_other_services_are_not_shown(engine: FakeEngine) -> None:
    followed = Followed(engine, ("web",))
    followed.follower.watch({}, exits=False)
    engine.output = {"1": [[entry(1, "web\n")]], "2": [[entry(1, "db\n")]]}
    engine.events.put(notice("start", "2", "s-db-1"))
    engine.events.put(notice("start", "1", "s-web-1"))
    assert followed.next() == "web-1  | web"
    assert followed.lines.empty()


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("10m", "400.000000000"), ("2026-01-01T00:00:00Z", "1767225600.000000000"), ("17.5", "17.5"), ("", None)],
)
def test_moments_are_told_in_seconds(text: str, seconds: str | None) -> None:
    assert moment(text, now_s=1000.0) == seconds


def test_a_moment_nobody_understands_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="yesterday"):
        moment("yesterday")
