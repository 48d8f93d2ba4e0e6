"""A container's configuration against what the kernel says of its process, field by field.  Pure.

Both sides are brought to one form first.  What a program may change about itself is no drift: it may give capabilities up, become
another user, overwrite its arguments.  What it could not have got by itself is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stackrun.api.drift import Repair
from stackrun.kernel import caps, cgroup_devices, syscalls
from stackrun.kernel.cgroup_limits import Limit
from stackrun.kernel.credentials import Credentials
from stackrun.kernel.mountinfo import Mount, Seen
from stackrun.kernel.mounts import Options
from stackrun.kernel.syscalls import MS_PRIVATE, MS_SHARED, MS_SLAVE
from stackrun.units import parse_bytes

MISSING, MAX = "missing", "max"
PAGE_BYTES = 4096
CONTENT_MAX = 1 << 20
"""A file that took another's place is no drift while it says the same, which is looked at up to this size."""

_NO_LIMIT_V1 = (1 << 63) // PAGE_BYTES - 1
_KINDS = {"network": "net", "mount": "mnt"}
_WORDS = {
    syscalls.MOUNT_ATTR_RDONLY: ("ro", "rw"),
    syscalls.MOUNT_ATTR_NOSUID: ("nosuid", "suid"),
    syscalls.MOUNT_ATTR_NODEV: ("nodev", "dev"),
    syscalls.MOUNT_ATTR_NOEXEC: ("noexec", "exec"),
}


@dataclass(frozen=True, slots=True)
class Difference:
    field: str
    declared: str
    actual: str
    repair: Repair


# --- cgroup --------------------------------------------------------------------------------------


def complete_resources(declared: Mapping[str, Any], controllers: Iterable[str]) -> dict[str, Any]:
    """OCI resources with what the kernel has where nothing is declared, so that a limit nobody asked for is a difference.

    With a memory limit alone, that of memory and swap together is the engine's choice, and may be an earlier limit's.
    """
    defaults: dict[str, dict[str, Any]] = {"memory": {"limit": -1}, "cpu": {"quota": -1, "shares": 1024}, "pids": {"limit": -1}}
    known = {name: default for name, default in defaults.items() if name in set(controllers)}
    return {**declared, **{name: default | dict(declared.get(name) or {}) for name, default in known.items()}}


def limit_differences(limits: Sequence[Limit], read: Callable[[Limit], tuple[str, str, str] | None]) -> Iterator[Difference]:
    """`read` gives (file, what it should say, what it says) of the first file that there is, or None."""
    for limit in limits:
        found = read(limit)
        if found is not None and not same_limit(*found):
            _, declared, actual = found
            yield Difference(limit.field, _shown(declared), _shown(actual), Repair.IN_PLACE)


def same_limit(file: str, declared: str, actual: str) -> bool:
    if file == "memory.oom_control":
        return f"oom_kill_disable {declared}" in actual.splitlines()
    if file.startswith("cpuset."):
        return _cpus(declared) == _cpus(actual)
    if file == "cpu.max":
        wanted = declared.split()
        return actual.split()[: len(wanted)] == wanted
    if ":" in declared.partition(" ")[0]:  # a device's: one line of several
        device, _, value = declared.partition(" ")
        return any(line.split()[0] == device and value in line.split()[1:] for line in actual.splitlines() if line.strip())
    first = (actual.splitlines() or [""])[0]  # `default 100`, and a line for each device
    return _amount(file, declared.split(" ")[-1]) == _amount(file, first.split(" ")[-1])


def _amount(file: str, text: str) -> str:
    """A number of bytes in whole pages, as the kernel keeps it, and one word for no limit."""
    text = text.strip()
    if text in ("-1", MAX):
        return MAX
    if text.isdecimal() and file.startswith("memory.") and file != "memory.swappiness":
        pages = int(text) // PAGE_BYTES
        return MAX if pages >= _NO_LIMIT_V1 else str(pages)
    if text.isdecimal() and file == "cpu.shares":
        return str(min(max(int(text), 2), 262144))
    return text


