"""Questions about names that are not ours, passed on to the host's own resolvers.

They are asked from the host's network namespace, since its resolvers may be on its loopback.  A question over
UDP is passed on over UDP and one over TCP over TCP; an answer goes back as it came, only its id is changed.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Callable, Sequence
from functools import partial

from stackrun.network.reactor import WRITE, Reactor

ATTEMPT_S = 1.5
"""How long one resolver has before the next is asked; libc itself waits 5 s for us (resolv.conf(5))."""
ROUNDS = 2
_PORT = 53
_LIMIT = 512
"""Questions under way at a time, as a guard against a container that only asks."""
_DATAGRAM_BYTES = 65535


class Forwarder:
    """The way out, shared by all containers."""

    def __init__(self, reactor: Reactor) -> None:
        self._reactor = reactor
        self._under_way = 0

    def ask(self, packet: bytes, upstreams: Sequence[str], *, stream: bool, done: Callable[[bytes | None], None]) -> None:
        """Calls `done` once, with the answer, or with None when no resolver gave one."""
        if not upstreams or self._under_way >= _LIMIT:
            done(None)
            return
        self._under_way += 1

        def finished(answer: bytes | None) -> None:
            self._under_way -= 1
            done(answer)

        kind = _StreamQuestion if stream else _DatagramQuestion
        kind(self._reactor, packet, list(upstreams) * ROUNDS, finished).start()


class _Question:
    """One question, to one resolver after the other until one answers."""

    kind = socket.SOCK_DGRAM

    def __init__(self, reactor: Reactor, packet: bytes, upstreams: list[str], done: Callable[[bytes | None], None]) -> None:
        self._reactor = reactor
        self._packet = packet
        self._upstreams = upstreams
        self._done = done
        self._socket: socket.socket | None = None
        self._id = b""

    def start(self) -> None:
        """Asks the next resolver, or gives up."""
        while self._upstreams:
            self._id = os.urandom(2)
            try:
                asked = self._connect(self._upstreams.pop(0))
            except OSError:  # unreachable, no descriptors left: the next one may do
                self._close()
                continue
            self._reactor.after(ATTEMPT_S, partial(self._expired, asked))
            return
        self._done(None)

    def _connect(self, upstream: str) -> socket.socket:
        family = socket.AF_INET6 if ":" in upstream else socket.AF_INET
        self._socket = asked = socket.socket(family, self.kind | socket.SOCK_NONBLOCK)
        try:
            asked.connect((upstream, _PORT))
        except BlockingIOError:  # TCP says so while it connects
            self._reactor.watch(asked.fileno(), lambda: self._when_ready(asked, self._send), WRITE)
        else:
            self._send(asked)
        return asked

    def _when_ready(self, asked: socket.socket, step: Callable[[socket.socket], None]) -> None:
        try:
            step(asked)
        except BlockingIOError:
            return
        except OSError:  # ECONNREFUSED: nobody listens there
            self._close()
            self.start()

    def _await_answer(self, asked: socket.socket) -> None:
        self._reactor.watch(asked.fileno(), lambda: self._when_ready(asked, self._receive))

    def _send(self, asked: socket.socket) -> None:
        raise NotImplementedError

    def _receive(self, asked: socket.socket) -> None:
        raise NotImplementedError

    def _expired(self, asked: socket.socket) -> None:
        if self._socket is asked:
            self._close()
            self.start()

    def _answered(self, answer: bytes) -> None:
        """Only the answer to our question counts, by its random id on a port that is as random (RFC 5452)."""
        if answer[:2] != self._id or len(answer) < 12 or not answer[2] & 0x80:
            return
        self._close()
        self._done(self._packet[:2] + answer[2:])

    def _close(self) -> None:
        if self._socket is not None:
            self._reactor.forget(self._socket.fileno())
            self._socket.close()
            self._socket = None


class _DatagramQuestion(_Question):
    def _send(self, asked: socket.socket) -> None:
        asked.send(self._id + self._packet[2:])
        self._await_answer(asked)

    def _receive(self, asked: socket.socket) -> None:
        self._answered(asked.recv(_DATAGRAM_BYTES))


class _StreamQuestion(_Question):
    kind = socket.SOCK_STREAM

    def __init__(self, reactor: Reactor, packet: bytes, upstreams: list[str], done: Callable[[bytes | None], None]) -> None:
        super().__init__(reactor, packet, upstreams, done)
        self._received = b""

    def _send(self, asked: socket.socket) -> None:
        self._received = b""
        # A fresh connection's buffer takes any question whole: they have 50 bytes, or 4 KiB at the very most.
        asked.sendall(struct.pack(">H", len(self._packet)) + self._id + self._packet[2:])
        self._await_answer(asked)

    def _receive(self, asked: socket.socket) -> None:
        data = asked.recv(_DATAGRAM_BYTES)
        if not data:
            raise ConnectionResetError
        self._received += data
        if len(self._received) >= 2 and len(self._received) - 2 >= struct.unpack(">H", self._received[:2])[0]:
            self._answered(self._received[2:])
