"""Published ports of an ordinary user: what a client sends arrives whole, and so does its end."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator

from stackrun.network.reactor import Reactor
from stackrun.rootless.usher import TcpDoor, UdpDoor, Usher

BIG = bytes(range(256)) * 20_000


@contextlib.contextmanager
def running(reactor: Reactor) -> Iterator[None]:
    thread = threading.Thread(target=reactor.run)
    thread.start()
    try:
        yield
    finally:
        ours, theirs = socket.socketpair()
        reactor.watch(theirs.fileno(), reactor.stop)
        ours.send(b"x")
        thread.join(10)
        ours.close()
        theirs.close()


@contextlib.contextmanager
def served(handle: Callable[[socket.socket], None]) -> Iterator[tuple[str, int]]:
    """A server of one connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                handle(connection)

        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()
        thread.join(10)


def bound(kind: int = socket.SOCK_STREAM) -> socket.socket:
    made = socket.socket(socket.AF_INET, kind)
    made.bind(("127.0.0.1", 0))
    return made


def read_all(sock: socket.socket) -> bytes:
    parts = []
    while part := sock.recv(1 << 16):
        parts.append(part)
    return b"".join(parts)


def test_both_directions_arrive_whole_and_each_ends_by_itself() -> None:
    got: list[bytes] = []

    def answer(connection: socket.socket) -> None:
        got.append(read_all(connection))  # ends, though the client still reads
        connection.sendall(BIG)

    reactor, listener = Reactor(), bound()
    address = listener.getsockname()
    with served(answer) as target:
        door = TcpDoor(reactor, listener, target, Counter())
        with running(reactor), socket.create_connection(address, timeout=10) as client:
            sender = threading.Thread(target=lambda: (client.sendall(BIG), client.shutdown(socket.SHUT_WR)))
            sender.start()
            assert read_all(client) == BIG
            sender.join(10)
        door.close()
    assert got == [BIG]


def test_a_container_that_refuses_is_a_reset_for_the_client() -> None:
    unused = bound()
    reactor, listener = Reactor(), bound()
    address = listener.getsockname()
    door = TcpDoor(reactor, listener, unused.getsockname(), Counter())
    with running(reactor), contextlib.suppress(ConnectionResetError), socket.create_connection(address, timeout=10) as client:
        assert client.recv(1) == b""
    door.close()
    unused.close()


def test_a_closed_door_refuses_also_where_a_copy_of_its_socket_is_held() -> None:
    listener = bound()
    address, copy = listener.getsockname(), listener.dup()
    TcpDoor(Reactor(), listener, ("127.0.0.1", 1), Counter()).close()
    with socket.socket() as client:
        assert client.connect_ex(address) != 0
    copy.close()


def test_datagrams_of_each_client_get_their_own_answers() -> None:
    with bound(socket.SOCK_DGRAM) as server:
        server.settimeout(10)
        reactor, listener = Reactor(), bound(socket.SOCK_DGRAM)
        address = listener.getsockname()
        door = UdpDoor(reactor, listener, server.getsockname())
        with running(reactor), bound(socket.SOCK_DGRAM) as one, bound(socket.SOCK_DGRAM) as two:
            for client, word in ((one, b"one"), (two, b"two")):
                client.settimeout(10)
                client.sendto(word, address)
            for _ in range(2):
                data, sender = server.recvfrom(100)
                server.sendto(data * 2, sender)
            assert (one.recv(100), two.recv(100)) == (b"oneone", b"twotwo")
        door.close()


def test_what_is_not_to_be_retained_is_closed_and_what_is_missing_is_told() -> None:
    usher, listener = Usher(Reactor()), bound()
    address = listener.getsockname()
    route = ["tcp", "127.0.0.1", address[1], "127.0.0.1", 1]
    assert usher._answer({"request": "open", "routes": [route]}, [listener.detach()]) == {"missing": [], "under_way": 0}
    other = ["tcp", "", 4321, "127.0.0.1", 1]
    assert usher._answer({"request": "retain", "routes": [other]}, []) == {"missing": [("tcp", "", 4321)], "under_way": 0}
    with socket.socket() as client:
        assert client.connect_ex(address) != 0


def test_a_port_that_was_handed_over_is_not_closed_by_its_old_holder() -> None:
    usher, listener = Usher(Reactor()), bound()
    address = listener.getsockname()
    old, new = (["tcp", "127.0.0.1", address[1], "127.0.0.1", port] for port in (1, 2))
    usher._answer({"request": "open", "routes": [old]}, [listener.dup().detach()])
    with socket.create_connection(address, timeout=10):  # waits to be let in
        usher._answer({"request": "open", "routes": [new]}, [listener.detach()])
        assert not usher._answer({"request": "close", "routes": [old]}, [])["missing"]
        socket.create_connection(address, timeout=10).close()
    assert usher._answer({"request": "close", "routes": [new]}, [])["missing"]


def test_connections_are_counted_while_they_go_on() -> None:
    counted: Counter[tuple[str, int]] = Counter()
    seen: list[int] = []
    reactor, listener = Reactor(), bound()
    address = listener.getsockname()

    def count(connection: socket.socket) -> None:
        seen.append(counted.total())
        read_all(connection)

    with served(count) as target:
        door = TcpDoor(reactor, listener, target, counted)
        with running(reactor), socket.create_connection(address, timeout=10) as client:
            client.shutdown(socket.SHUT_WR)
            assert read_all(client) == b""
        door.close()
    assert seen == [1] and not counted
