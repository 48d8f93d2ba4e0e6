"""Fake processes: what they print, how they end, and who listens."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from stackrun.api.types import ContainerSpec, ContainerState, EndpointSpec, ExecSpec, ExitStatus, LogLine, MountPoint, Output
from stackrun.errors import StackrunError


@dataclass(frozen=True)
class Behaviour:
    """How a process of the fake engine behaves."""

    output: tuple[tuple[int, bytes], ...] = ()
    """(stream, bytes) written at start."""
    exit_code: int | None = None
    """None: it runs until it is stopped or killed; else it exits by itself right after start."""
    health: tuple[str, ...] = ("healthy",)
    """What its healthcheck reports, one after another, if it has one."""
    echo: bool = False
    """What comes on stdin goes to stdout; EOF ends the process with `exit_code` or 0."""
    start_error: StackrunError | None = None
    stop_code: int | None = 143
    """The exit code on the stop signal; None: it ignores the signal, is killed and exits with 137."""


@dataclass
class Console:
    """A process's output and those attached to it.  Bytes that nobody reads yet are lost, as with a real process."""

    tty: bool = False
    log: list[LogLine] = field(default_factory=list)
    _readers: list[asyncio.Queue[Output | None]] = field(default_factory=list)
    typed: list[bytes] = field(default_factory=list)

    def print(self, stream: int, data: bytes, time: str) -> None:
        stream = 1 if self.tty else stream
        self.log += [LogLine(stream, time, line) for line in data.splitlines(keepends=True)]
        for reader in self._readers:
            reader.put_nowait(Output(stream, data))

    def end(self) -> None:
        """The output ends for those attached; the log stays."""
        for reader in self._readers:
            reader.put_nowait(None)
        self._readers.clear()

    def subscribe(self) -> asyncio.Queue[Output | None]:
        queue: asyncio.Queue[Output | None] = asyncio.Queue()
        self._readers.append(queue)
        return queue

    def unsubscribe(self, queue: asyncio.Queue[Output | None]) -> None:
        if queue in self._readers:
            self._readers.remove(queue)


class FakeStream:
    """An attached process, as api.engine.Stream asks."""

    def __init__(
        self, console: Console, streams: frozenset[int], on_stdin: Typing, *, past: tuple[LogLine, ...] = (), live: bool = True
    ) -> None:
        self.tty = console.tty
        self._console = console
        self._streams = streams
        self._on_stdin = on_stdin
        self._past = deque(past)
        self._queue = console.subscribe() if live else None

    def __aiter__(self) -> AsyncIterator[Output]:
        return self._read()

    async def _read(self) -> AsyncIterator[Output]:
        while self._past:
            line = self._past.popleft()
            yield Output(line.stream, line.data)
        while self._queue and (output := await self._queue.get()):
            if output.stream in self._streams:
                yield output

    async def write(self, data: bytes) -> None:
        self._console.typed.append(data)
        self._on_stdin.data(data)

    async def close_stdin(self) -> None:
        self._on_stdin.end()

    async def close(self) -> None:
        if self._queue:
            self._console.unsubscribe(self._queue)
            self._queue.put_nowait(None)


class Typing:
    """Where an attached client's stdin goes."""

    def data(self, data: bytes) -> None: ...
    def end(self) -> None: ...


@dataclass
class Box:
    """One container of the fake engine."""

    id: str
    name: str
    created: str
    image_id: str
    spec: ContainerSpec
    joined: dict[str, EndpointSpec]
    """By network id."""
    mounts: tuple[MountPoint, ...]
    console: Console
    anonymous: tuple[str, ...] = ()
    state: ContainerState = field(default_factory=ContainerState)
    restart_count: int = 0
    run: int = 0
    """Counts the starts: an exit that was planned for an earlier run is void."""
    manually_stopped: bool = False
    addresses: dict[str, str] = field(default_factory=dict)
    published: dict[tuple[int, str], int] = field(default_factory=dict)
    waiting: dict[tuple[int, str], int] = field(default_factory=dict)
    """Ports that lead to the box with the id `beside` meanwhile."""
    beside: str = ""
    behaviour: Behaviour = Behaviour()
    exit_waiters: list[asyncio.Future[ExitStatus]] = field(default_factory=list)
    removal_waiters: list[asyncio.Future[ExitStatus]] = field(default_factory=list)
    size: tuple[int, int] = (0, 0)
    waiting_input: list[bytes] = field(default_factory=list)
    """Typed before the start; the last piece is b"" when stdin was closed too."""


@dataclass
class Execution:
    id: str
    box: Box
    spec: ExecSpec
    console: Console
    running: bool = False
    started: bool = False
    exit_code: int | None = None
    size: tuple[int, int] = (0, 0)
