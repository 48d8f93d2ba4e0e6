"""Names and addresses on networks: each belongs to one, and each can be one."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

from stackrun.compose.origins import Note
from stackrun.compose.rules.networks import can_meet
from stackrun.compose.rules.ports import replicas
from stackrun.compose.rules.rule import Found, Group
from stackrun.compose.rules.stack import Node, Service, Stack
from stackrun.compose.tree import Map, Place

GROUP = Group("names")

GROUP.reported("duplicate-container-name", "Two services want one container name.", stage="references")
GROUP.reported("scaled-container-name", "Several containers would have one name.", stage="references")
GROUP.reported("scale-conflict", "A service says two numbers of containers.", stage="references")
GROUP.reported("negative-scale", "A service has fewer than no containers.", stage="references")
GROUP.reported("invalid-subnet", "A network's subnet is none.", stage="references")

_MAX_LABEL = 63
_LABEL = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9\-]*[A-Za-z0-9])?")
_MOST_COMPARED = 20
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


# --- names ----------------------------------------------------------------------------------------


@GROUP.rule("invalid-hostname", "warning", "A host name has a character that host names do not have.")
def invalid_hostname(stack: Stack) -> Iterator[Found]:
    for service in stack.services:
        for key in ("hostname", "domainname"):
            name = service.text(key)
            wrong = next((one for one in name.split(".") if not _LABEL.fullmatch(one)), None) if name and "$" not in name else None
            if wrong is not None:
                message = f'service "{service.name}": {key} {name!r} is not a valid name'
                hint = "programs refuse a host name with an underscore: write a hyphen" if "_" in name else "letters, digits and hyphens"
                yield Found(service.at(key), message, hint)


@GROUP.rule("long-name", "warning", "A name is longer than DNS allows, so nobody can look it up.")
def long_name(stack: Stack) -> Iterator[Found]:
    for service in stack.services:
        names = [(service.name, service.place)] + [(service.text(key), service.at(key)) for key in ("hostname", "container_name")]
        for network in service.map("networks"):
            names += [(str(item), place) for item, place in service.items("networks", network, "aliases")]
        for name, place in names:
            if any(len(label) > _MAX_LABEL for label in name.split(".")):
                message = f'service "{service.name}": a name of {len(name)} characters cannot be looked up'
                yield Found(place, message, f"at most {_MAX_LABEL} characters between dots")


Alias = tuple[Service, str, str, Place]


def _aliases(stack: Stack) -> list[Alias]:
    """(service, network, name, place) of everything but a service's own name."""
    return stack.once(_find_aliases)


def _find_aliases(stack: Stack) -> list[Alias]:
    return list(_each_alias(stack))


def _each_alias(stack: Stack) -> Iterator[Alias]:
    for service in stack.services:
        for network in service.map("networks"):
            for alias, place in service.items("networks", network, "aliases"):
                if isinstance(alias, str):
                    yield service, network, alias, place
            for key in ("container_name", "hostname"):
                if service.text(key):
                    yield service, network, service.text(key), service.at(key)


@GROUP.rule("name-of-other-service", "warning", "A service answers to the name of another one on the same network.")
def name_of_other_service(stack: Stack) -> Iterator[Found]:
    told = set[Place]()
    for service, network, name, place in _aliases(stack):
        other = stack.service.get(name)
        if other is None or other is service or place in told or network not in other.map("networks") or not can_meet(service, other):
            continue
        told.add(place)
        message = f'service "{service.name}" answers to "{name}" on network {network}, as service "{name}" does'
        yield Found(place, message, "another name: who asks for this one gets either of them", (Note(other.place, "the other one"),))


@GROUP.rule("alias-clash", "note", "Two services answer to one alias on a network.")
def alias_clash(stack: Stack) -> Iterator[Found]:
    first: dict[tuple[str, str], tuple[Service, Place]] = {}
    told = set[Place]()
    for service, network, name, place in _aliases(stack):
        other, held = first.setdefault((network, name.lower()), (service, place))
        if other is service or name in stack.service or place in told or not can_meet(service, other):
            continue
        if not service.text("container_name") or service.text("container_name") != other.text("container_name"):
            told.add(place)
            message = f'services "{other.name}" and "{service.name}" both answer to "{name}" on network {network}'
            yield Found(place, message, "who asks for it gets either of them", (Note(held, "the first one"),))


