"""A container as it was asked for → the OCI runtime configuration that makes it, as Docker would have it.  Pure.

Sources: OCI runtime-spec config.md and config-linux.md; moby oci/defaults.go and daemon/oci_linux.go.
"""

from __future__ import annotations

import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from stackrun.api.types import ContainerSpec, ExecSpec, Mount, MountPoint, MountType, Resources
from stackrun.engine import security
from stackrun.engine.powers import Powers
from stackrun.engine.record import Definition
from stackrun.errors import InvalidArgument
from stackrun.kernel import caps
from stackrun.kernel.cgroup_devices import DEFAULT_RULES

OCI_VERSION = "1.0.2"
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
DEFAULT_SHM_BYTES = 64 << 20
CPU_PERIOD_US = 100_000
PAGE_BYTES = 4096
FEWEST_INODES = 1024
_TMPFS_DEFAULTS = {"exec": "noexec", "suid": "nosuid", "dev": "nodev"}


@dataclass(frozen=True, slots=True)
class Device:
    """A node of the host as it was found: `type` c or b; `path` inside, `host_path` where it is."""

    path: str
    type: str
    major: int
    minor: int
    mode: int
    permissions: str = "rwm"
    host_path: str = ""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the configuration needs to know besides the definition.

    `joined`: OCI namespace type → path of a namespace to join, or "" to stay in the host's; a type that is absent gets a new one.
    `files`: container path → host path of /etc/hosts and its like.
    """

    root_path: str
    cgroup_path: str
    hostname: str
    joined: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    devices: tuple[Device, ...] = ()
    swap_accounting: bool = False
    powers: Powers = field(default_factory=Powers)


def oci_config(definition: Definition, around: Surroundings) -> dict[str, Any]:
    spec = definition.spec
    options = security.security_options(spec)
    config: dict[str, Any] = {
        "ociVersion": OCI_VERSION,
        "root": {"path": around.root_path, "readonly": spec.read_only_rootfs},
        "process": _process(definition, around, options),
        "mounts": _mounts(definition, around),
        "linux": {
            "namespaces": _namespaces(around.joined),
            "cgroupsPath": around.cgroup_path,
            "resources": around.powers.held(oci_resources(spec.resources, swap_accounting=around.swap_accounting))
            | _device_rules(spec, around),
            "devices": [] if around.powers.rootless else [_device_node(device) for device in around.devices],
            "maskedPaths": list(security.masked_paths(spec, options)),
            "readonlyPaths": list(security.readonly_paths(spec, options)),
            "sysctl": dict(spec.sysctls),
        },
        "annotations": dict(spec.annotations),
    }
    if around.joined.get("uts") is None:
        config |= {"hostname": around.hostname, "domainname": spec.domainname}
    return config


# --- process --------------------------------------------------------------------------------------


def _process(definition: Definition, around: Surroundings, options: security.SecurityOptions) -> dict[str, Any]:
    spec = definition.spec
    return {
        "terminal": spec.tty,
        "user": {"uid": 0, "gid": 0},
        "stackrunUser": spec.user,
        "stackrunGroups": list(spec.group_add),
        "args": [definition.path, *definition.args],
        "env": environment(spec, around.hostname),
        "cwd": spec.working_dir or "/",
        "capabilities": capability_sets(security.capabilities(spec)),
        "rlimits": [{"type": f"RLIMIT_{one.name.upper()}", "soft": one.soft, "hard": one.hard} for one in spec.resources.ulimits],
        "noNewPrivileges": options.no_new_privileges,
        "oomScoreAdj": spec.oom_score_adj,
    }


def exec_process(definition: Definition, request: ExecSpec, hostname: str) -> dict[str, Any]:
    """The OCI process of one `exec`: the container's own surroundings with what the request changes."""
    spec = definition.spec
    wanted = caps.NAMES if request.privileged else security.capabilities(spec)
    return {
        "terminal": request.tty,
        "user": {"uid": 0, "gid": 0},
        "stackrunUser": request.user or spec.user,
        "stackrunGroups": list(spec.group_add),
        "args": list(request.command),
        "env": merged_environment(_base_environment(hostname, request.tty), (*spec.environment, *request.environment)),
        "cwd": request.working_dir or spec.working_dir or "/",
        "capabilities": capability_sets(wanted),
        "rlimits": [{"type": f"RLIMIT_{one.name.upper()}", "soft": one.soft, "hard": one.hard} for one in spec.resources.ulimits],
        "noNewPrivileges": security.security_options(spec).no_new_privileges,
        "oomScoreAdj": spec.oom_score_adj,
    }


