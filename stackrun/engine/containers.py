"""Containers as a client sees them: made, listed, stopped, renamed, removed, waited for, attached to."""

from __future__ import annotations

import asyncio
import secrets
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from pathlib import Path

from stackrun.api.filters import select_containers
from stackrun.api.types import (
    AttachQuery,
    Container,
    ContainerSpec,
    ContainerState,
    Created,
    ExitStatus,
    Filters,
    Health,
    HealthStatus,
    Image,
    ImageConfig,
    LogLine,
    LogQuery,
    MountPoint,
    Output,
    ProcessTable,
    Resources,
    RestartPolicy,
    Status,
    WaitCondition,
)
from stackrun.engine import creation, health, logs, powers, processes
from stackrun.engine.clock import stamp
from stackrun.engine.connections import Connections
from stackrun.engine.exec import Execs
from stackrun.engine.images import Images, as_config
from stackrun.engine.lifecycle import Lifecycle
from stackrun.engine.mounts import MountResolver
from stackrun.engine.names import made_up_name
from stackrun.engine.networks import EngineNetworks
from stackrun.engine.planner import Planner
from stackrun.engine.pool import Pool
from stackrun.engine.record import Definition, Situation
from stackrun.engine.registry import Entry, Registry, Waiter
from stackrun.engine.specgen import oci_resources
from stackrun.engine.store import Store, discard
from stackrun.engine.streams import ProcessStream
from stackrun.engine.tasks import Tasks
from stackrun.engine.usage import tree_size_bytes
from stackrun.errors import Conflict, InvalidArgument, NotFound, NotModified, StackrunError, Unavailable
from stackrun.runtime import container as runtime
from stackrun.runtime.spec import signal_number

DEFAULT_STOP_TIMEOUT_S = 10
_KILL_TIMEOUT_S = 30.0
"""How long SIGKILL may take: the kernel frees memory and namespaces first."""


