"""Copying and removing directory trees by descriptors; a copy has owners, modes, links, nodes, extended attributes and times.

Nothing is followed: each entry is opened below its directory without links, so a tree that somebody changes meanwhile
gives a strange copy and never somebody else's files.
"""

from __future__ import annotations

import errno
import os
import stat

from stackrun.errors import KernelError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

DEPTH_MAX = 256
_LEVELS_MAX = 32
_OVERLAY_XATTRS = ("trusted.overlay.", "user.overlay.")
DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def copy(source_fd: int, target_fd: int) -> None:
    """What is in the directory `source_fd` into the directory `target_fd`, which also takes its owner and attributes."""
    source = os.open(".", DIRECTORY, dir_fd=source_fd)
    target = os.open(".", DIRECTORY, dir_fd=target_fd)
    try:
        _copy_entries(source, target, 0)
        copy_attributes(source, target, os.fstat(source))
    finally:
        os.close(source)
        os.close(target)


def _copy_entries(source: int, target: int, depth: int) -> None:
    if depth > DEPTH_MAX:
        raise KernelError("copy a directory tree", errno.ELOOP, hint=f"it is deeper than {DEPTH_MAX}")
    for name in os.listdir(source):
        status = os.stat(name, dir_fd=source, follow_symlinks=False)
        if stat.S_ISDIR(status.st_mode):
            _copy_directory(source, target, name, depth)
        else:
            copy_entry(source, target, name, status)


def copy_entry(source: int, target: int, name: str, status: os.stat_result) -> None:
    """Anything but a directory, from one directory into another; sockets are left out."""
    if stat.S_ISREG(status.st_mode):
        _copy_file(source, target, name)
    elif stat.S_ISLNK(status.st_mode):
        os.symlink(os.readlink(name, dir_fd=source), name, dir_fd=target)
        os.chown(name, status.st_uid, status.st_gid, dir_fd=target, follow_symlinks=False)
    elif not stat.S_ISSOCK(status.st_mode):
        os.mknod(name, status.st_mode, status.st_rdev, dir_fd=target)
        os.chown(name, status.st_uid, status.st_gid, dir_fd=target, follow_symlinks=False)


def _copy_directory(source: int, target: int, name: str, depth: int) -> None:
    os.mkdir(name, 0o700, dir_fd=target)
    below = os.open(name, DIRECTORY, dir_fd=source)
    made = os.open(name, DIRECTORY, dir_fd=target)
    try:
        _copy_entries(below, made, depth + 1)
        copy_attributes(below, made, os.fstat(below))
    finally:
        os.close(below)
        os.close(made)


def _copy_file(source: int, target: int, name: str) -> None:
    # Without blocking, should it have become a fifo by now.
    given = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=source)
    made = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=target)
    try:
        status = os.fstat(given)
        if stat.S_ISREG(status.st_mode):
            while os.sendfile(made, given, None, 1 << 30):
                pass
            copy_attributes(given, made, status)
    finally:
        os.close(given)
        os.close(made)


def copy_attributes(source: int, target: int, status: os.stat_result) -> None:
    os.fchown(target, status.st_uid, status.st_gid)
    os.fchmod(target, stat.S_IMODE(status.st_mode))  # after chown, which takes setuid away
    for name in os.listxattr(source):
        if name.startswith(_OVERLAY_XATTRS):
            continue  # what overlayfs says of a directory is true where it was
        try:
            os.setxattr(target, name, os.getxattr(source, name))
        except OSError as error:
            if error.errno not in (errno.ENOTSUP, errno.EPERM):
                raise
    os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))


def remove(path: str | os.PathLike[str], on_error: Callable[[str, OSError], None] | None = None) -> None:
    """Remove a directory and all below it, however deep: a container can nest directories beyond any stack and PATH_MAX.

    What cannot be removed is told to `on_error` (name, error) while the rest goes on; without one it is raised as KernelError.
    """
    removal = _Removal(on_error or _raise)
    try:
        removal.top = os.open(path, DIRECTORY)
    except OSError as error:
        removal.tell(os.fspath(path), error)
        return
    try:
        # Each round takes what the one before has brought up.
        while removal.empty(removal.top, 0):
            pass
    finally:
        os.close(removal.top)
    removal.attempt(os.fspath(path), os.rmdir, path)


class _Removal:
    """`top` is a descriptor of the tree's root, to which directories are moved that are too deep to walk into: each level holds one."""

    def __init__(self, tell: Callable[[str, OSError], None]) -> None:
        self.tell = tell
        self.top = -1

    def empty(self, directory: int, depth: int) -> bool:
        """Whether something was moved up to `top`."""
        moved = False
        with os.scandir(directory) as entries:
            found = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
        for name, is_directory in found:
            if not is_directory:
                self.attempt(name, os.unlink, name, dir_fd=directory)
            elif depth < _LEVELS_MAX:
                moved |= self._remove_directory(directory, name, depth)
            else:
                moved |= self.attempt(name, os.rename, name, os.urandom(16).hex(), src_dir_fd=directory, dst_dir_fd=self.top)
        return moved

    def _remove_directory(self, parent: int, name: str, depth: int) -> bool:
        try:
            directory = os.open(name, DIRECTORY, dir_fd=parent)
        except OSError as error:
            self.tell(name, error)
            return False
        try:
            moved = self.empty(directory, depth + 1)
        finally:
            os.close(directory)
        self.attempt(name, os.rmdir, name, dir_fd=parent)
        return moved

    def attempt(self, name: str, call: Callable[..., object], *operands: object, **options: int) -> bool:
        try:
            call(*operands, **options)
        except OSError as error:
            self.tell(name, error)
            return False
        return True


def _raise(name: str, error: OSError) -> None:
    raise KernelError(f"remove {name}", error.errno or errno.EIO) from error
