"""The engine of this machine: containers, images, networks and volumes of one state root (api.engine.Engine).

    engine = LocalEngine.open("/var/lib/stackrun", "/run/stackrun")     blocks; takes the root's lock
    await engine.start()                                                on the loop that will serve it
    await engine.close()                                                containers keep running
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeVar

from stackrun.api.archives import PathStat
from stackrun.api.builds import BuildSpec
from stackrun.api.drift import Drift
from stackrun.api.filters import EVENT_KEYS, check
from stackrun.api.history import HistoryEntry
from stackrun.api.types import (
    NO_FILTERS,
    AttachQuery,
    Container,
    ContainerSpec,
    Created,
    EndpointSpec,
    Event,
    Exec,
    ExecSpec,
    ExitStatus,
    Filters,
    Image,
    ImageDeletion,
    Info,
    LogLine,
    LogQuery,
    Network,
    NetworkSpec,
    ProcessTable,
    Progress,
    RegistryAuth,
    Resources,
    RestartPolicy,
    Status,
    Version,
    Volume,
    VolumeSpec,
    WaitCondition,
)
from stackrun.engine import host
from stackrun.engine.adoption import Adoption
from stackrun.engine.build_run import Runs
from stackrun.engine.build_workspace import Workspaces
from stackrun.engine.builder import Builder
from stackrun.engine.chronicle import Chronicle
from stackrun.engine.connections import Connections
from stackrun.engine.containers import Containers, shortfalls
from stackrun.engine.copying import Copies
from stackrun.engine.drift import Truth
from stackrun.engine.events import Events
from stackrun.engine.exec import Execs
from stackrun.engine.handover import HandOver
from stackrun.engine.images import Images
from stackrun.engine.launch import Launcher
from stackrun.engine.lifecycle import Lifecycle
from stackrun.engine.mounts import MountResolver
from stackrun.engine.networks import EngineNetworks
from stackrun.engine.planner import Planner
from stackrun.engine.pool import Pool
from stackrun.engine.registry import Registry
from stackrun.engine.resolver import Resolver
from stackrun.engine.store import Store
from stackrun.engine.streams import ProcessStream, TextStream
from stackrun.engine.tasks import Tasks
from stackrun.engine.vigil import Vigil
from stackrun.engine.volumes import Volumes
from stackrun.image.store import ImageStore
from stackrun.kernel import cgroup
from stackrun.network.dns_client import DnsClient
from stackrun.network.networks import Networks as NetworkMechanism
from stackrun.network.ports import HostPorts

DEFAULT_ROOT = "/var/lib/stackrun"
T = TypeVar("T")
_log = logging.getLogger("stackrun.engine")


class LocalEngine:
    """Made by `open`. Every method runs on one event loop's thread."""

    def __init__(self, root: str, run_dir: str, store: Store, host_ports: HostPorts) -> None:
        self._root = root
        self._run_dir = run_dir
        self._store = store
        self._layout = cgroup.detect()
        self._pool = Pool()
        self._tasks = Tasks(self._report)
        self._chronicle = Chronicle(root, lambda work: self._tasks.spawn(self._pool.run(work), "note events"))
        self._events = Events(keep=self._chronicle.add)
        self._registry = Registry()
        self._resolver = Resolver(DnsClient(run_dir), self._tasks)
        image_store = ImageStore(root)
        self._images = Images(image_store, self._registry, self._events, self._pool)
        self._volumes = Volumes(store, self._registry, self._events, self._pool, self._report)
        self._host_ports = host_ports
        mechanism = NetworkMechanism(instance(root))
        self._networks = EngineNetworks(store, self._registry, self._events, self._pool, mechanism, host_ports)
        self._planner = Planner(store, run_dir, self._registry, self._networks, self._pool)
        self._launcher = Launcher(store, run_dir, self._networks, self._resolver, host_ports)
        self._execs = Execs(self._registry, self._pool, self._planner.hostname)
        self._lifecycle = Lifecycle(
            store=store, registry=self._registry, events=self._events, pool=self._pool, tasks=self._tasks, networks=self._networks,
            planner=self._planner, launcher=self._launcher, execs=self._execs, resolver=self._resolver, report=self._report,
        )  # fmt: skip
        self._execs.publish = self._lifecycle.publish
        self._connections = Connections(
            store=store, registry=self._registry, pool=self._pool, networks=self._networks, planner=self._planner, resolver=self._resolver
        )
        self._containers = Containers(
            store=store, registry=self._registry, pool=self._pool, images=self._images, networks=self._networks,
            mounts=MountResolver(self._volumes, self._registry, self._pool), planner=self._planner, connections=self._connections,
            lifecycle=self._lifecycle, execs=self._execs, tasks=self._tasks, report=self._report,
        )  # fmt: skip
        self._handover = HandOver(
            store=store, registry=self._registry, pool=self._pool, tasks=self._tasks, networks=self._networks, lifecycle=self._lifecycle,
            planner=self._planner, connections=self._connections, resolver=self._resolver, host_ports=host_ports, report=self._report,
        )  # fmt: skip
        self._copies = Copies(store=store, registry=self._registry, pool=self._pool, lifecycle=self._lifecycle)
        self._builder = self._new_builder(image_store)
        self._truth = Truth(
            store=store, registry=self._registry, events=self._events, pool=self._pool, tasks=self._tasks, networks=self._networks,
            planner=self._planner, resolver=self._resolver, images=self._images, lifecycle=self._lifecycle, report=self._report,
        )  # fmt: skip
        self._vigil = Vigil(
            registry=self._registry, events=self._events, pool=self._pool, tasks=self._tasks, planner=self._planner,
            volumes=self._volumes, truth=self._truth, report=self._report,
        )  # fmt: skip
        self._adoption = Adoption(
            store=store, run_dir=run_dir, registry=self._registry, containers=self._containers, lifecycle=self._lifecycle,
            handover=self._handover, networks=self._networks, volumes=self._volumes, planner=self._planner, resolver=self._resolver,
            report=self._report,
        )  # fmt: skip

    def _new_builder(self, image_store: ImageStore) -> Builder:
        return Builder(
            store=image_store,
            registry=self._registry,
            events=self._events,
            pool=self._pool,
            workspaces=Workspaces(self._root, self._run_dir),
            runs=Runs(self._containers, self._lifecycle, self._registry, self._store, self._tasks),
        )

    # --- opening and closing ---

    @classmethod
    def open(cls, root: str, run_dir: str, host_ports: HostPorts | None = None) -> LocalEngine:
        """Takes over a state root: lock, zygote, records, networks, running containers. Blocks; not on a loop that must not wait.

        Raises Conflict naming the process that has the root, PermissionDenied, KernelError; then nothing is held.
        """
        with ExitStack() as undo:
            store = Store(os.path.abspath(root))
            store.open()
            undo.callback(store.close)
            Path(run_dir, "c").mkdir(0o711, parents=True, exist_ok=True)
            engine = cls(str(store.root), os.path.abspath(run_dir), store, host_ports or HostPorts())
            engine._launcher.open()
            undo.callback(engine._launcher.close)
            engine._adoption.run()
            undo.pop_all()
        return engine

    async def start(self, *, kept: Callable[[Mapping[str, str]], bool] = lambda labels: False) -> None:
        """Watches what runs; makes up for what ended while no engine was there, restart policies included.

        `kept` tells by its labels which container somebody else brings back when its end was not seen, in an order of his own.
        """
        self._lifecycle.kept = kept
        self._truth.watch()
        self._resolver.watch()
        for entry in self._registry:
            await self._lifecycle.adopt(entry)
        self._vigil.watch()
        self._host_ports.watch(self._publish_again)
        await self._builder.start(self._report)
        self._tasks.spawn(self._pool.run(self._networks.warm), "load the network mechanism")

    async def close(self) -> None:
        """Lets go of everything, in order; containers, networks and the resolver stay."""
        self._events.close()
        self._truth.close()
        self._vigil.close()
        self._host_ports.unwatch()
        await self._builder.close()
        await self._lifecycle.close()
        self._networks.close()
        self._pool.close()
        self._chronicle.close()
        self._resolver.close()
        self._launcher.close()
        self._store.close()

    def _publish_again(self) -> None:
        self._tasks.spawn(self._handover.publish_again(), "publish ports again")

    def _report(self, text: str) -> None:
        _log.warning(text)

    async def _finish(self, work: Coroutine[Any, Any, T]) -> T:
        """A change is carried through even when the client that asked for it hangs up."""
        return await self._tasks.finish(work)

    # --- containers ---

    async def containers(self, *, all: bool = False, filters: Filters = NO_FILTERS, size: bool = False) -> tuple[Container, ...]:
        return await self._containers.list(all=all, filters=filters, size=size)

    async def container(self, ref: str, *, size: bool = False) -> Container:
        return await self._containers.get(ref, size=size)

    async def create_container(self, name: str, spec: ContainerSpec) -> Created:
        return await self._finish(self._containers.create(name, spec))

    def shortfalls(self, spec: ContainerSpec) -> tuple[str, ...]:
        return shortfalls(spec)

    async def start_container(self, ref: str) -> None:
        await self._finish(self._lifecycle.start(self._registry.find(ref)))

    async def start_container_beside(self, ref: str, other: str) -> None:
        await self._finish(self._handover.start_beside(ref, other))

    async def take_over(self, ref: str, *, drain_s: float) -> None:
        await self._handover.take_over(ref, drain_s=drain_s)

    async def stop_container(self, ref: str, *, timeout_s: float | None = None, signal: str = "") -> None:
        await self._containers.stop(ref, timeout_s=timeout_s, signal_name=signal)

    async def restart_container(self, ref: str, *, timeout_s: float | None = None, signal: str = "") -> None:
        await self._finish(self._containers.restart(ref, timeout_s=timeout_s, signal_name=signal))

    async def kill_container(self, ref: str, signal: str = "SIGKILL") -> None:
        await self._containers.kill(ref, signal)

    async def pause_container(self, ref: str) -> None:
        await self._finish(self._containers.pause(ref))

    async def unpause_container(self, ref: str) -> None:
        await self._finish(self._containers.unpause(ref))

    async def rename_container(self, ref: str, name: str) -> None:
        await self._finish(self._containers.rename(ref, name))

    async def update_container(self, ref: str, resources: Resources | None, restart_policy: RestartPolicy | None) -> tuple[str, ...]:
        return await self._finish(self._containers.update(ref, resources, restart_policy))

    async def remove_container(self, ref: str, *, force: bool = False, volumes: bool = False) -> None:
        await self._finish(self._containers.remove(ref, force=force, volumes=volumes))

    async def wait_container(self, ref: str, condition: WaitCondition = WaitCondition.NOT_RUNNING) -> Awaitable[ExitStatus]:
        return await self._containers.wait(ref, condition)

    async def resize_container(self, ref: str, *, rows: int, columns: int) -> None:
        await self._containers.resize(ref, rows=rows, columns=columns)

    async def attach_container(self, ref: str, query: AttachQuery) -> ProcessStream:
        return await self._containers.attach(ref, query)

    async def container_logs(self, ref: str, query: LogQuery) -> AsyncIterator[LogLine]:
        return await self._containers.logs(ref, query)

    async def container_top(self, ref: str, ps_args: str = "-ef") -> ProcessTable:
        return await self._containers.top(ref, ps_args)

    async def path_stat(self, ref: str, path: str) -> PathStat:
        return await self._copies.stat(ref, path)

    async def get_archive(self, ref: str, path: str) -> tuple[PathStat, AsyncIterator[bytes]]:
        return await self._copies.get(ref, path)

    async def put_archive(
        self, ref: str, path: str, archive: AsyncIterator[bytes], *, same_kind: bool = False, to_user: bool = False
    ) -> None:
        await self._copies.put(ref, path, archive, same_kind=same_kind, to_user=to_user)

    async def remove_files(self, ref: str, paths: tuple[str, ...]) -> None:
        await self._finish(self._copies.remove(ref, paths))

    async def create_exec(self, ref: str, spec: ExecSpec) -> str:
        return self._execs.create(self._registry.find(ref), spec)

    async def start_exec(self, exec_id: str, *, tty: bool = False, rows: int = 0, columns: int = 0) -> ProcessStream | TextStream:
        return await self._finish(self._execs.start(exec_id, tty=tty, rows=rows, columns=columns))

    async def start_exec_detached(self, exec_id: str) -> None:
        await self._finish(self._execs.start_detached(exec_id))

    async def exec(self, exec_id: str) -> Exec:
        return self._execs.get(exec_id)

    async def resize_exec(self, exec_id: str, *, rows: int, columns: int) -> None:
        await self._execs.resize(exec_id, rows, columns)

    # --- images ---

    async def images(self, *, all: bool = False, filters: Filters = NO_FILTERS) -> tuple[Image, ...]:
        return self._images.list(filters)

    async def image(self, ref: str) -> Image:
        return await self._images.get(ref)

    async def pull_image(self, ref: str, *, auth: RegistryAuth | None = None, platform: str = "") -> AsyncIterator[Progress]:
        return await self._images.pull(ref, auth, platform)

    async def load_image(self, archive: AsyncIterator[bytes]) -> AsyncIterator[Progress]:
        return await self._images.load(archive)

    async def import_image(
        self, archive: AsyncIterator[bytes], *, reference: str = "", message: str = "", changes: tuple[str, ...] = ()
    ) -> AsyncIterator[Progress]:
        return await self._images.import_(archive, reference, message, changes)

    async def build_image(self, context: AsyncIterator[bytes], spec: BuildSpec) -> AsyncIterator[Progress]:
        return await self._builder.build(context, spec)

    async def image_history(self, ref: str) -> tuple[HistoryEntry, ...]:
        return await self._images.history(ref)

    async def prune_builds(self) -> int:
        return await self._builder.prune()

    async def tag_image(self, ref: str, reference: str) -> None:
        await self._images.tag(ref, reference)

    async def remove_image(self, ref: str, *, force: bool = False) -> tuple[ImageDeletion, ...]:
        return await self._images.remove(ref, force=force)

    # --- networks ---

    async def networks(self, *, filters: Filters = NO_FILTERS) -> tuple[Network, ...]:
        return self._networks.list(filters)

    async def network(self, ref: str) -> Network:
        return self._networks.get(ref)

    async def create_network(self, spec: NetworkSpec) -> Created:
        return await self._finish(self._networks.create(spec))

    async def remove_network(self, ref: str) -> None:
        await self._finish(self._networks.remove(ref))

    async def connect_network(self, ref: str, container: str, endpoint: EndpointSpec) -> None:
        await self._finish(self._connections.connect(ref, container, endpoint))

    async def disconnect_network(self, ref: str, container: str, *, force: bool = False) -> None:
        await self._finish(self._connections.disconnect(ref, container, force=force))

    # --- volumes ---

    async def volumes(self, *, filters: Filters = NO_FILTERS) -> tuple[Volume, ...]:
        return self._volumes.list(filters)

    async def volume(self, name: str) -> Volume:
        return self._volumes.get(name)

    async def create_volume(self, spec: VolumeSpec) -> Volume:
        return await self._finish(self._volumes.create(spec))

    async def remove_volume(self, name: str, *, force: bool = False) -> None:
        await self._finish(self._volumes.remove(name, force=force))

    # --- records against the kernel ---

    @property
    def truth(self) -> Truth:
        """Where the automatic repair is told to hold off, and who is told of changes."""
        return self._truth

    async def drift(self, containers: tuple[str, ...], networks: tuple[str, ...]) -> tuple[Drift, ...]:
        return await self._truth.drift(containers, networks)

    async def repair(self, containers: tuple[str, ...], networks: tuple[str, ...]) -> tuple[Drift, ...]:
        return await self._finish(self._truth.repair(containers, networks))

    async def repair_networks(self) -> tuple[Drift, ...]:
        return await self._finish(self._truth.repair_networks())

    # --- the engine itself ---

    async def version(self) -> Version:
        return host.version()

    async def info(self) -> Info:
        statuses = [entry.status for entry in self._registry]
        seen = await self._pool.run(self._networks.warnings)
        warnings = (*self._host_ports.lacking, *seen, *await self._pool.run(host.lacking))
        return host.info(
            engine_id=self._networks.find("bridge").id,
            root=self._root,
            layout=self._layout,
            running=sum(one in (Status.RUNNING, Status.RESTARTING) for one in statuses),
            paused=statuses.count(Status.PAUSED),
            stopped=sum(one in (Status.CREATED, Status.EXITED, Status.DEAD) for one in statuses),
            images=len(self._images.list(NO_FILTERS)),
            warnings=(*warnings, *(f"{one.path}: {one.reason}" for one in self._store.broken), *self._images.broken),
        )

    async def events(self, *, since_s: float = 0.0, until_s: float = 0.0, filters: Filters = NO_FILTERS) -> AsyncGenerator[Event, None]:
        """With those of earlier daemons, as far as they are on disk."""
        check(filters, EVENT_KEYS)
        since_ns, known_from_ns, earlier = round(since_s * 1e9), self._events.remembered_from_ns, []
        if (since_s or until_s) and since_ns < known_from_ns:
            earlier = await self._pool.run(self._chronicle.read, since_ns, known_from_ns)
        return self._events.subscribe(since_s=since_s, until_s=until_s, filters=filters, earlier=earlier)


def instance(root: str) -> str:
    """What tells the kernel objects of this state root from another's: empty for the default one."""
    real = os.path.realpath(root)
    return "" if real == DEFAULT_ROOT else hashlib.sha256(real.encode()).hexdigest()[:8]
