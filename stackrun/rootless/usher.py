"""The process inside: it keeps the namespaces alive, and leads connections from published ports to their containers.

The sockets come from outside (`gate`), where they are bound; a socket stays in the network namespace it was made in, so
whoever accepts from it here meets the host's clients there.  The connection on to the container is made here, and reaches
it over the bridge.  Containers so see the bridge's gateway as the client, as with Docker's rootless mode.

Requests come as JSON (`words`) over <run>/usher.sock, from the daemon, which this process outlives.
"""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import socket
import time
from collections import Counter

from stackrun.errors import KernelError
from stackrun.kernel import process, syscalls
from stackrun.network.reactor import READ, WRITE, Reactor
from stackrun.rootless import words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from stackrun.rootless.words import Message

    Key = tuple[str, str, int]
    """Protocol, host address (empty: all), host port."""
    Target = tuple[str, int]

CHUNK_BYTES = 1 << 18
UDP_BYTES = 1 << 16
UDP_IDLE_S = 90.0
BACKLOG = 4096
LOOK_AGAIN_S = 10.0
_RESOLV_CONF = "/etc/resolv.conf"
_BREATH_S = 0.2
"""How long nobody is let in after the descriptors have run out."""


def main(listener: socket.socket, resolver: str) -> None:
    """Serves until it is killed. `resolver`: the file to be seen as /etc/resolv.conf, or empty."""
    process.set_name("stackrun-usher")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard) if soft != hard else (soft, hard))
    reactor = Reactor()
    if resolver:
        _cover_resolver(reactor, resolver)
    Usher(reactor).run(listener)


def _cover_resolver(reactor: Reactor, resolver: str) -> None:
    """Again and again: when the host's file is replaced, what covered it goes with it."""
    if not _is_same_file(resolver, _RESOLV_CONF):
        with contextlib.suppress(KernelError):  # there may be none for a moment
            syscalls.mount(resolver, _RESOLV_CONF, None, syscalls.MS_BIND)
    reactor.after(LOOK_AGAIN_S, lambda: _cover_resolver(reactor, resolver))


def _is_same_file(one: str, other: str) -> bool:
    try:
        return os.path.samefile(one, other)
    except OSError:
        return False


class Usher:
    def __init__(self, reactor: Reactor) -> None:
        self._reactor = reactor
        self._doors: dict[Key, TcpDoor | UdpDoor] = {}
        self._under_way: Counter[Target] = Counter()

    def run(self, listener: socket.socket) -> None:
        self._reactor.watch(listener.fileno(), lambda: self._accept(listener))
        self._reactor.run()

    def _accept(self, listener: socket.socket) -> None:
        connection, _ = listener.accept()
        self._reactor.watch(connection.fileno(), lambda: self._serve(connection))

    def _serve(self, connection: socket.socket) -> None:
        try:
            request, fds = words.receive(connection)
            try:
                answer = self._answer(request, fds)
            except OSError as error:
                words.send_failure(connection, error)
                return
            words.send(connection, answer)
            return
        except ConnectionError:
            pass  # whoever it was is gone
        self._reactor.forget(connection.fileno())
        connection.close()

    def _answer(self, request: Message, fds: list[int]) -> Message:
        """Routes are [protocol, host address, host port, container address, container port].  open: each with its descriptor, which
        is ours from then on; close: those that still lead where they say; retain: no others stay, answered with those that are
        missing; count: answered with the TCP connections that go on along them."""
        routes: dict[Key, Target] = {(one[0], one[1], one[2]): (one[3], one[4]) for one in request["routes"]}
        match request["request"]:
            case "open":
                for (key, target), fd in zip(routes.items(), fds, strict=True):
                    self._open(key, target, fd)
            case "close":
                for key, target in routes.items():
                    if key in self._doors and self._doors[key].target == target:
                        self._doors.pop(key).close()
            case "retain":
                for key in self._doors.keys() - routes.keys():
                    self._doors.pop(key).close()
                for key, door in self._doors.items():
                    door.turn(routes[key])
        return {
            "missing": [key for key in routes if key not in self._doors],
            "under_way": sum(self._under_way[target] for target in set(routes.values())),
        }

    def _open(self, key: Key, target: Target, fd: int) -> None:
        """One that is open already is turned, and nobody at the door notices."""
        if key in self._doors:
            os.close(fd)
            self._doors[key].turn(target)
        elif key[0] == "udp":
            self._doors[key] = UdpDoor(self._reactor, socket.socket(fileno=fd), target)
        else:
            self._doors[key] = TcpDoor(self._reactor, socket.socket(fileno=fd), target, self._under_way)


class TcpDoor:
    """A published TCP port: everybody who comes gets a connection to `target` of his own, counted while it goes on."""

    def __init__(self, reactor: Reactor, listener: socket.socket, target: Target, under_way: Counter[Target]) -> None:
        self._reactor = reactor
        self._listener = listener
        self._under_way = under_way
        self.target = target
        # What connections leave behind for a minute (TIME_WAIT) inherits this, and does not keep the next holder out then.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.listen(BACKLOG)
        listener.setblocking(False)
        reactor.watch(listener.fileno(), self._accept)

    def _accept(self) -> None:
        try:
            client, _ = self._listener.accept()
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                self._reactor.forget(self._listener.fileno())
                self._reactor.after(_BREATH_S, self._go_on)
            return
        Relay(self._reactor, client, self.target, self._under_way)

    def _go_on(self) -> None:
        if self._listener.fileno() >= 0:
            self._reactor.watch(self._listener.fileno(), self._accept)

    def turn(self, target: Target) -> None:
        """Whoever comes from now on; those who have come stay where they are."""
        self.target = target

    def close(self) -> None:
        """Not this copy alone: a container's shim holds the port by another, on which nobody would ever accept."""
        self._reactor.forget(self._listener.fileno())
        try:
            self._listener.shutdown(socket.SHUT_RDWR)
        except OSError as error:
            if error.errno != errno.ENOTCONN:
                raise
        self._listener.close()


