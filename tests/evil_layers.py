"""Layers that no honest tool writes, entry by entry."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from machine import busybox_tar

Entry = tuple[tarfile.TarInfo, bytes]


def file(name: str, content: str | bytes = b"", mode: int = 0o755, **fields: Any) -> Entry:
    """`fields` are attributes of `tarfile.TarInfo`, e.g. type, linkname, pax_headers."""
    data = content.encode() if isinstance(content, str) else content
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(data), mode
    for key, value in fields.items():
        setattr(info, key, value)
    return info, data


def link(name: str, target: str) -> Entry:
    return file(name, type=tarfile.SYMTYPE, linkname=target)


def hard_link(name: str, target: str) -> Entry:
    return file(name, type=tarfile.LNKTYPE, linkname=target)


def folder(name: str, mode: int = 0o755) -> Entry:
    return file(name, mode=mode, type=tarfile.DIRTYPE)


def tar(entries: Iterable[Entry]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for info, data in entries:
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def busybox_with(folder: Path, entries: Iterable[Entry]) -> Path:
    """A root file system that works, with `entries` on top."""
    path = busybox_tar(folder)
    with tarfile.open(path, "a", format=tarfile.PAX_FORMAT) as archive:
        for info, data in entries:
            archive.addfile(info, io.BytesIO(data))
    return path
