"""io_uring does what seccomp can't see, so its door is closed; without seccomp the same call gets past it."""

from prison import Prison

SCRIPT = "report('syscall', 425, 1, ctypes.create_string_buffer(120))"


def test_refused(prison: Prison) -> None:
    assert prison.lines(SCRIPT)["syscall"] in ("EPERM", "ENOSYS")


def test_seccomp_is_what_refuses(prison: Prison) -> None:
    assert prison.lines(SCRIPT, "--security-opt", "seccomp=unconfined")["syscall"] != "EPERM"
