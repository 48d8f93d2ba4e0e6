"""Netlink: sockets, attributes, and the rtnetlink messages that make links, addresses and routes.

netlink(7), rtnetlink(7), RFC 3549.  What happens once a container is packed by hand here, since building
the same messages out of pyroute2's classes costs more than the kernel's work; what happens once a network
(reading the host's links and routes) is decoded by those classes, imported only then: they cost 0.2 s.

A request is sent whole and the kernel answers it within sendmsg, so the answers are already queued when
the call returns: nothing here waits, except for the parts of a dump.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from stackrun.errors import KernelError
from stackrun.kernel import privileges, syscalls

ROUTE = 0
NETFILTER = 12
LINK_GROUP = 1
"""RTNLGRP_LINK: every change of a link is multicast there."""

NLM_F_REQUEST = 0x1
NLM_F_ACK = 0x4
NLM_F_DUMP = 0x300
NLM_F_REPLACE = 0x100
NLM_F_EXCL = 0x200
NLM_F_CREATE = 0x400
NLM_F_APPEND = 0x800
_CHANGE = NLM_F_REQUEST | NLM_F_ACK
_NEW = _CHANGE | NLM_F_CREATE | NLM_F_EXCL

_NLMSG_ERROR = 2
_NLMSG_DONE = 3
_RTM_NEWLINK, _RTM_DELLINK, _RTM_GETLINK = 16, 17, 18
_RTM_NEWADDR, _RTM_NEWROUTE, _RTM_GETROUTE = 20, 24, 26

_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_MTU, _IFLA_LINK, _IFLA_MASTER = 1, 3, 4, 5, 10
_IFLA_LINKINFO, _IFLA_NET_NS_PID, _IFLA_IFALIAS = 18, 19, 20
_IFLA_AF_SPEC, _IFLA_GROUP, _IFLA_NET_NS_FD = 26, 27, 28
_IFLA_OPERSTATE, _IF_OPER_UP = 16, b"\x06"
_IFLA_INFO_KIND, _IFLA_INFO_DATA, _VETH_INFO_PEER = 1, 2, 1
_IFLA_INFO_SLAVE_KIND, _IFLA_INFO_SLAVE_DATA = 4, 5
_IFLA_INET6_ADDR_GEN_MODE, _IN6_ADDR_GEN_MODE_NONE = 8, 1
_IFLA_BRPORT_MODE, _IFLA_BRPORT_ISOLATED = 4, 33
_IFA_ADDRESS, _IFA_LOCAL, _IFA_BROADCAST = 1, 2, 4
_RTA_GATEWAY = 5
_IFF_UP = 1
_NLA_F_NESTED = 0x8000
_NLA_TYPE_MASK = 0x3FFF
_SOL_NETLINK, _NETLINK_CAP_ACK, _NETLINK_EXT_ACK = 270, 10, 11
_NLMSGERR_ATTR_MSG = 1
_NLM_F_ACK_TLVS = 0x200
_SO_SNDBUFFORCE, _SO_RCVBUFFORCE = 32, 33
_BUFFER_BYTES = 4 << 20
LOOPBACK_INDEX = 1
"""The kernel gives `lo` this index in every network namespace (net/core/dev.c)."""

_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_LINK = struct.Struct("=BxHiII")
_ADDRESS = struct.Struct("=BBBBI")
_ROUTE = struct.Struct("=BBBBBBBBI")


@dataclass(frozen=True, slots=True)
class Request:
    """One message, whole, with the words an error names it by: `add bridge sr-0123456789ab`."""

    description: str
    message: bytes


_UNNAMED = Request("netlink message", b"")


# --- packing -----------------------------------------------------------------------------------


def attribute(kind: int, payload: bytes) -> bytes:
    """One attribute, padded to four bytes (struct nlattr)."""
    return _ATTRIBUTE.pack(len(payload) + 4, kind) + payload + b"\0" * (-len(payload) % 4)


def nested(kind: int, *parts: bytes) -> bytes:
    return attribute(kind | _NLA_F_NESTED, b"".join(parts))


def text(kind: int, value: str) -> bytes:
    return attribute(kind, value.encode() + b"\0")


def number(kind: int, value: int) -> bytes:
    """A 32-bit attribute in the machine's byte order, as rtnetlink has them."""
    return attribute(kind, struct.pack("=I", value))


