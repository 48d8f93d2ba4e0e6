"""From a plan to a running process: everything of a start that blocks, in one go, in one worker thread.

    reserve ports → write the bundle → runtime.create → wire → configure inside → resolver's sockets → names → publish → start

Each step leaves its undo; the first failure undoes all.  The plan was made on the loop's thread and is only read here.
"""

from __future__ import annotations

import errno
import json
import os
import threading
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stackrun.api.types import ContainerState, Endpoint, Health, PublishedPort, Status
from stackrun.engine import security
from stackrun.engine.clock import stamp
from stackrun.engine.creation import exposed_only
from stackrun.engine.networks import EngineNetworks, Place
from stackrun.engine.record import Definition, Situation
from stackrun.engine.resolver import Resolver, ResolverPlan
from stackrun.engine.seccomp_profile import default_profile
from stackrun.engine.specgen import Surroundings, oci_config
from stackrun.engine.store import Store, naming, write_file
from stackrun.errors import Conflict, KernelError, Unavailable
from stackrun.kernel import seccomp
from stackrun.network.endpoint import Endpoint as WiredEndpoint
from stackrun.network.endpoint import container_batches
from stackrun.network.firewall import Publication
from stackrun.network.ports import HostPorts, PortRequest, Reservation
from stackrun.runtime import container as runtime
from stackrun.runtime import trace
from stackrun.runtime.zygote import Zygote
from stackrun.units import parse_bytes

DEFAULT_LOG_SIZE, DEFAULT_LOG_FILES = "20m", "5"
"""Docker's own bounds for its `local` driver; its json-file has none, and fills disks. `max-size: "-1"` takes them off."""


@dataclass(frozen=True, slots=True)
class PortPlan:
    """`shared`: the container beside this one holds it too."""

    container_port: int
    request: PortRequest
    shared: bool = False


@dataclass(frozen=True, slots=True)
class LaunchPlan:
    """`own_network`: the container has a network namespace of its own. `texts`: file name in `directory` → content.

    `publish_address`: where published ports lead, empty to publish nothing.  `resolver`: None when the container has none of its own.
    """

    definition: Definition
    directory: Path
    run_dir: str
    around: Surroundings
    own_network: bool
    texts: Mapping[str, str]
    places: tuple[Place, ...] = ()
    ports: tuple[PortPlan, ...] = ()
    publish_address: str = ""
    resolver: ResolverPlan | None = None
    fixed_endpoints: tuple[Endpoint, ...] = ()
    attached_fds: tuple[int, ...] = ()
    health: Health | None = None
    restart_count: int = 0
    beside: str = ""
    """The container that has the shared ports meanwhile; empty: this one has them at once."""
    donor: runtime.Handle | None = None
    """Of whose ports the shared ones are copies."""
    joined: Mapping[str, str] = field(default_factory=dict)
    """Run directory → id of each container of whose namespaces it takes some."""


@dataclass(frozen=True, slots=True)
class Launched:
    """`situation` is recorded on the disk already."""

    handle: runtime.Handle
    situation: Situation
    warnings: tuple[str, ...]


