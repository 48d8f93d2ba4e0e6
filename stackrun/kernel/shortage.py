"""Being told when a cgroup runs out of memory: eventfd on memory.oom_control (version 1), POLLPRI on memory.events (version 2).

Sources: cgroup-v1/memory.rst, "Notification API" and "OOM Control"; cgroup-v2.rst, "memory.events".
"""

from __future__ import annotations

import os
import select

from stackrun.kernel.cgroup import Cgroup
from stackrun.kernel.cgroup_files import flat_keyed, read_or_empty, write

LOOKS = 10
LOOK_S = 0.02


class Shortage:
    """`fd` is ready, by poll(2) with `mask`, when members may have been killed since; it is -1 where nothing tells.

    Version 1 says so a moment before it kills, and again when the group is removed: look `LOOKS` times then.  KernelError or OSError
    as opening gives them.
    """

    def __init__(self, group: Cgroup) -> None:
        self._group = group
        self._is_v1 = "memory" in group.layout.v1
        self._known = group.oom_kills()
        self.mask = select.POLLIN if self._is_v1 else select.POLLPRI
        directory = group.directory("memory")
        if not directory:
            self.fd = -1
        elif self._is_v1:
            self.fd = _registered(directory)
        else:
            self.fd = os.open(f"{directory}/memory.events", os.O_RDONLY | os.O_CLOEXEC)
            self._settle()

    def _settle(self) -> None:
        """What made `fd` ready has been seen."""
        try:
            if self._is_v1:
                os.read(self.fd, 8)
            else:
                os.pread(self.fd, 4096, 0)
        except OSError:
            return  # EAGAIN, or ENODEV: the group is gone

    def kills(self) -> int:
        """How many members have been killed since this was asked last."""
        self._settle()
        known, self._known = self._known, max(self._known, self._group.oom_kills())
        return self._known - known

    def is_going_on(self) -> bool:
        """Whether members wait for memory and are not killed (memory.disableOOMKiller, version 1)."""
        text = read_or_empty(f"{self._group.directory('memory')}/memory.oom_control") if self._is_v1 else ""
        return flat_keyed(text).get("under_oom") == 1

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def _registered(directory: str) -> int:
    fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
    try:
        control = os.open(f"{directory}/memory.oom_control", os.O_RDONLY | os.O_CLOEXEC)
        try:
            write(f"{directory}/cgroup.event_control", f"{fd} {control}")
        finally:
            os.close(control)
    except BaseException:
        os.close(fd)
        raise
    return fd
