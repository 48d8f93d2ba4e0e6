"""What a network ought to look like in the kernel, against what is there, field by field.  Pure.

Both sides are brought to one form first, so that an untouched host has no faults: rules by what they do (kernel.ruleset), addresses
with their prefix, links by name.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network

from stackrun.kernel import interfaces, netlink
from stackrun.kernel.interfaces import Holdings, Interface
from stackrun.kernel.netlink import Request
from stackrun.kernel.ruleset import Ruleset, written
from stackrun.network import firewall
from stackrun.network.bridge import Network, alias
from stackrun.network.endpoint import Endpoint
from stackrun.network.firewall import Publication

MISSING = "missing"


@dataclass(frozen=True, slots=True)
class Fault:
    """A field that is not as declared.

    `network_id` or `endpoint_id` or `publication` says whose it is; none of them: the firewall's that all networks share.
    """

    field: str
    declared: str
    actual: str
    network_id: str = ""
    endpoint_id: str = ""
    publication: Publication | None = None


# --- bridges -----------------------------------------------------------------------------------


def bridge_faults(owner: str, network: Network, held: Holdings) -> list[Fault]:
    """Of a network's bridge in the host's namespace."""

    def fault(field: str, declared: object, actual: object) -> Fault:
        return Fault(field, str(declared), str(actual), network_id=network.network_id)

    found = held.named(network.bridge)
    if found is None:
        return [fault("bridge", network.bridge, MISSING)]
    checks = [
        ("bridge", f"bridge of {alias(owner, network)}", f"{found.kind or 'link'} of {found.alias or 'nobody'}"),
        ("bridge.state", "up", "up" if found.is_up else "down"),
        ("bridge.mtu", network.mtu, found.mtu),
    ]
    faults = [fault(field, declared, actual) for field, declared, actual in checks if declared != actual]
    return [*faults, *_address_faults(network, found, held)]


def _address_faults(network: Network, found: Interface, held: Holdings) -> list[Fault]:
    present = held.addresses_of(found.index)
    routes = {one.destination for one in held.routes if one.index == found.index}
    faults = []
    for pool in network.pools:
        address = f"{pool.gateway}/{IPv4Network(pool.subnet).prefixlen}"
        if address not in present:
            faults.append(Fault("bridge.address", address, MISSING, network_id=network.network_id))
        elif found.is_up and str(IPv4Network(pool.subnet)) not in routes:
            faults.append(Fault("bridge.route", f"{pool.subnet} on {network.bridge}", MISSING, network_id=network.network_id))
    return faults


def sysctl_faults(values: Iterable[tuple[str, str]], network_id: str = "") -> list[Fault]:
    """`values`: (name below /proc/sys/net, what it says); all of them are to say 1."""
    return [
        Fault(f"sysctl.net.{name.replace('/', '.')}", "1", value or MISSING, network_id=network_id)
        for name, value in values
        if value != "1"
    ]


# --- a container's links, from the host's side ---------------------------------------------------


def endpoint_faults(endpoint: Endpoint, held: Holdings) -> list[Fault]:
    """Of the veth's end here: there, up, a port of its network's bridge."""
    name = f"interface.{endpoint.host_interface}"
    found = held.named(endpoint.host_interface)
    if found is None:
        return [Fault(name, f"veth on {endpoint.bridge}", MISSING, endpoint_id=endpoint.endpoint_id)]
    faults = []
    bridge = held.named(endpoint.bridge)
    if bridge is None or found.master != bridge.index:
        ports_of = next((one.name for one in held.interfaces if found.master and one.index == found.master), "no bridge")
        faults.append(Fault(f"{name}.master", endpoint.bridge, ports_of, endpoint_id=endpoint.endpoint_id))
    if not found.is_up:
        faults.append(Fault(f"{name}.state", "up", "down", endpoint_id=endpoint.endpoint_id))
    return faults


# --- the same links, from inside -----------------------------------------------------------------


def inner_interface(endpoint: Endpoint, outside: Holdings, inside: Holdings) -> Interface | None:
    """The veth's end in the container: by what the host's end says of it, so that it may have been given another name there."""
    host_end = outside.named(endpoint.host_interface)
    if host_end is None:
        return None
    return next((one for one in inside.interfaces if one.index == host_end.peer and one.kind == "veth"), None)


def inner_faults(endpoint: Endpoint, outside: Holdings, inside: Holdings) -> list[Fault]:
    """Nothing of a link that is missing altogether: the host's end says so."""
    found = inner_interface(endpoint, outside, inside)
    if found is None:
        return []
    name = f"interface.{found.name}"
    address = f"{endpoint.ipv4_address}/{endpoint.prefix_length}"
    checks = [(f"{name}.state", "up", "up" if found.is_up else "down"), (f"{name}.mac", endpoint.mac_address, found.mac_address)]
    faults = [Fault(field, want, got, endpoint_id=endpoint.endpoint_id) for field, want, got in checks if want != got]
    present = inside.addresses_of(found.index)
    if address not in present:
        faults.append(Fault(f"{name}.address", address, ", ".join(present) or MISSING, endpoint_id=endpoint.endpoint_id))
    return faults


