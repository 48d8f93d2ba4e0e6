"""What the kernel tells of a client at the other end of a unix socket beyond what arrives from it.

Both waits use an epoll of their own, itself readable when something happens, since asyncio's selector can wait neither for a hang-up
alone nor for an edge.
"""

from __future__ import annotations

import asyncio
import fcntl
import select
import socket
import struct
import termios
from collections.abc import Callable

_TAKEN_LIMIT_S = 0.2


class Departure:
    """Tells a half-closed client from one that is gone, and calls `on_gone` once.

    A unix socket tells them apart: EPOLLHUP comes only when the peer has closed both ways (unix_poll in the kernel).  Over TCP a FIN
    may be either; there it counts as gone unless the connection is hijacked, where the next write finds out.
    """

    def __init__(self, connected: socket.socket, on_gone: Callable[[], None]) -> None:
        self._socket = connected
        self._on_gone = on_gone
        self._watch: select.epoll | None = None
        self.hijacked = False

    def half_closed(self) -> None:
        """The client will send no more."""
        if self._socket.family != socket.AF_UNIX:
            if not self.hijacked:
                self._on_gone()
            return
        self._watch = select.epoll()
        self._watch.register(self._socket.fileno(), select.EPOLLHUP)
        asyncio.get_running_loop().add_reader(self._watch.fileno(), self._hung_up)

    def _hung_up(self) -> None:
        self.close()
        self._on_gone()

    def close(self) -> None:
        if self._watch:
            asyncio.get_running_loop().remove_reader(self._watch.fileno())
            self._watch.close()
            self._watch = None


async def taken(connected: socket.socket) -> None:
    """Returns once the peer has read all that was sent, or after a short while, or at once where the kernel does not tell (TCP).

    docker-py reads an answer's head through a buffer and what follows past it: output that arrives together with the head is lost
    to it.  Another engine is slow enough to hide that.
    """
    if connected.family != socket.AF_UNIX:
        return
    loop, moved, watch = asyncio.get_running_loop(), asyncio.Event(), select.epoll()
    watch.register(connected.fileno(), select.EPOLLOUT | select.EPOLLET)

    def edge() -> None:
        watch.poll(0)
        moved.set()

    loop.add_reader(watch.fileno(), edge)
    try:
        async with asyncio.timeout(_TAKEN_LIMIT_S):
            while _unread_bytes(connected):
                await moved.wait()
                moved.clear()
    except TimeoutError:
        return
    finally:
        loop.remove_reader(watch.fileno())
        watch.close()


def _unread_bytes(connected: socket.socket) -> int:
    """unix(7) SIOCOUTQ, which has the number of TIOCOUTQ: what the peer has not read yet, with the kernel's overhead."""
    return int(struct.unpack("i", fcntl.ioctl(connected.fileno(), termios.TIOCOUTQ, b"\0" * 4))[0])
