"""What a network namespace holds: its links, IPv4 addresses and routes as values, and news of their change.

Decoded by hand (rtnetlink(7)): this is read after every change that somebody makes, where pyroute2's classes would cost more than
all that follows.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Address

from stackrun.kernel import netlink
from stackrun.kernel.netlink import NLM_F_DUMP, NLM_F_REQUEST, Connection, Reply, Request, attributes, message

NEWS_GROUPS = (1, 5, 7)
"""RTNLGRP_LINK, RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV4_ROUTE."""

_NEW_LINK, _DELETE_LINK, _GET_LINK = 16, 17, 18
_NEW_ADDRESS, _DELETE_ADDRESS, _GET_ADDRESS = 20, 21, 22
_NEW_ROUTE, _DELETE_ROUTE, _GET_ROUTE = 24, 25, 26
_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_MTU, _IFLA_LINK, _IFLA_MASTER, _IFLA_LINKINFO, _IFLA_IFALIAS = 1, 3, 4, 5, 10, 18, 20
_IFLA_INFO_KIND = 1
_IFA_LOCAL = 2
_RTA_DST, _RTA_OIF, _RTA_GATEWAY, _RTA_PREFSRC = 1, 4, 5, 7
_CHANGE = NLM_F_REQUEST | netlink.NLM_F_ACK
_IFF_UP = 1
_TABLE_MAIN, _UNICAST = 254, 1
_LINK = struct.Struct("=BxHiII")
_ADDRESS = struct.Struct("=BBBBI")
_ROUTE = struct.Struct("=BBBBBBBBI")


@dataclass(frozen=True, slots=True)
class Interface:
    """A link.  `master`: the index of the bridge whose port it is, 0 for none; `peer`: a veth's other end, by its index there."""

    index: int
    name: str
    is_up: bool = True
    alias: str = ""
    master: int = 0
    mac_address: str = ""
    mtu: int = 0
    kind: str = ""
    peer: int = 0


@dataclass(frozen=True, slots=True)
class Address:
    index: int
    address: str
    prefix_length: int

    def __str__(self) -> str:
        return f"{self.address}/{self.prefix_length}"


@dataclass(frozen=True, slots=True)
class Route:
    """A unicast route of the main table: `0.0.0.0/0` for a default one; `gateway` empty where the destination is on the link."""

    destination: str
    index: int
    gateway: str = ""


@dataclass(frozen=True, slots=True)
class Holdings:
    """Everything of one namespace at (nearly) one moment."""

    interfaces: tuple[Interface, ...] = ()
    addresses: tuple[Address, ...] = ()
    routes: tuple[Route, ...] = ()

    def named(self, name: str) -> Interface | None:
        return next((one for one in self.interfaces if one.name == name), None)

    def addresses_of(self, index: int) -> tuple[str, ...]:
        return tuple(str(one) for one in self.addresses if one.index == index)

    @property
    def default_gateways(self) -> tuple[str, ...]:
        return tuple(one.gateway for one in self.routes if one.destination == "0.0.0.0/0")


@dataclass(frozen=True, slots=True)
class News:
    """A change: of the link `name`, or of an address or route on link `index`.

    `port`: whose netlink socket asked for it, or 0 when the kernel does not say.  `is_sound`: a link that is there, up, and the port
    of a bridge unless it is one; or an address or a route that has come.
    """

    index: int
    name: str
    port: int
    is_sound: bool = False


def holdings(connection: Connection) -> Holdings:
    """Three dumps of the connection's network namespace."""
    return Holdings(interfaces(connection), addresses(connection), routes(connection))


def interfaces(connection: Connection) -> tuple[Interface, ...]:
    return tuple(_interface(reply.body) for reply in _dump(connection, "list links", _GET_LINK, _LINK.pack(0, 0, 0, 0, 0)))


def addresses(connection: Connection) -> tuple[Address, ...]:
    replies = _dump(connection, "list addresses", _GET_ADDRESS, _ADDRESS.pack(socket.AF_INET, 0, 0, 0, 0))
    return tuple(one for reply in replies if (one := _address(reply.body)) is not None)


def routes(connection: Connection) -> tuple[Route, ...]:
    replies = _dump(connection, "list routes", _GET_ROUTE, _ROUTE.pack(socket.AF_INET, 0, 0, 0, 0, 0, 0, 0, 0))
    return tuple(one for reply in replies if (one := _route(reply.body)) is not None)


def news(connection: Connection, wanted: Callable[[str], bool]) -> tuple[News, ...] | None:
    """Changes since the last call, through a connection to NEWS_GROUPS; None when some were lost.

    Of links only those with a `wanted` name: where containers of others come and go all the time, the rest is not even decoded.
    """
    received = connection.events()
    return None if received is None else tuple(one for reply in received if (one := _news(reply, wanted)) is not None)


def _dump(connection: Connection, words: str, kind: int, body: bytes) -> list[Reply]:
    return connection.dump(Request(words, message(kind, NLM_F_REQUEST | NLM_F_DUMP, body)))


