"""Our packing against pyroute2's decoding: what we write, somebody else reads."""

from __future__ import annotations

import errno
import struct

import pytest
from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
from pyroute2.netlink.rtnl.rtmsg import rtmsg

from stackrun.errors import KernelError
from stackrun.kernel import netlink
from stackrun.kernel.netlink import Reply, Request


def decoded(kind: type, request: Request) -> object:
    found = kind(request.message)
    found.decode()
    return found


def test_a_veth_is_born_with_its_peer_elsewhere() -> None:
    link = decoded(ifinfmsg, netlink.add_veth("srv0", 7, 1400, peer="eth0", peer_mac_address="02:42:0a:00:00:02", netns_pid=812))
    assert link["flags"] == link["change"] == 1
    assert link.get_attr("IFLA_IFNAME") == "srv0"
    assert link.get_attr("IFLA_MASTER") == 7
    assert link.get_attr("IFLA_MTU") == 1400
    assert link.get_nested("IFLA_LINKINFO", "IFLA_INFO_KIND") == "veth"
    peer = link.get_nested("IFLA_LINKINFO", "IFLA_INFO_DATA", "VETH_INFO_PEER")
    assert peer.get_attr("IFLA_IFNAME") == "eth0"
    assert peer.get_attr("IFLA_ADDRESS") == "02:42:0a:00:00:02"
    assert peer.get_attr("IFLA_NET_NS_PID") == 812
    by_descriptor = decoded(ifinfmsg, netlink.add_veth("srv0", 7, 1400, peer="eth0", peer_mac_address="02:42:0a:00:00:02", netns_fd=0))
    assert by_descriptor.get_nested("IFLA_LINKINFO", "IFLA_INFO_DATA", "VETH_INFO_PEER").get_attr("IFLA_NET_NS_FD") == 0


def test_a_bridge() -> None:
    link = decoded(ifinfmsg, netlink.add_bridge("sr-0", "02:42:ac:12:00:01", 1500))
    assert link.get_nested("IFLA_LINKINFO", "IFLA_INFO_KIND") == "bridge"
    assert link.get_attr("IFLA_ADDRESS") == "02:42:ac:12:00:01"
    assert decoded(ifinfmsg, netlink.set_alias("sr-0", "stackrun:abc")).get_attr("IFLA_IFALIAS") == "stackrun:abc"


def test_an_address_and_a_route() -> None:
    address = decoded(ifaddrmsg, netlink.add_address(2, "172.18.0.2", 16))
    assert (address["index"], address["prefixlen"]) == (2, 16)
    assert address.get_attr("IFA_LOCAL") == address.get_attr("IFA_ADDRESS") == "172.18.0.2"
    assert address.get_attr("IFA_BROADCAST") == "172.18.255.255"
    route = decoded(rtmsg, netlink.add_default_route("172.18.0.1"))
    assert (route["dst_len"], route["table"], route["type"]) == (0, 254, 1)
    assert route.get_attr("RTA_GATEWAY") == "172.18.0.1"


def test_a_batch_numbers_its_messages() -> None:
    data = netlink.joined([netlink.set_loopback_up().message, netlink.set_up("eth0").message])
    first_length, _, _, first = struct.unpack_from("=IHHI", data)
    assert first == 1
    assert struct.unpack_from("=IHHI", data, first_length)[3] == 2


def test_attributes_round_trip_and_survive_rubbish() -> None:
    packed = netlink.text(1, "a") + netlink.number(2, 5) + netlink.nested(3, netlink.text(1, "b"))
    assert netlink.attributes(packed) == {1: b"a\0", 2: struct.pack("=I", 5), 3: netlink.text(1, "b")}
    assert netlink.attribute_list(b"\1\0\1\0rest") == []
    assert netlink.attribute_list(b"\1") == []


def test_errors_name_the_request_and_the_kernel_s_words() -> None:
    requests = [Request("add one", b""), Request("add two", b"")]
    words = netlink.text(1, "name is taken")
    body = struct.pack("=Hi", 0x200, -errno.EEXIST) + bytes(16) + words
    failure = netlink.failure_of(requests, 2, Reply(2, body, 0))
    assert isinstance(failure, KernelError)
    assert (failure.call, failure.errno, failure.hint) == ("add two", errno.EEXIST, "name is taken")
    assert netlink.failure_of(requests, 1, Reply(2, struct.pack("=Hi", 0, 0) + bytes(16), 0)) is None


@pytest.mark.parametrize(("text_form", "expected"), [("02:42:ac:12:00:02", b"\x02\x42\xac\x12\x00\x02")])
def test_mac(text_form: str, expected: bytes) -> None:
    assert netlink.mac_bytes(text_form) == expected
