"""A new user namespace would give every capability inside it, and with it the kernel's whole attack surface (CVE-2022-0185 and kin)."""

from prison import Prison

SCRIPT = """
report("unshare", 0x10000000)
report("unshare", 0x00020000)
report("syscall", 56, 0x10000000 | 17, 0, 0, 0, 0)
"""


def test_new_namespaces_are_refused(prison: Prison) -> None:
    found = prison.lines(SCRIPT)
    assert found["unshare"] == "EPERM" and found["syscall"] == "EPERM"


def test_clone3_says_enosys_so_that_libc_falls_back(prison: Prison) -> None:
    assert prison.lines("report('syscall', 435, 0, 0)")["syscall"] == "ENOSYS"


def test_the_attempt_works_without_seccomp(prison: Prison) -> None:
    assert prison.lines("report('unshare', 0x10000000)", "--security-opt", "seccomp=unconfined")["unshare"] == "ok"
