"""Device nodes: without the device cgroup, mknod of the host's disk and a read of it is the whole host."""

import os
import stat
from pathlib import Path

import pytest
from prison import Prison


def disk() -> tuple[int, int]:
    """The device that / of the host is on."""
    number = os.stat("/").st_dev
    return os.major(number), os.minor(number)


SCRIPT = """
import stat
attempt("mknod", lambda: os.mknod("/dev/d", stat.S_IFBLK | 0o600, os.makedev(%d, %d)))
attempt("open", lambda: os.close(os.open("/dev/d", os.O_RDONLY)))
attempt("mem", lambda: (os.mknod("/dev/m", stat.S_IFCHR | 0o600, os.makedev(1, 1)), os.close(os.open("/dev/m", os.O_RDONLY))))
attempt("null", lambda: os.close(os.open("/dev/null", os.O_RDWR)))
"""


def test_the_disk_cannot_be_opened(prison: Prison) -> None:
    found = prison.lines(SCRIPT % disk())
    assert found["mem"] == "EPERM" and found["null"] == "ok"
    assert "EPERM" in (found["mknod"], found["open"]), found


def test_a_device_given_can_be_opened(prison: Prison) -> None:
    if not Path("/dev/kmsg").exists() or not stat.S_ISCHR(os.stat("/dev/kmsg").st_mode):
        pytest.skip("this kernel has no /dev/kmsg")
    script = "attempt('kmsg', lambda: os.close(os.open('/dev/kmsg', os.O_RDONLY | os.O_NONBLOCK)))"
    found = prison.lines(script, "--device", "/dev/kmsg", "--cap-add", "SYSLOG")
    assert found["kmsg"] == "ok"
