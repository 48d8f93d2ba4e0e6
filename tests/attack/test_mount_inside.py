"""Mounting from inside: seccomp and the missing CAP_SYS_ADMIN refuse mount(2), its new API, pivot_root(2) and umount2(2)."""

from prison import Prison

SCRIPT = """
report("mount", b"tmpfs", b"/tmp", b"tmpfs", 0, None)
report("umount2", b"/proc", 2)
report("syscall", 155, b"/tmp", b"/tmp")
report("syscall", 430, b"tmpfs", 0)
report("syscall", 428, -100, b"/", 1)
"""


def test_mount_calls_are_refused(prison: Prison) -> None:
    found = prison.lines(SCRIPT)
    assert found["mount"] == found["umount2"] == found["syscall"] == "EPERM"


def test_the_attempt_works_with_the_capability(prison: Prison) -> None:
    script = "report('mount', b'tmpfs', b'/tmp', b'tmpfs', 0, None)"
    found = prison.lines(script, "--cap-add", "SYS_ADMIN", "--security-opt", "seccomp=unconfined")
    assert found["mount"] == "ok"
