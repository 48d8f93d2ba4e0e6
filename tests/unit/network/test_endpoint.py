from __future__ import annotations

import struct

from stackrun.kernel import netlink
from stackrun.network.endpoint import Endpoint, container_batches, host_requests, inner_requests, mac_of


def endpoint(**changes: object) -> Endpoint:
    fields: dict[str, object] = {
        "network_id": "a" * 64,
        "endpoint_id": "0123456789abcdef" * 4,
        "interface": "eth0",
        "ipv4_address": "172.18.0.2",
        "prefix_length": 16,
        "gateway": "172.18.0.1",
        "mac_address": "02:42:ac:12:00:02",
        "bridge": "sr-aaaaaaaaaaaa",
        "mtu": 1500,
        "interface_index": 2,
    }
    return Endpoint(**{**fields, **changes})  # type: ignore[arg-type]


def words(requests: list[netlink.Request]) -> list[str]:
    return [request.description for request in requests]


def test_a_mac_address_follows_from_the_ipv4_address() -> None:
    assert mac_of("172.18.0.2") == "02:42:ac:12:00:02"


def test_the_host_s_side() -> None:
    one = endpoint()
    assert one.host_interface == "srv0123456789ab"
    assert words(host_requests(one, 7, netns_pid=1)) == [
        "add veth srv0123456789ab",
        "set address mode of srv0123456789ab",
        "set bridge port srv0123456789ab",
        "get link srv0123456789ab",
    ]


def test_the_container_s_side() -> None:
    assert words(inner_requests(endpoint())) == [
        "set address mode of eth0",
        "add address 172.18.0.2/16",
        "set eth0 up",
        "add default route via 172.18.0.1",
    ]
    for without in (endpoint(default_route=False), endpoint(gateway="")):
        assert "default" not in " ".join(words(inner_requests(without)))


def kinds(batch: bytes) -> list[tuple[int, bool]]:
    """Type of each message, and whether it asks for an acknowledgement."""
    found = []
    while batch:
        length, kind, flags = struct.unpack_from("=IHH", batch)
        found.append((kind, bool(flags & netlink.NLM_F_ACK)))
        batch = batch[(length + 3) & ~3 :]
    return found


def test_batches_for_init() -> None:
    (protocol, data), (second, rules) = container_batches([endpoint(), endpoint(interface="eth1", default_route=False)])
    assert (protocol, second) == (netlink.ROUTE, netlink.NETFILTER)
    assert kinds(data) == [(16, True), (16, True), (20, True), (16, True), (24, True), (16, True), (20, True), (16, True)]
    begin, *inside, end = kinds(rules)
    assert (begin, end) == ((0x10, False), (0x11, False)), "the kernel acknowledges neither"
    assert [kind for kind, _ in inside] == [0xA00, 0xA03, 0xA06, 0xA06]
    assert all(acknowledged for _, acknowledged in inside)


def test_a_container_without_a_network_has_its_loopback() -> None:
    ((protocol, data),) = container_batches([], dns=False)
    assert (protocol, kinds(data)) == (netlink.ROUTE, [(16, True)])


def test_the_resolver_s_rules_are_the_same_bytes_for_all() -> None:
    assert container_batches([endpoint()])[1] == container_batches([endpoint(ipv4_address="172.18.0.9")])[1]
