"""One running container looked at in the kernel, and put right in place where that is possible.  Blocks.

The process may end at any moment: then a look fails (KernelError) or shows what is half gone, and whoever asked compares the record
again before he believes it.
"""

from __future__ import annotations

import errno
import json
import os
import select
import stat
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from stackrun.api.drift import Repair
from stackrun.api.types import PublishedPort
from stackrun.engine import truth
from stackrun.engine.networks import EngineNetworks
from stackrun.engine.truth import MISSING, Difference, Joined
from stackrun.errors import KernelError, StackrunError
from stackrun.kernel import cgroup, cgroup_devices, credentials, interfaces, mountinfo, netlink, nft, ruleset, syscalls, visit
from stackrun.kernel.cgroup_files import read_or_empty, write
from stackrun.kernel.cgroup_limits import V1, Limit, limits
from stackrun.kernel.interfaces import Holdings
from stackrun.kernel.mountinfo import Seen
from stackrun.kernel.mounts import Options
from stackrun.kernel.remount import Bind, bind_again
from stackrun.network import truth as network_truth
from stackrun.network.endpoint import DNS_TABLE, RESOLVER_ADDRESS, Endpoint, resolver_requests
from stackrun.runtime import identity, passwd


@dataclass(frozen=True, slots=True)
class Subject:
    """A container as its records have it at one moment.

    `joined`: OCI namespace type → name and process of the container whose it is (0: it does not run).  `names_served`: the names'
    process ought to answer for it; `names_known`: it does.  `environment` None: it cannot be told.
    """

    id: str
    name: str
    pid: int
    pid_fd: int
    paused: bool
    directory: Path
    cgroup_path: str
    command: tuple[str, ...]
    environment: tuple[str, ...] | None
    user: str
    resources: Mapping[str, Any]
    filtered: bool
    joined: Mapping[str, tuple[str, int]]
    endpoints: tuple[Endpoint, ...] = ()
    ports: tuple[PublishedPort, ...] = ()
    names_served: bool = False
    names_known: bool = False


