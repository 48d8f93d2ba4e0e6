"""Keys of the host's session: each container gets a session keyring of its own, so none is inherited."""

import ctypes

from prison import Prison

SCRIPT = "print('session', libc.syscall(250, 0, -3, 0))"


def test_each_has_its_own(prison: Prison) -> None:
    assert prison.lines("report('syscall', 250, 0, -3, 0)")["syscall"] in ("EPERM", "ENOSYS")
    weak = ["--security-opt", "seccomp=unconfined"]
    first, second = (prison.lines(SCRIPT, *weak)["session"] for _ in range(2))
    host = ctypes.CDLL(None).syscall(250, 0, -3, 0)
    assert len({int(first), int(second), host}) == 3
