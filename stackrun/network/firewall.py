"""Our nftables table as a value: what networks and published ports there are → one transaction.

    table ip stackrun[-INSTANCE]
      set  bridges        ifname            our bridges
      set  same_bridge    ifname . ifname   each of them with itself
      set  internal       ifname            bridges of internal networks
      set  masqueraded    ipv4 interval     subnets whose traffic leaves with the host's address
      map  published      protocol . port → address . port             on every address of the host
      map  published_on   address . protocol . port → address . port   on one address
      chain guard         prerouting, raw   nobody reaches the host's loopback through a bridge of ours
      chain prerouting    nat               published ports, for packets from outside and from containers
      chain output        nat               published ports, for the host itself, 127.0.0.1 too
      chain postrouting   nat               the way out, and the way back for the host and for hairpins
      chain forward       filter            who may speak to whom

The rules never change: a network or a port is elements of sets and maps, so that every change is one
small transaction and thousands of ports cost one lookup.

Three holes that others had to learn of are closed here.  `route_localnet`, which 127.0.0.1:PORT needs,
would let a container and its neighbours speak to services on the host's loopback (CVE-2020-8558): `guard`
drops that, and prerouting never translates a loopback destination, so a port published on 127.0.0.1 cannot
be reached by a neighbour who writes that address on his packets (moby#45610).  A packet that some machine
routes straight to a container's address, past its published ports, is dropped in `forward`.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network

from stackrun.errors import InvalidArgument
from stackrun.kernel import nft
from stackrun.kernel.netlink import Request

PROTOCOLS = {"tcp": socket.IPPROTO_TCP, "udp": socket.IPPROTO_UDP}


@dataclass(frozen=True, slots=True)
class Publication:
    """A host's port that leads to a container's: `protocol` tcp or udp; `host_ip` empty is every address."""

    protocol: str
    host_ip: str
    host_port: int
    container_address: str
    container_port: int

    def __post_init__(self) -> None:
        if self.protocol not in PROTOCOLS:
            raise InvalidArgument(f"cannot publish protocol {self.protocol!r}: tcp and udp are")

    @property
    def any_address(self) -> bool:
        return self.host_ip in ("", "0.0.0.0")


@dataclass(frozen=True, slots=True)
class Segment:
    """What the firewall knows of a network."""

    bridge: str
    subnets: tuple[str, ...]
    internal: bool = False
    masquerade: bool = True


_BRIDGES, _SAME_BRIDGE, _INTERNAL, _MASQUERADED = "bridges", "same_bridge", "internal", "masqueraded"
_PUBLISHED, _PUBLISHED_ON = "published", "published_on"
SETS = (_BRIDGES, _SAME_BRIDGE, _INTERNAL, _MASQUERADED, _PUBLISHED, _PUBLISHED_ON)
_TARGET = (nft.TYPE_IPV4, nft.TYPE_PORT)
_R = nft.REGISTER
_SOURCE, _DESTINATION = 12, 16
"""Offsets of the addresses in an IPv4 header."""


def table_name(instance: str) -> str:
    return f"stackrun-{instance}" if instance else "stackrun"


def whole_table(table: str, segments: Iterable[Segment], publications: Iterable[Publication]) -> list[Request]:
    """Replaces the table, whatever it holds: packets see the old one or the new one, never none."""
    segments = list(segments)
    return [
        # Adding what may exist makes deleting it succeed either way.
        *removed_table(table),
        nft.add_table(table),
        *_sets(table),
        *_guard(table),
        *_translation(table),
        *_way_out(table),
        *_forward(table),
        *(request for segment in segments for request in added_segment(table, segment)),
        *added_publications(table, publications),
    ]


def removed_table(table: str) -> list[Request]:
    return [nft.add_table(table), nft.delete_table(table)]


def added_segment(table: str, segment: Segment) -> list[Request]:
    return [request for name, elements in _segment(segment) for request in nft.add_elements(table, name, elements)]


def removed_segment(table: str, segment: Segment) -> list[Request]:
    return [request for name, elements in _segment(segment) for request in nft.delete_elements(table, name, elements)]


def added_publications(table: str, publications: Iterable[Publication]) -> list[Request]:
    return [request for name, elements in _published(publications) for request in nft.add_elements(table, name, elements)]


def removed_publications(table: str, publications: Iterable[Publication]) -> list[Request]:
    return [request for name, elements in _published(publications) for request in nft.delete_elements(table, name, elements)]


# --- elements ----------------------------------------------------------------------------------


def _segment(segment: Segment) -> list[tuple[str, list[bytes]]]:
    name = nft.interface(segment.bridge)
    found = [(_BRIDGES, [nft.element(name)]), (_SAME_BRIDGE, [nft.element(name + name)])]
    if segment.internal:
        found.append((_INTERNAL, [nft.element(name)]))
    elif segment.masquerade:
        found.append((_MASQUERADED, [_interval(subnet) for subnet in segment.subnets]))
    return found


def _interval(subnet: str) -> bytes:
    network = IPv4Network(subnet)
    after = int(network.broadcast_address) + 1
    return nft.interval(network.network_address.packed, after.to_bytes(4, "big"))


def _published(publications: Iterable[Publication]) -> list[tuple[str, list[bytes]]]:
    everywhere, on_one = [], []
    for one in publications:
        key = nft.protocol_key(PROTOCOLS[one.protocol]) + nft.port_key(one.host_port)
        target = nft.address(one.container_address) + nft.port_key(one.container_port)
        if one.any_address:
            everywhere.append(nft.element(key, target))
        else:
            on_one.append(nft.element(nft.address(one.host_ip) + key, target))
    return [(name, elements) for name, elements in ((_PUBLISHED, everywhere), (_PUBLISHED_ON, on_one)) if elements]


# --- sets and rules ------------------------------------------------------------------------------


def _sets(table: str) -> list[Request]:
    ifname, port = nft.TYPE_IFNAME, (nft.TYPE_PROTOCOL, nft.TYPE_PORT)
    return [
        nft.add_set(table, _BRIDGES, (ifname,)),
        nft.add_set(table, _SAME_BRIDGE, (ifname, ifname)),
        nft.add_set(table, _INTERNAL, (ifname,)),
        nft.add_set(table, _MASQUERADED, (nft.TYPE_IPV4,), interval=True),
        nft.add_set(table, _PUBLISHED, port, _TARGET),
        nft.add_set(table, _PUBLISHED_ON, (nft.TYPE_IPV4, *port), _TARGET),
    ]


def _guard(table: str) -> list[Request]:
    return [
        nft.add_base_chain(table, "guard", "filter", nft.PREROUTING, nft.PRIORITY_RAW),
        nft.add_rule(table, "guard", *_from_bridge(), *_loopback(_DESTINATION), nft.verdict(nft.DROP)),
    ]


def _translation(table: str) -> list[Request]:
    outside = _loopback(_DESTINATION, inside=False)
    return [
        nft.add_base_chain(table, "prerouting", "nat", nft.PREROUTING, nft.PRIORITY_DNAT),
        nft.add_rule(table, "prerouting", *outside, *_to_published_on()),
        nft.add_rule(table, "prerouting", *outside, *_to_this_host(), *_to_published()),
        nft.add_base_chain(table, "output", "nat", nft.OUTPUT, nft.PRIORITY_DNAT),
        nft.add_rule(table, "output", *_to_published_on()),
        nft.add_rule(table, "output", *_to_this_host(), *_to_published()),
    ]


def _way_out(table: str) -> list[Request]:
    saddr = nft.load_payload(nft.NETWORK, _SOURCE, 4, _R[0])
    from_subnet = (saddr, nft.lookup(_MASQUERADED, _R[0]))
    return [
        nft.add_base_chain(table, "postrouting", "nat", nft.POSTROUTING, nft.PRIORITY_SNAT),
        # The host through 127.0.0.1: the container could not answer that address.
        nft.add_rule(table, "postrouting", *_loopback(_SOURCE), *_into_bridge(), nft.masquerade()),
        # A container through a published port: the answer has to come back this way even from the same bridge.
        nft.add_rule(table, "postrouting", *from_subnet, *_translated(), *_into_bridge(), nft.masquerade()),
        nft.add_rule(table, "postrouting", *from_subnet, *_not_into_bridge(), nft.masquerade()),
    ]


def _forward(table: str) -> list[Request]:
    pair = (nft.load_meta(nft.META_IIFNAME, _R[0]), nft.load_meta(nft.META_OIFNAME, _R[4]), nft.lookup(_SAME_BRIDGE, _R[0]))
    internal = (nft.load_meta(nft.META_IIFNAME, _R[0]), nft.lookup(_INTERNAL, _R[0]))
    known = (nft.load_ct(nft.CT_STATE, _R[0]), *_has_bit(_R[0], nft.CT_ESTABLISHED | nft.CT_RELATED))
    return [
        nft.add_base_chain(table, "forward", "filter", nft.FORWARD, nft.PRIORITY_FILTER),
        # Bridged packets come by here too where bridge-nf-call-iptables is on.
        nft.add_rule(table, "forward", *pair, nft.verdict(nft.ACCEPT)),
        nft.add_rule(table, "forward", *internal, nft.verdict(nft.DROP)),
        nft.add_rule(table, "forward", *known, nft.verdict(nft.ACCEPT)),
        nft.add_rule(table, "forward", *_into_bridge(), *_translated(), nft.verdict(nft.ACCEPT)),
        nft.add_rule(table, "forward", *_into_bridge(), nft.verdict(nft.DROP)),
    ]


def _from_bridge() -> Sequence[bytes]:
    return nft.load_meta(nft.META_IIFNAME, _R[0]), nft.lookup(_BRIDGES, _R[0])


def _into_bridge() -> Sequence[bytes]:
    return nft.load_meta(nft.META_OIFNAME, _R[0]), nft.lookup(_BRIDGES, _R[0])


def _not_into_bridge() -> Sequence[bytes]:
    return nft.load_meta(nft.META_OIFNAME, _R[0]), nft.lookup(_BRIDGES, _R[0], inverted=True)


def _loopback(offset: int, *, inside: bool = True) -> Sequence[bytes]:
    """An address of the header is, or is not, one of 127.0.0.0/8."""
    return nft.load_payload(nft.NETWORK, offset, 1, _R[0]), nft.compare(_R[0], b"\x7f", equal=inside)


def _to_this_host() -> Sequence[bytes]:
    return nft.load_address_type(_R[0]), nft.compare(_R[0], nft.host32(nft.RTN_LOCAL))


def _translated() -> Sequence[bytes]:
    return nft.load_ct(nft.CT_STATUS, _R[0]), *_has_bit(_R[0], nft.CT_STATUS_DNAT)


def _has_bit(register: int, bits: int) -> Sequence[bytes]:
    return nft.mask(register, struct.pack("=I", bits)), nft.compare(register, bytes(4), equal=False)


def _port(first: int) -> Sequence[bytes]:
    """Protocol and destination port into two registers from `first` on, as a published port's key has them."""
    return nft.load_meta(nft.META_L4PROTO, _R[first]), nft.load_payload(nft.TRANSPORT, 2, 2, _R[first + 1])


def _to_published() -> Sequence[bytes]:
    return *_port(0), nft.look_up_into(_PUBLISHED, _R[0], _R[0]), nft.dnat(_R[0], _R[1])


def _to_published_on() -> Sequence[bytes]:
    daddr = nft.load_payload(nft.NETWORK, _DESTINATION, 4, _R[0])
    return daddr, *_port(1), nft.look_up_into(_PUBLISHED_ON, _R[0], _R[0]), nft.dnat(_R[0], _R[1])