def route_fault(endpoints: Sequence[Endpoint], inside: Holdings) -> Fault | None:
    """One of the endpoints is the way out.  Which of several is settled when they are made, and moves when one of them is taken away."""
    leading = next((one for one in endpoints if one.default_route and one.gateway), None)
    if leading is None or set(inside.default_gateways) & {one.gateway for one in endpoints if one.gateway}:
        return None
    actual = ", ".join(one or "a link" for one in inside.default_gateways) or MISSING
    return Fault("route.default", f"via {leading.gateway}", actual, endpoint_id=leading.endpoint_id)


def inner_repairs(endpoints: Sequence[Endpoint], outside: Holdings, inside: Holdings) -> list[Request]:
    """What brings the links that are there back, from inside their namespace; nothing when nothing is wrong."""
    requests: list[Request] = []
    for endpoint in endpoints:
        found = inner_interface(endpoint, outside, inside)
        if found is None or not inner_faults(endpoint, outside, inside):
            continue
        address = netlink.add_address(found.index, endpoint.ipv4_address, endpoint.prefix_length, replace=True)
        requests += [interfaces.set_up_as(found.index, endpoint.mac_address), address]
    leading = next((one for one in endpoints if one.default_route and one.gateway), None)
    reachable = leading is not None and inner_interface(leading, outside, inside) is not None
    # A link that goes down, or loses its address, takes its routes along.
    if leading is not None and reachable and (requests or route_fault(endpoints, inside)):
        requests.append(interfaces.set_default_route(leading.gateway))
    return requests


# --- the firewall ------------------------------------------------------------------------------


def table_faults(table: str, networks: Sequence[Network], publications: Iterable[Publication], found: Ruleset | None) -> list[Fault]:
    """What of the table is not as `firewall.whole_table` would write it."""
    if found is None:
        return [Fault("nft.table", f"ip {table}", MISSING)]
    declared = written(firewall.whole_table(table, (), ()))
    faults = [
        Fault(f"nft.chain.{name}", _place(chain), MISSING if name not in found.chains else _place(found.chains[name]))
        for name, chain in declared.chains.items()
        if found.chains.get(name) != chain
    ]
    faults += [fault for name in declared.chains if name in found.chains for fault in _rule_faults(name, declared, found)]
    return [*faults, *_element_faults(table, networks, publications, found)]


def _place(chain: object) -> str:
    return str(chain).removeprefix("Chain(").removesuffix(")")


def _rule_faults(chain: str, declared: Ruleset, found: Ruleset) -> list[Fault]:
    wanted, present = declared.rules.get(chain, []), found.rules.get(chain, [])
    if wanted == present:
        return []
    lost = [f"rule {number}" for number, rule in enumerate(wanted, 1) if rule not in present]
    foreign = sum(rule not in wanted for rule in present)
    words = [*(f"{one} missing" for one in lost), *([f"{foreign} foreign"] if foreign else [])]
    actual = ", ".join(words) or f"{len(present)} rules in another order"
    return [Fault(f"nft.chain.{chain}", f"{len(wanted)} rules", actual)]


def _element_faults(table: str, networks: Sequence[Network], publications: Iterable[Publication], found: Ruleset) -> list[Fault]:
    faults, known = [], {name: set(one) for name, one in written(firewall.whole_table(table, (), ())).elements.items()}
    for network in networks:
        for name, elements in written(firewall.added_segment(table, network.segment())).elements.items():
            known[name] |= elements
            if not elements <= found.elements.get(name, set()):
                faults.append(Fault(f"nft.set.{name}", network.bridge, MISSING, network_id=network.network_id))
    for one in publications:
        for name, elements in written(firewall.added_publications(table, [one])).elements.items():
            known[name] |= elements
            if not elements <= found.elements.get(name, set()):
                faults.append(published_fault(one, elements, found.elements.get(name, set())))
    surplus = {name: found.elements.get(name, set()) - elements for name, elements in known.items()}
    return faults + [Fault(f"nft.set.{name}", "none besides ours", f"{len(more)} more") for name, more in surplus.items() if more]


def published_fault(one: Publication, wanted: set[tuple[bytes, bytes, bool]], held: set[tuple[bytes, bytes, bool]]) -> Fault:
    keys = {key for key, _, _ in wanted}
    actual = "leads elsewhere" if any(key in keys for key, _, _ in held) else "closed"
    declared = f"{one.host_ip or '0.0.0.0'}:{one.host_port} → {one.container_address}:{one.container_port}"
    return Fault(f"ports.{one.container_port}/{one.protocol}", declared, actual, publication=one)
