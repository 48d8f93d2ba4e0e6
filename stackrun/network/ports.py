"""Host ports, taken before a container starts, so that two never get the same and a taken one is an error with a name.

A published port is translated in the kernel and nothing ever listens on it, so a bound socket holds it: other
programs' bind or listen fails as it would beside any server.  The engine hands the descriptors to the
container's shim, and the reservation ends with the container, whatever happens to the daemon.
"""

from __future__ import annotations

import errno
import os
import socket
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path

from stackrun.errors import Conflict, InvalidArgument, KernelError, PermissionDenied, Unsupported
from stackrun.network.firewall import PROTOCOLS, Publication

_LISTEN = "0A"
"""TCP_LISTEN as /proc/net/tcp writes it."""
_KINDS = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}
_ASKING = threading.Lock()
"""One question at a time: while it is asked, a port looks taken to the next who asks."""


@dataclass(frozen=True, slots=True)
class PortRequest:
    """`host_port` 0: the kernel chooses; with `host_port_end`: the first free port of the range; `host_ip` empty: every address."""

    protocol: str = "tcp"
    host_ip: str = ""
    host_port: int = 0
    host_port_end: int = 0


@dataclass(frozen=True, slots=True)
class Reservation:
    """A port that is ours as long as any copy of the socket `fd` is open; whoever gets this value closes it."""

    protocol: str
    host_ip: str
    host_port: int
    fd: int


class HostPorts:
    """Whose ports containers publish: here the machine's own, translated by the firewall. `lacking`: for `info`, a line each."""

    lacking: tuple[str, ...] = ()

    def reserve(self, requests: Sequence[PortRequest]) -> tuple[Reservation, ...]:
        """`reserve` below."""
        return reserve(requests)

    def shared(self, request: PortRequest, descriptors: Sequence[int]) -> Reservation | None:
        """`shared` below."""
        return shared(request, descriptors)

    def close(self, reservations: Iterable[Reservation]) -> None:
        close(reservations)

    def is_held(self, protocol: str, host_ip: str, port: int) -> bool:
        """`is_held` below."""
        return is_held(protocol, host_ip, port)

    def publish(self, publications: Iterable[Publication]) -> None:
        """After the firewall has opened them, and before their reservations are closed."""

    def unpublish(self, publications: Iterable[Publication]) -> None:
        """They need not be open."""

    def restore(self, publications: Iterable[Publication]) -> None:
        """These alone stay open."""

    def watch(self, lost: Callable[[], None]) -> None:
        """On the loop's thread: `lost` is called when what was published must be published again."""

    def unwatch(self) -> None:
        """On the loop's thread, before it ends."""

    def under_way(self, publications: Iterable[Publication]) -> int:
        """Connections that go on through these ports, of which the firewall does not know."""
        return 0


def reserve(requests: Sequence[PortRequest]) -> tuple[Reservation, ...]:
    """All the ports, or none.

    Raises Conflict naming the port's holder, InvalidArgument (no address of this host), Unsupported (IPv6,
    other protocols), PermissionDenied (a low port without CAP_NET_BIND_SERVICE).
    """
    with ExitStack() as undo:
        reserved = []
        for request in requests:
            reservation = _reserved(request)
            undo.callback(os.close, reservation.fd)
            reserved.append(reservation)
        undo.pop_all()
    return tuple(reserved)


def shared(request: PortRequest, descriptors: Sequence[int]) -> Reservation | None:
    """The port out of another reservation's descriptors, which stay the caller's; None when it is not among them."""
    last = request.host_port_end or request.host_port
    for fd in descriptors:
        copy = socket.socket(fileno=os.dup(fd))
        address, port = copy.getsockname()[:2]
        same = copy.type == _KINDS.get(request.protocol) and address == (request.host_ip or "0.0.0.0")
        if same and request.host_port <= port <= last:
            return Reservation(request.protocol, request.host_ip, port, copy.detach())
        copy.close()
    return None


def close(reservations: Iterable[Reservation]) -> None:
    for reservation in reservations:
        os.close(reservation.fd)


def _reserved(request: PortRequest) -> Reservation:
    _check(request)
    candidates = range(request.host_port, (request.host_port_end or request.host_port) + 1)
    for port in candidates:
        bound = _bound(request, port)
        if bound is not None:
            return Reservation(request.protocol, request.host_ip, bound.getsockname()[1], bound.detach())
    raise _conflict(request, candidates)


def _check(request: PortRequest) -> None:
    if request.protocol not in PROTOCOLS:
        raise Unsupported(f"cannot publish protocol {request.protocol!r}: tcp and udp are supported")
    if ":" in request.host_ip:
        raise Unsupported(f"cannot publish on IPv6 address {request.host_ip}", hint="name an IPv4 address, or leave it out for all of them")
    if request.host_port_end and request.host_port_end < request.host_port:
        raise InvalidArgument(f"invalid port range {request.host_port}-{request.host_port_end}")
    if not (0 <= request.host_port <= 65535 and request.host_port_end <= 65535):
        raise InvalidArgument(f"invalid port {request.host_port}: 0 to 65535")
    try:
        IPv4Address(request.host_ip or "0.0.0.0")
    except ValueError:
        raise InvalidArgument(f"invalid host address {request.host_ip!r}") from None