class Examination:
    def __init__(self, networks: EngineNetworks) -> None:
        self._networks = networks
        self._layout = cgroup.detect()

    def look(self, subject: Subject, outside: Holdings) -> tuple[Difference, ...]:
        """Every field that is not as declared, but for the host's side of its network (`EngineNetworks.faults`), which is `outside`."""
        config = _config(subject)
        if config is None:
            return (Difference("bundle", str(subject.directory / "config.json"), MISSING, Repair.RESTART),)
        found = [
            *self._cgroup(subject, config),
            *self._mounts(subject, config),
            *self._namespaces(subject, config),
            *self._credentials(subject, config),
            *truth.record_differences(subject.command, subject.environment, config),
            *self._reservations(subject),
            *_inside(subject, config, outside),
        ]
        if subject.names_served and not subject.names_known:
            found.append(Difference("dns", "served", "not known to the process that answers", Repair.IN_PLACE))
        return tuple(found)

    def mend(self, subject: Subject, differences: Sequence[Difference]) -> None:
        """What can be brought back while it runs; `dns` is the resolver's own."""
        fields = {one.field for one in differences if one.repair is Repair.IN_PLACE}
        config = _config(subject) or {}
        group = self._group(subject)
        if "state" in fields:
            (group.freeze if subject.paused else group.thaw)()
        sections = {field.partition(".")[0] for field in fields}
        wanted = self._resources(subject)
        changed = {name: value for name, value in wanted.items() if name in sections}
        if "devices" in fields:
            changed["devices"] = ((config.get("linux") or {}).get("resources") or {}).get("devices") or []
        if changed:
            group.apply(changed)
        if any(field == "hostname" or field.startswith("sysctls.") for field in fields):
            visit.inside(subject.pid, _SETTINGS_IN, lambda: _write_settings(config), lambda: _require_alive(subject))
        if any(field.startswith(("interface.", "route.")) for field in fields):
            self._mend_links(subject)
        _bind_again(subject, config, fields)
        if "dns.redirect" in fields:
            with _connection(subject, netlink.NETFILTER) as connection:
                anew = [nft.add_table(DNS_TABLE), nft.delete_table(DNS_TABLE)]
                connection.send(nft.batch([*anew, *resolver_requests()]))

    # --- cgroup ---

    def _group(self, subject: Subject) -> cgroup.Cgroup:
        return cgroup.Cgroup.load(self._layout, subject.cgroup_path)

    def _resources(self, subject: Subject) -> dict[str, Any]:
        return truth.complete_resources(subject.resources, self._layout.controllers)

    def _cgroup(self, subject: Subject, config: Mapping[str, Any]) -> Iterator[Difference]:
        group = self._group(subject)
        if not group.directories:
            return  # an ordinary user to whom no cgroup is delegated
        if not group.exists():
            yield Difference("cgroup", f"/{subject.cgroup_path}", MISSING, Repair.RESTART)
            return
        joined = credentials.cgroup_paths(subject.pid)
        ours = joined if self._layout.v1 else {"": joined.get("", "")}  # an ordinary user has no group in version 1 hierarchies
        apart = truth.group_difference(subject.cgroup_path, ours)
        if apart is not None:
            yield apart
        if group.is_frozen() is not subject.paused:
            words = ("paused", "running") if subject.paused else ("running", "frozen")
            yield Difference("state", *words, Repair.IN_PLACE)
        plan = limits(self._resources(subject), frozenset(self._layout.v1), self._layout.v2_controllers)
        yield from truth.limit_differences(plan, lambda limit: _limit_of(group, limit))
        rules = ((config.get("linux") or {}).get("resources") or {}).get("devices")
        device = _devices(group, rules) if rules else None
        if device is not None:
            yield device

    # --- mounts, namespaces, credentials ---

    def _mounts(self, subject: Subject, config: Mapping[str, Any]) -> Iterator[Difference]:
        seen = mountinfo.look(subject.pid, truth.mount_paths(config), content_max=truth.CONTENT_MAX)
        sources: dict[str, Seen | None] = {}
        for one in config.get("mounts") or ():
            if one.get("type") == "bind":
                inside = seen.get(str(one.get("destination")))
                answers = inside is not None and inside.mount is not None and not mountinfo.is_remote(inside.mount)
                sources[str(one.get("source"))] = _on_host(str(one.get("source"))) if answers else Seen(None)
        return truth.mount_differences(config, seen, sources)

    def _namespaces(self, subject: Subject, config: Mapping[str, Any]) -> Iterator[Difference]:
        joined = {}
        for kind, (name, pid) in subject.joined.items():
            try:
                joined[kind] = Joined(name, credentials.namespaces(pid).get("net" if kind == "network" else kind, 0) if pid else 0)
            except KernelError:
                joined[kind] = Joined(name, 0)
        return truth.namespace_differences(config, credentials.namespaces(subject.pid), credentials.namespaces(), joined)

    def _credentials(self, subject: Subject, config: Mapping[str, Any]) -> Iterator[Difference]:
        found = credentials.of_process(subject.pid)
        uid = _uid(subject)
        return truth.credential_differences(config, found, uid=uid, filtered=subject.filtered, available=identity.present())

    # --- network ---

    def _reservations(self, subject: Subject) -> Iterator[Difference]:
        for one in subject.ports:
            if one.host_port and not self._networks.is_held(one):
                field = f"ports.{one.container_port}/{one.protocol}.reservation"
                yield Difference(field, f"{one.host_ip or '0.0.0.0'}:{one.host_port} held", "free", Repair.RESTART)

    def _mend_links(self, subject: Subject) -> None:
        outside = self._networks.outside()
        with _connection(subject, netlink.ROUTE) as connection:
            requests = network_truth.inner_repairs(subject.endpoints, outside, interfaces.holdings(connection))
            if requests:
                connection.send(requests)

    def attach_again(self, subject: Subject, endpoint_ids: Iterable[str]) -> None:
        """Makes links anew that are missing altogether, both ends."""
        wanted = set(endpoint_ids)
        for endpoint in (one for one in subject.endpoints if one.endpoint_id in wanted):
            if netlink.interface_index(endpoint.host_interface):
                continue
            with _connection(subject, netlink.ROUTE) as connection:
                inside = interfaces.holdings(connection)
            taken = {one.name for one in inside.interfaces}
            free = (f"eth{number}" for number in range(len(taken) + 1) if f"eth{number}" not in taken)
            name = endpoint.interface if endpoint.interface not in taken else next(free)
            leads_out = endpoint.default_route and not inside.default_gateways
            fd = _netns(subject)
            try:
                self._networks.attach(replace(endpoint, interface=name, default_route=leads_out), fd)
            finally:
                os.close(fd)


def _netns(subject: Subject) -> int:
    """A descriptor of its network namespace. A process that runs after it was opened is the one whose it is: its number was not reused."""
    fd = netlink.process_netns(subject.pid)
    try:
        _require_alive(subject)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _require_alive(subject: Subject) -> None:
    ended = select.poll()
    ended.register(subject.pid_fd, select.POLLIN)
    if ended.poll(0):
        raise KernelError(f"look at the process of {subject.name}", errno.ESRCH)


@contextmanager
def _connection(subject: Subject, protocol: int) -> Iterator[netlink.Connection]:
    """A netlink socket in the container's network namespace."""
    fd = _netns(subject)
    try:
        connection = netlink.connect_in(fd, protocol)
    finally:
        os.close(fd)
    try:
        yield connection
    finally:
        connection.close()


def link_differences(endpoints: Sequence[Endpoint], outside: Holdings, inside: Holdings) -> Iterator[Difference]:
    faults = [fault for endpoint in endpoints for fault in network_truth.inner_faults(endpoint, outside, inside)]
    route = network_truth.route_fault(endpoints, inside)
    for fault in (*faults, *([route] if route else [])):
        yield Difference(fault.field, fault.declared, fault.actual, Repair.IN_PLACE)


def _config(subject: Subject) -> dict[str, Any] | None:
    """What its present run was made from."""
    try:
        found = json.loads((subject.directory / "config.json").read_text())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


