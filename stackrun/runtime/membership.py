"""Getting into a container's cgroup without the wait that moving a process costs.

Writing a pid to cgroup.procs makes the kernel stop every fork and exit on the machine for a moment, which after a quiet
time takes it an RCU grace period: 4 to 8 ms measured.  Two ways need none: being born in the group (CLONE_INTO_CGROUP,
version 2 only), and a single-threaded process writing "0" to `tasks` (version 1 only; Linux 5.5, cgroup_attach_lock).
"""

from __future__ import annotations

import errno
import os

from stackrun.errors import KernelError
from stackrun.kernel import syscalls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from stackrun.kernel.cgroup import Cgroup


def clone(group: Cgroup, flags: int, exit_signal: int, member: int = 0) -> tuple[int, int]:
    """`syscalls.clone3` into `group`'s version 2 directory, if there is one; the child then calls `complete`.

    A container that may write its cgroups can have given controllers to children of its group, which takes no process of
    its own any more then (cgroups(7), "no internal processes").  The clone goes where process `member` has moved to.
    """
    if not group.v2_directory:
        return syscalls.clone3(flags, exit_signal)
    try:
        return _clone_into(group.open_v2(), flags, exit_signal)
    except KernelError as error:
        if error.errno != errno.EBUSY or not member:
            raise
    return _clone_into(group.open_v2(member), flags, exit_signal)


def _clone_into(group_fd: int, flags: int, exit_signal: int) -> tuple[int, int]:
    try:
        return syscalls.clone3(flags, exit_signal, group_fd)
    finally:
        os.close(group_fd)


def complete(group: Cgroup) -> None:
    """Join the version 1 hierarchies of `group`; the caller is single-threaded and sees the host's files."""
    for point in dict.fromkeys(group.layout.v1.values()):
        path = f"{point}/{group.path}/tasks"
        try:
            fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
            try:
                os.write(fd, b"0")
            finally:
                os.close(fd)
        except OSError as error:
            raise KernelError(f"join {path}", error.errno or 0) from error
