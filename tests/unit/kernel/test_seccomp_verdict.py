"""Whether a filter can go on before the last clone: real programs of libseccomp, looked through."""

from __future__ import annotations

import os
import struct
from typing import Any

import pytest

from stackrun.engine.seccomp_profile import default_profile
from stackrun.kernel import seccomp
from stackrun.kernel.seccomp_verdict import allows_execve

pytestmark = pytest.mark.skipif(os.uname().machine not in ("x86_64", "aarch64", "riscv64"), reason="no numbers of this machine are known")


def refusing(*names: str, **more: Any) -> bytes:
    entry = {"names": list(names), "action": "SCMP_ACT_ERRNO", **more}
    return seccomp.compile_filter({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [entry]})


def test_dockers_default_profile_lets_by_what_is_called() -> None:
    assert allows_execve(seccomp.compile_filter(default_profile(frozenset())))


@pytest.mark.parametrize("name", ["clone", "recvmsg", "sendmsg", "setsid", "prctl", "execve", "close_range", "mmap"])
def test_one_that_refuses_any_of_it_does_not(name: str) -> None:
    assert not allows_execve(refusing(name))


def test_refusals_of_other_calls_and_of_other_clones_do_not_matter() -> None:
    assert allows_execve(refusing("mount", "ptrace", "clone3"))
    flag = {"index": 0, "value": 0x10000000, "valueTwo": 0x10000000, "op": "SCMP_CMP_MASKED_EQ"}
    assert allows_execve(refusing("clone", args=[flag]))


def test_one_that_looks_at_arguments_that_are_not_known_is_not_relied_on() -> None:
    assert not allows_execve(refusing("ioctl", args=[{"index": 1, "value": 1, "op": "SCMP_CMP_EQ"}]))


def test_an_instruction_that_is_not_known_counts_as_a_refusal() -> None:
    assert not allows_execve(struct.pack("=IIHBBI", 0, 1, 0x87, 0, 0, 0))
