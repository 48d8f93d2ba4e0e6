"""The names of running containers, and the process that answers for them.

The process outlives the engine and may die before it.  So what it ought to know is kept here too, and handed over again when it was
started anew.
"""

from __future__ import annotations

import asyncio
import os
import select
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from stackrun.api.types import Endpoint
from stackrun.engine.tasks import Tasks
from stackrun.errors import Unavailable
from stackrun.network.dns_client import KNOWN_FOR_S, DnsClient, NetworkNames
from stackrun.runtime.container import Handle


@dataclass(frozen=True, slots=True)
class ResolverPlan:
    """`upstreams` answer for foreign names (none: there is no way out); `links`: alias → the linked container's name."""

    upstreams: tuple[str, ...] = ()
    links: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Served:
    handle: Handle
    plan: ResolverPlan
    endpoints: tuple[Endpoint, ...]


class Resolver:
    """Methods block (a message there and back) and may be called from any thread, except `watch`, `unwatch` and `close`: the loop's."""

    def __init__(self, client: DnsClient, tasks: Tasks) -> None:
        self._client = client
        self._tasks = tasks
        self._lock = threading.Lock()
        self._served: dict[str, _Served] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._hang_up: select.epoll | None = None

    def serve(self, handle: Handle, plan: ResolverPlan, endpoints: Sequence[Endpoint]) -> None:
        """A container that is about to start, or whose names changed."""
        served = _Served(handle, plan, tuple(endpoints))
        known = handle.container_id in self._served
        try:
            self._hand_over(served, with_sockets=not known)
        except Unavailable:
            self._revive()
            self._hand_over(served, with_sockets=True)
        self._served[handle.container_id] = served

    def serves(self, container_id: str) -> bool:
        return container_id in self._served

    def drop(self, container_id: str) -> None:
        """It ended. The process may have noticed by itself, or have gone with its last container."""
        if self._served.pop(container_id, None) is None:
            return
        try:
            self._client.drop_container(container_id)
        except Unavailable:
            return

    def known_for_s(self, container_id: str) -> float:
        """For how much longer somebody may take a name for its address that it has lost meanwhile."""
        try:
            return self._client.known_for_s(container_id)
        except Unavailable:
            return KNOWN_FOR_S  # whoever asked before the process ended

    def adopt(self, handle: Handle, plan: ResolverPlan, endpoints: Sequence[Endpoint]) -> None:
        """A container that an earlier engine handed over; `reconcile` sees whether that still holds."""
        self._served[handle.container_id] = _Served(handle, plan, tuple(endpoints))

    def known(self) -> frozenset[str]:
        """Ids of the containers that the process answers for; none when it does not run."""
        try:
            return frozenset(self._client.containers())
        except Unavailable:
            return frozenset()

    def reconcile(self) -> None:
        """Hands over whom the process does not know."""
        if not self._served or self._revive():
            return
        known = frozenset(self._client.containers())
        for container_id, served in tuple(self._served.items()):
            if container_id not in known:
                self._hand_over(served, with_sockets=True)

    def _revive(self) -> bool:
        """True when the process had to be started; then it knows everyone again."""
        with self._lock:
            started = self._client.ensure_running()
            if started:
                for served in tuple(self._served.values()):
                    self._hand_over(served, with_sockets=True)
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._arm)
        return started

    def _hand_over(self, served: _Served, *, with_sockets: bool) -> None:
        handle = served.handle
        sockets = handle.dns_sockets() if with_sockets else []
        try:
            self._client.set_container(
                handle.container_id,
                sockets,
                pid_fd=handle.pid_fd,
                networks=[NetworkNames(one.network_id, one.network_name, one.ipv4_address, one.dns_names) for one in served.endpoints],
                upstreams=served.plan.upstreams,
                links=served.plan.links,
            )
        finally:
            for one in sockets:
                os.close(one)

    # --- the process's end ---

    def watch(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._arm()

    def _arm(self) -> None:
        """Asks an epoll(7) of its own for the hang-up alone: the answers on this connection are for the threads that wait."""
        self._disarm()
        try:
            connection = self._client.fileno()
        except Unavailable:
            return  # not running: nobody needs it yet
        self._hang_up = select.epoll()
        self._hang_up.register(connection, select.EPOLLRDHUP)
        asyncio.get_running_loop().add_reader(self._hang_up.fileno(), self._hung_up)

    def _disarm(self) -> None:
        if self._hang_up is not None:
            asyncio.get_running_loop().remove_reader(self._hang_up.fileno())
            self._hang_up.close()
            self._hang_up = None

    def _hung_up(self) -> None:
        self._disarm()
        if self._served:
            self._tasks.spawn(asyncio.to_thread(self._revive), "start the resolver again")

    def close(self) -> None:
        self._disarm()
        self._loop = None
        self._client.close()