class _End:
    """One of a relay's two sockets: `waiting` is still to be written to it; `ended`: it will send no more."""

    __slots__ = ("ended", "sock", "waiting")

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.waiting: memoryview = memoryview(b"")
        self.ended = False


class Relay:
    """Two connected sockets; what one sends goes to the other, its end too.  Nothing is read before the last has been written."""

    def __init__(self, reactor: Reactor, client: socket.socket, target: Target, under_way: Counter[Target]) -> None:
        self._reactor = reactor
        self._target = target
        self._under_way = under_way
        under_way[target] += 1
        self._client = _End(client)
        self._server = _End(socket.socket(socket.AF_INET, socket.SOCK_STREAM))
        for one in (client, self._server.sock):
            one.setblocking(False)
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        problem = self._server.sock.connect_ex(target)
        if problem not in (0, errno.EINPROGRESS):
            self._reset()
            return
        reactor.watch(self._server.sock.fileno(), lambda: self._try(self._connected), WRITE)

    def _try(self, step: Callable[[], None]) -> None:
        try:
            step()
        except OSError:
            self._reset()

    def _connected(self) -> None:
        if self._server.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self._reset()
            return
        self._move()

    def _move(self) -> None:
        """As much as goes without waiting, both ways, then wait for what would go on."""
        for source, sink in ((self._client, self._server), (self._server, self._client)):
            _write(sink)
            if not sink.waiting and not source.ended:
                _read(source, sink)
        if self._client.ended and self._server.ended and not self._client.waiting and not self._server.waiting:
            self._close()
            return
        for end, other in ((self._client, self._server), (self._server, self._client)):
            events = (0 if end.ended or other.waiting else READ) | (WRITE if end.waiting else 0)
            if events:
                self._reactor.watch(end.sock.fileno(), lambda: self._try(self._move), events)
            else:
                # epoll tells of a hang-up unasked, also while there is still something to read before it.
                self._reactor.forget(end.sock.fileno())

    def _reset(self) -> None:
        """RST both ways (SO_LINGER of 0 s): nobody is to take half of it for the whole."""
        for end in (self._client, self._server):
            if end.sock.fileno() >= 0:
                end.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self._close()

    def _close(self) -> None:
        if self._client.sock.fileno() < 0:
            return
        self._under_way -= Counter({self._target: 1})  # in place; a target that is down to none goes
        for end in (self._client, self._server):
            self._reactor.forget(end.sock.fileno())
            end.sock.close()


def _write(sink: _End) -> None:
    while sink.waiting:
        try:
            sink.waiting = sink.waiting[sink.sock.send(sink.waiting) :]
        except BlockingIOError:
            return


def _read(source: _End, sink: _End) -> None:
    """One chunk, so that many connections take turns."""
    try:
        data = source.sock.recv(CHUNK_BYTES)
    except BlockingIOError:
        return
    if not data:
        source.ended = True
        sink.sock.shutdown(socket.SHUT_WR)
        return
    sink.waiting = memoryview(data)
    _write(sink)


class _Caller:
    """One client of a UDP port: the socket towards the container, and when something last went through it."""

    __slots__ = ("at_s", "sock")

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.at_s = time.monotonic()


class UdpDoor:
    """A published UDP port: a client is who has sent something in the last `UDP_IDLE_S`, and gets the answers."""

    def __init__(self, reactor: Reactor, listener: socket.socket, target: Target) -> None:
        self._reactor = reactor
        self._listener = listener
        self._callers: dict[tuple[str, int], _Caller] = {}
        self.target = target
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, CHUNK_BYTES)  # it has had none as a mere reservation
        listener.setblocking(False)
        reactor.watch(listener.fileno(), self._forward)
        reactor.after(UDP_IDLE_S, self._sweep)

    def _forward(self) -> None:
        try:
            data, address = self._listener.recvfrom(UDP_BYTES)
            caller = self._callers.get(address) or self._new_caller(address)
            caller.at_s = time.monotonic()
            caller.sock.send(data)
        except OSError:
            return  # a datagram is lost, as datagrams are

    def _new_caller(self, address: tuple[str, int]) -> _Caller:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.setblocking(False)
        sock.connect(self.target)
        self._callers[address] = caller = _Caller(sock)
        self._reactor.watch(sock.fileno(), lambda: self._answer(caller, address))
        return caller

    def _answer(self, caller: _Caller, address: tuple[str, int]) -> None:
        try:
            data = caller.sock.recv(UDP_BYTES)
            caller.at_s = time.monotonic()
            self._listener.sendto(data, address)
        except OSError:
            return  # as if the answer had been lost

    def _sweep(self) -> None:
        if self._listener.fileno() < 0:
            return
        limit = time.monotonic() - UDP_IDLE_S
        for address in [one for one, caller in self._callers.items() if caller.at_s < limit]:
            self._drop(address)
        self._reactor.after(UDP_IDLE_S, self._sweep)

    def _drop(self, address: tuple[str, int]) -> None:
        caller = self._callers.pop(address)
        self._reactor.forget(caller.sock.fileno())
        caller.sock.close()

    def turn(self, target: Target) -> None:
        if target != self.target:
            self.target = target
            for address in tuple(self._callers):
                self._drop(address)

    def close(self) -> None:
        for address in tuple(self._callers):
            self._drop(address)
        self._reactor.forget(self._listener.fileno())
        self._listener.close()
