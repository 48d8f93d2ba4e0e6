"""The blocking transport and its asynchronous twin against answers written by hand."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from stackrun.client.address import Address, TlsFiles
from stackrun.client.async_http import AsyncTransport
from stackrun.client.exchange import Asked
from stackrun.client.http import Transport, agreed_version
from stackrun.errors import InvalidArgument, NotFound, PermissionDenied, Unavailable

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK"
LIMIT_S = 10


class Script:
    """A listener that answers each request it reads with the next of its answers; an empty answer closes the connection."""

    def __init__(self, directory: Path, answers: list[bytes]) -> None:
        self.path = directory / "s"
        self.answers = answers
        self.requests: list[bytes] = []
        self.connections = 0
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self.path))
        self._listener.listen()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    @property
    def host(self) -> str:
        return f"unix://{self.path}"

    def _run(self) -> None:
        while self.answers:
            connection, _ = self._listener.accept()
            self.connections += 1
            with connection:
                connection.settimeout(LIMIT_S)
                while self.answers and (request := self._read(connection)):
                    self.requests.append(request)
                    answer = self.answers.pop(0)
                    connection.sendall(answer)
                    if not answer or b"Connection: close" in answer:
                        break

    def _read(self, connection: socket.socket) -> bytes:
        data = b""
        while not data.endswith(b"\r\n\r\n"):
            if not (piece := connection.recv(65536)):
                return data
            data += piece
        return data

    def close(self) -> None:
        self._thread.join(LIMIT_S)
        self._listener.close()


@pytest.fixture
def script(short_tmp: Path) -> Iterator[Callable[..., Script]]:
    made: list[Script] = []

    def make(*answers: bytes) -> Script:
        made.append(Script(short_tmp, list(answers)))
        return made[-1]

    yield make
    for one in made:
        one.close()


Make = Callable[..., Script]


def test_requests_share_a_connection(script: Make) -> None:
    server = script(OK, OK)
    with Transport(server.host, timeout_s=LIMIT_S) as client:
        assert client.request("GET", "/_ping").read() == b"OK"
        client.api_version = "1.41"
        assert client.request("GET", "/info", query={"all": True, "none": None, "filters": {"a": ["b"]}}).read() == b"OK"
    assert server.connections == 1
    assert server.requests[0].startswith(b"GET /_ping HTTP/1.1\r\n")
    assert server.requests[1].startswith(b"GET /v1.41/info?all=1&filters=%7B%22a%22%3A+%5B%22b%22%5D%7D HTTP/1.1\r\n")


def test_a_connection_that_was_closed_meanwhile_is_not_used_again(script: Make) -> None:
    closing = OK.replace(b"Content", b"Connection: close\r\nContent")
    server = script(closing, OK)
    with Transport(server.host, timeout_s=LIMIT_S) as client:
        assert [client.request("GET", "/").read() for _ in range(2)] == [b"OK", b"OK"]
    assert server.connections == 2


def test_a_body_can_end_with_the_connection(script: Make) -> None:
    server = script(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nuntil the end")
    with Transport(server.host, timeout_s=LIMIT_S) as client:
        assert client.request("GET", "/").read() == b"until the end"


def test_lines_come_one_by_one_over_any_cut(script: Make) -> None:
    server = script(b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\n{"a"\r\n8\r\n:1}\r\n{"b\r\n5\r\n":2}\n\r\n0\r\n\r\n')
    with Transport(server.host, timeout_s=LIMIT_S) as client:
        assert list(client.lines("GET", "/")) == [{"a": 1}, {"b": 2}]


def test_an_error_is_raised_as_its_class(script: Make) -> None:
    server = script(b'HTTP/1.1 404 Not Found\r\nContent-Length: 42\r\n\r\n{"message": "No such container: x"}       ', OK)
    with Transport(server.host, timeout_s=LIMIT_S) as client:
        with pytest.raises(NotFound, match=r"^No such container: x$"):
            client.json("GET", "/containers/x/json")
        assert client.request("GET", "/").read() == b"OK"
    assert server.connections == 1


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 200 OK\r\nContent-Le", b"SSH-2.0-OpenSSH\r\nConnection: close\r\n\r\n"])
def test_what_is_no_answer_is_an_engine_that_is_not_there(script: Make, answer: bytes) -> None:
    with Transport(script(answer).host, timeout_s=0.5) as client, pytest.raises(Unavailable):
        client.json("GET", "/")


def test_a_stream_that_breaks_off_is_noticed(script: Make) -> None:
    server = script(b"HTTP/1.1 200 OK\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
    with Transport(server.host, timeout_s=LIMIT_S) as client, pytest.raises(Unavailable, match="lost the engine"):
        client.request("GET", "/").read()


def test_a_hijack_gives_the_raw_connection_and_what_came_early(script: Make) -> None:
    server = script(b"HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\nearly")
    with Transport(server.host, timeout_s=LIMIT_S) as client:
        raw, early, head = client.hijack("POST", "/attach")
        with raw:
            assert (early, head.status) == (b"early", 101)
    assert b"Upgrade: tcp\r\n" in server.requests[0]


def test_nobody_there_is_told_with_a_way_out(short_tmp: Path) -> None:
    with pytest.raises(Unavailable, match=rf"cannot reach the engine at unix://{short_tmp}/none: no daemon listens there") as refusal:
        Transport(f"unix://{short_tmp}/none").json("GET", "/")
    assert "stackrun daemon" in refusal.value.hint
    with pytest.raises(Unavailable, match=r"cannot reach the engine at unix:///a+: AF_UNIX path too long"):
        Transport("unix:///" + "a" * 200).json("GET", "/")


def test_a_forbidden_socket_is_told_as_such() -> None:
    error = Address("unix:///x").unreachable(PermissionError(13, "Permission denied"))
    assert isinstance(error, PermissionDenied)
    assert error.exit_code == 4


@pytest.mark.parametrize(
    ("text", "tls", "host", "port"),
    [
        ("tcp://10.0.0.1", None, "10.0.0.1", 2375),
        ("tcp://box:99", None, "box", 99),
        ("tcp://box", TlsFiles(), "box", 2376),
        ("https://box", None, "box", 2376),
        ("tcp://[::1]:5", None, "::1", 5),
    ],
)
def test_addresses_are_read(text: str, tls: TlsFiles | None, host: str, port: int) -> None:
    address = Address(text, tls)
    assert (address.host, address.port, address.path) == (host, port, "")


@pytest.mark.parametrize("text", ["/run/x.sock", "ssh://box", "unix://", "tcp://box:port", ""])
def test_nonsense_is_no_address(text: str) -> None:
    with pytest.raises(InvalidArgument, match="invalid engine address"):
        Address(text)


def test_the_version_agreed_on_is_the_newest_that_both_speak() -> None:
    assert [agreed_version(told) for told in ("1.41", "1.47", "1.99", "2.0")] == ["1.41", "1.47", "1.47", "1.47"]
    for told in ("1.20", "", "x"):
        with pytest.raises(Unavailable):
            agreed_version(told)


def test_a_body_in_pieces_is_sent_in_chunks() -> None:
    asked = Asked("POST", "/x", {"changes": ("A", "B")}, headers=(("Content-Type", "application/x-tar"),), length=None)
    assert asked.target("1.41") == "/v1.41/x?changes=A&changes=B"
    assert ("Transfer-Encoding", "chunked") in asked.all_headers()
    assert Asked("POST", "/stackrun/v1/stacks/up", payload={}).target("1.41") == "/stackrun/v1/stacks/up"


# --- the asynchronous twin


def test_many_calls_at_a_time_each_have_their_connection(script: Make) -> None:
    server = script(OK, OK)

    async def run() -> None:
        transport = AsyncTransport(server.host)
        first = await transport.request("GET", "/one")
        assert await first.read() == b"OK"
        assert await (await transport.request("GET", "/two")).read() == b"OK"
        await transport.close()

    asyncio.run(run())
    assert server.connections == 1


def test_a_cancelled_call_closes_its_connection(short_tmp: Path) -> None:
    async def run() -> None:
        asked, gone = asyncio.Event(), asyncio.Event()

        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            asked.set()
            assert await reader.read() == b""
            gone.set()
            writer.close()

        server = await asyncio.start_unix_server(connected, str(short_tmp / "s"))
        transport = AsyncTransport(f"unix://{short_tmp}/s")
        call = asyncio.create_task(transport.json("POST", "/containers/x/stop"))
        async with asyncio.timeout(LIMIT_S):
            await asked.wait()
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            await gone.wait()
        server.close()
        await server.wait_closed()

    asyncio.run(run())


def test_closing_wakes_who_waits(short_tmp: Path) -> None:
    """A descriptor that is closed under an epoll would never report again."""

    async def run() -> None:
        ours, theirs = socket.socketpair()
        from stackrun.client.async_http import Wire
        from stackrun.client.streams import HttpStream

        stream = HttpStream(Wire(ours), b"", tty=True)

        async def read() -> list[bytes]:
            return [one.data async for one in stream]

        reading = asyncio.create_task(read())
        theirs.sendall(b"last")
        await asyncio.sleep(0)
        async with asyncio.timeout(LIMIT_S):
            while not reading.done():
                await asyncio.sleep(0)
                await stream.close()
            assert await reading in ([b"last"], [])
        theirs.close()

    asyncio.run(run())


def test_the_blocking_way_is_light() -> None:
    """A command line that only asks the daemon must not pay for an event loop or for the value types."""
    code = "import sys, stackrun.client.http; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"asyncio", "stackrun.api.types", "ssl", "subprocess"} & set(loaded)


def test_an_interrupt_while_it_connects_leaves_no_socket(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    made: list[socket.socket] = []

    class Interrupted(socket.socket):
        def connect(self, address: object) -> None:
            made.append(self)
            raise KeyboardInterrupt

    monkeypatch.setattr(socket, "socket", Interrupted)
    with pytest.raises(KeyboardInterrupt):
        Transport(f"unix://{tmp_path}/s").request("GET", "/_ping")
    assert [one.fileno() for one in made] == [-1]
