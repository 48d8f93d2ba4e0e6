"""The HTTP edge alone, over a socket pair's ends that a test holds in its hands."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from stackrun.errors import Conflict, NotModified
from stackrun.server import http
from stackrun.server.http import Duplex, Handler, Hijack, Reply, Request, Response, Streaming, json_response, listen

LIMIT_S = 10
HEADERS = (("Server", "test"),)


class Client:
    """One raw connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def send(self, text: str) -> None:
        self.writer.write(text.replace("\n", "\r\n").encode())
        await self.writer.drain()

    async def head(self) -> str:
        return (await self.reader.readuntil(b"\r\n\r\n")).decode()

    async def answer(self) -> tuple[str, bytes]:
        """(head, body) of an answer with a Content-Length."""
        head = await self.head()
        length = next((int(line.split(":")[1]) for line in head.lower().splitlines() if line.startswith("content-length")), 0)
        return head, await self.reader.readexactly(length)

    async def chunk(self) -> bytes:
        size = int((await self.reader.readline()).strip(), 16)
        data = await self.reader.readexactly(size)
        await self.reader.readexactly(2)
        return data


def serving(handler: Handler, scenario: Callable[[Callable[[], Awaitable[Client]]], Awaitable[None]], directory: Path, family: int) -> None:
    """Runs the scenario against a server of that handler; `connect` gives it connections."""

    async def run() -> None:
        listener = socket.socket(family)
        listener.bind(str(directory / "s") if family == socket.AF_UNIX else ("127.0.0.1", 0))
        listener.listen()
        address = listener.getsockname()
        server = asyncio.create_task(listen([listener], handler, HEADERS))
        clients: list[Client] = []

        async def connect() -> Client:
            opening = asyncio.open_unix_connection(address) if family == socket.AF_UNIX else asyncio.open_connection(*address)
            clients.append(Client(*await opening))
            return clients[-1]

        try:
            async with asyncio.timeout(LIMIT_S):
                await scenario(connect)
        finally:
            for client in clients:
                client.writer.close()
            server.cancel()
            await asyncio.wait({server})

    asyncio.run(run())


@pytest.fixture(params=[socket.AF_UNIX, socket.AF_INET], ids=["unix", "tcp"])
def family(request: pytest.FixtureRequest) -> int:
    return int(request.param)


Connect = Callable[[], Awaitable[Client]]


def test_a_connection_carries_one_exchange_after_another(short_tmp: Path, family: int) -> None:
    async def handler(request: Request) -> Reply:
        return json_response([request.method, request.path, request.query, (await request.read()).decode()])

    async def scenario(connect: Connect) -> None:
        client = await connect()
        await client.send("GET /a%20b?x=1&x=2&y= HTTP/1.1\nHost: x\n\n")
        head, body = await client.answer()
        assert head.startswith("HTTP/1.1 200") and "Server: test" in head
        assert body == b'["GET", "/a b", {"x": "2", "y": ""}, ""]\n'
        await client.send("POST / HTTP/1.1\nHost: x\nTransfer-Encoding: chunked\n\n3\nabc\n0\n\n")
        assert (await client.answer())[1] == b'["POST", "/", {}, "abc"]\n'

    serving(handler, scenario, short_tmp, family)


def test_errors_become_a_status_and_a_message(short_tmp: Path) -> None:
    async def handler(request: Request) -> Reply:
        known = {"/taken": Conflict("taken", hint="choose another"), "/same": NotModified("nothing")}
        raise known.get(request.path, ZeroDivisionError("oops"))

    async def scenario(connect: Connect) -> None:
        client = await connect()
        await client.send("GET /taken HTTP/1.1\nHost: x\n\n")
        head, body = await client.answer()
        assert head.startswith("HTTP/1.1 409") and "Content-Type: application/json" in head
        assert body == b'{"message": "taken", "kind": "Conflict", "hint": "choose another"}\n'
        await client.send("POST /same HTTP/1.1\nHost: x\nContent-Length: 0\n\n")
        assert (await client.answer())[0].startswith("HTTP/1.1 304")
        await client.send("GET /bug HTTP/1.1\nHost: x\n\n")
        head, body = await client.answer()
        assert head.startswith("HTTP/1.1 500") and b"internal error: ZeroDivisionError" in body

    serving(handler, scenario, short_tmp, socket.AF_UNIX)


def test_a_head_request_has_no_body(short_tmp: Path) -> None:
    async def handler(request: Request) -> Reply:
        return Response(200, b"OK")

    async def scenario(connect: Connect) -> None:
        client = await connect()
        await client.send("HEAD / HTTP/1.1\nHost: x\n\nGET / HTTP/1.1\nHost: x\n\n")
        assert "Content-Length: 2" in await client.head()
        assert (await client.answer())[1] == b"OK"

    serving(handler, scenario, short_tmp, socket.AF_UNIX)


