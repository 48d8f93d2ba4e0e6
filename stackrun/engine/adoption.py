"""What an engine finds when it opens a state root: records, containers that run on, things that were half made or half removed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from stackrun.api.types import Status
from stackrun.engine.containers import Containers
from stackrun.engine.handover import HandOver
from stackrun.engine.lifecycle import Lifecycle
from stackrun.engine.networks import EngineNetworks
from stackrun.engine.planner import CGROUP_PARENT, RUN_ID_LENGTH, Planner
from stackrun.engine.registry import Entry, Registry
from stackrun.engine.resolver import Resolver
from stackrun.engine.store import Store
from stackrun.engine.volumes import Volumes
from stackrun.kernel import tree as trees
from stackrun.runtime import container as runtime
from stackrun.runtime import state


class Adoption:
    """Blocks; once, before the engine serves anyone."""

    def __init__(
        self,
        *,
        store: Store,
        run_dir: str,
        registry: Registry,
        containers: Containers,
        lifecycle: Lifecycle,
        handover: HandOver,
        networks: EngineNetworks,
        volumes: Volumes,
        planner: Planner,
        resolver: Resolver,
        report: Callable[[str], None],
    ) -> None:
        self._store = store
        self._run_dir = run_dir
        self._registry = registry
        self._containers = containers
        self._lifecycle = lifecycle
        self._handover = handover
        self._networks = networks
        self._volumes = volumes
        self._planner = planner
        self._resolver = resolver
        self._report = report

    def run(self) -> None:
        self._networks.load()
        self._load_containers()
        self._volumes.load(frozenset(entry.id for entry in self._registry))
        self._sweep_run_directories()
        running = [entry for entry in self._registry if entry.alive]
        self._handover.settle(running)
        self._networks.restore([one for entry in running for one in self._lifecycle.publications(entry.situation)])
        for entry in running:
            plan = self._planner.resolver(entry.definition.spec, entry.endpoints)
            if plan is not None and entry.handle is not None:
                self._resolver.adopt(entry.handle, plan, entry.endpoints)
        self._resolver.reconcile()
        self._tell_names([entry for entry in running if entry.situation.beside or entry.situation.ports_at])

    def _tell_names(self, entries: Iterable[Entry]) -> None:
        """Of those whose names were about to change when the last engine ended."""
        for entry in entries:
            plan = self._planner.resolver(entry.definition.spec, entry.endpoints)
            if plan is not None and entry.handle is not None:
                self._resolver.serve(entry.handle, plan, entry.endpoints)

    def _load_containers(self) -> None:
        for definition, situation in self._store.load_containers():
            entry = self._containers.restored(definition, situation)
            if entry.status is Status.REMOVING:
                trees.remove(self._store.retire_container(entry.id))
                continue
            self._registry.reserve(entry.name, entry.id)
            self._registry.add(entry)
            self._lifecycle.reconnect(entry)
        for broken in self._store.broken:
            self._report(f"{broken.path}: {broken.reason}")

    def _sweep_run_directories(self) -> None:
        """Those of containers that no record knows: their removal was cut short."""
        known = {entry.id[:RUN_ID_LENGTH] for entry in self._registry}
        for directory in Path(self._run_dir, "c").iterdir():
            if directory.name not in known:
                _sweep(str(directory))


def _sweep(run_dir: str) -> None:
    left = state.read(state.state_path(run_dir)) or {}
    container_id = left.get("id", "")
    runtime.remove(container_id, run_dir, left.get("cgroup_path") or f"{CGROUP_PARENT}/{container_id or Path(run_dir).name}")
