"""nftables over netlink: expressions, tables, chains, sets and rules as bytes, sent as one transaction.

No `nft` program and no libnftables: the wire format is the kernel's own interface
(linux/netfilter/nf_tables.h), and a machine without Docker need not have either.  Numbers are big-endian
on this wire, save for what a rule compares with a register that holds the machine's order (`host32`).

A batch is a list of `Request`s between begin and end; the kernel takes all of it or none.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from stackrun.kernel.netlink import (
    NETFILTER,
    NLM_F_ACK,
    NLM_F_APPEND,
    NLM_F_CREATE,
    NLM_F_DUMP,
    NLM_F_REQUEST,
    Connection,
    Reply,
    Request,
    attribute,
    attributes,
    joined,
    message,
    nested,
    text,
)

EVENT_GROUP = 7
"""NFNLGRP_NFTABLES: every committed change is multicast there."""

_SUBSYSTEM = 10
_BATCH_BEGIN, _BATCH_END = 0x10, 0x11
NEW_TABLE, GET_TABLE, DELETE_TABLE = 0, 1, 2
NEW_CHAIN, GET_CHAIN, DELETE_CHAIN = 3, 4, 5
NEW_RULE, GET_RULE, DELETE_RULE = 6, 7, 8
NEW_SET, NEW_ELEMENT, DELETE_ELEMENT = 9, 12, 14

PREROUTING, FORWARD, OUTPUT, POSTROUTING = 0, 2, 3, 4
PRIORITY_RAW, PRIORITY_DNAT, PRIORITY_FILTER, PRIORITY_SNAT = -300, -100, 0, 100
"""Names of nft(8) for the places where iptables' tables hook in (linux/netfilter_ipv4.h)."""

VERDICT = 0
DROP, ACCEPT, JUMP, RETURN = 0, 1, -3, -5
REGISTER = tuple(range(8, 24))
"""The sixteen 32-bit registers.  A longer value fills the following ones too, so a concatenation is neighbours."""

NETWORK, TRANSPORT = 1, 2
META_IIFNAME, META_OIFNAME, META_L4PROTO = 6, 7, 16
CT_STATE, CT_STATUS = 0, 2
CT_ESTABLISHED, CT_RELATED = 2, 4
"""Bits of `ct state` (NF_CT_STATE_BIT)."""
CT_STATUS_DNAT = 0x20
"""IPS_DST_NAT."""
RTN_LOCAL = 2

TYPE_IPV4, TYPE_PROTOCOL, TYPE_PORT, TYPE_IFNAME = 7, 12, 13, 41
"""Data types by libnftables' numbers; the kernel only keeps them, so that `nft list` can print a set."""
SET_INTERVAL, SET_MAP = 4, 8
_WIDTH = {TYPE_IPV4: 4, TYPE_PROTOCOL: 4, TYPE_PORT: 4, TYPE_IFNAME: 16}
_ELEMENT_INTERVAL_END = 1
_ELEMENTS_PER_MESSAGE = 400
_COMMENT_UDATA = 0
_KEY_BYTE_ORDER_UDATA, _HOST_ORDER = 0, 1


def _be32(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack(">i" if value < 0 else ">I", value))


def _header(family: int = socket.AF_INET, resource: int = 0) -> bytes:
    return struct.pack(">BBH", family, 0, resource)


def host32(value: int) -> bytes:
    return struct.pack("=I", value)


def interface(name: str) -> bytes:
    """An interface's name as a register or set key holds it."""
    return name.encode().ljust(16, b"\0")


def protocol_key(number: int) -> bytes:
    return bytes((number, 0, 0, 0))


def port_key(port: int) -> bytes:
    return struct.pack(">HH", port, 0)


def address(text_form: str) -> bytes:
    return socket.inet_aton(text_form)


# --- expressions -------------------------------------------------------------------------------


def _expression(name: str, *parts: bytes) -> bytes:
    return nested(1, text(1, name), nested(2, *parts))


def _value(kind: int, data: bytes) -> bytes:
    return nested(kind, attribute(1, data))


def load_payload(base: int, offset: int, length: int, register: int) -> bytes:
    return _expression("payload", _be32(1, register), _be32(2, base), _be32(3, offset), _be32(4, length))


def load_meta(key: int, register: int) -> bytes:
    return _expression("meta", _be32(1, register), _be32(2, key))


def load_ct(key: int, register: int) -> bytes:
    return _expression("ct", _be32(1, register), _be32(2, key))


def load_address_type(register: int) -> bytes:
    """`fib daddr type`."""
    return _expression("fib", _be32(1, register), _be32(2, 3), _be32(3, 2))


def load(data: bytes, register: int) -> bytes:
    return _expression("immediate", _be32(1, register), _value(2, data))


