"""COPY: from one tree into another, as Docker's classic builder puts things where the instruction says.

Both trees belong to images, so every path is resolved inside its root; below a folder that is open, each entry is opened without
following a link.  Nobody else writes to either meanwhile.

What is there gives way: a file to whatever comes, a folder to a file; two folders merge, and the one that was there takes the mode and the
owner of the one that comes, except for the target itself, which stays as it was.
"""

from __future__ import annotations

import errno
import os
import posixpath
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from stackrun.engine.build_sources import DEPTH_MAX, Tree, Wanted
from stackrun.errors import KernelError
from stackrun.kernel import privileges
from stackrun.kernel import tree as trees
from stackrun.kernel.paths import LINKS_MAX, open_in_root

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_PATH = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_XATTRS = ("user.", "security.capability", "system.posix_acl_")
_OVERLAY_XATTRS = ("user.overlay.",)


@dataclass(frozen=True, slots=True)
class Manner:
    """`owner`: uid and gid for all that is made, None keeps the source's.  `mode`: permissions for all, None keeps the source's."""

    owner: tuple[int, int] | None = (0, 0)
    mode: int | None = None
    wanted: Wanted = lambda path: True
    check: Callable[[], None] = lambda: None


def copy(tree: Tree, path: str, target_fd: int, target: str, manner: Manner) -> None:
    """What is at `path` of `tree` to `target` below `target_fd`: a folder's content into the folder `target`, anything else to the file
    `target`, or into it if that is a folder or ends with a slash.

    `target` is absolute and without `..`; missing parents are made.  KernelError names the path that could not be made.
    """
    source_fd = open_in_root(tree.root_fd, path)
    try:
        is_directory = stat.S_ISDIR(os.fstat(source_fd).st_mode)
        transfer = _Transfer(target_fd, manner)
        if is_directory:
            transfer.directory(source_fd, path, target)
        elif target.endswith("/") or _is_directory(target_fd, target):
            transfer.file(source_fd, posixpath.join(target, posixpath.basename(path)))
        else:
            transfer.file(source_fd, target)
    finally:
        os.close(source_fd)


def make_directories(root_fd: int, path: str, owner: tuple[int, int], mode: int = 0o755) -> bool:
    """`path` with its parents, where missing; links on the way are followed inside the root.  Whether the last one is new."""
    done, is_new = "", False
    for part in (part for part in path.split("/") if part and part != "."):
        parent, done = done, f"{done}/{part}"
        try:
            os.close(open_in_root(root_fd, done, os.O_PATH | os.O_DIRECTORY))
            is_new = False
            continue
        except KernelError as error:
            if error.errno != errno.ENOENT:
                raise
        with _opened(root_fd, parent) as fd, _named(done):
            os.mkdir(part, 0o700, dir_fd=fd)
            _give(part, owner, fd)
            os.chmod(part, mode, dir_fd=fd)
        is_new = True
    return is_new


