"""Terminals: a container sees those of its own devpts alone, and when it takes all it can get the host still has some."""

import os

from prison import Prison

SCRIPT = """
import resource
print("seen", sorted(os.listdir("/dev/pts")))
resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
taken = []
try:
    while len(taken) < 5000:
        taken.append(os.open("/dev/ptmx", os.O_RDWR | os.O_NOCTTY))
    print("stopped never")
except OSError as error:
    print("stopped", errno.errorcode[error.errno])
sys.stdin.read()
"""


def test_the_host_keeps_its_terminals(prison: Prison) -> None:
    pair = os.openpty()
    found = prison.lines(SCRIPT)
    assert found["seen"] == "['ptmx']" and found["stopped"] in ("ENOSPC", "EMFILE"), found
    for handle in (*pair, *os.openpty()):
        os.close(handle)