class Launcher:
    """Holds what starts share: the zygote, the names' resolver, compiled seccomp programs."""

    def __init__(self, store: Store, run_dir: str, networks: EngineNetworks, resolver: Resolver, host_ports: HostPorts) -> None:
        self._store = store
        self._run_dir = run_dir
        self._networks = networks
        self._resolver = resolver
        self._host_ports = host_ports
        self._zygote: Zygote | None = None
        self._zygote_lock = threading.Lock()
        self._programs: dict[object, bytes] = {}

    def open(self) -> None:
        self._living_zygote()

    def close(self) -> None:
        with self._zygote_lock:
            if self._zygote is not None:
                self._zygote.close()
                self._zygote = None

    def _living_zygote(self) -> Zygote:
        """The zygote holds no state: when it has died another one takes its place."""
        with self._zygote_lock:
            if self._zygote is not None and not self._zygote.is_alive:
                self._zygote.close()
                self._zygote = None
            if self._zygote is None:
                self._zygote = Zygote.launch(self._run_dir)
            return self._zygote

    def launch(self, plan: LaunchPlan) -> Launched:
        """Returns once the process has begun. Raises what the failed step raised; nothing is left then but the container's files."""
        container_id = plan.definition.id
        trace.mark("reach a worker", container_id)
        with ExitStack() as undo:
            reserved = _reserved(plan, self._host_ports) if plan.publish_address and plan.ports else ()
            if reserved:
                undo.callback(self._host_ports.close, reserved)
            handle = self._create(plan, [one.fd for one in reserved])
            trace.mark("hear that init is there", container_id)
            undo.callback(_destroy, handle, plan)
            _check_joined(plan)
            endpoints = self._connect(plan, handle, undo) or plan.fixed_endpoints
            publications = publications_of(reserved, plan)
            if publications:
                self._networks.publish(publications)
                undo.callback(self._networks.unpublish, publications)
            trace.mark("network, names, ports", container_id)
            situation = _running(plan, handle, reserved, endpoints)
            record = self._store.foresee_situation(container_id, situation)
            undo.callback(record.withdraw)
            trace.mark("write the record to come", container_id)
            handle.start()
            trace.mark("hear that it runs", container_id)
            record.come_true()
            undo.pop_all()
        trace.mark("record the state", container_id)
        self._host_ports.close(reserved)  # the shim holds its own copies
        return Launched(handle, situation, handle.warnings)

    def _create(self, plan: LaunchPlan, held_fds: Sequence[int]) -> runtime.Handle:
        spec = plan.definition.spec
        directory = str(plan.directory)
        _make_mounted(plan)
        config = oci_config(plan.definition, plan.around)
        arguments: dict[str, Any] = {
            "container_id": plan.definition.id,
            "bundle": directory,
            "run_dir": plan.run_dir,
            "cgroup_path": plan.around.cgroup_path,
            "overlay": {
                "lower": [*plan.definition.lower, str(self._store.mount_points)],
                "upper": f"{directory}/upper",
                "work": f"{directory}/work",
                "target": f"{directory}/merged",
            },
            "log": log_settings(plan.definition, directory),
            "tty": spec.tty,
            "open_stdin": spec.open_stdin,
            "stdin_once": spec.stdin_once,
            "held_fds": held_fds,
            "init": bool(spec.init),
            "seccomp": self.seccomp_program(plan.definition),
            "attach_stdio": plan.attached_fds,
            "config": config,
            "meanwhile": lambda: _write_files(plan, config),
        }
        try:
            return runtime.create(self._living_zygote(), **arguments)
        except Unavailable:
            # The zygote died under it, perhaps with a shim forked already that nobody speaks with.
            runtime.remove(plan.definition.id, plan.run_dir, plan.around.cgroup_path)
            return runtime.create(self._living_zygote(), **arguments)

    def seccomp_program(self, definition: Definition) -> bytes:
        """Compiled once for each profile and set of capabilities; empty for unconfined."""
        spec = definition.spec
        options = security.security_options(spec)
        if options.seccomp is None:
            granted = frozenset(security.capabilities(spec))
            key: object = granted
            profile: Mapping[str, Any] = default_profile(granted) if key not in self._programs else {}
        else:
            profile = options.seccomp
            key = json.dumps(profile, sort_keys=True)
        if key not in self._programs:
            self._programs[key] = seccomp.compile_filter(dict(profile)) if profile else b""
        return self._programs[key]

    def _wire(self, places: Sequence[Place], handle: runtime.Handle) -> tuple[WiredEndpoint, ...]:
        try:
            return self._networks.wire([one.wired for one in places], handle.pid)
        except KernelError as error:
            if error.errno == errno.ESRCH:
                handle.prepare()  # init has ended meanwhile: this raises why
            raise

    def _connect(self, plan: LaunchPlan, handle: runtime.Handle, undo: ExitStack) -> tuple[Endpoint, ...]:
        if not plan.own_network:
            return ()
        wired = self._wire(plan.places, handle) if plan.places else ()
        handle.configure_network(container_batches(wired, dns=plan.resolver is not None))
        self._networks.settle(wired)
        endpoints = tuple(one.endpoint for one in plan.places)
        if plan.resolver is not None:
            self._resolver.serve(handle, plan.resolver, endpoints)
            undo.callback(self._resolver.drop, plan.definition.id)
        return endpoints


def _make_mounted(plan: LaunchPlan) -> None:
    """The container's own files of /etc must be there for init to bind; what they say is only read by the process.

    They are made with the container; somebody may have taken them away since.
    """
    for name in plan.texts:
        path = f"{plan.directory}/{name}"
        if not os.path.exists(path):
            with naming(f"write {path}"):
                write_file(path, b"", mode=0o644)


def _write_files(plan: LaunchPlan, config: Mapping[str, Any]) -> None:
    """Blocks. While shim and init work; before the process begins.  Unsynced: the next start writes them again.

    `config` is what the container was started with, to be looked at; the runtime has been given it by message.
    """
    with naming(f"write {plan.directory}"):
        for name, text in plan.texts.items():
            write_file(f"{plan.directory}/{name}", text.encode(), mode=0o644)
    with naming(f"write {plan.directory}/config.json"):
        write_file(f"{plan.directory}/config.json", json.dumps(config).encode(), mode=0o600)
    trace.mark("write config.json, hosts, hostname, resolv.conf", plan.definition.id)