def compare(register: int, data: bytes, *, equal: bool = True) -> bytes:
    return _expression("cmp", _be32(1, register), _be32(2, 0 if equal else 1), _value(3, data))


def mask(register: int, bits: bytes) -> bytes:
    return _expression("bitwise", _be32(1, register), _be32(2, register), _be32(3, len(bits)), _value(4, bits), _value(5, bytes(len(bits))))


def lookup(set_name: str, register: int, *, inverted: bool = False) -> bytes:
    return _expression("lookup", text(1, set_name), _be32(2, register), *([_be32(5, 1)] if inverted else []))


def look_up_into(map_name: str, register: int, result: int) -> bytes:
    return _expression("lookup", text(1, map_name), _be32(2, register), _be32(3, result))


def counter() -> bytes:
    return _expression("counter")


def dnat(address_register: int, port_register: int) -> bytes:
    return _expression("nat", _be32(1, 1), _be32(2, socket.AF_INET), _be32(3, address_register), _be32(5, port_register))


def masquerade() -> bytes:
    return _expression("masq")


def verdict(code: int, chain: str = "") -> bytes:
    target = text(2, chain) if chain else b""
    return _expression("immediate", _be32(1, VERDICT), nested(2, nested(2, _be32(1, code), target)))


# --- objects -----------------------------------------------------------------------------------


def _request(words: str, kind: int, flags: int, *parts: bytes) -> Request:
    return Request(words, message(_SUBSYSTEM << 8 | kind, NLM_F_REQUEST | NLM_F_ACK | flags, _header() + b"".join(parts)))


def add_table(table: str) -> Request:
    return _request(f"add nft table {table}", NEW_TABLE, NLM_F_CREATE, text(1, table), _be32(2, 0))


def delete_table(table: str) -> Request:
    return _request(f"delete nft table {table}", DELETE_TABLE, 0, text(1, table))


def add_base_chain(table: str, chain: str, kind: str, hook: int, priority: int) -> Request:
    """A chain that the kernel calls; `kind` is filter or nat; what falls off its end is accepted."""
    place = nested(4, _be32(1, hook), _be32(2, priority))
    return _request(
        f"add nft chain {chain}", NEW_CHAIN, NLM_F_CREATE, text(1, table), text(3, chain), place, _be32(5, ACCEPT), text(7, kind)
    )


def add_set(table: str, name: str, key: tuple[int, ...], value: tuple[int, ...] = (), *, interval: bool = False) -> Request:
    """A set of concatenated `key` types, or with `value` types a map."""
    flags = (SET_INTERVAL if interval else 0) | (SET_MAP if value else 0)
    parts = [text(1, table), text(2, name), _be32(3, flags), _be32(4, _concatenated(key)), _be32(5, _length(key))]
    if value:
        parts += [_be32(6, _concatenated(value)), _be32(7, _length(value))]
    if key == (TYPE_IFNAME,):
        # Kept for `nft list` alone: without it a name is shown as the empty string.
        parts.append(attribute(13, bytes((_KEY_BYTE_ORDER_UDATA, 4)) + host32(_HOST_ORDER)))
    return _request(f"add nft set {name}", NEW_SET, NLM_F_CREATE, *parts, _be32(10, 0))


def _concatenated(types: tuple[int, ...]) -> int:
    """libnftables packs the types of a concatenation six bits each."""
    number = 0
    for one in types:
        number = number << 6 | one
    return number


def _length(types: tuple[int, ...]) -> int:
    return sum(_WIDTH[one] for one in types)


def add_elements(table: str, set_name: str, elements: Sequence[bytes]) -> list[Request]:
    """`elements` are from `element` and `interval`; as many messages as 16-bit attribute lengths demand."""
    return [_elements(f"add to nft set {set_name}", NEW_ELEMENT, NLM_F_CREATE, table, set_name, part) for part in _parts(elements)]


def delete_elements(table: str, set_name: str, elements: Sequence[bytes]) -> list[Request]:
    return [_elements(f"delete from nft set {set_name}", DELETE_ELEMENT, 0, table, set_name, part) for part in _parts(elements)]


