"""A container's configuration against what the kernel says: tables, one difference a row; what is only written otherwise is none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from stackrun.api.drift import Repair
from stackrun.engine import truth
from stackrun.engine.drift import QUIET_S, SETTLE_MAX_S, SETTLE_S, Patience
from stackrun.engine.truth import Joined
from stackrun.kernel import caps
from stackrun.kernel.cgroup_limits import limits
from stackrun.kernel.credentials import Credentials
from stackrun.kernel.mountinfo import Mount, Seen

V1 = frozenset({"memory", "cpu", "cpuset", "pids", "blkio"})
V2 = frozenset({"memory", "cpu", "cpuset", "pids", "io"})


@pytest.mark.parametrize(
    ("file", "declared", "actual"),
    [
        ("memory.limit_in_bytes", "67108864", "67108864"),
        ("memory.limit_in_bytes", "67109000", "67108864"),
        ("memory.limit_in_bytes", "-1", "9223372036854771712"),
        ("memory.max", "max", "max"),
        ("memory.swap.max", "0", "0"),
        ("memory.swappiness", "60", "60"),
        ("memory.oom_control", "1", "oom_kill_disable 1\nunder_oom 0\noom_kill 0"),
        ("cpu.cfs_quota_us", "-1", "-1"),
        ("cpu.max", "max", "max 100000"),
        ("cpu.max", "50000 100000", "50000 100000"),
        ("cpu.shares", "1", "2"),
        ("cpu.weight", "100", "100"),
        ("cpuset.cpus", "0,1,3", "0-1,3"),
        ("pids.max", "max", "max"),
        ("io.weight", "default 500", "default 500\n8:0 200"),
        ("io.bfq.weight", "300", "default 300"),
        ("io.max", "8:0 rbps=1048576", "8:0 rbps=1048576 wbps=max riops=max wiops=max"),
        ("blkio.throttle.read_bps_device", "8:0 1048576", "8:0 1048576\n8:16 5"),
    ],
)
def test_a_limit_written_otherwise_is_the_same(file: str, declared: str, actual: str) -> None:
    assert truth.same_limit(file, declared, actual)


@pytest.mark.parametrize(
    ("file", "declared", "actual"),
    [
        ("memory.limit_in_bytes", "67108864", "33554432"),
        ("memory.max", "max", "67108864"),
        ("memory.swappiness", "60", "100"),
        ("memory.oom_control", "1", "oom_kill_disable 0\nunder_oom 0"),
        ("cpu.cfs_quota_us", "-1", "50000"),
        ("cpu.max", "50000 100000", "max 100000"),
        ("cpu.max", "50000 100000", "50000 200000"),
        ("cpuset.cpus", "0-3", "0-2"),
        ("pids.max", "50", "max"),
        ("io.weight", "default 500", "default 100"),
        ("io.max", "8:0 rbps=1048576", "8:0 rbps=max wbps=max"),
        ("io.max", "8:0 rbps=1048576", ""),
    ],
)
def test_another_limit_is_not(file: str, declared: str, actual: str) -> None:
    assert not truth.same_limit(file, declared, actual)


@pytest.mark.parametrize(("v1", "v2"), [(V1, frozenset[str]()), (frozenset[str](), V2)])
def test_a_limit_that_nobody_declared_is_a_difference(v1: frozenset[str], v2: frozenset[str]) -> None:
    plan = limits(truth.complete_resources({"memory": {"limit": 1 << 26}}, v1 | v2), v1, v2)
    found = truth.limit_differences(plan, lambda limit: (*limit.choices[0], "7"))
    assert {one.field: one.declared for one in found} == {
        "memory.limit": "67108864", "pids.limit": "max", "cpu.quota": "max", "cpu.shares": "1024" if v1 else "100",
    }  # fmt: skip


def test_a_file_this_kernel_lacks_is_no_difference_nor_is_a_missing_controller() -> None:
    assert list(truth.limit_differences(limits({"pids": {"limit": 5}}, V1, frozenset()), lambda limit: None)) == []
    assert truth.complete_resources({}, frozenset({"cpu"})).keys() == {"cpu"}


def test_devices() -> None:
    rules = [{"allow": False, "access": "rwm"}, {"allow": True, "type": "c", "major": 1, "minor": 3, "access": "rwm"}]
    assert truth.device_difference(rules, "c 1:3 rwm\n") is None
    assert truth.device_difference([{"allow": True, "access": "rwm"}], "a *:* rwm\n") is None
    found = truth.device_difference(rules, "a *:* rwm\n")
    assert found is not None and (found.field, found.actual) == ("devices", "without c 1:3 rwm, also a *:* rwm")


def test_the_group_it_is_in() -> None:
    assert truth.group_difference("stackrun/abc", {"memory": "/stackrun/abc", "": "/outer/stackrun/abc/inner"}) is None
    found = truth.group_difference("stackrun/abc", {"memory": "/stackrun/abcd"})
    assert found is not None and (found.field, found.repair) == ("cgroup.memory", Repair.RESTART)


# --- mounts ----------------------------------------------------------------------------------------

MOUNT = Mount(7, "8:1", "/", "/data", frozenset({"rw", "relatime"}), (), "ext4", "/dev/sda1", frozenset({"rw"}))
SOURCE = Seen(None, (1, 2))
ROOT = Seen(replace(MOUNT, point="/", kind="overlay"))


def config(*mounts: Mapping[str, Any], readonly: bool = False, **linux: Any) -> dict[str, Any]:
    return {"root": {"path": "merged", "readonly": readonly}, "mounts": list(mounts), "linux": linux}


def bind(*options: str) -> dict[str, Any]:
    return {"destination": "/data", "type": "bind", "source": "/src", "options": ["rbind", *options]}


def differences(one: dict[str, Any], seen: Mapping[str, Seen | None], now: Seen | None = SOURCE) -> list[tuple[str, str, str]]:
    found = truth.mount_differences(one, {"/": ROOT, **seen}, {"/src": now})
    return [(difference.field, difference.declared, difference.actual) for difference in found]


@pytest.mark.parametrize(
    ("options", "words", "tags", "expected"),
    [
        ((), {"ro"}, (), []),
        (("rw",), {"rw"}, (), []),
        (("rprivate", "rw"), {"rw"}, (), []),
        (("ro", "rro"), {"ro"}, (), []),
        (("ro",), {"rw"}, (), [("mounts./data", "ro", "rw")]),
        (("rw",), {"ro"}, (), [("mounts./data", "rw", "ro")]),
        (("ro", "rw"), {"rw"}, (), []),
        (("nosuid", "nodev"), {"rw", "nosuid"}, (), [("mounts./data", "nodev", "dev")]),
        (("rprivate",), {"rw"}, ("shared:4",), [("mounts./data.propagation", "private", "shared")]),
        (("rslave",), {"rw"}, ("master:4",), []),
        (("rslave",), {"rw"}, (), []),
        (("rshared",), {"rw"}, (), [("mounts./data.propagation", "shared", "private")]),
        (("noexec", "exec"), {"rw"}, (), []),
    ],
)  # fmt: skip
def test_options_of_a_bind(options: tuple[str, ...], words: set[str], tags: tuple[str, ...], expected: list[tuple[str, str, str]]) -> None:
    seen = Seen(replace(MOUNT, options=frozenset(words), tags=tags), (1, 2))
    assert differences(config(bind(*options)), {"/data": seen}) == expected


def test_a_mount_that_is_gone() -> None:
    assert differences(config(bind()), {"/data": Seen(None, (1, 2))}) == [("mounts./data", "/src", "missing")]
    assert differences(config(bind()), {"/data": None}) == [("mounts./data", "/src", "missing")]


def test_the_source_of_a_bind() -> None:
    seen = {"/data": Seen(MOUNT, (1, 2), b"same")}
    assert differences(config(bind()), seen, Seen(None, (1, 3), b"same")) == [], "another file that says the same"
    assert differences(config(bind()), seen, Seen(None, (1, 3), b"other"))[0][0] == "mounts./data.source"
    assert differences(config(bind()), {"/data": Seen(MOUNT, (1, 2))}, Seen(None, (1, 3)))[0][0] == "mounts./data.source"
    assert differences(config(bind()), seen, None)[0][2].startswith("gone from the host")


def test_the_root_and_what_is_guarded() -> None:
    assert differences(config(readonly=True), {}) == [("mounts./", "ro", "rw")]
    guarded = config(maskedPaths=["/proc/keys", "/proc/acpi"], readonlyPaths=["/proc/sys"])
    closed = Seen(replace(MOUNT, options=frozenset({"ro"})))
    assert differences(guarded, {"/proc/keys": closed, "/proc/acpi": None, "/proc/sys": closed}) == []
    assert differences(guarded, {"/proc/keys": Seen(None), "/proc/sys": Seen(MOUNT)}) == [
        ("maskedPaths./proc/keys", "masked", "visible"), ("readonlyPaths./proc/sys", "ro", "rw"),
    ]  # fmt: skip


def test_a_tmpfs() -> None:
    asked = {"destination": "/data", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "size=1000000", "mode=0700"]}
    mount = replace(MOUNT, kind="tmpfs", options=frozenset({"rw", "nosuid"}), data=frozenset({"rw", "size=980k", "mode=700"}))
    assert differences(config(asked), {"/data": Seen(mount)}) == []
    grown = replace(mount, data=frozenset({"rw", "size=2000k", "mode=700"}))
    assert differences(config(asked), {"/data": Seen(grown)}) == [("mounts./data.size", "980k", "2000k")]
    assert differences(config(asked), {"/data": Seen(replace(mount, kind="ext4"))}) == [("mounts./data.type", "tmpfs", "ext4")]


def test_of_two_mounts_at_one_place_the_last_counts() -> None:
    seen = {"/data": Seen(replace(MOUNT, options=frozenset({"ro"})), (1, 2))}
    assert differences(config(bind("rw"), bind("ro")), seen) == []


# --- namespaces and rights ---------------------------------------------------------------------------

HOST = dict.fromkeys(("mnt", "pid", "net", "ipc", "uts", "cgroup", "user"), 1)
OWN = dict.fromkeys(("mnt", "pid", "net", "ipc", "uts", "cgroup"), 2) | {"user": 1}
ALL = [{"type": kind} for kind in ("mount", "pid", "network", "ipc", "uts", "cgroup")]


@pytest.mark.parametrize(
    ("listed", "inside", "joined", "expected"),
    [
        (ALL, OWN, {}, []),
        (ALL[:2], {**HOST, "mnt": 2, "pid": 2}, {}, []),
        (ALL, {**OWN, "net": 1}, {}, [("namespaces.net", "its own", "the host's")]),
        (ALL[:1], {**HOST, "mnt": 2, "net": 2}, {}, [("namespaces.net", "the host's", "another")]),
        (ALL, {**OWN, "net": 9}, {"network": Joined("web", 9)}, []),
        (ALL, {**OWN, "net": 9}, {"network": Joined("web", 8)}, [("namespaces.net", "that of container web", "another")]),
        (ALL, OWN, {"pid": Joined("web", 0)}, [("namespaces.pid", "that of container web", "web is not running")]),
    ],
)
def test_namespaces(
    listed: list[dict[str, str]], inside: dict[str, int], joined: dict[str, Joined], expected: list[tuple[str, str, str]]
) -> None:
    found = truth.namespace_differences({"linux": {"namespaces": listed}}, inside, HOST, joined)
    assert [(one.field, one.declared, one.actual) for one in found] == expected


KILL, ADMIN = caps.mask(("CAP_KILL",)), caps.mask(("CAP_SYS_ADMIN",))
PLAIN = Credentials(uid=0, gid=0, effective=KILL, permitted=KILL, bounding=KILL, no_new_privileges=False, seccomp=2)
PROCESS = {"process": {"capabilities": {"bounding": ["CAP_KILL"]}, "noNewPrivileges": False}}
GUARDED = {"process": {"capabilities": {"bounding": ["CAP_KILL"]}, "noNewPrivileges": True}}


@pytest.mark.parametrize(
    ("declared", "found", "uid", "fields"),
    [
        (PROCESS, PLAIN, 0, []),
        (PROCESS, replace(PLAIN, effective=0, permitted=0, uid=1000, no_new_privileges=True), 0, []),
        (PROCESS, replace(PLAIN, bounding=KILL | ADMIN), 0, ["capabilities.bounding"]),
        (PROCESS, replace(PLAIN, effective=ADMIN, permitted=ADMIN), 0, ["capabilities.effective", "capabilities.permitted"]),
        (GUARDED, PLAIN, 0, ["no_new_privs"]),
        (PROCESS, replace(PLAIN, seccomp=0), 0, ["seccomp"]),
        (PROCESS, replace(PLAIN, uid=0), 1000, ["user"]),
        (PROCESS, replace(PLAIN, uid=7), None, []),
    ],
)
def test_what_it_may_do(declared: dict[str, Any], found: Credentials, uid: int | None, fields: list[str]) -> None:
    """What a program gives up, or becomes, by itself is as it should be."""
    told = truth.credential_differences(declared, found, uid=uid, filtered=True, available=KILL | ADMIN)
    assert [one.field for one in told] == fields


def test_settings() -> None:
    made = {
        "hostname": "box",
        "linux": {"namespaces": [{"type": "uts"}], "sysctl": {"net.ipv4.ip_local_port_range": "1024  65535", "kernel.shmmax": "7"}},
    }
    wanted = truth.settings(made)
    assert list(truth.setting_differences(wanted, {**wanted, "sysctls.net.ipv4.ip_local_port_range": "1024\t65535"})) == []
    found = truth.setting_differences(wanted, {"hostname": "other", "sysctls.kernel.shmmax": "7"})
    assert [(one.field, one.declared, one.actual) for one in found] == [
        ("sysctls.net.ipv4.ip_local_port_range", "1024 65535", "missing"), ("hostname", "box", "other"),
    ]  # fmt: skip
    assert truth.settings({"hostname": "box", "linux": {"namespaces": [{"type": "uts", "path": "/proc/1/ns/uts"}]}}) == {}


def test_the_record() -> None:
    made = {"process": {"args": ["sleep", "1"], "env": ["A=1", "B=2"]}}
    assert list(truth.record_differences(["sleep", "1"], ["B=2", "A=1"], made)) == []
    assert list(truth.record_differences(["sleep", "1"], None, made)) == []
    found = list(truth.record_differences(["sleep", "2"], ["A=9", "C=3"], made))
    assert [(one.field, one.declared, one.actual) for one in found] == [
        ("command", "sleep 2", "sleep 1"), ("environment.A", "set", "another value"), ("environment.B", "missing", "set"),
        ("environment.C", "set", "missing"),
    ], "no value is told: it may be a secret"  # fmt: skip


def test_patience_grows_with_each_repair_and_comes_back() -> None:
    patience = Patience()
    assert patience.next_pause_s(0.0) == SETTLE_S
    pauses = []
    for second in range(12):
        patience.repaired(float(second))
        pauses.append(patience.next_pause_s(second + 0.5))
    assert pauses[:4] == [SETTLE_S, 2 * SETTLE_S, 4 * SETTLE_S, 8 * SETTLE_S]
    assert pauses[-1] == SETTLE_MAX_S
    assert patience.next_pause_s(11 + QUIET_S) == SETTLE_S
