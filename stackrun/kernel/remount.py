"""A bind mount that a running container has lost, made in its mount namespace again."""

from __future__ import annotations

import errno
import os
import stat
import threading
from collections.abc import Callable
from typing import NamedTuple

from stackrun.errors import KernelError
from stackrun.kernel import mounts, namespaces, paths, syscalls
from stackrun.kernel.mounts import Options

_CLONE_FS = 0x200
_UMOUNT_NOFOLLOW = 8


class Bind(NamedTuple):
    """`source` of this mount namespace seen at `destination` in another.  `is_resolved`: as `mounts.clone_source` has it."""

    source: str
    destination: str
    options: Options
    is_resolved: bool = False


def bind_again(pid: int, bind: Bind, check: Callable[[], None]) -> None:
    """In the mount namespace of process `pid`; another mount that is there is detached first.

    Blocks.  KernelError.  `check` is called when that namespace is open and before it is entered: whether the process is still who it was.
    What has a file of the old mount open goes on with that.
    """
    options = bind.options
    tree_fd = mounts.clone_source(bind.source, recursive=options.recursive, is_resolved=bind.is_resolved)
    try:
        mounts.set_attributes(tree_fd, options.attr_set, options.attr_clear)
        mounts.set_attributes(tree_fd, options.recursive_set, options.recursive_clear, recursive=True)
        namespace_fd = namespaces.open_namespace(f"/proc/{pid}/ns/mnt")
        try:
            check()
            _aside(lambda: _placed(namespace_fd, tree_fd, bind))
        finally:
            os.close(namespace_fd)
    finally:
        os.close(tree_fd)


def _placed(namespace_fd: int, tree_fd: int, bind: Bind) -> None:
    """By a thread that ends with it: its root and working directory are its own once they are not shared (setns(2))."""
    destination = bind.destination
    syscalls.unshare(_CLONE_FS)
    namespaces.join(namespace_fd, "mount")
    root_fd = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        make = paths.make_directory if stat.S_ISDIR(os.fstat(tree_fd).st_mode) else paths.make_file
        if _is_mount_point(root_fd, destination):
            _detach(root_fd, destination)
        target_fd = make(root_fd, destination)
        try:
            if syscalls.filesystem_type(target_fd) == syscalls.PROC_SUPER_MAGIC:
                raise KernelError(f"bind onto {destination}", errno.EPERM, hint="it leads into /proc now")
            mounts.place(tree_fd, target_fd)
        finally:
            os.close(target_fd)
        mounts.set_propagation(tree_fd, bind.options.propagation, recursive=bind.options.propagation_recursive)
    finally:
        os.close(root_fd)


def _is_mount_point(root_fd: int, path: str) -> bool:
    try:
        fd = paths.open_in_root(root_fd, path)
    except KernelError:
        return False
    try:
        return syscalls.is_mount_root(fd)
    finally:
        os.close(fd)


def _detach(root_fd: int, path: str) -> None:
    """By its name in an open directory: umount2(2) takes no descriptor, and /proc here is the container's."""
    parent, _, name = path.rstrip("/").rpartition("/")
    parent_fd = paths.open_in_root(root_fd, parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fchdir(parent_fd)
        syscalls.umount2(name, syscalls.MNT_DETACH | _UMOUNT_NOFOLLOW)
    finally:
        os.close(parent_fd)


def _aside(work: Callable[[], None]) -> None:
    failure: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:  # carried to the caller's thread, raised there
            failure.append(error)

    thread = threading.Thread(target=run, name="remount")
    thread.start()
    thread.join()
    if failure:
        raise failure[0]
