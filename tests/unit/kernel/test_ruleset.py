"""The form of a table: what decides is kept, what the kernel adds or writes otherwise is not."""

from __future__ import annotations

import struct

from stackrun.kernel import nft, ruleset
from stackrun.kernel.netlink import attribute, nested, text


def be32(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack(">I", value))


def test_the_kernels_old_names_of_registers_and_what_it_adds_are_no_difference() -> None:
    ours = nested(4, nft.load_meta(nft.META_IIFNAME, 12), nft.lookup("bridges", 12))
    theirs = nested(
        4,
        attribute(1, text(1, "meta") + attribute(2, be32(2, nft.META_IIFNAME) + be32(1, 2))),
        attribute(1, text(1, "lookup") + attribute(2, text(1, "bridges") + be32(2, 2) + be32(5, 0) + be32(4, 7))),
    )
    assert ruleset.forms(ours[4:]) == ruleset.forms(theirs[4:])


def test_a_register_between_the_old_ones_keeps_its_number() -> None:
    first, second = (ruleset.forms(nft.load_meta(nft.META_IIFNAME, number)) for number in (8, 9))
    assert first != second


def test_another_value_verdict_or_set_is_a_difference() -> None:
    pairs = [
        (nft.compare(8, b"\x7f"), nft.compare(8, b"\x7e")),
        (nft.compare(8, b"\x7f"), nft.compare(8, b"\x7f", equal=False)),
        (nft.verdict(nft.DROP), nft.verdict(nft.ACCEPT)),
        (nft.verdict(nft.JUMP, "a"), nft.verdict(nft.JUMP, "b")),
        (nft.lookup("a", 8), nft.lookup("b", 8)),
        (nft.lookup("a", 8), nft.lookup("a", 8, inverted=True)),
        (nft.dnat(8, 9), nft.dnat(8, 10)),
        (nft.counter(), nft.masquerade()),
    ]
    assert all(ruleset.forms(one) != ruleset.forms(other) for one, other in pairs)


def test_what_requests_would_make() -> None:
    element = nft.element(b"k" * 4, b"v" * 4)
    found = ruleset.written(
        [
            nft.add_table("t"),
            nft.add_base_chain("t", "c", "nat", nft.OUTPUT, nft.PRIORITY_DNAT),
            nft.add_set("t", "empty", (nft.TYPE_IPV4,)),
            nft.add_rule("t", "c", nft.counter(), comment="mine"),
            *nft.add_elements("t", "m", [element, nft.interval(b"\n\0\0\0", b"\n\0\1\0")]),
        ]
    )
    assert found.chains == {"c": ruleset.Chain("nat", nft.OUTPUT, -100, nft.ACCEPT)}
    assert found.rules == {"c": [(("counter",),)]}
    assert found.elements == {"empty": set(), "m": {(b"kkkk", b"vvvv", False), (b"\n\0\0\0", b"", False), (b"\n\0\1\0", b"", True)}}


def test_an_expression_nobody_here_writes_is_compared_whole() -> None:
    one, other = (nested(1, text(1, "limit"), nested(2, be32(1, rate))) for rate in (1, 2))
    assert ruleset.forms(one) == ruleset.forms(one) != ruleset.forms(other)
