"""What a container's specification says, as flat facts in the stack file's words: what can be compared field by field.

An engine fills in what it was not asked (a host name, the size of /dev/shm, `CAP_` in front of a capability, twice the memory as swap);
that is taken away again here, so that asked and inspected specifications of one container give the same facts.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from stackrun.api.types import ContainerSpec, EndpointSpec, Healthcheck, Mount, MountType
from stackrun.units import format_duration

Path = tuple[str | int, ...]
OWN_LABELS = ("com.docker.compose.", "stackrun.")
"""Prefixes of labels that say how a resource was made: no part of what it is."""
_ANONYMOUS = re.compile(r"[0-9a-f]{64}")
"""The name an engine gives to a volume that nobody named."""


@dataclass(frozen=True, slots=True)
class Fact:
    text: str
    paths: tuple[Path, ...] = ()
    """Where a service's definition may say it, likeliest first."""


Facts = dict[str, Fact]


@dataclass(frozen=True, slots=True)
class Context:
    """What the same container is called on the other side."""

    names: Mapping[str, str] = field(default_factory=dict)
    """Container id → name."""
    own: frozenset[str] = frozenset()
    """Its own names and ids, of which every engine adds some to its aliases."""
    given_hostname: str = ""
    """What an engine calls it when nobody asks for a name."""
    files: frozenset[str] = frozenset()
    """Where configs and secrets are mounted; they are compared by content."""


def facts(spec: ContainerSpec, context: Context) -> Facts:
    """Without what an image may have filled in (see `inheritable`) and without its image."""
    found: Facts = {}
    for attribute, key, paths, write in _SCALARS:
        if text := write(getattr(spec, attribute)):
            found[key] = Fact(text, paths)
    for attribute, key, paths, write in _LIMITS:
        if text := write(getattr(spec.resources, attribute)):
            found[key] = Fact(text, paths)
    _without_engine_defaults(found, spec, context)
    found |= _mappings(spec)
    found |= _ports(spec)
    found |= _mounts(spec, context)
    found |= _networks(spec, context)
    return found


# --- scalars ----------------------------------------------------------------------------------------


def _plain(value: Any) -> str:
    return "" if value in (None, "", 0, False, ()) else "true" if value is True else str(value)


def _unless(*defaults: Any, write: Callable[[Any], str] = _plain) -> Callable[[Any], str]:
    return lambda value: "" if value in defaults else write(value)


def _list(value: Iterable[Any]) -> str:
    return ", ".join(str(one) for one in value)


def _set(value: Iterable[Any]) -> str:
    return ", ".join(sorted(str(one) for one in value))


def _capabilities(value: Iterable[str]) -> str:
    return _set(one.upper().removeprefix("CAP_") for one in value)


def _bytes(value: int) -> str:
    """As a stack file has it, exactly: 64m, 1g, 1000."""
    if value <= 0:
        return "unlimited" if value < 0 else ""
    unit = next((unit for unit in ("g", "m", "k") if value % _UNITS[unit] == 0), "")
    return f"{value // _UNITS[unit]}{unit}" if unit else str(value)


_UNITS = {"g": 1 << 30, "m": 1 << 20, "k": 1 << 10}


def _cpus(value: int) -> str:
    return f"{value / 1e9:g}" if value else ""


def _restart(policy: Any) -> str:
    if policy.name in ("", "no"):
        return ""
    return f"{policy.name}:{policy.maximum_retries}" if policy.maximum_retries else str(policy.name)


def _logging(config: Any) -> str:
    options = _set(f"{name}={value}" for name, value in config.options.items())
    return "" if config.driver in ("", "json-file") and not options else f"{config.driver} {options}".strip()


def _ulimits(value: Iterable[Any]) -> str:
    return _set(f"{one.name}={one.soft}:{one.hard}" for one in value)


def _devices(value: Iterable[Any]) -> str:
    return _set(f"{one.host_path}:{one.container_path}:{one.permissions}" for one in value)


