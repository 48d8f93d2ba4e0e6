"""The blocking way to an engine: what a command line that only asks the daemon needs, and no more.

No asyncio, no value types: answers are decoded JSON.  Importing this costs about as much as importing h11.
"""

from __future__ import annotations

import json
import select
import socket
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import TypeVar

import h11

from stackrun.client.address import Address, TlsFiles
from stackrun.client.exchange import ERROR_LIMIT_BYTES, SWITCHING_PROTOCOLS, UPGRADE, Asked, Exchange, Head
from stackrun.errors import Unavailable

__all__ = ["Response", "TlsFiles", "Transport"]

T = TypeVar("T")
_RECEIVE_BYTES = 1 << 16
_NEWEST_API, _OLDEST_API = (1, 47), (1, 24)


class _Connection:
    __slots__ = ("exchange", "socket")

    def __init__(self, connected: socket.socket) -> None:
        self.socket = connected
        self.exchange = Exchange()

    def stale(self) -> bool:
        """An idle connection that can be read was closed by the other side: nothing else would come unasked."""
        return bool(select.select([self.socket], [], [], 0)[0])


class Response:
    """An answer whose body is still to be read: `read()`, iteration (pieces as they come), or `close()`."""

    __slots__ = ("_connection", "_transport", "headers", "status")

    def __init__(self, head: Head, connection: _Connection, transport: Transport) -> None:
        self.status = head.status
        self.headers = head.headers
        self._connection: _Connection | None = connection
        self._transport = transport

    def __enter__(self) -> Response:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[bytes]:
        while piece := self._next():
            yield piece

    def _next(self) -> bytes:
        """The next piece, b"" at the end; the connection is given back then."""
        connection = self._connection
        if connection is None:
            return b""
        try:
            while (piece := self._transport.guarded(connection.exchange.body)) is None:
                self._transport.receive_into(connection)
        except BaseException:
            self.close()
            raise
        if not piece:
            self._connection = None
            self._transport.give_back(connection)
        return piece

    def read(self, limit_bytes: int | None = None) -> bytes:
        pieces, size = [], 0
        for piece in self:
            pieces.append(piece)
            size += len(piece)
            if limit_bytes and size > limit_bytes:
                self.close()
                break
        return b"".join(pieces)

    def lines(self) -> Iterator[bytes]:
        """Non-empty lines as they come, without their ends."""
        rest = b""
        for piece in self:
            *lines, rest = (rest + piece).split(b"\n")
            yield from (line for line in lines if line.strip())
        if rest.strip():
            yield rest

    def detach(self) -> tuple[socket.socket, bytes]:
        """The raw socket after a switch of protocols, and what came with the head already.  The caller owns it."""
        assert self._connection is not None
        connection, self._connection = self._connection, None
        return connection.socket, connection.exchange.leftover()

    def shutdown(self) -> None:
        """From another thread: the one that waits for the next piece is woken and finds the connection ended."""
        if connection := self._connection:
            with suppress(OSError):
                connection.socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Gives up on the rest: the connection is closed, by which the engine learns it."""
        if self._connection:
            self._connection.socket.close()
            self._connection = None


class Transport:
    """Requests to one engine over kept-alive connections.  Not to be shared by threads.

    `host`: `unix:///path` or `tcp://host:port`.  `timeout_s` bounds each wait for the engine; None waits for ever.
    `api_version` prefixes the paths (`/v1.41/…`); empty leaves them unversioned, which is the engine's newest.
    Errors of the engine are raised as their class from stackrun.errors; Unavailable when there is none.
    """

    def __init__(self, host: str, *, tls: TlsFiles | None = None, timeout_s: float | None = None) -> None:
        self.address = Address(host, tls)
        self.timeout_s = timeout_s
        self.api_version = ""
        self._idle: list[_Connection] = []

    def __enter__(self) -> Transport:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def request(
        self, method: str, path: str, *, query: dict[str, object] | None = None, payload: object = None,
        body: bytes | Iterable[bytes] | None = None, headers: tuple[tuple[str, str], ...] = (),
    ) -> Response:  # fmt: skip
        """Sends a request; returns once the answer's head has come and is no error."""
        pieces = (body,) if isinstance(body, bytes) else body or ()
        length = len(body) if isinstance(body, bytes) else 0 if body is None else None
        return self._exchange(Asked(method, path, query, payload, headers, length), pieces)

    def json(self, method: str, path: str, *, query: dict[str, object] | None = None, payload: object = None) -> object:
        """The decoded answer; None when it is empty."""
        with self.request(method, path, query=query, payload=payload) as response:
            body = response.read()
        return json.loads(body) if body.strip() else None

    def lines(
        self, method: str, path: str, *, query: dict[str, object] | None = None, payload: object = None
    ) -> Iterator[dict[str, object]]:
        """The answer's JSON objects, one a line, as they come.  The request is made at once, not at the first line."""
        response = self.request(method, path, query=query, payload=payload)
        return (json.loads(line) for line in response.lines())

    def hijack(
        self, method: str, path: str, *, query: dict[str, object] | None = None, payload: object = None
    ) -> tuple[socket.socket, bytes, Response]:
        """Switches to the raw stream: (socket, bytes that came already, the head)."""
        response = self._exchange(Asked(method, path, query, payload, UPGRADE), ())
        if response.status != SWITCHING_PROTOCOLS:
            response.close()
            raise Unavailable(f"the engine at {self.address.text} refused to switch to a raw stream (status {response.status})")
        return (*response.detach(), response)

    def negotiate(self) -> str:
        """Sets `api_version` to the newest that both sides speak, from the engine's ping."""
        with self.request("HEAD", "/_ping") as response:
            told = response.headers.get("api-version", "")
        self.api_version = agreed_version(told)
        return self.api_version

    def close(self) -> None:
        while self._idle:
            self._idle.pop().socket.close()

    # --- one exchange

    def _exchange(self, asked: Asked, pieces: Iterable[bytes]) -> Response:
        connection = self._take()
        try:
            self._send(connection, asked, pieces)
            head = self._head(connection)
        except BaseException:
            connection.socket.close()
            raise
        response = Response(head, connection, self)
        if head.is_error:
            raise head.error(response.read(ERROR_LIMIT_BYTES))
        return response

    def _send(self, connection: _Connection, asked: Asked, pieces: Iterable[bytes]) -> None:
        exchange, put = connection.exchange, connection.socket.sendall
        try:
            put(exchange.begin(asked, self.api_version))
            for piece in pieces:
                put(exchange.chunk(piece))
            put(exchange.end())
        except (BrokenPipeError, ConnectionResetError):
            # The engine refused early and does not read the rest; its answer tells why.
            return

    def _head(self, connection: _Connection) -> Head:
        while (head := self.guarded(connection.exchange.head)) is None:
            self.receive_into(connection)
        return head

    def receive_into(self, connection: _Connection) -> None:
        try:
            connection.exchange.receive(connection.socket.recv(_RECEIVE_BYTES))
        except TimeoutError as error:
            raise Unavailable(f"the engine at {self.address.text} did not answer within {self.timeout_s} s") from error
        except OSError as error:
            raise Unavailable(f"lost the engine at {self.address.text}: {error.strerror or error}") from error

    def guarded(self, step: Callable[[], T]) -> T:
        """A step of the protocol, whose complaint is that the engine broke off or does not speak HTTP."""
        try:
            return step()
        except h11.RemoteProtocolError as error:
            raise Unavailable(f"lost the engine at {self.address.text}: {error}") from error

    def _take(self) -> _Connection:
        while self._idle:
            connection = self._idle.pop()
            if not connection.stale():
                return connection
            connection.socket.close()
        return _Connection(self.address.connect(self.timeout_s))

    def give_back(self, connection: _Connection) -> None:
        if connection.exchange.next_cycle():
            self._idle.append(connection)
        else:
            connection.socket.close()


def agreed_version(told: str) -> str:
    """The engine's newest version → the newest that we speak too."""
    try:
        major, minor = (int(part) for part in told.split("."))
    except ValueError:
        raise Unavailable(f"no Docker engine answers there: it tells its API version as {told!r}") from None
    if (major, minor) < _OLDEST_API:
        raise Unavailable(f"the engine is too old: it speaks API {told}, at least {_OLDEST_API[0]}.{_OLDEST_API[1]} is needed")
    return "{}.{}".format(*min((major, minor), _NEWEST_API))
