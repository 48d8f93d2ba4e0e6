"""Paths inside a directory that somebody else controls: every look-up stays below it, whatever links it holds.

All functions take the directory as a descriptor and resolve with openat2(RESOLVE_IN_ROOT), so `..`, absolute
links and races by renaming cannot lead out (openat2(2)).  Magic links are refused.
"""

from __future__ import annotations

import errno
import os
import stat

from stackrun.errors import KernelError
from stackrun.kernel import syscalls
from stackrun.kernel.syscalls import RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS

_IN_ROOT = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS
_RACES_MAX = 64
"""openat2 gives EAGAIN when a rename anywhere could have let `..` escape; each try is independent."""
COMPONENTS_MAX = 256
LINKS_MAX = 40
"""As many as the kernel follows (path_resolution(7))."""


def open_in_root(root_fd: int, path: str, flags: int = os.O_PATH, *, follow: bool = True) -> int:
    """`path` below `root_fd`.  `follow=False` refuses a link as the last component (ELOOP, or an O_PATH descriptor of it)."""
    flags |= 0 if follow else os.O_NOFOLLOW
    for attempt in range(_RACES_MAX):
        try:
            return syscalls.openat2(root_fd, path.lstrip("/") or ".", flags, _IN_ROOT)
        except KernelError as error:
            if error.errno != errno.EAGAIN or attempt == _RACES_MAX - 1:
                raise
    raise AssertionError("unreachable")


def real_path(root_fd: int, path: str) -> str:
    """`path` without links, dots and doubled slashes, as far as it exists: what to show, never what to open (it may change at once)."""
    waiting = [part for part in reversed(path.split("/")) if part not in ("", ".")]
    done: list[str] = []
    links = 0
    while waiting:
        part = waiting.pop()
        if part == "..":
            done = done[:-1]
            continue
        target = _link_target(root_fd, "/".join((*done, part)))
        if target is None or links == LINKS_MAX:
            done.append(part)
            continue
        links += 1
        done = [] if target.startswith("/") else done
        waiting += [one for one in reversed(target.split("/")) if one not in ("", ".")]
    return "/" + "/".join(done)


def _link_target(root_fd: int, path: str) -> str | None:
    """None for what is no link, or not there."""
    try:
        fd = open_in_root(root_fd, path, follow=False)
    except KernelError:
        return None
    try:
        return os.readlink("", dir_fd=fd) if stat.S_ISLNK(os.fstat(fd).st_mode) else None
    finally:
        os.close(fd)


def exists_in_root(root_fd: int, path: str) -> bool:
    try:
        os.close(open_in_root(root_fd, path))
    except KernelError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            return False
        raise
    return True


def make_directory(root_fd: int, path: str, mode: int = 0o755) -> int:
    """An O_PATH descriptor of the directory `path`, made with its parents where missing.

    Links on the way are followed inside the root.  A component that dangles cannot be made and is ENOENT's EEXIST.
    """
    try:
        return open_in_root(root_fd, path, os.O_PATH | os.O_DIRECTORY)
    except KernelError as error:
        if error.errno != errno.ENOENT:
            raise
    done = ""
    current = os.dup(root_fd)
    for part in _components(path):
        done = f"{done}/{part}"
        made = _step(current, part, mode)
        os.close(current)
        # Resolved from the root again and not from `current`: the component may be a link.
        current = open_in_root(root_fd, done, os.O_PATH | os.O_DIRECTORY)
        if made and not _same_owner_of_new(current):
            os.close(current)
            raise KernelError(f"mkdir {done}", errno.EAGAIN, hint="the path changed while it was made")
    return current


def _components(path: str) -> list[str]:
    parts = [part for part in path.split("/") if part and part != "."]
    if len(parts) > COMPONENTS_MAX or ".." in parts:
        raise KernelError(f"mkdir {path}", errno.EINVAL, hint="a path to be made holds no .. and has a limited depth")
    return parts


def _step(parent_fd: int, name: str, mode: int) -> bool:
    try:
        os.mkdir(name, mode, dir_fd=parent_fd)
    except FileExistsError:
        return False
    except OSError as error:
        raise KernelError(f"mkdir {name}", error.errno or errno.EIO) from error
    return True


def _same_owner_of_new(fd: int) -> bool:
    return stat.S_ISDIR(os.fstat(fd).st_mode)


def make_file(root_fd: int, path: str, mode: int = 0o644, *, follow: bool = True) -> int:
    """An O_PATH descriptor of `path`: what is there, or a new empty regular file (its parents are made too).

    `follow=False`: of a link itself, should it be one.
    """
    try:
        return open_in_root(root_fd, path, follow=follow)
    except KernelError as error:
        if error.errno != errno.ENOENT:
            raise
    parent, _, name = path.rstrip("/").rpartition("/")
    parent_fd = make_directory(root_fd, parent)
    try:
        flags = os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_WRONLY
        os.close(syscalls.openat2(parent_fd, name, flags, RESOLVE_NO_SYMLINKS | _IN_ROOT, mode))
        return syscalls.openat2(parent_fd, name, os.O_PATH | os.O_NOFOLLOW, RESOLVE_NO_SYMLINKS | _IN_ROOT)
    finally:
        os.close(parent_fd)


def read_regular_file(root_fd: int, path: str, limit_bytes: int) -> bytes | None:
    """The content of the regular file `path`, None when there is none.

    Opened without blocking, so that a FIFO put in its place holds nobody up.  EFBIG beyond the limit, EINVAL for
    anything that is no regular file.
    """
    try:
        fd = open_in_root(root_fd, path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    except KernelError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            return None
        raise
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise KernelError(f"read {path}", errno.EINVAL, hint="it is not a regular file")
        data = os.read(fd, limit_bytes + 1)
        if len(data) > limit_bytes:
            raise KernelError(f"read {path}", errno.EFBIG, hint=f"the limit is {limit_bytes} bytes")
        return data
    finally:
        os.close(fd)
