"""Two containers and one host port: the second starts beside the first, and takes its published ports and names over without a gap.

    start beside     the new one's shim gets copies of the old one's port sockets; ports and aliases still lead to the old one
    take over        one nft transaction: connections that begin from now on lead to the new one, those under way go on to the old one;
                     then the aliases on their networks: the new one has them before the old one loses them
    drain            until nobody goes by an old answer to a question for the aliases any more and all connections that the old one
                     answers have ended, those through its ports and those of its networks, or the time is over

Either of them may end at any moment.  Whoever waits gets the ports when the other has ended for good, so a port never leads nowhere
while there is a container that holds it.  Both facts are in the records (`Situation.waiting_ports`, `beside`): a daemon that was killed
in between finds them, and of two that claim a port the one that took it last is right.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import replace

from stackrun.api.types import PublishedPort
from stackrun.engine.clock import stamp
from stackrun.engine.connections import Connections
from stackrun.engine.launch import donated
from stackrun.engine.lifecycle import Lifecycle
from stackrun.engine.networks import EngineNetworks
from stackrun.engine.planner import Planner
from stackrun.engine.pool import Pool
from stackrun.engine.record import Situation
from stackrun.engine.registry import Entry, Registry
from stackrun.engine.resolver import Resolver
from stackrun.engine.store import Store
from stackrun.engine.tasks import Tasks
from stackrun.errors import Conflict, NotFound, StackrunError
from stackrun.kernel.listening import answering
from stackrun.network.firewall import Publication
from stackrun.network.ports import HostPorts, PortRequest

LOOK_S = 0.02
"""Between two looks at the connections that go on, at first.  The kernel tells of an end only where somebody listened at the beginning."""
LONGEST_LOOK_S = 0.2
_QUIET_LOOKS = 2
"""A packet that was on its way when the ports moved is not counted yet at the first look."""


class HandOver:
    def __init__(
        self,
        *,
        store: Store,
        registry: Registry,
        pool: Pool,
        tasks: Tasks,
        networks: EngineNetworks,
        lifecycle: Lifecycle,
        planner: Planner,
        connections: Connections,
        resolver: Resolver,
        host_ports: HostPorts,
        report: Callable[[str], None],
    ) -> None:
        self._store = store
        self._registry = registry
        self._pool = pool
        self._tasks = tasks
        self._networks = networks
        self._lifecycle = lifecycle
        self._planner = planner
        self._connections = connections
        self._resolver = resolver
        self._host_ports = host_ports
        self._report = report
        lifecycle.on_ended = self.ended

    async def start_beside(self, ref: str, other: str) -> None:
        """NotModified when it runs already; an ordinary start when `other` does not run, or is not there any more."""
        entry = self._registry.find(ref)
        try:
            beside = self._registry.find(other)
        except NotFound:
            beside = entry
        await self._lifecycle.start(entry, beside=beside.id if beside.alive else "")
        holder = self._registry.get(entry.situation.beside)
        if entry.situation.beside and (holder is None or not holder.state.running):  # it ended meanwhile
            await self._inherit(entry, entry.situation.beside)

    async def take_over(self, ref: str, *, drain_s: float) -> None:
        """Nothing happens when it waits for nothing. Returns when the connections of before have ended, at most after `drain_s`."""
        entry = self._registry.find(ref)
        holder = self._registry.get(entry.situation.beside)
        left: tuple[Publication, ...] = ()
        moved = False
        async with self._both(entry, holder):
            if not entry.alive:
                raise Conflict(f"container {entry.name} is not running: it cannot take over ports")
            if entry.situation.nameless:
                left, moved = await self._move(entry, holder), True
        if holder is not None and moved:
            await self._drain(holder, left, drain_s)

    def _both(self, entry: Entry, holder: Entry | None) -> AsyncExitStack:
        """Their locks, always in the same order."""
        return _Locks(sorted({entry, holder} - {None}, key=lambda one: one.id if one else ""))

    async def _move(self, entry: Entry, holder: Entry | None) -> tuple[Publication, ...]:
        """Under both locks. What led to the holder until now."""
        before, left = entry.situation, self._lifecycle.publications(holder.situation) if holder else ()
        entry.situation = _with_ports(before, stamp())
        moved = before.waiting_ports
        try:
            await self._pool.run(self._publish, entry)
        except BaseException:
            entry.situation = replace(
                entry.situation, ports=before.ports, waiting_ports=moved, nameless=True, beside=before.beside, ports_at=before.ports_at
            )
            raise
        await self._connections.names_changed(entry)  # before the other loses them: a name never leads nowhere
        if holder is not None and holder.state.running:
            holder.situation = _without_ports(holder.situation, moved, entry.id)
            await self._connections.names_changed(holder)
        for other in self._registry:
            if other is not entry and other.alive and other.situation.beside == before.beside:
                self._tasks.spawn(self._wait_for(other, before.beside, entry), f"let {other.name} wait for {entry.name}")
        places = {_place(one) for one in moved}
        return tuple(one for one in left if (one.protocol, one.host_ip or "0.0.0.0", one.host_port) in places)

    async def _wait_for(self, entry: Entry, former: str, owner: Entry) -> None:
        """A third one that waits for the same, as a replacement that failed and was left to be looked at."""
        async with entry.lock:
            if entry.alive and entry.situation.beside == former:
                await self._redirect(entry, owner)

    async def _redirect(self, entry: Entry, owner: Entry) -> None:
        entry.situation = replace(entry.situation, beside=owner.id)
        await self._pool.run(self._store.write_situation, entry.id, entry.situation)

    def _publish(self, entry: Entry) -> None:
        """Blocks. The record first: a daemon that is killed here moves the ports when it comes back."""
        self._store.write_situation(entry.id, entry.situation)
        publications = self._lifecycle.publications(entry.situation)
        with self._reserved(entry, publications):
            self._networks.publish(publications)

    async def publish_again(self) -> None:
        """Whoever led connections to published ports has died, and his successor knows none of them."""
        for entry in self._registry:
            async with entry.lock:
                publications = self._lifecycle.publications(entry.situation) if entry.alive else ()
                if publications:
                    try:
                        await self._pool.run(self._open_again, entry, publications)
                    except StackrunError as error:
                        self._report(f"publish the ports of {entry.name} again: {error.message}")

    def _open_again(self, entry: Entry, publications: Sequence[Publication]) -> None:
        with self._reserved(entry, publications):
            self._host_ports.publish(publications)

    @contextmanager
    def _reserved(self, entry: Entry, publications: Sequence[Publication]) -> Iterator[None]:
        """As at a start, the ports are open here while they are published."""
        descriptors = donated(entry.handle) if entry.handle else []
        requests = [PortRequest(one.protocol, one.host_ip, one.host_port) for one in publications]
        copies = [copy for one in requests if (copy := self._host_ports.shared(one, descriptors))]
        try:
            yield
        finally:
            self._host_ports.close(copies)
            for fd in descriptors:
                os.close(fd)

    async def _drain(self, holder: Entry, publications: Sequence[Publication], drain_s: float) -> None:
        loop = asyncio.get_running_loop()
        deadline, quiet, pause_s = loop.time() + drain_s, 0, LOOK_S
        named = self._resolver.serves(holder.id)
        known_until_s = loop.time() + (await self._pool.run(self._resolver.known_for_s, holder.id) if named else 0.0)
        while holder.alive:
            quiet = 0 if await self._pool.run(self._under_way, holder, publications) else quiet + 1
            now_s = loop.time()
            if now_s >= deadline or (quiet >= _QUIET_LOOKS and now_s >= known_until_s):
                return
            await asyncio.sleep(min(pause_s, deadline - now_s))
            pause_s = min(pause_s * 1.1, LONGEST_LOOK_S)

    def _under_way(self, holder: Entry, publications: Sequence[Publication]) -> int:
        """Blocks. Who shares another's network namespace has no address of its own, and is not asked for."""
        addresses = [one.ipv4_address for one in holder.endpoints if one.ipv4_address]
        return self._networks.under_way(publications) or (answering(holder.state.pid, addresses) if addresses else 0)

    # --- when one of them ends ---

    def ended(self, entry: Entry) -> None:
        """A container has ended for good: who waits for its ports gets them."""
        for other in self._registry:
            if other.alive and other.situation.beside == entry.id and other.situation.nameless:
                self._tasks.spawn(self._inherit(other, entry.id), f"give the ports of {entry.name} to {other.name}")

    async def _inherit(self, entry: Entry, of: str) -> None:
        async with entry.lock:
            if not (entry.alive and entry.situation.nameless and entry.situation.beside == of):
                return
            try:
                owner = self._owner(entry)
                await (self._redirect(entry, owner) if owner else self._move(entry, None))
            except StackrunError as error:
                self._report(f"give ports to {entry.name}: {error.message}")

    def _owner(self, entry: Entry) -> Entry | None:
        """Who has the ports that it waits for."""
        places = {_place(one) for one in entry.situation.waiting_ports}
        others = (one for one in self._registry if one is not entry and one.alive)
        return next((one for one in others if places & {_place(port) for port in one.situation.ports}), None)

    # --- an earlier daemon's containers ---

    def settle(self, running: Iterable[Entry]) -> None:
        """Blocks, before ports and names are restored: every port gets one owner, and none waits for who has ended."""
        running = sorted(running, key=lambda one: one.situation.ports_at or one.state.started_at, reverse=True)
        owners: dict[tuple[str, str, int], Entry] = {}
        for entry in running:
            claimed = [one for one in entry.situation.ports if one.host_port]
            lost = tuple(one for one in claimed if _place(one) in owners)
            for one in claimed:
                owners.setdefault(_place(one), entry)
            if lost:
                self._rewrite(entry, _without_ports(entry.situation, lost, owners[_place(lost[0])].id))
        present = {one.id for one in running}
        for entry in running:
            if entry.situation.nameless and entry.situation.beside not in present:
                owner = next((owners[_place(one)] for one in entry.situation.waiting_ports if _place(one) in owners), None)
                waiting = replace(entry.situation, beside=owner.id) if owner else _with_ports(entry.situation, stamp())
                owners |= {_place(one): entry for one in entry.situation.waiting_ports if not owner}
                self._rewrite(entry, waiting)

    def _rewrite(self, entry: Entry, situation: Situation) -> None:
        names = (self._planner.dns_names(entry, one, nameless=situation.nameless) for one in situation.endpoints)
        endpoints = tuple(replace(one, dns_names=known) for one, known in zip(situation.endpoints, names, strict=True))
        entry.situation = replace(situation, endpoints=endpoints)
        self._store.write_situation(entry.id, entry.situation)


class _Locks(AsyncExitStack):
    def __init__(self, entries: Iterable[Entry | None]) -> None:
        super().__init__()
        self._entries = tuple(one for one in entries if one is not None)

    async def __aenter__(self) -> _Locks:
        await super().__aenter__()
        for one in self._entries:
            await self.enter_async_context(one.lock)
        return self


def _with_ports(situation: Situation, at: str) -> Situation:
    return replace(situation, ports=(*situation.waiting_ports, *situation.ports), waiting_ports=(), nameless=False, beside="", ports_at=at)


def _without_ports(situation: Situation, lost: Sequence[PublishedPort], to: str) -> Situation:
    places = {_place(one) for one in lost}
    kept = tuple(one for one in situation.ports if not one.host_port or _place(one) not in places)
    waiting = tuple(one for one in situation.ports if one.host_port and _place(one) in places)
    return replace(situation, ports=kept, waiting_ports=waiting, nameless=True, beside=to)


def _place(port: PublishedPort) -> tuple[str, str, int]:
    return port.protocol, port.host_ip or "0.0.0.0", port.host_port
