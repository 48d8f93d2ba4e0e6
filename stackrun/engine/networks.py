"""Networks and who is on them: the records, and the way to the bridge, address, name and port mechanisms of `network`.

`bridge`, `host` and `none` are always there; the bridge of `bridge` is made when its first container starts.
Addresses are handed out on the loop's thread and kept in `_taken`, so that two starts never get the same one; the kernel work behind it
runs in worker threads, one at a time.
"""

from __future__ import annotations

import asyncio
import re
import secrets
import select
import threading
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from stackrun.api.filters import PREDEFINED_NETWORKS, select_networks
from stackrun.api.types import (
    ContainerSpec,
    Created,
    Endpoint,
    EndpointSpec,
    Filters,
    IpamPool,
    Network,
    NetworkMember,
    NetworkSpec,
    PublishedPort,
)
from stackrun.engine.clock import stamp
from stackrun.engine.creation import endpoint_specs
from stackrun.engine.events import Events
from stackrun.engine.pool import Pool
from stackrun.engine.registry import Entry, Registry
from stackrun.engine.store import Store
from stackrun.errors import Conflict, Forbidden, InvalidArgument, KernelError, NotFound, StackrunError, Unsupported
from stackrun.kernel.interfaces import Holdings
from stackrun.network import ipam
from stackrun.network.endpoint import Endpoint as WiredEndpoint
from stackrun.network.endpoint import host_interface
from stackrun.network.firewall import Publication
from stackrun.network.networks import Network as Bridge
from stackrun.network.networks import Networks as Mechanism
from stackrun.network.ports import HostPorts
from stackrun.network.truth import Fault
from stackrun.network.watch import Watch

_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*")
_DRIVERS = {"bridge": "bridge", "host": "host", "none": "null"}
_ID_PREFIX = re.compile(r"[0-9a-f]{1,64}")


@dataclass(frozen=True, slots=True)
class Place:
    """One network of a container that is about to start: what is recorded, and what is wired."""

    endpoint: Endpoint
    wired: WiredEndpoint


