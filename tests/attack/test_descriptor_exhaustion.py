"""Descriptors: a container takes as many as its limit says, can't raise it, and the engine still starts others."""

from prison import Prison

SCRIPT = """
import resource
taken = []
try:
    while True:
        taken.append(os.dup(0))
except OSError as error:
    print("stopped", errno.errorcode[error.errno], len(taken) < 64, flush=True)
for handle in taken:
    os.close(handle)
try:
    resource.setrlimit(resource.RLIMIT_NOFILE, (1000, 1000))
    print("raised ok")
except ValueError:
    print("raised EPERM")
"""


def test_it_stops_at_the_limit(prison: Prison) -> None:
    found = prison.lines(SCRIPT, "--ulimit", "nofile=64:64")
    assert found["stopped"] == "EMFILE True" and found["raised"] == "EPERM", found
