"""What a container's start needs to know, gathered on the loop's thread: namespaces, addresses, files, ports, names."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from stackrun.api.types import ContainerSpec, Endpoint, Health, HealthStatus, PortBinding, PublishedPort
from stackrun.engine import devices, files, health, powers
from stackrun.engine.creation import endpoint_specs, exposed_only
from stackrun.engine.host import swap_accounting
from stackrun.engine.launch import LaunchPlan, PortPlan
from stackrun.engine.networks import EngineNetworks
from stackrun.engine.pool import Pool
from stackrun.engine.registry import Entry, Registry
from stackrun.engine.resolver import ResolverPlan
from stackrun.engine.specgen import Surroundings
from stackrun.engine.store import Store
from stackrun.errors import Conflict
from stackrun.network.ports import PortRequest

CGROUP_PARENT = "stackrun"
RUN_ID_LENGTH = 16
"""Hex digits of the id in run directories: a unix socket's path is limited to 107 bytes."""
_ANY_ADDRESS = ("", "0.0.0.0")
_RESOLV_CONF = Path("/etc/resolv.conf")
_HOSTS = Path("/etc/hosts")
_SETTLED_NS = 2_000_000_000


class Planner:
    def __init__(self, store: Store, run_dir: str, registry: Registry, networks: EngineNetworks, pool: Pool) -> None:
        self._store = store
        self._run_dir = run_dir
        self._registry = registry
        self._networks = networks
        self._pool = pool

    def container_run_dir(self, container_id: str) -> str:
        return f"{self._run_dir}/c/{container_id[:RUN_ID_LENGTH]}"

    def cgroup_path(self, entry: Entry) -> str:
        parent = entry.definition.spec.cgroup_parent.strip("/") or CGROUP_PARENT
        return f"{parent}/{entry.id}"

    def hostname(self, entry: Entry) -> str:
        spec = entry.definition.spec
        if spec.hostname:
            return spec.hostname
        if spec.network_mode == "host" or spec.uts_mode == "host":
            return os.uname().nodename
        if spec.network_mode.startswith("container:"):
            return self.hostname(self._registry.find(spec.network_mode.partition(":")[2]))
        return entry.id[:12]

    def names(self, entry: Entry) -> tuple[str, ...]:
        """By what a container is known on its networks, besides its aliases there."""
        hostname = entry.definition.spec.hostname
        return (entry.name, entry.id[:12], *((hostname,) if hostname else ()))

    def dns_names(self, entry: Entry, endpoint: Endpoint, *, nameless: bool) -> tuple[str, ...]:
        """What a container answers to on a network; on `bridge` to nothing, as with Docker."""
        if endpoint.network_name == "bridge":
            return endpoint.dns_names
        return tuple(dict.fromkeys((*self.names(entry), *(() if nameless else endpoint.aliases))))

    async def plan(self, entry: Entry) -> LaunchPlan:
        """Takes addresses, which `EngineNetworks.release` gives back if the start fails."""
        spec = entry.definition.spec
        joined = self._joined(spec)
        partner = self.partner(entry)
        wanted_ports = self._ports(entry, partner)
        places = await self._networks.places(entry.id, endpoint_specs(spec), self.names(entry), hairpin=bool(wanted_ports))
        waits = partner is not None and partner.id == entry.situation.beside
        if waits:
            places = tuple(
                replace(one, endpoint=replace(one.endpoint, dns_names=self.dns_names(entry, one.endpoint, nameless=True))) for one in places
            )
        own_network = "network" not in joined
        hostname = self.hostname(entry)
        endpoints = tuple(one.endpoint for one in places)
        resolver = self.resolver(spec, endpoints)
        directory = self._store.container_directory(entry.id)
        texts = self._texts(entry, endpoints, hostname, own_dns=resolver is not None) if not self._shares_files(spec) else {}
        return LaunchPlan(
            definition=entry.definition,
            directory=directory,
            run_dir=self.container_run_dir(entry.id),
            around=Surroundings(
                root_path="merged",
                cgroup_path=self.cgroup_path(entry),
                hostname=hostname,
                joined=joined,
                files=self._files(entry),
                devices=devices.every() if spec.privileged else devices.mapped(spec.resources.devices),
                swap_accounting=bool(spec.resources.memory_bytes) and await self._pool.run(swap_accounting),
                powers=powers.current(),
            ),
            own_network=own_network,
            texts=texts,
            places=places,
            ports=wanted_ports if own_network else (),
            publish_address=self.publish_address(endpoints),
            resolver=resolver,
            fixed_endpoints=() if places else entry.endpoints,
            attached_fds=tuple(sock.fileno() for sock, _ in entry.attached),
            health=Health(HealthStatus.STARTING) if health.schedule(spec.healthcheck, spec.shell) else None,
            restart_count=entry.situation.restart_count,
            beside=entry.situation.beside if waits else "",
            donor=partner.handle if partner else None,
            joined={self.container_run_dir(one.id): one.id for one in self._joined_containers(spec)},
        )

    # --- namespaces ---

    def _joined(self, spec: ContainerSpec) -> dict[str, str]:
        """OCI type → path, or "" for the host's; Conflict when the container to join does not run."""
        modes = {"network": spec.network_mode, "pid": spec.pid_mode, "ipc": spec.ipc_mode, "uts": spec.uts_mode}
        modes["cgroup"] = spec.cgroupns_mode
        kinds = {"network": "net", "pid": "pid", "ipc": "ipc"}
        joined = {}
        for kind, mode in modes.items():
            if mode == "host":
                joined[kind] = ""
            elif mode.startswith("container:"):
                joined[kind] = f"/proc/{self._pid_of(mode.partition(':')[2], kind)}/ns/{kinds[kind]}"
        return joined

    def _pid_of(self, ref: str, kind: str) -> int:
        other = self._registry.find(ref)
        if not other.alive:
            raise Conflict(f"cannot join {kind} of a non running container: {other.id}")
        if kind == "ipc" and other.definition.spec.ipc_mode == "none":
            raise Conflict(f"cannot join IPC of container {other.id}: non-shareable IPC", hint="give that one the IPC mode shareable")
        return other.state.pid

    def _joined_containers(self, spec: ContainerSpec) -> list[Entry]:
        modes = (spec.network_mode, spec.pid_mode, spec.ipc_mode)
        return [self._registry.find(mode.partition(":")[2]) for mode in modes if mode.startswith("container:")]

    # --- files ---

    def _shares_files(self, spec: ContainerSpec) -> bool:
        return spec.network_mode.startswith("container:")

    def _files(self, entry: Entry) -> dict[str, str]:
        spec = entry.definition.spec
        owner = self._registry.find(spec.network_mode.partition(":")[2]) if self._shares_files(spec) else entry
        directory = self._store.container_directory(owner.id)
        return {f"/etc/{name}": f"{directory}/{name}" for name in ("resolv.conf", "hostname", "hosts")}

    def _texts(self, entry: Entry, endpoints: Sequence[Endpoint], hostname: str, *, own_dns: bool) -> dict[str, str]:
        spec = entry.definition.spec
        return {
            "hostname": f"{hostname}\n",
            "hosts": self.hosts_text(entry, endpoints),
            "resolv.conf": self.resolver_text(spec, own_dns=own_dns),
        }

    def resolver_text(self, spec: ContainerSpec, *, own_dns: bool) -> str:
        """Its /etc/resolv.conf; `own_dns`: our resolver answers there."""
        if spec.network_mode == "host" and not spec.dns:
            return _host_text(_RESOLV_CONF)
        host = _host_resolver()
        return files.resolver(host, own_dns=own_dns, servers=spec.dns, search=spec.dns_search, options=spec.dns_options).text()

    def hosts_text(self, entry: Entry, endpoints: Sequence[Endpoint]) -> str:
        spec = entry.definition.spec
        on_host = spec.network_mode == "host"
        if on_host and not spec.extra_hosts:
            return _host_text(_HOSTS)
        hostname = self.hostname(entry)
        qualified = (f"{hostname}.{spec.domainname}", hostname) if spec.domainname else (hostname,)
        addresses = [one.ipv4_address for one in endpoints if one.ipv4_address]
        return files.hosts(qualified, addresses, spec.extra_hosts, "127.0.0.1" if on_host else _gateway(endpoints))

    # --- names ---

    def resolver(self, spec: ContainerSpec, endpoints: Sequence[Endpoint]) -> ResolverPlan | None:
        """Our resolver serves every network but `bridge`; there it only stands in for a host's resolver that listens on loopback alone."""
        if not endpoints:
            return None
        upstreams = tuple(spec.dns) or _host_resolver().nameservers
        if all(one.network_name == "bridge" for one in endpoints) and files.reachable(upstreams):
            return None
        leads_out = any(not self._networks.is_internal(one.network_id) for one in endpoints)
        return ResolverPlan(upstreams if leads_out else (), self._links(endpoints))

    def _links(self, endpoints: Sequence[Endpoint]) -> dict[str, str]:
        """Alias → container name, from `name:alias`."""
        found = {}
        for link in (link for one in endpoints if one.spec for link in one.spec.links):
            target, _, alias = link.partition(":")
            found[alias or target] = self._registry.find(target).name
        return found

    # --- ports ---

    def partner(self, entry: Entry) -> Entry | None:
        """The running container with which this one shares host ports: it waits for this one's, or this one for its."""
        waiting = next((one for one in self._registry if one.alive and one.situation.beside == entry.id), None)
        beside = self._registry.get(entry.situation.beside)
        return waiting or (beside if beside and beside.alive else None)

    def _ports(self, entry: Entry, partner: Entry | None) -> tuple[PortPlan, ...]:
        spec = entry.definition.spec
        bindings = list(spec.ports)
        if spec.publish_all_ports:
            bound = {(one.container_port, one.protocol) for one in bindings}
            exposed = ((one.container_port, one.protocol) for one in exposed_only(spec))
            bindings += [PortBinding(port, protocol) for port, protocol in exposed if (port, protocol) not in bound]
        held = (*partner.situation.ports, *partner.situation.waiting_ports) if partner else ()
        shared = [any(is_same_port(binding, port) for port in held) for binding in bindings]
        for binding, is_shared in zip(bindings, shared, strict=True):
            if not is_shared:
                self._refuse_clash(entry, binding)
        return tuple(
            PortPlan(one.container_port, PortRequest(one.protocol, one.host_ip, one.host_port, one.host_port_end), is_shared)
            for one, is_shared in zip(bindings, shared, strict=True)
        )

    def _refuse_clash(self, entry: Entry, binding: PortBinding) -> None:
        """The port of another container of ours: said by its name, since the kernel only knows a shim."""
        if not binding.host_port or binding.host_port_end > binding.host_port:
            return
        for other in self._registry:
            if other is entry or not other.alive:
                continue
            for port in other.situation.ports:
                same = (port.host_port, port.protocol) == (binding.host_port, binding.protocol)
                if same and (port.host_ip == binding.host_ip or port.host_ip in _ANY_ADDRESS or binding.host_ip in _ANY_ADDRESS):
                    raise Conflict(
                        f"port {binding.host_port}/{binding.protocol} is taken by container {other.name}",
                        hint="stop that container, or publish another port",
                    )

    def publish_address(self, endpoints: Sequence[Endpoint]) -> str:
        """Where published ports lead: the first network that is not internal."""
        return next((one.ipv4_address for one in endpoints if not self._networks.is_internal(one.network_id)), "")