def test_a_client_that_waits_to_be_asked_is_asked_only_when_its_body_is_wanted(short_tmp: Path) -> None:
    async def handler(request: Request) -> Reply:
        return Response(200, await request.read() if request.path == "/wanted" else b"no")

    async def scenario(connect: Connect) -> None:
        ask = "HTTP/1.1\nHost: x\nContent-Length: 3\nExpect: 100-continue\n\n"
        wanted, unwanted = await connect(), await connect()
        await wanted.send(f"POST /wanted {ask}")
        assert (await wanted.head()).startswith("HTTP/1.1 100")
        await wanted.send("abc")
        assert (await wanted.answer())[1] == b"abc"
        await unwanted.send(f"POST /unwanted {ask}")
        assert (await unwanted.answer())[1] == b"no"
        assert await unwanted.reader.read() == b""

    serving(handler, scenario, short_tmp, socket.AF_UNIX)


def test_a_body_that_nobody_read_does_not_disturb_the_next_request(short_tmp: Path) -> None:
    async def handler(request: Request) -> Reply:
        return Response(200, request.path.encode())

    async def scenario(connect: Connect) -> None:
        client = await connect()
        await client.send("POST /one HTTP/1.1\nHost: x\nContent-Length: 5\n\n12345GET /two HTTP/1.1\nHost: x\n\n")
        assert [(await client.answer())[1] for _ in range(2)] == [b"/one", b"/two"]
        large = "x" * (http.DRAIN_LIMIT_BYTES + 70000)
        await client.send(f"POST /big HTTP/1.1\nHost: x\nContent-Length: {len(large) * 4}\n\n{large}")
        assert (await client.answer())[1] == b"/big"
        assert await client.reader.read() == b""

    serving(handler, scenario, short_tmp, socket.AF_UNIX)


def test_a_body_larger_than_the_limit_is_refused(short_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "BODY_LIMIT_BYTES", 10)

    async def handler(request: Request) -> Reply:
        return json_response(await request.json())

    async def scenario(connect: Connect) -> None:
        client = await connect()
        await client.send("POST / HTTP/1.1\nHost: x\nContent-Type: application/json\nContent-Length: 11\n\n[1,2,3,4,5]")
        head, body = await client.answer()
        assert head.startswith("HTTP/1.1 400") and b"larger than 10 bytes" in body

    serving(handler, scenario, short_tmp, socket.AF_UNIX)


@pytest.mark.parametrize(
    ("headers", "body", "said"),
    [
        ("", "{}", "malformed Content-Type header (): mime: no media type"),
        ("Content-Type: text/plain\n", "{}", "unsupported Content-Type header (text/plain)"),
        ("Content-Type: application/json; charset=utf-8\n", "{", "invalid JSON: "),
    ],
)
def test_json_bodies_are_checked(short_tmp: Path, headers: str, body: str, said: str) -> None:
    async def handler(request: Request) -> Reply:
        return json_response(await request.json())

    async def scenario(connect: Connect) -> None:
        client = await connect()
        await client.send(f"POST / HTTP/1.1\nHost: x\n{headers}Content-Length: {len(body)}\n\n{body}")
        head, answer = await client.answer()
        assert head.startswith("HTTP/1.1 400") and said in answer.decode()

    serving(handler, scenario, short_tmp, socket.AF_UNIX)


def test_what_is_no_http_is_told_so(short_tmp: Path) -> None:
    async def handler(request: Request) -> Reply:
        raise AssertionError("not reached")

    async def scenario(connect: Connect) -> None:
        client = await connect()
        await client.send("HELLO\n\n")
        assert (await client.answer())[0].startswith("HTTP/1.1 400")
        assert await client.reader.read() == b""

    serving(handler, scenario, short_tmp, socket.AF_UNIX)