@GROUP.rule("shared-resource-name", "warning", "Two declarations are one network or volume, since they have one name.")
def shared_resource_name(stack: Stack) -> Iterator[Found]:
    for section in ("networks", "volumes"):
        first: dict[str, Node] = {}
        for resource in stack.resources(section):
            name = resource.text("name")
            other = first.setdefault(name, resource) if name else resource
            if other is not resource:
                message = f'{section} "{other.name}" and "{resource.name}" are one and the same: both are named {name}'
                yield Found(resource.at("name"), message, "declare it once", (Note(other.place, "the other one"),))


# --- addresses ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Pool:
    network: Node
    subnet: Network
    gateway: Address | None
    node: Node


def _address(text: str) -> Address | None:
    try:
        return ipaddress.ip_address(text) if text else None
    except ValueError:
        return None


def _subnet(text: str) -> Network | None:
    try:
        return ipaddress.ip_network(text, strict=False) if text else None
    except ValueError:
        return None


def _pools(network: Node) -> Iterator[_Pool]:
    for node in network.nodes("ipam", "config"):
        subnet = _subnet(node.text("subnet"))
        if subnet is not None:
            yield _Pool(network, subnet, _address(node.text("gateway")), node)


def _joined(stack: Stack, *keys: str) -> Iterator[tuple[Service, str, str]]:
    """(service, network, key) of each of the keys that an attachment to a network has."""
    for service in stack.services:
        for network, said in service.map("networks").items():
            if isinstance(said, Map):
                yield from ((service, network, key) for key in keys if key in said)


Fixed = tuple[Service, str, Address, Place]


def _fixed(stack: Stack) -> list[Fixed]:
    """(service, network, address, place) of each fixed address."""
    return stack.once(_find_fixed)


def _find_fixed(stack: Stack) -> list[Fixed]:
    found: list[Fixed] = []
    for service, network, key in _joined(stack, "ipv4_address", "ipv6_address"):
        address = _address(service.text("networks", network, key))
        if address is not None:
            found.append((service, network, address, service.at("networks", network, key)))
    return found


def _networks(stack: Stack) -> dict[str, list[_Pool]]:
    return stack.once(_find_pools)


def _every_pool(stack: Stack) -> Iterator[_Pool]:
    return chain.from_iterable(_networks(stack).values())


def _find_pools(stack: Stack) -> dict[str, list[_Pool]]:
    return {network.name: list(_pools(network)) for network in stack.resources("networks") if network.get("external") is not True}


@GROUP.rule("invalid-fixed-address", "error", "A fixed address is none.", "references")
def invalid_fixed_address(stack: Stack) -> Iterator[Found]:
    for service, network, key in _joined(stack, "ipv4_address", "ipv6_address"):
        text, version = service.text("networks", network, key), 4 if key == "ipv4_address" else 6
        found = _address(text)
        if text and (found is None or found.version != version):
            message = f'service "{service.name}": {text!r} is not an IPv{version} address'
            yield Found(service.at("networks", network, key), message, "172.30.0.10" if version == 4 else "fd00::10")


@GROUP.rule("address-outside-subnet", "error", "A fixed address is in no subnet of its network.", "references")
def address_outside_subnet(stack: Stack) -> Iterator[Found]:
    pools = _networks(stack)
    for service, network, address, place in _fixed(stack):
        subnets = [one.subnet for one in pools.get(network, ()) if one.subnet.version == address.version]
        if subnets and not any(address in subnet for subnet in subnets):
            message = f'service "{service.name}": {address} is not in {subnets[0]}, the subnet of network "{network}"'
            yield Found(place, message, f"an address from {subnets[0]}")


@GROUP.rule("address-without-subnet", "warning", "A fixed address is asked of a network that has no subnet of its own.")
def address_without_subnet(stack: Stack) -> Iterator[Found]:
    pools = _networks(stack)
    for service, network, address, place in _fixed(stack):
        known = pools.get(network, [] if network == "default" else None)
        if known is not None and not any(one.subnet.version == address.version for one in known):
            message = f'service "{service.name}" wants {address} of network "{network}", whose subnet is any free one'
            yield Found(place, message, "give the network a subnet: ipam: {config: [{subnet: 172.30.0.0/24}]}")


