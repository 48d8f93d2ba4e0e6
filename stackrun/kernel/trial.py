"""Facilities that must be used to know whether they work: each in a forked child that takes what it made along.

Run as a process of its own by `kernel.probe`; prints one JSON object of name → why it failed (empty: it works).
"""

from __future__ import annotations

import json
import os
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
    found = {"overlayfs": _failure(_mount_overlay)}
    for name, file, flag in _NAMESPACES:
        found[f"{name} namespace"] = _namespace(file, flag)
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


def _mount_overlay() -> None:
    """In a mount namespace of its own, on a tmpfs over /proc: a directory that is always there."""
    syscalls.unshare(syscalls.CLONE_NEWNS)
    syscalls.mount(None, "/", None, syscalls.MS_REC | syscalls.MS_PRIVATE)
    syscalls.mount("tmpfs", "/proc", "tmpfs", 0, "mode=700")
    for name in ("lower", "upper", "work", "merged"):
        os.mkdir(f"/proc/{name}")
    syscalls.mount("overlay", "/proc/merged", "overlay", 0, "lowerdir=/proc/lower,upperdir=/proc/upper,workdir=/proc/work")
