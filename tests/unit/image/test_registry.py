"""The client against a registry of a few lines on loopback that does what real ones do at their worst."""

from __future__ import annotations

import base64
import hashlib
import json
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from stackrun.errors import NotFound, RegistryError, Unauthorized
from stackrun.image.content import ContentStore, DigestMismatch
from stackrun.image.manifest import Platform
from stackrun.image.pull import Pull
from stackrun.image.record import Credentials, Progress
from stackrun.image.reference import parse
from stackrun.image.registry import RegistryClient, is_loopback
from stackrun.image.snapshot import LayerStore

LAYER = b"\0" * 1024 + b"padding" * 20_000
"""An empty tar, and much after its end: enough bytes to be cut in the middle."""


def digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


@dataclass
class FakeRegistry:
    """`blobs` and `manifests` by digest or tag; `answer` may take over a request and return True."""

    blobs: dict[str, bytes] = field(default_factory=dict)
    manifests: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    answer: Callable[[BaseHTTPRequestHandler], bool] = lambda handler: False
    requests: list[tuple[str, str, str]] = field(default_factory=list)
    """(path, Authorization, Range) of each."""
    port: int = 0
    ranges: bool = True

    def add_image(self, layers: list[bytes], tag: str = "1") -> str:
        config = json.dumps({"os": "linux", "architecture": "amd64", "rootfs": {"diff_ids": [digest(one) for one in layers]}}).encode()
        for blob in (config, *layers):
            self.blobs[digest(blob)] = blob
        manifest = json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "config": {"mediaType": "c", "digest": digest(config), "size": len(config)},
                "layers": [{"mediaType": "l", "digest": digest(one), "size": len(one)} for one in layers],
            }
        ).encode()
        for name in (tag, digest(manifest)):
            self.manifests[name] = ("application/vnd.oci.image.manifest.v1+json", manifest)
        return digest(manifest)

    def serve(self, handler: BaseHTTPRequestHandler) -> None:
        self.requests.append((handler.path, handler.headers.get("Authorization", ""), handler.headers.get("Range", "")))
        if self.answer(handler):
            return
        *_, kind, name = handler.path.split("/")
        if kind == "manifests" and name in self.manifests:
            media_type, data = self.manifests[name]
            reply(handler, 200, data, {"Content-Type": media_type})
        elif kind == "blobs" and name in self.blobs:
            self._blob(handler, self.blobs[name])
        elif handler.path == "/v2/":
            reply(handler, 200, b"{}")
        else:
            error(handler, 404, "MANIFEST_UNKNOWN", "manifest unknown")

    def _blob(self, handler: BaseHTTPRequestHandler, data: bytes) -> None:
        wanted = handler.headers.get("Range", "")
        if wanted and self.ranges:
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
            reply(handler, 206, data[start:], {"Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"})
        else:
            reply(handler, 200, data)


