"""Networks of one daemon: bridges, endpoints, published ports and the firewall around them.

`Networks` remembers what it was told, and every change is either one small transaction or, when the kernel's
state is not what it remembers (somebody flushed the ruleset), the whole table anew.  Nothing here is read
back from the kernel to find out what there should be: the engine's records say that, through `restore`.

Not thread-safe beyond its sockets: the engine calls it under its one network lock.
"""

from __future__ import annotations

import errno
import select
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from types import MappingProxyType

from stackrun.errors import Conflict, InvalidArgument, KernelError, NotFound
from stackrun.kernel import conntrack, interfaces, netlink, nft, ruleset
from stackrun.kernel.interfaces import Holdings
from stackrun.kernel.netlink import Connection, Request
from stackrun.network import bridge, firewall, foreign, ipam, truth
from stackrun.network.bridge import Network
from stackrun.network.endpoint import Endpoint, host_interface, host_requests, inner_requests, mac_of
from stackrun.network.firewall import Publication
from stackrun.network.ipam import Pool
from stackrun.network.truth import Fault
from stackrun.network.watch import Watch

__all__ = ["Network", "Networks", "Publication"]

_NO_OPTIONS: Mapping[str, str] = MappingProxyType({})
SETTLE_S = 1.0
"""The kernel's worker lets at most this much time pass between two rounds for links it finds less urgent."""
_FORWARDING = "ipv4/ip_forward"
_Key = tuple[str, str, int]


