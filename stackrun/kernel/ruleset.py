"""A table of nftables as a value, read alike from what we send and from what the kernel gives back.

The kernel adds to what it was told (counts, defaults, a flag nobody set) and names some registers by an older number, so an
expression's form keeps the attributes that decide what it does, and no others (linux/netfilter/nf_tables.h, nft_dump_register).
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from stackrun.errors import KernelError
from stackrun.kernel import nft
from stackrun.kernel.netlink import (
    NLM_F_DUMP,
    NLM_F_REQUEST,
    Connection,
    Request,
    attribute_list,
    attributes,
    message,
    text,
)

Form = tuple[object, ...]
"""An expression: its name, then the values that decide."""
Element = tuple[bytes, bytes, bool]
"""Key, value of a map or nothing, whether it is an interval's end."""

_SUBSYSTEM = 10
_GET_ELEMENT = 13
_REGISTERS: Mapping[str, tuple[int, ...]] = {
    "payload": (1,), "meta": (1,), "ct": (1,), "fib": (1,), "immediate": (1,), "cmp": (1,), "bitwise": (1, 2), "lookup": (2, 3),
    "nat": (3, 5),
}  # fmt: skip
_PLAIN: Mapping[str, tuple[int, ...]] = {
    "payload": (2, 3, 4), "meta": (2,), "ct": (2,), "fib": (2, 3), "immediate": (), "cmp": (2,), "bitwise": (3,), "lookup": (1, 5),
    "nat": (1, 2), "masq": (), "counter": (),
}  # fmt: skip
_DATA: Mapping[str, tuple[int, ...]] = {"immediate": (2,), "cmp": (3,), "bitwise": (4, 5)}
_NONE = bytes(4)


@dataclass(frozen=True, slots=True)
class Chain:
    """A base chain's place; -1 where it has none.  `policy`: nft.ACCEPT or nft.DROP."""

    kind: str
    hook: int
    priority: int
    policy: int


@dataclass(slots=True)
class Ruleset:
    """One table.  `rules`: chain → its rules in order, each the forms of its expressions."""

    chains: dict[str, Chain] = field(default_factory=dict)
    rules: dict[str, list[tuple[Form, ...]]] = field(default_factory=dict)
    elements: dict[str, set[Element]] = field(default_factory=dict)

    def add(self, kind: int, body: bytes) -> None:
        """A message without its headers; what is no chain, set, rule or element is left out."""
        found = attributes(body)
        if kind == nft.NEW_CHAIN:
            self.chains[_words(found.get(3))] = _chain(found)
        elif kind == nft.NEW_RULE:
            self.rules.setdefault(_words(found.get(2)), []).append(forms(found.get(4, b"")))
        elif kind == nft.NEW_SET:
            self.elements.setdefault(_words(found.get(2)), set())
        elif kind == nft.NEW_ELEMENT:
            held = self.elements.setdefault(_words(found.get(2)), set())
            held.update(_element(data) for _, data in attribute_list(found.get(3, b"")))


def written(requests: Iterable[Request]) -> Ruleset:
    """What the requests would make."""
    found = Ruleset()
    for request in requests:
        kind = struct.unpack_from("=IH", request.message)[1]
        if kind >> 8 == _SUBSYSTEM:
            found.add(kind & 0xFF, request.message[20:])
    return found


def present(connection: Connection, table: str, sets: Iterable[str]) -> Ruleset | None:
    """What the kernel has of an `ip` table, and of its `sets` the elements; None when there is no such table."""
    found = Ruleset()
    try:
        for name in sets:
            found.elements[name] = set()
            for body in _dump(connection, _GET_ELEMENT, text(1, table) + text(2, name)):
                found.add(nft.NEW_ELEMENT, body)
    except KernelError as error:
        if error.errno != errno.ENOENT:
            raise
    for get, kind in ((nft.GET_CHAIN, nft.NEW_CHAIN), (nft.GET_RULE, nft.NEW_RULE)):
        for body in _dump(connection, get, text(1, table)):
            if _words(attributes(body).get(1)) == table:
                found.add(kind, body)
    return found if found.chains else None


def _dump(connection: Connection, kind: int, parts: bytes) -> list[bytes]:
    """Bodies without their header."""
    asked = message(_SUBSYSTEM << 8 | kind, NLM_F_REQUEST | NLM_F_DUMP, struct.pack(">BBH", 2, 0, 0) + parts)
    return [reply.body[4:] for reply in connection.dump(Request("list an nft table", asked)) if reply.body[0] == 2]


# --- forms -----------------------------------------------------------------------------------------


@lru_cache(512)
def forms(expressions: bytes) -> tuple[Form, ...]:
    """Of a rule's expressions.  Every container has the same few rules."""
    return tuple(_form(data) for _, data in attribute_list(expressions))


def _form(data: bytes) -> Form:
    found = attributes(data)
    name, given = _words(found.get(1)), attributes(found.get(2, b""))
    if name not in _PLAIN:
        return name, found.get(2, b"")
    return (
        name,
        *(_register(given.get(number)) for number in _REGISTERS.get(name, ())),
        *(given.get(number, _NONE) for number in _PLAIN[name]),
        *(_value(given.get(number, b"")) for number in _DATA.get(name, ())),
    )


def _register(data: bytes | None) -> int:
    """The four 128-bit registers of old are the first of four 32-bit ones each."""
    number = int.from_bytes(data or b"", "big")
    return 8 + (number - 1) * 4 if 1 <= number <= 4 else number


def _value(data: bytes) -> Form:
    found = attributes(data)
    if 2 in found:
        verdict = attributes(found[2])
        return "verdict", verdict.get(1, _NONE), _words(verdict.get(2))
    return "value", found.get(1, b"")


def _element(data: bytes) -> Element:
    found = attributes(data)
    flags = int.from_bytes(found.get(3, b""), "big")
    return attributes(found.get(1, b"")).get(1, b""), attributes(found.get(2, b"")).get(1, b""), bool(flags & 1)


def _chain(found: Mapping[int, bytes]) -> Chain:
    hook = attributes(found.get(4, b""))
    return Chain(_words(found.get(7)), _signed(hook.get(1)), _signed(hook.get(2)), _signed(found.get(5)))


def _signed(data: bytes | None) -> int:
    return int.from_bytes(data, "big", signed=True) if data else -1


def _words(data: bytes | None) -> str:
    return (data or b"").rstrip(b"\0").decode(errors="replace")