def message(kind: int, flags: int, body: bytes) -> bytes:
    """A whole message; `joined` numbers it."""
    return _HEADER.pack(len(body) + 16, kind, flags, 0, 0) + body


def joined(messages: Sequence[bytes]) -> bytes:
    """One buffer for one sendmsg; each message's sequence number is its place from 1, so that answers name it."""
    buffer = bytearray()
    for place, one in enumerate(messages, 1):
        start = len(buffer)
        buffer += one
        struct.pack_into("=I", buffer, start + 8, place)
    return bytes(buffer)


def attributes(payload: bytes) -> dict[int, bytes]:
    """The attributes of one level, by their number; of repeated ones the last."""
    return dict(attribute_list(payload))


def attribute_list(payload: bytes) -> list[tuple[int, bytes]]:
    found = []
    offset = 0
    while offset + 4 <= len(payload):
        length, kind = _ATTRIBUTE.unpack_from(payload, offset)
        if length < 4:
            break
        found.append((kind & _NLA_TYPE_MASK, payload[offset + 4 : offset + length]))
        offset += (length + 3) & ~3
    return found


# --- sockets -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Reply:
    """A message the kernel sent: its type, the body after the header, the port of whoever caused it."""

    kind: int
    body: bytes
    port: int


class Connection:
    """One netlink socket, usable from any thread.  It stays in the network namespace it was opened in."""

    def __init__(self, protocol: int, groups: Sequence[int] = ()) -> None:
        self._lock = threading.Lock()
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
        try:
            self._socket.bind((0, sum(1 << (group - 1) for group in groups)))
            for option in (_NETLINK_CAP_ACK, _NETLINK_EXT_ACK):
                self._socket.setsockopt(_SOL_NETLINK, option, 1)
            # The limits of net.core.*mem_max are for the unprivileged; a whole table goes in one message.
            forced = not privileges.current().rootless
            for option in (_SO_SNDBUFFORCE, _SO_RCVBUFFORCE) if forced else (socket.SO_SNDBUF, socket.SO_RCVBUF):
                self._socket.setsockopt(socket.SOL_SOCKET, option, _BUFFER_BYTES)
        except OSError as error:
            self._socket.close()
            raise KernelError("netlink bind", error.errno or 0) from None

    @property
    def port(self) -> int:
        """This socket's address among netlink's: what `Reply.port` says of changes made through it."""
        address: tuple[int, int] = self._socket.getsockname()
        return address[0]

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()

    def send(self, requests: Sequence[Request]) -> list[Reply]:
        """Sends all requests at once and returns what they answered, acknowledgements apart.

        Raises KernelError naming the first request that failed.  rtnetlink goes on after a failed
        message: the caller undoes what the others did.
        """
        with self._lock:
            self._sendmsg(joined([request.message for request in requests]), requests)
            return self._answers(requests)

    def send_raw(self, data: bytes) -> list[Reply]:
        """A batch that was packed before; an error can only say which message of it failed, counted from 1."""
        with self._lock:
            self._sendmsg(data, [_UNNAMED])
            return self._answers([_UNNAMED])

    def dump(self, request: Request) -> list[Reply]:
        """Every part of the answer to a dump; asked again when the kernel's list changed underneath (EINTR, EAGAIN)."""
        with self._lock:
            self._sendmsg(joined([request.message]), [request])
            found: list[Reply] = []
            while True:
                for sequence, reply in self._received(0):
                    if reply.kind == _NLMSG_DONE:
                        return found
                    if reply.kind == _NLMSG_ERROR:
                        raise failure_of([request], sequence, reply) or KernelError(request.description, errno.EPROTO)
                    found.append(reply)

    def events(self) -> list[Reply] | None:
        """What has been multicast since the last call; None when the kernel had to drop some."""
        found = []
        while True:
            try:
                found += [reply for _, reply in self._received(socket.MSG_DONTWAIT)]
            except BlockingIOError:
                return found
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                return None

    def _sendmsg(self, data: bytes, requests: Sequence[Request]) -> None:
        try:
            self._socket.send(data)
        except OSError as error:
            raise KernelError(requests[0].description, error.errno or 0) from None

    def _answers(self, requests: Sequence[Request]) -> list[Reply]:
        replies: list[Reply] = []
        failure: KernelError | None = None
        while True:
            try:
                received = list(self._received(socket.MSG_DONTWAIT))
            except BlockingIOError:
                break
            for sequence, reply in received:
                if reply.kind == _NLMSG_ERROR:
                    failure = failure or failure_of(requests, sequence, reply)
                else:
                    replies.append(reply)
        if failure is not None:
            raise failure
        return replies

    def _received(self, flags: int) -> Iterator[tuple[int, Reply]]:
        data = self._socket.recv(1 << 18, flags)
        offset = 0
        while offset + 16 <= len(data):
            length, kind, header_flags, sequence, port = _HEADER.unpack_from(data, offset)
            body = data[offset + 16 : offset + length]
            if kind == _NLMSG_ERROR:
                body = struct.pack("=H", header_flags) + body
            yield sequence, Reply(kind, body, port)
            offset += (length + 3) & ~3