def _running(plan: LaunchPlan, handle: runtime.Handle, reserved: Sequence[Reservation], endpoints: tuple[Endpoint, ...]) -> Situation:
    """To be asked for before the process can end: it says when it began."""
    return Situation(
        state=ContainerState(Status.RUNNING, pid=handle.pid, started_at=stamp(), health=plan.health),
        endpoints=endpoints,
        ports=_published(reserved, plan),
        restart_count=plan.restart_count,
        interfaces=len(plan.places),
        waiting_ports=_waiting(reserved, plan),
        beside=plan.beside,
        nameless=bool(plan.beside),
    )


def _check_joined(plan: LaunchPlan) -> None:
    """They were found by their pids: those were theirs if they live still."""
    for run_dir, container_id in plan.joined.items():
        if not runtime.is_alive(run_dir):
            raise Conflict(f"cannot join the namespaces of a non running container: {container_id}")


def _destroy(handle: runtime.Handle, plan: LaunchPlan) -> None:
    """Idempotent: a failed `Handle.start` has taken the container apart already."""
    if handle.pid_fd >= 0:
        handle.delete()
        handle.close()
    runtime.cleanup(plan.run_dir, plan.around.cgroup_path)


def log_settings(definition: Definition, directory: str) -> dict[str, Any] | None:
    config = definition.spec.log_config
    if config.driver == "none":
        return None
    largest = config.options.get("max-size", DEFAULT_LOG_SIZE)
    return {
        "path": f"{directory}/{definition.id}-json.log",
        "max_bytes": 0 if largest == "-1" else parse_bytes(largest),
        "max_files": int(config.options.get("max-file", DEFAULT_LOG_FILES)),
    }


def _reserved(plan: LaunchPlan, host_ports: HostPorts) -> tuple[Reservation, ...]:
    """Shared ports as copies of the donor's sockets, unless it has just ended: then they are free like any other."""
    descriptors = donated(plan.donor) if plan.donor else []
    try:
        copies = {one: host_ports.shared(one.request, descriptors) for one in plan.ports if one.shared}
        with ExitStack() as undo:
            undo.callback(host_ports.close, [one for one in copies.values() if one])
            own = iter(host_ports.reserve([one.request for one in plan.ports if not copies.get(one)]))
            undo.pop_all()
        return tuple(copies.get(one) or next(own) for one in plan.ports)
    finally:
        for fd in descriptors:
            os.close(fd)


def donated(donor: runtime.Handle) -> list[int]:
    try:
        return donor.port_sockets()
    except Unavailable:
        return []


def publications_of(reserved: Sequence[Reservation], plan: LaunchPlan) -> tuple[Publication, ...]:
    return tuple(
        Publication(got.protocol, got.host_ip, got.host_port, plan.publish_address, asked.container_port)
        for got, asked in zip(reserved, plan.ports, strict=True)
        if not (plan.beside and asked.shared)
    ) if reserved else ()  # fmt: skip


def _published(reserved: Sequence[Reservation], plan: LaunchPlan) -> tuple[PublishedPort, ...]:
    """What is published, then what is only exposed."""
    found = _ports(reserved, plan, waiting=False)
    taken = {(one.container_port, one.protocol) for one in (*found, *_waiting(reserved, plan))}
    return (*found, *(one for one in exposed_only(plan.definition.spec) if (one.container_port, one.protocol) not in taken))


def _waiting(reserved: Sequence[Reservation], plan: LaunchPlan) -> tuple[PublishedPort, ...]:
    return _ports(reserved, plan, waiting=True)


def _ports(reserved: Sequence[Reservation], plan: LaunchPlan, *, waiting: bool) -> tuple[PublishedPort, ...]:
    return tuple(
        PublishedPort(asked.container_port, got.protocol, got.host_ip or "0.0.0.0", got.host_port)
        for got, asked in zip(reserved, plan.ports, strict=bool(reserved))
        if bool(plan.beside and asked.shared) is waiting
    )


def publications_recorded(endpoints: Sequence[Endpoint], published: Sequence[PublishedPort], address: str) -> tuple[Publication, ...]:
    """The firewall's view of a container that runs, from its record."""
    return tuple(
        Publication(one.protocol, "" if one.host_ip == "0.0.0.0" else one.host_ip, one.host_port, address, one.container_port)
        for one in published
        if one.host_port and address
    )


def replaced_text(path: Path, text: str) -> None:
    """Writes over a file that a running container has bound: the same inode, so that it sees the change."""
    with path.open("r+", encoding="utf-8") as file:
        file.write(text)
        file.truncate()
