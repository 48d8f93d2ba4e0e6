"""Files in and out of containers, alike on every engine."""

from __future__ import annotations

import io
import stat
import tarfile
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest
from conformance.test_engine import RUNS, conforms, started

from stackrun.errors import NotFound, StackrunError, Unsupported

pytestmark = pytest.mark.usefixtures("nothing_left_behind")


def tar_of(files: Mapping[str, bytes], directories: tuple[str, ...] = ()) -> bytes:
    with io.BytesIO() as buffer:
        with tarfile.open(fileobj=buffer, mode="w") as archive:
            for name in directories:
                member = tarfile.TarInfo(name)
                member.type, member.mode = tarfile.DIRTYPE, 0o755
                archive.addfile(member)
            for name, content in files.items():
                member = tarfile.TarInfo(name)
                member.size, member.mode = len(content), 0o640
                archive.addfile(member, io.BytesIO(content))
        return buffer.getvalue()


async def chunks(data: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(data), 7000):
        yield data[start : start + 7000]


async def taken(engine: Any, ref: str, path: str) -> dict[str, bytes]:
    """Name → content of what GET gives; a directory's name ends in a slash."""
    _, pieces = await engine.get_archive(ref, path)
    data = b"".join([piece async for piece in pieces])
    found = {}
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        for member in archive:
            source = archive.extractfile(member)
            found[member.name + ("/" if member.isdir() else "")] = source.read() if source else b""
    return found


@conforms
async def test_what_is_put_in_is_taken_out_running_or_not(subject: Any) -> None:
    engine = subject.engine
    await engine.create_container("srt-a", subject.spec("srt-a", RUNS))
    await started(subject, "srt-b")
    for name in ("srt-a", "srt-b"):
        big = bytes(range(256)) * 1000
        await engine.put_archive(name, "/bin", chunks(tar_of({"d/f": b"content", "d/big": big}, ("d",))))
        assert await taken(engine, name, "/bin/d") == {"d/": b"", "d/f": b"content", "d/big": big}
        assert await taken(engine, name, "/bin/d/f") == {"f": b"content"}
        found = await engine.path_stat(name, "/bin/d/f")
        assert (found.name, found.size_bytes, stat.S_IMODE(found.mode), stat.S_ISREG(found.mode)) == ("f", 7, 0o640, True)
        assert stat.S_ISDIR((await engine.path_stat(name, "/bin/d")).mode)


@conforms
async def test_what_is_not_there_is_told_in_dockers_words(subject: Any) -> None:
    await subject.engine.create_container("srt-a", subject.spec("srt-a", RUNS))
    with pytest.raises(NotFound, match="Could not find the file /nope in container srt-a"):
        await subject.engine.get_archive("srt-a", "/nope")
    with pytest.raises(NotFound, match="Could not find the file /nope in container srt-a"):
        await subject.engine.put_archive("srt-a", "/nope", chunks(tar_of({"f": b""})))
    with pytest.raises(NotFound, match="No such container: srt-none"):
        await subject.engine.get_archive("srt-none", "/bin")
    with pytest.raises(NotFound):
        await subject.engine.path_stat("srt-a", "/nope")


@conforms
async def test_files_are_put_into_directories_alone(subject: Any) -> None:
    await subject.engine.create_container("srt-a", subject.spec("srt-a", RUNS))
    await subject.engine.put_archive("srt-a", "/bin", chunks(tar_of({"f": b"x"})))
    with pytest.raises(StackrunError, match="extraction point is not a directory"):  # 400; dockerd before 25 says 500
        await subject.engine.put_archive("srt-a", "/bin/f", chunks(tar_of({"g": b""})))


@conforms
async def test_files_are_removed_by_our_engines_alone(subject: Any) -> None:
    engine = subject.engine
    await engine.create_container("srt-a", subject.spec("srt-a", RUNS))
    await engine.put_archive("srt-a", "/bin", chunks(tar_of({"d/f": b"x"}, ("d",))))
    try:
        await engine.remove_files("srt-a", ("/bin/d", "/nope"))
    except Unsupported:
        await engine.path_stat("srt-a", "/bin/d")
    else:
        with pytest.raises(NotFound):
            await engine.path_stat("srt-a", "/bin/d")
