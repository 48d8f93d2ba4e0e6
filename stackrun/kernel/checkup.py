"""All that `stackrun check` tells: what this kernel and this user can do, what each lack costs, and what would mend it.

`kernel.probe` tries; here is what it means.  Nothing is changed.
"""

from __future__ import annotations

import os
import resource
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from stackrun.kernel import cgroup
from stackrun.kernel.cgroup_limits import DELEGATE, DELEGATE_MORE
from stackrun.kernel.probe import Probe, probes

_REBUILD = "boot a distribution's kernel: all of them have it"


@dataclass(frozen=True, slots=True)
class Check:
    """One facility.  `detail` is how it is there, or why not; `cost` and `remedy` are for one that is missing."""

    group: str
    name: str
    ok: bool
    required: bool
    detail: str = ""
    cost: str = ""
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class _Meaning:
    group: str
    required: bool = False
    cost: str = ""
    remedy: str = _REBUILD


_NO_CONTAINERS = "no container starts"
_NO_ROOTLESS = "no engine for an ordinary user"
_OWN_OVERLAYFS = "Linux 5.11, the first whose overlayfs a user may mount himself; or root's engine: fuse-overlayfs is not used"
_MEANINGS = {
    **{f"{kind} namespace": _Meaning("namespaces", True, _NO_CONTAINERS) for kind in ("mount", "pid", "network", "uts", "ipc")},
    "cgroup namespace": _Meaning("namespaces", False, "containers see the host's names of their cgroups"),
    "user namespace": _Meaning("namespaces", False, "no engine for an ordinary user, no uid mappings"),
    "time namespace": _Meaning("namespaces", False, "linux.timeOffsets is refused", "Linux 5.6 with CONFIG_TIME_NS"),
    **{
        name: _Meaning("system calls", True, _NO_CONTAINERS, "a kernel of at least that version")
        for name in ("pidfd_open", "clone3", "close_range", "openat2", "fsopen", "mount_setattr")
    },
    "landlock_create_ruleset": _Meaning("system calls", False, "nothing: it is not used yet", "Linux 5.13"),
    "id-mapped mounts": _Meaning(
        "file systems", False, "idmap and ridmap of bind mounts are refused", "Linux 5.12; not every file system has it"
    ),
    "overlayfs": _Meaning("file systems", True, _NO_CONTAINERS, "modprobe overlay"),
    "cgroup": _Meaning("cgroups", True, "no limits, no pause, no kill of all processes", "mount -t cgroup2 none /sys/fs/cgroup"),
    "cgroup cpu": _Meaning("cgroups", False, "cpus and cpu_shares are refused"),
    "cgroup cpuset": _Meaning("cgroups", False, "cpuset is refused"),
    "cgroup memory": _Meaning("cgroups", False, "mem_limit is refused, and one container can take all", "boot with cgroup_enable=memory"),
    "cgroup pids": _Meaning("cgroups", False, "pids_limit is refused: a fork bomb reaches the host"),
    "cgroup freezer": _Meaning("cgroups", False, "pause is refused"),
    "cgroup devices": _Meaning("cgroups", False, "devices are not confined"),
    "cgroup io": _Meaning("cgroups", False, "blkio_config is refused"),
    "cgroup hugetlb": _Meaning("cgroups", False, "hugepageLimits are refused"),
    "cgroup swap limit": _Meaning("cgroups", False, "memswap_limit is refused", "boot with swapaccount=1"),
    "seccomp": _Meaning("security", True, "containers would reach every system call", "install libseccomp2"),
    "nftables": _Meaning("network", True, "no bridge network and no published port", "modprobe nf_tables"),
    "veth": _Meaning("network", True, "no bridge network", "modprobe veth"),
    "bridge": _Meaning("network", True, "no bridge network", "modprobe bridge"),
}
"""What has no entry is a capability."""


def checks() -> tuple[Check, ...]:
    """In groups, the order of which tells."""
    is_root = os.geteuid() == 0
    found = [_kernel(), *(_of_probe(one, is_root) for one in probes())]
    found += [*_more_of_cgroups(), *_more_of_security(), *_more_of_network(), *_of_users(is_root), *_of_limits()]
    groups = list(dict.fromkeys(one.group for one in found))
    return tuple(sorted(found, key=lambda one: groups.index(one.group)))


def runs(found: tuple[Check, ...]) -> bool:
    return all(one.ok or not one.required for one in found)


def _kernel() -> Check:
    """Linux 5.12 is what mounts by descriptor take."""
    name = os.uname()
    numbers = [int(part) for part in name.release.split("-")[0].split(".")[:2] if part.isdigit()]
    ok = numbers >= [5, 12]
    return Check("kernel", "version", ok, True, f"{name.release} {name.machine}", _NO_CONTAINERS, "" if ok else "Linux 5.12 or later")


def _of_probe(probe: Probe, is_root: bool) -> Check:
    meaning = _MEANINGS.get(probe.name)
    if meaning is None:
        return _capability(probe, is_root)
    required = meaning.required or (not is_root and probe.name == "user namespace")
    if not is_root and probe.name == "nftables":
        return Check(meaning.group, probe.name, True, False, "not tried: an ordinary user's rules are in a namespace of the engine's own")
    remedy = _OWN_OVERLAYFS if probe.name == "overlayfs" and not is_root else meaning.remedy
    if not is_root and meaning.group == "cgroups":
        required = False  # his containers do without limits
        if probe.name == "cgroup devices":
            return Check(meaning.group, probe.name, True, False, "not needed: containers may open what this user may open")
        remedy = DELEGATE if probe.name == "cgroup" else DELEGATE_MORE
    return Check(meaning.group, probe.name, probe.available, required, probe.reason, meaning.cost, remedy)