class Networks:
    """`instance` tells daemons with different state roots apart: up to 8 of a–z, 0–9, empty for the default root."""

    def __init__(self, instance: str = "") -> None:
        if len(instance) > 8 or not (instance or "x").isalnum():
            raise InvalidArgument(f"network instance {instance!r}: up to 8 letters and digits")
        self._owner = firewall.table_name(instance)
        self._networks: dict[str, Network] = {}
        self._publications: dict[_Key, Publication] = {}
        self._notes: list[str] = []
        self._route = Connection(netlink.ROUTE)
        self._nft = nft.connect()

    def close(self) -> None:
        self._route.close()
        self._nft.close()

    # --- networks ------------------------------------------------------------------------------

    def create(
        self,
        network_id: str,
        name: str,
        pools: Sequence[Pool] = (),
        *,
        internal: bool = False,
        options: Mapping[str, str] = _NO_OPTIONS,
        record: Callable[[Network], None] = lambda network: None,
    ) -> Network:
        """A new network, with subnet and gateway chosen where `pools` leave them open.  `record` is told of it before its bridge is made.

        Raises Conflict (overlap, bridge name taken), InvalidArgument, Unsupported, KernelError; then nothing was made.
        """
        checked = bridge.checked_options(options)
        network = Network(network_id, name, self._choose(pools), internal, checked)
        bridge.refuse_taken(network)
        record(network)
        with ExitStack() as undo:
            bridge.make(self._route, self._owner, network)
            undo.callback(bridge.delete, self._route, network.bridge)
            self._networks[network_id] = network
            undo.callback(self._networks.pop, network_id)
            self._turn_on_forwarding()
            self._change(firewall.added_segment(self._owner, network.segment()), anew=len(self._networks) == 1)
            foreign.ensure(self._nft, self._owner, self._patterns())
            undo.pop_all()
        return network

    def restore(self, networks: Iterable[Network], publications: Iterable[Publication] = ()) -> None:
        """Makes the host match the records: what is missing is made, bridges of ours that no record knows are removed.

        A network that cannot be made is named in `warnings`.
        """
        self._networks = {network.network_id: network for network in networks}
        self._publications = {_key(one): one for one in publications}
        for stray in bridge.unknown(self._route, self._owner, self._networks.values()):
            bridge.delete(self._route, stray)
        for network in self._networks.values():
            self._restore_bridge(network)
        if self._networks:
            self._turn_on_forwarding()
            self._rebuild()
            foreign.ensure(self._nft, self._owner, self._patterns())
        else:
            self._remove_firewall()

    def remove(self, network_id: str) -> None:
        """Takes the bridge and its rules away; with the last network everything of ours.  It need not exist."""
        network = self._networks.pop(network_id, None)
        if network is None:
            return
        bridge.delete(self._route, network.bridge)
        if self._networks:
            self._change(firewall.removed_segment(self._owner, network.segment()))
            foreign.ensure(self._nft, self._owner, self._patterns())
        else:
            self._remove_firewall()

    # --- endpoints -----------------------------------------------------------------------------

    def plan_endpoint(
        self,
        network_id: str,
        endpoint_id: str,
        *,
        interface: str = "eth0",
        taken: Collection[str] = (),
        ipv4_address: str = "",
        mac_address: str = "",
        default_route: bool = True,
        hairpin: bool = True,
    ) -> Endpoint:
        """Decides how a container's interface will look; changes nothing.

        `taken` are the addresses in use on this network; `ipv4_address` and `mac_address` are wishes;
        `hairpin` lets the container reach itself through its own published port.
        Raises NotFound, InvalidArgument, Conflict.
        """
        network = self._known(network_id)
        pool, address = _allocated(network, taken, ipv4_address)
        return Endpoint(
            network_id=network_id,
            endpoint_id=endpoint_id,
            interface=interface,
            ipv4_address=address,
            prefix_length=IPv4Network(pool.subnet).prefixlen,
            gateway="" if network.internal else pool.gateway,
            mac_address=_checked_mac(mac_address) if mac_address else mac_of(address),
            bridge=network.bridge,
            mtu=network.mtu,
            default_route=default_route and not network.internal,
            isolated=network.isolated_ports,
            hairpin=hairpin,
        )

    def wire(self, endpoints: Sequence[Endpoint], pid: int) -> tuple[Endpoint, ...]:
        """The host's side of all of a new container's interfaces, in one message; all of them or none.

        `pid` is a process in the container's network namespace.  Returns the endpoints with their
        `interface_index`, which `container_batches` needs.
        """
        return self._wired(endpoints, netns_pid=pid)

    def settle(self, endpoints: Sequence[Endpoint], timeout_s: float = SETTLE_S) -> bool:
        """Waits until the wired endpoints carry traffic, which is nearly always at once; False when the time is over.

        The kernel activates a link's queue, and the bridge's port, in a worker of its own after both ends are up
        (net/core/link_watch.c).  A process started before that loses its first packet, and TCP a whole second.
        """
        if self._settled(endpoints):
            return True
        watch = Connection(netlink.ROUTE, groups=(netlink.LINK_GROUP,))
        try:
            news = select.poll()
            news.register(watch, select.POLLIN)
            deadline = time.monotonic() + timeout_s
            while not self._settled(endpoints):
                if not news.poll(max(0.0, deadline - time.monotonic()) * 1000):
                    return False
                watch.events()
        finally:
            watch.close()
        return True

    def attach(self, endpoint: Endpoint, netns_fd: int) -> Endpoint:
        """Adds an interface to a container that runs already, both sides of it."""
        (wired,) = self._wired([endpoint], netns_fd=netns_fd)
        inside = netlink.connect_in(netns_fd, netlink.ROUTE)
        try:
            inside.send(inner_requests(wired))
        except BaseException:
            self.detach(wired)
            raise
        finally:
            inside.close()
        self.settle([wired])
        return wired

    def detach(self, endpoint: Endpoint) -> None:
        """Takes an interface from a running container."""
        bridge.delete(self._route, endpoint.host_interface)

    def discard(self, endpoint_ids: Iterable[str]) -> None:
        """Takes the interfaces of a container that has ended, before anybody else gets their addresses.

        The kernel does so with the namespace, but that lives on without processes for as long as a TCP connection has
        something left to send, 100 s and more, and would answer in the place of the addresses' next holder.
        """
        names = [host_interface(endpoint_id) for endpoint_id in endpoint_ids]
        if names:
            bridge.delete_all(self._route, names)

    # --- published ports -----------------------------------------------------------------------

    def publish(self, publications: Iterable[Publication]) -> None:
        """Opens the ports, in one transaction; one that is open to the same target stays so."""
        wanted = {_key(one): one for one in publications}
        new = [one for key, one in wanted.items() if self._publications.get(key) != one]
        if not new:
            return
        replaced = [self._publications[_key(one)] for one in new if _key(one) in self._publications]
        before = dict(self._publications)
        self._publications.update(wanted)
        try:
            removed = firewall.removed_publications(self._owner, replaced)
            self._change([*removed, *firewall.added_publications(self._owner, new)])
        except BaseException:
            self._publications = before
            raise
        self._forget_flows(new)

    def unpublish(self, publications: Iterable[Publication]) -> None:
        """Closes the ports, in one transaction; they need not be open."""
        gone = [one for one in publications if self._publications.get(_key(one)) == one]
        for one in gone:
            del self._publications[_key(one)]
        if gone and self._networks:
            self._change(firewall.removed_publications(self._owner, gone))
            self._forget_flows(gone)

    def under_way(self, publications: Iterable[Publication]) -> int:
        """TCP connections to where these ports lead, or led, that the host sees and that go on."""
        targets = {(one.container_address, one.container_port) for one in publications if one.protocol == "tcp"}
        return sum(conntrack.count_connections(self._nft, address, port) for address, port in targets)

    # --- keeping it so -------------------------------------------------------------------------

    def faults(self, endpoints: Iterable[Endpoint] = ()) -> tuple[Fault, ...]:
        """What of the host's side is not as it was made: bridges, these endpoints' links, the firewall.  Changes nothing."""
        if not self._networks:
            return ()
        held = interfaces.holdings(self._route)
        found = [fault for network in self._networks.values() for fault in self._bridge_faults(network, held)]
        found += [fault for endpoint in endpoints for fault in truth.endpoint_faults(endpoint, held)]
        found += truth.sysctl_faults([(_FORWARDING, netlink.read_sysctl(_FORWARDING))])
        return (*found, *self._table_faults(), *self._foreign_faults())

    def outside(self) -> Holdings:
        """The host's links, addresses and routes."""
        return interfaces.holdings(self._route)

    def mend(self, endpoints: Iterable[Endpoint] = (), held_networks: Collection[str] = ()) -> tuple[Fault, ...]:
        """Puts back what other programs took away, and tells what that was.

        A link that is missing altogether is left: it takes its container (`attach`).  Networks that are `held_networks` stay as they
        are, and so do the endpoints on them; the firewall is everybody's.  Repeatable; a network that cannot be had is in `warnings`.
        """
        endpoints = [one for one in endpoints if one.network_id not in held_networks]
        found = [one for one in self.faults(endpoints) if one.network_id not in held_networks]
        if not found:
            return ()
        for network_id in dict.fromkeys(one.network_id for one in found if one.network_id and not one.field.startswith("nft.")):
            self._mend_bridge(self._networks[network_id])
        faulty = {one.endpoint_id for one in found}
        held = self.outside()
        for endpoint in endpoints:
            bridge_there = held.named(endpoint.bridge)
            if endpoint.endpoint_id in faulty and held.named(endpoint.host_interface) and bridge_there and bridge_there.kind == "bridge":
                self._enslave(endpoint, bridge_there.index)
        if self._table_faults():
            self._rebuild()
        self._turn_on_forwarding()
        foreign.ensure(self._nft, self._owner, self._patterns())
        return tuple(found)

    def ensure(self) -> bool:
        """`mend` without endpoints; True when something was missing."""
        return bool(self.mend())

    def watch(self, links: Callable[[], Collection[str]] = tuple) -> Watch:
        """Tells when `mend` is due, as when dockerd starts or somebody flushes the ruleset.  `links`: the endpoints' names on the host."""
        own_ports = (self._nft.port, self._route.port)
        return Watch(self._owner, own_ports, links, lambda: [network.bridge for network in self._networks.values()])

    def warnings(self) -> tuple[str, ...]:
        """What the owner of this host should know: one line each."""
        return (*self._notes, *foreign.obstacles(self._nft))

    @staticmethod
    def warm() -> None:
        """Loads what the first `create` needs, for a daemon that is idle (0.2 s)."""
        netlink.load_decoder()

    # --- inside --------------------------------------------------------------------------------

    def _known(self, network_id: str) -> Network:
        try:
            return self._networks[network_id]
        except KeyError:
            raise NotFound(f"network {network_id} not found") from None

    def _choose(self, pools: Sequence[Pool]) -> tuple[Pool, ...]:
        networks = [subnet for network in self._networks.values() for subnet in network.subnets]
        routes = [route for route in netlink.routes(self._route) if not route.destination.endswith("/0")]
        for route in routes:
            if route.destination in {pool.subnet for pool in pools} and route.destination not in networks:
                raise Conflict(f"subnet {route.destination} is routed to {route.interface or 'elsewhere'} on this host already")
        occupied = [route.destination for route in routes] + [f"{server}/32" for server in _nameservers()]
        return ipam.choose_pools(pools, networks=networks, occupied=occupied)

    def _restore_bridge(self, network: Network) -> None:
        """One network that cannot be had costs that network, never the others or the daemon."""
        try:
            bridge.restore(self._route, self._owner, network)
        except (Conflict, KernelError) as error:
            self._note(f"network {network.name} could not be restored: {error}")

    def _bridge_faults(self, network: Network, held: Holdings) -> list[Fault]:
        sysctls = bridge.sysctls(network) if held.named(network.bridge) else ()
        values = [(name, netlink.read_sysctl(name)) for name in sysctls]
        return [*truth.bridge_faults(self._owner, network, held), *truth.sysctl_faults(values, network.network_id)]

    def _table_faults(self) -> list[Fault]:
        found = ruleset.present(self._nft, self._owner, firewall.SETS)
        return truth.table_faults(self._owner, tuple(self._networks.values()), tuple(self._publications.values()), found)

    def _foreign_faults(self) -> list[Fault]:
        chain = foreign.lacking(self._nft, self._owner, self._patterns())
        return [Fault(f"nft.{foreign.TABLE}.{chain}", f"rules of {self._owner}", "other ones")] if chain else []

    def _mend_bridge(self, network: Network) -> None:
        """As `_restore_bridge`, and for a bridge that is there all that `make` gives one.  A link of another kind is left alone."""
        there = self.outside().named(network.bridge)
        if there is not None and there.kind != "bridge":
            return
        self._restore_bridge(network)
        held = self.outside()
        made = held.named(network.bridge)
        if made is None:
            return
        routed = {one.destination for one in held.routes if one.index == made.index}
        lost = [pool for pool in network.pools if pool.subnet not in routed]
        routes = [interfaces.add_link_route(made.index, pool.subnet, pool.gateway) for pool in lost]
        try:
            self._route.send([netlink.set_alias(network.bridge, bridge.alias(self._owner, network)), *routes])
        except KernelError as error:  # somebody else has the subnet by now
            self._note(f"network {network.name} could not be restored: {error}")

    def _note(self, text: str) -> None:
        if text not in self._notes:
            self._notes.append(text)

    def _enslave(self, endpoint: Endpoint, bridge_index: int) -> None:
        name = endpoint.host_interface
        port = netlink.set_bridge_port(name, isolated=endpoint.isolated, hairpin=endpoint.hairpin)
        try:
            self._route.send([interfaces.set_master(name, bridge_index), port])
        except KernelError as error:
            if not netlink.is_missing(error):  # its container has ended meanwhile
                raise

    def _patterns(self) -> list[str]:
        named = sorted(network.bridge for network in self._networks.values() if not network.bridge.startswith(bridge.NAME_PREFIX))
        return [f"{bridge.NAME_PREFIX}+", *named]

    def _turn_on_forwarding(self) -> None:
        if netlink.write_sysctl(_FORWARDING, "1"):
            self._notes.append("turned on net.ipv4.ip_forward: this host now forwards packets between its interfaces")

    def _change(self, requests: Sequence[Request], *, anew: bool = False) -> None:
        """One transaction; if the table is not as we left it, or `anew`, the whole table instead."""
        if anew:
            self._rebuild()
            return
        try:
            self._nft.send(nft.batch(requests))
        except KernelError as error:
            if error.errno not in (errno.ENOENT, errno.EEXIST):
                raise
            self._rebuild()

    def _rebuild(self) -> None:
        segments = [network.segment() for network in self._networks.values()]
        self._nft.send(nft.batch(firewall.whole_table(self._owner, segments, self._publications.values())))

    def _remove_firewall(self) -> None:
        self._publications.clear()
        self._nft.send(nft.batch(firewall.removed_table(self._owner)))
        foreign.remove(self._nft, self._owner)

    def _forget_flows(self, publications: Iterable[Publication]) -> None:
        """A UDP flow keeps the translation it began with, as long as packets come: it has to begin anew."""
        for port in {one.host_port for one in publications if one.protocol == "udp"}:
            conntrack.delete_flows(self._nft, firewall.PROTOCOLS["udp"], port)

    def _wired(self, endpoints: Sequence[Endpoint], *, netns_pid: int = 0, netns_fd: int = -1) -> tuple[Endpoint, ...]:
        requests = [
            request
            for endpoint in endpoints
            for request in host_requests(endpoint, self._bridge_index(endpoint), netns_pid=netns_pid, netns_fd=netns_fd)
        ]
        try:
            replies = self._sent_afresh(endpoints, requests)
        except BaseException:
            for endpoint in endpoints:
                self.detach(endpoint)
            raise
        return tuple(
            replace(endpoint, interface_index=netlink.peer_index(reply)) for endpoint, reply in zip(endpoints, replies, strict=True)
        )

    def _settled(self, endpoints: Sequence[Endpoint]) -> bool:
        requests = [netlink.get_link(endpoint.host_interface) for endpoint in endpoints]
        return all(netlink.carries_traffic(reply) for reply in self._route.send(requests)) if requests else True

    def _sent_afresh(self, endpoints: Sequence[Endpoint], requests: Sequence[Request]) -> list[netlink.Reply]:
        """A container that is started again may meet its own links of before, which the kernel has not taken apart yet."""
        try:
            return self._route.send(requests)
        except KernelError as error:
            if error.errno != errno.EEXIST:
                raise
        for endpoint in endpoints:
            self.detach(endpoint)
        return self._route.send(requests)

    def _bridge_index(self, endpoint: Endpoint) -> int:
        """Of a bridge that somebody may have deleted: then it is made again."""
        index = netlink.interface_index(endpoint.bridge)
        if not index:
            bridge.restore(self._route, self._owner, self._known(endpoint.network_id))
            index = netlink.interface_index(endpoint.bridge)
        return index


