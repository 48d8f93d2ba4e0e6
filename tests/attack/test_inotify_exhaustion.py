"""inotify instances are counted for each user of the host: a container that takes all of root's must not stop the engine."""

from prison import Prison

SCRIPT = """
taken = 0
while libc.inotify_init() >= 0:
    taken += 1
print("taken", taken, flush=True)
import signal; signal.pause()
"""


def test_the_engine_goes_on(prison: Prison) -> None:
    machine = prison.machine
    machine.docker(
        "run",
        "-d",
        "--name",
        "greedy",
        "--health-cmd",
        "true",
        "host",
        "python3",
        "-u",
        "-c",
        "import ctypes, os; libc = ctypes.CDLL(None)\n" + SCRIPT,
    )
    try:
        machine.docker("run", "--rm", "host", "true", code=0)
        assert machine.docker("exec", "greedy", "echo", "in").stdout == "in\n"
        assert machine.docker("logs", "greedy").stdout.startswith("taken")
    finally:
        machine.docker("rm", "-f", "greedy")
