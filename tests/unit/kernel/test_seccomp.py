"""Compiled filters, executed by a little classic BPF machine: what would the kernel say?"""

from __future__ import annotations

import errno
import os
import struct
import sys
from pathlib import Path
from typing import Any

import pytest

from stackrun.errors import InvalidArgument, Unsupported
from stackrun.kernel import seccomp

pytestmark = pytest.mark.skipif(os.uname().machine != "x86_64", reason="the numbers here are x86_64's")

X86_64, I386 = 0xC000003E, 0x40000003
ALLOW, ERRNO, KILL_PROCESS = 0x7FFF0000, 0x00050000, 0x80000000
READ, OPENAT, PERSONALITY, FCHMODAT2, FUTEX_WAKE, UNKNOWN = 0, 257, 135, 452, 454, 4000
X32_BIT = 0x40000000


def run_filter(program: bytes, number: int, arguments: tuple[int, ...] = (), architecture: int = X86_64) -> int:
    """The verdict for one system call."""
    count = struct.unpack_from("=II", program)[1]
    data = struct.pack("=IIQ6Q", number, architecture, 0, *(*arguments, 0, 0, 0, 0, 0, 0)[:6])
    code = [struct.unpack_from("=HBBI", program, 8 + 8 * index) for index in range(count)]
    accumulator, position = 0, 0
    while True:
        opcode, if_true, if_false, value = code[position]
        position += 1
        if opcode == 0x06:
            return int(value)
        if opcode == 0x20:
            accumulator = struct.unpack_from("=I", data, value)[0]
        elif opcode == 0x54:
            accumulator &= value
        elif opcode == 0x05:
            position += value
        else:
            test = {0x15: accumulator == value, 0x25: accumulator > value, 0x35: accumulator >= value, 0x45: bool(accumulator & value)}
            position += if_true if test[opcode] else if_false


def profile(*syscalls: dict[str, Any], **more: Any) -> dict[str, Any]:
    architectures = ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"]
    return {"defaultAction": "SCMP_ACT_ERRNO", "architectures": architectures, "syscalls": list(syscalls), **more}


def allow(*names: str, **more: Any) -> dict[str, Any]:
    return {"names": list(names), "action": "SCMP_ACT_ALLOW", **more}


def test_an_empty_object_is_no_filter() -> None:
    assert seccomp.compile_filter({}) == b""


def test_named_calls_pass_on_every_architecture_and_the_rest_does_not() -> None:
    program = seccomp.compile_filter(profile(allow("read")))
    assert run_filter(program, READ) == ALLOW
    assert run_filter(program, 3, architecture=I386) == ALLOW  # read is 3 there
    assert run_filter(program, X32_BIT | READ) == ALLOW
    assert run_filter(program, OPENAT) in (ERRNO | errno.EPERM, ERRNO | errno.ENOSYS)
    assert run_filter(program, READ, architecture=0xC00000B7) == 0  # a foreign architecture is killed


def test_other_errno_and_other_actions() -> None:
    refused = {"names": ["personality"], "action": "SCMP_ACT_ERRNO", "errnoRet": errno.EXDEV}
    killed = {"names": ["openat"], "action": "SCMP_ACT_KILL_PROCESS"}
    program = seccomp.compile_filter(profile(refused, killed, defaultAction="SCMP_ACT_ALLOW"))
    assert run_filter(program, PERSONALITY) == ERRNO | errno.EXDEV
    assert run_filter(program, OPENAT) == KILL_PROCESS
    assert run_filter(program, UNKNOWN) == ALLOW


def test_arguments_are_compared_whole() -> None:
    equal = allow("personality", args=[{"index": 0, "value": 0xFFFFFFFF, "op": "SCMP_CMP_EQ"}])
    masked = allow("openat", args=[{"index": 2, "value": 0xF0, "valueTwo": 0x10, "op": "SCMP_CMP_MASKED_EQ"}])
    program = seccomp.compile_filter(profile(equal, masked))
    assert run_filter(program, PERSONALITY, (0xFFFFFFFF,)) == ALLOW
    assert run_filter(program, PERSONALITY, (0x1FFFFFFFF,)) == ERRNO | errno.EPERM
    assert run_filter(program, OPENAT, (0, 0, 0x1F)) == ALLOW
    assert run_filter(program, OPENAT, (0, 0, 0x3F)) == ERRNO | errno.EPERM