def failure_of(requests: Sequence[Request], sequence: int, reply: Reply) -> KernelError | None:
    """The error a NLMSG_ERROR carries (None for an acknowledgement), with the kernel's own words as hint."""
    flags, code = struct.unpack_from("=Hi", reply.body)
    if not code:
        return None
    hint = ""
    if flags & _NLM_F_ACK_TLVS:
        # struct nlmsgerr is the code and the request's header; NETLINK_CAP_ACK leaves out its body.
        words = attributes(reply.body[2 + 4 + 16 :]).get(_NLMSGERR_ATTR_MSG, b"")
        hint = words.rstrip(b"\0").decode(errors="replace")
    known = 1 <= sequence <= len(requests) and requests[0] is not _UNNAMED
    return KernelError(requests[sequence - 1].description if known else f"{requests[0].description} {sequence}", -code, hint=hint)


def is_missing(error: KernelError) -> bool:
    """The link that a request named is not there: by index ENODEV, by name ENODEV too, save for old kernels' EINVAL."""
    return error.errno == errno.ENODEV


def connect_in(netns_fd: int, protocol: int) -> Connection:
    """A connection inside another network namespace.

    A thread of its own enters that namespace and ends there: namespaces belong to threads (setns(2)),
    so no other thread of this process ever leaves its own.
    """
    result: list[Connection | BaseException] = []

    def enter() -> None:
        try:
            syscalls.setns(netns_fd, syscalls.CLONE_NEWNET)
            result.append(Connection(protocol))
        except BaseException as error:  # carried to the caller's thread, raised there
            result.append(error)

    thread = threading.Thread(target=enter, name="netns")
    thread.start()
    thread.join()
    outcome = result[0]
    if isinstance(outcome, BaseException):
        raise outcome
    return outcome


# --- links, addresses, routes --------------------------------------------------------------------


def _link(flags: int = 0, change: int = 0, index: int = 0) -> bytes:
    return _LINK.pack(0, 0, index, flags, change)


def mac_bytes(address: str) -> bytes:
    return bytes.fromhex(address.replace(":", ""))


def add_bridge(name: str, mac_address: str, mtu: int) -> Request:
    """A bridge, up.  Its own address is set for good: else it follows its ports', and every neighbour's ARP entry breaks."""
    body = (
        _link(_IFF_UP, _IFF_UP)
        + text(_IFLA_IFNAME, name)
        + number(_IFLA_MTU, mtu)
        + attribute(_IFLA_ADDRESS, mac_bytes(mac_address))
        + nested(_IFLA_LINKINFO, text(_IFLA_INFO_KIND, "bridge"))
    )
    return Request(f"add bridge {name}", message(_RTM_NEWLINK, _NEW, body))


def set_alias(name: str, alias: str) -> Request:
    """Writes who a link belongs to where every tool shows it (`ip link`, /sys/class/net/NAME/ifalias)."""
    return Request(f"set alias of {name}", message(_RTM_NEWLINK, _CHANGE, _link() + text(_IFLA_IFNAME, name) + text(_IFLA_IFALIAS, alias)))


def without_link_local(name: str) -> Request:
    """Keeps the kernel from giving the link an fe80:: address when it comes up (rtnetlink IFLA_INET6_ADDR_GEN_MODE)."""
    mode = nested(_IFLA_AF_SPEC, nested(socket.AF_INET6, attribute(_IFLA_INET6_ADDR_GEN_MODE, bytes([_IN6_ADDR_GEN_MODE_NONE]))))
    return Request(f"set address mode of {name}", message(_RTM_NEWLINK, _CHANGE, _link() + text(_IFLA_IFNAME, name) + mode))