def _limit(*keys: str) -> tuple[Path, ...]:
    return (("deploy", "resources", "limits", keys[0]), *((key,) for key in keys[1:]))


_Row = tuple[str, str, tuple[Path, ...], Callable[[Any], str]]
_SCALARS: tuple[_Row, ...] = (
    ("hostname", "hostname", (("hostname",),), _plain),
    ("domainname", "domainname", (("domainname",),), _plain),
    ("tty", "tty", (("tty",),), _plain),
    ("open_stdin", "stdin_open", (("stdin_open",),), _plain),
    ("stop_timeout_s", "stop_grace_period", (("stop_grace_period",),), lambda value: "" if value is None else format_duration(value)),
    ("restart_policy", "restart", (("restart",), ("deploy", "restart_policy")), _restart),
    ("log_config", "logging", (("logging",),), _logging),
    ("cap_add", "cap_add", (("cap_add",),), _capabilities),
    ("cap_drop", "cap_drop", (("cap_drop",),), _capabilities),
    ("privileged", "privileged", (("privileged",),), _plain),
    ("read_only_rootfs", "read_only", (("read_only",),), _plain),
    ("init", "init", (("init",),), _plain),
    ("security_opt", "security_opt", (("security_opt",),), _set),
    ("dns", "dns", (("dns",),), _list),
    ("dns_options", "dns_opt", (("dns_opt",),), _list),
    ("dns_search", "dns_search", (("dns_search",),), _list),
    ("extra_hosts", "extra_hosts", (("extra_hosts",),), _set),
    ("group_add", "group_add", (("group_add",),), _set),
    ("shm_size_bytes", "shm_size", (("shm_size",),), _unless(64 << 20, write=_bytes)),
    ("ipc_mode", "ipc", (("ipc",),), _unless("private", "shareable")),
    ("pid_mode", "pid", (("pid",),), _unless("private")),
    ("uts_mode", "uts", (("uts",),), _unless("private")),
    ("cgroupns_mode", "cgroup", (("cgroup",),), _unless("private", "host")),
    ("userns_mode", "userns_mode", (("userns_mode",),), _plain),
    ("cgroup_parent", "cgroup_parent", (("cgroup_parent",),), _plain),
    ("oom_score_adj", "oom_score_adj", (("oom_score_adj",),), _plain),
    ("runtime", "runtime", (("runtime",),), _unless("runc", "stackrun", "io.containerd.runc.v2")),
)
_LIMITS: tuple[_Row, ...] = (
    ("memory_bytes", "memory limit", _limit("memory", "mem_limit"), _bytes),
    (
        "memory_reservation_bytes",
        "memory reservation",
        (("deploy", "resources", "reservations", "memory"), ("mem_reservation",)),
        _bytes,
    ),
    ("memory_swap_bytes", "memswap_limit", (("memswap_limit",),), _bytes),
    ("nano_cpus", "cpus", _limit("cpus", "cpus"), _cpus),
    ("cpu_shares", "cpu_shares", (("cpu_shares",),), _plain),
    ("cpu_quota_us", "cpu_quota", (("cpu_quota",),), _plain),
    ("cpu_period_us", "cpu_period", (("cpu_period",),), _plain),
    ("cpuset_cpus", "cpuset", (("cpuset",),), _plain),
    ("pids_limit", "pids limit", _limit("pids", "pids_limit"), _plain),
    ("blkio_weight", "blkio_config.weight", (("blkio_config", "weight"),), _plain),
    ("oom_kill_disable", "oom_kill_disable", (("oom_kill_disable",),), _plain),
    ("ulimits", "ulimits", (("ulimits",),), _ulimits),
    ("devices", "devices", (("devices",),), _devices),
    ("device_cgroup_rules", "device_cgroup_rules", (("device_cgroup_rules",),), _set),
)


