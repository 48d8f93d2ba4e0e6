"""The mounts of a process, as the kernel lists them and as its paths lead to them (proc(5), /proc/PID/mountinfo)."""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterable
from dataclasses import dataclass

from stackrun.errors import KernelError
from stackrun.kernel import paths, syscalls

_ESCAPED = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True, slots=True)
class Mount:
    """One line.  `root`: which part of the file system is shown; `tags`: its propagation (`shared:7`, `master:3`, none for private).

    `options` are the mount's own, `data` those of the file system as a whole.
    """

    id: int
    device: str
    root: str
    point: str
    options: frozenset[str]
    tags: tuple[str, ...]
    kind: str
    source: str
    data: frozenset[str]


@dataclass(frozen=True, slots=True)
class Seen:
    """What a path leads to.  `mount` is None unless the path is a mount's own root.

    `identity`: device and inode; zeros on a file system that may keep us waiting for somebody else (`is_remote`).
    """

    mount: Mount | None
    identity: tuple[int, int] = (0, 0)
    content: bytes | None = None
    """Of a small regular file."""
    is_directory: bool = False
    """As far as that was asked."""


_REMOTE = ("fuse", "nfs", "cifs", "smb", "9p", "ceph", "afs", "glusterfs", "lustre")


def is_remote(mount: Mount) -> bool:
    """Another machine or another program answers for its files, or does not."""
    return mount.kind.startswith(_REMOTE)


def parse(text: str) -> dict[int, Mount]:
    """By id; lines of another shape are left out."""
    return {one.id: one for line in text.splitlines() if (one := _mount(line)) is not None}


def _mount(line: str) -> Mount | None:
    fields = line.split(" ")
    if len(fields) < 10 or "-" not in fields:
        return None
    end = fields.index("-")
    number, _, device, root, point, options = fields[:6]
    kind, source, data = (*fields[end + 1 :], "", "", "")[:3]
    return Mount(
        id=int(number),
        device=device,
        root=_plain(root),
        point=_plain(point),
        options=frozenset(options.split(",")),
        tags=tuple(fields[6:end]),
        kind=kind,
        source=_plain(source),
        data=frozenset(data.split(",")),
    )


def _plain(text: str) -> str:
    """Blanks and backslashes are written as octal numbers."""
    return _ESCAPED.sub(lambda found: chr(int(found[1], 8)), text) if "\\" in text else text


def look(pid: int, wanted: Iterable[str], *, content_max: int = 0) -> dict[str, Seen | None]:
    """Where each path leads inside a process's root, by the process's own links; None: there is nothing.

    The content of files up to `content_max` bytes comes along.  Raises KernelError, when the process has ended too.
    """
    try:
        with open(f"/proc/{pid}/mountinfo", encoding="utf-8", errors="surrogateescape") as file:  # noqa: PTH123
            mounts = parse(file.read())
        root_fd = os.open(f"/proc/{pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise KernelError(f"look at the mounts of process {pid}", error.errno or errno.EIO) from None
    try:
        return {path: _seen(root_fd, path, mounts, content_max) for path in wanted}
    finally:
        os.close(root_fd)


def _seen(root_fd: int, path: str, mounts: dict[int, Mount], content_max: int) -> Seen | None:
    try:
        fd = paths.open_in_root(root_fd, path)
    except KernelError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EACCES):
            return None
        raise
    try:
        number, is_root = syscalls.mount_of(fd)
        on = mounts.get(number)
        mount = on if is_root else None
        if on is not None and is_remote(on):
            return Seen(mount)
        status = os.fstat(fd)
        return Seen(mount, (status.st_dev, status.st_ino), content_of(f"/proc/self/fd/{fd}", status, content_max))
    finally:
        os.close(fd)


def content_of(path: str, status: os.stat_result, most: int) -> bytes | None:
    """None for what is no regular file, is larger than `most`, or cannot be read."""
    if not stat.S_ISREG(status.st_mode) or status.st_size > most:
        return None
    try:
        with open(path, "rb") as file:  # noqa: PTH123
            return file.read(most)
    except OSError:
        return None
