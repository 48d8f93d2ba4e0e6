"""The host's ports as the daemon inside sees them: bound by the gate, opened by the usher.

Either may be killed.  The gate makes another usher, which knows no port: then everything is published again.  A new gate is made by
the next command of the user's (`entering.revive`), since nobody gets out of the namespaces; this side waits for it.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Callable, Iterable, Sequence

from stackrun.errors import Unavailable
from stackrun.network import ports
from stackrun.network.firewall import Publication
from stackrun.network.ports import PortRequest, Reservation
from stackrun.rootless import words
from stackrun.rootless.line import Line

_TIMEOUT_S = 30.0


class Outside(ports.HostPorts):
    """Usable from any thread. `lacking`: what this user's machine does not let his containers do, a line each."""

    def __init__(self, gate_fd: int, run_dir: str) -> None:
        os.set_inheritable(gate_fd, False)
        self._gate = socket.socket(fileno=gate_fd)
        self._gate.settimeout(_TIMEOUT_S)
        self._run_dir = run_dir
        self._lock = threading.Lock()
        self._reserved: dict[tuple[str, str, int], int] = {}
        self._gate_line = Line(f"{run_dir}/gate.sock", self._gate_is_back)
        self._usher_line: Line | None = None
        self._usher_connection: socket.socket | None = None
        reply, fds = _asked(self._gate, {"request": "house"})
        for fd in fds:
            os.close(fd)
        self.lacking: tuple[str, ...] = tuple(reply["lacking"])

    def watch(self, lost: Callable[[], None]) -> None:
        def back(connection: socket.socket) -> None:
            self._hold_usher(connection)
            lost()

        self._gate_line.watch(self._gate)
        self._usher_line = Line(f"{self._run_dir}/usher.sock", back)
        with contextlib.suppress(OSError):
            connection = words.seqpacket()
            self._hold_usher(connection)
            connection.connect(f"{self._run_dir}/usher.sock")
            self._usher_line.watch(connection)

    def unwatch(self) -> None:
        self._gate_line.close()
        if self._usher_line is not None:
            self._usher_line.close()
        self._hold_usher(None)

    def _hold_usher(self, connection: socket.socket | None) -> None:
        if self._usher_connection is not None:
            self._usher_connection.close()
        self._usher_connection = connection

    def _gate_is_back(self, connection: socket.socket) -> None:
        connection.settimeout(_TIMEOUT_S)
        with self._lock:
            self._gate.close()
            self._gate = connection

    def reserve(self, requests: Sequence[PortRequest]) -> tuple[Reservation, ...]:
        with self._lock:
            wanted = [[one.protocol, one.host_ip, one.host_port, one.host_port_end] for one in requests]
            reply, fds = self._ask_gate({"request": "reserve", "ports": wanted})
            reserved = tuple(
                Reservation(one.protocol, one.host_ip, port, fd) for one, port, fd in zip(requests, reply["ports"], fds, strict=True)
            )
            self._reserved.update((_key(one), one.fd) for one in reserved)
        return reserved

    def shared(self, request: PortRequest, descriptors: Sequence[int]) -> Reservation | None:
        found = ports.shared(request, descriptors)
        if found is not None:
            self._reserved[_key(found)] = found.fd
        return found

    def close(self, reservations: Iterable[Reservation]) -> None:
        with self._lock:
            for one in reservations:
                self._reserved.pop(_key(one), None)
                os.close(one.fd)

    def is_held(self, protocol: str, host_ip: str, port: int) -> bool:
        """By the shims' copies, out there where nobody in here can try it."""
        return True

    def publish(self, publications: Iterable[Publication]) -> None:
        """Those that were just reserved, and are not closed yet. One that is open already leads elsewhere from now on."""
        with self._lock:
            routes = [_route(one) for one in publications]
            self._usher("open", routes, [self._reserved[one[0], one[1], one[2]] for one in routes])

    def unpublish(self, publications: Iterable[Publication]) -> None:
        with self._lock:
            self._usher("close", [_route(one) for one in publications])

    def restore(self, publications: Iterable[Publication]) -> None:
        """The usher has outlived the daemon: what is published no more goes."""
        with self._lock:
            self._usher("retain", [_route(one) for one in publications])

    def under_way(self, publications: Iterable[Publication]) -> int:
        return int(self._usher("count", [_route(one) for one in publications])["under_way"])

    def _ask_gate(self, request: words.Message) -> tuple[words.Message, list[int]]:
        """The one that is there now, if it is another than the line has noticed."""
        try:
            return _asked(self._gate, request)
        except Unavailable as gone:
            with words.seqpacket() as connection:
                connection.settimeout(_TIMEOUT_S)
                try:
                    connection.connect(f"{self._run_dir}/gate.sock")
                except OSError:
                    raise gone from None
                return _asked(connection, request)

    def _usher(self, request: str, routes: list[tuple[str, str, int, str, int]], fds: Sequence[int] = ()) -> words.Message:
        with words.seqpacket() as sock:
            sock.settimeout(_TIMEOUT_S)
            try:
                sock.connect(f"{self._run_dir}/usher.sock")
            except OSError as error:
                raise Unavailable(f"the process that opens this user's host ports is gone: {error.strerror}") from None
            return _asked(sock, {"request": request, "routes": routes}, fds)[0]


def _route(one: Publication) -> tuple[str, str, int, str, int]:
    return (*_key(one), one.container_address, one.container_port)


def _key(one: Publication | Reservation) -> tuple[str, str, int]:
    return one.protocol, "" if one.host_ip == "0.0.0.0" else one.host_ip, one.host_port


def _asked(sock: socket.socket, request: words.Message, fds: Sequence[int] = ()) -> tuple[words.Message, list[int]]:
    try:
        words.send(sock, request, fds)
        return words.receive(sock)
    except OSError as error:
        hint = "run the command again"
        raise Unavailable(f"the process that sees to this user's host ports is gone: {error.strerror}", hint=hint) from None
