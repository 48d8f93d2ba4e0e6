"""The asynchronous way to an engine: the same exchanges as client.http, with nothing blocked while the engine takes its time.

Plain and TLS sockets are both driven by readiness, so that one code serves both; cancelling a call closes its connection, by which the
engine learns that nobody waits any more.
"""

from __future__ import annotations

import asyncio
import json
import select
import socket
from collections.abc import AsyncIterable, AsyncIterator, Callable
from typing import Any, TypeVar

import h11

from stackrun.client.address import Address, TlsFiles
from stackrun.client.exchange import ERROR_LIMIT_BYTES, SWITCHING_PROTOCOLS, UPGRADE, Asked, Exchange, Head
from stackrun.client.http import agreed_version
from stackrun.errors import Unavailable

_RECEIVE_BYTES = 1 << 16
_CONNECT_TIMEOUT_S = 30.0
_T = TypeVar("_T")


class Wire:
    """A connected socket, read and written as it becomes ready."""

    __slots__ = ("_blocked", "_socket", "_waiting")

    def __init__(self, connected: socket.socket) -> None:
        connected.setblocking(False)
        self._socket = connected
        self._waiting: set[Callable[[], None]] = set()
        self._blocked: tuple[type[Exception], ...] = (BlockingIOError,)
        if hasattr(connected, "pending"):
            import ssl

            self._blocked = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)

    async def read(self) -> bytes:
        """b"" once the other side has closed."""
        while True:
            try:
                return self._socket.recv(_RECEIVE_BYTES)
            except self._blocked:
                await self._ready(reading=True)

    async def write(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            try:
                rest = rest[self._socket.send(rest) :]
            except self._blocked:
                await self._ready(reading=False)

    async def _ready(self, *, reading: bool) -> None:
        loop, fd = asyncio.get_running_loop(), self._socket.fileno()
        ready = loop.create_future()
        add, remove = (loop.add_reader, loop.remove_reader) if reading else (loop.add_writer, loop.remove_writer)

        def wake() -> None:
            remove(fd)
            self._waiting.discard(wake)
            if not ready.done():
                ready.set_result(None)

        self._waiting.add(wake)
        add(fd, wake)
        try:
            await ready
        finally:
            if wake in self._waiting:
                wake()

    def stale(self) -> bool:
        """An idle connection that can be read was closed by the other side."""
        return bool(select.select([self._socket], [], [], 0)[0])

    def close_writing(self) -> None:
        """Half-close.  Below TLS, too: Python's TLS sockets cannot read on after closing their own half."""
        socket.socket.shutdown(self._socket, socket.SHUT_WR)

    def close(self) -> None:
        """Whoever waits to read or write is woken (and finds the socket closed): an epoll forgets a closed descriptor silently."""
        for wake in tuple(self._waiting):
            wake()
        self._socket.close()


class _Connection:
    __slots__ = ("exchange", "wire")

    def __init__(self, connected: socket.socket) -> None:
        self.wire = Wire(connected)
        self.exchange = Exchange()


class AsyncResponse:
    """An answer whose body is still to be read: `read()`, iteration, or `close()`."""

    __slots__ = ("_connection", "_transport", "headers", "status")

    def __init__(self, head: Head, connection: _Connection, transport: AsyncTransport) -> None:
        self.status = head.status
        self.headers = head.headers
        self._connection: _Connection | None = connection
        self._transport = transport

    async def next(self) -> bytes:
        """The next piece of the body; b"" at its end."""
        connection = self._connection
        if connection is None:
            return b""
        try:
            while (piece := self._transport.guarded(connection.exchange.body)) is None:
                await self._transport.receive_into(connection)
        except BaseException:
            self.close()
            raise
        if not piece:
            self._connection = None
            self._transport.give_back(connection)
        return piece

    async def pieces(self) -> AsyncIterator[bytes]:
        try:
            while piece := await self.next():
                yield piece
        finally:
            self.close()

    async def read(self, limit_bytes: int | None = None) -> bytes:
        pieces, size = [], 0
        while piece := await self.next():
            pieces.append(piece)
            size += len(piece)
            if limit_bytes and size > limit_bytes:
                self.close()
        return b"".join(pieces)

    async def lines(self) -> AsyncIterator[Any]:
        """The body's JSON objects, one a line, as they come."""
        rest = b""
        try:
            while piece := await self.next():
                *lines, rest = (rest + piece).split(b"\n")
                for line in filter(bytes.strip, lines):
                    yield json.loads(line)
            if rest.strip():
                yield json.loads(rest)
        finally:
            self.close()

    def detach(self) -> tuple[Wire, bytes]:
        """The raw connection after a switch of protocols, and what came with the head already."""
        assert self._connection is not None
        connection, self._connection = self._connection, None
        return connection.wire, connection.exchange.leftover()

    def close(self) -> None:
        if self._connection:
            self._connection.wire.close()
            self._connection = None


class AsyncTransport:
    """client.http.Transport for an event loop; any number of calls at a time, each on a connection of its own."""

    def __init__(self, host: str, *, tls: TlsFiles | None = None) -> None:
        self.address = Address(host, tls)
        self.api_version = ""
        self.is_ours = False
        """Whether the engine is stackrun's, as it said when the version was agreed on."""
        self._idle: list[_Connection] = []

    async def request(
        self, method: str, path: str, *, query: dict[str, object] | None = None, payload: object = None,
        body: AsyncIterable[bytes] | None = None, headers: tuple[tuple[str, str], ...] = (),
    ) -> AsyncResponse:  # fmt: skip
        """Returns once the answer's head has come and is no error."""
        return await self._exchange(Asked(method, path, query, payload, headers, None if body is not None else 0), body)

    async def json(self, method: str, path: str, *, query: dict[str, object] | None = None, payload: object = None) -> Any:
        body = await (await self.request(method, path, query=query, payload=payload)).read()
        return json.loads(body) if body.strip() else None

    async def hijack(
        self, method: str, path: str, *, query: dict[str, object] | None = None, payload: object = None
    ) -> tuple[Wire, bytes, AsyncResponse]:
        """Switches to the raw stream: (connection, bytes that came already, the head)."""
        response = await self._exchange(Asked(method, path, query, payload, UPGRADE), None)
        if response.status != SWITCHING_PROTOCOLS:
            response.close()
            raise Unavailable(f"the engine at {self.address.text} refused to switch to a raw stream (status {response.status})")
        return (*response.detach(), response)

    async def negotiate(self) -> None:
        response = await self.request("HEAD", "/_ping")
        await response.read()
        self.is_ours = response.headers.get("server", "").startswith("stackrun/")
        self.api_version = agreed_version(response.headers.get("api-version", ""))

    async def close(self) -> None:
        while self._idle:
            self._idle.pop().wire.close()

    # --- one exchange

    async def _exchange(self, asked: Asked, body: AsyncIterable[bytes] | None) -> AsyncResponse:
        connection = await self._take()
        try:
            await self._send(connection, asked, body)
            head = await self._head(connection)
        except BaseException:
            connection.wire.close()
            raise
        response = AsyncResponse(head, connection, self)
        if head.is_error:
            raise head.error(await response.read(ERROR_LIMIT_BYTES))
        return response

    async def _send(self, connection: _Connection, asked: Asked, body: AsyncIterable[bytes] | None) -> None:
        exchange, put = connection.exchange, connection.wire.write
        try:
            begin = exchange.begin(asked, self.api_version)
            if body is None:
                await put(begin + exchange.end())
                return
            await put(begin)
            async for piece in body:
                if piece:
                    await put(exchange.chunk(piece))
            await put(exchange.end())
        except (BrokenPipeError, ConnectionResetError):
            # The engine refused early and does not read the rest; its answer tells why.
            return

    async def _head(self, connection: _Connection) -> Head:
        while (head := self.guarded(connection.exchange.head)) is None:
            await self.receive_into(connection)
        return head

    async def receive_into(self, connection: _Connection) -> None:
        try:
            connection.exchange.receive(await connection.wire.read())
        except OSError as error:
            raise Unavailable(f"lost the engine at {self.address.text}: {error.strerror or error}") from error

    def guarded(self, step: Callable[[], _T]) -> _T:
        """A step of the protocol, whose complaint is that the engine broke off or does not speak HTTP."""
        try:
            return step()
        except h11.RemoteProtocolError as error:
            raise Unavailable(f"lost the engine at {self.address.text}: {error}") from error

    async def _take(self) -> _Connection:
        while self._idle:
            connection = self._idle.pop()
            if not connection.wire.stale():
                return connection
            connection.wire.close()
        if self.address.path:
            return _Connection(self.address.connect())
        return _Connection(await asyncio.to_thread(self.address.connect, _CONNECT_TIMEOUT_S))

    def give_back(self, connection: _Connection) -> None:
        if connection.exchange.next_cycle():
            self._idle.append(connection)
        else:
            connection.wire.close()
