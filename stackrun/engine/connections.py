"""Containers joining and leaving networks, and the names by which they are known there."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace

from stackrun.api.types import Endpoint, EndpointSpec, Network
from stackrun.engine.launch import replaced_text
from stackrun.engine.networks import EngineNetworks
from stackrun.engine.planner import Planner
from stackrun.engine.pool import Pool
from stackrun.engine.registry import Entry, Registry
from stackrun.engine.resolver import Resolver
from stackrun.engine.store import Store
from stackrun.errors import Conflict, Forbidden, NotFound
from stackrun.kernel import netlink
from stackrun.network.endpoint import Endpoint as WiredEndpoint
from stackrun.network.endpoint import resolver_batch
from stackrun.runtime.container import Handle


class Connections:
    def __init__(
        self, *, store: Store, registry: Registry, pool: Pool, networks: EngineNetworks, planner: Planner, resolver: Resolver
    ) -> None:
        self._store = store
        self._registry = registry
        self._pool = pool
        self._networks = networks
        self._planner = planner
        self._resolver = resolver

    async def connect(self, ref: str, container: str, endpoint: EndpointSpec) -> None:
        network = self._networks.find(ref)
        entry = self._registry.find(container)
        async with entry.lock:
            _refuse_connection(entry, network)
            spec = replace(endpoint, network=network.name)
            if entry.handle is not None and entry.alive:
                joined = await self._join(entry, entry.handle, spec)
            else:
                joined = self._networks.idle_endpoint(spec, self._planner.names(entry))
            await self._record(entry, (*entry.endpoints, joined))
        self._networks.connected(entry, joined, "connect")

    async def _join(self, entry: Entry, handle: Handle, spec: EndpointSpec) -> Endpoint:
        leads_out = any(one.ipv4_gateway for one in entry.endpoints)
        names, first = self._planner.names(entry), entry.situation.interfaces
        places = await self._networks.places(entry.id, (spec,), names, first=first, lead_out=not leads_out)
        place = places[0]
        try:
            await self._pool.run(self._attach, handle, place.wired)
            await self._tell_names(entry, handle, (*entry.endpoints, place.endpoint))
        except BaseException:
            self._networks.release(entry.id, place.endpoint.network_id)
            raise
        entry.situation = replace(entry.situation, interfaces=first + 1)
        return place.endpoint

    def _attach(self, handle: Handle, wired: WiredEndpoint) -> None:
        """Blocks."""
        descriptor = handle.netns_fd()
        try:
            self._networks.attach(wired, descriptor)
        finally:
            os.close(descriptor)

    async def disconnect(self, ref: str, container: str, *, force: bool) -> None:
        """`force`: a network or container that is gone is no error."""
        try:
            network = self._networks.find(ref)
            entry = self._registry.find(container)
        except NotFound:
            if force:
                return
            raise
        async with entry.lock:
            leaving = next((one for one in entry.endpoints if one.network_id == network.id), None)
            if leaving is None:
                raise NotFound(f"container {entry.id} is not connected to network {network.name}")
            remaining = tuple(one for one in entry.endpoints if one is not leaving)
            if entry.handle is not None and entry.alive and leaving.endpoint_id:
                await self._pool.run(self._networks.detach, leaving)
                self._networks.release(entry.id, network.id)
                await self._tell_names(entry, entry.handle, remaining)
            await self._record(entry, remaining)
        self._networks.connected(entry, leaving, "disconnect")

    async def names_changed(self, entry: Entry) -> None:
        """After a rename or a hand-over, under the entry's lock."""
        nameless = entry.situation.nameless
        endpoints = tuple(replace(one, dns_names=self._planner.dns_names(entry, one, nameless=nameless)) for one in entry.endpoints)
        if entry.handle is not None and entry.alive:
            await self._tell_names(entry, entry.handle, endpoints)
        entry.situation = replace(entry.situation, endpoints=endpoints)
        await self._pool.run(self._store.write_situation, entry.id, entry.situation)

    async def _tell_names(self, entry: Entry, handle: Handle, endpoints: Sequence[Endpoint]) -> None:
        """The resolver, if the container has one of its own, and its /etc/hosts."""
        plan = self._planner.resolver(entry.definition.spec, endpoints)
        if plan is not None:
            if not self._resolver.serves(entry.id):
                await self._pool.run(self._begin_to_resolve, entry, handle)
            await self._pool.run(self._resolver.serve, handle, plan, endpoints)
        hosts = self._store.container_directory(entry.id) / "hosts"
        await self._pool.run(replaced_text, hosts, self._planner.hosts_text(entry, endpoints))

    def _begin_to_resolve(self, entry: Entry, handle: Handle) -> None:
        """Blocks. It was on `bridge` alone so far; a resolv.conf that it has changed itself stays its own."""
        spec = entry.definition.spec
        handle.configure_network([(netlink.NETFILTER, resolver_batch())])
        path = self._store.container_directory(entry.id) / "resolv.conf"
        if path.read_text(encoding="utf-8", errors="replace") == self._planner.resolver_text(spec, own_dns=False):
            replaced_text(path, self._planner.resolver_text(spec, own_dns=True))

    async def _record(self, entry: Entry, endpoints: tuple[Endpoint, ...]) -> None:
        specs = tuple(one.spec for one in endpoints if one.spec is not None)
        spec = entry.definition.spec
        names = {one.network for one in specs}
        mode = spec.network_mode if spec.network_mode in names else (specs[0].network if specs else "none")
        entry.definition = replace(entry.definition, spec=replace(spec, endpoints=specs, network_mode=mode))
        entry.situation = replace(entry.situation, endpoints=endpoints)
        await self._pool.run(self._store.write_definition, entry.definition)
        await self._pool.run(self._store.write_situation, entry.id, entry.situation)


def _refuse_connection(entry: Entry, network: Network) -> None:
    mode = entry.definition.spec.network_mode
    if mode == "host" or mode.startswith("container:"):
        raise Conflict("container sharing network namespace with another container or host cannot be connected to any other network")
    if network.spec.driver != "bridge":
        raise Forbidden(f"container cannot be connected to network {network.name}: it is no bridge network")
    if any(one.network_id == network.id for one in entry.endpoints):
        raise Forbidden(f"endpoint with name {entry.name} already exists in network {network.name}")