def _capability(probe: Probe, is_root: bool) -> Check:
    needed = "needed" in probe.reason
    cost = (
        _NO_CONTAINERS
        if needed
        else "no container gets it; limits above the own are lowered"
        if "RESOURCE" in probe.name
        else "no container gets it"
    )
    if not is_root:
        return Check("capabilities", probe.name, True, False, "not needed: root of an own user namespace has it there")
    return Check("capabilities", probe.name, probe.available, needed, probe.reason, cost, "run as root, outside of a container without it")


def _more_of_cgroups() -> Iterator[Check]:
    layout = cgroup.detect()
    psi = os.path.exists("/proc/pressure/memory")
    yield Check("cgroups", "pressure (PSI)", psi, False, "", "want of memory is noticed only when something is killed", "boot with psi=1")
    if layout.v2:
        kill = any(Path(layout.v2).glob("cgroup.kill")) or any(Path(layout.v2).glob("*/cgroup.kill"))
        yield Check("cgroups", "cgroup.kill", kill, False, "", "killing a container takes freezing it first", "Linux 5.14")


def _more_of_security() -> Iterator[Check]:
    actions = _text("/proc/sys/kernel/seccomp/actions_avail").split()
    wanted = ("kill_process", "kill_thread", "trap", "errno", "user_notif", "trace", "log", "allow")
    missing = [name for name in wanted if name not in actions]
    detail = " ".join(actions) if not missing else f"without {' '.join(missing)}"
    yield Check(
        "security", "seccomp actions", not missing, False, detail, "profiles that use the missing ones are refused", "a later kernel"
    )
    yield _module("AppArmor", _text("/sys/module/apparmor/parameters/enabled") == "Y")
    yield _module("SELinux", os.path.exists("/sys/fs/selinux/enforce"))
    scope = _text("/proc/sys/kernel/yama/ptrace_scope")
    yield Check("security", "ptrace_scope", True, False, scope or "no Yama here: a process may trace others of its user")


def _module(name: str, present: bool) -> Check:
    """Labels are refused where a configuration asks for them, so nothing is lost without it."""
    return Check("security", name, True, False, "on; containers get no profile or label of it" if present else "not in this kernel")


def _more_of_network() -> Iterator[Check]:
    conntrack = os.path.exists("/proc/sys/net/netfilter/nf_conntrack_max")
    detail = _text("/proc/sys/net/netfilter/nf_conntrack_max") if conntrack else "loaded with the first rule that needs it"
    yield Check("network", "connection tracking", True, False, detail)
    forwarding = _text("/proc/sys/net/ipv4/ip_forward") == "1"
    yield Check("network", "ip_forward", True, False, "on" if forwarding else "off: switched on with the first network")
    yield _program("network", "slirp4netns", "containers of an ordinary user reach nothing outside", "slirp4netns")


def _of_users(is_root: bool) -> Iterator[Check]:
    most = _text("/proc/sys/user/max_user_namespaces")
    yield Check(
        "users",
        "max_user_namespaces",
        most != "0",
        not is_root,
        most,
        "no engine for an ordinary user",
        "sysctl user.max_user_namespaces=15000",
    )
    for name, path, barred in (
        ("unprivileged_userns_clone", "/proc/sys/kernel/unprivileged_userns_clone", "0"),
        ("apparmor_restrict_unprivileged_userns", "/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1"),
    ):
        value = _text(path)
        if value:
            allowed = "0" if barred == "1" else "1"
            yield Check("users", name, value != barred, not is_root, value, _NO_ROOTLESS, f"sysctl kernel.{name}={allowed}")
    helpers = [name for name in ("newuidmap", "newgidmap") if shutil.which(name)]
    cost = "an ordinary user's containers have one user id"
    yield Check("users", "newuidmap, newgidmap", len(helpers) == 2, False, " ".join(helpers) or "not installed", cost, "apt install uidmap")
    yield from (_subordinate(file, cost) for file in ("subuid", "subgid")) if not is_root else ()


def _program(group: str, name: str, cost: str, package: str) -> Check:
    path = shutil.which(name)
    return Check(group, name, bool(path), False, path or "not installed", cost, f"apt install {package}")


def _subordinate(file: str, cost: str) -> Check:
    import pwd

    user = pwd.getpwuid(os.geteuid()).pw_name
    lines = [line for line in _text(f"/etc/{file}").splitlines() if line.split(":")[0] in (user, str(os.geteuid()))]
    remedy = f"usermod --add-{file}s 100000-165535 {user}"
    return Check("users", file, bool(lines), False, " ".join(lines) or f"no range for {user}", cost, remedy)


def _of_limits() -> Iterator[Check]:
    for name, least, what in (
        ("max_user_instances", 512, "watched folders and file servers"),
        ("max_user_watches", 65536, "files of watched folders"),
    ):
        value = int(_text(f"/proc/sys/fs/inotify/{name}") or 0)
        cost = f"all containers of one user share these {what}"
        yield Check("limits", f"inotify {name}", value >= least, False, str(value), cost, f"sysctl fs.inotify.{name}={least}")
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    enough = files == resource.RLIM_INFINITY or files >= 65536
    shown = "unlimited" if files == resource.RLIM_INFINITY else str(files)
    yield Check(
        "limits",
        "open files",
        enough,
        False,
        shown,
        "some six a container for the engine, and containers get no more",
        "LimitNOFILE=1048576",
    )
    keys = int(_text("/proc/sys/kernel/keys/maxkeys") or 0)
    yield Check(
        "limits",
        "session keyrings",
        keys >= 200,
        False,
        str(keys),
        "one a container of an ordinary user",
        "sysctl kernel.keys.maxkeys=2000",
    )


def _text(path: str) -> str:
    """Empty when there is no such file."""
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