class _Transfer:
    def __init__(self, root_fd: int, manner: Manner) -> None:
        self._root_fd = root_fd
        self._manner = manner
        self._made_by = manner.owner or (0, 0)
        self._seen: dict[tuple[int, int], str] = {}
        """Of files with several names: where the first one went."""

    def directory(self, source_fd: int, path: str, target: str) -> None:
        is_new = make_directories(self._root_fd, target, self._made_by)
        with _opened(self._root_fd, target) as made:
            if is_new and self._manner.mode is not None:
                os.fchmod(made, self._manner.mode)
            opened = os.open(f"/proc/self/fd/{source_fd}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                self._entries(opened, made, path, target.rstrip("/"), 0)
            finally:
                os.close(opened)

    def file(self, source_fd: int, target: str, links: int = 0) -> None:
        """`source_fd` is an O_PATH descriptor of anything but a folder."""
        if links > LINKS_MAX:
            raise KernelError(f"copy to {target}", errno.ELOOP)
        parent, name = posixpath.split(target)
        make_directories(self._root_fd, parent, self._made_by)
        status = os.fstat(source_fd)
        with _opened(self._root_fd, parent) as fd, _named(target):
            if (link := _link_at(fd, name)) is not None:  # as Docker does: it leads on, within the image
                self.file(source_fd, posixpath.normpath(posixpath.join("/", parent, link)), links + 1)
                return
            _make_way(fd, name, is_directory=False)
            self._leaf(f"/proc/self/fd/{source_fd}", "", source_fd, fd, name, status)

    def _entries(self, source: int, made: int, path: str, target: str, depth: int) -> None:
        if depth > DEPTH_MAX:
            raise KernelError(f"copy {path}", errno.ELOOP, hint=f"folders are nested deeper than {DEPTH_MAX}")
        self._manner.check()
        for name in sorted(os.listdir(source)):
            whole, to = posixpath.join(path, name), f"{target}/{name}"
            if not self._manner.wanted(whole):
                continue
            with _named(to):
                status = os.stat(name, dir_fd=source, follow_symlinks=False)
                if stat.S_ISDIR(status.st_mode):
                    self._below(source, made, name, whole, to, depth)
                else:
                    self._entry(source, made, name, to, status)

    def _below(self, source: int, made: int, name: str, whole: str, to: str, depth: int) -> None:
        _make_way(made, name, is_directory=True)
        try:
            os.mkdir(name, 0o700, dir_fd=made)
        except FileExistsError:
            pass
        given, inside = os.open(name, _DIRECTORY, dir_fd=source), os.open(name, _DIRECTORY, dir_fd=made)
        try:
            self._entries(given, inside, whole, to, depth + 1)
            self._finish(given, inside, os.fstat(given))
        finally:
            os.close(given)
            os.close(inside)

    def _entry(self, source: int, made: int, name: str, to: str, status: os.stat_result) -> None:
        _make_way(made, name, is_directory=False)
        if status.st_nlink > 1 and stat.S_ISREG(status.st_mode):
            first = self._seen.setdefault((status.st_dev, status.st_ino), to)
            if first != to:
                with _opened(self._root_fd, posixpath.dirname(first)) as there:
                    os.link(posixpath.basename(first), name, src_dir_fd=there, dst_dir_fd=made, follow_symlinks=False)
                return
        self._leaf(name, name, source, made, name, status)

    def _leaf(self, path: str, link: str, source: int, made: int, name: str, status: os.stat_result) -> None:
        """`path` (relative to `source`, or /proc/self/fd/N) opens what `link` (below `source`) names."""
        kind = stat.S_IFMT(status.st_mode)
        if kind == stat.S_IFREG:
            flags = _FILE if link else _FILE & ~os.O_NOFOLLOW
            self._content(os.open(path, flags, dir_fd=source if link else None), made, name)
        elif kind == stat.S_IFLNK:
            os.symlink(os.readlink(link, dir_fd=source), name, dir_fd=made)
            _give(name, self._owner(status), made)
            os.utime(name, ns=(status.st_atime_ns, status.st_mtime_ns), dir_fd=made, follow_symlinks=False)
        elif kind in (stat.S_IFIFO, stat.S_IFCHR, stat.S_IFBLK):
            os.mknod(name, kind | 0o600, status.st_rdev, dir_fd=made)
            _give(name, self._owner(status), made)
            os.chmod(name, self._mode(status), dir_fd=made)

    def _content(self, given: int, made: int, name: str) -> None:
        try:
            fd = os.open(name, _NEW, 0o600, dir_fd=made)
            try:
                while os.sendfile(fd, given, None, 1 << 26):
                    self._manner.check()
                self._finish(given, fd, os.fstat(given))
            finally:
                os.close(fd)
        finally:
            os.close(given)

    def _finish(self, given: int, made: int, status: os.stat_result) -> None:
        if not privileges.current().single_id:
            os.fchown(made, *self._owner(status))
        os.fchmod(made, self._mode(status))  # after chown, which takes set-id bits away
        for name in os.listxattr(given):
            if name.startswith(_XATTRS) and not name.startswith(_OVERLAY_XATTRS):
                _set_attribute(made, name, os.getxattr(given, name))
        os.utime(made, ns=(status.st_atime_ns, status.st_mtime_ns))

    def _owner(self, status: os.stat_result) -> tuple[int, int]:
        return self._manner.owner or (status.st_uid, status.st_gid)

    def _mode(self, status: os.stat_result) -> int:
        return self._manner.mode if self._manner.mode is not None else stat.S_IMODE(status.st_mode)


def _set_attribute(fd: int, name: str, value: bytes) -> None:
    try:
        os.setxattr(fd, name, value)
    except OSError as error:
        if name == "security.capability" or error.errno not in (errno.ENOTSUP, errno.EPERM):
            raise


def _make_way(parent_fd: int, name: str, *, is_directory: bool) -> None:
    try:
        existing = os.stat(name, dir_fd=parent_fd, follow_symlinks=False)
    except FileNotFoundError:
        return
    if not stat.S_ISDIR(existing.st_mode):
        os.unlink(name, dir_fd=parent_fd)
    elif not is_directory:
        trees.remove(f"/proc/self/fd/{parent_fd}/{name}")


def _link_at(parent_fd: int, name: str) -> str | None:
    try:
        return os.readlink(name, dir_fd=parent_fd)
    except OSError as error:
        if error.errno in (errno.EINVAL, errno.ENOENT):
            return None
        raise


def _is_directory(root_fd: int, path: str) -> bool:
    try:
        os.close(open_in_root(root_fd, path, os.O_PATH | os.O_DIRECTORY))
    except KernelError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            return False
        raise
    return True


def _give(name: str, owner: tuple[int, int], parent_fd: int) -> None:
    if not privileges.current().single_id:
        os.chown(name, *owner, dir_fd=parent_fd, follow_symlinks=False)


@contextmanager
def _opened(root_fd: int, path: str) -> Iterator[int]:
    fd = open_in_root(root_fd, path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield fd
    finally:
        os.close(fd)


@contextmanager
def _named(path: str) -> Iterator[None]:
    """System call failures with the path they happened at."""
    try:
        yield
    except OSError as error:
        hint = "the disk is full" if error.errno == errno.ENOSPC else ""
        raise KernelError(f"copy to {path}", error.errno or errno.EIO, hint=hint) from error
