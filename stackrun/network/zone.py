"""Names of containers and the answers made of them: pure, no sockets.

A name belongs to a network, so two stacks may both have a `db`; a container sees the names of the networks
it is on.  Several containers under one name (replicas) are answered all at once, in an order that rotates
with every question, which is how clients that take the first address share the load.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence

from dnslib import EDNS0, OPCODE, PTR, QTYPE, RCODE, RR, A, DNSRecord

TTL_S = 1
"""Long enough to spare a busy client the question, short enough that who is replaced need not serve for long beside the new one."""
_PLAIN_UDP_BYTES = 512
_OUR_UDP_BYTES = 4096
_ANSWER_BYTES = 16
"""An A record whose name is a pointer to the question's."""
_REVERSE = ".in-addr.arpa"


class Membership:
    """One container on one network: its address, its names there (the first is the one PTR answers), the network's name."""

    __slots__ = ("address", "domain", "names", "network_id")

    def __init__(self, network_id: str, domain: str, address: str, names: Sequence[str]) -> None:
        self.network_id = network_id
        self.domain = domain.lower()
        self.address = address
        self.names = tuple(dict.fromkeys(name.lower() for name in names))


class Zone:
    """Every container's memberships, with the two indexes that questions need."""

    def __init__(self) -> None:
        self._members: dict[str, tuple[Membership, ...]] = {}
        self._addresses: dict[tuple[str, str], dict[str, str]] = {}
        self._names: dict[tuple[str, str], str] = {}
        self._turns: dict[tuple[str, str], int] = {}
        self._told_s: dict[str, float] = {}

    def set(self, container_id: str, memberships: Sequence[Membership]) -> None:
        """Replaces what is known of a container."""
        self.drop(container_id)
        self._members[container_id] = tuple(memberships)
        for one in memberships:
            for name in one.names:
                self._addresses.setdefault((one.network_id, name), {})[container_id] = one.address
            if one.names:
                self._names[one.network_id, one.address] = f"{one.names[0]}.{one.domain}" if one.domain else one.names[0]

    def known_for_s(self, container_id: str) -> float:
        """For how much longer somebody may go by what was answered about it last; 0: nobody may."""
        return max(0.0, self._told_s.get(container_id, -math.inf) + TTL_S - time.monotonic())

    def forget(self, container_id: str) -> None:
        self.drop(container_id)
        self._told_s.pop(container_id, None)

    def drop(self, container_id: str) -> None:
        for one in self._members.pop(container_id, ()):
            self._names.pop((one.network_id, one.address), None)
            for name in one.names:
                self._withdraw((one.network_id, name), container_id)

    def _withdraw(self, key: tuple[str, str], container_id: str) -> None:
        holders = self._addresses.get(key, {})
        holders.pop(container_id, None)
        if not holders:
            self._addresses.pop(key, None)
            self._turns.pop(key, None)

    def addresses(self, container_id: str, name: str, links: Mapping[str, str]) -> list[str]:
        """What `name` means to this container, rotated by one at every call; empty when it is none of ours.

        The first of the container's networks that knows the name decides.  `name.network` asks one network.
        """
        wanted = links.get(name.lower(), name).lower()
        for one in self._members.get(container_id, ()):
            for form in (wanted, wanted.removesuffix(f".{one.domain}") if one.domain else wanted):
                found = self._addresses.get((one.network_id, form))
                if found:
                    self._told_s.update(dict.fromkeys(found, time.monotonic()))
                    return self._rotated((one.network_id, form), list(found.values()))
        return []

    def name(self, container_id: str, address: str) -> str:
        """Whose address that is, as `name.network`; empty when it is on none of the container's networks."""
        found = (self._names.get((one.network_id, address), "") for one in self._members.get(container_id, ()))
        return next(filter(None, found), "")

    def _rotated(self, key: tuple[str, str], addresses: list[str]) -> list[str]:
        turn = self._turns.get(key, 0) % len(addresses)
        self._turns[key] = turn + 1
        return addresses[turn:] + addresses[:turn]


def parsed(packet: bytes) -> DNSRecord | None:
    """The query in a packet with exactly one question, or None for anything else."""
    try:
        query = DNSRecord.parse(packet)
    except Exception:  # a container may send anything, and dnslib names no exception of its own for some of it
        return None
    header = query.header
    return query if header.qr == 0 and header.opcode == OPCODE.QUERY and len(query.questions) == 1 else None


def answer(zone: Zone, container_id: str, links: Mapping[str, str], query: DNSRecord) -> DNSRecord | None:
    """The reply to a question about our own names, or None: somebody else has to be asked."""
    label = query.q.qname
    if query.q.qtype == QTYPE.PTR:
        return _reverse(zone, container_id, query)
    addresses = zone.addresses(container_id, str(label).rstrip("."), links)
    if not addresses:
        return None
    reply = _reply(query)
    if query.q.qtype in (QTYPE.A, QTYPE.ANY):
        # Any other type of a name of ours, AAAA above all: the name exists and has none of these.
        reply.add_answer(*(RR(label, QTYPE.A, ttl=TTL_S, rdata=A(address)) for address in addresses))
    return reply


def _reverse(zone: Zone, container_id: str, query: DNSRecord) -> DNSRecord | None:
    label = str(query.q.qname).rstrip(".").lower()
    if not label.endswith(_REVERSE):
        return None
    name = zone.name(container_id, ".".join(reversed(label.removesuffix(_REVERSE).split("."))))
    if not name:
        return None
    reply = _reply(query)
    reply.add_answer(RR(query.q.qname, QTYPE.PTR, ttl=TTL_S, rdata=PTR(name)))
    return reply


def _reply(query: DNSRecord) -> DNSRecord:
    reply = query.reply(aa=1)
    if any(one.rtype == QTYPE.OPT for one in query.ar):
        reply.add_ar(EDNS0(udp_len=_OUR_UDP_BYTES))
    return reply


def failure(query: DNSRecord) -> bytes:
    """SERVFAIL: nobody could be asked."""
    reply = query.reply()
    reply.header.rcode = RCODE.SERVFAIL
    return bytes(reply.pack())


def packed_for_udp(query: DNSRecord, reply: DNSRecord) -> bytes:
    """The reply, cut to whole answers that fit what the client said it takes, and then marked as truncated (RFC 2181, 9)."""
    packed = bytes(reply.pack())
    limit = max([_PLAIN_UDP_BYTES, *(one.edns_len for one in query.ar if one.rtype == QTYPE.OPT)])
    while len(packed) > limit and reply.rr:
        del reply.rr[-max(1, (len(packed) - limit) // _ANSWER_BYTES) :]
        reply.header.tc = 1
        packed = bytes(reply.pack())
    return packed
