"""The host's terminals and /dev/ptmx: a node of the same number may be made, and must open no terminal of somebody else's (pts(4))."""

import os
import pty
from collections.abc import Iterator

import pytest
from prison import Prison

SCRIPT = """
import stat
attempt("node", lambda: os.mknod("/dev/theirs", stat.S_IFCHR | 0o666, os.makedev(%d, %d)))
attempt("open", lambda: os.close(os.open("/dev/theirs", os.O_RDWR | os.O_NOCTTY)))
def make_and_open(path, *number):
    os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(*number))
    os.close(os.open(path, os.O_RDWR | os.O_NOCTTY))
attempt("console", lambda: make_and_open("/dev/c", 5, 1))
attempt("vt", lambda: make_and_open("/dev/vt", 4, 1))
attempt("tty", lambda: os.close(os.open("/dev/tty", os.O_RDWR)))
master, slave = os.openpty()
print("own", os.ttyname(slave))
print("listed", sorted(os.listdir("/dev/pts")))
"""


@pytest.fixture
def theirs() -> Iterator[tuple[int, int]]:
    """A terminal of the host's, by its device number."""
    master, slave = pty.openpty()
    number = os.fstat(slave).st_rdev
    yield os.major(number), os.minor(number)
    os.close(master)
    os.close(slave)


def test_only_its_own_can_be_opened(prison: Prison, theirs: tuple[int, int]) -> None:
    found = prison.lines(SCRIPT % theirs)
    assert found["node"] == "ok" and found["open"] in ("EIO", "EPERM", "ENXIO")
    assert found["console"] == found["vt"] == "EPERM" and found["tty"] == "ENXIO"
    assert found["own"] == "/dev/pts/0" and found["listed"] == "['0', 'ptmx']"


def test_the_attempt_works_where_devpts_is_shared(prison: Prison, theirs: tuple[int, int]) -> None:
    script = f"attempt('open', lambda: os.close(os.open('/hosts/{theirs[1]}', os.O_RDWR | os.O_NOCTTY)))"
    assert prison.lines(script, "-v", "/dev/pts:/hosts")["open"] == "ok"
