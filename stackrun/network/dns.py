"""The dns process: answers at 127.0.0.11 inside every container, whether or not a daemon runs.

Each container's sockets were opened inside its network namespace and handed over, so the socket a question
arrives on says whose it is; this process itself stays in the host's namespace.  It is told things over a
SOCK_SEQPACKET connection, one JSON object a message, answered by one (`dns_client` is the other side):

    {"op": "set", "container": ID, "networks": [[NETWORK, DOMAIN, ADDRESS, [NAME…]]…], "links": {ALIAS: NAME},
     "upstreams": [ADDRESS…], "sockets": 0 or 2, "pid_fd": bool}   with the descriptors: udp, tcp, pidfd
    {"op": "drop", "container": ID}        {"op": "list"}  →  {"containers": [ID…]}
    {"op": "known", "container": ID}  →  {"known_for_s": seconds for which somebody may go by an answer with its address}

A container's pidfd tells when it ends, and then its sockets are closed at once: as long as one is open, the
kernel keeps the namespace.  The process ends when it serves nobody and no daemon is connected.

Everything that is asked comes from containers, which nobody trusts, so it runs as nobody.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import socket
import struct
from collections.abc import Callable
from functools import partial
from typing import Any

from dnslib import DNSRecord

from stackrun.kernel import privileges, syscalls
from stackrun.network import zone
from stackrun.network.forward import Forwarder
from stackrun.network.reactor import READ, Reactor
from stackrun.network.zone import Membership, Zone

LISTENER_FD = 3
MESSAGE_BYTES = 1 << 20
_FDS_MAX = 3
_NOBODY = 65534
_UNUSED_S = 60.0
"""How long a process that nobody ever connected to stays."""
_STREAMS_MAX = 32
_STREAM_LIFE_S = 30.0
_QUESTION_BYTES = 4096
_DATAGRAMS_AT_ONCE = 64


class Container:
    """One container's sockets, and what it sees besides its networks' names."""

    __slots__ = ("container_id", "links", "pid_fd", "streams", "tcp", "udp", "upstreams")

    def __init__(self, container_id: str) -> None:
        self.container_id = container_id
        self.udp: socket.socket | None = None
        self.tcp: socket.socket | None = None
        self.pid_fd = -1
        self.links: dict[str, str] = {}
        self.upstreams: tuple[str, ...] = ()
        self.streams: set[Stream] = set()


class Server:
    """All containers, all controllers, one loop."""

    def __init__(self, listener: socket.socket) -> None:
        self._reactor = Reactor()
        self._zone = Zone()
        self._forwarder = Forwarder(self._reactor)
        self._containers: dict[str, Container] = {}
        self._controllers: set[socket.socket] = set()
        self._listener = listener
        listener.setblocking(False)
        self._reactor.watch(listener.fileno(), self._accept_controller)
        self._reactor.after(_UNUSED_S, self._stop_if_unused)

    def run(self) -> None:
        self._reactor.run()

    # --- controllers ---------------------------------------------------------------------------

    def _accept_controller(self) -> None:
        connection, _ = self._listener.accept()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, MESSAGE_BYTES)
        self._controllers.add(connection)
        self._reactor.watch(connection.fileno(), lambda: self._controlled(connection))

    def _controlled(self, connection: socket.socket) -> None:
        try:
            message, fds, _, _ = socket.recv_fds(connection, MESSAGE_BYTES, _FDS_MAX)
        except ConnectionError:
            message, fds = b"", []
        if not message:
            self._reactor.forget(connection.fileno())
            connection.close()
            self._controllers.discard(connection)
            self._stop_if_unused()
            return
        reply = self._obeyed(json.loads(message), fds)
        with contextlib.suppress(ConnectionError):  # its end is read in the next round
            connection.send(json.dumps(reply).encode())

    def _obeyed(self, request: dict[str, Any], fds: list[int]) -> dict[str, Any]:
        if request["op"] == "set":
            self._set(request, fds)
        elif request["op"] == "drop":
            self._drop(request["container"])
        elif request["op"] == "known":
            return {"known_for_s": self._zone.known_for_s(request["container"])}
        return {"containers": sorted(self._containers)} if request["op"] == "list" else {}

    def _set(self, request: dict[str, Any], fds: list[int]) -> None:
        container_id = request["container"]
        container = self._containers.setdefault(container_id, Container(container_id))
        self._zone.set(container_id, [Membership(*membership) for membership in request["networks"]])
        container.links = {alias.lower(): name for alias, name in request["links"].items()}
        container.upstreams = tuple(request["upstreams"])
        if request["sockets"]:
            self._serve(container, socket.socket(fileno=fds.pop(0)), socket.socket(fileno=fds.pop(0)))
        if request["pid_fd"]:
            self._follow(container, fds.pop(0))

    def _serve(self, container: Container, udp: socket.socket, tcp: socket.socket) -> None:
        self._close_sockets(container)
        for one in (udp, tcp):
            one.setblocking(False)
        container.udp, container.tcp = udp, tcp
        self._reactor.watch(udp.fileno(), lambda: self._datagrams(container, udp))
        self._reactor.watch(tcp.fileno(), lambda: self._accept_stream(container, tcp))

    def _follow(self, container: Container, pid_fd: int) -> None:
        self._close_pid_fd(container)
        container.pid_fd = pid_fd
        self._reactor.watch(pid_fd, lambda: self._drop(container.container_id))

    def _drop(self, container_id: str) -> None:
        container = self._containers.pop(container_id, None)
        if container is None:
            return
        self._zone.forget(container_id)
        self._close_sockets(container)
        self._close_pid_fd(container)
        for stream in tuple(container.streams):
            stream.close()
        self._stop_if_unused()

    def _close_sockets(self, container: Container) -> None:
        for one in (container.udp, container.tcp):
            if one is not None:
                self._reactor.forget(one.fileno())
                one.close()
        container.udp = container.tcp = None

    def _close_pid_fd(self, container: Container) -> None:
        if container.pid_fd >= 0:
            self._reactor.forget(container.pid_fd)
            os.close(container.pid_fd)
            container.pid_fd = -1

    def _stop_if_unused(self) -> None:
        if not self._containers and not self._controllers:
            with contextlib.suppress(BlockingIOError):
                self._accept_controller()  # one that came just now keeps us
                return
            self._reactor.stop()

    # --- questions -----------------------------------------------------------------------------

    def _datagrams(self, container: Container, udp: socket.socket) -> None:
        for _ in range(_DATAGRAMS_AT_ONCE):  # others have their turn too
            try:
                packet, client = udp.recvfrom(_QUESTION_BYTES)
            except BlockingIOError:
                return
            self.answer(container, packet, stream=False, send=partial(_send_datagram, udp, client))

    def _accept_stream(self, container: Container, tcp: socket.socket) -> None:
        try:
            connection, _ = tcp.accept()
        except OSError:  # the client gave up already, or we have no descriptor left
            return
        connection.setblocking(False)
        if len(container.streams) >= _STREAMS_MAX:
            connection.close()
            return
        Stream(self, self._reactor, container, connection)

    def answer(self, container: Container, packet: bytes, *, stream: bool, send: Callable[[bytes], None]) -> None:
        """Calls `send` with the reply, now or when a resolver has given it; never for what is no question."""
        query = zone.parsed(packet)
        if query is None:
            return
        reply = zone.answer(self._zone, container.container_id, container.links, query)
        if reply is not None:
            send(bytes(reply.pack()) if stream else zone.packed_for_udp(query, reply))
            return
        self._forwarder.ask(packet, container.upstreams, stream=stream, done=lambda found: send(found or zone.failure(query)))


class Stream:
    """A client's TCP connection: questions with their length before them, answered in any order (RFC 7766)."""

    def __init__(self, server: Server, reactor: Reactor, container: Container, connection: socket.socket) -> None:
        self._server = server
        self._reactor = reactor
        self._container = container
        self._connection = connection
        self._received = b""
        container.streams.add(self)
        reactor.watch(connection.fileno(), self._readable, READ)
        reactor.after(_STREAM_LIFE_S, self.close)

    def close(self) -> None:
        if self in self._container.streams:
            self._container.streams.discard(self)
            self._reactor.forget(self._connection.fileno())
            self._connection.close()

    def _readable(self) -> None:
        try:
            data = self._connection.recv(_QUESTION_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.close()
            return
        self._received += data
        self._questions()

    def _questions(self) -> None:
        while len(self._received) >= 2:
            (length,) = struct.unpack(">H", self._received[:2])
            if length > _QUESTION_BYTES:
                self.close()
                return
            if len(self._received) < 2 + length:
                return
            packet, self._received = self._received[2 : 2 + length], self._received[2 + length :]
            self._server.answer(self._container, packet, stream=True, send=self._send)

    def _send(self, reply: bytes) -> None:
        if self not in self._container.streams:
            return
        try:
            self._connection.sendall(struct.pack(">H", len(reply)) + reply)
        except OSError:  # a client that does not read loses its connection
            self.close()


def _send_datagram(udp: socket.socket, client: Any, reply: bytes) -> None:
    with contextlib.suppress(OSError):  # the container went, or its queue is full: UDP promises nothing
        udp.sendto(reply, client)


def _become_nobody() -> None:
    """Descriptors for a thousand containers first: the limit cannot be raised afterwards."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    os.chdir("/")
    if privileges.current().single_id:
        syscalls.capset(0, 0, 0)  # nobody else to become
    elif os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(_NOBODY, _NOBODY, _NOBODY)
        os.setresuid(_NOBODY, _NOBODY, _NOBODY)


def _load_everything() -> None:
    """Whatever Python imports only when it is first used, while files can still be read."""
    question = DNSRecord.question("stackrun")
    zone.packed_for_udp(question, question.reply())
    zone.parsed(bytes(question.pack()))


def main() -> None:
    _load_everything()
    server = Server(socket.socket(fileno=LISTENER_FD))
    _become_nobody()
    server.run()


if __name__ == "__main__":
    main()
