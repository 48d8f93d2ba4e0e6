from __future__ import annotations

import hashlib
import io
import os
import threading
from pathlib import Path

import pytest

from stackrun.errors import InvalidArgument, NotFound
from stackrun.image.content import ContentStore, DigestMismatch, digest_of, write_atomically

DATA = b"0123456789" * 100
DIGEST = digest_of(DATA)


@pytest.fixture
def store(tmp_path: Path) -> ContentStore:
    return ContentStore(tmp_path)


def files(store: ContentStore) -> list[str]:
    return sorted(entry.name for entry in store.directory.iterdir())


def test_put_is_idempotent_and_read_verifies(store: ContentStore) -> None:
    assert store.put(DATA) == store.put(DATA) == DIGEST
    assert store.read(DIGEST) == DATA
    assert files(store) == [DIGEST.removeprefix("sha256:")]
    store.path(DIGEST).write_bytes(b"x")
    with pytest.raises(DigestMismatch, match="damaged on disk"):
        store.read(DIGEST)


def test_an_interrupted_write_goes_on_where_it_stopped(store: ContentStore) -> None:
    with pytest.raises(RuntimeError):
        with store.write(DIGEST, len(DATA)) as writer:
            writer.append(DATA[:300])
            raise RuntimeError("the line is cut")
    assert not store.has(DIGEST)
    with store.write(DIGEST, len(DATA)) as writer:
        assert writer.offset == 300
        writer.append(DATA[300:])
    assert store.read(DIGEST) == DATA


def test_wrong_bytes_never_get_the_name_and_do_not_poison_the_next_try(store: ContentStore) -> None:
    with pytest.raises(DigestMismatch, match="has the digest"):
        with store.write(DIGEST, len(DATA)) as writer:
            writer.append(b"x" * len(DATA))
    assert files(store) == []
    with pytest.raises(DigestMismatch, match="longer than"):
        with store.write(DIGEST, 5) as writer:
            writer.append(DATA)
    assert files(store) == []


def test_a_second_writer_waits_and_finds_it_complete(store: ContentStore) -> None:
    found: list[bool] = []

    def second() -> None:
        with store.write(DIGEST, len(DATA)) as writer:
            found.append(writer.complete)

    with store.write(DIGEST, len(DATA)) as writer:
        thread = threading.Thread(target=second)
        thread.start()
        writer.append(DATA)
    thread.join()
    assert found == [True]


def test_streams_of_unknown_digest(store: ContentStore) -> None:
    assert store.put_stream(io.BytesIO(DATA)) == (DIGEST, len(DATA))
    assert store.digests() == {DIGEST}

    class Broken(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        store.put_stream(Broken())
    assert len(files(store)) == 1


@pytest.mark.parametrize("digest", ["sha256:../../etc/passwd", "sha512:" + "0" * 128, "", "sha256:" + "A" * 64])
def test_only_sha256_names_reach_the_disk(store: ContentStore, digest: str) -> None:
    with pytest.raises(InvalidArgument, match="unsupported digest"):
        store.has(digest)


def test_missing(store: ContentStore) -> None:
    with pytest.raises(NotFound):
        store.read(DIGEST)
    with pytest.raises(NotFound):
        store.open(DIGEST)
    store.delete(DIGEST)


def test_old_beginnings_are_dropped_and_young_ones_kept(store: ContentStore) -> None:
    for name in ("a.partial", "b.partial", "incoming-c.partial"):
        (store.directory / name).write_bytes(b"x")
    os.utime(store.directory / "a.partial", (1, 1))
    store.drop_partials(3600)
    assert files(store) == ["b.partial"]


def test_the_empty_blob(store: ContentStore) -> None:
    empty = f"sha256:{hashlib.sha256().hexdigest()}"
    with store.write(empty, 0):
        pass
    assert store.read(empty) == b""


def test_write_atomically_replaces_whole_files(tmp_path: Path) -> None:
    target = tmp_path / "x.json"
    write_atomically(target, b"one")
    write_atomically(target, b"two")
    assert target.read_bytes() == b"two"
    assert os.listdir(tmp_path) == ["x.json"]
