"""HTTP/1.1 on a listening socket: requests in, answers, streams and raw connections out.

Knows nothing of Docker.  A handler takes a Request and returns a Reply:

    Response    a whole body
    Streaming   pieces, each sent (and flushed) as it comes; cancelled when the client goes away
    Hijack      the raw connection; the client's half-close is EOF for `Duplex.read`, and writing goes on

A request that changes something runs to its end even if the client does not wait for it; only what streams is cancelled.
"""

from __future__ import annotations

import asyncio
import json
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import parse_qsl, unquote

import h11

from stackrun.api.wire.failures import error_to_json
from stackrun.errors import InvalidArgument, NotModified, StackrunError
from stackrun.server.sockets import Departure, taken

_log = logging.getLogger("stackrun.server")

HEADER_LIMIT_BYTES = 1 << 20
BODY_LIMIT_BYTES = 16 << 20
"""For bodies that are read whole (JSON); archives are streamed and not limited here."""
DRAIN_LIMIT_BYTES = 1 << 18
IDLE_LIMIT_S = 300.0
_BACKLOG = 4096
_RECEIVE_BYTES = 1 << 16
_BODILESS = frozenset({204, 304})
_JSON = (("Content-Type", "application/json"),)
Headers = Sequence[tuple[str, str]]


class Request:
    """One request; `query` holds the last value of each name, `variables` those of the path (set by the router)."""

    __slots__ = ("_body", "_pairs", "headers", "method", "path", "query", "variables", "version")

    def __init__(self, head: h11.Request, body: AsyncIterator[bytes]) -> None:
        self.method = head.method.decode()
        path, _, query = head.target.decode("latin-1").partition("?")
        self.path = unquote(path)
        self._pairs = parse_qsl(query, keep_blank_values=True)
        self.query = dict(self._pairs)
        self.headers = {name.decode(): value.decode("latin-1") for name, value in head.headers}
        self.version = ""
        self.variables: Mapping[str, str] = {}
        self._body = body

    @property
    def upgrades(self) -> bool:
        return "upgrade" in self.headers

    def flag(self, name: str, default: bool = False) -> bool:
        """Docker's booleans: absent, empty, 0, false, no and none are false."""
        if name not in self.query:
            return default
        return self.query[name].strip().lower() not in ("", "0", "no", "false", "none")

    def number(self, name: str, default: int = 0) -> int:
        text = self.query.get(name, "")
        try:
            return int(text) if text else default
        except ValueError:
            raise InvalidArgument(f"invalid value for {name}: {text!r} is no number") from None

    def values(self, name: str) -> tuple[str, ...]:
        """Every value of a name that may come more than once."""
        return tuple(value for key, value in self._pairs if key == name)

    def stream(self) -> AsyncIterator[bytes]:
        """The body's pieces as they come."""
        return self._body

    async def read(self) -> bytes:
        pieces, size = [], 0
        async for piece in self._body:
            size += len(piece)
            if size > BODY_LIMIT_BYTES:
                raise InvalidArgument(f"the request's body is larger than {BODY_LIMIT_BYTES} bytes")
            pieces.append(piece)
        return b"".join(pieces)

    async def json(self) -> Any:
        """The decoded body; an empty one is an empty object."""
        body = await self.read()
        if not body.strip():
            return {}
        kind = self.headers.get("content-type", "")
        if not kind:
            raise InvalidArgument("malformed Content-Type header (): mime: no media type")
        if kind.partition(";")[0].strip().lower() != "application/json":
            raise InvalidArgument(f"unsupported Content-Type header ({kind}): must be 'application/json'")
        try:
            return json.loads(body)
        except ValueError as error:
            raise InvalidArgument(f"invalid JSON: {error}") from None


@dataclass(frozen=True, slots=True)
class Response:
    status: int = 200
    body: bytes = b""
    headers: Headers = ()
    afterwards: Callable[[], None] | None = None
    """Called once the answer is on its way."""


@dataclass(frozen=True, slots=True)
class Streaming:
    """`close` is called at the end in any case, even when the client went away before the first piece was asked for (a generator
    that was never started runs no `finally`)."""

    pieces: AsyncIterator[bytes]
    content_type: str = "application/json"
    close: Callable[[], Awaitable[None]] | None = None
    headers: Headers = ()


