"""Files in the fake engine's containers: directories and regular files in memory, as far as copying them goes."""

from __future__ import annotations

import io
import posixpath
import stat
import tarfile
from collections.abc import AsyncIterator

from fakes.containers import FakeContainers
from fakes.processes import Box

from stackrun.api.archives import PathStat
from stackrun.errors import InvalidArgument, NotFound

_DIRECTORY = stat.S_IFDIR | 0o755


class FakeArchives(FakeContainers):
    def __init__(self, images: tuple[str, ...] = ()) -> None:
        super().__init__(images)
        self._files: dict[str, dict[str, tuple[int, bytes]]] = {}

    def files(self, ref: str) -> dict[str, tuple[int, bytes]]:
        """Absolute path → (st_mode, content) of a container; a few directories are there from the beginning."""
        box = self.box(ref)
        return self._files.setdefault(box.id, {"/": (_DIRECTORY, b""), "/etc": (_DIRECTORY, b""), "/bin": (_DIRECTORY, b"")})

    async def path_stat(self, ref: str, path: str) -> PathStat:
        mode, content = self._at(self.box(ref), path)
        return PathStat(posixpath.basename(path.rstrip("/")) or "/", len(content), mode, "2026-01-01T00:00:00Z")

    async def get_archive(self, ref: str, path: str) -> tuple[PathStat, AsyncIterator[bytes]]:
        found = await self.path_stat(ref, path)
        whole = path.rstrip("/")
        with io.BytesIO() as buffer:
            with tarfile.open(fileobj=buffer, mode="w") as archive:
                for name, (mode, content) in sorted(self.files(ref).items()):
                    if name == whole or name.startswith(f"{whole}/"):
                        member = tarfile.TarInfo(found.name + name[len(whole) :])
                        member.type = tarfile.DIRTYPE if stat.S_ISDIR(mode) else tarfile.REGTYPE
                        member.mode, member.size = stat.S_IMODE(mode), len(content)
                        archive.addfile(member, io.BytesIO(content))
            data = buffer.getvalue()
        return found, _once(data)

    async def put_archive(
        self, ref: str, path: str, archive: AsyncIterator[bytes], *, same_kind: bool = False, to_user: bool = False
    ) -> None:
        mode, _ = self._at(self.box(ref), path)
        if not stat.S_ISDIR(mode):
            raise InvalidArgument("extraction point is not a directory")
        data = b"".join([piece async for piece in archive])
        await self.enter("put_archive", f"{self.box(ref).name} {path}")
        with tarfile.open(fileobj=io.BytesIO(data)) as opened:
            for member in opened:
                source = opened.extractfile(member)
                kind = stat.S_IFDIR if member.isdir() else stat.S_IFREG
                self.files(ref)[_normal(f"{path}/{member.name}")] = (kind | member.mode, source.read() if source else b"")

    async def remove_files(self, ref: str, paths: tuple[str, ...]) -> None:
        await self.enter("remove_files", self.box(ref).name)
        for path in paths:
            gone = _normal(path)
            for name in [one for one in self.files(ref) if one == gone or one.startswith(f"{gone}/")]:
                del self.files(ref)[name]

    def _at(self, box: Box, path: str) -> tuple[int, bytes]:
        found = self.files(box.id).get(_normal(path))
        if found is None:
            raise NotFound(f"Could not find the file {path} in container {box.name}")
        return found


def _normal(path: str) -> str:
    return "/" + posixpath.normpath(path).strip("/.")


async def _once(data: bytes) -> AsyncIterator[bytes]:
    yield data