@GROUP.rule("reserved-address", "error", "A fixed address is the network's own, its gateway's or the one for all.", "references")
def reserved_address(stack: Stack) -> Iterator[Found]:
    pools = _networks(stack)
    for service, network, address, place in _fixed(stack):
        for pool in pools.get(network, ()):
            if address not in pool.subnet or pool.subnet.num_addresses < 4:
                continue
            gateway = pool.gateway or pool.subnet[1]
            what = "the gateway" if address == gateway else "the network itself" if address == pool.subnet[0] else ""
            what = what or ("every host of it" if address.version == 4 and address == pool.subnet[-1] else "")
            if what:
                yield Found(place, f'service "{service.name}": {address} stands for {what} in network "{network}"', "another address")


@GROUP.rule("duplicate-address", "error", "Two containers want one fixed address.", "references")
def duplicate_address(stack: Stack) -> Iterator[Found]:
    first: dict[tuple[str, Address], tuple[Service, Place]] = {}
    for service, network, address, place in _fixed(stack):
        other, held = first.setdefault((network, address), (service, place))
        if other is not service and can_meet(service, other):
            message = f'service "{service.name}" wants {address} of network "{network}", as service "{other.name}" does'
            yield Found(place, message, "another address", (Note(held, "the other one"),))
        elif other is service and replicas(service) > 1:
            yield Found(place, f'{replicas(service)} containers of service "{service.name}" want {address}', "leave the address out")


@GROUP.rule("duplicate-mac-address", "warning", "Two containers have one hardware address.")
def duplicate_mac_address(stack: Stack) -> Iterator[Found]:
    first: dict[tuple[str, str], tuple[Service, Place]] = {}
    for service in stack.services:
        for network, said in service.map("networks").items():
            own = ("networks", network, "mac_address")
            path = own if isinstance(said, Map) and "mac_address" in said else ("mac_address",)
            address = service.text(*path).lower().replace("-", ":")
            if not address:
                continue
            other, held = first.setdefault((network, address), (service, service.at(*path)))
            if other is not service and can_meet(service, other):
                message = f'services "{other.name}" and "{service.name}" have the hardware address {address} on network "{network}"'
                yield Found(service.at(*path), message, "another address, or none", (Note(held, "the other one"),))


@GROUP.rule("gateway-outside-subnet", "error", "A network's gateway is not in its subnet.", "references")
def gateway_outside_subnet(stack: Stack) -> Iterator[Found]:
    for pool in _every_pool(stack):
        if pool.gateway is not None and pool.gateway not in pool.subnet:
            message = f'network "{pool.network.name}": the gateway {pool.gateway} is not in {pool.subnet}'
            yield Found(pool.node.at("gateway"), message, f"an address from {pool.subnet}")


@GROUP.rule("range-outside-subnet", "error", "The range that a network gives addresses from is not in its subnet.", "references")
def range_outside_subnet(stack: Stack) -> Iterator[Found]:
    for pool in _every_pool(stack):
        inner = _subnet(pool.node.text("ip_range"))
        if inner is not None and (inner.version != pool.subnet.version or not inner.subnet_of(pool.subnet)):  # type: ignore[arg-type]
            message = f'network "{pool.network.name}": {inner} is not in {pool.subnet}'
            yield Found(pool.node.at("ip_range"), message, f"a part of {pool.subnet}")


@GROUP.rule("host-bits-in-subnet", "note", "A subnet is written with the address of a host in it.")
def host_bits_in_subnet(stack: Stack) -> Iterator[Found]:
    for pool in _every_pool(stack):
        written = pool.node.text("subnet")
        if "/" in written and _address(written.partition("/")[0]) != pool.subnet.network_address:
            message = f'network "{pool.network.name}": {written} is the subnet {pool.subnet}'
            yield Found(pool.node.at("subnet"), message, f"write {pool.subnet}")


def _overlap(one: _Pool, other: _Pool) -> bool:
    return one.network.name != other.network.name and one.subnet.version == other.subnet.version and one.subnet.overlaps(other.subnet)


@GROUP.rule("overlapping-subnets", "error", "Two networks have addresses in common.", "references")
def overlapping_subnets(stack: Stack) -> Iterator[Found]:
    seen: list[_Pool] = []
    for pools in _networks(stack).values():
        for pool in pools:
            other = next((one for one in seen[:_MOST_COMPARED] if _overlap(one, pool)), None)
            if other is not None:
                message = f'network "{pool.network.name}": {pool.subnet} overlaps {other.subnet} of network "{other.network.name}"'
                yield Found(pool.node.at("subnet"), message, "another subnet", (Note(other.node.at("subnet"), "the other one"),))
            seen.append(pool)
