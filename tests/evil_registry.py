"""A registry that does as a test bids: images to pull, and answers of the test's own."""

from __future__ import annotations

import hashlib
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
Document = dict[str, Any]


def digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def descriptor(data: bytes, media_type: str = "application/vnd.oci.image.layer.v1.tar", **more: Any) -> Document:
    return {"mediaType": media_type, "digest": digest(data), "size": len(data), **more}


class EvilRegistry:
    """`address` is host:port. `answer` sees each request first and returns True once it has dealt with it.

    `requests` are path and Authorization of each.
    """

    def __init__(self, port: int) -> None:
        self.address = f"127.0.0.1:{port}"
        self.blobs: dict[str, bytes] = {}
        self.manifests: dict[str, bytes] = {}
        self.requests: list[tuple[str, str]] = []
        self.answer: Callable[[BaseHTTPRequestHandler], bool] = lambda _: False

    def image(self, name: str, *layers: bytes, config: Any = None, change: Callable[[Document], object] = lambda _: None) -> str:
        """Offers an image, whose manifest `change` may spoil; returns what to pull."""
        rootfs = {"diff_ids": [digest(one) for one in layers]}
        document = json.dumps({"os": "linux", "architecture": "amd64", "config": {} if config is None else config, "rootfs": rootfs})
        for blob in (document.encode(), *layers):
            self.blobs[digest(blob)] = blob
        manifest: Document = {
            "schemaVersion": 2, "mediaType": MANIFEST_TYPE, "config": descriptor(document.encode()),
            "layers": [descriptor(one) for one in layers],
        }  # fmt: skip
        change(manifest)
        return self.raw(name, json.dumps(manifest).encode())

    def raw(self, name: str, manifest: bytes) -> str:
        self.manifests[name] = self.manifests[digest(manifest)] = manifest
        return f"{self.address}/evil:{name}"

    def serve(self, handler: BaseHTTPRequestHandler) -> None:
        self.requests.append((handler.path, handler.headers.get("Authorization", "")))
        if self.answer(handler):
            return
        *_, kind, name = handler.path.split("/")
        found = self.manifests.get(name) if kind == "manifests" else self.blobs.get(name)
        if handler.path == "/v2/":
            reply(handler, 200, b"{}")
        elif found is None:
            reply(handler, 404, b"{}")
        else:
            reply(handler, 200, found, {"Content-Type": MANIFEST_TYPE if kind == "manifests" else "application/octet-stream"})


def reply(handler: BaseHTTPRequestHandler, status: int, body: bytes = b"", headers: dict[str, str] | None = None) -> bool:
    handler.send_response(status)
    for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(body)
    return True


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        pass  # clients hang up, and try TLS first


@contextmanager
def evil_registry() -> Iterator[EvilRegistry]:
    class Handler(BaseHTTPRequestHandler):
        def handle(self) -> None:
            if self.connection.recv(1, socket.MSG_PEEK) != b"\x16":
                super().handle()
            else:  # the greeting of TLS, in which this server would wait for the end of a line
                self.connection.recv(65536)
                self.connection.sendall(b"HTTP/1.0 400 Bad Request\r\n\r\n")

        def do_GET(self) -> None:
            served.serve(self)

        def do_POST(self) -> None:
            served.serve(self)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = _Server(("127.0.0.1", 0), Handler)
    served = EvilRegistry(server.server_address[1])
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield served
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
