"""What the services print, line by line, with service and number in front.

A follower keeps one connection a running container and one to the events, through which it learns of containers that start later.
It asks the engine for timestamps and remembers the last one of each container, so that a container that restarts is followed on
without a line lost or shown twice.
"""

from __future__ import annotations

import heapq
import json
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from typing import TYPE_CHECKING, Any

from stackrun.api import labels
from stackrun.api.wire.frames import STDERR, STDOUT, Frames
from stackrun.cli import project
from stackrun.errors import NotFound, StackrunError, Unavailable

if TYPE_CHECKING:
    from stackrun.client.http import Response, Transport

Line = tuple[str, int, str]
"""(time as the engine wrote it, stream, text without its newline)."""
Show = Callable[[str, bool], None]
"""(text, whether it came on stderr)."""
COLOURS = (36, 33, 32, 35, 34, 96, 93, 92, 95, 94)
"""SGR codes: cyan, yellow, green, magenta, blue, then the bright ones; red is for errors."""
RUNNING = ("running", "paused", "restarting")


class Prefixes:
    """`api-1  | `, as wide as the widest name so far, each container in its colour."""

    def __init__(self, *, coloured: bool, shown: bool = True, timestamps: bool = False) -> None:
        self._coloured = coloured
        self._shown = shown
        self._timestamps = timestamps
        self._colours: dict[str, int] = {}
        self._width = 0

    def make_room(self, names: Iterable[str]) -> None:
        """For names that will come, so that the text stays where it is when they do."""
        self._width = max([self._width, *map(len, names)])

    def add(self, name: str) -> None:
        self._width = max(self._width, len(name))
        self._colours.setdefault(name, COLOURS[len(self._colours) % len(COLOURS)])

    def line(self, name: str, time: str, text: str) -> str:
        text = f"{time} {text}" if self._timestamps else text
        if not self._shown:
            return text
        prefix = f"{name:{self._width}}  | "
        return f"\x1b[{self._colours[name]}m{prefix}\x1b[0m{text}" if self._coloured else prefix + text


def stored(
    open_transport: Callable[[], Transport], stack: str, found: list[project.Summary], query: dict[str, Any], shown: Prefixes, show: Show
) -> None:
    """Everything printed so far, of all containers together in the order of time."""

    def of(container: project.Summary) -> Iterator[tuple[str, str, int, str]]:
        name = project.short_name(stack, project.container_name(container))
        for time, stream, text in lines(open_transport(), container["Id"], query):
            yield time, name, stream, text

    for container in found:
        shown.add(project.short_name(stack, project.container_name(container)))
    for time, name, stream, text in heapq.merge(*map(of, found)):
        show(shown.line(name, time, text), stream == STDERR)


def lines(transport: Transport, container_id: str, query: dict[str, Any]) -> Iterator[Line]:
    """One container's output, over a connection that is closed at its end; with `follow` it ends when the container has exited."""
    asked = {"stdout": 1, "stderr": 1, "timestamps": 1, **query}
    with closing(transport):
        described: Any = transport.json("GET", f"/containers/{container_id}/json")
        with transport.request("GET", f"/containers/{container_id}/logs", query=asked) as response:
            split = _terminal_entries if described["Config"]["Tty"] else _framed_entries
            yield from _whole_lines(split(iter(response)))


def _framed_entries(chunks: Iterator[bytes]) -> Iterator[tuple[int, bytes]]:
    frames = Frames()
    for chunk in chunks:
        yield from frames.feed(chunk)


def _terminal_entries(chunks: Iterator[bytes]) -> Iterator[tuple[int, bytes]]:
    """A terminal's output is not framed: an entry is what ends with a newline."""
    rest = b""
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        yield from ((STDOUT, entry + b"\n") for entry in whole)
    if rest:
        yield STDOUT, rest


def _whole_lines(entries: Iterator[tuple[int, bytes]]) -> Iterator[Line]:
    """Entries begin with their time; one without a newline at its end is the beginning of a longer line."""
    begun: dict[int, tuple[str, bytes]] = {}
    for stream, entry in entries:
        stamp, _, data = entry.partition(b" ")
        time, start = begun.pop(stream, (stamp.decode("ascii", "replace"), b""))
        if data.endswith(b"\n"):
            yield time, stream, _text(start + data)
        else:
            begun[stream] = (time, start + data)
    for stream, (time, data) in begun.items():
        yield time, stream, _text(data)


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace").rstrip("\r\n")


def epoch(time: str) -> str:
    """`2026-01-01T00:00:01.5Z` → `1767225601.500000000`, as the logs route takes it; such texts compare as their times do."""
    import calendar
    from time import strptime

    whole, _, fraction = time.removesuffix("Z").partition(".")
    return f"{calendar.timegm(strptime(whole, '%Y-%m-%dT%H:%M:%S'))}.{fraction:0<9}"


