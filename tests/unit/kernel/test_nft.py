"""Our packing against pyroute2's nftables classes, and the parts that only the kernel's header defines."""

from __future__ import annotations

import struct

from pyroute2.netlink.nfnetlink.nftsocket import nft_chain_msg, nft_rule_msg, nft_set_msg

from stackrun.kernel import nft
from stackrun.kernel.netlink import NLM_F_ACK, Reply


def decoded(kind: type, message: bytes) -> object:
    found = kind(message)
    found.decode()
    return found


def test_a_rule() -> None:
    register = nft.REGISTER[0]
    request = nft.add_rule(
        "t", "c", nft.load_meta(nft.META_IIFNAME, register), nft.compare(register, b"sr-"), nft.verdict(nft.ACCEPT), comment="stackrun: x"
    )
    rule = decoded(nft_rule_msg, request.message)
    assert rule.get_attr("NFTA_RULE_TABLE") == "t"
    assert rule.get_attr("NFTA_RULE_USERDATA") == "stackrun: x"
    names = [one.get_attr("NFTA_EXPR_NAME") for one in rule.get_attr("NFTA_RULE_EXPRESSIONS")]
    assert names == ["meta", "cmp", "immediate"]


def test_a_chain_hooks_where_it_says() -> None:
    chain = decoded(nft_chain_msg, nft.add_base_chain("t", "c", "nat", nft.PREROUTING, nft.PRIORITY_DNAT).message)
    hook = chain.get_attr("NFTA_CHAIN_HOOK")
    assert (hook.get_attr("NFTA_HOOK_HOOKNUM"), hook.get_attr("NFTA_HOOK_PRIORITY")) == (0, -100)
    assert chain.get_attr("NFTA_CHAIN_TYPE") == "nat"


def test_a_map_of_concatenations() -> None:
    request = nft.add_set("t", "m", (nft.TYPE_PROTOCOL, nft.TYPE_PORT), (nft.TYPE_IPV4, nft.TYPE_PORT))
    found = decoded(nft_set_msg, request.message)
    assert found.get_attr("NFTA_SET_KEY_LEN") == found.get_attr("NFTA_SET_DATA_LEN") == 8
    assert found.get_attr("NFTA_SET_KEY_TYPE") == 12 << 6 | 13
    assert found.get_attr("NFTA_SET_DATA_TYPE") == 7 << 6 | 13


def test_a_transaction_is_framed_and_its_frame_not_acknowledged() -> None:
    begin, inside, end = nft.batch([nft.add_table("t")])
    flags = [struct.unpack_from("=IHH", request.message)[2] & NLM_F_ACK for request in (begin, inside, end)]
    assert flags == [0, NLM_F_ACK, 0]
    assert begin.message[16:20] == struct.pack(">BBH", 0, 0, 10)


def test_elements_are_cut_into_messages() -> None:
    elements = [nft.element(nft.port_key(port)) for port in range(900)]
    assert [len(request.message) > 60000 for request in nft.add_elements("t", "s", elements)] == [False, False, False]
    assert nft.delete_elements("t", "s", []) == []


def test_a_rule_is_read_back() -> None:
    request = nft.add_rule("filter", "FORWARD", nft.counter(), nft.verdict(nft.DROP), comment="stackrun: -j DROP")
    rule = nft.rule_of(Reply(0, request.message[16:], 0))
    assert (rule.table, rule.chain, rule.comment) == ("filter", "FORWARD", "stackrun: -j DROP")


def test_keys() -> None:
    assert nft.protocol_key(6) + nft.port_key(8080) == b"\x06\0\0\0\x1f\x90\0\0"
    assert nft.interface("sr-0") == b"sr-0" + bytes(12)
    assert nft.address("172.18.0.2") == b"\xac\x12\x00\x02"
