"""Contexts of builds, built on an engine of ours, and what came of them."""

from __future__ import annotations

import asyncio
import io
import json
import os
import tarfile
import tempfile
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stackrun.api.builds import BuildSpec
from stackrun.client.engine import HttpEngine
from stackrun.engine.local import LocalEngine
from stackrun.engine.view import of_layers
from stackrun.image.packing import Packer

MADE_BY_ENGINES = ("dev", "proc", "sys", ".dockerenv", "etc/hosts", "etc/hostname", "etc/resolv.conf", "etc/mtab")
"""What an engine puts into every container's root: no part of what was built."""


@dataclass(frozen=True)
class Node:
    """A member of a context: `content` of a file, or a `link`, or a folder when neither is given."""

    content: bytes | None = None
    mode: int = 0o644
    link: str = ""
    hard: str = ""
    uid: int = 0
    gid: int = 0


Files = Mapping[str, str | bytes | Node]


def context(files: Files) -> bytes:
    """A plain tar."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, value in files.items():
            node = value if isinstance(value, Node) else Node(value.encode() if isinstance(value, str) else value)
            member = tarfile.TarInfo(name)
            member.mode, member.uid, member.gid, member.mtime = node.mode, node.uid, node.gid, 1_700_000_000
            if node.link:
                member.type, member.linkname = tarfile.SYMTYPE, node.link
            elif node.hard:
                member.type, member.linkname = tarfile.LNKTYPE, node.hard
            elif node.content is None:
                member.type = tarfile.DIRTYPE
            else:
                member.size = len(node.content)
            tar.addfile(member, io.BytesIO(node.content or b""))
    return buffer.getvalue()


async def pieces(data: bytes, size: int = 1 << 16) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


@dataclass(frozen=True)
class Built:
    id: str
    lines: tuple[str, ...]

    @property
    def text(self) -> str:
        return "".join(self.lines)

    @property
    def reused(self) -> int:
        return self.lines.count(" ---> Using cache\n")


async def build(engine: LocalEngine, dockerfile: str, files: Files | None = None, **spec: Any) -> Built:
    """Of a context with this Dockerfile; raises what the build raises."""
    asked = BuildSpec(**{"network": "none", **spec})
    archive = context({asked.dockerfile: dockerfile, **(files or {})})
    lines = [line async for line in await engine.build_image(pieces(archive), asked)]
    found = [str(line.aux["ID"]) for line in lines if line.aux]
    assert len(found) == 1, lines
    return Built(found[0], tuple(line.stream for line in lines if line.stream))


def sent(host: str, text: str, files: Files | None = None, *, archive: bytes = b"", **spec: Any) -> Built:
    """Built by the daemon at `host`, of a context with the Dockerfile `text` or of `archive`; raises what the build raises."""

    async def run() -> Built:
        asked = BuildSpec(**{"network": "none", **spec})
        whole = archive or context({asked.dockerfile: text, **(files or {})})
        async with HttpEngine(host) as engine:
            lines = [line async for line in await engine.build_image(pieces(whole), asked)]
        return Built(next(str(line.aux["ID"]) for line in lines if line.aux), tuple(line.stream for line in lines if line.stream))

    return asyncio.run(run())


async def content(engine: LocalEngine, image: str, path: str) -> bytes:
    """Of one file of an image."""
    member, data = (await members_of(engine, image))[path.strip("/")]
    assert member.isreg(), f"{path} is no file"
    return data


async def members_of(engine: LocalEngine, image: str) -> dict[str, tuple[tarfile.TarInfo, bytes]]:
    """Of the layers as they lie over each other, without a container: those bring volumes of their own."""
    lower = await engine._images.layers(await engine._images.find(image))
    with tempfile.TemporaryDirectory(prefix="srt-", dir="/tmp") as folder:
        view = of_layers(lower, Path(folder), writable=False)
        fd = os.open(f"/proc/self/fd/{view.root_fd}", os.O_RDONLY | os.O_DIRECTORY)
        try:
            packer = Packer()
            return members(b"".join([*packer.directory(fd, "."), packer.end()]))
        finally:
            os.close(fd)
            view.close()


def members(archive: bytes) -> dict[str, tuple[tarfile.TarInfo, bytes]]:
    found = {}
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        for member in tar:
            data = tar.extractfile(member) if member.isfile() else None
            found[member.name.removeprefix("./").strip("/")] = (member, data.read() if data else b"")
    return found


async def tree(engine: LocalEngine, image: str) -> dict[str, str]:
    """Path → what it is, of everything in an image."""
    return described(await members_of(engine, image))


def described(found: Mapping[str, tuple[tarfile.TarInfo, bytes]]) -> dict[str, str]:
    """Kind, mode, owner, link target, content and capabilities of each path; without what engines make themselves."""
    told = {}
    for name, (member, data) in found.items():
        if name in ("", ".", "etc") or any(name == one or name.startswith(f"{one}/") for one in MADE_BY_ENGINES):
            continue
        first = found[member.linkname.removeprefix("./").strip("/")][0] if member.islnk() else member
        data = found[member.linkname.removeprefix("./").strip("/")][1] if member.islnk() else data
        kind = "file" if first.isreg() or member.islnk() else "folder" if member.isdir() else "link" if member.issym() else "node"
        capability = first.pax_headers.get("SCHILY.xattr.security.capability", "").encode("utf-8", "surrogateescape").hex()
        body = data[:60] if kind == "file" else member.linkname if kind == "link" else ""
        told[name] = f"{kind} {first.mode & 0o7777:04o} {member.uid}:{member.gid} {body!r} {len(data)} {capability}".rstrip()
    return told


async def blob(engine_root: Path, digest: str) -> dict[str, Any]:
    """The configuration of an image."""
    path = engine_root / "state" / "image" / "blobs" / "sha256" / digest.removeprefix("sha256:")
    return dict(json.loads(path.read_bytes()))
