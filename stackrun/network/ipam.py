"""Which subnet a network gets and which address a container gets: pure, the engine's records are the memory.

Subnets come from the private ranges of RFC 1918 in the order Docker walks them, so that a host that
ran Docker sees familiar addresses, and never overlap a route of the host, since a container would
then shadow a part of the owner's own network.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv4Network, NetmaskValueError

from stackrun.errors import Conflict, InvalidArgument, Unsupported

DEFAULT_RANGES = (
    *((IPv4Network((0xAC120000 + (step << 16), 16)), 16) for step in range(14)),
    (IPv4Network("192.168.0.0/16"), 20),
    (IPv4Network("10.0.0.0/8"), 24),
)
"""Ranges with the prefix length of the subnets cut from them: 172.18–172.31, then 192.168, then 10."""


@dataclass(frozen=True, slots=True)
class Pool:
    """One subnet of a network, IPv4 in text: `172.18.0.0/16`, its gateway, and the part containers get addresses from.

    Empty fields ask for a choice; `reserved` are auxiliary addresses that containers never get.
    """

    subnet: str = ""
    gateway: str = ""
    ip_range: str = ""
    reserved: tuple[str, ...] = ()


def choose_pools(wanted: Sequence[Pool], *, networks: Iterable[str], occupied: Iterable[str]) -> tuple[Pool, ...]:
    """The pools of a new network with every empty field filled in.

    `networks` are the subnets of our other networks, which may never overlap; `occupied` are the host's
    other routes, which only a choice of our own avoids: a caller who names a subnet knows why.
    Raises InvalidArgument (malformed), Conflict (overlap, nothing left), Unsupported (IPv6).
    """
    taken = [IPv4Network(subnet) for subnet in networks]
    avoided = [*taken, *(IPv4Network(route) for route in occupied)]
    chosen = []
    for pool in wanted or (Pool(),):
        subnet = _requested(pool, taken) if pool.subnet else _free_subnet(avoided)
        taken.append(subnet)
        avoided.append(subnet)
        chosen.append(_completed(pool, subnet))
    return tuple(chosen)


def allocate(pool: Pool, taken: Collection[str], want: str = "") -> str:
    """An address of `pool` that is not in `taken`: `want`, or the lowest free one.

    Raises InvalidArgument when `want` is not of the subnet, Conflict when it is taken or nothing is free.
    """
    subnet = _parsed_network(pool.subnet)
    unusable = {pool.gateway, *pool.reserved, *taken, str(subnet.network_address), str(subnet.broadcast_address)}
    if want:
        _check_wanted(want, subnet, unusable)
        return want
    for candidate in _addresses(_parsed_network(pool.ip_range or pool.subnet)):
        if candidate not in unusable:
            return candidate
    raise Conflict(f"no free address in {pool.ip_range or pool.subnet}", hint="give the network a larger subnet")


def _check_wanted(want: str, subnet: IPv4Network, unusable: Collection[str]) -> None:
    if _parsed_address(want) not in subnet:
        raise InvalidArgument(f"address {want} is not in the network's subnet {subnet}")
    if want in unusable:
        raise Conflict(f"address {want} is already in use")


def _addresses(network: IPv4Network) -> Iterator[str]:
    return (str(IPv4Address(number)) for number in range(int(network.network_address), int(network.broadcast_address) + 1))


def _free_subnet(avoided: Sequence[IPv4Network]) -> IPv4Network:
    for whole, prefix_length in DEFAULT_RANGES:
        for subnet in whole.subnets(new_prefix=prefix_length):
            if not any(subnet.overlaps(other) for other in avoided):
                return subnet
    raise Conflict("no subnet is free: every default one overlaps a route of this host", hint="name one: ipam.config.subnet")


def _requested(pool: Pool, taken: Sequence[IPv4Network]) -> IPv4Network:
    subnet = _parsed_network(pool.subnet)
    if subnet.prefixlen > 30:
        raise InvalidArgument(f"subnet {subnet} has no room for a gateway and a container")
    for other in taken:
        if subnet.overlaps(other):
            raise Conflict(f"subnet {subnet} overlaps {other} of another network: pool overlaps with other one on this address space")
    return subnet


def _completed(pool: Pool, subnet: IPv4Network) -> Pool:
    if pool.ip_range and not _parsed_network(pool.ip_range).subnet_of(subnet):
        raise InvalidArgument(f"ip range {pool.ip_range} is not in the subnet {subnet}")
    for address in (pool.gateway, *pool.reserved):
        if address and _parsed_address(address) not in subnet:
            raise InvalidArgument(f"address {address} is not in the subnet {subnet}")
    gateway = pool.gateway or allocate(Pool(str(subnet), reserved=pool.reserved), ())
    return Pool(str(subnet), gateway, pool.ip_range, pool.reserved)


def _parsed_network(text: str) -> IPv4Network:
    _refuse_ipv6(text)
    try:
        network = IPv4Network(text, strict=False)
    except (AddressValueError, NetmaskValueError, ValueError) as error:
        raise InvalidArgument(f"invalid subnet {text!r}: {error}") from None
    if str(network.network_address) != text.partition("/")[0]:
        raise InvalidArgument(f"invalid subnet {text!r}: it should be {network}")
    return network


def _parsed_address(text: str) -> IPv4Address:
    _refuse_ipv6(text)
    try:
        return IPv4Address(text)
    except AddressValueError as error:
        raise InvalidArgument(f"invalid address {text!r}: {error}") from None


def _refuse_ipv6(text: str) -> None:
    if ":" in text:
        raise Unsupported(f"IPv6 is not supported yet: {text}", hint="leave out enable_ipv6 and IPv6 subnets")