class EngineNetworks:
    def __init__(self, store: Store, registry: Registry, events: Events, pool: Pool, mechanism: Mechanism, host_ports: HostPorts) -> None:
        self._store = store
        self._registry = registry
        self._events = events
        self._pool = pool
        self._mechanism = mechanism
        self._host_ports = host_ports
        self._watching: Watch | None = None
        self._kernel = threading.Lock()
        self._networks: dict[str, Network] = {}
        self._making: set[str] = set()
        self._waking = asyncio.Lock()
        self._discarded: list[str] = []
        self._discarding = asyncio.Lock()
        self._leaving: dict[str, asyncio.Task[None]] = {}
        self._taken: dict[str, dict[str, str]] = {}

    # --- start and end of the engine ---

    def load(self) -> None:
        """Reads the records and makes the predefined ones. Blocks."""
        self._networks = {one.id: one for one in self._store.load_networks()}
        names = {one.name for one in self._networks.values()}
        for name in ("bridge", "host", "none"):
            if name not in names:
                network = Network(secrets.token_hex(32), stamp(), NetworkSpec(name, driver=_DRIVERS[name]))
                self._store.write_network(network)
                self._networks[network.id] = network

    def restore(self, publications: Iterable[Publication]) -> None:
        """Puts back what is missing on the host (after a reboot: everything). Blocks."""
        kept = tuple(publications)
        with self._kernel:
            self._mechanism.restore([_bridge(one) for one in self._networks.values() if _has_bridge(one)], kept)
            self._host_ports.restore(kept)

    def adopt(self, entry: Entry) -> None:
        """The addresses of a container that runs already are taken."""
        for endpoint in entry.endpoints:
            if endpoint.ipv4_address:
                self._taken.setdefault(endpoint.network_id, {})[endpoint.ipv4_address] = entry.id

    def watch(self, told: Callable[[], None]) -> None:
        """Calls `told` when it may be worth looking again: a flushed ruleset, dockerd starting after us, a bridge that went."""
        self._watching = self._mechanism.watch(self._host_interfaces)
        asyncio.get_running_loop().add_reader(self._watching.fileno(), self._news, told)

    def _news(self, told: Callable[[], None]) -> None:
        if self._watching is not None and self._watching.changed():
            told()

    def _host_interfaces(self) -> frozenset[str]:
        """Of containers whose process runs: a link that goes with its container is no news, heard of its end or not."""
        ended, fds = select.poll(), {}
        for entry in self._registry:
            if entry.alive and entry.handle is not None and entry.handle.pid_fd >= 0:
                ended.register(entry.handle.pid_fd, select.POLLIN)
                fds[entry.handle.pid_fd] = entry
        for fd, _ in ended.poll(0):
            fds.pop(fd, None)
        return frozenset(host_interface(one.endpoint_id) for entry in fds.values() for one in entry.endpoints)

    def wired(self, entry: Entry) -> tuple[WiredEndpoint, ...]:
        """The interfaces of a running container as they were made, from its record."""
        endpoints = [one for one in entry.endpoints if one.endpoint_id and one.ipv4_address and one.network_id in self._networks]
        specs = [one.spec or EndpointSpec(one.network_name) for one in endpoints]
        default = _default_route(specs, [self._networks[one.network_id] for one in endpoints])
        return tuple(
            self._mechanism.plan_endpoint(
                one.network_id,
                one.endpoint_id,
                interface=f"eth{index}",
                ipv4_address=one.ipv4_address,
                mac_address=one.mac_address,
                default_route=index == default,
                hairpin=bool(entry.situation.ports),
            )
            for index, one in enumerate(endpoints)
        )

    def faults(self, endpoints: Sequence[WiredEndpoint]) -> tuple[Fault, ...]:
        """What of the host's side is not as it was made."""
        with self._kernel:
            return self._mechanism.faults(endpoints)

    def mend(self, endpoints: Sequence[WiredEndpoint], held_networks: Collection[str]) -> tuple[Fault, ...]:
        """Puts it back, but for links that are missing altogether; tells what was wrong."""
        with self._kernel:
            return self._mechanism.mend(endpoints, held_networks)

    def is_held(self, port: PublishedPort) -> bool:
        """Whether the host's port is taken, as it is by the reservation of whoever publishes it."""
        return self._host_ports.is_held(port.protocol, port.host_ip or "0.0.0.0", port.host_port)

    def every(self) -> tuple[Network, ...]:
        return tuple(self._networks.values())

    def name_of(self, network_id: str) -> str:
        network = self._networks.get(network_id)
        return network.name if network is not None else network_id[:12]

    def repaired(self, network_id: str, what: Mapping[str, str]) -> None:
        """Publishes `repair`; without an id of what all networks share."""
        if network_id in self._networks:
            self._publish(self._networks[network_id], "repair", what)
        else:
            self._events.publish("network", "repair", network_id, what)

    def outside(self) -> Holdings:
        with self._kernel:
            return self._mechanism.outside()

    def warnings(self) -> tuple[str, ...]:
        return self._mechanism.warnings()

    def close(self) -> None:
        if self._watching is not None:
            asyncio.get_running_loop().remove_reader(self._watching.fileno())
            self._watching.close()
            self._watching = None
        self._mechanism.close()

    # --- the noun ---

    def find(self, ref: str) -> Network:
        """By name, id or unique prefix of an id; NotFound "network x not found"."""
        network = self._networks.get(ref) or next((one for one in self._networks.values() if one.name == ref), None)
        if network is None and _ID_PREFIX.fullmatch(ref):
            found = [one for key, one in self._networks.items() if key.startswith(ref)]
            if len(found) > 1:
                raise InvalidArgument(f"network {ref} is ambiguous ({len(found)} matches found on name)")
            network = found[0] if found else None
        if network is None:
            raise NotFound(f"network {ref} not found")
        return network

    def list(self, filters: Filters) -> tuple[Network, ...]:
        every = sorted(self._networks.values(), key=lambda one: one.created, reverse=True)
        return select_networks(tuple(self._with_members(one) for one in every), filters)

    def get(self, ref: str) -> Network:
        return self._with_members(self.find(ref))

    def _with_members(self, network: Network) -> Network:
        members = [
            NetworkMember(
                container_id=entry.id,
                name=entry.name,
                endpoint_id=endpoint.endpoint_id,
                mac_address=endpoint.mac_address,
                ipv4_address=f"{endpoint.ipv4_address}/{endpoint.ipv4_prefix_length}" if endpoint.ipv4_address else "",
            )
            for entry, endpoint in self._registry.on_network(network.id)
            if entry.state.running
        ]
        return replace(network, members=tuple(members))

    @staticmethod
    def warm() -> None:
        """Loads what the first network needs. Blocks for 0.2 s: for an engine that has just begun to serve."""
        Mechanism.warm()

    async def create(self, spec: NetworkSpec) -> Created:
        self._check(spec)
        network = Network(secrets.token_hex(32), stamp(), spec)
        self._making.add(spec.name)
        try:
            chosen = await self._pool.run(self._make_bridge, network)
            self._networks[chosen.id] = chosen
        finally:
            self._making.discard(spec.name)
        self._publish(chosen, "create")
        warnings = ("IPv6 is not available on this engine's networks: enable_ipv6 has no effect",) if spec.enable_ipv6 else ()
        return Created(chosen.id, warnings)

    def _check(self, spec: NetworkSpec) -> None:
        if not _NAME.fullmatch(spec.name):
            raise InvalidArgument(f"invalid network name: {spec.name!r}")
        if spec.name in PREDEFINED_NETWORKS:
            raise Forbidden(f"operation is not permitted on predefined {spec.name} network ")
        if spec.driver in ("host", "null"):
            raise Forbidden(f'only one instance of "{spec.driver}" network is allowed')
        if spec.driver not in ("", "bridge"):
            raise Unsupported(f"network driver {spec.driver!r} is not available", hint="this engine has bridge, host and none")
        if spec.ipam_driver not in ("", "default"):
            raise Unsupported(f"IPAM driver {spec.ipam_driver!r} is not available", hint="this engine has default")
        if spec.name in self._making or any(one.name == spec.name for one in self._networks.values()):
            raise Conflict(f"network with name {spec.name} already exists")

    def _make_bridge(self, network: Network) -> Network:
        """The record first, then the bridge: one that was just made does not say yet whose it is, and could not be swept."""
        spec = network.spec
        chosen = network

        def record(made: Bridge) -> None:
            nonlocal chosen
            chosen = replace(network, spec=replace(spec, driver=spec.driver or "bridge", pools=_chosen_pools(spec.pools, made.pools)))
            self._store.write_network(chosen)

        pools, options = tuple(_pool(one) for one in spec.pools), dict(spec.options)
        with self._kernel:
            try:
                self._mechanism.create(network.id, spec.name, pools, internal=spec.internal, options=options, record=record)
            except BaseException:
                with suppress(OSError):  # a disk that took no record has none
                    self._store.remove_network(network.id)
                raise
        return chosen

    async def remove(self, ref: str) -> None:
        network = self.find(ref)
        if network.name in PREDEFINED_NETWORKS:
            raise Forbidden(f"{network.name} is a pre-defined network and cannot be removed")
        for entry, _ in self._registry.on_network(network.id):
            if not entry.state.running:
                async with entry.lock:
                    pass  # one that is just ending
        await self._nobody_leaves()
        if any(entry.state.running for entry, _ in self._registry.on_network(network.id)) or self._taken.get(network.id):
            raise Forbidden(f"error while removing network: network {network.name} id {network.id} has active endpoints")
        del self._networks[network.id]
        try:
            await self._pool.run(self._remove_bridge, network)
        except BaseException:
            self._networks[network.id] = network
            raise
        self._taken.pop(network.id, None)
        self._publish(network, "destroy")

    def _remove_bridge(self, network: Network) -> None:
        with self._kernel:
            self._mechanism.remove(network.id)
            self._store.remove_network(network.id)

    async def release_unused_bridge(self) -> None:
        """The bridge of `bridge` goes with the last container that is on it, running or not: an idle engine leaves the host as it was."""
        network = self.find("bridge")
        if _has_bridge(network) and not self._registry.on_network(network.id):
            await self._nobody_leaves()
            async with self._waking:
                if not self._taken.get(network.id):
                    await self._pool.run(self._retire_bridge, network.id)

    def _retire_bridge(self, network_id: str) -> None:
        with self._kernel:
            network = self._networks[network_id]
            idle = replace(network, spec=replace(network.spec, pools=()))
            self._mechanism.remove(network_id)
            self._store.write_network(idle)
            self._networks[network_id] = idle

    def _publish(self, network: Network, action: str, extra: Mapping[str, str] | None = None) -> None:
        self._events.publish("network", action, network.id, {"name": network.name, "type": network.spec.driver, **(extra or {})})

    # --- containers on networks ---

    def idle_endpoint(self, spec: EndpointSpec, own_names: Sequence[str]) -> Endpoint:
        """The endpoint of a container that does not run: no addresses, and no id when the network is not there (start will say so)."""
        try:
            network = self.find(spec.network)
            name, network_id = network.name, network.id
        except NotFound:
            name, network_id = spec.network, ""
        names = _names(name, own_names, spec)
        return Endpoint(network_name=name, network_id=network_id, aliases=spec.aliases, dns_names=names, spec=spec)

    def idle_endpoints(self, spec: ContainerSpec, own_names: Sequence[str]) -> tuple[Endpoint, ...]:
        """Every endpoint of a container that does not run; `host` and `none` are networks too."""
        if spec.network_mode in ("host", "none"):
            return (self.idle_endpoint(EndpointSpec(spec.network_mode), ()),)
        return tuple(self.idle_endpoint(one, own_names) for one in endpoint_specs(spec))

    async def places(
        self,
        container_id: str,
        specs: Sequence[EndpointSpec],
        own_names: Sequence[str],
        *,
        first: int = 0,
        lead_out: bool = True,
        hairpin: bool = False,
    ) -> tuple[Place, ...]:
        """Takes an address on each network; `release` gives them back.  One that somebody is just leaving is waited for.

        Interfaces are eth`first` and up.  `lead_out`: one of them gets the default route.  `hairpin`: the container may reach itself
        through its published ports.
        """
        await self._nobody_leaves(container_id)

        def taken() -> tuple[Place, ...]:
            return self._all_places(container_id, specs, own_names, first=first, lead_out=lead_out, hairpin=hairpin)

        try:
            return await self._awake(specs, taken)
        except StackrunError:
            if not await self._nobody_leaves():
                raise
        return await self._awake(specs, taken)

    async def _awake(self, specs: Sequence[EndpointSpec], taken: Callable[[], tuple[Place, ...]]) -> tuple[Place, ...]:
        """`taken`, while the bridge of `bridge` is there if it is one of the networks."""
        bridge = next((one for one in (self.find(spec.network) for spec in specs) if one.name == "bridge"), None)
        if bridge is None:
            return taken()
        async with self._waking:
            if not _has_bridge(self._networks[bridge.id]):
                await self._pool.run(self._wake_bridge, bridge.id)
            return taken()

    def _all_places(
        self, container_id: str, specs: Sequence[EndpointSpec], own_names: Sequence[str], *, first: int, lead_out: bool, hairpin: bool
    ) -> tuple[Place, ...]:
        networks = [self.find(spec.network) for spec in specs]
        default = _default_route(specs, networks) if lead_out else -1
        found: list[Place] = []
        try:
            for index, (spec, network) in enumerate(zip(specs, networks, strict=True)):
                interface = f"eth{first + index}"
                place = self._place(container_id, spec, network, own_names, interface, default_route=index == default, hairpin=hairpin)
                found.append(place)
        except BaseException:
            for place in found:
                self._taken[place.endpoint.network_id].pop(place.endpoint.ipv4_address, None)
            raise
        return tuple(found)

    def _wake_bridge(self, network_id: str) -> None:
        """Blocks; under `_waking`."""
        with self._kernel:
            network = self._networks[network_id]
            if _has_bridge(network):
                return
            chosen = network

            def record(made: Bridge) -> None:
                nonlocal chosen
                chosen = replace(network, spec=replace(network.spec, pools=_chosen_pools((), made.pools)))
                self._store.write_network(chosen)

            try:
                self._mechanism.create(network_id, network.name, record=record)
            except BaseException:
                with suppress(KernelError):
                    self._store.write_network(network)
                raise
            self._networks[network_id] = chosen

    def _place(
        self,
        container_id: str,
        spec: EndpointSpec,
        network: Network,
        own_names: Sequence[str],
        interface: str,
        *,
        default_route: bool,
        hairpin: bool,
    ) -> Place:
        taken = self._taken.setdefault(network.id, {})
        wired = self._mechanism.plan_endpoint(
            network.id,
            secrets.token_hex(32),
            interface=interface,
            taken=tuple(taken),
            ipv4_address=spec.ipv4_address,
            mac_address=spec.mac_address,
            default_route=default_route,
            hairpin=hairpin,
        )
        taken[wired.ipv4_address] = container_id
        names = _names(network.name, own_names, spec)
        endpoint = Endpoint(
            network_name=network.name,
            network_id=network.id,
            endpoint_id=wired.endpoint_id,
            ipv4_address=wired.ipv4_address,
            ipv4_prefix_length=wired.prefix_length,
            ipv4_gateway=wired.gateway,
            mac_address=wired.mac_address,
            aliases=spec.aliases,
            dns_names=names,
            spec=spec,
        )
        return Place(endpoint, wired)

    def release(self, container_id: str, network_id: str = "") -> None:
        """Gives a container's addresses back, of one network or of all."""
        for key, taken in self._taken.items():
            if network_id in ("", key):
                for address in [one for one, holder in taken.items() if holder == container_id]:
                    del taken[address]

    def is_internal(self, network_id: str) -> bool:
        network = self._networks.get(network_id)
        return network is not None and network.spec.internal

    def connected(self, entry: Entry, endpoint: Endpoint, action: str) -> None:
        """Publishes `connect` or `disconnect`."""
        network = self._networks.get(endpoint.network_id)
        if network is not None:
            self._publish(network, action, {"container": entry.id})

    # --- in worker threads ---

    def wire(self, wired: Sequence[WiredEndpoint], pid: int) -> tuple[WiredEndpoint, ...]:
        with self._kernel:
            return self._mechanism.wire(wired, pid)

    def settle(self, wired: Sequence[WiredEndpoint]) -> None:
        """Waits until the kernel has brought the wired links to life, or their first packet is lost. Takes no lock: it only looks."""
        if wired:
            self._mechanism.settle(wired)

    def attach(self, wired: WiredEndpoint, netns_fd: int) -> WiredEndpoint:
        with self._kernel:
            return self._mechanism.attach(wired, netns_fd)

    def detach(self, endpoint: Endpoint) -> None:
        """Takes the interface of a running container away."""
        with self._kernel:
            wired = self._mechanism.plan_endpoint(endpoint.network_id, endpoint.endpoint_id, ipv4_address=endpoint.ipv4_address)
            self._mechanism.detach(wired)

    def discard(self, container_id: str, endpoints: Sequence[Endpoint]) -> asyncio.Task[None] | None:
        """Takes the interfaces of a container that has ended away, then gives its addresses back; None when it had no interface.

        Those of containers that end together go together, since the kernel waits 10 ms and more for each turn: who comes meanwhile
        waits for the next turn, and finds his done then.  Nobody needs to wait but who wants the addresses, or the bridge gone.
        """
        names = [endpoint.endpoint_id for endpoint in endpoints if endpoint.endpoint_id]
        if not names:
            self.release(container_id)
            return None
        self._discarded += names
        self._leaving[container_id] = asyncio.get_running_loop().create_task(self._see_off(container_id))
        return self._leaving[container_id]

    async def _see_off(self, container_id: str) -> None:
        try:
            async with self._discarding:
                mine, self._discarded = self._discarded, []
                if mine:
                    await self._pool.run(self._mechanism.discard, mine)
        finally:
            self.release(container_id)
            del self._leaving[container_id]

    async def _nobody_leaves(self, container_id: str = "") -> bool:
        """Waits for the interfaces that are being taken away, of one container or of all; False when there were none."""
        leaving = [task for key, task in self._leaving.items() if container_id in ("", key)]
        if leaving:
            await asyncio.wait(leaving)
        return bool(leaving)

    def publish(self, publications: Sequence[Publication]) -> None:
        with self._kernel:
            self._mechanism.publish(publications)
            try:
                self._host_ports.publish(publications)
            except BaseException:
                self._mechanism.unpublish(publications)
                raise

    def unpublish(self, publications: Sequence[Publication]) -> None:
        with self._kernel:
            self._host_ports.unpublish(publications)
            self._mechanism.unpublish(publications)

    def under_way(self, publications: Sequence[Publication]) -> int:
        """Connections that go on through these ports. Takes no lock: it only looks."""
        return self._mechanism.under_way(publications) + self._host_ports.under_way(publications)


