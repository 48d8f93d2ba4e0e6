"""The engine's records against its kernel: told by field, brought back in place, and kept so for the network by itself.

    news of the kernel ──► after a moment, once for many ──► repair_networks ──► on_kernel_change

News only say "look again".  Whoever takes the same thing away again and again is answered later and later, so that two programs that
want different things never keep a cpu busy.
"""

from __future__ import annotations

import asyncio
import select
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from stackrun.api import labels
from stackrun.api.drift import Drift, Repair
from stackrun.api.types import Status
from stackrun.engine import powers, security
from stackrun.engine.events import Events
from stackrun.engine.examination import Examination, Subject
from stackrun.engine.images import Images
from stackrun.engine.lifecycle import Lifecycle
from stackrun.engine.networks import EngineNetworks
from stackrun.engine.planner import Planner
from stackrun.engine.pool import Pool
from stackrun.engine.registry import Entry, Registry
from stackrun.engine.resolver import Resolver
from stackrun.engine.specgen import environment, oci_resources
from stackrun.engine.store import Store
from stackrun.engine.tasks import Tasks
from stackrun.engine.truth import Difference
from stackrun.errors import NotFound, StackrunError
from stackrun.kernel.interfaces import Holdings
from stackrun.network.endpoint import Endpoint
from stackrun.network.truth import Fault

SETTLE_S = 0.1
"""From the first news to the look: what belongs together comes together, and an exit is heard of by then."""
SETTLE_MAX_S = 10.0
QUIET_S = 60.0
"""After this long without a repair the next one is quick again."""
FIREWALL = "Firewall"
REPAIRS_IN_A_ROW = 3
AT_ONCE = 4
"""Containers that are looked at: each look waits for a thread of its own and for files of the kernel's."""


@dataclass(slots=True)
class Patience:
    """How long to wait before the next look: twice as long after each repair that follows another, up to `SETTLE_MAX_S`."""

    pause_s: float = SETTLE_S
    repaired_at_s: float = float("-inf")

    def repaired(self, now_s: float) -> None:
        again = now_s - self.repaired_at_s < QUIET_S
        self.pause_s = min(self.pause_s * 2, SETTLE_MAX_S) if again else SETTLE_S
        self.repaired_at_s = now_s

    def next_pause_s(self, now_s: float) -> float:
        if now_s - self.repaired_at_s >= QUIET_S:
            self.pause_s = SETTLE_S
        return self.pause_s


class _Heard(NamedTuple):
    """What was asked for many containers at once: whose names are answered for; and this one's interfaces."""

    known: frozenset[str]
    wired: tuple[Endpoint, ...]


