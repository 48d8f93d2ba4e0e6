"""The configuration `stackrun-runtime spec` writes, and what `features` says."""

from __future__ import annotations

import os
from typing import Any

from stackrun.kernel import caps, cgroup, mounts, namespaces, probe, seccomp
from stackrun.runtime import hooks, spec
from stackrun.runtime.record import SPEC_VERSION

_GRANTED = ("CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE")
_MOUNTS = (
    ("/proc", "proc", ()),
    ("/dev", "tmpfs", ("nosuid", "strictatime", "mode=755", "size=65536k")),
    ("/dev/pts", "devpts", ("nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5")),
    ("/dev/shm", "tmpfs", ("nosuid", "noexec", "nodev", "mode=1777", "size=65536k")),
    ("/dev/mqueue", "mqueue", ("nosuid", "noexec", "nodev")),
    ("/sys", "sysfs", ("nosuid", "noexec", "nodev", "ro")),
    ("/sys/fs/cgroup", "cgroup", ("nosuid", "noexec", "nodev", "ro")),
)
_MASKED = ("acpi", "asound", "kcore", "keys", "latency_stats", "timer_list", "timer_stats", "sched_debug", "scsi")
_READ_ONLY = ("bus", "fs", "irq", "sys", "sysrq-trigger")


def rootless_config() -> dict[str, Any]:
    """`config` for the ordinary user who calls: his own id is root there; the network and the cgroup stay his, and /sys is the host's."""
    made = config()
    linux = made["linux"]
    del linux["resources"]
    kinds = [one["type"] for one in linux["namespaces"] if one["type"] != "network"]
    linux["namespaces"] = [{"type": kind} for kind in (*kinds, "user")]
    for name, own in (("uidMappings", os.geteuid()), ("gidMappings", os.getegid())):
        linux[name] = [{"containerID": 0, "hostID": own, "size": 1}]
    kept = [one for one in made["mounts"] if not one["destination"].startswith("/sys")]
    for one in kept:
        one["options"] = [word for word in one["options"] if not word.startswith(("uid=", "gid="))]
    host_sys = {"destination": "/sys", "type": "none", "source": "/sys", "options": ["rbind", "nosuid", "noexec", "nodev", "ro"]}
    return {**made, "mounts": [*kept, host_sys]}


def config() -> dict[str, Any]:
    """A shell in ./rootfs with few rights and namespaces of its own."""
    return {
        "ociVersion": SPEC_VERSION,
        "process": {
            "terminal": True,
            "user": {"uid": 0, "gid": 0},
            "args": ["sh"],
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"],
            "cwd": "/",
            "capabilities": {name: list(_GRANTED) for name in ("bounding", "effective", "permitted")},
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
            "noNewPrivileges": True,
        },
        "root": {"path": "rootfs", "readonly": True},
        "hostname": "stackrun",
        "mounts": [{"destination": path, "type": kind, "source": kind, "options": list(options)} for path, kind, options in _MOUNTS],
        "linux": {
            "resources": {"devices": [{"allow": False, "access": "rwm"}, *_allowed_devices()]},
            "namespaces": [{"type": kind} for kind in ("pid", "network", "ipc", "uts", "mount", "cgroup")],
            "maskedPaths": [*(f"/proc/{name}" for name in _MASKED), "/sys/firmware"],
            "readonlyPaths": [f"/proc/{name}" for name in _READ_ONLY],
        },
    }


def _allowed_devices() -> list[dict[str, Any]]:
    """Nodes may be made of anything, but only the standard ones and terminals opened."""
    made = [{"allow": True, "type": kind, "access": "m"} for kind in "cb"]
    numbers = ((1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 2), (136, None))
    return made + [
        {"allow": True, "type": "c", "major": major, **({} if minor is None else {"minor": minor}), "access": "rwm"}
        for major, minor in numbers
    ]


def features() -> dict[str, Any]:
    """The features document (features.md, features-linux.md of the runtime-spec): what this runtime does on this kernel."""
    works = {one.name: one.available for one in probe.probes()}
    layout = cgroup.detect()
    return {
        "ociVersionMin": "1.0.0",
        "ociVersionMax": SPEC_VERSION,
        "hooks": list(hooks.NAMES),
        "mountOptions": _mount_options(),
        "linux": {
            "namespaces": sorted(kind for kind in namespaces.FLAGS if works.get(f"{kind} namespace", True)),
            "capabilities": list(caps.NAMES),
            "cgroup": {"v1": True, "v2": True, "systemd": False, "systemdUser": False, "rdma": "rdma" in layout.controllers},
            "seccomp": _filters(),
            "apparmor": {"enabled": False},
            "selinux": {"enabled": False},
            "intelRdt": {"enabled": False},
            "mountExtensions": {"idmap": {"enabled": True}},
        },
        "annotations": {"stackrun.capability-sets": ",".join(spec.CAPABILITY_SETS)},
        "potentiallyUnsafeConfigAnnotations": [],
    }


def _mount_options() -> list[str]:
    own = {"bind", "rbind", "defaults", "tmpcopyup", "idmap", "ridmap", *mounts.SUPERBLOCK_WORDS}
    for words in (mounts.ATTRIBUTE_WORDS, mounts.PROPAGATION_WORDS):
        own |= {*words, *(f"r{word}" for word in words)}
    return sorted(own)


def _filters() -> dict[str, Any]:
    if not seccomp.is_supported():
        return {"enabled": False}
    words = seccomp.words()
    return {"enabled": True, **{name: sorted(values) for name, values in words.items()}}
