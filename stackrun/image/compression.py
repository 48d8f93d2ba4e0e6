"""A compressed stream read as what is inside it, told apart by its first bytes: gzip, zstd or plain, and where asked for bzip2 and xz."""

from __future__ import annotations

import bz2
import hashlib
import io
import lzma
import shutil
import subprocess
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import BinaryIO

from stackrun.errors import InvalidArgument, Unsupported

_CHUNK_BYTES = 1 << 17
_GZIP = b"\x1f\x8b"
_ZSTD = b"\x28\xb5\x2f\xfd"
_BZIP2, _XZ = b"BZh", b"\xfd7zXZ\x00"
_REFUSED = {_BZIP2: "bzip2", _XZ: "xz"}
"""Which image layers do not have."""
_XZ_MEMORY_BYTES = 512 << 20
"""The dictionary of `xz -9` takes 65 MiB; a stranger's may ask for gigabytes."""


class _Source:
    """Reads with a look ahead at the first bytes, and says how far it has come."""

    def __init__(self, stream: BinaryIO, on_read: Callable[[int], None]) -> None:
        self._stream = stream
        self._on_read = on_read
        self._ahead = b""
        self.done = 0

    def peek(self, count: int) -> bytes:
        while len(self._ahead) < count and (chunk := self._stream.read(count - len(self._ahead))):
            self._ahead += chunk
        return self._ahead

    def read(self) -> bytes:
        chunk = self._ahead or self._stream.read(_CHUNK_BYTES)
        self._ahead = b""
        self.done += len(chunk)
        self._on_read(self.done)
        return chunk


class PlainReader(io.RawIOBase):
    """The uncompressed bytes, hashed as they pass. `finish` reads what nobody asked for, so that `digest` covers all."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._rest = memoryview(b"")
        self._hash = hashlib.sha256()
        self.size = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        if not self._rest:
            self._rest = memoryview(next(self._chunks, b""))
        count = min(len(buffer), len(self._rest))
        buffer[:count] = self._rest[:count]
        self._hash.update(self._rest[:count])
        self._rest = self._rest[count:]
        self.size += count
        return count

    def finish(self) -> str:
        """Read to the end; gives the digest of everything."""
        sink = memoryview(bytearray(_CHUNK_BYTES))
        while self.readinto(sink):
            pass
        return f"sha256:{self._hash.hexdigest()}"


@contextmanager
def decompressed(
    stream: BinaryIO, on_read: Callable[[int], None] = lambda done: None, *, any_kind: bool = False
) -> Iterator[PlainReader]:
    """`stream` uncompressed. `on_read` gets the number of compressed bytes read so far; `any_kind` takes bzip2 and xz, too.

    Raises InvalidArgument for damaged input, Unsupported for other compressions and for zstd without a program for it.
    """
    source = _Source(stream, on_read)
    head = source.peek(6)
    for magic, name in _REFUSED.items():
        if head.startswith(magic) and not any_kind:
            raise Unsupported(f"{name} compressed images are not supported", hint="use gzip, zstd or none")
    if head.startswith(_GZIP):
        yield PlainReader(_gunzip(source))
    elif head.startswith(_ZSTD):
        with _zstd(source) as chunks:
            yield PlainReader(chunks)
    elif head.startswith(_BZIP2):
        yield PlainReader(_expanded(source, bz2.BZ2Decompressor, "a bzip2"))
    elif head.startswith(_XZ):
        yield PlainReader(_expanded(source, lambda: lzma.LZMADecompressor(memlimit=_XZ_MEMORY_BYTES), "an xz"))
    else:
        yield PlainReader(iter(source.read, b""))


def _gunzip(source: _Source) -> Iterator[bytes]:
    """Members one after another, as parallel compressors write them (RFC 1952 section 2.2)."""
    try:
        inflate, rest = zlib.decompressobj(wbits=31), b""
        while chunk := rest or source.read():
            yield from _inflated(inflate, chunk)
            rest = b""
            if inflate.eof:
                rest = inflate.unused_data.lstrip(b"\0")  # padding behind the last member
                inflate = zlib.decompressobj(wbits=31)
                started = bool(rest)
            else:
                started = True
        if started:
            raise InvalidArgument("a gzip stream ends too early")
    except zlib.error as error:
        raise InvalidArgument(f"a gzip stream is damaged: {error}") from error


def _inflated(inflate: zlib._Decompress, chunk: bytes) -> Iterator[bytes]:
    """In bounded pieces: a few kilobytes may blow up to gigabytes."""
    while chunk:
        data = inflate.decompress(chunk, _CHUNK_BYTES)
        if data:
            yield data
        chunk = inflate.unconsumed_tail
        if inflate.eof:
            return


def _expanded(source: _Source, start: Callable[[], bz2.BZ2Decompressor | lzma.LZMADecompressor], kind: str) -> Iterator[bytes]:
    """Streams one after another, in bounded pieces."""
    expand, rest = start(), b""
    try:
        while True:
            if expand.eof:
                rest = expand.unused_data.lstrip(b"\0") or source.read().lstrip(b"\0")
                if not rest:
                    return
                expand = start()
            elif expand.needs_input:
                rest = rest or source.read()
                if not rest:
                    raise InvalidArgument(f"{kind} stream ends too early")
            if data := expand.decompress(rest, _CHUNK_BYTES):
                yield data
            rest = b""
    except (OSError, EOFError, lzma.LZMAError) as error:
        raise InvalidArgument(f"{kind} stream is damaged: {error}") from error


@contextmanager
def _zstd(source: _Source) -> Iterator[Iterator[bytes]]:
    """Through the `zstd` program: Python has no decoder of its own before 3.14."""
    program = shutil.which("zstd")
    if program is None:
        raise Unsupported("this image has zstd compressed layers and there is no zstd here", hint="install it (Debian: apt install zstd)")
    process = subprocess.Popen([program, "-dc"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdin and process.stdout and process.stderr
    failures: list[BaseException] = []
    feeder = threading.Thread(target=_feed, args=(source, process.stdin, failures), name="zstd-feed", daemon=True)
    feeder.start()
    try:
        yield _zstd_output(process, failures)
    finally:
        process.stdout.close()
        process.kill()
        feeder.join()
        process.stderr.close()
        process.wait()


def _feed(source: _Source, pipe: BinaryIO, failures: list[BaseException]) -> None:
    try:
        with pipe:
            while chunk := source.read():
                pipe.write(chunk)
    except BrokenPipeError:
        return  # the reader has seen enough, or zstd has failed and says why itself
    except BaseException as error:
        failures.append(error)  # raised by the thread that reads


def _zstd_output(process: subprocess.Popen[bytes], failures: list[BaseException]) -> Iterator[bytes]:
    assert process.stdout and process.stderr
    while chunk := process.stdout.read(_CHUNK_BYTES):
        yield chunk
    if failures:
        raise failures[0]
    if process.wait() != 0:
        raise InvalidArgument(f"a zstd stream is damaged: {process.stderr.read().decode(errors='replace').strip()}")