class Follower:
    """Shows what a stack's containers print from now on, also of those that start later.

    Level, not edge: an event only says that it is time to look which containers run.
    """

    def __init__(
        self, open_transport: Callable[[], Transport], name: str, shown: Prefixes, show: Show, services: tuple[str, ...] = ()
    ) -> None:
        self._open = open_transport
        self._project = name
        self._services = services
        self._shown = shown
        self._show = show
        self._query: dict[str, Any] = {}
        self._exits = False
        self._lock = threading.Lock()
        self._last: dict[str, str] = {}
        self._threads: dict[str, threading.Thread] = {}
        self._again: set[str] = set()
        self._exit_awaited: set[str] = set()
        self._changed = threading.Event()
        self._failure: Exception | None = None

    def watch(self, query: dict[str, Any], *, exits: bool) -> None:
        """Follows what runs now and whatever starts later; `query` is that of the logs route, `exits` tells exit codes too.

        On return the events are subscribed to: a container that starts afterwards is not missed.
        """
        self._query, self._exits = query, exits
        filters = {"label": [f"{labels.PROJECT}={self._project}"], "type": ["container"], "event": ["start", "die"]}
        transport = self._open()
        self._spawn(self._watch_events, transport, transport.request("GET", "/events", query={"filters": filters}))
        for container in self._running():
            self._follow(container["Id"], project.container_name(container), query)

    def wait(self) -> None:
        """Until no container of the stack runs any more and everything of them has been shown."""
        while self._running() or (self._exits and self._exit_awaited):
            self._changed.wait()
            self._changed.clear()
            if self._failure:
                raise self._failure
        for thread in list(self._threads.values()):
            thread.join()

    def _running(self) -> list[project.Summary]:
        try:
            with closing(self._open()) as transport:
                found = project.containers(transport, self._project, services=self._services)
        except NotFound:
            return []
        return [one for one in found if one["State"] in RUNNING]

    def _spawn(self, work: Callable[..., None], *arguments: Any) -> threading.Thread:
        thread = threading.Thread(target=self._guarded, args=(work, *arguments), daemon=True)
        thread.start()
        return thread

    def _guarded(self, work: Callable[..., None], *arguments: Any) -> None:
        """What breaks in a thread is raised where somebody waits: whoever read our output has gone, say."""
        try:
            work(*arguments)
        except Exception as error:
            self._failure = error
            self._changed.set()

    def _watch_events(self, transport: Transport, subscribed: Response) -> None:
        with closing(transport), subscribed:
            for event in map(json.loads, subscribed.lines()):
                self._notice(event["Action"], event["Actor"]["ID"], event["Actor"]["Attributes"])
        raise Unavailable("the engine went away", hint="the containers keep running; follow them with `stackrun logs -f`")

    def _notice(self, action: str, container_id: str, attributes: dict[str, str]) -> None:
        if self._services and attributes.get(labels.SERVICE) not in self._services:
            return
        if action == "start":
            self._follow(container_id, attributes["name"], {**self._query, "tail": None})
        elif thread := self._threads.get(container_id):
            thread.join()
            if self._exits:
                name = project.short_name(self._project, attributes["name"])
                self._show(f"{name} exited with code {attributes.get('exitCode', '?')}", False)
            self._exit_awaited.discard(container_id)
        self._changed.set()

    def _follow(self, container_id: str, full_name: str, query: dict[str, Any]) -> None:
        name = project.short_name(self._project, full_name)
        with self._lock:
            self._shown.add(name)
            self._exit_awaited.add(container_id)
            if container_id in self._threads and self._threads[container_id].is_alive():
                self._again.add(container_id)
                return
            self._threads[container_id] = self._spawn(self._follow_one, container_id, name, query)

    def _follow_one(self, container_id: str, name: str, query: dict[str, Any]) -> None:
        while True:
            try:
                self._print(container_id, name, query)
            except NotFound:
                return
            except StackrunError as error:
                self._show(self._shown.line(name, "", f"cannot follow: {error}"), True)
                return
            with self._lock:
                if container_id not in self._again:
                    return
                self._again.discard(container_id)

    def _print(self, container_id: str, name: str, query: dict[str, Any]) -> None:
        """Shows a container's lines until it exits, without those shown before: `since` includes its own moment."""
        resumed = epoch(self._last[container_id]) if container_id in self._last else ""
        asked = {**query, "follow": 1, **({"since": resumed, "tail": None} if resumed else {})}
        for time, stream, text in lines(self._open(), container_id, asked):
            if resumed and epoch(time) <= resumed:
                continue
            resumed = ""
            self._last[container_id] = time
            self._show(self._shown.line(name, time, text), stream == STDERR)
