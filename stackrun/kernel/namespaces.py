"""Namespaces (namespaces(7)) by the names the OCI runtime-spec gives them."""

from __future__ import annotations

import errno
import os

from stackrun.errors import KernelError
from stackrun.kernel import privileges, signals, syscalls

FLAGS = {
    "user": syscalls.CLONE_NEWUSER,
    "mount": syscalls.CLONE_NEWNS,
    "pid": syscalls.CLONE_NEWPID,
    "network": syscalls.CLONE_NEWNET,
    "uts": syscalls.CLONE_NEWUTS,
    "ipc": syscalls.CLONE_NEWIPC,
    "cgroup": syscalls.CLONE_NEWCGROUP,
    "time": syscalls.CLONE_NEWTIME,
}
FILES = {
    "user": "user",
    "mount": "mnt",
    "pid": "pid",
    "network": "net",
    "uts": "uts",
    "ipc": "ipc",
    "cgroup": "cgroup",
    "time": "time",
}
"""Name → file below /proc/PID/ns."""


def open_namespace(path: str) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise KernelError(f"open namespace {path}", error.errno or 0) from error


def join(fd: int, kind: str) -> None:
    """Enter the namespace `fd`; setns checks that it is of that kind.  A pid namespace takes effect for children only."""
    syscalls.setns(fd, FLAGS[kind])


class Visit:
    """`with Visit(netns_fd, "network"):` the calling, single-threaded process is inside meanwhile."""

    __slots__ = ("_fd", "_home", "_kind")

    def __init__(self, fd: int, kind: str) -> None:
        self._fd = fd
        self._kind = kind
        self._home = -1

    def __enter__(self) -> None:
        self._home = open_namespace(f"/proc/self/ns/{FILES[self._kind]}")
        join(self._fd, self._kind)

    def __exit__(self, *_: object) -> None:
        join(self._home, self._kind)
        os.close(self._home)


def user_namespace(uid_mappings: list[dict[str, int]], gid_mappings: list[dict[str, int]]) -> int:
    """A descriptor of a new user namespace that nobody is in: what an id-mapped mount takes.  For a single-threaded caller."""
    reader, writer = os.pipe2(os.O_CLOEXEC)
    pid, pid_fd = syscalls.clone3(syscalls.CLONE_NEWUSER, signals.SIGCHLD)
    if not pid:
        os.close(writer)
        os.read(reader, 1)
        os._exit(0)
    try:
        write_id_maps(pid, uid_mappings, gid_mappings)
        return open_namespace(f"/proc/{pid}/ns/user")
    finally:
        for fd in (reader, writer, pid_fd):
            os.close(fd)
        os.waitpid(pid, 0)


def new_time_namespace(offsets: list[tuple[str, int, int]]) -> None:
    """Children of the caller from here on live in it: (clock, seconds, nanoseconds) ahead of the host's (time_namespaces(7))."""
    syscalls.unshare(syscalls.CLONE_NEWTIME)
    text = "".join(f"{clock} {seconds} {nanoseconds}\n" for clock, seconds, nanoseconds in offsets)
    if text:
        _write("/proc/self/timens_offsets", text)


def write_id_maps(pid: int, uid_mappings: list[dict[str, int]], gid_mappings: list[dict[str, int]]) -> None:
    """Write the OCI ID mappings of a new user namespace; one write each, as user_namespaces(7) demands.

    An ordinary user may map himself alone; for his subordinate ids newuidmap(1) and newgidmap(1), which are setuid, write them.
    """
    if os.geteuid() != 0:
        _write_own_maps(pid, uid_mappings, gid_mappings)
        return
    for file, mappings in (("uid_map", uid_mappings), ("gid_map", gid_mappings)):
        text = "".join(f"{one['containerID']} {one['hostID']} {one['size']}\n" for one in mappings)
        _write(f"/proc/{pid}/{file}", text)


def _write_own_maps(pid: int, uid_mappings: list[dict[str, int]], gid_mappings: list[dict[str, int]]) -> None:
    if _is_only(uid_mappings, os.geteuid()) and _is_only(gid_mappings, os.getegid()):
        inside = uid_mappings[0]["containerID"], gid_mappings[0]["containerID"]
        write_single_id(pid, os.geteuid(), os.getegid(), *inside)
        return
    for program, mappings in (("newuidmap", uid_mappings), ("newgidmap", gid_mappings)):
        words = [str(one[name]) for one in mappings for name in ("containerID", "hostID", "size")]
        try:
            helper = os.posix_spawnp(program, [program, str(pid), *words], os.environ)
        except FileNotFoundError:
            hint = "install it (Debian: uidmap), or map your own id alone"
            raise KernelError(f"{program}, which maps subordinate ids", errno.ENOENT, hint=hint) from None
        if os.waitpid(helper, 0)[1]:
            hint = "the ranges must be this user's in /etc/subuid and /etc/subgid"
            raise KernelError(f"{program} {pid} {' '.join(words)}", errno.EPERM, hint=hint)


def _is_only(mappings: list[dict[str, int]], own: int) -> bool:
    return len(mappings) == 1 and mappings[0]["hostID"] == own and mappings[0]["size"] == 1


def become_root() -> None:
    """Of the user namespace that the calling process has just entered, in none of the groups it has left, if it may leave them."""
    try:
        os.setgroups([])
    except PermissionError:
        if not privileges.current().rootless:
            raise
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)


def write_single_id(pid: int, uid: int, gid: int, uid_inside: int = 0, gid_inside: int = 0) -> None:
    """The caller himself, who needs no rights for that; nobody there can change his groups then (user_namespaces(7))."""
    _write(f"/proc/{pid}/setgroups", "deny")
    _write(f"/proc/{pid}/uid_map", f"{uid_inside} {uid} 1")
    _write(f"/proc/{pid}/gid_map", f"{gid_inside} {gid} 1")


def _write(path: str, text: str) -> None:
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, text.encode())
        finally:
            os.close(fd)
    except OSError as error:
        raise KernelError(f"write {path}", error.errno or 0) from error