def environment(spec: ContainerSpec, hostname: str) -> list[str]:
    """PATH, HOSTNAME and TERM as Docker gives them, then the container's own, which win. HOME is the runtime's: it knows the user."""
    return merged_environment(_base_environment(hostname, spec.tty), spec.environment)


def _base_environment(hostname: str, tty: bool) -> tuple[str, ...]:
    return (f"PATH={DEFAULT_PATH}", f"HOSTNAME={hostname}", *(("TERM=xterm",) if tty else ()))


def merged_environment(base: Sequence[str], over: Sequence[str]) -> list[str]:
    """`over` wins by name and keeps the base's place; a name without `=` takes the variable away."""
    values = {one.partition("=")[0]: one for one in base}
    for one in over:
        name, equals, _ = one.partition("=")
        if equals:
            values[name] = one
        else:
            values.pop(name, None)
    return list(values.values())


def capability_sets(wanted: Sequence[str]) -> dict[str, list[str]]:
    """Nothing inheritable or ambient, so that a user other than root loses them at execve (CVE-2022-24769)."""
    return {"bounding": list(wanted), "effective": list(wanted), "permitted": list(wanted), "inheritable": [], "ambient": []}


# --- namespaces -----------------------------------------------------------------------------------


def _namespaces(joined: Mapping[str, str]) -> list[dict[str, str]]:
    found = [{"type": "mount"}]
    for kind in ("pid", "network", "ipc", "uts", "cgroup"):
        path = joined.get(kind)
        if path is None:
            found.append({"type": kind})
        elif path:
            found.append({"type": kind, "path": path})
    return found


# --- mounts ---------------------------------------------------------------------------------------


def _mounts(definition: Definition, around: Surroundings) -> list[dict[str, Any]]:
    """Docker's default mounts, the engine's files, then the container's own, shallow before deep; a later one at the same place wins."""
    spec = definition.spec
    brought = [_bind(point.source, point.target, point.mode.split(",")) for point in definition.image_mounts]
    own = [*brought, *(_mount_point(point, spec) for point in definition.mounts), *_bound_devices(around)]
    files = [_bind(source, target, ("rbind", "rprivate")) for target, source in around.files.items()]
    taken = {one["destination"] for one in own}
    defaults = [one for one in _default_mounts(spec, around) if one["destination"] not in taken]
    if "/dev" in taken:
        defaults = [one for one in defaults if not one["destination"].startswith("/dev/")]
    placed = [one for one in files if one["destination"] not in taken] + own
    return defaults + sorted(placed, key=_depth)


def _depth(mount: Mapping[str, Any]) -> int:
    return sum(part not in ("", ".") for part in mount["destination"].split("/"))


def _bound_devices(around: Surroundings) -> list[dict[str, Any]]:
    """Nodes take root to make, so without it the host's own are shown."""
    shown = around.devices if around.powers.rootless else ()
    return [_bind(one.host_path, one.path, ("bind", "rprivate", "nosuid", "noexec")) for one in shown]


