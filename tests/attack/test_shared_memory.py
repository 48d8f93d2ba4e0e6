"""System V and POSIX shared memory, semaphores and message queues: each container has an ipc namespace and a /dev/shm of its own."""

import ctypes
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from prison import Prison

KEY = 0x5EC3E7
SCRIPT = f"""
found = libc.shmget({KEY}, 0, 0)
print("sysv", "ok" if found >= 0 else errno.errorcode[ctypes.get_errno()])
attempt("shm", lambda: os.close(os.open("/dev/shm/stackrun-attack", os.O_RDONLY)))
report("mq_open", b"/stackrun-attack", os.O_RDONLY)
print("listed", open("/proc/sysvipc/shm").read().count(" {KEY} "))
"""


@pytest.fixture
def hosts() -> Iterator[None]:
    """A segment, a file and a queue of the host's."""
    libc = ctypes.CDLL(None, use_errno=True)
    segment = libc.shmget(KEY, 4096, 0o1666)
    queue = libc.mq_open(b"/stackrun-attack", os.O_CREAT | os.O_RDWR, 0o666, None)
    path = Path("/dev/shm/stackrun-attack")
    path.touch()
    assert segment >= 0 and queue >= 0
    yield
    libc.shmctl(segment, 0, None)
    os.close(queue)
    libc.mq_unlink(b"/stackrun-attack")
    path.unlink()


def test_the_hosts_are_not_there(prison: Prison, hosts: None) -> None:
    found = prison.lines(SCRIPT)
    assert (found["sysv"], found["shm"], found["mq_open"], found["listed"]) == ("ENOENT", "ENOENT", "ENOENT", "0")


def test_the_attempt_works_in_a_namespace_that_is_shared(prison: Prison) -> None:
    make = f"import ctypes; ctypes.CDLL(None).shmget({KEY}, 4096, 0o1666); open('/dev/shm/stackrun-attack', 'w').close()"
    prison.machine.docker("run", "-d", "--name", "owner", "--ipc", "shareable", "host", "sleep", "1000")
    try:
        prison.machine.docker("exec", "owner", "python3", "-c", make)
        found = prison.lines(SCRIPT, "--ipc", "container:owner")
        assert (found["sysv"], found["listed"]) == ("ok", "1")
    finally:
        prison.machine.docker("rm", "-f", "owner")