def _interface(body: bytes) -> Interface:
    _, _, index, flags, _ = _LINK.unpack_from(body)
    found = attributes(body[16:])
    info = attributes(found.get(_IFLA_LINKINFO, b""))
    return Interface(
        index=index,
        name=_words(found.get(_IFLA_IFNAME)),
        is_up=bool(flags & _IFF_UP),
        alias=_words(found.get(_IFLA_IFALIAS)),
        master=_number(found.get(_IFLA_MASTER)),
        mac_address=found.get(_IFLA_ADDRESS, b"").hex(":"),
        mtu=_number(found.get(_IFLA_MTU)),
        kind=_words(info.get(_IFLA_INFO_KIND)),
        peer=_number(found.get(_IFLA_LINK)),
    )


def _address(body: bytes) -> Address | None:
    family, prefix_length, _, _, index = _ADDRESS.unpack_from(body)
    local = attributes(body[_ADDRESS.size :]).get(_IFA_LOCAL)
    if family != socket.AF_INET or local is None:
        return None
    return Address(index, str(IPv4Address(local)), prefix_length)


def _route(body: bytes) -> Route | None:
    family, length, _, _, table, _, _, kind, _ = _ROUTE.unpack_from(body)
    if (family, table, kind) != (socket.AF_INET, _TABLE_MAIN, _UNICAST):
        return None
    found = attributes(body[_ROUTE.size :])
    destination = IPv4Address(found.get(_RTA_DST, bytes(4)))
    gateway = found.get(_RTA_GATEWAY)
    return Route(f"{destination}/{length}", _number(found.get(_RTA_OIF)), str(IPv4Address(gateway)) if gateway else "")


def _news(reply: Reply, wanted: Callable[[str], bool]) -> News | None:
    if reply.kind in (_NEW_LINK, _DELETE_LINK):
        if not wanted(_first_name(reply.body)):
            return None
        link = _interface(reply.body)
        placed = link.is_up and (link.kind == "bridge" or bool(link.master))
        return News(link.index, link.name, reply.port, placed and reply.kind == _NEW_LINK)
    if reply.kind in (_NEW_ADDRESS, _DELETE_ADDRESS):
        return News(_ADDRESS.unpack_from(reply.body)[4], "", reply.port, reply.kind == _NEW_ADDRESS)
    if reply.kind in (_NEW_ROUTE, _DELETE_ROUTE):
        route = _route(reply.body)
        return News(route.index, "", reply.port, reply.kind == _NEW_ROUTE) if route is not None else None
    return None


def _first_name(body: bytes) -> str:
    """The kernel tells a link's name before all else (rtnl_fill_ifinfo)."""
    length, kind = struct.unpack_from("=HH", body, 16)
    return _words(body[20 : 16 + length]) if kind == _IFLA_IFNAME else _words(attributes(body[16:]).get(_IFLA_IFNAME))


def _number(data: bytes | None) -> int:
    return int(struct.unpack("=I", data)[0]) if data else 0


def _words(data: bytes | None) -> str:
    return (data or b"").rstrip(b"\0").decode(errors="replace")


# --- mending -------------------------------------------------------------------------------------


def set_master(name: str, master_index: int) -> Request:
    """Makes a link, by name and up, a port of a bridge."""
    body = _LINK.pack(0, 0, 0, _IFF_UP, _IFF_UP) + netlink.text(_IFLA_IFNAME, name) + netlink.number(_IFLA_MASTER, master_index)
    return Request(f"make {name} a port", message(_NEW_LINK, _CHANGE, body))


def add_link_route(index: int, destination: str, source: str) -> Request:
    """The route that an address brings along by itself.  (table main, protocol kernel, scope link, unicast)"""
    network, _, length = destination.partition("/")
    body = (
        _ROUTE.pack(socket.AF_INET, int(length), 0, 0, _TABLE_MAIN, 2, 253, _UNICAST, 0)
        + netlink.attribute(_RTA_DST, IPv4Address(network).packed)
        + netlink.number(_RTA_OIF, index)
        + netlink.attribute(_RTA_PREFSRC, IPv4Address(source).packed)
    )
    return Request(f"add route to {destination}", message(_NEW_ROUTE, _CHANGE | netlink.NLM_F_CREATE | netlink.NLM_F_REPLACE, body))


def set_up_as(index: int, mac_address: str) -> Request:
    """A link up and with this hardware address."""
    body = _LINK.pack(0, 0, index, _IFF_UP, _IFF_UP) + netlink.attribute(_IFLA_ADDRESS, netlink.mac_bytes(mac_address))
    return Request(f"set link {index} up as {mac_address}", message(_NEW_LINK, _CHANGE, body))


def set_default_route(gateway: str) -> Request:
    """In the place of another one, or anew."""
    header = _ROUTE.pack(socket.AF_INET, 0, 0, 0, _TABLE_MAIN, 3, 0, _UNICAST, 0)
    body = header + netlink.attribute(_RTA_GATEWAY, IPv4Address(gateway).packed)
    return Request(f"set default route via {gateway}", message(_NEW_ROUTE, _CHANGE | netlink.NLM_F_CREATE | netlink.NLM_F_REPLACE, body))