_SETTINGS_IN = ("uts", "ipc", "network")
"""Namespaces that sysctls and the hostname belong to; one that a container shares with the host is entered all the same."""


def _inside(subject: Subject, config: Mapping[str, Any], outside: Holdings) -> Iterator[Difference]:
    """What only shows from within its namespaces.  They are entered once: each time takes a thread, which waits for its turn."""
    wanted = truth.settings(config)
    redirected = bool(subject.endpoints) and subject.names_served and _asks_our_resolver(subject)
    protocols = [netlink.ROUTE] * bool(subject.endpoints) + [netlink.NETFILTER] * redirected
    if not wanted and not protocols:
        return
    with ExitStack() as opened:

        def look() -> tuple[Mapping[str, str], list[netlink.Connection]]:
            return _read_settings(wanted), [opened.enter_context(closing(netlink.Connection(one))) for one in protocols]

        settings, connections = visit.inside(subject.pid, _SETTINGS_IN, look, lambda: _require_alive(subject))
        yield from truth.setting_differences(wanted, settings)
        if subject.endpoints:
            yield from link_differences(subject.endpoints, outside, interfaces.holdings(connections[0]))
        if redirected:
            yield from _redirect_differences(connections[1])


def _bind_again(subject: Subject, config: Mapping[str, Any], fields: Collection[str]) -> None:
    """Outer mounts first: what lies in one of them comes back after it."""
    last = {str(one["destination"]): one for one in config.get("mounts") or ()}
    for destination, one in sorted(last.items()):
        if not {f"mounts.{destination}", f"mounts.{destination}.source"}.isdisjoint(fields) and truth.binds_in_place(one):
            bind = Bind(
                str(one["source"]),
                destination,
                Options([str(word) for word in one.get("options") or ()]),
                is_resolved=one.get("stackrunResolved") is True,
            )
            bind_again(subject.pid, bind, lambda: _require_alive(subject))


def _redirect_differences(connection: netlink.Connection) -> Iterator[Difference]:
    found, wanted = ruleset.present(connection, DNS_TABLE, ()), _redirect()
    if found is None or (found.chains, found.rules) != (wanted.chains, wanted.rules):
        yield Difference("dns.redirect", "127.0.0.11:53", MISSING if found is None else "other rules", Repair.IN_PLACE)


@cache
def _redirect() -> ruleset.Ruleset:
    return ruleset.written(resolver_requests())


def _read_settings(wanted: Mapping[str, str]) -> dict[str, str]:
    """By the calling thread's namespaces: that is what /proc/sys goes by."""
    return {name: os.uname().nodename if name == "hostname" else read_or_empty(_sysctl(name)).strip() for name in wanted}


def _write_settings(config: Mapping[str, Any]) -> None:
    for name, value in truth.settings(config).items():
        if name == "hostname":
            syscalls.sethostname(value)
        else:
            write(_sysctl(name), value)


def _sysctl(name: str) -> str:
    """A slash stands for a dot inside a name (sysctl.d(5))."""
    return "/proc/sys/" + name.removeprefix("sysctls.").translate({ord("."): "/", ord("/"): "."})


def _asks_our_resolver(subject: Subject) -> bool:
    """Not one that was started where it needed none, and joined another network later."""
    try:
        return RESOLVER_ADDRESS in (subject.directory / "resolv.conf").read_text(errors="replace").split()
    except OSError:
        return False


def _limit_of(group: cgroup.Cgroup, limit: Limit) -> tuple[str, str, str] | None:
    directory = group.directory(limit.controller) if limit.version == V1 else group.v2_directory
    for file, value in limit.choices:
        text = read_or_empty(f"{directory}/{file}")
        if text:
            return file, value, text.strip()
    return None


def _devices(group: cgroup.Cgroup, rules: Sequence[dict[str, Any]]) -> Difference | None:
    """v1 lists its rules; of v2's program it can only be told whether there is one."""
    if "devices" in group.layout.v1:
        return truth.device_difference(rules, read_or_empty(f"{group.directory('devices')}/devices.list"))
    try:
        there = not group.v2_directory or cgroup_devices.programs(group.v2_directory)
    except (KernelError, OSError):
        return None  # not ours to ask
    return None if there else Difference("devices", "a program", MISSING, Repair.IN_PLACE)


def _on_host(path: str) -> Seen | None:
    try:
        status = os.stat(path)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            return None
        raise KernelError(f"stat {path}", error.errno or errno.EIO) from None
    content = mountinfo.content_of(path, status, truth.CONTENT_MAX)
    return Seen(None, (status.st_dev, status.st_ino), content, stat.S_ISDIR(status.st_mode))


def _uid(subject: Subject) -> int | None:
    """The declared user by number; None when its name is not known any more."""
    name = subject.user.partition(":")[0]
    if not name or name.isdecimal():
        return int(name or 0)
    try:
        root_fd = os.open(f"/proc/{subject.pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return passwd.resolve_user(root_fd, name).uid
    except StackrunError:
        return None
    finally:
        os.close(root_fd)