class Recorder:
    """A stream that says when it was closed."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[bytes | None] = asyncio.Queue()
        self.cancelled, self.closed = asyncio.Event(), asyncio.Event()

    async def pieces(self) -> AsyncIterator[bytes]:
        try:
            while piece := await self.queue.get():
                yield piece
        except asyncio.CancelledError:
            self.cancelled.set()
            raise

    async def close(self) -> None:
        self.closed.set()


@asynccontextmanager
async def streaming(connect: Connect) -> AsyncIterator[Client]:
    client = await connect()
    await client.send("GET / HTTP/1.1\nHost: x\n\n")
    head = await client.head()
    assert "chunked" in head.lower()
    yield client


def test_each_piece_of_a_stream_is_sent_as_it_comes(short_tmp: Path, family: int) -> None:
    stream: list[Recorder] = []

    async def handler(request: Request) -> Reply:
        stream.append(Recorder())
        return Streaming(stream[0].pieces(), close=stream[0].close)

    async def scenario(connect: Connect) -> None:
        async with streaming(connect) as client:
            for piece in (b"one\n", b"two\n"):
                stream[0].queue.put_nowait(piece)
                assert await client.chunk() == piece
            stream[0].queue.put_nowait(None)
            assert await client.chunk() == b""
            await stream[0].closed.wait()
            assert not stream[0].cancelled.is_set()

    serving(handler, scenario, short_tmp, family)


def test_a_stream_is_cancelled_when_its_client_goes_away(short_tmp: Path, family: int) -> None:
    stream: list[Recorder] = []

    async def handler(request: Request) -> Reply:
        stream.append(Recorder())
        return Streaming(stream[0].pieces(), close=stream[0].close)

    async def scenario(connect: Connect) -> None:
        async with streaming(connect) as client:
            client.writer.close()
            await stream[0].cancelled.wait()
            await stream[0].closed.wait()

    serving(handler, scenario, short_tmp, family)


def test_a_client_that_only_closed_its_half_still_gets_its_answer(short_tmp: Path) -> None:
    stream: list[Recorder] = []

    async def handler(request: Request) -> Reply:
        stream.append(Recorder())
        return Streaming(stream[0].pieces(), close=stream[0].close)

    async def scenario(connect: Connect) -> None:
        async with streaming(connect) as client:
            client.writer.write_eof()
            stream[0].queue.put_nowait(b"late\n")
            assert await client.chunk() == b"late\n"
            assert not stream[0].cancelled.is_set()

    serving(handler, scenario, short_tmp, socket.AF_UNIX)


def test_a_change_runs_to_its_end_without_its_client(short_tmp: Path, family: int) -> None:
    entered, go, done = [], [], []

    async def handler(request: Request) -> Reply:
        entered[0].set()
        await go[0].wait()
        done[0].set()
        return Response(204)

    async def scenario(connect: Connect) -> None:
        for events in (entered, go, done):
            events.append(asyncio.Event())
        client = await connect()
        await client.send("POST / HTTP/1.1\nHost: x\nContent-Length: 0\n\n")
        await entered[0].wait()
        client.writer.close()
        await client.writer.wait_closed()
        go[0].set()
        await done[0].wait()

    serving(handler, scenario, short_tmp, family)


def hijacking(run: Callable[[Duplex], Awaitable[None]]) -> Handler:
    async def handler(request: Request) -> Reply:
        return Hijack(run, "application/vnd.docker.raw-stream")

    return handler


@pytest.mark.parametrize(("ask", "status"), [("Connection: Upgrade\nUpgrade: tcp\n", "101 UPGRADED"), ("", "200 OK")])
def test_a_hijacked_connection_is_raw_both_ways(short_tmp: Path, family: int, ask: str, status: str) -> None:
    async def echo(connection: Duplex) -> None:
        while data := await connection.read():
            await connection.write(data)
        await connection.write(b"end")

    async def scenario(connect: Connect) -> None:
        client = await connect()
        await client.send(f"POST / HTTP/1.1\nHost: x\n{ask}Content-Type: application/json\nContent-Length: 2\n\n{{}}early")
        head = await client.head()
        assert head.startswith(f"HTTP/1.1 {status}\r\n")
        assert ("Upgrade: tcp" in head) is bool(ask)
        assert "content-length" not in head.lower() and "chunked" not in head.lower()
        assert await client.reader.readexactly(5) == b"early"
        await client.send("more")
        assert await client.reader.readexactly(4) == b"more"
        client.writer.write_eof()
        assert await client.reader.read() == b"end"

    serving(hijacking(echo), scenario, short_tmp, family)


def test_a_hijacked_connection_whose_client_is_gone_is_cancelled(short_tmp: Path) -> None:
    ended: list[asyncio.Event] = []

    async def silent(connection: Duplex) -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            ended[0].set()

    async def scenario(connect: Connect) -> None:
        ended.append(asyncio.Event())
        client = await connect()
        await client.send("POST / HTTP/1.1\nHost: x\nConnection: Upgrade\nUpgrade: tcp\nContent-Length: 0\n\n")
        await client.head()
        client.writer.close()
        await ended[0].wait()

    serving(hijacking(silent), scenario, short_tmp, socket.AF_UNIX)


def test_stopping_cancels_open_streams(short_tmp: Path) -> None:
    async def run() -> None:
        recorder = Recorder()

        async def handler(request: Request) -> Reply:
            return Streaming(recorder.pieces(), close=recorder.close)

        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(short_tmp / "s"))
        server = asyncio.create_task(listen([listener], handler, HEADERS))

        async def connect() -> Client:
            return Client(*await asyncio.open_unix_connection(str(short_tmp / "s")))

        await asyncio.sleep(0)
        async with asyncio.timeout(LIMIT_S), streaming(connect) as client:
            server.cancel()
            await asyncio.wait({server})
            assert recorder.closed.is_set()
            with pytest.raises(asyncio.IncompleteReadError):
                await client.reader.readexactly(1)
            client.writer.close()

    asyncio.run(run())
