from __future__ import annotations

import pytest

from stackrun.errors import InvalidArgument
from stackrun.network import firewall
from stackrun.network.firewall import Publication, Segment


def words(requests: list[object]) -> list[str]:
    return [request.description for request in requests]  # type: ignore[attr-defined]


FRONT = Segment("sr-aaaaaaaaaaaa", ("172.18.0.0/16",))
BACK = Segment("sr-bbbbbbbbbbbb", ("172.19.0.0/16", "172.20.0.0/16"), internal=True)


def test_the_whole_table_in_order() -> None:
    table = words(firewall.whole_table("stackrun", [FRONT], [Publication("tcp", "", 80, "172.18.0.2", 80)]))
    assert table[:3] == ["add nft table stackrun", "delete nft table stackrun", "add nft table stackrun"]
    assert [line for line in table if "chain" in line] == [
        f"add nft chain {name}" for name in ("guard", "prerouting", "output", "postrouting", "forward")
    ]
    assert sum("rule" in line for line in table) == 13
    assert table[-1] == "add to nft set published"


def test_a_network_is_elements_alone() -> None:
    assert words(firewall.added_segment("t", FRONT)) == [f"add to nft set {name}" for name in ("bridges", "same_bridge", "masqueraded")]
    assert words(firewall.removed_segment("t", BACK)) == [f"delete from nft set {name}" for name in ("bridges", "same_bridge", "internal")]
    routed = Segment("sr-aaaaaaaaaaaa", ("172.18.0.0/16",), masquerade=False)
    assert words(firewall.added_segment("t", routed)) == ["add to nft set bridges", "add to nft set same_bridge"]


def test_a_port_is_an_element_of_one_of_two_maps() -> None:
    everywhere, on_one = Publication("tcp", "0.0.0.0", 80, "172.18.0.2", 8080), Publication("udp", "127.0.0.1", 53, "172.18.0.2", 53)
    assert words(firewall.added_publications("t", [everywhere, on_one])) == ["add to nft set published", "add to nft set published_on"]
    assert words(firewall.removed_publications("t", [on_one])) == ["delete from nft set published_on"]
    assert firewall.added_publications("t", []) == []
    (request,) = firewall.added_publications("t", [everywhere])
    assert bytes((6, 0, 0, 0, 0, 80, 0, 0)) in request.message
    assert bytes((172, 18, 0, 2, 8080 >> 8, 8080 & 255, 0, 0)) in request.message


def test_many_ports_are_cut_into_messages() -> None:
    ports = [Publication("tcp", "", port, "172.18.0.2", 80) for port in range(1, 1002)]
    requests = firewall.added_publications("t", ports)
    assert len(requests) == 3
    assert all(len(request.message) < 65536 for request in requests)


def test_table_names() -> None:
    assert (firewall.table_name(""), firewall.table_name("x7")) == ("stackrun", "stackrun-x7")


def test_a_protocol_that_has_no_ports() -> None:
    with pytest.raises(InvalidArgument, match="sctp"):
        Publication("sctp", "", 80, "172.18.0.2", 80)