def reply(handler: BaseHTTPRequestHandler, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
    handler.send_response(status)
    for name, value in (headers or {}).items():
        handler.send_header(name, value)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


def error(handler: BaseHTTPRequestHandler, status: int, code: str, message: str, headers: dict[str, str] | None = None) -> None:
    reply(handler, status, json.dumps({"errors": [{"code": code, "message": message}]}).encode(), headers)


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    fake = FakeRegistry()

    class Handler(BaseHTTPRequestHandler):
        def handle(self) -> None:
            if self.connection.recv(1, socket.MSG_PEEK) != b"\x16":
                super().handle()
            else:  # the greeting of TLS, in which this server would wait for the end of a line
                self.connection.recv(65536)
                self.connection.sendall(b"HTTP/1.0 400 Bad Request\r\n\r\n")

        def do_GET(self) -> None:
            fake.serve(self)

        def do_POST(self) -> None:
            fake.serve(self)

        def log_message(self, format: str, *args: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: object, client_address: object) -> None:
            pass  # the TLS greeting that the client tries first is no HTTP, and clients hang up

    server = Server(("127.0.0.1", 0), Handler)
    fake.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield fake
    server.shutdown()
    thread.join()
    server.server_close()


def client(registry: FakeRegistry, credentials: Credentials | None = None, tag: str = "1") -> RegistryClient:
    return RegistryClient(parse(f"127.0.0.1:{registry.port}/team/app:{tag}"), credentials)


def pull(
    registry: FakeRegistry, tmp_path: Path, credentials: Credentials | None = None, tag: str = "1"
) -> tuple[ContentStore, list[Progress]]:
    content, lines = ContentStore(tmp_path), list[Progress]()
    Pull(client(registry, credentials, tag), content, LayerStore(tmp_path), lines.append, lambda: False).run(Platform("linux", "amd64"))
    return content, lines


def test_plain_http_on_loopback_is_found_out(registry: FakeRegistry, tmp_path: Path) -> None:
    registry.add_image([LAYER])
    content, lines = pull(registry, tmp_path)
    assert content.read(digest(LAYER)) == LAYER
    assert [line.status for line in lines if not line.total] == [
        "Pulling from team/app",
        "Pulling fs layer",
        "Download complete",
        "Pull complete",
    ]
    assert lines[-2].current == lines[-2].total == len(LAYER)


@pytest.mark.parametrize(
    ("domain", "expected"),
    [("localhost:5000", True), ("127.9.9.9", True), ("[::1]:5000", True), ("10.0.0.1", False), ("x.localhost.example", False)],
)
def test_loopback(domain: str, expected: bool) -> None:
    assert is_loopback(domain) is expected


def test_index_by_platform(registry: FakeRegistry, tmp_path: Path) -> None:
    entries = []
    for architecture in ("arm64", "amd64"):
        layer = LAYER + architecture.encode()
        name = registry.add_image([layer], tag=architecture)
        size = len(registry.manifests[name][1])
        entries.append({"mediaType": "", "digest": name, "size": size, "platform": {"os": "linux", "architecture": architecture}})
    registry.manifests["multi"] = ("application/vnd.oci.image.index.v1+json", json.dumps({"manifests": entries}).encode())
    content, _ = pull(registry, tmp_path, tag="multi")
    assert content.has(digest(LAYER + b"amd64"))
    assert not content.has(digest(LAYER + b"arm64"))


def test_a_layer_that_several_places_name_comes_once(registry: FakeRegistry, tmp_path: Path) -> None:
    registry.add_image([LAYER, LAYER, LAYER])
    pull(registry, tmp_path)
    assert len([path for path, _, _ in registry.requests if path.endswith(digest(LAYER))]) == 1


def cut_once(registry: FakeRegistry, at: int, times: int = 1) -> None:
    """Hang up after `at` bytes of the layer, `times` times."""
    left = [times]

    def answer(handler: BaseHTTPRequestHandler) -> bool:
        if not handler.path.endswith(digest(LAYER)) or not left[0]:
            return False
        left[0] -= 1
        start = int(handler.headers.get("Range", "bytes=0-").removeprefix("bytes=").rstrip("-"))
        handler.send_response(206 if start else 200)
        if start:
            handler.send_header("Content-Range", f"bytes {start}-{len(LAYER) - 1}/{len(LAYER)}")
        handler.send_header("Content-Length", str(len(LAYER) - start))
        handler.end_headers()
        handler.wfile.write(LAYER[start : start + at])
        return True

    registry.answer = answer


@pytest.mark.parametrize("ranges", [True, False])
def test_a_cut_transfer_goes_on_or_starts_again(registry: FakeRegistry, tmp_path: Path, ranges: bool) -> None:
    registry.add_image([LAYER])
    registry.ranges = ranges
    cut_once(registry, 60_000)
    content, _ = pull(registry, tmp_path)
    assert content.read(digest(LAYER)) == LAYER
    asked = [wanted for path, _, wanted in registry.requests if path.endswith(digest(LAYER))]
    assert asked == ["", "bytes=60000-"]


def test_what_came_before_a_failed_pull_is_kept_for_the_next(
    registry: FakeRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stackrun.image.pull._BACK_OFF_S", (0.0,))
    registry.add_image([LAYER])
    first = [True]

    def answer(handler: BaseHTTPRequestHandler) -> bool:
        if not handler.path.endswith(digest(LAYER)):
            return False
        if first.pop() if first else False:
            handler.send_response(200)
            handler.send_header("Content-Length", str(len(LAYER)))
            handler.end_headers()
            handler.wfile.write(LAYER[:50_000])
        return True  # afterwards: hang up without a word

    registry.answer = answer
    with pytest.raises(RegistryError, match="connection broke"):
        pull(registry, tmp_path)
    registry.answer = lambda handler: False
    registry.requests.clear()
    pull(registry, tmp_path)
    assert (f"/v2/team/app/blobs/{digest(LAYER)}", "", "bytes=50000-") in registry.requests


def test_wrong_content_is_refused_and_not_unpacked(registry: FakeRegistry, tmp_path: Path) -> None:
    registry.add_image([LAYER])
    registry.blobs[digest(LAYER)] = LAYER[:-1] + b"X"
    with pytest.raises(DigestMismatch, match="has the digest"):
        pull(registry, tmp_path)
    assert list((tmp_path / "layers").iterdir()) == []
    assert not ContentStore(tmp_path).has(digest(LAYER))


def test_wrong_manifest_is_refused(registry: FakeRegistry, tmp_path: Path) -> None:
    name = registry.add_image([LAYER])
    registry.manifests[name] = registry.manifests["1"][0], registry.manifests["1"][1] + b" "
    reference = parse(f"127.0.0.1:{registry.port}/team/app@{name}")
    with pytest.raises(RegistryError, match="not the one asked for"):
        Pull(RegistryClient(reference, None), ContentStore(tmp_path), LayerStore(tmp_path), print, lambda: False).run(
            Platform("linux", "amd64")
        )


def test_a_diff_id_that_lies_is_refused(registry: FakeRegistry, tmp_path: Path) -> None:
    registry.add_image([LAYER])
    _, manifest = registry.manifests["1"]
    parsed = json.loads(manifest)
    config = registry.blobs[parsed["config"]["digest"]].replace(digest(LAYER).encode(), digest(b"other").encode())
    registry.blobs[digest(config)] = config
    parsed["config"] = {"mediaType": "c", "digest": digest(config), "size": len(config)}
    registry.manifests["1"] = ("application/vnd.oci.image.manifest.v1+json", json.dumps(parsed).encode())
    with pytest.raises(DigestMismatch, match="the image says"):
        pull(registry, tmp_path)


def token_server(registry: FakeRegistry, token: str, credentials: str = "") -> None:
    def answer(handler: BaseHTTPRequestHandler) -> bool:
        if handler.path.startswith("/token"):
            if credentials and handler.headers.get("Authorization") != f"Basic {base64.b64encode(credentials.encode()).decode()}":
                error(handler, 401, "UNAUTHORIZED", "incorrect username or password")
            else:
                reply(handler, 200, json.dumps({"token": token}).encode())
            return True
        if handler.headers.get("Authorization") == f"Bearer {token}":
            return False
        realm = f'Bearer realm="http://127.0.0.1:{registry.port}/token",service="svc",scope="repository:team/app:pull"'
        error(handler, 401, "UNAUTHORIZED", "authentication required", {"WWW-Authenticate": realm})
        return True

    registry.answer = answer


def test_bearer_token(registry: FakeRegistry, tmp_path: Path) -> None:
    registry.add_image([LAYER])
    token_server(registry, "tok", "me:secret")
    pull(registry, tmp_path, Credentials("me", "secret"))
    assert (
        len([path for path, _, _ in registry.requests if path.startswith("/token?service=svc&scope=repository%3Ateam%2Fapp%3Apull")]) == 1
    )


def test_wrong_password_is_unauthorized(registry: FakeRegistry, tmp_path: Path) -> None:
    registry.add_image([LAYER])
    token_server(registry, "tok", "me:secret")
    with pytest.raises(Unauthorized, match="incorrect username or password") as caught:
        pull(registry, tmp_path, Credentials("me", "wrong"))
    assert "docker login" in caught.value.hint


def test_no_password_is_dockers_404(registry: FakeRegistry, tmp_path: Path) -> None:
    token_server(registry, "tok", "me:secret")
    with pytest.raises(
        NotFound, match=r"^pull access denied for 127\.0\.0\.1:\d+/team/app, repository does not exist or may require 'docker login'"
    ):
        pull(registry, tmp_path)


def test_basic_authentication(registry: FakeRegistry, tmp_path: Path) -> None:
    registry.add_image([LAYER])

    def answer(handler: BaseHTTPRequestHandler) -> bool:
        if handler.headers.get("Authorization") == "Basic " + base64.b64encode(b"me:pw").decode():
            return False
        error(handler, 401, "UNAUTHORIZED", "no", {"WWW-Authenticate": 'Basic realm="here"'})
        return True

    registry.answer = answer
    pull(registry, tmp_path, Credentials("me", "pw"))
    with pytest.raises(Unauthorized):
        pull(registry, tmp_path / "again", Credentials("me", "no"))


def test_a_redirect_does_not_take_the_token_along(registry: FakeRegistry, tmp_path: Path) -> None:
    registry.add_image([LAYER])
    token_server(registry, "tok")
    challenge = registry.answer

    def answer(handler: BaseHTTPRequestHandler) -> bool:
        if handler.path.startswith("/elsewhere/"):
            reply(handler, 200, registry.blobs[handler.path.removeprefix("/elsewhere/")])
            return True
        if "/blobs/" in handler.path and handler.headers.get("Authorization"):
            reply(handler, 307, b"", {"Location": f"http://localhost:{registry.port}/elsewhere/{handler.path.rpartition('/')[2]}"})
            return True
        return challenge(handler)

    registry.answer = answer
    pull(registry, tmp_path)
    followed = [(path, authorization) for path, authorization, _ in registry.requests if path.startswith("/elsewhere/")]
    assert len(followed) == 2
    assert all(authorization == "" for _, authorization in followed)


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        (404, "MANIFEST_UNKNOWN", NotFound),
        (404, "NAME_UNKNOWN", NotFound),
        (429, "TOOMANYREQUESTS", RegistryError),
        (500, "UNKNOWN", RegistryError),
    ],
)
def test_refusals(registry: FakeRegistry, tmp_path: Path, status: int, code: str, expected: type[Exception]) -> None:
    def answer(handler: BaseHTTPRequestHandler) -> bool:
        error(handler, status, code, "says the registry")
        return True

    registry.answer = answer
    with pytest.raises(expected, match="says the registry"):
        pull(registry, tmp_path)


