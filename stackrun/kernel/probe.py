"""What this kernel and this user can do: each facility tried once, harmlessly, with the reason when it is missing.

Used by `info`, by Unsupported errors that want to say why, and by tests that skip.  Nothing here changes
the host: what has to be done to know whether it works, `kernel.trial` does in processes of its own.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import json
import os
import socket
import struct
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import stackrun
from stackrun.errors import StackrunError
from stackrun.kernel import caps, cgroup, privileges, seccomp, syscalls

_NETLINK_NETFILTER = 12
_NFT_GET_GENERATION = 10 << 8 | 16  # NFNL_SUBSYS_NFTABLES, NFT_MSG_GETGEN
_NLM_F_REQUEST, _NLMSG_ERROR = 1, 2
_TRIAL_TIMEOUT_S = 20.0
_SYSTEM_CALLS = (
    ("pidfd_open", 434, "5.3"),
    ("clone3", 435, "5.3"),
    ("close_range", 436, "5.9"),
    ("openat2", 437, "5.6"),
    ("fsopen", 430, "5.2"),
    ("mount_setattr", 442, "5.12"),
    ("landlock_create_ruleset", 444, "5.13"),
)
_NEEDED_CAPABILITIES = (
    "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_KILL", "CAP_MKNOD", "CAP_NET_ADMIN", "CAP_NET_BIND_SERVICE", "CAP_SETFCAP",
    "CAP_SETGID", "CAP_SETPCAP", "CAP_SETUID", "CAP_SYS_ADMIN", "CAP_SYS_CHROOT", "CAP_SYS_PTRACE",
)  # fmt: skip
"""Without one of these containers do not start; the others only become things that containers cannot be given."""


@dataclass(frozen=True, slots=True)
class Probe:
    """`reason` says why it is not `available`, or how it is."""

    name: str
    available: bool
    reason: str = ""


@functools.cache
def probes() -> tuple[Probe, ...]:
    """Everything, found out once a process; about a tenth of a second."""
    layout = cgroup.detect()
    return (
        *(Probe(name, not reason, reason) for name, reason in _trials().items()),
        *_cgroups(layout),
        _seccomp(),
        _nftables(),
        *(_system_call(*one) for one in _SYSTEM_CALLS),
        *_capabilities(),
    )


def probe(name: str) -> Probe:
    """One of `probes` by name; an unknown name is a bug."""
    return next(one for one in probes() if one.name == name)


def _trials() -> dict[str, str]:
    """`kernel.trial` in a fresh process: forking this one is not safe, since it may have threads."""
    program = "import sys; sys.path.insert(0, sys.argv[1]); from stackrun.kernel import trial; trial.main()"
    package_parent = str(Path(stackrun.__file__).parent.parent)
    done = subprocess.run(
        [sys.executable, "-I", "-c", program, package_parent], stdout=subprocess.PIPE, check=True, timeout=_TRIAL_TIMEOUT_S
    )
    found: dict[str, str] = json.loads(done.stdout)
    return found


def _cgroups(layout: cgroup.Layout) -> tuple[Probe, ...]:
    if layout.mode == cgroup.UNDELEGATED:
        return (
            Probe("cgroup", False, "none is delegated to this user where this runs: containers have no limits and cannot be paused"),
            Probe("cgroup swap limit", False, "no cgroup is delegated to this user"),
        )
    return (
        Probe("cgroup", bool(layout.mode), _kind(layout)),
        *(_controller(name, layout) for name in ("cpu", "cpuset", "memory", "pids", "freezer", "devices", "io", "hugetlb")),
        _swap_limit(layout),
    )


def _kind(layout: cgroup.Layout) -> str:
    if privileges.current().rootless:
        return f"{layout.mode}, delegated: {layout.v2}"
    return layout.mode or "no cgroup file system is mounted"


def _controller(name: str, layout: cgroup.Layout) -> Probe:
    if name in layout.v1 or (name == "io" and "blkio" in layout.v1):
        return Probe(f"cgroup {name}", True, "v1")
    if name in layout.v2_controllers:
        return Probe(f"cgroup {name}", True, "v2")
    if layout.v2 and name in ("freezer", "devices"):
        return Probe(f"cgroup {name}", True, "v2, built in" if name == "freezer" else "v2, by eBPF")
    if privileges.current().rootless:
        return Probe(f"cgroup {name}", False, "not delegated to this user")
    return Probe(f"cgroup {name}", False, "this kernel has no such controller, or its command line disables it")


def _swap_limit(layout: cgroup.Layout) -> Probe:
    """Not every kernel accounts swap; the v1 root shows the file, v2 only shows it below the root, and in what is delegated."""
    name = "cgroup swap limit"
    if "memory" in layout.v1:
        found = os.path.exists(f"{layout.v1['memory']}/memory.memsw.limit_in_bytes")
        return Probe(name, found, "" if found else "boot with swapaccount=1")
    if "memory" not in layout.v2_controllers:
        return Probe(name, False, "there is no memory controller")
    with os.scandir(layout.v2) as entries:
        groups = [layout.v2, *(entry.path for entry in entries if entry.is_dir(follow_symlinks=False))]
    limited = [group for group in groups if os.path.exists(f"{group}/memory.max")]
    found = not limited or any(os.path.exists(f"{group}/memory.swap.max") for group in limited)
    return Probe(name, found, "" if found else "this kernel does not account swap")


def _seccomp() -> Probe:
    if not os.path.exists("/proc/sys/kernel/seccomp/actions_avail"):
        return Probe("seccomp", False, "this kernel has no seccomp filters")
    try:
        seccomp.compile_filter({"defaultAction": "SCMP_ACT_ALLOW"})
    except StackrunError as error:
        return Probe("seccomp", False, str(error))
    return Probe("seccomp", True)


def _nftables() -> Probe:
    """The subsystem is there when its socket answers a request for the ruleset's generation (NFT_MSG_GETGEN)."""
    request = struct.pack("=IHHIIBBH", 20, _NFT_GET_GENERATION, _NLM_F_REQUEST, 0, 0, 0, 0, 0)
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_NETFILTER) as netlink:
            netlink.settimeout(2.0)
            netlink.send(request)
            kind, number = struct.unpack_from("=4xH10xi", netlink.recv(4096))
    except OSError as error:
        return Probe("nftables", False, f"its netlink socket fails: {error}")
    if kind == _NLMSG_ERROR and number:
        return Probe("nftables", False, f"nf_tables does not answer: {os.strerror(-number)}")
    return Probe("nftables", True)


def _system_call(name: str, number: int, since: str) -> Probe:
    """Called with arguments that cannot succeed: any errno but ENOSYS means it is there."""
    call = syscalls.libc["syscall"]
    call.restype = ctypes.c_long
    call(ctypes.c_long(number), ctypes.c_long(-1), None, ctypes.c_long(0), ctypes.c_long(0), ctypes.c_long(0))
    found = ctypes.get_errno() != errno.ENOSYS
    return Probe(name, found, "" if found else f"it came with Linux {since}")


def _capabilities() -> tuple[Probe, ...]:
    missing = set(caps.names(~caps.effective() & caps.mask(_NEEDED_CAPABILITIES)))
    needed = (Probe(name, name not in missing, "needed to start containers" if name in missing else "") for name in _NEEDED_CAPABILITIES)
    absent = (name for name in caps.names(~caps.bounding() & _known_capabilities()) if name not in _NEEDED_CAPABILITIES)
    return (*needed, *(Probe(name, False, "not in this process's bounding set, so no container gets it") for name in absent))


def _known_capabilities() -> int:
    last = int(Path("/proc/sys/kernel/cap_last_cap").read_text())
    return (1 << last + 1) - 1
