"""A container's life: started, ended, started again by policy, adopted from an earlier daemon.

    created ──start──► running ◄──pause/unpause──► paused
       ▲                  │ exit
       └── start failed   ├─► exited ──start──► running
                          └─► restarting ──after a pause──► running

Everything here runs on the loop's thread under the container's lock; what blocks runs in the pool.  The exit of a process is only heard
from its shim's events, however it came about, so that there is one way out of `running`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, replace
from typing import Any, ParamSpec

from stackrun.api.types import (
    ContainerState,
    EndedBy,
    Endpoint,
    ExitStatus,
    Health,
    HealthStatus,
    Status,
    WaitCondition,
)
from stackrun.engine import health
from stackrun.engine.clock import nanoseconds, stamp
from stackrun.engine.events import Events
from stackrun.engine.exec import Execs
from stackrun.engine.launch import Launched, Launcher, publications_recorded
from stackrun.engine.networks import EngineNetworks
from stackrun.engine.planner import Planner
from stackrun.engine.pool import Pool
from stackrun.engine.record import Situation
from stackrun.engine.registry import Entry, Registry
from stackrun.engine.resolver import Resolver
from stackrun.engine.shortages import Shortages
from stackrun.engine.store import Store
from stackrun.engine.supervise import next_pause_s, restarts
from stackrun.engine.tasks import Tasks
from stackrun.errors import CommandNotExecutable, CommandNotFound, Conflict, NotFound, NotModified, StackrunError
from stackrun.kernel import cgroup
from stackrun.runtime import container as runtime
from stackrun.runtime import trace

P = ParamSpec("P")

LOST_EXIT_CODE = 255
"""A container whose end nobody saw: the machine went down, or its shim was killed."""


@dataclass(frozen=True, slots=True)
class Exit:
    """How a process ended; `at_ns` since the epoch."""

    code: int
    oom: bool = False
    at_ns: int = 0
    lost: bool = False


class Lifecycle:
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
        launcher: Launcher,
        execs: Execs,
        resolver: Resolver,
        report: Callable[[str], None],
    ) -> None:
        self._store = store
        self._registry = registry
        self._events = events
        self._pool = pool
        self._tasks = tasks
        self._networks = networks
        self._planner = planner
        self._launcher = launcher
        self._execs = execs
        self._resolver = resolver
        self._report = report
        self._closing = False
        self._shortages = Shortages(self._short_of_memory)
        self._layout = cgroup.detect()
        self.kept: Callable[[Mapping[str, str]], bool] = lambda labels: False
        """Whose lost containers, told by their labels, are somebody else's to bring back."""
        self.on_auto_remove: Callable[[Entry], Coroutine[Any, Any, None]] | None = None
        self.on_ended: Callable[[Entry], None] = lambda entry: None
        """Told of every container that has ended for good."""

    # --- start ---

    async def start(self, entry: Entry, *, beside: str = "") -> None:
        """NotModified when it runs (or waits for its restart) already. `beside`: the container whose host ports it waits for."""
        async with entry.lock:
            self._refuse_gone(entry)
            if entry.status is Status.PAUSED:
                raise Conflict("cannot start a paused container, try unpause instead")
            if entry.state.running:
                raise NotModified(f"container {entry.name} is already running")
            entry.restart_delay_s = 0.0
            entry.situation = replace(entry.situation, restart_count=0, stopped_by_user=False, beside=beside)
            await self._start(entry)

    def _refuse_gone(self, entry: Entry) -> None:
        if self._registry.get(entry.id) is not entry:
            raise NotFound(f"No such container: {entry.id}")
        if entry.leaving or entry.status in (Status.REMOVING, Status.DEAD):
            raise Conflict("container is marked for removal and cannot be started")

    async def _start(self, entry: Entry) -> None:
        """Under the entry's lock."""
        try:
            trace.mark("begin the start", entry.id)
            plan = await self._planner.plan(entry)
            trace.mark("plan", entry.id)
            launched = await self._pool.run(self._launcher.launch, plan)
        except StackrunError as error:
            self._networks.release(entry.id)
            await self._start_failed(entry, error)
            raise
        except Exception as error:  # a bug of ours; whoever waits for the container's end is not to wait for good
            self._networks.release(entry.id)
            await self._start_failed(entry, StackrunError(f"internal error: {type(error).__name__}: {error}"))
            raise
        except BaseException:
            self._networks.release(entry.id)
            raise
        finally:
            _close_attached(entry)
        self._began(entry, launched)
        trace.mark("started", entry.id)

    async def _start_failed(self, entry: Entry, error: StackrunError) -> None:
        """It stays what it was (`created`, or `exited` after an earlier run), with the code shells give and the reason."""
        code = 127 if isinstance(error, CommandNotFound) else 126 if isinstance(error, CommandNotExecutable) else 128
        status = Status.CREATED if entry.status is Status.CREATED else Status.EXITED
        entry.situation = replace(
            entry.with_state(status=status, exit_code=code, error=error.message, pid=0),
            endpoints=self._idle_endpoints(entry),
            ports=(),
            beside="",
        )
        await self._record(entry)
        entry.resolve(WaitCondition.NEXT_EXIT, ExitStatus(code, error.message))
        entry.resolve(WaitCondition.NOT_RUNNING, ExitStatus(code, error.message))
        if entry.definition.spec.auto_remove and self.on_auto_remove is not None:
            self._tasks.spawn(self.on_auto_remove(entry), f"remove {entry.name}")

    def _began(self, entry: Entry, launched: Launched) -> None:
        entry.situation = launched.situation
        entry.handle = launched.handle
        entry.ended = asyncio.Event()
        for text in launched.warnings:
            self._report(f"{entry.name}: {text}")
        self._watch(entry, launched.handle)
        for endpoint in entry.endpoints:
            self._networks.connected(entry, endpoint, "connect")
        self.publish(entry, "start")
        self._watch_health(entry, launched.handle)
        self._watch_memory(entry)

    # --- what the shim tells ---

    def _watch(self, entry: Entry, handle: runtime.Handle) -> None:
        asyncio.get_running_loop().add_reader(handle.events.fileno(), self._told, entry, handle)

    def _unwatch(self, handle: runtime.Handle) -> None:
        if handle.events.fileno() >= 0:
            asyncio.get_running_loop().remove_reader(handle.events.fileno())

    def _told(self, entry: Entry, handle: runtime.Handle) -> None:
        while True:
            try:
                event = handle.read_event()
            except BlockingIOError:
                return
            if event is None or event["event"] == "exit":
                self._unwatch(handle)
                trace.mark("hear the exit", entry.id)
                self._tasks.spawn(self._ended(entry, handle, event), f"end of {entry.name}")
                return
            self._noted(entry, event)

    def _noted(self, entry: Entry, event: Mapping[str, Any]) -> None:
        kind = event["event"]
        if kind == "exec-exit":
            self._execs.ended(event["id"], event["code"])
        elif kind == "warning":
            self._report(f"{entry.name}: {event['text']}")

    # --- what the kernel tells ---

    def _watch_memory(self, entry: Entry) -> None:
        self._shortages.watch(entry.id, cgroup.Cgroup.load(self._layout, self._planner.cgroup_path(entry)))

    def _short_of_memory(self, container_id: str) -> None:
        """The kernel has killed a process of it, which need not be the first: it may go on."""
        entry = self._registry.get(container_id)
        if entry is not None and entry.alive:
            entry.situation = entry.with_state(oom_killed=True)
            self.publish(entry, "oom")
            self._tasks.spawn(self._record_running(entry), f"record want of memory of {entry.name}")

    async def _await_removal(self, name: str, handle: runtime.Handle) -> None:
        """The shim hangs up when it has removed everything.  On the loop: a thread that waited for it would be wanted by others."""
        loop, gone = asyncio.get_running_loop(), asyncio.Event()

        def told() -> None:
            try:
                while handle.read_event() is not None:
                    pass
            except BlockingIOError:
                return
            loop.remove_reader(handle.events.fileno())
            gone.set()

        loop.add_reader(handle.events.fileno(), told)
        try:
            async with asyncio.timeout(runtime.SHIM_EXIT_TIMEOUT_S):
                await gone.wait()
        except TimeoutError:
            loop.remove_reader(handle.events.fileno())
            self._report(f"see what is left of {name} removed: shim {handle.shim_pid} did not end within {runtime.SHIM_EXIT_TIMEOUT_S:g} s")

    # --- end ---

    async def _ended(self, entry: Entry, handle: runtime.Handle, event: Mapping[str, Any] | None) -> None:
        """`event` None: the shim is gone without a word."""
        async with entry.lock:
            if entry.handle is not handle:
                return
            exit_ = _exit_of(event) if event is not None else await self._pool.run(self._lost, entry)
            await self._settle_exit(entry, exit_, handle if event is not None else None)
            handle.close()

    def _lost(self, entry: Entry) -> Exit:
        """Blocks. The exit that a dead shim wrote down, or the unknown one; what it left is removed."""
        run_dir = self._planner.container_run_dir(entry.id)
        event = runtime.read_exit(run_dir)
        runtime.cleanup(run_dir, self._planner.cgroup_path(entry))
        return _exit_of(event) if event is not None else Exit(LOST_EXIT_CODE, at_ns=time.time_ns(), lost=True)

    async def _settle_exit(self, entry: Entry, exit_: Exit, handle: runtime.Handle | None = None) -> None:
        """From running to exited or restarting. Under the lock. Who waits for the exit code has it before all is cleared away."""
        was = entry.situation
        self._leave_running(entry)
        again = restarts(
            entry.definition.spec.restart_policy,
            exit_code=exit_.code,
            restart_count=was.restart_count,
            stopped_by_user=was.stopped_by_user or (exit_.lost and self.kept(entry.definition.spec.labels)),
        )
        entry.situation = self._after_exit(entry, exit_, again)
        await self._close_ways(entry, was)
        for endpoint in was.endpoints:
            self._networks.connected(entry, endpoint, "disconnect")
        self._tell_waiters(entry, exit_.code, again)  # before those who hear of events: it is for the code that somebody waits
        if exit_.oom and not was.state.oom_killed:  # that it happened was not told then
            self.publish(entry, "oom")
        self.publish(entry, "die", {"exitCode": str(exit_.code), "execDuration": str(_ran_s(was, exit_))})
        await asyncio.sleep(0)
        trace.mark("tell waiters", entry.id)
        self._shortages.forget(entry.id)
        self._take_interfaces(entry, was)
        await self._record(entry)
        if handle is not None:
            await self._await_removal(entry.name, handle)
        trace.mark("record the end, see the rest removed", entry.id)
        entry.ended.set()
        if not again:
            self.on_ended(entry)
        if again:
            entry.restart_delay_s = next_pause_s(entry.restart_delay_s, ran_s=_ran_s(was, exit_))
            if not self._closing:  # else the next engine finds it restarting
                self._schedule_restart(entry)
        elif entry.definition.spec.auto_remove and self.on_auto_remove is not None:
            self._tasks.spawn(self.on_auto_remove(entry), f"remove {entry.name}")

    def _leave_running(self, entry: Entry) -> None:
        entry.handle = None
        if entry.health is not None:
            entry.health.cancel()
            entry.health = None
        self._execs.container_ended(entry)

    def _after_exit(self, entry: Entry, exit_: Exit, again: bool) -> Situation:
        was = entry.state
        state = ContainerState(
            status=Status.RESTARTING if again else Status.EXITED,
            exit_code=exit_.code,
            oom_killed=exit_.oom,
            started_at=was.started_at,
            finished_at=stamp(exit_.at_ns or None),
            health=replace(was.health, status=HealthStatus.UNHEALTHY) if was.health is not None else None,
            ended_by=EndedBy.CALLER if entry.situation.stopped_by_user else EndedBy.LOST if exit_.lost else EndedBy.ITSELF,
        )
        return replace(
            entry.situation,
            state=state,
            endpoints=self._idle_endpoints(entry),
            ports=(),
            waiting_ports=(),
            nameless=False,
            beside=entry.situation.beside if again else "",
            ports_at="",
            restart_count=entry.situation.restart_count + int(again),
        )

    async def _close_ways(self, entry: Entry, was: Situation) -> None:
        """What leads to a container that is gone. A failure is reported: the container has ended all the same."""
        publications = self.publications(was)
        if publications:
            await self._attempt(f"close the ports of {entry.name}", self._networks.unpublish, publications)
        if self._resolver.serves(entry.id):
            await self._attempt(f"forget the names of {entry.name}", self._resolver.drop, entry.id)

    def _take_interfaces(self, entry: Entry, was: Situation) -> None:
        """Its addresses are free after that, and nobody else waits for it."""
        taking = self._networks.discard(entry.id, was.endpoints)
        if taking is not None:
            self._tasks.spawn(self._taken_away(entry.name, taking), f"take the interfaces of {entry.name} away")

    async def _taken_away(self, name: str, taking: asyncio.Task[None]) -> None:
        try:
            await taking
        except StackrunError as error:
            self._report(f"take the interfaces of {name} away: {error.message}")

    async def _record(self, entry: Entry) -> None:
        """State can be lost with the machine anyway, so a full disk is reported and no reason to stop here."""
        await self._attempt(f"record the state of {entry.name}", self._store.write_situation, entry.id, entry.situation)

    async def _attempt(self, what: str, work: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> None:
        try:
            await self._pool.run(work, *args, **kwargs)
        except StackrunError as error:
            self._report(f"{what}: {error.message}")

    def publications(self, situation: Situation) -> tuple[Any, ...]:
        outward = (one.ipv4_address for one in situation.endpoints if not self._networks.is_internal(one.network_id))
        return publications_recorded(situation.endpoints, situation.ports, next(outward, ""))

    def _tell_waiters(self, entry: Entry, code: int, again: bool) -> None:
        entry.resolve(WaitCondition.NEXT_EXIT, ExitStatus(code))
        if not again:
            entry.resolve(WaitCondition.NOT_RUNNING, ExitStatus(code))

    def _idle_endpoints(self, entry: Entry) -> tuple[Endpoint, ...]:
        return self._networks.idle_endpoints(entry.definition.spec, self._planner.names(entry))

    # --- restart by policy ---

    def _schedule_restart(self, entry: Entry) -> None:
        entry.restart = self._tasks.spawn(self._restart_later(entry, entry.restart_delay_s), f"restart {entry.name}")

    async def _restart_later(self, entry: Entry, pause_s: float) -> None:
        await asyncio.sleep(pause_s)
        async with entry.lock:
            entry.restart = None
            if entry.status is not Status.RESTARTING or self._registry.get(entry.id) is not entry or self._closing:
                return
            try:
                await self._start(entry)
            except StackrunError as error:
                self._report(f"restart {entry.name}: {error.message}")

    async def give_up_restart(self, entry: Entry) -> bool:
        """Under the lock: a container that waits for its restart has exited for good. False when it does not wait."""
        if entry.status is not Status.RESTARTING:
            return False
        if entry.restart is not None:
            entry.restart.cancel()
            entry.restart = None
        entry.situation = replace(entry.with_state(status=Status.EXITED, ended_by=EndedBy.CALLER), stopped_by_user=True)
        await self._record(entry)
        self._tell_waiters(entry, entry.state.exit_code, again=False)
        self.on_ended(entry)
        return True

    # --- health ---

    def _watch_health(self, entry: Entry, handle: runtime.Handle) -> None:
        plan = health.schedule(entry.definition.spec.healthcheck, entry.definition.spec.shell)
        if plan is None:
            return
        started_s = nanoseconds(entry.state.started_at) / 1e9

        def current() -> Health:
            return entry.state.health or Health(HealthStatus.STARTING)

        def report(new: Health) -> None:
            if entry.handle is handle:
                self._health_changed(entry, new)

        watching = health.watch(
            plan,
            current=current,
            probe=lambda wanted: self._execs.probe(entry, handle, wanted),
            report=report,
            up_s=lambda: time.time() - started_s,
        )
        entry.health = self._tasks.spawn(watching, f"healthcheck of {entry.name}")

    def _health_changed(self, entry: Entry, new: Health) -> None:
        before = entry.state.health
        entry.situation = entry.with_state(health=new)
        if before is None or before.status is not new.status:
            self.publish(entry, f"health_status: {new.status}")
            self._tasks.spawn(self._record_running(entry), f"record health of {entry.name}")

    async def _record_running(self, entry: Entry) -> None:
        """Under the lock, as every other record: two at a time would write one file, and the older might win."""
        async with entry.lock:
            if self._registry.get(entry.id) is entry and entry.status is not Status.REMOVING:
                await self._record(entry)

    # --- an earlier daemon's containers ---

    def reconnect(self, entry: Entry) -> None:
        """Blocks, at the engine's opening: takes hold of what runs, and removes what an interrupted start left."""
        run_dir = self._planner.container_run_dir(entry.id)
        handle = runtime.Handle.connect(entry.id, run_dir)
        if handle is not None and entry.status in (Status.RUNNING, Status.PAUSED):
            entry.handle = handle
            self._networks.adopt(entry)
        elif handle is not None:
            handle.close()
            runtime.remove(entry.id, run_dir, self._planner.cgroup_path(entry))
        elif entry.status not in (Status.RUNNING, Status.PAUSED) and runtime.is_littered(run_dir):
            runtime.cleanup(run_dir, self._planner.cgroup_path(entry))

    async def adopt(self, entry: Entry) -> None:
        """On the loop: watches what runs, and makes up for the ends and restarts that nobody saw."""
        async with entry.lock:
            if entry.handle is not None:
                self._watch(entry, entry.handle)
                self._watch_health(entry, entry.handle)
                self._watch_memory(entry)
            elif entry.status in (Status.RUNNING, Status.PAUSED):
                await self._settle_exit(entry, await self._pool.run(self._lost, entry))
            elif entry.status is Status.RESTARTING and self.kept(entry.definition.spec.labels):
                entry.situation = entry.with_state(status=Status.EXITED, ended_by=EndedBy.LOST)
                await self._record(entry)
            elif entry.status is Status.RESTARTING:
                self._schedule_restart(entry)

    async def close(self) -> None:
        """Lets go of everything; the containers stay as they are."""
        self._closing = True
        for entry in self._registry:
            for task in (entry.health, entry.restart):
                if task is not None:
                    task.cancel()
            if entry.handle is not None:
                self._unwatch(entry.handle)
        self._shortages.close()
        await self._tasks.settle()
        for entry in self._registry:
            _close_attached(entry)
            if entry.handle is not None:
                entry.handle.close()
                entry.handle = None

    # --- events ---

    def publish(self, entry: Entry, action: str, extra: Mapping[str, str] | None = None) -> None:
        spec = entry.definition.spec
        self._events.publish("container", action, entry.id, {**spec.labels, "image": spec.image, "name": entry.name, **(extra or {})})


def _exit_of(event: Mapping[str, Any]) -> Exit:
    return Exit(event["code"], bool(event["oom"]), event["at_ns"])


def _ran_s(was: Situation, exit_: Exit) -> int:
    started_ns = nanoseconds(was.state.started_at)
    return max(0, (exit_.at_ns or time.time_ns()) - started_ns) // 1_000_000_000 if started_ns else 0


def _close_attached(entry: Entry) -> None:
    """The shim has its own copies of what was attached before the start; after a failed start the streams end."""
    for sock, _ in entry.attached:
        sock.close()
    entry.attached.clear()