def set_up(name: str) -> Request:
    return Request(f"set {name} up", message(_RTM_NEWLINK, _CHANGE, _link(_IFF_UP, _IFF_UP) + text(_IFLA_IFNAME, name)))


def set_loopback_up() -> Request:
    return Request("set lo up", message(_RTM_NEWLINK, _CHANGE, _link(_IFF_UP, _IFF_UP, LOOPBACK_INDEX)))


def set_bridge_port(name: str, *, isolated: bool, hairpin: bool) -> Request:
    """`isolated` ports may not talk to one another; a `hairpin` port gets frames back that came from it (ip-link(8), bridge_slave)."""
    port = nested(
        _IFLA_LINKINFO,
        text(_IFLA_INFO_SLAVE_KIND, "bridge"),
        nested(
            _IFLA_INFO_SLAVE_DATA,
            attribute(_IFLA_BRPORT_MODE, bytes([hairpin])),
            attribute(_IFLA_BRPORT_ISOLATED, bytes([isolated])),
        ),
    )
    return Request(f"set bridge port {name}", message(_RTM_NEWLINK, _CHANGE, _link() + text(_IFLA_IFNAME, name) + port))


def add_veth(
    name: str, master_index: int, mtu: int, *, peer: str, peer_mac_address: str, netns_pid: int = 0, netns_fd: int = -1
) -> Request:
    """A pair: `name` here, up and a port of the bridge; `peer` born inside the namespace of a process or descriptor."""
    place = number(_IFLA_NET_NS_FD, netns_fd) if netns_fd >= 0 else number(_IFLA_NET_NS_PID, netns_pid)
    inside = _link() + text(_IFLA_IFNAME, peer) + number(_IFLA_MTU, mtu) + attribute(_IFLA_ADDRESS, mac_bytes(peer_mac_address)) + place
    body = (
        _link(_IFF_UP, _IFF_UP)
        + text(_IFLA_IFNAME, name)
        + number(_IFLA_MTU, mtu)
        + number(_IFLA_MASTER, master_index)
        + nested(_IFLA_LINKINFO, text(_IFLA_INFO_KIND, "veth"), nested(_IFLA_INFO_DATA, nested(_VETH_INFO_PEER, inside)))
    )
    return Request(f"add veth {name}", message(_RTM_NEWLINK, _NEW, body))


def get_link(name: str) -> Request:
    """Answered by one reply for `peer_index`."""
    return Request(f"get link {name}", message(_RTM_GETLINK, NLM_F_REQUEST, _link() + text(_IFLA_IFNAME, name)))


def peer_index(reply: Reply) -> int:
    """The index that the other end of a veth has in its own namespace."""
    return int(struct.unpack("=I", attributes(reply.body[16:])[_IFLA_LINK])[0])


def carries_traffic(reply: Reply) -> bool:
    """The link's operational state is up (RFC 2863): its queue is active, and so is the bridge port that it may be."""
    return attributes(reply.body[16:]).get(_IFLA_OPERSTATE) == _IF_OPER_UP


def delete_link(name: str) -> Request:
    return Request(f"delete link {name}", message(_RTM_DELLINK, _CHANGE, _link() + text(_IFLA_IFNAME, name)))


def set_group(name: str, group: int) -> Request:
    return Request(f"set group of {name}", message(_RTM_NEWLINK, _CHANGE, _link() + text(_IFLA_IFNAME, name) + number(_IFLA_GROUP, group)))


def delete_group(group: int) -> Request:
    """Every link of the group: the kernel waits once for all of them that nobody looks at them any more, 10 ms and more (RCU)."""
    return Request(f"delete links of group {group}", message(_RTM_DELLINK, _CHANGE, _link() + number(_IFLA_GROUP, group)))


def add_address(index: int, address: str, prefix_length: int, *, replace: bool = False) -> Request:
    """An IPv4 address with its broadcast address, which the kernel leaves out by itself."""
    number_of = int(IPv4Address(address))
    broadcast = number_of | ((1 << (32 - prefix_length)) - 1)
    body = (
        _ADDRESS.pack(socket.AF_INET, prefix_length, 0, 0, index)
        + attribute(_IFA_LOCAL, number_of.to_bytes(4, "big"))
        + attribute(_IFA_ADDRESS, number_of.to_bytes(4, "big"))
        + attribute(_IFA_BROADCAST, broadcast.to_bytes(4, "big"))
    )
    flags = _CHANGE | NLM_F_CREATE | (NLM_F_REPLACE if replace else NLM_F_EXCL)
    return Request(f"add address {address}/{prefix_length}", message(_RTM_NEWADDR, flags, body))


