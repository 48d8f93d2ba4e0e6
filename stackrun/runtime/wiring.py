"""Sockets inside a container's network namespace: netlink batches and the places where the resolver listens.

The single-threaded caller visits the namespace for the moment a socket is made; a socket stays in the namespace it
was born in (network_namespaces(7)).
"""

from __future__ import annotations

import errno
import struct

from stackrun.errors import KernelError
from stackrun.kernel import namespaces, sockets

DNS_ADDRESS = "127.0.0.11"
DNS_PORT = 61053
_TIMEOUT_S = 10.0
_HEADER = struct.Struct("=IHHII")
_NLMSG_ERROR = 2
_NLM_F_ACK = 4
_NLM_F_ACK_TLVS = 0x200
_NLM_F_CAPPED = 0x100
_NLMSGERR_ATTR_MSG = 1
_SOL_NETLINK = 270
_IP_FREEBIND = 15
_NETLINK_CAP_ACK = 10
_NETLINK_EXT_ACK = 11


def configure(netns_fd: int, batches: list[tuple[int, bytes]]) -> None:
    """Send each batch in its own protocol and await its acknowledgements, in order.  KernelError for a refusal."""
    opened: dict[int, sockets.Socket] = {}
    try:
        with namespaces.Visit(netns_fd, "network"):
            for protocol in dict.fromkeys(protocol for protocol, _ in batches):
                opened[protocol] = sockets.Socket(sockets.AF_NETLINK, sockets.SOCK_RAW, protocol)
        for protocol, data in batches:
            _exchange(opened[protocol], protocol, data)
    finally:
        for sock in opened.values():
            sock.close()


def _exchange(sock: sockets.Socket, protocol: int, data: bytes) -> None:
    for option in (_NETLINK_CAP_ACK, _NETLINK_EXT_ACK):
        sock.setsockopt(_SOL_NETLINK, option, 1)
    sock.settimeout(_TIMEOUT_S)
    expected = _acknowledged(data)
    try:
        sock.sendto(data, (0, 0))
        while expected:
            expected -= _replies(sock.recv(65536), protocol)
    except TimeoutError:
        raise KernelError(f"netlink {protocol}: wait for acknowledgement", errno.ETIMEDOUT) from None
    except OSError as error:
        raise KernelError(f"netlink {protocol}: batch of {len(data)} bytes", error.errno or errno.EIO) from error


def _acknowledged(data: bytes) -> int:
    """How many messages of a batch ask for an acknowledgement."""
    count = offset = 0
    while offset + _HEADER.size <= len(data):
        length, _, flags, _, _ = _HEADER.unpack_from(data, offset)
        if length < _HEADER.size:
            raise KernelError("netlink: malformed batch", errno.EINVAL)
        count += bool(flags & _NLM_F_ACK)
        offset += (length + 3) & ~3
    return count


def _replies(data: bytes, protocol: int) -> int:
    count = offset = 0
    while offset + _HEADER.size <= len(data):
        length, kind, flags, sequence, _ = _HEADER.unpack_from(data, offset)
        if kind == _NLMSG_ERROR:
            (code,) = struct.unpack_from("=i", data, offset + _HEADER.size)
            if code:
                text = _explanation(data[offset : offset + length], flags)
                raise KernelError(f"netlink {protocol}: message {sequence}", -code, hint=text)
            count += 1
        offset += (length + 3) & ~3
    return count


def _explanation(message: bytes, flags: int) -> str:
    """The kernel's own words (NLMSGERR_ATTR_MSG), where it has any."""
    if not flags & _NLM_F_ACK_TLVS:
        return ""
    # errno, then the refused message: all of it, or capped to its header.
    refused = _HEADER.size if flags & _NLM_F_CAPPED else struct.unpack_from("=I", message, _HEADER.size + 4)[0]
    offset = _HEADER.size + 4 + ((refused + 3) & ~3)
    while offset + 4 <= len(message):
        length, kind = struct.unpack_from("=HH", message, offset)
        if kind & 0x3FFF == _NLMSGERR_ATTR_MSG:
            return message[offset + 4 : offset + length].rstrip(b"\0").decode("utf-8", "replace")
        offset += max((length + 3) & ~3, 4)
    return ""


def open_dns_sockets(netns_fd: int) -> tuple[int, int]:
    """(udp, listening tcp) at 127.0.0.11:61053, also while the loopback interface is still down (IP_FREEBIND)."""
    with namespaces.Visit(netns_fd, "network"):
        udp = sockets.Socket(sockets.AF_INET, sockets.SOCK_DGRAM)
        tcp = sockets.Socket(sockets.AF_INET, sockets.SOCK_STREAM)
    try:
        for sock in (udp, tcp):
            sock.setsockopt(sockets.SOL_IP, _IP_FREEBIND, 1)
            sock.setsockopt(sockets.SOL_SOCKET, sockets.SO_REUSEADDR, 1)
            sock.bind((DNS_ADDRESS, DNS_PORT))
        tcp.listen(64)
        return udp.detach(), tcp.detach()
    except OSError as error:
        raise KernelError(f"bind {DNS_ADDRESS}:{DNS_PORT}", error.errno or errno.EIO) from error
    finally:
        udp.close()
        tcp.close()