def is_same_port(binding: PortBinding, port: PublishedPort) -> bool:
    """Whether a binding asks for this very port of the host, or for a range that has it."""
    last = binding.host_port_end or binding.host_port
    same = (binding.protocol, binding.host_ip or "0.0.0.0") == (port.protocol, port.host_ip or "0.0.0.0")
    return same and 0 < binding.host_port <= port.host_port <= last


def _gateway(endpoints: Sequence[Endpoint]) -> str:
    """What host-gateway means: the host as this container sees it."""
    return next((one.ipv4_gateway for one in endpoints if one.ipv4_gateway), "")


class _HostResolver:
    """What the host's resolv.conf says; read again when the file has changed."""

    def __init__(self) -> None:
        self._stamp: tuple[int, ...] = ()
        self._found = files.Resolver()

    def __call__(self) -> files.Resolver:
        stamp = _stamp(_RESOLV_CONF)
        if stamp != self._stamp or not stamp:
            self._found = files.Resolver.parse(_host_text(_RESOLV_CONF))
            self._stamp = stamp
        return self._found


def _stamp(path: str | Path) -> tuple[int, ...]:
    """Another one after each change; empty while it may change once more without being told apart by its time."""
    try:
        found = os.stat(path)
    except OSError:
        return ()
    settled = time.time_ns() - found.st_mtime_ns > _SETTLED_NS
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns) if settled else ()


_host_resolver = _HostResolver()


def _host_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return ""
