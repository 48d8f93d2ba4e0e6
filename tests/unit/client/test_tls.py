"""Both transports over TLS with a client certificate, against a server of Python's own."""

from __future__ import annotations

import asyncio
import shutil
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from stackrun.client.address import TlsFiles
from stackrun.client.async_http import AsyncTransport
from stackrun.client.http import Transport
from stackrun.errors import Unavailable

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificates of these tests")
LIMIT_S = 10
BODY = b"x" * 200_000


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One self-signed certificate for 127.0.0.1 that serves as authority, server and client."""
    folder = tmp_path_factory.mktemp("tls")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1", "-subj", "/CN=srt",
         "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", folder / "key.pem", "-out", folder / "cert.pem"],
        check=True, capture_output=True,
    )  # fmt: skip
    return folder


@pytest.fixture
def port(certificate: Path) -> Iterator[int]:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=certificate / "cert.pem")
    context.load_cert_chain(certificate / "cert.pem", certificate / "key.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    ready, ports, loops = threading.Event(), [], []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.readline():
            while (await reader.readline()).strip():
                pass
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(BODY), BODY))
        writer.close()

    async def run() -> None:
        stop = asyncio.Event()
        server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
        ports.append(server.sockets[0].getsockname()[1])
        loops.append((asyncio.get_running_loop(), stop))
        ready.set()
        await stop.wait()
        server.close()
        await server.wait_closed()

    thread = threading.Thread(target=lambda: asyncio.run(run()))
    thread.start()
    ready.wait(LIMIT_S)
    yield ports[0]
    loops[0][0].call_soon_threadsafe(loops[0][1].set)
    thread.join(LIMIT_S)


def files(folder: Path) -> TlsFiles:
    return TlsFiles(str(folder / "cert.pem"), str(folder / "cert.pem"), str(folder / "key.pem"))


def test_the_blocking_transport_speaks_tls(port: int, certificate: Path) -> None:
    with Transport(f"tcp://127.0.0.1:{port}", tls=files(certificate), timeout_s=LIMIT_S) as client:
        assert [client.request("GET", "/").read() for _ in range(2)] == [BODY, BODY]


def test_the_asynchronous_transport_speaks_tls(port: int, certificate: Path) -> None:
    async def run() -> None:
        transport = AsyncTransport(f"tcp://127.0.0.1:{port}", tls=files(certificate))
        async with asyncio.timeout(LIMIT_S):
            for _ in range(2):
                assert await (await transport.request("GET", "/")).read() == BODY
        await transport.close()

    asyncio.run(run())


def test_an_unknown_server_is_not_spoken_to(port: int) -> None:
    with Transport(f"tcp://127.0.0.1:{port}", tls=TlsFiles(), timeout_s=LIMIT_S) as client, pytest.raises(Unavailable, match="certificate"):
        client.json("GET", "/")
