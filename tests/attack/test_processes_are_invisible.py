"""Processes of the host and of other containers can neither be seen, nor signalled, nor traced."""

import os

from prison import Prison

SCRIPT = """
print("pids", sorted(int(name) for name in os.listdir("/proc") if name.isdigit()))
attempt("kill", lambda: os.kill(%d, 0))
"""


def test_only_its_own(prison: Prison) -> None:
    found = prison.lines(SCRIPT % os.getpid())
    assert found["pids"] == "[1]"
    assert found["kill"] == "ESRCH"


def test_with_the_hosts_pid_namespace_they_are_there(prison: Prison) -> None:
    assert str(os.getpid()) in prison.lines(SCRIPT % os.getpid(), "--pid", "host")["pids"]