def _default_mounts(spec: ContainerSpec, around: Surroundings) -> list[dict[str, Any]]:
    access = "rw" if spec.privileged else "ro"
    mounts = [
        _mount("/proc", "proc", "nosuid", "noexec", "nodev"),
        _mount("/dev", "tmpfs", "nosuid", "strictatime", "mode=755", "size=65536k", _inodes(64 << 20)),
        _mount("/dev/pts", "devpts", "nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", *_terminal_group(around)),
        _mount("/sys", "sysfs", "nosuid", "noexec", "nodev", access),
        _mount("/sys/fs/cgroup", "cgroup", "nosuid", "noexec", "nodev", access),
    ]
    if spec.ipc_mode == "none":
        return mounts
    return [*mounts, _message_queues(around), _shared_memory(spec, around)]


def _message_queues(around: Surroundings) -> dict[str, Any]:
    """Those of the ipc namespace, whether they are mounted where that is from or not; only an ordinary user may not mount the host's."""
    if around.joined.get("ipc") == "" and around.powers.rootless:
        return _bind("/dev/mqueue", "/dev/mqueue", ("bind",))
    return _mount("/dev/mqueue", "mqueue", "nosuid", "noexec", "nodev")


def _shared_memory(spec: ContainerSpec, around: Surroundings) -> dict[str, Any]:
    """Its own, the host's, or that of the container whose ipc namespace it joins, which takes a visit to that one's mounts."""
    joined = around.joined.get("ipc")
    if joined == "":
        return _bind("/dev/shm", "/dev/shm", ("bind",))
    if joined:
        source = f"{joined.removesuffix('/ns/ipc')}/root/dev/shm"
        return {**_bind(source, "/dev/shm", ("bind", "rprivate", "nosuid", "noexec", "nodev")), "stackrunVisits": True}
    size_bytes = spec.shm_size_bytes or DEFAULT_SHM_BYTES
    options = ("nosuid", "noexec", "nodev", "mode=1777", f"size={size_bytes}", _inodes(size_bytes))
    return _mount("/dev/shm", "tmpfs", *options, source="shm")


def _inodes(size_bytes: int) -> str:
    """As many as there are pages, and some: empty files take memory too, of which the size says nothing (tmpfs(5))."""
    return f"nr_inodes={max(size_bytes // PAGE_BYTES, FEWEST_INODES)}"


def _terminal_group(around: Surroundings) -> tuple[str, ...]:
    """The group `tty` as every distribution numbers it, unless nothing can be given to another group."""
    return () if around.powers.single_id else ("gid=5",)


def _mount(destination: str, kind: str, *options: str, source: str = "") -> dict[str, Any]:
    return {"destination": destination, "type": kind, "source": source or kind, "options": list(options)}


def _bind(source: str, destination: str, options: Sequence[str]) -> dict[str, Any]:
    return {"destination": destination, "type": "bind", "source": source, "options": list(options)}


def _mount_point(point: MountPoint, spec: ContainerSpec) -> dict[str, Any]:
    asked = next((one for one in spec.mounts if one.target == point.target), None)
    if point.type is MountType.TMPFS:
        return _mount(point.target, "tmpfs", *_tmpfs_options(point, asked, spec), source="tmpfs")
    recursive = asked is None or not asked.non_recursive
    access = ("rw",) if point.read_write else ("ro", "rro") if recursive else ("ro",)  # what is mounted below is read-only too
    bind = _bind(point.source, point.target, ("rbind" if recursive else "bind", point.propagation or "rprivate", *access))
    # A part of a volume was looked up when the container was made; whoever writes to the volume may have made a link of it since.
    return {**bind, "stackrunResolved": True} if asked is not None and asked.subpath else bind


def _tmpfs_options(point: MountPoint, asked: Mount | None, spec: ContainerSpec) -> list[str]:
    """nosuid, nodev and noexec unless the caller says the opposite, as moby's MergeTmpfsOptions."""
    raw = asked.tmpfs_options if asked is not None else spec.tmpfs.get(point.target, "")
    given = [one for one in raw.split(",") if one]
    if asked is not None and asked.tmpfs_size_bytes:
        given.append(f"size={asked.tmpfs_size_bytes}")
    if asked is not None and asked.tmpfs_mode:
        given.append(f"mode={asked.tmpfs_mode:o}")
    options = [closed for opposite, closed in _TMPFS_DEFAULTS.items() if opposite not in given and closed not in given]
    return [*options, *given, *(() if point.read_write else ("ro",))]


