"""Facilities that must be used to know whether they work: each in a forked child that takes what it made along.

Run as a process of its own by `kernel.probe`; prints one JSON object of name → why it failed (empty: it works).
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Callable

from stackrun.errors import KernelError
from stackrun.kernel import syscalls

_NAMESPACES = (
    ("mount", "mnt", syscalls.CLONE_NEWNS),
    ("pid", "pid", syscalls.CLONE_NEWPID),
    ("network", "net", syscalls.CLONE_NEWNET),
    ("uts", "uts", syscalls.CLONE_NEWUTS),
    ("ipc", "ipc", syscalls.CLONE_NEWIPC),
    ("cgroup", "cgroup", syscalls.CLONE_NEWCGROUP),
    ("user", "user", syscalls.CLONE_NEWUSER),
    ("time", "time", syscalls.CLONE_NEWTIME),
)


def main() -> None:
    found = {"overlayfs": _failure(_mount_overlay), "id-mapped mounts": _failure(_map_ids)}
    for name, file, flag in _NAMESPACES:
        found[f"{name} namespace"] = _namespace(file, flag)
    for kind in ("veth", "bridge"):
        found[kind] = _failure(lambda kind=kind: _make_link(kind))  # type: ignore[misc]
    print(json.dumps(found))


def _namespace(file: str, flag: int) -> str:
    if not os.path.exists(f"/proc/self/ns/{file}"):
        return "not in this kernel's configuration"
    return _failure(lambda: syscalls.unshare(flag))


def _failure(attempt: Callable[[], None]) -> str:
    """Why `attempt` fails in a child; empty when it succeeds."""
    read_fd, write_fd = os.pipe()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            if os.geteuid() != 0:
                _become_root()
            attempt()
            status = 0
        except (KernelError, OSError) as error:
            os.write(write_fd, str(error).encode()[:4096])
        finally:
            os._exit(status)
    os.close(write_fd)
    with os.fdopen(read_fd, "rb") as pipe:
        reason = pipe.read().decode(errors="replace")
    _, status = os.waitpid(pid, 0)
    return reason or ("" if status == 0 else "the attempt crashed")


def _become_root() -> None:
    """Of a user namespace of one's own: what an ordinary user's engine does first."""
    uid, gid = os.geteuid(), os.getegid()
    syscalls.unshare(syscalls.CLONE_NEWUSER)
    for file, text in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
        fd = os.open(f"/proc/self/{file}", os.O_WRONLY)
        os.write(fd, text.encode())
        os.close(fd)


def _map_ids() -> None:
    """Of a copy of a tmpfs that nobody sees."""
    from stackrun.kernel import mounts, namespaces

    mapping = [{"containerID": 0, "hostID": 100000, "size": 1}]
    fd = mounts.make_filesystem("tmpfs", "trial", mounts.Options([]))
    mounts.map_ids(fd, namespaces.user_namespace(mapping, mapping), recursive=False)


_NETLINK_ROUTE = 0
_RTM_NEWLINK = 16
_REQUEST_ACK_CREATE = 0x1 | 0x4 | 0x400
_IFLA_IFNAME, _IFLA_LINKINFO, _IFLA_INFO_KIND = 3, 18, 1


def _make_link(kind: str) -> None:
    """In a network namespace of its own; by hand, since what speaks netlink elsewhere takes a tenth of a second to import."""
    import socket

    def attribute(number: int, value: bytes) -> bytes:
        return struct.pack("=HH", len(value) + 4, number) + value + b"\0" * (-len(value) % 4)

    syscalls.unshare(syscalls.CLONE_NEWNET)
    body = struct.pack("=BxHiII", 0, 0, 0, 0, 0) + attribute(_IFLA_IFNAME, b"trial\0")
    body += attribute(_IFLA_LINKINFO, attribute(_IFLA_INFO_KIND, kind.encode()))
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_ROUTE) as route:
        route.send(struct.pack("=IHHII", 16 + len(body), _RTM_NEWLINK, _REQUEST_ACK_CREATE, 1, 0) + body)
        (code,) = struct.unpack_from("=i", route.recv(4096), 16)
    if code:
        raise KernelError(f"make a {kind} link", -code)


def _mount_overlay() -> None:
    """In a mount namespace of its own, on a tmpfs over /proc: a directory that is always there."""
    syscalls.unshare(syscalls.CLONE_NEWNS)
    syscalls.mount(None, "/", None, syscalls.MS_REC | syscalls.MS_PRIVATE)
    syscalls.mount("tmpfs", "/proc", "tmpfs", 0, "mode=700")
    for name in ("lower", "upper", "work", "merged"):
        os.mkdir(f"/proc/{name}")
    syscalls.mount("overlay", "/proc/merged", "overlay", 0, "lowerdir=/proc/lower,upperdir=/proc/upper,workdir=/proc/work")
