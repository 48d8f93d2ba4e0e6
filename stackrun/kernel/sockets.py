"""Sockets without module `socket`, whose enums, and the modules it brings along, cost a start 4 ms and every fork their pages.

For what a container's start path imports; elsewhere use `socket`, whose sockets are of a subclass of the same class.
"""

from __future__ import annotations

import _socket
import struct
from _socket import (
    AF_INET,
    AF_NETLINK,
    AF_UNIX,
    CMSG_SPACE,
    MSG_CMSG_CLOEXEC,
    MSG_CTRUNC,
    MSG_PEEK,
    MSG_TRUNC,
    SCM_RIGHTS,
    SO_REUSEADDR,
    SOCK_CLOEXEC,
    SOCK_DGRAM,
    SOCK_RAW,
    SOCK_SEQPACKET,
    SOCK_STREAM,
    SOL_IP,
    SOL_SOCKET,
)

__all__ = [
    "AF_INET",
    "AF_NETLINK",
    "AF_UNIX",
    "CMSG_SPACE",
    "FD_BYTES",
    "MSG_CMSG_CLOEXEC",
    "MSG_CTRUNC",
    "MSG_PEEK",
    "MSG_TRUNC",
    "SCM_RIGHTS",
    "SOCK_CLOEXEC",
    "SOCK_DGRAM",
    "SOCK_RAW",
    "SOCK_SEQPACKET",
    "SOCK_STREAM",
    "SOL_IP",
    "SOL_SOCKET",
    "SO_REUSEADDR",
    "Socket",
    "pair",
    "send_fds",
    "unpack_fds",
]


FD_BYTES = struct.calcsize("i")

TYPE_CHECKING = False
if TYPE_CHECKING:
    from socket import socket as Socket  # noqa: N812 - a class, whatever its name
else:

    class Socket(_socket.socket):
        """One descriptor, close-on-exec; `Socket(fileno=fd)` takes over one that is there."""

        __slots__ = ()

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self.close()

        def accept(self):
            fd, address = self._accept()
            return Socket(fileno=fd), address


def pair(kind: int = SOCK_STREAM) -> tuple[Socket, Socket]:
    """Two connected unix sockets."""
    ours, theirs = _socket.socketpair(AF_UNIX, kind)
    return Socket(fileno=ours.detach()), Socket(fileno=theirs.detach())


def send_fds(sock: Socket, data: bytes, fds: list[int] | tuple[int, ...]) -> None:
    """SCM_RIGHTS of unix(7).  Not by module `array`, which imports `collections` for what it registers there."""
    sock.sendmsg([data], [(SOL_SOCKET, SCM_RIGHTS, struct.pack(f"{len(fds)}i", *fds))] if fds else [])


def unpack_fds(data: bytes) -> tuple[int, ...]:
    count = len(data) // FD_BYTES
    return struct.unpack_from(f"{count}i", data)