# --- resources and devices ------------------------------------------------------------------------


def oci_resources(limits: Resources, *, swap_accounting: bool) -> dict[str, Any]:
    """OCI linux.resources without device rules; a limit that was not given is absent.

    With a memory limit alone Docker allows as much swap again; said only where the kernel can hold it (`swap_accounting`).
    """
    memory: dict[str, Any] = {}
    if limits.memory_bytes:
        memory["limit"] = limits.memory_bytes
        if not limits.memory_swap_bytes and swap_accounting:
            memory["swap"] = 2 * limits.memory_bytes
    if limits.memory_reservation_bytes:
        memory["reservation"] = limits.memory_reservation_bytes
    if limits.memory_swap_bytes:
        memory["swap"] = limits.memory_swap_bytes
    if limits.oom_kill_disable:
        memory["disableOOMKiller"] = True
    found: dict[str, Any] = {"memory": memory, "cpu": _cpu(limits)}
    if limits.pids_limit:
        found["pids"] = {"limit": limits.pids_limit}
    if limits.blkio_weight:
        found["blockIO"] = {"weight": limits.blkio_weight}
    return {name: value for name, value in found.items() if value}


def _cpu(limits: Resources) -> dict[str, Any]:
    cpu: dict[str, Any] = {
        "shares": limits.cpu_shares,
        "quota": limits.cpu_quota_us,
        "period": limits.cpu_period_us,
        "cpus": limits.cpuset_cpus,
        "mems": limits.cpuset_mems,
    }
    if limits.nano_cpus:
        cpu |= {"quota": limits.nano_cpus * CPU_PERIOD_US // 1_000_000_000, "period": CPU_PERIOD_US}
    return {name: value for name, value in cpu.items() if value}


def _device_rules(spec: ContainerSpec, around: Surroundings) -> dict[str, Any]:
    """Without root there are none: containers may open what their user may open."""
    return {} if around.powers.rootless else {"devices": _rules(spec, around.devices)}


def _rules(spec: ContainerSpec, devices: Sequence[Device]) -> list[dict[str, Any]]:
    if spec.privileged:
        return [{"allow": True, "access": "rwm"}]
    rules: list[dict[str, Any]] = [*DEFAULT_RULES]
    rules += [_rule(one.type, one.major, one.minor, one.permissions) for one in devices]
    return rules + [_parsed_rule(text) for text in spec.resources.device_cgroup_rules]


def _rule(kind: str, major: int | None, minor: int | None, access: str) -> dict[str, Any]:
    rule: dict[str, Any] = {"allow": True, "type": kind, "access": access}
    if major is not None:
        rule["major"] = major
    if minor is not None:
        rule["minor"] = minor
    return rule


def _parsed_rule(text: str) -> dict[str, Any]:
    """`c 42:* rmw`, as `--device-cgroup-rule` takes it."""
    try:
        kind, numbers, access = text.split()
        major, minor = (None if one == "*" else int(one) for one in numbers.split(":"))
    except ValueError:
        raise InvalidArgument(f"invalid device cgroup rule format: '{text}'", hint='write one such as "c 42:* rmw"') from None
    if kind not in ("a", "b", "c") or not access or set(access) - set("rwm"):
        raise InvalidArgument(f"invalid device cgroup rule format: '{text}'", hint='write one such as "c 42:* rmw"')
    return _rule(kind, major, minor, access)


def _device_node(device: Device) -> dict[str, Any]:
    return {
        "path": device.path,
        "type": device.type,
        "major": device.major,
        "minor": device.minor,
        "fileMode": stat.S_IMODE(device.mode),
        "uid": 0,
        "gid": 0,
    }
