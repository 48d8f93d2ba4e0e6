"""What a network ought to look like against what is there: tables, one fault a row."""

from __future__ import annotations

from dataclasses import replace

import pytest

from stackrun.kernel.interfaces import Address, Holdings, Interface, Route
from stackrun.kernel.ruleset import Chain, Ruleset, written
from stackrun.network import firewall, truth
from stackrun.network.bridge import Network
from stackrun.network.endpoint import Endpoint
from stackrun.network.firewall import Publication
from stackrun.network.ipam import Pool

NETWORK = Network("ab" * 32, "front", (Pool("172.18.0.0/16", "172.18.0.1"),))
ENDPOINT = Endpoint(NETWORK.network_id, "cd" * 32, "eth0", "172.18.0.2", 16, "172.18.0.1", "02:42:ac:12:00:02", NETWORK.bridge, 1500)
BRIDGE = Interface(7, NETWORK.bridge, alias=f"stackrun:{NETWORK.network_id}", mtu=1500, kind="bridge")
HOST_END = Interface(9, ENDPOINT.host_interface, master=7, kind="veth", peer=2)
OUTSIDE = Holdings((BRIDGE, HOST_END), (Address(7, "172.18.0.1", 16),), (Route("172.18.0.0/16", 7), Route("0.0.0.0/0", 1, "10.0.0.1")))
INNER_END = Interface(2, "eth0", kind="veth", mac_address="02:42:ac:12:00:02")
INSIDE = Holdings((INNER_END,), (Address(2, "172.18.0.2", 16),), (Route("0.0.0.0/0", 2, "172.18.0.1"),))
PORT = Publication("tcp", "", 8080, "172.18.0.2", 80)


def told(faults: list[truth.Fault]) -> list[tuple[str, str, str]]:
    return [(one.field, one.declared, one.actual) for one in faults]


def with_bridge(**changes: object) -> Holdings:
    return replace(OUTSIDE, interfaces=(replace(BRIDGE, **changes), HOST_END))  # type: ignore[arg-type]


def test_nothing_is_wrong_with_what_was_made() -> None:
    assert truth.bridge_faults("stackrun", NETWORK, OUTSIDE) == []
    assert truth.endpoint_faults(ENDPOINT, OUTSIDE) == []
    assert truth.inner_faults(ENDPOINT, OUTSIDE, INSIDE) == []
    assert truth.route_fault([ENDPOINT], INSIDE) is None


@pytest.mark.parametrize(
    ("held", "expected"),
    [
        (Holdings(), ("bridge", NETWORK.bridge, "missing")),
        (with_bridge(is_up=False), ("bridge.state", "up", "down")),
        (with_bridge(mtu=1400), ("bridge.mtu", "1500", "1400")),
        (with_bridge(alias=""), ("bridge", f"bridge of stackrun:{NETWORK.network_id}", "bridge of nobody")),
        (replace(OUTSIDE, addresses=()), ("bridge.address", "172.18.0.1/16", "missing")),
        (replace(OUTSIDE, addresses=(Address(7, "172.18.0.1", 24),)), ("bridge.address", "172.18.0.1/16", "missing")),
        (replace(OUTSIDE, routes=()), ("bridge.route", f"172.18.0.0/16 on {NETWORK.bridge}", "missing")),
    ],
)
def test_a_bridge(held: Holdings, expected: tuple[str, str, str]) -> None:
    assert told(truth.bridge_faults("stackrun", NETWORK, held)) == [expected]


@pytest.mark.parametrize(
    ("host_end", "expected"),
    [
        (None, ("", f"veth on {NETWORK.bridge}", "missing")),
        (replace(HOST_END, master=0), (".master", NETWORK.bridge, "no bridge")),
        (replace(HOST_END, master=9), (".master", NETWORK.bridge, ENDPOINT.host_interface)),
        (replace(HOST_END, is_up=False), (".state", "up", "down")),
    ],
)
def test_a_link_from_the_host(host_end: Interface | None, expected: tuple[str, str, str]) -> None:
    held = replace(OUTSIDE, interfaces=(BRIDGE, *([host_end] if host_end else [])))
    field, declared, actual = expected
    assert told(truth.endpoint_faults(ENDPOINT, held)) == [(f"interface.{ENDPOINT.host_interface}{field}", declared, actual)]


