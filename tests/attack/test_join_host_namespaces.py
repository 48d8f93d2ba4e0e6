"""setns(2) into the host: even where the host's processes are seen, their namespaces can neither be opened nor joined."""

import os

from prison import Prison

SCRIPT = """
for kind in ("mnt", "net", "pid", "uts", "ipc"):
    def enter():
        handle = os.open(f"/proc/HOST/ns/{kind}", os.O_RDONLY)
        if libc.setns(handle, 0):
            raise OSError(ctypes.get_errno(), "setns")
    attempt(kind, enter)
attempt("root", lambda: os.listdir("/proc/HOST/root/"))
attempt("cwd", lambda: os.listdir("/proc/HOST/cwd/"))
"""


def test_refused_even_with_the_hosts_pid_namespace(prison: Prison) -> None:
    found = prison.lines(SCRIPT.replace("HOST", str(os.getpid())), "--pid", "host")
    assert len(found) == 7 and set(found.values()) <= {"EACCES", "EPERM"}, found


def test_the_attempt_works_when_privileged(prison: Prison) -> None:
    found = prison.lines(SCRIPT.replace("HOST", str(os.getpid())), "--pid", "host", "--privileged")
    assert found["mnt"] == "ok" and found["root"] == "ok"