def test_not_found_in_dockers_words(registry: FakeRegistry, tmp_path: Path) -> None:
    with pytest.raises(
        NotFound, match=rf"^manifest for 127\.0\.0\.1:{registry.port}/team/app:9 not found: manifest unknown: manifest unknown$"
    ):
        pull(registry, tmp_path, tag="9")


def test_nobody_there() -> None:
    for reference, message in (("127.0.0.1:1/x", "connection refused"), ("no-such-host.invalid/x", "no such host")):
        with pytest.raises(RegistryError, match=message) as caught:
            RegistryClient(parse(reference), None).manifest("latest")
        assert caught.value.hint


def test_plain_http_where_tls_is_wanted(registry: FakeRegistry) -> None:
    plain = client(registry)
    plain._may_be_plain = False
    with pytest.raises(RegistryError, match="speaks plain HTTP") as caught:
        plain.manifest("1")
    assert "insecure registry" in caught.value.hint


def test_a_listed_registry_may_be_plain() -> None:
    for listed in ("reg.example", "reg.example:5000"):
        assert RegistryClient(parse("reg.example:5000/x"), None, (listed,))._may_be_plain
    assert RegistryClient(parse("10.1.2.3:5000/x"), None, ("10.0.0.0/8",))._may_be_plain
    assert not RegistryClient(parse("reg.example:5000/x"), None, ("10.0.0.0/8", "other"))._may_be_plain


def test_a_cancelled_pull_stops(registry: FakeRegistry, tmp_path: Path) -> None:
    registry.add_image([LAYER])
    lines: list[Progress] = []
    job = Pull(client(registry), ContentStore(tmp_path), LayerStore(tmp_path), lines.append, lambda: bool(lines))
    with pytest.raises(RegistryError, match="was cancelled"):
        job.run(Platform("linux", "amd64"))
    assert list((tmp_path / "layers").iterdir()) == []
