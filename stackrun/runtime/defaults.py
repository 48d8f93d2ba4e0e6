"""The configuration `stackrun-runtime spec` writes, and what `features` says."""

from __future__ import annotations

from typing import Any

from stackrun.kernel import caps, mounts, namespaces
from stackrun.runtime import spec

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


def config() -> dict[str, Any]:
    """A shell in ./rootfs with few rights and namespaces of its own."""
    return {
        "ociVersion": "1.2.0",
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
    """The features document (features.md of the runtime-spec)."""
    return {
        "ociVersionMin": "1.0.0",
        "ociVersionMax": "1.2.0",
        "hooks": [],
        "mountOptions": sorted(
            {*mounts.ATTRIBUTE_WORDS, *(f"r{word}" for word in mounts.ATTRIBUTE_WORDS)}
            | {*mounts.PROPAGATION_WORDS, *(f"r{word}" for word in mounts.PROPAGATION_WORDS), "bind", "rbind"}
        ),
        "linux": {
            "namespaces": sorted(kind for kind in namespaces.FLAGS if kind != "time"),
            "capabilities": list(caps.NAMES),
            "cgroup": {"v1": True, "v2": True, "systemd": False, "systemdUser": False},
            "seccomp": {"enabled": True},
            "apparmor": {"enabled": False},
            "selinux": {"enabled": False},
            "mountExtensions": {"idmap": {"enabled": False}},
        },
        "annotations": {"stackrun.capability-sets": ",".join(spec.CAPABILITY_SETS)},
    }
