"""The reach of the default profile: what containers need and what they must not have."""

from __future__ import annotations

import errno
from typing import Any

import pytest

from stackrun.engine.seccomp_profile import default_profile
from stackrun.kernel.seccomp import compile_filter

ORDINARY = frozenset(
    {
        "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FSETID", "CAP_FOWNER", "CAP_MKNOD", "CAP_NET_RAW", "CAP_SETGID", "CAP_SETUID",
        "CAP_SETFCAP", "CAP_SETPCAP", "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT", "CAP_KILL", "CAP_AUDIT_WRITE",
    }
)  # fmt: skip


def unconditional(profile: dict[str, Any]) -> set[str]:
    return {name for rule in profile["syscalls"] if rule["action"] == "SCMP_ACT_ALLOW" and not rule.get("args") for name in rule["names"]}


def conditions(profile: dict[str, Any], name: str) -> list[dict[str, Any]]:
    return [rule for rule in profile["syscalls"] if rule["names"] == [name]]


@pytest.mark.parametrize("name", ["read", "openat2", "clone3", "futex", "ptrace", "fchmodat2", "landlock_restrict_self", "chroot", "statx"])
def test_ordinary_programs_can_work(name: str) -> None:
    allowed = unconditional(default_profile(ORDINARY))
    assert name in allowed or name == "clone3"


@pytest.mark.parametrize(
    "name",
    [
        "mount", "umount2", "pivot_root", "setns", "unshare", "bpf", "perf_event_open", "init_module", "kexec_load", "reboot", "swapon",
        "open_by_handle_at", "io_uring_setup", "io_uring_enter", "add_key", "keyctl", "request_key", "userfaultfd", "ioperm", "iopl",
        "clock_settime", "settimeofday", "acct", "quotactl", "syslog", "vhangup", "kcmp", "process_madvise", "mbind", "clone",
        "personality",        "fsopen", "move_mount", "mount_setattr", "nfsservctl", "vm86", "move_pages", "pidfd_getfd",
    ],
)  # fmt: skip
def test_the_host_is_out_of_reach(name: str) -> None:
    assert name not in unconditional(default_profile(ORDINARY))


@pytest.mark.parametrize(
    ("capability", "names"),
    [
        ("CAP_SYS_ADMIN", {"mount", "unshare", "setns", "clone", "clone3", "bpf"}),
        ("CAP_SYS_TIME", {"clock_settime"}),
        ("CAP_SYS_PTRACE", {"kcmp", "pidfd_getfd"}),
        ("CAP_DAC_READ_SEARCH", {"open_by_handle_at"}),
        ("CAP_SYSLOG", {"syslog"}),
        ("CAP_BPF", {"bpf"}),
        ("CAP_PERFMON", {"perf_event_open"}),
        ("CAP_SYS_NICE", {"mbind"}),
    ],
)
def test_a_capability_unlocks_the_calls_it_is_for(capability: str, names: set[str]) -> None:
    assert not names <= unconditional(default_profile(ORDINARY - {capability}))
    assert names <= unconditional(default_profile(ORDINARY | {capability}))


def test_clone_makes_no_namespaces_and_clone3_is_not_there() -> None:
    (clone,) = conditions(default_profile(ORDINARY), "clone")
    (flags,) = clone["args"]
    assert (flags["value"], flags["valueTwo"], flags["op"]) == (0x7E020000, 0, "SCMP_CMP_MASKED_EQ")
    (clone3,) = conditions(default_profile(ORDINARY), "clone3")
    assert (clone3["action"], clone3["errnoRet"]) == ("SCMP_ACT_ERRNO", errno.ENOSYS)


def test_on_s390_clone_has_its_arguments_the_other_way_round() -> None:
    (clone,) = conditions(default_profile(ORDINARY, "s390x"), "clone")
    assert clone["args"][0]["index"] == 1


def test_socket_families() -> None:
    rules = [rule["args"][0] for rule in conditions(default_profile(ORDINARY), "socket")]
    below = next(one["value"] for one in rules if one["op"] == "SCMP_CMP_LT")
    allowed = set(range(below)) | {one["value"] for one in rules if one["op"] == "SCMP_CMP_EQ"}
    assert {1, 2, 10, 16, 17} <= allowed  # unix, inet, inet6, netlink, packet
    assert not {38, 40} & allowed  # alg, vsock


def test_it_compiles_and_is_shared() -> None:
    assert default_profile(ORDINARY) is default_profile(frozenset(ORDINARY))
    assert len(compile_filter(default_profile(ORDINARY))) > 1000


@pytest.mark.parametrize("machine", ["x86_64", "aarch64", "riscv64", "s390x", "ppc64le"])
def test_every_machine_has_its_architectures(machine: str) -> None:
    assert default_profile(ORDINARY, machine)["architectures"]
