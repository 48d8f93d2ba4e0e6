"""Containers of which the kernel kills a process for want of memory, told when it happens.

One epoll descriptor watches all, so the loop wakes up for nothing else.
"""

from __future__ import annotations

import asyncio
import select
from collections.abc import Callable

from stackrun.errors import KernelError
from stackrun.kernel.cgroup import Cgroup
from stackrun.kernel.shortage import LOOK_S, LOOKS, Shortage


class Shortages:
    """`watch` and `forget` on the loop's thread.  `told` is called with the id when some have been killed since, or wait to be."""

    def __init__(self, told: Callable[[str], None]) -> None:
        self._told = told
        self._watched: dict[str, Shortage] = {}
        self._ids: dict[int, str] = {}
        self._poll: select.epoll | None = None

    def watch(self, container_id: str, group: Cgroup) -> None:
        """Without a memory controller, descriptors or rights nothing is told before the container's end, which tells it too."""
        try:
            found = Shortage(group)
        except (KernelError, OSError):
            return
        if found.fd < 0:
            return
        if self._poll is None:
            self._poll = select.epoll()
            asyncio.get_running_loop().add_reader(self._poll.fileno(), self._news)
        self._watched[container_id] = found
        self._ids[found.fd] = container_id
        self._poll.register(found.fd, found.mask)

    def forget(self, container_id: str) -> None:
        found = self._watched.pop(container_id, None)
        if found is not None and self._poll is not None:
            self._ids.pop(found.fd)
            self._poll.unregister(found.fd)
            found.close()

    def _news(self) -> None:
        assert self._poll is not None
        for fd, _ in self._poll.poll(0):
            if fd in self._ids:
                self._look(self._ids[fd], self._watched[self._ids[fd]], LOOKS)

    def _look(self, container_id: str, shortage: Shortage, looks: int) -> None:
        if self._watched.get(container_id) is not shortage:
            return
        if shortage.kills() or (not looks and shortage.is_going_on()):
            self._told(container_id)
        elif looks:
            asyncio.get_running_loop().call_later(LOOK_S, self._look, container_id, shortage, looks - 1)

    def close(self) -> None:
        for container_id in list(self._watched):
            self.forget(container_id)
        if self._poll is not None:
            asyncio.get_running_loop().remove_reader(self._poll.fileno())
            self._poll.close()
            self._poll = None