class Containers:
    def __init__(
        self,
        *,
        store: Store,
        registry: Registry,
        pool: Pool,
        images: Images,
        networks: EngineNetworks,
        mounts: MountResolver,
        planner: Planner,
        connections: Connections,
        lifecycle: Lifecycle,
        execs: Execs,
        tasks: Tasks,
        report: Callable[[str], None],
    ) -> None:
        self._store = store
        self._registry = registry
        self._pool = pool
        self._tasks = tasks
        self._images = images
        self._networks = networks
        self._mounts = mounts
        self._planner = planner
        self._connections = connections
        self._lifecycle = lifecycle
        self._execs = execs
        self._report = report
        lifecycle.on_auto_remove = self.remove_ended

    # --- reading ---

    async def list(self, *, all: bool, filters: Filters, size: bool) -> tuple[Container, ...]:
        newest_first = sorted(self._registry, key=lambda one: one.definition.created, reverse=True)
        views = [self._view(one) for one in newest_first]
        images: Sequence[Image] = self._images.list(Filters()) if filters.get("ancestor") else ()
        chosen = select_containers(views, filters, all=all, images=images)
        return tuple([await self._sized(one) for one in chosen]) if size else chosen

    async def get(self, ref: str, *, size: bool) -> Container:
        view = self._view(self._registry.find(ref))
        return await self._sized(view) if size else view

    def _view(self, entry: Entry) -> Container:
        return entry.view(str(self._store.container_directory(entry.id)))

    async def _sized(self, view: Container) -> Container:
        directory = self._store.container_directory(view.id)
        entry = self._registry.find(view.id)
        written = await self._pool.run_disk(tree_size_bytes, directory / "upper")
        image = sum([await self._pool.run_disk(tree_size_bytes, Path(one)) for one in entry.definition.lower])
        return replace(view, size_rw_bytes=written, size_root_bytes=written + image)

    # --- making ---

    async def create(self, name: str, asked: ContainerSpec) -> Created:
        """All or nothing: a name, volumes and a directory are given back when a later step fails."""
        image = await self._images.find(asked.image)
        spec = _whole(asked, as_config(image.config))
        return await self._create(name, spec, image.id, await self._images.layers(image), await self._images.mounts(image))

    async def create_for_build(
        self, build_id: str, asked: ContainerSpec, image_id: str, config: ImageConfig, lower: tuple[str, ...]
    ) -> Created:
        """The container of a step, on the state that the build has come to."""
        return await self._create("", _whole(asked, config), image_id, lower, (), build_id)

    async def _create(
        self, name: str, spec: ContainerSpec, image_id: str, lower: tuple[str, ...], image_mounts: tuple[MountPoint, ...],
        for_build: str = "",
    ) -> Created:  # fmt: skip
        path, args = creation.command_line(spec)
        container_id = secrets.token_hex(32)
        async with AsyncExitStack() as undo:
            name = self._reserved(name.removeprefix("/"), container_id)
            undo.callback(self._registry.release, name, container_id)
            mounts = await self._mounts.resolve(container_id, spec, lower)
            undo.push_async_callback(self._mounts.forget, mounts.anonymous)
            definition = Definition(
                id=container_id,
                name=name,
                created=stamp(),
                path=path,
                args=args,
                image_id=image_id,
                spec=spec,
                mounts=mounts.points,
                lower=lower,
                image_mounts=image_mounts,
                anonymous_volumes=mounts.anonymous,
                for_build=for_build,
            )
            entry = Entry(definition, Situation())
            entry.situation = self._first_situation(entry)
            await self._pool.run(self._store.make_container, definition)
            await self._mounts.keep(mounts.anonymous)
            self._registry.add(entry)
            undo.pop_all()
        self._lifecycle.publish(entry, "create")
        return Created(container_id, shortfalls(spec))

    def _reserved(self, name: str, container_id: str) -> str:
        if name:
            self._registry.reserve(name, container_id)
            return name
        while True:
            made_up = made_up_name()
            try:
                self._registry.reserve(made_up, container_id)
            except Conflict:
                continue
            return made_up

    def _first_situation(self, entry: Entry) -> Situation:
        spec = entry.definition.spec
        checked = health.schedule(spec.healthcheck, spec.shell) is not None
        return Situation(
            state=ContainerState(health=Health(HealthStatus.STARTING) if checked else None),
            endpoints=self._networks.idle_endpoints(spec, self._planner.names(entry)),
        )

    def restored(self, definition: Definition, situation: Situation | None) -> Entry:
        """An entry from its records; without a situation (it was lost with the machine) as if it had just been made."""
        entry = Entry(definition, situation or Situation())
        if situation is None:
            entry.situation = self._first_situation(entry)
        return entry

    # --- stopping ---

    async def stop(self, ref: str, *, timeout_s: float | None, signal_name: str) -> None:
        entry = self._registry.find(ref)
        async with entry.lock:
            if await self._lifecycle.give_up_restart(entry):
                return
            if not entry.alive:
                raise NotModified(f"container {entry.name} is already stopped")
            entry.situation = replace(entry.situation, stopped_by_user=True)
        spec = entry.definition.spec
        number = signal_number(signal_name or spec.stop_signal or "SIGTERM")
        grace_s = _grace_s(timeout_s, spec.stop_timeout_s)
        ended = entry.ended
        if entry.status is Status.PAUSED:
            await self._resume(entry)
        await self._signal(entry, number)
        if not await _happens(ended, grace_s):
            await self._signal(entry, signal.SIGKILL)
            await self._await_death(entry, ended)
        self._lifecycle.publish(entry, "stop")

    async def _signal(self, entry: Entry, number: int) -> None:
        """Nothing happens when the process has ended meanwhile."""
        handle = entry.handle
        if handle is None:
            return
        self._lifecycle.publish(entry, "kill", {"signal": str(number)})
        try:
            await self._pool.run(handle.signal, number)
        except (NotFound, Unavailable):
            return  # it ended in this very moment: its exit is under way

    async def _await_death(self, entry: Entry, ended: asyncio.Event) -> None:
        if not await _happens(ended, _KILL_TIMEOUT_S):
            raise Conflict(f"container {entry.name} did not end within {_KILL_TIMEOUT_S:g} s after SIGKILL")

    async def restart(self, ref: str, *, timeout_s: float | None, signal_name: str) -> None:
        entry = self._registry.find(ref)
        try:
            await self.stop(ref, timeout_s=timeout_s, signal_name=signal_name)
        except NotModified:
            pass  # a restart of a stopped container is its start
        try:
            await self._lifecycle.start(entry)
        except NotModified:
            pass  # who keeps the stack was quicker
        self._lifecycle.publish(entry, "restart")

    async def kill(self, ref: str, signal_name: str) -> None:
        """A signal marks the container as stopped by the user, as with dockerd: no policy brings it back if it dies of it.

        One that has a stop signal of its own is told other things by other signals: they do not count.
        """
        entry = self._registry.find(ref)
        try:
            number = signal_number(signal_name or "SIGKILL")
        except InvalidArgument as error:
            raise InvalidArgument(f"cannot kill container: {ref}: {error.message}") from error
        if entry.status is Status.RESTARTING:
            async with entry.lock:
                if await self._lifecycle.give_up_restart(entry):
                    return
        if not entry.alive:
            raise Conflict(f"cannot kill container: {ref}: container {entry.id} is not running")
        stop_signal = entry.definition.spec.stop_signal
        if number == signal.SIGKILL or not stop_signal or number == signal_number(stop_signal):
            entry.situation = replace(entry.situation, stopped_by_user=True)
        was_paused = entry.status is Status.PAUSED
        ended = entry.ended
        await self._signal(entry, number)
        if was_paused and number == signal.SIGKILL:
            with suppress(Unavailable):  # its shim has let it go on by itself, and may be gone with it by now
                await self._resume(entry)
        if number == signal.SIGKILL:
            await self._await_death(entry, ended)

    # --- pausing ---

    async def pause(self, ref: str) -> None:
        entry = self._registry.find(ref)
        async with entry.lock:
            if entry.status is Status.PAUSED:
                raise Conflict(f"Container {ref} is already paused")
            handle = self._running(entry)
            await self._pool.run(handle.pause)
            await self._change_status(entry, Status.PAUSED)
        self._lifecycle.publish(entry, "pause")

    async def unpause(self, ref: str) -> None:
        entry = self._registry.find(ref)
        if entry.status is not Status.PAUSED:
            raise StackrunError(f"Container {entry.id} is not paused")
        await self._resume(entry)

    async def _resume(self, entry: Entry) -> None:
        async with entry.lock:
            if entry.status is not Status.PAUSED or entry.handle is None:
                return
            await self._pool.run(entry.handle.resume)
            await self._change_status(entry, Status.RUNNING)
        self._lifecycle.publish(entry, "unpause")

    async def _change_status(self, entry: Entry, status: Status) -> None:
        entry.situation = entry.with_state(status=status)
        await self._pool.run(self._store.write_situation, entry.id, entry.situation)

    def _running(self, entry: Entry) -> runtime.Handle:
        if entry.handle is None or not entry.alive:
            raise Conflict(f"container {entry.id} is not running")
        return entry.handle

    # --- changing ---

    async def rename(self, ref: str, name: str) -> None:
        entry = self._registry.find(ref)
        new = name.removeprefix("/")
        if not new:
            raise InvalidArgument("Neither old nor new names may be empty")
        async with entry.lock:
            old = entry.name
            if new == old:
                raise InvalidArgument("Renaming a container with the same name as its current name")
            self._registry.reserve(new, entry.id)
            definition = entry.definition
            entry.definition = replace(definition, name=new)
            try:
                await self._pool.run(self._store.write_definition, entry.definition)
            except BaseException:
                entry.definition = definition
                self._registry.release(new, entry.id)
                raise
            self._registry.release(old, entry.id)
            await self._connections.names_changed(entry)
        self._lifecycle.publish(entry, "rename", {"oldName": f"/{old}"})

    async def update(self, ref: str, resources: Resources | None, policy: RestartPolicy | None) -> tuple[str, ...]:
        entry = self._registry.find(ref)
        async with entry.lock:
            spec = entry.definition.spec
            limits = creation.updated(spec.resources, resources) if resources is not None else spec.resources
            changed = replace(spec, resources=limits, restart_policy=policy or spec.restart_policy)
            creation.check(changed)
            if resources is not None and entry.handle is not None:
                await self._pool.run(entry.handle.update, powers.current().held(oci_resources(resources, swap_accounting=False)))
            entry.definition = replace(entry.definition, spec=changed)
            await self._pool.run(self._store.write_definition, entry.definition)
        self._lifecycle.publish(entry, "update")
        return ()

    # --- removing ---

    async def remove(self, ref: str, *, force: bool, volumes: bool) -> None:
        entry = self._registry.find(ref)
        if entry.state.running:
            if not force:
                raise Conflict(_removal_refusal(entry))
            entry.leaving = True
        try:
            if entry.leaving:
                await self._kill_for_removal(entry)
            await self._remove(entry, volumes=volumes)
        finally:
            entry.leaving = False

    async def _kill_for_removal(self, entry: Entry) -> None:
        async with entry.lock:
            if await self._lifecycle.give_up_restart(entry):
                return
        try:
            await self.kill(entry.id, "SIGKILL")
        except Conflict:
            if entry.alive:
                raise

    async def remove_ended(self, entry: Entry) -> None:
        """`--rm`: takes its anonymous volumes along."""
        await self._remove(entry, volumes=True)

    async def _remove(self, entry: Entry, *, volumes: bool) -> None:
        async with entry.lock:
            if self._registry.get(entry.id) is not entry:
                return
            if entry.state.running:
                raise Conflict(_removal_refusal(entry))
            if volumes:
                await self._mounts.give(entry.definition.anonymous_volumes, entry.id)
            entry.situation = entry.with_state(status=Status.REMOVING)
            retired = await self._pool.run(self._retire, entry)
            self._registry.remove(entry)
        self._execs.forget(entry)
        self._lifecycle.publish(entry, "destroy")
        await self._networks.release_unused_bridge()
        entry.resolve(WaitCondition.REMOVED, ExitStatus(entry.state.exit_code))
        if volumes:
            await self._mounts.forget(entry.definition.anonymous_volumes)
        self._tasks.spawn(self._pool.run_disk(discard, retired, on_error=self._report), f"remove {retired}")

    def _retire(self, entry: Entry) -> Path:
        """Blocks."""
        runtime.cleanup(self._planner.container_run_dir(entry.id), self._planner.cgroup_path(entry))
        return self._store.retire_container(entry.id)

    # --- waiting and talking ---

    async def wait(self, ref: str, condition: WaitCondition) -> Awaitable[ExitStatus]:
        entry = self._registry.find(ref)
        future: asyncio.Future[ExitStatus] = asyncio.get_running_loop().create_future()
        if condition is WaitCondition.NOT_RUNNING and not entry.state.running:
            future.set_result(ExitStatus(entry.state.exit_code, entry.state.error))
        else:
            entry.waiters.append(Waiter(condition, future))
        return future

    async def resize(self, ref: str, *, rows: int, columns: int) -> None:
        entry = self._registry.find(ref)
        await self._pool.run(self._running(entry).resize, rows, columns)

    async def attach(self, ref: str, query: AttachQuery) -> ProcessStream:
        entry = self._registry.find(ref)
        if entry.status is Status.PAUSED:
            raise Conflict(f"container {entry.id} is paused, unpause the container before attach")
        spec = entry.definition.spec
        past = await self._past(entry, query) if query.logs else ()
        on_close = None
        if not query.stream:
            ours, theirs = socket.socketpair()
            theirs.close()
        elif entry.handle is not None:
            ours = await self._pool.run(
                entry.handle.attach, stdin=query.stdin and spec.open_stdin, stdout=query.stdout, stderr=query.stderr
            )
        else:
            ours, theirs = socket.socketpair()
            pending = (theirs, query)
            entry.attached.append(pending)
            on_close = lambda: _withdraw(entry, pending)  # noqa: E731
        stream = await ProcessStream.over(ours, tty=spec.tty, stdout=query.stdout, stderr=query.stderr, past=past, on_close=on_close)
        self._lifecycle.publish(entry, "attach")
        return stream

    async def _past(self, entry: Entry, query: AttachQuery) -> tuple[Output, ...]:
        lines = await self.logs(entry.id, LogQuery(stdout=query.stdout, stderr=query.stderr))
        return tuple([Output(line.stream, line.data) async for line in lines])

    async def logs(self, ref: str, query: LogQuery) -> AsyncIterator[LogLine]:
        entry = self._registry.find(ref)
        if not query.stdout and not query.stderr:
            raise InvalidArgument("Bad parameters: you must choose at least one stream")
        if entry.definition.spec.log_config.driver == "none":
            raise StackrunError("configured logging driver does not support reading")
        path = self._store.container_directory(entry.id) / f"{entry.id}-json.log"
        ended = entry.ended
        if not entry.state.running:
            ended = asyncio.Event()
            ended.set()
        return logs.read(path, query, ended)

    async def top(self, ref: str, ps_args: str) -> ProcessTable:
        entry = self._registry.find(ref)
        handle = self._running(entry)
        return await processes.table(handle.pid, self._planner.cgroup_path(entry), ps_args, self._pool)


