"""Every field of the runtime-spec 1.2 that means something on Linux: it is done, or refused by its own name."""

from __future__ import annotations

from typing import Any

import pytest

from stackrun.errors import InvalidArgument, StackrunError, Unsupported
from stackrun.kernel import cgroup_devices, cgroup_limits, seccomp
from stackrun.runtime import spec

MAPPING = [{"containerID": 0, "hostID": 1000, "size": 10}]
HOOK = [{"path": "/bin/true", "args": ["true", "x"], "env": ["A=b"], "timeout": 3}]
DONE: list[tuple[str, Any]] = [
    ("ociVersion", "1.2.0"),
    ("root.path", "rootfs"),
    ("root.readonly", True),
    ("mounts", [{"destination": "/a", "type": "tmpfs", "source": "tmpfs", "options": ["size=1m", "tmpcopyup", "nosuid"]}]),
    ("mounts", [{"destination": "/a", "type": "bind", "source": "/", "uidMappings": MAPPING, "gidMappings": MAPPING}]),
    ("mounts", [{"destination": "/a", "type": "bind", "source": "/", "options": ["rbind", "rro", "rnosuid", "rslave", "ratime"]}]),
    ("mounts", [{"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["ro"]}]),
    ("process.terminal", True),
    ("process.consoleSize", {"height": 24, "width": 80}),
    ("process.cwd", "/tmp"),
    ("process.env", ["A=b"]),
    ("process.args", ["true"]),
    ("process.user.uid", 1),
    ("process.user.gid", 1),
    ("process.user.umask", 0o77),
    ("process.user.additionalGids", [1, 2]),
    *((f"process.capabilities.{name}", ["CAP_CHOWN"]) for name in spec.CAPABILITY_SETS),
    ("process.rlimits", [{"type": "RLIMIT_NOFILE", "soft": 1, "hard": 2}]),
    ("process.noNewPrivileges", True),
    ("process.oomScoreAdj", 100),
    ("process.scheduler", {"policy": "SCHED_FIFO", "priority": 1, "nice": 0, "flags": ["SCHED_FLAG_RESET_ON_FORK"]}),
    ("process.scheduler", {"policy": "SCHED_DEADLINE", "runtime": 1, "deadline": 2, "period": 3}),
    ("process.ioPriority", {"class": "IOPRIO_CLASS_IDLE", "priority": 0}),
    ("process.execCPUAffinity", {"initial": "0", "final": "0-1"}),
    ("hostname", "box"),
    ("domainname", "example"),
    *((f"hooks.{name}", HOOK) for name in ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")),
    ("annotations", {"a": "b"}),
    *(("linux.namespaces", [{"type": "mount"}, {"type": "uts"}, {"type": kind, "path": "/p"}]) for kind in ("network", "user", "time")),
    ("linux.timeOffsets", {"monotonic": {"secs": -1, "nanosecs": 5}, "boottime": {"secs": 10}}),
    ("linux.uidMappings", MAPPING),
    ("linux.gidMappings", MAPPING),
    ("linux.devices", [{"path": "/dev/x", "type": "c", "major": 1, "minor": 3, "fileMode": 0o600, "uid": 1, "gid": 1}]),
    ("linux.cgroupsPath", "/a/b"),
    ("linux.sysctl", {"net.ipv4.ip_forward": "1"}),
    ("linux.maskedPaths", ["/proc/keys"]),
    ("linux.readonlyPaths", ["/proc/sys"]),
    *(("linux.rootfsPropagation", word) for word in ("shared", "slave", "private", "unbindable", "rshared")),
    ("linux.personality", {"domain": "LINUX32"}),
]
REFUSED: list[tuple[str, Any]] = [
    ("process.apparmorProfile", "p"),
    ("process.selinuxLabel", "l"),
    ("process.user.username", "u"),
    ("process.commandLine", "c"),
    ("linux.mountLabel", "l"),
    ("linux.intelRdt", {"closID": "x"}),
    ("linux.netDevices", {"eth0": {}}),
    ("linux.memoryPolicy", {"mode": "MPOL_BIND"}),
    ("linux.personality.flags", ["x"]),
    ("windows", {"layerFolders": []}),
    ("solaris", {"milestone": "x"}),
    ("vm", {"kernel": {"path": "/k"}}),
    ("zos", {"namespaces": []}),
]


def configuration(path: str, value: Any) -> dict[str, Any]:
    kinds = [{"type": kind} for kind in ("mount", "uts", "network", "user", "time", "pid")]
    config: dict[str, Any] = {
        "process": {"args": ["sh"], "cwd": "/"},
        "root": {"path": "rootfs"},
        "linux": {"namespaces": kinds, "uidMappings": MAPPING, "gidMappings": MAPPING, "personality": {"domain": "LINUX"}},
    }
    if path == "linux.namespaces":
        config["linux"] = {"uidMappings": []}
    holder = config
    *sections, name = path.split(".")
    for section in sections:
        holder = holder.setdefault(section, {})
    holder[name] = value
    return config


@pytest.mark.parametrize(("path", "value"), DONE, ids=[f"{path} {index}" for index, (path, _) in enumerate(DONE)])
def test_done(path: str, value: Any) -> None:
    spec.check(configuration(path, value), "/bundle")


@pytest.mark.parametrize(("path", "value"), REFUSED, ids=[path for path, _ in REFUSED])
def test_refused_by_name(path: str, value: Any) -> None:
    with pytest.raises(Unsupported) as raised:
        spec.check(configuration(path, value), "/bundle")
    assert path in str(raised.value)


LIMITS: dict[str, tuple[dict[str, Any], str, str]] = {
    "memory.limit": ({"memory": {"limit": 1 << 20}}, "memory.limit_in_bytes", "memory.max"),
    "memory.reservation": ({"memory": {"reservation": 1 << 20}}, "memory.soft_limit_in_bytes", "memory.low"),
    "memory.swap": ({"memory": {"limit": 1 << 20, "swap": 2 << 20}}, "memory.memsw.limit_in_bytes", "memory.swap.max"),
    "memory.kernel": ({"memory": {"kernel": 1}}, "", ""),
    "memory.kernelTCP": ({"memory": {"kernelTCP": 1}}, "", ""),
    "memory.swappiness": ({"memory": {"swappiness": 1}}, "memory.swappiness", ""),
    "memory.disableOOMKiller": ({"memory": {"disableOOMKiller": True}}, "memory.oom_control", ""),
    "cpu.shares": ({"cpu": {"shares": 512}}, "cpu.shares", "cpu.weight"),
    "cpu.quota": ({"cpu": {"quota": 5000}}, "cpu.cfs_quota_us", "cpu.max"),
    "cpu.burst": ({"cpu": {"burst": 500}}, "cpu.cfs_burst_us", "cpu.max.burst"),
    "cpu.period": ({"cpu": {"period": 10000}}, "cpu.cfs_period_us", "cpu.max"),
    "cpu.realtimeRuntime": ({"cpu": {"realtimeRuntime": 1}}, "cpu.rt_runtime_us", ""),
    "cpu.realtimePeriod": ({"cpu": {"realtimePeriod": 1}}, "cpu.rt_period_us", ""),
    "cpu.cpus": ({"cpu": {"cpus": "0"}}, "cpuset.cpus", "cpuset.cpus"),
    "cpu.mems": ({"cpu": {"mems": "0"}}, "cpuset.mems", "cpuset.mems"),
    "cpu.idle": ({"cpu": {"idle": 1}}, "cpu.idle", "cpu.idle"),
    "pids.limit": ({"pids": {"limit": 5}}, "pids.max", "pids.max"),
    "blockIO.weight": ({"blockIO": {"weight": 10}}, "blkio.weight", "io.bfq.weight"),
    "blockIO.leafWeight": ({"blockIO": {"leafWeight": 10}}, "", ""),
    "blockIO.weightDevice": (
        {"blockIO": {"weightDevice": [{"major": 8, "minor": 0, "weight": 10}]}},
        "blkio.weight_device",
        "io.bfq.weight",
    ),
    **{
        f"blockIO.throttle{name}Device": ({"blockIO": {f"throttle{name}Device": [{"major": 8, "minor": 0, "rate": 1}]}}, file, "io.max")
        for name, file in (
            ("ReadBps", "blkio.throttle.read_bps_device"),
            ("WriteBps", "blkio.throttle.write_bps_device"),
            ("ReadIOPS", "blkio.throttle.read_iops_device"),
            ("WriteIOPS", "blkio.throttle.write_iops_device"),
        )
    },
    "hugepageLimits": ({"hugepageLimits": [{"pageSize": "2MB", "limit": 1}]}, "hugetlb.2MB.limit_in_bytes", "hugetlb.2MB.max"),
    "network.classID": ({"network": {"classID": 1}}, "net_cls.classid", ""),
    "network.priorities": ({"network": {"priorities": [{"name": "lo", "priority": 1}]}}, "net_prio.ifpriomap", ""),
    "rdma": ({"rdma": {"mlx5_1": {"hcaHandles": 3, "hcaObjects": 4}}}, "rdma.max", "rdma.max"),
    "unified": ({"unified": {"memory.high": "1"}}, "", "memory.high"),
}
CONTROLLERS = frozenset(("memory", "cpu", "cpuset", "pids", "blkio", "hugetlb", "net_cls", "net_prio", "rdma"))
V2_CONTROLLERS = CONTROLLERS - {"blkio", "net_cls", "net_prio"} | {"io"}


@pytest.mark.parametrize("field", LIMITS)
@pytest.mark.parametrize("version", ["v1", "v2"])
def test_limits_are_written_or_refused_by_name(field: str, version: str) -> None:
    resources, *files = LIMITS[field]
    file = files[version == "v2"]
    controllers = (CONTROLLERS, frozenset[str]()) if version == "v1" else (frozenset[str](), V2_CONTROLLERS)
    if not file:
        with pytest.raises(StackrunError) as raised:
            cgroup_limits.limits(resources, *controllers)
        assert f"linux.resources.{field}" in str(raised.value)
        return
    assert file in [choice[0] for limit in cgroup_limits.limits(resources, *controllers) for choice in limit.choices]


def test_memory_hierarchies_cannot_be_flat_and_usage_can_be_checked_first() -> None:
    with pytest.raises(Unsupported, match=r"linux\.resources\.memory\.useHierarchy"):
        cgroup_limits.limits({"memory": {"useHierarchy": False}}, CONTROLLERS, frozenset())
    assert cgroup_limits.limits({"memory": {"useHierarchy": True}}, CONTROLLERS, frozenset()) == []


def test_device_rules() -> None:
    policy = cgroup_devices.fold([{"allow": False}, {"allow": True, "type": "c", "major": 1, "minor": 3, "access": "rw"}])
    assert not policy.allow_by_default and len(policy.exceptions) == 1
    assert cgroup_devices.fold(cgroup_devices.with_defaults(None)).exceptions[("c", 1, 3)] == 7


SYSCALLS = [{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO", "errnoRet": 5, "args": [{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}]}]
SENDING = [{"names": ["sendmsg"], "action": "SCMP_ACT_NOTIFY"}]
NOTIFY = [{"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}]


@pytest.mark.parametrize("profile", [
    {"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 38, "architectures": ["SCMP_ARCH_NATIVE"], "syscalls": SYSCALLS},
    {"defaultAction": "SCMP_ACT_ALLOW", "flags": ["SECCOMP_FILTER_FLAG_LOG"], "syscalls": SYSCALLS},
    {"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/l", "listenerMetadata": "m", "syscalls": NOTIFY},
])  # fmt: skip
def test_filters(profile: dict[str, Any]) -> None:
    assert seccomp.compile_filter(profile, listens=True)


@pytest.mark.parametrize(("profile", "error", "field"), [
    ({"defaultAction": "SCMP_ACT_NOTIFY", "listenerPath": "/l"}, Unsupported, "defaultAction"),
    ({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": NOTIFY}, InvalidArgument, "listenerPath"),
    ({"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/l", "syscalls": SENDING}, Unsupported, "sendmsg"),
    ({"defaultAction": "SCMP_ACT_X"}, InvalidArgument, "defaultAction"),
    ({"defaultAction": "SCMP_ACT_ALLOW", "flags": ["X"], "syscalls": SYSCALLS}, InvalidArgument, "flags"),
    ({"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["X"], "syscalls": SYSCALLS}, InvalidArgument, "architectures"),
])  # fmt: skip
def test_filters_refused_by_name(profile: dict[str, Any], error: type[StackrunError], field: str) -> None:
    with pytest.raises(error, match=field):
        seccomp.compile_filter(profile, listens=True)
