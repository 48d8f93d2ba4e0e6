"""News of the kernel about running processes: that somebody wrote a limit of their cgroup, or that their mounts have changed.

An inotify(7) instance hears of cgroup directories and of those that volumes lie in; poll(2) tells of changes of /proc/PID/mountinfo,
and tells it once: an epoll(7) inside another epoll has used the news up by the time it is asked which file they are of.  So a thread
waits for those alone.  Between news nothing runs; 300 bytes a watch.
"""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Callable, Iterable

from stackrun.errors import KernelError
from stackrun.kernel.inotify import IN_DELETE, IN_IGNORED, IN_MODIFY, IN_MOVED_FROM, Inotify

_LIMITS = ("memory.max", "memory.swap.max", "memory.low", "cpu.max", "cpu.weight", "cpuset.cpus", "cpuset.mems", "pids.max")
"""Of cgroup v2, where a group at its memory limit is told of its own events again and again in the same directory."""
_MOUNTS = select.EPOLLPRI | select.EPOLLERR | select.EPOLLET


class MountNews:
    """Of processes by a name that the caller gives. `tell` is called in the thread that waits."""

    def __init__(self, tell: Callable[[frozenset[str]], None]) -> None:
        self._tell = tell
        self._names: dict[int, str] = {}
        self._wake = os.eventfd(0, os.EFD_CLOEXEC)
        self._epoll = select.epoll()
        self._epoll.register(self._wake, select.EPOLLIN)
        self._thread = threading.Thread(target=self._wait, name="mount-news", daemon=True)
        self._thread.start()

    def _wait(self) -> None:
        while True:
            fds = [fd for fd, _ in self._epoll.poll()]
            if self._wake in fds:
                return
            self._tell(frozenset(name for fd in fds if (name := self._names.get(fd))))

    def follow(self, name: str, pid: int) -> None:
        try:
            fd = os.open(f"/proc/{pid}/mountinfo", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return  # it has ended
        self._names[fd] = name
        self._epoll.register(fd, _MOUNTS)

    def forget(self, name: str) -> None:
        """An open mountinfo keeps the mounts of a process that has ended."""
        for fd in [fd for fd, one in self._names.items() if one == name]:
            del self._names[fd]
            self._epoll.unregister(fd)
            os.close(fd)

    def close(self) -> None:
        os.eventfd_write(self._wake, 1)
        self._thread.join()
        for fd in (*self._names, self._wake):
            os.close(fd)
        self._epoll.close()


class ContainerNews:
    """Of containers by a name that the caller gives: limits of their cgroups, and entries that go from folders."""

    def __init__(self) -> None:
        self._inotify = Inotify()
        self._watches: dict[int, tuple[str, set[str]]] = {}
        """Watch → its path, and whose it is."""

    def fileno(self) -> int:
        return self._inotify.fileno()

    def follow(self, name: str, groups: Iterable[str], folders: Iterable[str]) -> None:
        """`groups`: cgroup directories; `folders`: those in which an entry that goes is news. What is not there is left out."""
        self.forget(name)
        for path in groups:
            self._watch(name, path, IN_MODIFY)
        for path in folders:
            self._watch(name, path, IN_DELETE | IN_MOVED_FROM)

    def _watch(self, name: str, path: str, mask: int) -> None:
        try:
            watch = self._inotify.watch(path, mask)
        except KernelError:
            return  # gone, or this user's watches are used up: then `drift` finds it
        self._watches.setdefault(watch, (path, set()))[1].add(name)

    def forget(self, name: str) -> None:
        for watch, (_, names) in tuple(self._watches.items()):
            names.discard(name)
            if not names:
                del self._watches[watch]
                self._inotify.unwatch(watch)

    def names(self) -> frozenset[str]:
        """Whom the news since the last call are about."""
        found: set[str] = set()
        for watch, mask, file in self._inotify.read_watches():
            if watch < 0:
                found.update(*(names for _, names in self._watches.values()))
            elif mask & IN_IGNORED:
                self._watches.pop(watch, None)
            elif file.endswith((".events", ".events.local")):
                self._narrow(watch)
            elif watch in self._watches:
                found |= self._watches[watch][1]
        return frozenset(found)

    def _narrow(self, watch: int) -> None:
        """To its files of limits."""
        path, names = self._watches.pop(watch, ("", set()))
        self._inotify.unwatch(watch)
        for name in names:
            for file in _LIMITS:
                self._watch(name, f"{path}/{file}", IN_MODIFY)

    def close(self) -> None:
        self._inotify.close()