def _without_engine_defaults(found: Facts, spec: ContainerSpec, context: Context) -> None:
    if spec.hostname == context.given_hostname:
        found.pop("hostname", None)
    if spec.network_mode == "host" or spec.network_mode.startswith("container:"):  # it is called what the other is called
        found.pop("hostname", None)
        found.pop("domainname", None)
    if spec.resources.memory_swap_bytes == 2 * spec.resources.memory_bytes:
        found.pop("memswap_limit", None)
    if spec.privileged and found.get("security_opt") == Fact("label=disable", (("security_opt",),)):
        del found["security_opt"]
    for key in ("ipc", "pid"):
        if key in found:
            found[key] = Fact(_joined(found[key].text, context), found[key].paths)


def _joined(mode: str, context: Context) -> str:
    """`container:<id>` as `container:<name>`; one that is gone keeps a short id."""
    if not mode.startswith("container:"):
        return mode
    return f"container:{_name(mode.removeprefix('container:'), context)}"


def _name(ref: str, context: Context) -> str:
    return context.names.get(ref, ref[:12] if _ANONYMOUS.fullmatch(ref) else ref)


# --- mappings, ports, mounts, networks ----------------------------------------------------------------


def _mappings(spec: ContainerSpec) -> Facts:
    found: Facts = {}
    for key, values in (("annotations", spec.annotations), ("sysctls", spec.sysctls), ("storage_opt", spec.storage_options)):
        found |= {f"{key}.{name}": Fact(value, ((key, name),)) for name, value in values.items()}
    return found


def _ports(spec: ContainerSpec) -> Facts:
    bindings: dict[str, list[str]] = {}
    for one in spec.ports:
        last = f"-{one.host_port_end}" if one.host_port_end else ""
        address = "" if one.host_ip in ("", "0.0.0.0") else f"[{one.host_ip}]:" if ":" in one.host_ip else f"{one.host_ip}:"
        host = f"{one.host_port}{last}" if one.host_port else "any port"
        bindings.setdefault(f"{one.container_port}/{one.protocol}", []).append(address + host)
    return {f"ports.{port}": Fact(_set(set(hosts)), (("ports", port),)) for port, hosts in bindings.items()}


def _mounts(spec: ContainerSpec, context: Context) -> Facts:
    found: Facts = {}
    for one in spec.mounts:
        if one.target not in context.files:
            found[f"volumes.{one.target}"] = Fact(_mount_text(one), (("volumes", one.target), ("tmpfs", one.target)))
            if one.create_host_path:
                found[f"volumes.{one.target}.bind.create_host_path"] = Fact("true", (("volumes", one.target),))
    for target, options in spec.tmpfs.items():
        found[f"tmpfs.{target}"] = Fact(f"tmpfs {options}".strip(), (("tmpfs", target),))
    if spec.volumes_from:
        found["volumes_from"] = Fact(_set(_volumes_from(one, context) for one in spec.volumes_from), (("volumes_from",),))
    return found


def _volumes_from(entry: str, context: Context) -> str:
    ref, colon, access = entry.partition(":")
    return f"{_name(ref, context)}{colon}{access}"


def is_anonymous(volume: str) -> bool:
    return bool(_ANONYMOUS.fullmatch(volume))


def _mount_text(mount: Mount) -> str:
    options = [
        *(["read-only"] if mount.read_only else ()),
        *([mount.propagation] if mount.propagation not in ("", "rprivate") else ()),
        *([f"subpath {mount.subpath}"] if mount.subpath else ()),
        *(["nocopy"] if mount.no_copy else ()),
        *(["not recursive"] if mount.non_recursive else ()),
        *([f"size {_bytes(mount.tmpfs_size_bytes)}"] if mount.tmpfs_size_bytes else ()),
        *([f"mode {mount.tmpfs_mode:o}"] if mount.tmpfs_mode else ()),
    ]
    suffix = f" ({', '.join(options)})" if options else ""
    if mount.type is MountType.VOLUME:
        anonymous = not mount.source or _ANONYMOUS.fullmatch(mount.source)
        return ("anonymous volume" if anonymous else f"volume {mount.source}") + suffix
    return f"bind {mount.source}{suffix}" if mount.type is MountType.BIND else f"tmpfs{suffix}"


