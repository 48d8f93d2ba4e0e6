"""Blobs by digest, and nothing under a digest that does not have it.

    <image>/blobs/sha256/<hex>            complete and verified
    <image>/blobs/sha256/<hex>.partial    the beginning of one, kept over interruptions
    <image>/blobs/sha256/incoming-….partial  one whose digest will be known at its end

A blob is written to its partial file, hashed on the way, synced and renamed; so a name without
`.partial` means "these bytes, all of them, on disk", whoever wrote them and however often.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from stackrun.errors import InvalidArgument, NotFound
from stackrun.image.locks import KeyedLocks
from stackrun.image.reference import is_sha256

_CHUNK_BYTES = 1 << 18
_SMALL_BYTES_MAX = 4 << 20
_PARTIAL = ".partial"
_INCOMING = "incoming-"


class DigestMismatch(InvalidArgument):
    """The bytes received are not those that were named."""

    http_status = 500
    exit_code = 1


class ContentStore:
    def __init__(self, directory: Path) -> None:
        self.directory = directory / "blobs" / "sha256"
        self.directory.mkdir(parents=True, exist_ok=True)
        self._writers = KeyedLocks()

    def path(self, digest: str) -> Path:
        """Where the blob is or would be; InvalidArgument for a digest that is not sha256."""
        if not is_sha256(digest):
            raise InvalidArgument(f"unsupported digest {digest!r}", hint="sha256:… is the one supported")
        return self.directory / digest.partition(":")[2]

    def has(self, digest: str) -> bool:
        return self.path(digest).is_file()

    def read(self, digest: str) -> bytes:
        """A small blob whole, verified again; NotFound when it is not there, InvalidArgument when it is not small."""
        with self.open(digest) as file:
            data = file.read(_SMALL_BYTES_MAX + 1)
        if len(data) > _SMALL_BYTES_MAX:
            raise InvalidArgument(f"blob {digest} is larger than {_SMALL_BYTES_MAX} bytes: it is no manifest and no configuration")
        if digest_of(data) != digest:
            raise DigestMismatch(f"blob {digest} is damaged on disk", hint="remove the image and pull it again")
        return data

    def open(self, digest: str) -> BinaryIO:
        try:
            return self.path(digest).open("rb")
        except FileNotFoundError:
            raise NotFound(f"blob {digest} is not in the store", hint="pull the image again") from None

    def put(self, data: bytes) -> str:
        """Store bytes that are at hand; gives their digest."""
        digest = digest_of(data)
        with self.write(digest, len(data)) as writer:
            if not writer.complete:
                writer.restart()
                writer.append(data)
        return digest

    def put_stream(self, stream: BinaryIO) -> tuple[str, int]:
        """Store bytes whose digest is not known before they have been read: (digest, size)."""
        digest, size = hashlib.sha256(), 0
        fd, name = tempfile.mkstemp(prefix=_INCOMING, suffix=_PARTIAL, dir=self.directory)
        try:
            with os.fdopen(fd, "wb") as file:
                while chunk := stream.read(_CHUNK_BYTES):
                    digest.update(chunk)
                    size += file.write(chunk)
                _sync(file)
            os.rename(name, self.path(f"sha256:{digest.hexdigest()}"))
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
        _sync_directory(self.directory)
        return f"sha256:{digest.hexdigest()}", size

    @contextmanager
    def write(self, digest: str, size: int) -> Iterator[BlobWriter]:
        """A writer that goes on where an earlier one was interrupted; leaving the block completes the blob or raises.

        On an error inside the block what has been received stays for the next time.  A second writer of the
        same digest waits for the first and then finds it complete.
        """
        with self._writers.hold(digest):
            writer = BlobWriter(self.path(digest), digest, size)
            try:
                yield writer
                writer.commit()
            finally:
                writer.close()

    def delete(self, digest: str) -> None:
        self.path(digest).unlink(missing_ok=True)

    def digests(self, idle_s: float = 0.0) -> frozenset[str]:
        """Complete blobs that were written `idle_s` ago or earlier."""
        limit = time.time() - idle_s
        complete = (entry for entry in self.directory.iterdir() if not entry.name.endswith(_PARTIAL))
        return frozenset(f"sha256:{entry.name}" for entry in complete if entry.stat().st_mtime <= limit)

    def drop_partials(self, idle_s: float) -> None:
        """Forget beginnings that nobody came back for, and those that nobody can: their digest was not known yet.

        Only for the start, when nothing is being written.
        """
        limit = time.time() - idle_s
        for entry in self.directory.glob(f"*{_PARTIAL}"):
            if entry.name.startswith(_INCOMING) or entry.stat().st_mtime < limit:
                entry.unlink(missing_ok=True)


class BlobWriter:
    """`offset` bytes are there already; append from there on. Call `restart` when the source cannot start in the middle."""

    def __init__(self, target: Path, digest: str, size: int) -> None:
        self.target = target
        self.digest = digest
        self.size = size
        self.complete = target.is_file()
        self.offset = 0
        self._hash = hashlib.sha256()
        self._partial = target.with_name(target.name + _PARTIAL)
        self._file: BinaryIO | None = None
        if not self.complete:
            self._file = self._partial.open("ab+")
            self._take_up()

    def _take_up(self) -> None:
        assert self._file is not None
        self._file.seek(0)
        while chunk := self._file.read(_CHUNK_BYTES):
            self._hash.update(chunk)
            self.offset += len(chunk)
        if self.size and self.offset > self.size:
            self.restart()

    def append(self, chunk: bytes) -> None:
        assert self._file is not None, "the blob is complete"
        if self.size and self.offset + len(chunk) > self.size:
            self.restart()
            raise DigestMismatch(
                f"blob {self.digest} is longer than the {self.size} bytes announced", hint="the registry's copy is damaged"
            )
        self._file.write(chunk)
        self._hash.update(chunk)
        self.offset += len(chunk)

    def restart(self) -> None:
        assert self._file is not None, "the blob is complete"
        self._file.truncate(0)
        self._hash, self.offset = hashlib.sha256(), 0

    def commit(self) -> None:
        """Rename into place if the digest is right, else drop what was received: it would be wrong next time too."""
        if self.complete:
            return
        assert self._file is not None
        found = f"sha256:{self._hash.hexdigest()}"
        if found != self.digest:
            self.restart()
            raise DigestMismatch(f"blob {self.digest} has the digest {found}", hint="the registry's copy is damaged or was tampered with")
        _sync(self._file)
        os.rename(self._partial, self.target)
        _sync_directory(self.target.parent)
        self.complete = True

    def close(self) -> None:
        if self._file is None:
            return
        self._file.close()
        if not self.complete and self.offset == 0:
            self._partial.unlink(missing_ok=True)


def digest_of(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def write_atomically(path: Path, data: bytes) -> None:
    """All of `data` or what was there before, whatever happens in between."""
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("wb") as file:
        file.write(data)
        _sync(file)
    os.rename(temporary, path)
    _sync_directory(path.parent)


def _sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _sync_directory(directory: Path) -> None:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