def _bound(request: PortRequest, port: int) -> socket.socket | None:
    """A socket that holds the port, or None when another one does."""
    one = socket.socket(socket.AF_INET, _KINDS[request.protocol])
    try:
        take = _take_tcp if request.protocol == "tcp" else _take_udp
        with _ASKING:
            take(one, (request.host_ip, port))
    except OSError as error:
        one.close()
        if error.errno == errno.EADDRINUSE:
            return None
        raise _explained(error, request, port) from None
    return one


def _take_tcp(one: socket.socket, place: tuple[str, int]) -> None:
    """Holds a port without listening on it.

    A plain bind takes a port at once and from everybody, but the closed connections of a server that has just
    ended (TIME_WAIT) refuse it.  With SO_REUSEADDR they do not count, and neither would another that asks like
    this: listening for a moment asks the question in full (inet_csk_get_port).  The option is gone before
    listening ends, or who asks in between would get the same port.  Two processes that ask this way in the same
    moment can both be refused; that they both get it cannot happen.
    """
    try:
        one.bind(place)
        return
    except OSError as error:
        if error.errno != errno.EADDRINUSE or not place[1]:
            raise
    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    one.bind(place)
    one.listen(1)
    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
    one.shutdown(socket.SHUT_RDWR)


def _take_udp(one: socket.socket, place: tuple[str, int]) -> None:
    """Nothing reads it, so let the kernel keep as little as it can of what arrives before the translation stands."""
    one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 0)
    one.bind(place)


def _explained(error: OSError, request: PortRequest, port: int) -> Exception:
    if error.errno == errno.EADDRNOTAVAIL:
        return InvalidArgument(f"cannot publish on {request.host_ip}: it is no address of this host")
    if error.errno in (errno.EACCES, errno.EPERM):
        return PermissionDenied(f"cannot publish port {port}/{request.protocol}: no permission", hint=_low_port_hint(port))
    return KernelError(f"bind {request.host_ip or '0.0.0.0'}:{port}", error.errno or 0)


def _low_port_hint(port: int) -> str:
    try:
        lowest = int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text())
    except (OSError, ValueError):
        lowest = 1024
    return f"ports below {lowest} need root; or, as root: sysctl net.ipv4.ip_unprivileged_port_start={port}"


def _conflict(request: PortRequest, candidates: range) -> Conflict:
    host_ip = request.host_ip or "0.0.0.0"
    if len(candidates) > 1:
        return Conflict(f"ports {candidates[0]}-{candidates[-1]}/{request.protocol} on {host_ip} are all taken")
    holder = holder_of(request.protocol, request.host_ip, request.host_port)
    taken = f"port {request.host_port}/{request.protocol} on {host_ip} is taken"
    return Conflict(f"{taken} by {holder}" if holder else taken, hint="stop that program, or publish another port")


def is_held(protocol: str, host_ip: str, port: int) -> bool:
    """Whether anybody has the port: a bind is tried, which fails where a reservation is.  Nothing is taken away by it."""
    with _ASKING, socket.socket(socket.AF_INET, _KINDS[protocol]) as probe:
        try:
            probe.bind((host_ip, port))
        except OSError as error:
            return error.errno == errno.EADDRINUSE
    return False


def holder_of(protocol: str, host_ip: str, port: int) -> str:
    """`nginx (pid 812)`, or empty when no process of this host is seen to have the port."""
    inodes = set(_inodes(protocol, host_ip, port))
    return next(_holders(inodes), "") if inodes else ""


def _inodes(protocol: str, host_ip: str, port: int) -> Iterator[str]:
    """Socket inodes bound where a bind of ours would conflict (proc(5), net/tcp)."""
    wildcards = ("0" * 8, "0" * 32)
    mine = f"{int.from_bytes(IPv4Address(host_ip or '0.0.0.0').packed, 'little'):08X}"
    for table in (protocol, f"{protocol}6"):
        for row in _rows(Path("/proc/thread-self/net") / table):
            address, _, hex_port = row[1].partition(":")
            overlaps = mine == wildcards[0] or address == mine or address in wildcards
            if int(hex_port, 16) == port and overlaps and (protocol == "udp" or row[3] == _LISTEN):
                yield row[9]


def _rows(table: Path) -> list[list[str]]:
    try:
        return [line.split() for line in table.read_text().splitlines()[1:]]
    except FileNotFoundError:  # a kernel without IPv6
        return []


def _holders(inodes: set[str]) -> Iterator[str]:
    wanted = {f"socket:[{inode}]" for inode in inodes}
    for name in sorted(filter(str.isdecimal, os.listdir("/proc")), key=int):
        if wanted & _descriptors(f"/proc/{name}"):
            yield f"{_command(f'/proc/{name}')} (pid {name})"


def _descriptors(process: str) -> set[str]:
    try:
        return {target for fd in os.listdir(f"{process}/fd") if (target := _link_target(f"{process}/fd/{fd}"))}
    except OSError:  # gone, or not ours to look at
        return set()


def _link_target(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""


def _command(process: str) -> str:
    try:
        return Path(process, "comm").read_text().strip()
    except OSError:
        return "a process"