def _networks(spec: ContainerSpec, context: Context) -> Facts:
    if not spec.endpoints or spec.network_mode in ("host", "none") or spec.network_mode.startswith("container:"):
        mode = "" if spec.network_mode in ("", "default") else _joined(spec.network_mode, context)
        return {"network_mode": Fact(mode, (("network_mode",),))} if mode else {}
    found: Facts = {}
    for one in spec.endpoints:
        found[f"networks.{one.network}"] = Fact("joined", (("networks", one.network),))
        for key, text in _endpoint(one, context):
            found[f"networks.{one.network}.{key}"] = Fact(text, (("networks", one.network, key), ("networks", one.network)))
    return found


def _endpoint(one: EndpointSpec, context: Context) -> Iterable[tuple[str, str]]:
    aliases = _set(alias for alias in one.aliases if alias not in context.own)
    options = _set(f"{name}={value}" for name, value in one.driver_options.items())
    for key, text in (
        ("aliases", aliases),
        ("ipv4_address", one.ipv4_address),
        ("ipv6_address", one.ipv6_address),
        ("links", _set(link for link in one.links if not _goes_without_saying(link))),
        ("driver_opts", options),
        ("gw_priority", _plain(one.gateway_priority)),
    ):
        if text:
            yield key, text


def _goes_without_saying(link: str) -> bool:
    """`shop-db-1:shop-db-1` and `shop-db-1:db-1`, which Docker Compose adds to every link of its own."""
    name, _, alias = link.partition(":")
    return alias == name or name.endswith(f"-{alias}")


# --- what an image may have filled in ------------------------------------------------------------------


def inheritable(spec: ContainerSpec) -> Facts:
    """What a specification or else the image of the container says: environment, labels, command, user, …

    What is to be removed (a variable by its `NAME` alone, a command by an empty list) is a fact that `is_removed`.
    """
    found: Facts = {}
    for name, assigned, value in (one.partition("=") for one in spec.environment):
        found[f"environment.{name}"] = Fact(value if assigned else _REMOVED, (("environment", name),))
    for name, value in spec.labels.items():
        if not name.startswith(OWN_LABELS):
            found[f"labels.{name}"] = Fact(value, (("labels", name), ("labels",)))
    for key, words in (("entrypoint", spec.entrypoint), ("command", spec.command)):
        if words is not None:
            found[key] = Fact(shlex.join(words) if words else _REMOVED, ((key,),))
    for key, text in (("user", spec.user), ("working_dir", spec.working_dir), ("stop_signal", spec.stop_signal)):
        if text:
            found[key] = Fact(text, ((key,),))
    published = {f"{one.container_port}/{one.protocol}" for one in spec.ports}
    for port in (one if "/" in one else f"{one}/tcp" for one in spec.exposed_ports):
        if port not in published:
            found[f"expose.{port}"] = Fact("exposed", (("expose",),))
    return found | _healthcheck(spec.healthcheck)


_REMOVED = "\0"
"""No environment can hold it."""


def is_removed(fact: Fact) -> bool:
    return fact.text == _REMOVED


def _healthcheck(check: Healthcheck | None) -> Facts:
    if check is None:
        return {}
    values = {
        "test": shlex.join(check.test),
        **{key: format_duration(value) for key in _TIMES if (value := getattr(check, f"{key}_s"))},
        **({"retries": str(check.retries)} if check.retries else {}),
    }
    return {f"healthcheck.{key}": Fact(text, (("healthcheck", key), ("healthcheck",))) for key, text in values.items() if text}


_TIMES = ("interval", "timeout", "start_period", "start_interval")
