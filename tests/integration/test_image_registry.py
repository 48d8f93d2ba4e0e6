"""Pulls from Debian's docker-registry, filled by skopeo with images made from busybox."""

from __future__ import annotations

import hashlib
import io
import json
import os
import select
import shutil
import socket
import subprocess
import tarfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from free_ports import free_port

from stackrun.errors import NotFound, RegistryError
from stackrun.image.content import DigestMismatch
from stackrun.image.record import Progress
from stackrun.image.store import ImageStore

for program in ("docker-registry", "skopeo", "busybox"):
    if not shutil.which(program):
        pytest.skip(f"{program} is not installed", allow_module_level=True)

LAYERS = 5
BIG = os.urandom(3 << 20)


def tar(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(data), 0o755
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def write_layout(directory: Path) -> None:
    """An OCI layout of busybox, a big incompressible file and a few small layers."""
    layers = [tar({"bin/busybox": Path(shutil.which("busybox") or "").read_bytes(), "bin/sh": b"#!"}), tar({"big": BIG})]
    layers += [tar({f"layer-{index}": b"x" * index}) for index in range(LAYERS - 2)]
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)
    config = json.dumps(
        {
            "architecture": machine,
            "os": "linux",
            "config": {"Cmd": ["/bin/busybox"], "Env": ["A=1"]},
            "rootfs": {"type": "layers", "diff_ids": [digest(one) for one in layers]},
        }
    ).encode()
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest(config), "size": len(config)},
            "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": digest(one), "size": len(one)} for one in layers],
        }
    ).encode()
    blobs = directory / "blobs/sha256"
    blobs.mkdir(parents=True)
    for blob in (*layers, config, manifest):
        (blobs / digest(blob).removeprefix("sha256:")).write_bytes(blob)
    entry = {"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest(manifest), "size": len(manifest)}
    entry["annotations"] = {"org.opencontainers.image.ref.name": "app"}
    (directory / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
    (directory / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')


def skopeo(*arguments: str) -> str:
    return subprocess.run(["skopeo", *arguments], check=True, capture_output=True, text=True).stdout


@dataclass(frozen=True)
class Registry:
    port: int
    directory: Path
    layout: Path

    @property
    def image(self) -> str:
        return f"127.0.0.1:{self.port}/team/app:1"

    def blob(self, digest_: str) -> Path:
        hexadecimal = digest_.removeprefix("sha256:")
        return self.directory / "docker/registry/v2/blobs/sha256" / hexadecimal[:2] / hexadecimal / "data"

    def manifest(self) -> dict[str, list[dict[str, str]]]:
        found: dict[str, list[dict[str, str]]] = json.loads(skopeo("inspect", "--raw", "--tls-verify=false", f"docker://{self.image}"))
        return found

    def big_layer(self) -> str:
        return max(self.manifest()["layers"], key=lambda layer: layer["size"])["digest"]


def await_port(process: subprocess.Popen[bytes], port: int, timeout_s: float = 15.0) -> None:
    """Connecting is the one sign of readiness that the registry gives."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        assert process.poll() is None, "the registry has died"
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except ConnectionRefusedError:
            select.select([], [], [], 0.02)
    raise AssertionError("the registry does not listen")


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    directory = tmp_path_factory.mktemp("registry")
    port = free_port()
    config = directory / "config.yml"
    storage = f"{{filesystem: {{rootdirectory: {directory}/data}}}}"
    config.write_text(f"version: 0.1\nlog: {{level: error}}\nstorage: {storage}\nhttp: {{addr: '127.0.0.1:{port}'}}\n")
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(["docker-registry", "serve", str(config)], stdout=log, stderr=log)
    try:
        await_port(process, port)
        layout = directory / "layout"
        write_layout(layout)
        made = Registry(port, directory / "data", layout)
        skopeo("copy", "--dest-tls-verify=false", f"oci:{layout}:app", f"docker://{made.image}")
        yield made
    finally:
        process.terminate()
        process.wait(timeout=10)


@pytest.fixture
def store(tmp_path: Path) -> ImageStore:
    return ImageStore(str(tmp_path))


def files_of(store: ImageStore, lowers: tuple[str, ...]) -> set[str]:
    return {str(path.relative_to(lower)) for lower in lowers for path in Path(lower).rglob("*") if path.is_file()}


def test_pull_and_pull_again(registry: Registry, store: ImageStore) -> None:
    lines: list[Progress] = []
    image = store.pull(registry.image, progress=lines.append)
    assert image.repo_tags == (registry.image,)
    assert image.config.command == ("/bin/busybox",)
    assert len(image.repo_digests) == 1
    lowers = store.snapshot(image)
    assert len(lowers) == LAYERS
    assert files_of(store, lowers) == {"bin/busybox", "bin/sh", "big", *(f"layer-{index}" for index in range(LAYERS - 2))}
    assert (Path(lowers[-2]) / "big").read_bytes() == BIG  # top first
    assert lines[-1].status == f"Status: Downloaded newer image for {registry.image}"
    assert len([line for line in lines if line.status == "Pull complete"]) == LAYERS
    assert image.size_bytes > len(BIG)

    again: list[Progress] = []
    assert store.pull(registry.image, progress=again.append) == image
    assert [line.status for line in again][-1] == f"Status: Image is up to date for {registry.image}"
    assert not [line for line in again if line.status == "Downloading"]


def test_pull_by_digest(registry: Registry, store: ImageStore) -> None:
    name = store.pull(registry.image).repo_digests[0]
    other = ImageStore(str(store._content.directory.parents[3] / "other"))
    image = other.pull(name)
    assert (image.repo_tags, image.repo_digests) == ((), (name,))
    assert other.resolve(name).id == image.id
    assert [one.untagged for one in other.remove(name) if one.untagged] == [name]
    assert other.images() == ()


def test_what_the_registry_does_not_have(registry: Registry, store: ImageStore) -> None:
    for name in (f"127.0.0.1:{registry.port}/team/app:2", f"127.0.0.1:{registry.port}/team/none:latest"):
        with pytest.raises(NotFound, match=f"^manifest for {name} not found: manifest unknown: manifest unknown$"):
            store.pull(name)
    assert store.images() == ()


def test_a_blob_that_rots_in_the_registry_is_refused(registry: Registry, store: ImageStore, tmp_path: Path) -> None:
    stored = registry.blob(registry.big_layer())
    sound = stored.read_bytes()
    stored.write_bytes(sound[:-100] + b"\0" * 100)
    try:
        with pytest.raises(DigestMismatch, match="has the digest"):
            store.pull(registry.image)
        assert store.images() == ()
        assert not list((tmp_path / "image/blobs/sha256").glob(f"{registry.big_layer()[7:]}*"))
    finally:
        stored.write_bytes(sound)
    assert store.pull(registry.image).repo_tags == (registry.image,)


class CuttingProxy:
    """Forwards to a port, and hangs up on the first `cuts_wanted` connections that bring back more than `limit_bytes`."""

    def __init__(self, target_port: int, limit_bytes: int, cuts_wanted: int) -> None:
        self._target = target_port
        self._limit_bytes = limit_bytes
        self._cuts_wanted = cuts_wanted
        self._lock = threading.Lock()
        self.cuts = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return  # closed
            self._threads.append(threading.Thread(target=self._forward, args=(client,)))
            self._threads[-1].start()

    def _forward(self, client: socket.socket) -> None:
        with client, socket.create_connection(("127.0.0.1", self._target)) as target:
            try:
                self._copy(client, target)
            except ConnectionError:
                return  # either side hung up, as the client does after its TLS greeting was not understood

    def _copy(self, client: socket.socket, target: socket.socket) -> None:
        passed = 0
        while True:
            for ready in select.select([client, target], [], [])[0]:
                data = ready.recv(16384)
                if not data:
                    return
                if ready is target:
                    passed += len(data)
                    if passed > self._limit_bytes and self._may_cut():
                        return
                (client if ready is target else target).sendall(data)

    def _may_cut(self) -> bool:
        with self._lock:
            if self.cuts == self._cuts_wanted:
                return False
            self.cuts += 1
            return True

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join()


@pytest.fixture
def proxy(registry: Registry) -> Iterator[CuttingProxy]:
    made = CuttingProxy(registry.port, 700_000, 2)
    yield made
    made.close()


def test_a_transfer_that_is_cut_goes_on(registry: Registry, store: ImageStore, proxy: CuttingProxy) -> None:
    image = store.pull(f"127.0.0.1:{proxy.port}/team/app:1")
    assert proxy.cuts == 2
    assert (Path(store.snapshot(image)[-2]) / "big").read_bytes() == BIG


def test_a_pull_that_failed_is_taken_up_by_the_next_process(registry: Registry, store: ImageStore, tmp_path: Path) -> None:
    received: list[int] = []

    def note(line: Progress) -> None:
        if line.status == "Downloading" and line.total > len(BIG) // 2:
            received.append(line.current)

    with pytest.raises(RegistryError, match="cancelled"):
        store.pull(registry.image, progress=note, cancelled=lambda: bool(received))
    (partial,) = (tmp_path / "image/blobs/sha256").glob(f"{registry.big_layer()[7:]}.partial")
    before = partial.stat().st_size
    assert before > 0
    received.clear()
    image = ImageStore(str(tmp_path)).pull(registry.image, progress=note)
    assert min(received) > before
    assert image.repo_tags == (registry.image,)


def test_two_pulls_at_once_share_the_work(registry: Registry, store: ImageStore) -> None:
    found: list[str] = []
    threads = [threading.Thread(target=lambda: found.append(store.pull(registry.image).id)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 3
    assert len(set(found)) == 1
    assert len(store.images()) == 1


@pytest.mark.parametrize("kind", ["docker-archive", "oci-archive"])
def test_archives_of_skopeo(registry: Registry, store: ImageStore, tmp_path: Path, kind: str) -> None:
    archive = tmp_path / "archive.tar"
    skopeo("copy", f"oci:{registry.layout}:app", f"{kind}:{archive}:team/app:2")
    with archive.open("rb") as stream:
        (image,) = store.load(stream)
    assert image.config.environment == ("A=1",)
    assert store.resolve(image.id).id == image.id
    assert "big" in files_of(store, store.snapshot(image))
    if kind == "docker-archive":
        assert image.repo_tags == ("team/app:2",)


def test_import_of_a_root_file_system(store: ImageStore) -> None:
    busybox = Path(shutil.which("busybox") or "").read_bytes()
    image = store.import_(io.BytesIO(tar({"bin/busybox": busybox})), reference="box:1", changes=('ENTRYPOINT ["/bin/busybox"]',))
    (lower,) = store.snapshot(image)
    done = subprocess.run(["chroot", lower, "/bin/busybox", "echo", "alive"], stdout=subprocess.PIPE, text=True, check=True)
    assert done.stdout == "alive\n"


def test_a_zstd_image(registry: Registry, store: ImageStore) -> None:
    if not shutil.which("zstd"):
        pytest.skip("no zstd program here")
    name = f"127.0.0.1:{registry.port}/team/app:zstd"
    skopeo("copy", "--dest-tls-verify=false", "--dest-compress-format=zstd", f"oci:{registry.layout}:app", f"docker://{name}")
    image = store.pull(name)
    assert (Path(store.snapshot(image)[-2]) / "big").read_bytes() == BIG