class Truth:
    """`on_kernel_change` is called after news that concern us.

    With `repairs` False, or for a project of which `is_held` says True, nothing is repaired unasked.
    """

    def __init__(
        self,
        *,
        store: Store,
        registry: Registry,
        events: Events,
        pool: Pool,
        tasks: Tasks,
        networks: EngineNetworks,
        planner: Planner,
        resolver: Resolver,
        images: Images,
        lifecycle: Lifecycle,
        report: Callable[[str], None],
    ) -> None:
        self._store = store
        self._registry = registry
        self._events = events
        self._pool = pool
        self._tasks = tasks
        self._networks = networks
        self._planner = planner
        self._resolver = resolver
        self._images = images
        self._lifecycle = lifecycle
        self._report = report
        self._examination = Examination(networks)
        self._patience = Patience()
        self._due: asyncio.TimerHandle | None = None
        self._closed = False
        self._failure = ""
        self._mending = asyncio.Lock()
        self.repairs = True
        self.restore: Callable[[Entry], Awaitable[None]] = _nothing_to_restore
        """Makes what a container's mounts are of, where that was taken away."""
        self.is_held: Callable[[str], bool] = lambda project: False
        self.on_kernel_change: Callable[[], None] | None = None

    # --- news ---

    def watch(self) -> None:
        """And a first look: nobody has heard of what happened before."""
        self._networks.watch(self.look_again)
        self.look_again()

    def close(self) -> None:
        self._closed = True
        if self._due is not None:
            self._due.cancel()
            self._due = None

    def forget_repairs(self) -> None:
        """The next news are answered at once, whatever was repaired lately; a look that waits its pause out, too."""
        self._patience = Patience()
        if self._due is not None:
            self._due.cancel()
            self._due = None
            self.look_again()

    def look_again(self) -> None:
        """As after news: soon, once for many calls."""
        if self._due is None and not self._closed:
            pause_s = self._patience.next_pause_s(time.monotonic())
            self._due = asyncio.get_running_loop().call_later(pause_s, self._now)

    def _now(self) -> None:
        self._due = None
        self._tasks.spawn(self._answer(), "look at the networks again")

    async def _answer(self) -> None:
        try:
            done = await self.repair_networks() if self.repairs else ()
        except StackrunError as error:
            self._patience.repaired(time.monotonic())
            self._report_once(f"repair the networks: {error.message}")
            self.look_again()
        else:
            self._failure = ""
            if done:
                self._patience.repaired(time.monotonic())
        if self.on_kernel_change is not None:
            self.on_kernel_change()

    def _report_once(self, text: str) -> None:
        """It is tried again and again."""
        if text != self._failure:
            self._failure = text
            self._report(text)

    async def repair_networks(self, asked: Collection[str] = ()) -> tuple[Drift, ...]:
        """Level-triggered: puts bridges, links and the firewall back, and tells what was put back.

        `asked`: projects of which somebody wants it now, held or not.
        """

        def is_held(own_labels: Mapping[str, str]) -> bool:
            project = own_labels.get(labels.PROJECT, "")
            return project not in asked and self.is_held(project)

        async with self._mending:
            running = [entry for entry in self._registry if entry.alive and not is_held(entry.definition.spec.labels)]
            held = {one.id for one in self._networks.every() if is_held(one.spec.labels)}
            endpoints = [endpoint for entry in running for endpoint in self._networks.wired(entry)]
            faults = await self._pool.run(self._networks.mend, endpoints, held)
            lost = {fault.endpoint_id for fault in faults if fault.endpoint_id}
            for entry in running:
                if not lost.isdisjoint(one.endpoint_id for one in entry.endpoints):
                    await self._guarded(entry, lambda subject: self._examination.attach_again(subject, lost))
            left = await self._pool.run(self._networks.faults, endpoints) if faults else ()
            done = [fault for fault in faults if fault not in left and self._is_there(fault)]
            for fault in done:
                self._tell(fault)
        return tuple(self._drift_of(fault) for fault in done)

    async def _guarded(self, entry: Entry, work: Callable[[Subject], None]) -> bool:
        """Does it while the container cannot change; False when it has ended, or when it failed, which is reported."""
        async with entry.lock:
            if not _runs(entry):
                return False
            try:
                await self._pool.run(work, await self._subject(entry))
            except StackrunError as error:
                if _runs(entry):
                    self._report(f"repair {entry.name}: {error.message}")
                return False
        return True

    def _tell(self, fault: Fault) -> None:
        drift = self._drift_of(fault)
        entry = self._owner(fault)
        if entry is not None:
            self._lifecycle.publish(entry, "repair", {"field": drift.field, "was": drift.actual})
        else:
            self._networks.repaired(fault.network_id, {"resource": drift.resource, "field": drift.field, "was": drift.actual})
        self._report(f"{drift.resource}: {drift.field} was {drift.actual}, {drift.declared} again")

    # --- detection ---

    async def drift(self, containers: Sequence[str], networks: Sequence[str]) -> tuple[Drift, ...]:
        """Running containers against the kernel, and these networks, and what all share. What is gone is left out."""
        entries = [entry for entry in self._found(containers) if entry.alive]
        wanted = {one.id for one in self._networks.every() if one.id in networks or one.name in networks}
        wired = {entry.id: self._networks.wired(entry) for entry in entries}
        endpoints = [endpoint for of_entry in wired.values() for endpoint in of_entry]
        faults = await self._pool.run(self._networks.faults, endpoints)
        found = [self._drift_of(one) for one in faults if self._concerns(one, entries, wanted)]
        outside = await self._pool.run(self._networks.outside)
        known = await self._pool.run(self._resolver.known) if endpoints else frozenset()
        turns = asyncio.Semaphore(AT_ONCE)

        async def of_container(entry: Entry) -> list[Drift]:
            async with turns:
                return await self._of_container(entry, outside, _Heard(known, wired[entry.id]))

        for one in await asyncio.gather(*(of_container(entry) for entry in entries)):
            found += one
        return tuple(found)

    def _concerns(self, fault: Fault, entries: Sequence[Entry], networks: set[str]) -> bool:
        if fault.publication is not None or fault.endpoint_id:
            owner = self._owner(fault)
            return owner is not None and owner.alive and owner in entries
        return not fault.network_id or fault.network_id in networks

    async def _of_container(self, entry: Entry, outside: Holdings, heard: _Heard | None = None) -> list[Drift]:
        """Looked at twice if it was about to change; nothing is said of one that ended meanwhile."""
        for attempt in range(2):
            handle, situation = entry.handle, entry.situation
            if not _runs(entry):
                return []
            subject = await self._subject(entry, None if attempt else heard)
            try:
                found = await self._pool.run(self._examination.look, subject, outside)
            except StackrunError as error:
                found = (Difference("kernel", "readable", error.message, Repair.NONE),)
            if entry.handle is handle and entry.situation.endpoints == situation.endpoints and _runs(entry):
                image = await self._moved_image(entry)
                return [Drift(f"Container {entry.name}", one.field, one.declared, one.actual, one.repair) for one in (*found, *image)]
        return []

    async def _moved_image(self, entry: Entry) -> tuple[Difference, ...]:
        definition = entry.definition
        try:
            image_id = (await self._images.find(definition.spec.image)).id
        except (NotFound, StackrunError):
            return ()  # its name is gone; the container has its layers all the same
        if image_id == definition.image_id:
            return ()
        return (Difference("image", f"{definition.spec.image} {image_id[:19]}", definition.image_id[:19], Repair.RECREATE),)

    # --- repair ---

    async def repair(self, containers: Sequence[str], networks: Sequence[str]) -> tuple[Drift, ...]:
        """Everything that can be brought back in place; what is left is told, as `drift` tells it."""
        entries = self._found(containers)
        wanted = [one.spec.labels for one in self._networks.every() if one.id in networks or one.name in networks]
        wanted += [entry.definition.spec.labels for entry in entries]
        await self.repair_networks({one.get(labels.PROJECT, "") for one in wanted})
        outside = await self._pool.run(self._networks.outside)
        for entry in entries:
            if not _runs(entry):
                continue
            await self.restore(entry)
            found = [one for one in await self._of_container(entry, outside) if one.repair is Repair.IN_PLACE]
            if found:
                await self._mend_container(entry, found)
        return await self.drift(containers, networks)

    async def repair_container(self, entry: Entry) -> None:
        """What can be brought back in place, unasked; a mount that lies in another one comes back after that."""
        for _ in range(REPAIRS_IN_A_ROW):
            await self.restore(entry)
            found = await self._of_container(entry, await self._pool.run(self._networks.outside))
            found = [one for one in found if one.repair is Repair.IN_PLACE]
            if not found:
                return
            await self._mend_container(entry, found)

    async def _mend_container(self, entry: Entry, found: Sequence[Drift]) -> None:
        differences = [Difference(one.field, one.declared, one.actual, one.repair) for one in found]
        if any(one.field == "dns" for one in found):
            await self._attempt(f"repair the names of {entry.name}", self._pool.run(self._resolver.reconcile))
        if await self._guarded(entry, lambda subject: self._examination.mend(subject, differences)):
            for one in found:
                self._lifecycle.publish(entry, "repair", {"field": one.field, "was": one.actual})

    async def _attempt(self, what: str, work: Awaitable[object]) -> None:
        try:
            await work
        except StackrunError as error:
            self._report(f"{what}: {error.message}")

    # --- records ---

    def _found(self, references: Iterable[str]) -> list[Entry]:
        found = []
        for one in references:
            try:
                found.append(self._registry.find(one))
            except StackrunError:
                continue  # it went meanwhile
        return found

    async def _subject(self, entry: Entry, heard: _Heard | None = None) -> Subject:
        definition, spec = entry.definition, entry.definition.spec
        wired = self._networks.wired(entry) if heard is None else heard.wired
        served = bool(wired) and self._planner.resolver(spec, entry.endpoints) is not None
        known = heard.known if heard else await self._pool.run(self._resolver.known) if served else frozenset()
        return Subject(
            id=entry.id,
            name=entry.name,
            pid=entry.handle.pid if entry.handle is not None else 0,
            pid_fd=entry.handle.pid_fd if entry.handle is not None else -1,
            paused=entry.status is Status.PAUSED,
            directory=self._store.container_directory(entry.id),
            cgroup_path=self._planner.cgroup_path(entry),
            command=(definition.path, *definition.args),
            environment=self._environment(entry),
            user=spec.user,
            resources=powers.current().held(oci_resources(spec.resources, swap_accounting=False)),
            filtered=security.security_options(spec).seccomp != {},
            joined=self._joined(entry),
            endpoints=wired,
            ports=entry.situation.ports,
            names_served=served,
            names_known=entry.id in known,
        )

    def _environment(self, entry: Entry) -> tuple[str, ...] | None:
        try:
            return tuple(environment(entry.definition.spec, self._planner.hostname(entry)))
        except NotFound:  # the name was that of a container whose namespace it shares, and which is gone
            return None

    def _joined(self, entry: Entry) -> dict[str, tuple[str, int]]:
        spec = entry.definition.spec
        found = {}
        for kind, mode in (("network", spec.network_mode), ("pid", spec.pid_mode), ("ipc", spec.ipc_mode)):
            if mode.startswith("container:"):
                reference = mode.partition(":")[2]
                owners = self._found([reference])
                owner = owners[0] if owners else None
                found[kind] = (owner.name if owner else reference[:12], owner.handle.pid if owner and owner.handle else 0)
        return found

    def _owner(self, fault: Fault) -> Entry | None:
        """The container whose endpoint or published port it is."""
        if not fault.endpoint_id and fault.publication is None:
            return None
        for entry in self._registry:
            if any(one.endpoint_id == fault.endpoint_id for one in entry.endpoints if fault.endpoint_id):
                return entry
            if fault.publication is not None and fault.publication in self._lifecycle.publications(entry.situation):
                return entry
        return None

    def _is_there(self, fault: Fault) -> bool:
        """What went meanwhile needs no repair, and had none."""
        owner = self._owner(fault)
        return _runs(owner) if owner is not None else not fault.endpoint_id and fault.publication is None

    def _drift_of(self, fault: Fault) -> Drift:
        owner = self._owner(fault)
        if owner is not None:
            resource = f"Container {owner.name}"
        elif fault.network_id:
            resource = f"Network {self._networks.name_of(fault.network_id)}"
        else:
            resource = FIREWALL
        return Drift(resource, fault.field, fault.declared, fault.actual, Repair.IN_PLACE)


async def _nothing_to_restore(entry: Entry) -> None:
    return


def _runs(entry: Entry) -> bool:
    """Its process has not ended, whether that was heard of or not."""
    if entry.handle is None or not entry.alive or entry.handle.pid_fd < 0:
        return False
    ended = select.poll()
    ended.register(entry.handle.pid_fd, select.POLLIN)
    return not ended.poll(0)