def _whole(asked: ContainerSpec, config: ImageConfig) -> ContainerSpec:
    """With the image's defaults, and everything refused that can be."""
    spec = creation.completed(asked, config)
    creation.command_line(spec)
    creation.check(spec)
    powers.check(spec)
    return spec


def shortfalls(spec: ContainerSpec) -> tuple[str, ...]:
    """What was asked for and is not had, each in one line."""
    found = []
    if spec.ports and (spec.network_mode == "host" or spec.network_mode.startswith("container:")):
        found.append(f"Published ports are discarded when using {spec.network_mode.partition(':')[0]} network mode")
    unheld = powers.current().left_out(oci_resources(spec.resources, swap_accounting=False))
    return (*found, *unheld, *powers.warnings(spec))


def _grace_s(asked_s: float | None, own_s: int | None) -> float | None:
    """None: for ever."""
    chosen = asked_s if asked_s is not None else own_s if own_s is not None else DEFAULT_STOP_TIMEOUT_S
    return None if chosen < 0 else float(chosen)


async def _happens(event: asyncio.Event, timeout_s: float | None) -> bool:
    try:
        async with asyncio.timeout(timeout_s):
            await event.wait()
    except TimeoutError:
        return False
    return True


def _removal_refusal(entry: Entry) -> str:
    if entry.status is Status.PAUSED:
        return f'cannot remove container "/{entry.name}": container is paused and must be unpaused first'
    reason = "restarting" if entry.status is Status.RESTARTING else "running"
    return f'cannot remove container "/{entry.name}": container is {reason}: stop the container before removing or force remove'


def _withdraw(entry: Entry, pending: tuple[socket.socket, AttachQuery]) -> None:
    """The client left before the start."""
    if pending in entry.attached:
        entry.attached.remove(pending)
        pending[0].close()