def _cpus(text: str) -> frozenset[int]:
    found: set[int] = set()
    for part in text.replace(",", " ").split():
        first, _, last = part.partition("-")
        if first.isdecimal():
            found.update(range(int(first), int(last or first) + 1))
    return frozenset(found)


def _shown(text: str) -> str:
    text = " ".join(text.split())
    return MAX if text == "-1" or (text.isdecimal() and int(text) // PAGE_BYTES >= _NO_LIMIT_V1) else text


def device_difference(rules: Iterable[dict[str, Any]], listed: str) -> Difference | None:
    """Of cgroup v1's devices.list; v2 keeps a program that nobody can read back."""
    policy = cgroup_devices.fold(rules)
    if policy.allow_by_default:
        wanted = {"a *:* rwm"}
    else:
        wanted = {text for file, text in cgroup_devices.v1_writes(policy) if file == "devices.allow"}
    found = {line.strip() for line in listed.splitlines() if line.strip()}
    if found == wanted:
        return None
    lost, more = wanted - found, found - wanted
    words = [*(f"without {one}" for one in sorted(lost)), *(f"also {one}" for one in sorted(more))]
    return Difference("devices", f"{len(wanted)} rules", ", ".join(words[:4]), Repair.IN_PLACE)


def group_difference(declared: str, paths: Mapping[str, str]) -> Difference | None:
    """`paths`: the process's group in each hierarchy; one that it made below its own counts as its own."""
    for controllers, path in paths.items():
        if f"/{declared}/" not in f"{path}/":
            return Difference(f"cgroup.{controllers or 'unified'}", f"/{declared}", path, Repair.RESTART)
    return None


# --- mounts --------------------------------------------------------------------------------------


def mount_paths(config: Mapping[str, Any]) -> tuple[str, ...]:
    """Every path whose mount is declared, the root first."""
    linux = config.get("linux") or {}
    own = [str(one["destination"]) for one in config.get("mounts") or ()]
    return tuple(dict.fromkeys(["/", *own, *(linux.get("maskedPaths") or ()), *(linux.get("readonlyPaths") or ())]))


def mount_differences(
    config: Mapping[str, Any], seen: Mapping[str, Seen | None], sources: Mapping[str, Seen | None]
) -> Iterator[Difference]:
    """`seen`: what each of `mount_paths` leads to inside; `sources`: what a bind's source is on the host now."""
    root = seen.get("/")
    declared_root = "ro" if (config.get("root") or {}).get("readonly") else "rw"
    actual_root = "ro" if root and root.mount and "ro" in root.mount.options else "rw"
    if declared_root != actual_root:
        yield Difference("mounts./", declared_root, actual_root, Repair.RESTART)
    last = {str(one["destination"]): one for one in config.get("mounts") or ()}
    for destination, one in last.items():
        yield from _mount_differences(destination, one, seen.get(destination), sources)
    linux = config.get("linux") or {}
    for path in linux.get("maskedPaths") or ():
        yield from _guard_differences(f"maskedPaths.{path}", "masked", "visible", seen.get(path), path in last)
    for path in linux.get("readonlyPaths") or ():
        yield from _guard_differences(f"readonlyPaths.{path}", "ro", "rw", seen.get(path), path in last)


def _mount_differences(
    destination: str, one: Mapping[str, Any], seen: Seen | None, sources: Mapping[str, Seen | None]
) -> Iterator[Difference]:
    field, kind, source = f"mounts.{destination}", str(one.get("type") or ""), str(one.get("source") or "")
    options = Options([str(word) for word in one.get("options") or ()])
    if seen is None or seen.mount is None:
        yield Difference(field, source if kind == "bind" else kind, MISSING, Repair.IN_PLACE if binds_in_place(one) else Repair.RESTART)
        return
    mount = seen.mount
    for name, declared, actual in _option_differences(options, mount):
        yield Difference(f"{field}.{name}" if name else field, declared, actual, Repair.RESTART)
    if kind == "bind":
        yield from _source_difference(field, one, seen, sources.get(source))
    elif kind not in ("cgroup", "cgroup2") and kind != mount.kind:
        yield Difference(f"{field}.type", kind, mount.kind, Repair.RESTART)
    elif kind == "tmpfs":
        yield from _tmpfs_differences(field, options, mount)


def _option_differences(options: Options, mount: Mount) -> Iterator[tuple[str, str, str]]:
    for bit, (closed, open_) in _WORDS.items():
        actual = closed if closed in mount.options else open_
        if (options.attr_set | options.recursive_set) & bit:
            declared = closed
        elif (options.attr_clear | options.recursive_clear) & bit:
            declared = open_
        else:
            continue
        if declared != actual:
            yield "", declared, actual
    shared = any(tag.startswith("shared:") for tag in mount.tags)
    received = any(tag.startswith("master:") for tag in mount.tags)
    actual = "shared" if shared else "slave" if received else "private"
    allowed = {MS_PRIVATE: ("private",), MS_SLAVE: ("slave", "private"), MS_SHARED: ("shared",)}.get(options.propagation, (actual,))
    if actual not in allowed:
        yield "propagation", allowed[0], actual


def binds_in_place(one: Mapping[str, Any]) -> bool:
    """A mount of config.json that can be made again in a running container."""
    return one.get("type") == "bind" and not one.get("uidMappings") and not one.get("gidMappings")


def _source_difference(field: str, one: Mapping[str, Any], seen: Seen, now: Seen | None) -> Iterator[Difference]:
    """A bind shows the file or directory that was there when it was made, whoever has its name now.

    A directory is looked up again with each file in it, so another one in its place is seen at once; a file was read, most often.
    """
    source = str(one.get("source") or "")
    if now is None:
        yield Difference(f"{field}.source", source, "gone from the host: the container has what was there", Repair.RESTART)
    elif now.identity != seen.identity and (now.content is None or now.content != seen.content):
        repair = Repair.IN_PLACE if now.is_directory and binds_in_place(one) else Repair.RESTART
        yield Difference(f"{field}.source", source, "another than the one there now", repair)


def _tmpfs_differences(field: str, options: Options, mount: Mount) -> Iterator[Difference]:
    asked = dict(word.partition("=")[::2] for word in options.data)
    has = dict(word.partition("=")[::2] for word in mount.data)
    checks: list[tuple[str, str, str]] = []
    if asked.get("size", "").strip("0") and not asked["size"].endswith("%"):
        checks.append(("size", _in_kibibytes(asked["size"]), has.get("size", MAX)))
    if "mode" in asked:
        checks.append(("mode", asked["mode"].lstrip("0"), has.get("mode", "1777").lstrip("0")))
    for name, declared, actual in checks:
        if declared != actual:
            yield Difference(f"{field}.{name}", declared, actual, Repair.RESTART)


def _in_kibibytes(text: str) -> str:
    """As the kernel prints a size: whole pages, in k."""
    return f"{-(-parse_bytes(text) // PAGE_BYTES) * PAGE_BYTES // 1024}k"


def _guard_differences(field: str, declared: str, actual: str, seen: Seen | None, own: bool) -> Iterator[Difference]:
    """What is not there needs no guard; where the user mounts something of his own, that has been looked at."""
    if seen is None or own:
        return
    if seen.mount is None or "ro" not in seen.mount.options:
        yield Difference(field, declared, actual, Repair.RESTART)


# --- namespaces ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Joined:
    """Another container's namespace: its name, and the inode it has now; 0 when that container does not run."""

    name: str
    inode: int


def namespace_differences(
    config: Mapping[str, Any], inside: Mapping[str, int], host: Mapping[str, int], joined: Mapping[str, Joined]
) -> Iterator[Difference]:
    """`joined`: OCI type → whose. A namespace that is not listed is the host's; one without a path is the container's own."""
    listed = {str(one["type"]) for one in (config.get("linux") or {}).get("namespaces") or ()}
    for kind in ("network", "pid", "ipc", "uts", "mount", "cgroup"):
        short = _KINDS.get(kind, kind)
        if short not in inside or short not in host:
            continue
        actual = "the host's" if inside[short] == host[short] else "another"
        if kind in joined:
            other = joined[kind]
            if inside[short] != other.inode:
                now = actual if other.inode else f"{other.name} is not running"
                yield Difference(f"namespaces.{short}", f"that of container {other.name}", now, Repair.RESTART)
        elif kind in listed and inside[short] == host[short]:
            yield Difference(f"namespaces.{short}", "its own", actual, Repair.RESTART)
        elif kind not in listed and inside[short] != host[short]:
            yield Difference(f"namespaces.{short}", "the host's", actual, Repair.RESTART)


# --- what it may do ----------------------------------------------------------------------------


def credential_differences(
    config: Mapping[str, Any], found: Credentials, *, uid: int | None, filtered: bool, available: int
) -> Iterator[Difference]:
    """`uid`: the declared user, None when it is not known by number; `filtered`: with a seccomp profile; `available`: what the daemon has.

    Root may become anybody by itself, and anyone may give capabilities up or set no_new_privs.
    """
    process = config.get("process") or {}
    sets = process.get("capabilities") or {}
    bounding = caps.mask([one for one in sets.get("bounding") or () if one in caps.NUMBERS]) & available
    for name, actual in (("bounding", found.bounding), ("effective", found.effective), ("permitted", found.permitted)):
        more = caps.names(actual & ~bounding)
        if more:
            yield Difference(f"capabilities.{name}", f"{bounding.bit_count()} capabilities", f"also {', '.join(more)}", Repair.RESTART)
    if process.get("noNewPrivileges") and not found.no_new_privileges:
        yield Difference("no_new_privs", "on", "off", Repair.RESTART)
    if filtered and found.seccomp != 2:
        yield Difference("seccomp", "a filter", {0: "off", 1: "strict"}.get(found.seccomp, str(found.seccomp)), Repair.RESTART)
    if uid and found.uid != uid:
        yield Difference("user", str(uid), str(found.uid), Repair.RESTART)


# --- settings of its namespaces ------------------------------------------------------------------------


def settings(config: Mapping[str, Any]) -> dict[str, str]:
    """`hostname`, `sysctls.net.ipv4.ip_forward` … → their declared values; the hostname only where it is not somebody else's."""
    linux = config.get("linux") or {}
    own_uts = any(one.get("type") == "uts" and not one.get("path") for one in linux.get("namespaces") or ())
    found = {f"sysctls.{name}": " ".join(str(value).split()) for name, value in (linux.get("sysctl") or {}).items()}
    return found | ({"hostname": str(config["hostname"])} if own_uts and config.get("hostname") else {})


def setting_differences(wanted: Mapping[str, str], found: Mapping[str, str]) -> Iterator[Difference]:
    for name, value in wanted.items():
        actual = " ".join(found.get(name, "").split())
        if actual != value:
            yield Difference(name, value, actual or MISSING, Repair.IN_PLACE)


# --- the record ------------------------------------------------------------------------------------


def record_differences(command: Sequence[str], environment: Sequence[str] | None, config: Mapping[str, Any]) -> Iterator[Difference]:
    """What the record says to run, against what was written for the process that runs."""
    process = config.get("process") or {}
    if list(command) != process.get("args"):
        yield Difference("command", " ".join(command), " ".join(map(str, process.get("args") or ())), Repair.RESTART)
    if environment is None:
        return
    declared = dict(one.partition("=")[::2] for one in environment)
    actual = dict(str(one).partition("=")[::2] for one in process.get("env") or ())
    for name in sorted(declared.keys() | actual.keys()):
        if declared.get(name) != actual.get(name):
            words = ["set" if name in values else MISSING for values in (declared, actual)]
            yield Difference(f"environment.{name}", words[0], "another value" if words == ["set", "set"] else words[1], Repair.RESTART)
