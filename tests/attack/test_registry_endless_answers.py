"""Answers without end: a manifest, a token and an error text of gigabytes must not be read into memory, nor a blob onto the disk."""

from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from evil_layers import file, tar
from evil_registry import EvilRegistry
from machine import Machine

LAYER = tar([file("it", "here")])
PIECE = b" " * (1 << 16)


def endless(handler: BaseHTTPRequestHandler, status: int = 200, **headers: str) -> bool:
    """Writes until the other side hangs up, and says how much that was."""
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.send_header("Connection", "close")
    handler.end_headers()
    try:
        for _ in range((1 << 30) // len(PIECE)):
            handler.wfile.write(PIECE)
        written.append(1 << 30)
    except OSError:
        written.append(0)
    return True


written: list[int] = []


def daemon_peak_kib(machine: Machine) -> int:
    status = Path(f"/proc/{machine.daemon_pid()}/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")))


TOLD = {"manifests": "larger than", "blobs": "longer than the", "errors": "418", "token": "Expecting value"}


@pytest.mark.parametrize("kind", TOLD)
def test_no_more_is_read_than_there_may_be(machine: Machine, registry: EvilRegistry, kind: str) -> None:
    name = registry.image("1", LAYER)
    challenge = f'Bearer realm="http://{registry.address}/token"'

    def answer(handler: BaseHTTPRequestHandler) -> bool:
        if kind == "token" and "/token" not in handler.path and "/manifests/" in handler.path:
            handler.send_response(401)
            handler.send_header("WWW-Authenticate", challenge)
            handler.send_header("Content-Length", "0")
            handler.end_headers()
            return True
        if kind == "errors":
            return "/manifests/" in handler.path and endless(handler, 418)
        return f"/{kind}" in handler.path and endless(handler)

    registry.answer = answer
    written.clear()
    before = daemon_peak_kib(machine)
    done = machine.docker("pull", name, code=1)
    assert TOLD[kind] in done.stderr, done.stderr
    assert daemon_peak_kib(machine) - before < 48 << 10
    assert 1 << 30 not in written
    left = [path for path in (machine.state / "image/blobs/sha256").iterdir() if path.stat().st_size > 1 << 20]
    assert left == []