def test_the_same_argument_twice_means_either() -> None:
    either = [{"index": 0, "value": value, "op": "SCMP_CMP_EQ"} for value in (1, 2)]
    program = seccomp.compile_filter(profile(allow("personality", args=either)))
    assert [run_filter(program, PERSONALITY, (value,)) == ALLOW for value in (1, 2, 3)] == [True, True, False]


def test_names_newer_than_libseccomp_are_allowed_and_numbers_beyond_them_do_not_exist() -> None:
    program = seccomp.compile_filter(profile(allow("read", "fchmodat2", "futex_wake")))
    assert run_filter(program, FCHMODAT2) == ALLOW
    assert run_filter(program, FCHMODAT2, architecture=I386) == ALLOW
    assert run_filter(program, FUTEX_WAKE) == ALLOW
    assert run_filter(program, FUTEX_WAKE - 1) == ERRNO | errno.EPERM
    assert run_filter(program, FUTEX_WAKE + 1) == ERRNO | errno.ENOSYS
    assert run_filter(program, UNKNOWN) == ERRNO | errno.ENOSYS


def test_names_nobody_knows_are_skipped() -> None:
    program = seccomp.compile_filter(profile(allow("read", "no_such_call")))
    assert run_filter(program, READ) == ALLOW


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"defaultAction": "SCMP_ACT_MAYBE"}, "defaultAction: unknown action 'SCMP_ACT_MAYBE'"),
        (profile(allow()), r"syscalls\[0\]\.names: empty"),
        (profile(allow("read", args=[{"index": 6, "value": 0, "op": "SCMP_CMP_EQ"}])), r"syscalls\[0\]\.args\[0\]"),
        (profile(allow("read", args=[{"index": 0, "value": 0, "op": "=="}])), r"syscalls\[0\]\.args\[0\]"),
        (profile(allow("read", errnoRet=5)), "takes no errno"),
        ({"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_Z80"]}, "unknown architecture"),
        ({"defaultAction": "SCMP_ACT_ALLOW", "flags": ["SECCOMP_FILTER_FLAG_X"]}, "unknown flag"),
    ],
)
def test_faults_name_their_place(bad: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        seccomp.compile_filter(bad)


def test_notify_is_refused_since_nobody_would_answer() -> None:
    with pytest.raises(Unsupported, match="SCMP_ACT_NOTIFY"):
        seccomp.compile_filter(profile({"names": ["read"], "action": "SCMP_ACT_NOTIFY"}))
    with pytest.raises(Unsupported, match="listenerPath"):
        seccomp.compile_filter({"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/run/x"})


def test_flags_travel_with_the_program() -> None:
    program = seccomp.compile_filter({"defaultAction": "SCMP_ACT_ALLOW", "flags": ["SECCOMP_FILTER_FLAG_LOG"]})
    assert struct.unpack_from("=II", program)[0] == 2
    assert len(program) == 8 + 8 * struct.unpack_from("=II", program)[1]


def test_the_file_cache_is_used_and_a_torn_one_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = profile(allow("read", "write"))
    first = seccomp.compile_filter(wanted, str(tmp_path))
    (cached,) = tmp_path.iterdir()
    assert cached.read_bytes() == first
    assert cached.stat().st_mode & 0o777 == 0o600

    seccomp._compiled.clear()
    monkeypatch.setattr(seccomp, "_compile", lambda profile: pytest.fail("compiled although cached"))
    assert seccomp.compile_filter(wanted, str(tmp_path)) == first

    monkeypatch.undo()
    seccomp._compiled.clear()
    cached.write_bytes(first[:-3])
    assert seccomp.compile_filter(wanted, str(tmp_path)) == first


def test_installing_imports_nothing_heavy() -> None:
    program = (
        "import sys; import stackrun.kernel.seccomp; print([m for m in ('hashlib', 'json', 'typing', 'dataclasses') if m in sys.modules])"
    )
    read_fd, write_fd = os.pipe()
    pid = os.posix_spawn(
        sys.executable, [sys.executable, "-S", "-c", program], dict(os.environ), file_actions=[(os.POSIX_SPAWN_DUP2, write_fd, 1)]
    )
    os.close(write_fd)
    with os.fdopen(read_fd) as pipe:
        assert pipe.read().strip() == "[]"
    os.waitpid(pid, 0)