def _names(network: str, own_names: Sequence[str], spec: EndpointSpec) -> tuple[str, ...]:
    """By what a container is known on a network; on `bridge` by nothing, as with Docker."""
    return () if network == "bridge" else tuple(dict.fromkeys((*own_names, *spec.aliases)))


def _has_bridge(network: Network) -> bool:
    return network.spec.driver == "bridge" and bool(network.spec.pools)


def _bridge(network: Network) -> Bridge:
    spec = network.spec
    return Bridge(network.id, spec.name, tuple(_pool(one) for one in spec.pools), spec.internal, tuple(sorted(spec.options.items())))


def _pool(pool: IpamPool) -> ipam.Pool:
    return ipam.Pool(pool.subnet, pool.gateway, pool.ip_range, tuple(pool.auxiliary_addresses.values()))


def _chosen_pools(asked: Sequence[IpamPool], chosen: Sequence[ipam.Pool]) -> tuple[IpamPool, ...]:
    names = [one.auxiliary_addresses for one in asked] + [{}] * len(chosen)
    return tuple(IpamPool(one.subnet, one.ip_range, one.gateway, known) for one, known in zip(chosen, names, strict=False))


def _default_route(specs: Sequence[EndpointSpec], networks: Sequence[Network]) -> int:
    """Which endpoint carries the default route: the highest gateway priority among those that lead out, the first of equals."""
    outward = [index for index, network in enumerate(networks) if not network.spec.internal]
    return max(outward, key=lambda index: (specs[index].gateway_priority, -index), default=-1)
