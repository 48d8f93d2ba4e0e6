"""A connection that is kept to a process which may die and get a successor under the same name."""

from __future__ import annotations

import asyncio
import select
import socket
from collections.abc import Callable

from stackrun.rootless import words

FIRST_PAUSE_S = 0.05
LONGEST_PAUSE_S = 5.0


class Line:
    """On the loop's thread. `back` is given the new connection each time that the one before has hung up, and closes it at its end."""

    def __init__(self, path: str, back: Callable[[socket.socket], None]) -> None:
        self._path = path
        self._back = back
        self._hang_up: select.epoll | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._pause_s = FIRST_PAUSE_S

    def watch(self, connection: socket.socket) -> None:
        """Asks for the hang-up alone: answers on this connection are for whoever asked."""
        self._hang_up = select.epoll()
        self._hang_up.register(connection, select.EPOLLRDHUP)
        asyncio.get_running_loop().add_reader(self._hang_up.fileno(), self._hung_up)

    def _hung_up(self) -> None:
        self._disarm()
        self._pause_s = FIRST_PAUSE_S
        self._later()

    def _later(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._pause_s, self._call)
        self._pause_s = min(self._pause_s * 2, LONGEST_PAUSE_S)

    def _call(self) -> None:
        self._timer = None
        connection = words.seqpacket()
        try:
            connection.connect(self._path)
        except OSError:
            connection.close()
            self._later()
            return
        self.watch(connection)
        self._back(connection)

    def _disarm(self) -> None:
        if self._hang_up is not None:
            asyncio.get_running_loop().remove_reader(self._hang_up.fileno())
            self._hang_up.close()
            self._hang_up = None

    def close(self) -> None:
        self._disarm()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
