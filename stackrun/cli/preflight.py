"""What this machine has against a stack before it is started: `validate --host`."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from stackrun.compose.rules.rule import Level
from stackrun.compose.rules.stack import Node, Service, Stack
from stackrun.compose.tree import Place
from stackrun.errors import Diagnostic, InvalidArgument, KernelError
from stackrun.kernel import listening, netlink
from stackrun.kernel.listening import Holder, Listener
from stackrun.units import format_bytes, parse_bytes

_EVERY = {"": (4, 6), "0.0.0.0": (4,), "::": (4, 6)}
"""Addresses that stand for all of a family; a listener on `::` takes IPv4 as well, unless it says otherwise."""
_NETLINK_ROUTE = 0


@dataclass(frozen=True, slots=True)
class Host:
    """What is looked at of a machine."""

    listeners: tuple[Listener, ...]
    holder_of: Callable[[int], Holder | None]
    """Socket inode → its process."""
    routes: tuple[tuple[str, str], ...]
    """(destination, interface) of the IPv4 routes."""
    memory_bytes: int
    cpus: int
    exists: Callable[[str], bool]
    lacks: Callable[[str], str]
    """A facility of kernel.probe → why it is missing, empty when it is there."""


def this_host() -> Host:
    """The machine that this runs on."""
    found = listening.listeners()
    holders: dict[int, Holder] = {}

    def holder_of(inode: int) -> Holder | None:
        if not holders:
            holders.update(listening.holders(one.inode for one in found))
        return holders.get(inode)

    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return Host(found, holder_of, _routes(), memory, os.cpu_count() or 1, os.path.lexists, _lacks)


def _routes() -> tuple[tuple[str, str], ...]:
    try:
        connection = netlink.Connection(_NETLINK_ROUTE)
    except KernelError:
        return ()
    try:
        return tuple((one.destination, one.interface) for one in netlink.routes(connection))
    except KernelError:
        return ()
    finally:
        connection.close()


def _lacks(facility: str) -> str:
    from stackrun.kernel.probe import probe  # a tenth of a second, for stacks that ask for something special

    found = probe(facility)
    return "" if found.available else found.reason


_NEEDS = {
    ("mem_limit",): "cgroup memory", ("memswap_limit",): "cgroup swap limit", ("pids_limit",): "cgroup pids", ("cpus",): "cgroup cpu",
    ("cpu_shares",): "cgroup cpu", ("cpu_quota",): "cgroup cpu", ("cpuset",): "cgroup cpuset", ("blkio_config",): "cgroup io",
    ("deploy", "resources", "limits", "memory"): "cgroup memory", ("deploy", "resources", "limits", "cpus"): "cgroup cpu",
    ("deploy", "resources", "limits", "pids"): "cgroup pids",
}  # fmt: skip
"""Key path of a service → the facility it needs."""


def check(stack: Stack, host: Host, *, own_ports: frozenset[tuple[int, str]] = frozenset()) -> Iterator[Diagnostic]:
    """`own_ports` are (port, protocol) that the stack's own containers hold now."""
    for service in stack.services:
        if service.enabled:
            yield from _ports(service, host, own_ports)
            yield from _binds(service, host)
            yield from _resources(service, host)
            yield from _features(service, host)
    for network in stack.resources("networks"):
        yield from _subnets(network, host)


def _told(place: Place, code: str, message: str, hint: str, level: Level = "error") -> Diagnostic:
    return Diagnostic(place.path, place.line, place.column, message, hint=hint, code=code, level=level)


def _ports(service: Service, host: Host, own: frozenset[tuple[int, str]]) -> Iterator[Diagnostic]:
    for port in service.nodes("ports"):
        published, protocol = port.text("published"), port.text("protocol") or "tcp"
        if not published.isdigit() or (int(published), protocol) in own:
            continue  # of a range the engine takes one that is free
        wanted = port.text("host_ip").strip("[]")
        for listener in host.listeners:
            if (listener.port, listener.protocol) == (int(published), protocol) and _clash(wanted, listener.address):
                message = f"port {published}/{protocol} is in use: {_owner(listener, host)} listens on {listener.address}"
                yield _told(port.at("published"), "host-port-taken", message, "stop it, or publish another port")
                break


def _clash(wanted: str, held: str) -> bool:
    """Whether the one address cannot be bound beside the other."""
    if wanted in _EVERY or held in _EVERY:
        return bool(set(_families(wanted)) & set(_families(held)))
    return wanted == held


def _families(address: str) -> tuple[int, ...]:
    return _EVERY.get(address) or ((6,) if ":" in address else (4,))


def _owner(listener: Listener, host: Host) -> str:
    holder = host.holder_of(listener.inode)
    return f"{holder.program} (pid {holder.pid})" if holder is not None else "a process of another user"


def _binds(service: Service, host: Host) -> Iterator[Diagnostic]:
    for mount in service.nodes("volumes"):
        source = mount.text("source")
        if mount.text("type") != "bind" or not source or host.exists(source):
            continue
        if mount.get("bind", "create_host_path") is True:
            message = f"{source} is not there: an empty folder will be made"
            yield _told(mount.at("source"), "host-bind-source-missing", message, "check the spelling if it should be there", "warning")
        else:
            message = f"{source} is not there, and will not be made"
            yield _told(mount.at("source"), "host-bind-source-missing", message, "make it, or say bind.create_host_path: true")


def _resources(service: Service, host: Host) -> Iterator[Diagnostic]:
    for path in (("mem_limit",), ("mem_reservation",), ("deploy", "resources", "limits", "memory")):
        wanted = _bytes(service.text(*path))
        if wanted > host.memory_bytes:
            message = f"{format_bytes(wanted)} of memory are more than this machine's {format_bytes(host.memory_bytes)}"
            yield _told(service.at(*path), "host-resources", message, "the limit will never be reached", "warning")
    for path in (("cpus",), ("deploy", "resources", "limits", "cpus")):
        text = service.text(*path)
        if text and _number(text) > host.cpus:
            message = f"{text} cpus are more than this machine's {host.cpus}"
            yield _told(service.at(*path), "host-resources", message, "the limit will never be reached", "warning")


def _features(service: Service, host: Host) -> Iterator[Diagnostic]:
    for path, facility in _NEEDS.items():
        if service.get(*path) not in (None, "", 0) and (reason := host.lacks(facility)):
            yield _told(service.key_at(*path), "host-kernel-feature", f"{path[-1]} needs {facility}: {reason}", "see `stackrun info`")


def _bytes(text: str) -> int:
    try:
        return parse_bytes(text) if text else 0
    except (ValueError, InvalidArgument):
        return 0


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0


def _subnets(network: Node, host: Host) -> Iterator[Diagnostic]:
    """Routes of the stack's own bridge are told by their interface: ours begin with `sr-`."""
    for pool in network.nodes("ipam", "config"):
        subnet = _network(pool.text("subnet"))
        for destination, interface in host.routes if subnet is not None else ():
            route = _network(destination)
            if route is None or route.prefixlen == 0 or interface.startswith("sr-"):
                continue
            if subnet is not None and subnet.version == route.version and subnet.overlaps(route):
                message = f"{subnet} overlaps {route}, which this machine reaches by {interface or 'a route without an interface'}"
                yield _told(pool.at("subnet"), "host-subnet-taken", message, "choose another subnet, or leave it to the engine")
                break


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None
