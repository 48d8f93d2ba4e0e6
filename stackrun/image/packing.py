"""Files and directories become a tar stream, read by descriptors and without following a link.

The tree may belong to somebody who changes it meanwhile (a container): each entry is opened below its directory with O_NOFOLLOW and
without blocking, so the worst that comes of it is a strange archive, never a file from elsewhere.  Owners are numbers: no user
database is asked.  Hard links stay links, holes are not kept, sockets are left out, and of the extended attributes
`security.capability` alone is taken, as Docker does it.
"""

from __future__ import annotations

import errno
import os
import stat
import tarfile
from collections.abc import Callable, Iterator

from stackrun.errors import KernelError

CHUNK_BYTES = 1 << 18
DEPTH_MAX = 256
CAPABILITY = "security.capability"
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_KINDS = {
    stat.S_IFREG: tarfile.REGTYPE,
    stat.S_IFDIR: tarfile.DIRTYPE,
    stat.S_IFLNK: tarfile.SYMTYPE,
    stat.S_IFIFO: tarfile.FIFOTYPE,
    stat.S_IFCHR: tarfile.CHRTYPE,
    stat.S_IFBLK: tarfile.BLKTYPE,
}

Wanted = Callable[[str], bool]
"""Whether the entry of this name in the archive is taken; what lies below one that is not is not looked at."""


class Packer:
    """Yields an archive piece by piece: any number of `entry` and `directory`, then `end`.

    `owner` replaces the files' own uid and gid.
    """

    def __init__(self, *, owner: tuple[int, int] | None = None, wanted: Wanted = lambda name: True) -> None:
        self._owner = owner
        self._wanted = wanted
        self._seen: dict[tuple[int, int], str] = {}

    def entry(self, parent_fd: int, name: str, called: str) -> Iterator[bytes]:
        """`name` in the directory `parent_fd`, with all below it, as `called`."""
        status = os.stat(name, dir_fd=parent_fd, follow_symlinks=False)
        yield from self._entry(parent_fd, name, called, status, 0)

    def directory(self, fd: int, called: str) -> Iterator[bytes]:
        """The open directory `fd` (readable) as `called`."""
        yield from self._directory(fd, called, os.fstat(fd), 0)

    def end(self) -> bytes:
        return b"\0" * (2 * tarfile.BLOCKSIZE)

    def _entry(self, parent_fd: int, name: str, called: str, status: os.stat_result, depth: int) -> Iterator[bytes]:
        kind = stat.S_IFMT(status.st_mode)
        if kind == stat.S_IFDIR:
            yield from self._below(parent_fd, name, called, depth)
        elif kind == stat.S_IFREG:
            yield from self._file(parent_fd, name, called)
        elif kind == stat.S_IFLNK:
            head = self._head(called, status)
            head.linkname = os.readlink(name, dir_fd=parent_fd)
            yield encoded(head)
        elif kind in _KINDS:
            yield encoded(self._head(called, status))

    def _below(self, parent_fd: int, name: str, called: str, depth: int) -> Iterator[bytes]:
        if depth > DEPTH_MAX:
            raise KernelError(f"archive {called[:64]}…", errno.ELOOP, hint=f"directories are nested deeper than {DEPTH_MAX}")
        fd = os.open(name, _DIRECTORY, dir_fd=parent_fd)
        try:
            yield from self._directory(fd, called, os.fstat(fd), depth)
        finally:
            os.close(fd)

    def _directory(self, fd: int, called: str, status: os.stat_result, depth: int) -> Iterator[bytes]:
        yield encoded(self._head(called, status, fd))
        prefix = called if called.endswith("/") else f"{called}/"
        for name in sorted(os.listdir(fd)):
            if not self._wanted(f"{prefix}{name}"):
                continue
            try:
                yield from self._entry(fd, name, f"{prefix}{name}", os.stat(name, dir_fd=fd, follow_symlinks=False), depth + 1)
            except OSError as error:
                if error.errno not in (errno.ENOENT, errno.ELOOP, errno.ENOTDIR):
                    raise  # else it vanished, or became something else, in this very moment

    def _file(self, parent_fd: int, name: str, called: str) -> Iterator[bytes]:
        fd = os.open(name, _FILE, dir_fd=parent_fd)
        try:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode):
                return
            head = self._head(called, status, fd)
            if status.st_nlink > 1:
                first = self._seen.setdefault((status.st_dev, status.st_ino), called)
                if first != called:
                    head.type, head.linkname, head.size = tarfile.LNKTYPE, first, 0
                    yield encoded(head)
                    return
            yield encoded(head)
            yield from _content(fd, status.st_size)
        finally:
            os.close(fd)

    def _head(self, called: str, status: os.stat_result, fd: int = -1) -> tarfile.TarInfo:
        head = tarfile.TarInfo(called)
        head.type = _KINDS[stat.S_IFMT(status.st_mode)]
        head.mode = stat.S_IMODE(status.st_mode)
        head.uid, head.gid = self._owner or (status.st_uid, status.st_gid)
        head.mtime = max(0, status.st_mtime_ns // 1_000_000_000)
        head.size = status.st_size if head.isreg() else 0
        head.devmajor, head.devminor = os.major(status.st_rdev), os.minor(status.st_rdev)
        head.pax_headers = {}
        if fraction := status.st_mtime_ns % 1_000_000_000:
            head.pax_headers["mtime"] = f"{head.mtime}.{fraction:09}"
        if fd >= 0:
            self._attributes(head, fd)
        return head

    def _attributes(self, head: tarfile.TarInfo, fd: int) -> None:
        if head.isreg() and (capability := _capability(fd)):
            head.pax_headers = {**head.pax_headers, f"SCHILY.xattr.{CAPABILITY}": capability.decode("utf-8", "surrogateescape")}


def encoded(head: tarfile.TarInfo) -> bytes:
    """A member's headers."""
    return head.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


def _content(fd: int, size: int) -> Iterator[bytes]:
    """Exactly `size` bytes and their padding: a file that grows is cut, one that shrinks is filled up, as tar(1) does."""
    left = size
    while left:
        chunk = os.read(fd, min(CHUNK_BYTES, left)) or bytes(min(CHUNK_BYTES, left))
        left -= len(chunk)
        yield chunk
    yield b"\0" * (-size % tarfile.BLOCKSIZE)


def _capability(fd: int) -> bytes:
    try:
        return os.getxattr(fd, CAPABILITY)
    except OSError as error:
        if error.errno in (errno.ENODATA, errno.ENOTSUP, errno.EPERM):
            return b""
        raise


def gathered(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """The same bytes in chunks worth a system call."""
    waiting: list[bytes] = []
    size = 0
    for piece in pieces:
        waiting.append(piece)
        size += len(piece)
        if size >= CHUNK_BYTES:
            yield b"".join(waiting)
            waiting, size = [], 0
    if waiting:
        yield b"".join(waiting)