def add_default_route(gateway: str) -> Request:
    """The interface follows from the gateway's own route.  (table main, protocol boot, scope universe, unicast)"""
    body = _ROUTE.pack(socket.AF_INET, 0, 0, 0, 254, 3, 0, 1, 0) + attribute(_RTA_GATEWAY, IPv4Address(gateway).packed)
    return Request(f"add default route via {gateway}", message(_RTM_NEWROUTE, _NEW, body))


# --- what the host has ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Route:
    """An IPv4 unicast route of any table: `172.18.0.0/16` or `0.0.0.0/0`, and the name of its interface ("" for none)."""

    destination: str
    interface: str


def routes(connection: Connection) -> tuple[Route, ...]:
    """Every IPv4 unicast route of this network namespace, in every table."""
    decoder = load_decoder()
    body = _ROUTE.pack(socket.AF_INET, 0, 0, 0, 0, 0, 0, 0, 0)
    replies = connection.dump(Request("list routes", message(_RTM_GETROUTE, NLM_F_REQUEST | NLM_F_DUMP, body)))
    return tuple(route for reply in replies if (route := _route(decoder, reply)) is not None)


def load_decoder() -> Any:
    """pyroute2's class for route messages.  Its import takes 0.2 s, so it waits until somebody asks."""
    from pyroute2.netlink.rtnl.rtmsg import rtmsg

    return rtmsg


def _route(decoder: Any, reply: Reply) -> Route | None:
    decoded = decoder(_HEADER.pack(len(reply.body) + 16, reply.kind, 0, 0, 0) + reply.body)
    decoded.decode()
    if decoded["type"] != 1:  # RTN_UNICAST: local and broadcast routes only repeat an interface's own subnet
        return None
    destination = decoded.get_attr("RTA_DST") or "0.0.0.0"
    index = decoded.get_attr("RTA_OIF") or 0
    return Route(f"{destination}/{decoded['dst_len']}", _interface_name(index) if index else "")


def _interface_name(index: int) -> str:
    try:
        return socket.if_indextoname(index)
    except OSError:  # gone between the dump and now
        return ""


def interface_index(name: str) -> int:
    """0 when there is no such interface."""
    try:
        return socket.if_nametoindex(name)
    except OSError:
        return 0


@dataclass(frozen=True, slots=True)
class Link:
    """`alias` is what `set_alias` wrote, `master` the index of the bridge whose port it is (0: none)."""

    index: int
    name: str
    alias: str
    master: int


def links(connection: Connection) -> tuple[Link, ...]:
    """Every link of the connection's network namespace."""
    replies = connection.dump(Request("list links", message(_RTM_GETLINK, NLM_F_REQUEST | NLM_F_DUMP, _link())))
    return tuple(decoded_link(reply.body) for reply in replies)


def decoded_link(body: bytes) -> Link:
    """A reply's to `get_link`, or of a dump of links."""
    found = attributes(body[16:])
    master = struct.unpack("=I", found.get(_IFLA_MASTER, bytes(4)))[0]
    return Link(_LINK.unpack_from(body)[2], _words(found, _IFLA_IFNAME), _words(found, _IFLA_IFALIAS), master)


def _words(found: dict[int, bytes], kind: int) -> str:
    return found.get(kind, b"").rstrip(b"\0").decode(errors="replace")


def read_sysctl(path: str) -> str:
    """Below /proc/sys/net; empty when there is no such one."""
    try:
        return Path(f"/proc/sys/net/{path}").read_text().strip()
    except OSError:
        return ""


def write_sysctl(path: str, value: str) -> bool:
    """Writes below /proc/sys/net unless it says so already; True when it was changed."""
    full = f"/proc/sys/net/{path}"
    try:
        with Path(full).open("r+") as file:
            if file.read().strip() == value:
                return False
            file.seek(0)
            file.write(value)
    except OSError as error:
        raise KernelError(f"write {full}", error.errno or 0) from None
    return True


def process_netns(pid: int) -> int:
    """A descriptor of a process's network namespace; the caller closes it."""
    try:
        return os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise KernelError(f"open /proc/{pid}/ns/net", error.errno or 0) from None