@dataclass(frozen=True, slots=True)
class Hijack:
    """`run` gets the raw connection after 101 (the client asked to upgrade) or 200 (it did not); `close` as in Streaming."""

    run: Callable[[Duplex], Awaitable[None]]
    content_type: str
    close: Callable[[], Awaitable[None]] | None = None


Reply = Response | Streaming | Hijack
Handler = Callable[[Request], Awaitable[Reply]]


def json_response(value: object, status: int = 200) -> Response:
    return Response(status, json.dumps(value).encode() + b"\n", _JSON)


def error_response(error: StackrunError) -> Response:
    if isinstance(error, NotModified):
        return Response(error.http_status)
    return json_response(error_to_json(error), error.http_status)


class Duplex:
    """A raw connection: `read` gives b"" once the client has closed its half."""

    __slots__ = ("_early", "_reader", "_writer")

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, early: bytes) -> None:
        self._reader = reader
        self._writer = writer
        self._early = early

    async def read(self) -> bytes:
        early, self._early = self._early, b""
        return early or await self._reader.read(_RECEIVE_BYTES)

    async def write(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()


class _Protocol(asyncio.StreamReaderProtocol):
    """asyncio's stream protocol, which also says when the client's half was closed."""

    def __init__(self, reader: asyncio.StreamReader, connected: Callable[[asyncio.StreamReader, asyncio.StreamWriter], None]) -> None:
        super().__init__(reader, connected)
        self.on_eof: Callable[[], None] | None = None

    def eof_received(self) -> bool | None:
        keep = super().eof_received()
        if self.on_eof:
            self.on_eof()
        return keep


@dataclass
class Connection:
    """One client: exchange after exchange until either side closes."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    handler: Handler
    headers: Headers
    _http: h11.Connection = field(default_factory=lambda: h11.Connection(h11.SERVER, max_incomplete_event_size=HEADER_LIMIT_BYTES))
    _streaming: asyncio.Task[None] | None = None
    _gone: bool = False

    async def serve(self) -> None:
        self._departure = Departure(self.writer.get_extra_info("socket"), self._client_gone)
        self.writer.transport.get_protocol().on_eof = self._departure.half_closed  # type: ignore[attr-defined]
        try:
            while (request := await self._next_request()) and await self._exchange(request):
                self._http.start_next_cycle()
        except (ConnectionError, TimeoutError):
            _log.debug("a client went away")
        except Exception:
            _log.exception("a stream broke off unexpectedly")
        finally:
            self._departure.close()
            self.writer.close()

    def _client_gone(self) -> None:
        self._gone = True
        if self._streaming:
            self._streaming.cancel()

    # --- reading

    async def _next_event(self) -> Any:
        while (event := self._http.next_event()) is h11.NEED_DATA:
            if self._http.they_are_waiting_for_100_continue:
                await self._send(h11.InformationalResponse(status_code=100, headers=[], reason="Continue"))
            self._http.receive_data(await self.reader.read(_RECEIVE_BYTES))
        return event

    async def _next_request(self) -> Request | None:
        """None when the client closed between requests, or what it sends is no HTTP (it is told so)."""
        try:
            async with asyncio.timeout(IDLE_LIMIT_S):
                event = await self._next_event()
        except h11.RemoteProtocolError as error:
            await self._refuse(error)
            return None
        return Request(event, self._body()) if isinstance(event, h11.Request) else None

    async def _refuse(self, error: h11.RemoteProtocolError) -> None:
        if self._http.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            refusal = json_response({"message": str(error)}, error.error_status_hint)
            await self._respond(replace(refusal, headers=(*refusal.headers, ("Connection", "close"))))

    async def _body(self) -> AsyncIterator[bytes]:
        while isinstance(event := await self._body_event(), h11.Data):
            yield bytes(event.data)

    async def _body_event(self) -> Any:
        try:
            return await self._next_event()
        except h11.RemoteProtocolError as error:
            raise ConnectionResetError(f"the request broke off: {error}") from error

    # --- answering

    async def _exchange(self, request: Request) -> bool:
        """Answers; tells whether the connection can be used again."""
        reply = await self._reply(request)
        body_unasked = self._http.they_are_waiting_for_100_continue
        if isinstance(reply, Response):
            await self._respond(reply, body_wanted=request.method != "HEAD")
            if reply.afterwards:
                reply.afterwards()
            return not body_unasked and await self._reusable()
        try:
            if isinstance(reply, Streaming):
                await self._cancelled_when_gone(self._stream(reply))
                return await self._reusable()
            await self._drain_body()
            await self._cancelled_when_gone(self._hijack(request, reply))
            return False
        finally:
            if reply.close:
                await reply.close()

    async def _reply(self, request: Request) -> Reply:
        try:
            return await self.handler(request)
        except StackrunError as error:
            return error_response(error)
        except ConnectionError:
            raise
        except Exception as error:
            _log.exception("%s %s failed unexpectedly", request.method, request.path)
            return json_response({"message": f"internal error: {type(error).__name__}: {error}", "kind": "Bug"}, 500)

    async def _reusable(self) -> bool:
        await self._drain_body()
        return self._http.our_state is h11.DONE and self._http.their_state is h11.DONE

    async def _drain_body(self) -> None:
        """What the handler did not read; a large rest is not worth it, the connection is closed instead."""
        if self._http.their_state is not h11.SEND_BODY:
            return
        size = 0
        async for piece in self._body():
            size += len(piece)
            if size > DRAIN_LIMIT_BYTES:
                return

    async def _cancelled_when_gone(self, work: Any) -> None:
        """Runs `work`, which is cancelled when the client goes away; the connection's own cancellation passes through."""
        if self._gone:
            work.close()
            raise ConnectionResetError("the client is gone")
        self._streaming = asyncio.create_task(work)
        try:
            await asyncio.wait({self._streaming})
        finally:
            task, self._streaming = self._streaming, None
            if not task.done():
                task.cancel()
                await asyncio.wait({task})
        if task.cancelled():
            raise ConnectionResetError("the client is gone")
        task.result()

    async def _respond(self, reply: Response, *, body_wanted: bool = True) -> None:
        bodiless = reply.status in _BODILESS
        length = [] if bodiless else [("Content-Length", str(len(reply.body)))]
        body = [h11.Data(data=reply.body)] if reply.body and body_wanted and not bodiless else []
        head = h11.Response(status_code=reply.status, headers=[*self.headers, *reply.headers, *length])
        await self._send(head, *body, h11.EndOfMessage())

    async def _stream(self, reply: Streaming) -> None:
        await self._send(h11.Response(status_code=200, headers=[*self.headers, *reply.headers, ("Content-Type", reply.content_type)]))
        async with aclosing(reply.pieces) as pieces:  # type: ignore[type-var]
            async for piece in pieces:
                await self._send(h11.Data(data=piece))
        await self._send(h11.EndOfMessage())

    async def _hijack(self, request: Request, reply: Hijack) -> None:
        self._departure.hijacked = True
        status = "101 UPGRADED" if request.upgrades else "200 OK"
        switch = "Connection: Upgrade\r\nUpgrade: tcp\r\n" if request.upgrades else ""
        self.writer.write(f"HTTP/1.1 {status}\r\nContent-Type: {reply.content_type}\r\n{switch}\r\n".encode())
        await self.writer.drain()
        await taken(self.writer.get_extra_info("socket"))
        await reply.run(Duplex(self.reader, self.writer, self._http.trailing_data[0]))

    async def _send(self, *events: Any) -> None:
        self.writer.write(b"".join(self._http.send(event) or b"" for event in events))
        await self.writer.drain()


async def listen(sockets: Sequence[socket.socket], handler: Handler, headers: Headers) -> None:
    """Serves until cancelled; then takes no more connections and cancels what still runs."""
    loop = asyncio.get_running_loop()
    clients: set[asyncio.Task[None]] = set()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = loop.create_task(Connection(reader, writer, handler, headers).serve())
        clients.add(task)
        task.add_done_callback(clients.discard)

    def protocol() -> _Protocol:
        return _Protocol(asyncio.StreamReader(limit=_RECEIVE_BYTES, loop=loop), connected)

    servers = [await loop.create_server(protocol, sock=one, backlog=_BACKLOG) for one in sockets]
    try:
        await loop.create_future()
    finally:
        for server in servers:
            server.close()
        for task in clients:
            task.cancel()
        if clients:
            await asyncio.wait(clients)
