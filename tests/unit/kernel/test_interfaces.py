"""Our decoding of links, addresses and routes, against messages packed by pyroute2's classes."""

from __future__ import annotations

import struct
from typing import Any

from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
from pyroute2.netlink.rtnl.rtmsg import rtmsg

from stackrun.kernel import interfaces
from stackrun.kernel.interfaces import Address, Holdings, Interface, News, Route
from stackrun.kernel.netlink import Reply


class Told:
    """A connection that gives these messages to whoever dumps or listens."""

    def __init__(self, *replies: Reply) -> None:
        self.replies = list(replies)

    def dump(self, request: object) -> list[Reply]:
        return self.replies

    def events(self) -> list[Reply] | None:
        return self.replies


def packed(kind: Any, number: int, attributes: list[tuple[str, object]], **fields: object) -> Reply:
    message = kind()
    message.update(fields)
    message["attrs"] = attributes
    message.encode()
    return Reply(number, bytes(message.data[16:]), 0)


VETH = packed(
    ifinfmsg, 16,
    [
        ("IFLA_IFNAME", "srv1"), ("IFLA_MTU", 1500), ("IFLA_LINK", 2), ("IFLA_MASTER", 7), ("IFLA_ADDRESS", "02:42:ac:12:00:02"),
        ("IFLA_IFALIAS", "x"), ("IFLA_LINKINFO", {"attrs": [("IFLA_INFO_KIND", "veth")]}),
    ],
    index=9, flags=1, family=0,
)  # fmt: skip


def test_a_link() -> None:
    assert interfaces.interfaces(Told(VETH)) == (  # type: ignore[arg-type]
        Interface(9, "srv1", True, "x", 7, "02:42:ac:12:00:02", 1500, "veth", 2),
    )


def test_an_address_and_one_of_ipv6_that_is_left_out() -> None:
    ipv4 = packed(ifaddrmsg, 20, [("IFA_LOCAL", "172.18.0.1"), ("IFA_ADDRESS", "172.18.0.1")], family=2, prefixlen=16, index=7)
    ipv6 = packed(ifaddrmsg, 20, [("IFA_ADDRESS", "fe80::1")], family=10, prefixlen=64, index=7)
    assert interfaces.addresses(Told(ipv4, ipv6)) == (Address(7, "172.18.0.1", 16),)  # type: ignore[arg-type]


def test_routes_of_the_main_table_alone() -> None:
    default = packed(rtmsg, 24, [("RTA_GATEWAY", "172.18.0.1"), ("RTA_OIF", 2)], family=2, dst_len=0, table=254, type=1)
    on_link = packed(rtmsg, 24, [("RTA_DST", "172.18.0.0"), ("RTA_OIF", 2)], family=2, dst_len=16, table=254, type=1)
    local = packed(rtmsg, 24, [("RTA_DST", "172.18.0.2"), ("RTA_OIF", 2)], family=2, dst_len=32, table=255, type=2)
    found = interfaces.routes(Told(default, on_link, local))  # type: ignore[arg-type]
    assert found == (Route("0.0.0.0/0", 2, "172.18.0.1"), Route("172.18.0.0/16", 2))
    assert Holdings(routes=found).default_gateways == ("172.18.0.1",)


def test_news_tell_what_is_sound_and_what_is_not() -> None:
    gone = Reply(17, VETH.body, 0)
    loose = packed(ifinfmsg, 16, [("IFLA_IFNAME", "srv1")], index=9, flags=1, family=0)
    lost_address = packed(ifaddrmsg, 21, [("IFA_LOCAL", "172.18.0.1")], family=2, prefixlen=16, index=7)
    found = interfaces.news(Told(VETH, gone, loose, lost_address), lambda name: name == "srv1")  # type: ignore[arg-type]
    assert found == (News(9, "srv1", 0, True), News(9, "srv1", 0), News(9, "srv1", 0), News(7, "", 0))


def test_news_of_links_that_nobody_wants() -> None:
    late = packed(ifinfmsg, 16, [("IFLA_MTU", 1500), ("IFLA_IFNAME", "srv2")], index=9, flags=1, family=0)
    assert interfaces.news(Told(VETH, late), lambda name: name == "srv2") == (News(9, "srv2", 0),)  # type: ignore[arg-type]


def test_news_that_were_lost() -> None:
    class Deaf(Told):
        def events(self) -> None:
            return None

    assert interfaces.news(Deaf(), bool) is None  # type: ignore[arg-type]


def test_a_port_is_made_up_and_a_route_names_its_source() -> None:
    port = interfaces.set_master("srv1", 7)
    flags, change = struct.unpack_from("=II", port.message, 16 + 8)
    assert (flags, change) == (1, 1)
    route = rtmsg(interfaces.add_link_route(7, "172.18.0.0/16", "172.18.0.1").message)
    route.decode()
    assert (route.get_attr("RTA_DST"), route["dst_len"], route.get_attr("RTA_PREFSRC")) == ("172.18.0.0", 16, "172.18.0.1")
