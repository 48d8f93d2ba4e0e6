"""What a process may do, as the kernel sees it (proc(5), /proc/PID/status), and the namespaces it is in."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from pathlib import Path

from stackrun.errors import KernelError

NAMESPACES = ("mnt", "pid", "net", "ipc", "uts", "cgroup", "user")


@dataclass(frozen=True, slots=True)
class Credentials:
    """Real ids; capabilities as bit masks; `seccomp`: 0 off, 1 strict, 2 a filter."""

    uid: int
    gid: int
    effective: int
    permitted: int
    bounding: int
    no_new_privileges: bool
    seccomp: int


def of_process(pid: int) -> Credentials:
    """KernelError, ENOENT or ESRCH, when it has ended."""
    return parse(_text(f"/proc/{pid}/status"))


def parse(status: str) -> Credentials:
    found = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)

    def first(name: str) -> str:
        return (found.get(name, "").split() or ["0"])[0]

    return Credentials(
        uid=int(first("Uid")),
        gid=int(first("Gid")),
        effective=int(first("CapEff"), 16),
        permitted=int(first("CapPrm"), 16),
        bounding=int(first("CapBnd"), 16),
        no_new_privileges=first("NoNewPrivs") == "1",
        seccomp=int(first("Seccomp")),
    )


def namespaces(pid: int | str = "self") -> dict[str, int]:
    """Kind → inode, which two processes have in common if they share the namespace."""
    found = {}
    for kind in NAMESPACES:
        try:
            found[kind] = os.stat(f"/proc/{pid}/ns/{kind}").st_ino
        except FileNotFoundError as error:
            if not os.path.exists(f"/proc/{pid}"):
                raise KernelError(f"look at the namespaces of process {pid}", errno.ESRCH) from error
        except OSError as error:
            raise KernelError(f"look at the namespaces of process {pid}", error.errno or errno.EIO) from None
    return found


def cgroup_paths(pid: int) -> dict[str, str]:
    """Hierarchy's controllers, as /proc/PID/cgroup joins them by commas, empty for v2 → the process's group in it."""
    found = {}
    for line in _text(f"/proc/{pid}/cgroup").splitlines():
        _, controllers, path = (*line.split(":", 2), "", "")[:3]
        found[controllers] = path
    return found


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="surrogateescape")
    except OSError as error:
        raise KernelError(f"read {path}", error.errno or errno.EIO) from None