def _key(publication: Publication) -> _Key:
    host_ip = "" if publication.any_address else publication.host_ip
    return publication.protocol, host_ip, publication.host_port


def _allocated(network: Network, taken: Collection[str], want: str) -> tuple[Pool, str]:
    if want:
        pool = next((pool for pool in network.pools if _contains(pool, want)), network.pools[0])
        return pool, ipam.allocate(pool, taken, want)
    for pool in network.pools[:-1]:
        try:
            return pool, ipam.allocate(pool, taken)
        except Conflict:
            continue
    return network.pools[-1], ipam.allocate(network.pools[-1], taken)


def _contains(pool: Pool, address: str) -> bool:
    try:
        return IPv4Address(address) in IPv4Network(pool.subnet)
    except ValueError:
        return False


def _checked_mac(text: str) -> str:
    octets = text.lower().replace("-", ":").split(":")
    try:
        values = [int(octet, 16) for octet in octets]
    except ValueError:
        values = []
    if len(values) != 6 or not all(0 <= value < 256 for value in values) or values[0] & 1:
        raise InvalidArgument(f"invalid MAC address {text!r}: six octets, not a group address")
    return ":".join(f"{value:02x}" for value in values)


def _nameservers() -> list[str]:
    """The host's resolvers, which no subnet of ours may hide."""
    try:
        lines = Path("/etc/resolv.conf").read_text().splitlines()
    except OSError:
        return []
    words = [line.split() for line in lines]
    return [one[1] for one in words if len(one) > 1 and one[0] == "nameserver" and ":" not in one[1]]