@pytest.mark.parametrize(
    ("inside", "expected"),
    [
        (replace(INSIDE, addresses=()), ("interface.eth0.address", "172.18.0.2/16", "missing")),
        (replace(INSIDE, addresses=(Address(2, "10.9.9.9", 8),)), ("interface.eth0.address", "172.18.0.2/16", "10.9.9.9/8")),
        (replace(INSIDE, interfaces=(replace(INNER_END, is_up=False),)), ("interface.eth0.state", "up", "down")),
        (replace(INSIDE, interfaces=(replace(INNER_END, name="lan", mac_address="02:00:00:00:00:01"),)),
         ("interface.lan.mac", "02:42:ac:12:00:02", "02:00:00:00:00:01")),
    ],
)  # fmt: skip
def test_a_link_from_inside(inside: Holdings, expected: tuple[str, str, str]) -> None:
    assert told(truth.inner_faults(ENDPOINT, OUTSIDE, inside)) == [expected]


def test_the_way_out() -> None:
    internal = replace(ENDPOINT, gateway="", default_route=False)
    other = replace(ENDPOINT, gateway="172.19.0.1", default_route=False)
    nowhere = replace(INSIDE, routes=())
    fault = truth.route_fault([ENDPOINT], nowhere)
    assert fault is not None and (fault.field, fault.declared, fault.actual) == ("route.default", "via 172.18.0.1", "missing")
    assert truth.route_fault([internal], nowhere) is None
    elsewhere = replace(INSIDE, routes=(Route("0.0.0.0/0", 3, "172.19.0.1"),))
    assert truth.route_fault([ENDPOINT, other], elsewhere) is None, "another of its networks leads out"
    assert truth.route_fault([ENDPOINT], elsewhere) is not None


def table(networks: tuple[Network, ...] = (NETWORK,), publications: tuple[Publication, ...] = (PORT,)) -> Ruleset:
    return written(firewall.whole_table("t", [one.segment() for one in networks], publications))


def faults(found: Ruleset | None) -> list[tuple[str, str, str]]:
    return told(truth.table_faults("t", [NETWORK], [PORT], found))


def test_a_whole_table() -> None:
    assert faults(table()) == []
    assert faults(None) == [("nft.table", "ip t", "missing")]


def test_rules_and_chains() -> None:
    found = table()
    lost = found.rules["forward"].pop(2)
    assert faults(found) == [("nft.chain.forward", "5 rules", "rule 3 missing")]
    found.rules["forward"].insert(0, lost)
    assert faults(found) == [("nft.chain.forward", "5 rules", "5 rules in another order")]
    found = table()
    found.rules["forward"].append((("limit", b"x"),))
    assert faults(found) == [("nft.chain.forward", "5 rules", "1 foreign")]
    found = table()
    found.chains["guard"] = Chain("filter", 0, -300, 0)
    assert [field for field, _, _ in faults(found)] == ["nft.chain.guard"]
    del found.chains["guard"], found.rules["guard"]
    assert faults(found)[0][2] == "missing"


def test_elements_belong_to_a_network_or_a_port() -> None:
    found = truth.table_faults("t", [NETWORK], [PORT], table(publications=()))
    assert told(found) == [("ports.80/tcp", "0.0.0.0:8080 → 172.18.0.2:80", "closed")]
    assert found[0].publication == PORT
    elsewhere = table(publications=(replace(PORT, container_address="172.18.0.9"),))
    assert faults(elsewhere)[0] == ("ports.80/tcp", "0.0.0.0:8080 → 172.18.0.2:80", "leads elsewhere")
    found = truth.table_faults("t", [NETWORK], [PORT], table(networks=()))
    assert [(one.field, one.network_id) for one in found] == [
        (f"nft.set.{name}", NETWORK.network_id) for name in ("bridges", "same_bridge", "masqueraded")
    ]
    more = table(publications=(PORT, Publication("udp", "", 53, "172.18.0.2", 53)))
    assert faults(more) == [("nft.set.published", "none besides ours", "1 more")]


def test_sysctls() -> None:
    assert truth.sysctl_faults([("ipv4/ip_forward", "1")]) == []
    assert told(truth.sysctl_faults([("ipv4/ip_forward", "0"), ("ipv4/conf/x/forwarding", "")])) == [
        ("sysctl.net.ipv4.ip_forward", "1", "0"), ("sysctl.net.ipv4.conf.x.forwarding", "1", "missing"),
    ]  # fmt: skip
