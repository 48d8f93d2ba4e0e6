"""A fork bomb stops at the pids limit, and the host goes on."""

import os

from prison import Prison

SCRIPT = """
children = 0
try:
    while True:
        if os.fork() == 0:
            import time; time.sleep(60)
        children += 1
except OSError as error:
    print("stopped", errno.errorcode[error.errno], children, flush=True)
    os.killpg(0, 9)
"""


def test_it_stops_at_the_limit(prison: Prison) -> None:
    found = prison.run(SCRIPT, "--pids-limit", "50")
    assert "stopped EAGAIN 49" in found, found
    assert os.fork is not None and os.waitpid(os.posix_spawn("/bin/true", ["true"], {}), 0)[1] == 0
