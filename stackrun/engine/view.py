"""A container's root as its processes see it, held open by descriptors: what copying files in and out works on.

A running container's is that of its init, with every volume, bind mount and tmpfs that is mounted there at this moment.  A stopped one has
none: a thread makes a mount namespace for it, puts the layers, volumes and bind mounts of its record there, and ends; the namespace lives
as long as somebody holds the view, and goes with the daemon if that is killed.  The daemon's own namespaces, root and working
directory stay as they are.  Nothing of the container is executed or loaded: whoever reads or writes below `root_fd` resolves names
with openat2(RESOLVE_IN_ROOT) (kernel.paths) and stays in this process (CVE-2019-14271).
"""

from __future__ import annotations

import os
import select
import stat
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from stackrun.api.types import MountPoint, MountType
from stackrun.engine.record import Definition
from stackrun.errors import Conflict, KernelError, StackrunError
from stackrun.kernel import mounts, namespaces, paths, privileges, syscalls
from stackrun.kernel.syscalls import AT_FDCWD, MOUNT_ATTR_RDONLY

_OWN_FILES = ("hosts", "hostname", "resolv.conf")
"""What the engine writes and mounts at each start."""
_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC


class View:
    """`root_fd` is an O_PATH descriptor of the container's /. `close` lets go of it and of the mounts below it."""

    __slots__ = ("_namespace_fd", "_pid_fd", "root_fd")

    def __init__(self, root_fd: int, namespace_fd: int, pid_fd: int = -1) -> None:
        self.root_fd = root_fd
        self._namespace_fd = namespace_fd
        self._pid_fd = pid_fd

    def require_current(self) -> None:
        """Conflict once the container that this was opened for has ended: its next run has mounts of its own."""
        if self._pid_fd >= 0 and select.select([self._pid_fd], [], [], 0)[0]:
            raise Conflict("the container ended while files were copied")

    def close(self) -> None:
        for name in ("root_fd", "_namespace_fd", "_pid_fd"):
            if (fd := getattr(self, name)) >= 0:
                os.close(fd)
                setattr(self, name, -1)


def of_running(pid: int) -> View:
    """The view of a container's init; Conflict when it has just ended."""
    held: list[int] = []
    try:
        held.append(syscalls.pidfd_open(pid))
        proc = os.open(f"/proc/{pid}", _DIRECTORY)
        try:
            held.append(os.open("ns/mnt", os.O_RDONLY | os.O_CLOEXEC, dir_fd=proc))
            held.append(os.open("root", _DIRECTORY, dir_fd=proc))
        finally:
            os.close(proc)
        view = View(held[2], held[1], held[0])
        # /proc/PID and the pidfd were opened one after the other: both are of the same process only if that still lives.
        view.require_current()
    except (OSError, StackrunError) as error:
        for fd in held:
            os.close(fd)
        if isinstance(error, StackrunError) and not isinstance(error, KernelError):
            raise
        raise Conflict("the container has just ended") from error
    return view


def of_stopped(definition: Definition, directory: Path) -> View:
    """Made from the record and the container's `directory`; the caller keeps it from being started meanwhile."""
    return _made_aside(lambda: _assembled(definition, str(directory)))


def of_layers(lower: Sequence[str], directory: Path, *, writable: bool) -> View:
    """Layers (top first) alone, for a build: what is written goes to `directory`/upper; without `writable` nothing can be."""
    return _made_aside(lambda: _stacked(lower, str(directory), writable))


def _made_aside(make: Callable[[], View]) -> View:
    """In a thread that is nothing else's: namespaces and working directory are a thread's own after unshare(2)."""
    made: list[View] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            made.append(make())
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=run, name="view")
    thread.start()
    thread.join()
    if failed:
        raise failed[0]
    return made[0]


def _stacked(lower: Sequence[str], directory: str, writable: bool) -> View:
    syscalls.unshare(syscalls.CLONE_NEWNS)
    mounts.set_root_propagation(syscalls.MS_PRIVATE)
    upper, work, target, nothing = (f"{directory}/{name}" for name in ("upper", "work", "merged", "nothing"))
    for path in (target, nothing, *((upper, work) if writable else ())):
        Path(path).mkdir(exist_ok=True)
    if writable:
        os.chmod(upper, 0o755)  # the root directory that is seen
    # Without an upper layer overlayfs wants two lower ones, with one at least one: an empty directory fills the place.
    stack, options = [*lower, nothing], privileges.current().overlay_options
    if not writable and len(stack) < 2:
        stack.append(f"{directory}/merged")
    mounts.mount_overlay(stack, upper if writable else "", work if writable else "", target, options)
    root_fd = os.open(target, _DIRECTORY)
    try:
        return View(root_fd, namespaces.open_namespace("/proc/thread-self/ns/mnt"))
    except BaseException:
        os.close(root_fd)
        raise


def _assembled(definition: Definition, directory: str) -> View:
    syscalls.unshare(syscalls.CLONE_NEWNS)
    mounts.set_root_propagation(syscalls.MS_PRIVATE)
    target = f"{directory}/merged"
    for path in (f"{directory}/upper", f"{directory}/work", target):
        Path(path).mkdir(exist_ok=True)
    mounts.mount_overlay(list(definition.lower), f"{directory}/upper", f"{directory}/work", target, privileges.current().overlay_options)
    root_fd = os.open(target, _DIRECTORY)
    try:
        for point in (*definition.image_mounts, *_by_depth(definition.mounts)):
            if point.type is not MountType.TMPFS:
                _bind(root_fd, point.source, point.target, writable=point.read_write)
        for name in _OWN_FILES:
            if os.path.exists(f"{directory}/{name}") and f"/etc/{name}" not in {one.target for one in definition.mounts}:
                _bind(root_fd, f"{directory}/{name}", f"/etc/{name}", writable=True)
        if definition.spec.read_only_rootfs:
            mounts.set_attributes(root_fd, MOUNT_ATTR_RDONLY)
        return View(root_fd, namespaces.open_namespace("/proc/thread-self/ns/mnt"))
    except BaseException:
        os.close(root_fd)
        raise


def _by_depth(points: Sequence[MountPoint]) -> list[MountPoint]:
    """A mount inside another comes after it."""
    return sorted(points, key=lambda one: one.target.count("/"))


def _bind(root_fd: int, source: str, target: str, *, writable: bool) -> None:
    mount_fd = mounts.clone_tree(AT_FDCWD, source, recursive=True)
    try:
        is_directory = stat.S_ISDIR(os.fstat(mount_fd).st_mode)
        target_fd = (paths.make_directory if is_directory else paths.make_file)(root_fd, target)
        try:
            mounts.set_attributes(mount_fd, 0 if writable else MOUNT_ATTR_RDONLY, recursive=True)
            mounts.place(mount_fd, target_fd)
        finally:
            os.close(target_fd)
    finally:
        os.close(mount_fd)