def _parts(elements: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    return (elements[start : start + _ELEMENTS_PER_MESSAGE] for start in range(0, len(elements), _ELEMENTS_PER_MESSAGE))


def _elements(words: str, kind: int, flags: int, table: str, set_name: str, elements: Sequence[bytes]) -> Request:
    return _request(words, kind, flags, text(1, table), text(2, set_name), nested(3, *elements))


def element(key: bytes, value: bytes = b"") -> bytes:
    return nested(1, _value(1, key), _value(2, value)) if value else nested(1, _value(1, key))


def interval(first: bytes, after: bytes) -> bytes:
    """Two elements: everything from `first` up to but not including `after`."""
    return nested(1, _value(1, first)) + nested(1, _value(1, after), _be32(3, _ELEMENT_INTERVAL_END))


def add_rule(table: str, chain: str, *expressions: bytes, comment: str = "", first: bool = False) -> Request:
    """At the end of its chain, or at its beginning; the comment is what `nft` and `iptables` show."""
    parts = [text(1, table), text(2, chain), nested(4, *expressions)]
    if comment:
        words = comment.encode() + b"\0"
        parts.append(attribute(7, bytes((_COMMENT_UDATA, len(words))) + words))
    return _request(f"add nft rule to {chain}", NEW_RULE, NLM_F_CREATE | (0 if first else NLM_F_APPEND), *parts)


def delete_rule(table: str, chain: str, handle: int) -> Request:
    return _request(
        f"delete nft rule from {chain}", DELETE_RULE, 0, text(1, table), text(2, chain), attribute(3, struct.pack(">Q", handle))
    )


# --- sending and reading -------------------------------------------------------------------------


def batch(requests: Sequence[Request]) -> list[Request]:
    """The requests as one transaction."""
    begin = message(_BATCH_BEGIN, NLM_F_REQUEST, _header(socket.AF_UNSPEC, _SUBSYSTEM))
    end = message(_BATCH_END, NLM_F_REQUEST, _header(socket.AF_UNSPEC, _SUBSYSTEM))
    return [Request("begin nft transaction", begin), *requests, Request("commit nft transaction", end)]


def batch_bytes(requests: Sequence[Request]) -> bytes:
    return joined([request.message for request in batch(requests)])


def connect() -> Connection:
    return Connection(NETFILTER)


@dataclass(frozen=True, slots=True)
class Chain:
    """A chain of a table of family ip (2) or inet (1); `hook` and `policy` are -1 where it has none."""

    family: int
    table: str
    name: str
    hook: int
    policy: int


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule of an `ip` table; `expressions` as the kernel gives them back, `comment` its owner's mark."""

    table: str
    chain: str
    handle: int
    comment: str
    expressions: bytes


def chains(connection: Connection) -> tuple[Chain, ...]:
    """Every chain of every family."""
    request = message(_SUBSYSTEM << 8 | GET_CHAIN, NLM_F_REQUEST | NLM_F_DUMP, _header(socket.AF_UNSPEC))
    return tuple(_chain(reply) for reply in connection.dump(Request("list nft chains", request)))


def _chain(reply: Reply) -> Chain:
    found = attributes(reply.body[4:])
    hook = _unsigned(attributes(found[4]).get(1)) if 4 in found else -1
    return Chain(reply.body[0], _string(found.get(1)), _string(found.get(3)), hook, _unsigned(found.get(5)))


def rules(connection: Connection, table: str) -> tuple[Rule, ...]:
    """Every rule of one `ip` table."""
    request = message(_SUBSYSTEM << 8 | GET_RULE, NLM_F_REQUEST | NLM_F_DUMP, _header() + text(1, table))
    found = (rule_of(reply) for reply in connection.dump(Request("list nft rules", request)))
    return tuple(rule for rule in found if rule.table == table)


def rule_of(reply: Reply) -> Rule:
    found = attributes(reply.body[4:])
    handle = int.from_bytes(found.get(3, b""), "big")
    return Rule(_string(found.get(1)), _string(found.get(2)), handle, _comment(found.get(7, b"")), found.get(4, b""))


def _comment(data: bytes) -> str:
    offset = 0
    while offset + 2 <= len(data):
        kind, length = data[offset], data[offset + 1]
        if kind == _COMMENT_UDATA:
            return _string(data[offset + 2 : offset + 2 + length])
        offset += 2 + length
    return ""


@dataclass(frozen=True, slots=True)
class Event:
    """A committed change: `kind` is NEW_CHAIN, DELETE_TABLE…; `port` is the netlink socket that made it."""

    kind: int
    family: int
    table: str
    port: int


def events(connection: Connection) -> tuple[Event, ...] | None:
    """Changes since the last call, of tables, chains, rules, sets and their elements; None when some were lost."""
    received = connection.events()
    if received is None:
        return None
    return tuple(_event(reply) for reply in received if reply.kind >> 8 == _SUBSYSTEM and reply.kind & 0xFF <= DELETE_ELEMENT)


def _event(reply: Reply) -> Event:
    return Event(reply.kind & 0xFF, reply.body[0], _string(attributes(reply.body[4:]).get(1)), reply.port)


def _unsigned(data: bytes | None) -> int:
    return int.from_bytes(data, "big") if data else -1


def _string(data: bytes | None) -> str:
    return (data or b"").rstrip(b"\0").decode(errors="replace")
