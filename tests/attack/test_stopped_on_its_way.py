"""A process that enters by exec is stopped from inside, by signal: whoever waits for it must not wait for good.

The container's root may signal it as its own.  The shim speaks with one at a time, and is to hear `stop` as well.
"""

import time

from prison import PRELUDE, Prison

WATCHER = """
import signal
stopped = set()
def name(pid):
    try:
        return open(f"/proc/{pid}/comm").read()
    except OSError:
        return ""
print("ready", flush=True)
while True:
    for pid in os.listdir("/proc"):
        if pid.isdigit() and name(pid).startswith("stackrun-"):
            try:
                os.kill(int(pid), signal.SIGSTOP)
            except OSError:
                continue
            if pid not in stopped and name(pid).startswith("stackrun-"):
                stopped.add(pid)
                print("stopped", flush=True)
"""


def test_the_container_can_be_ended_all_the_same(prison: Prison) -> None:
    machine = prison.machine
    machine.docker("run", "-d", "--name", "slow", "--cpus", "0.02", "host", "sleep", "1000")
    try:
        machine.docker("run", "-d", "--name", "holder", "--pid", "container:slow", "host", "python3", "-u", "-c", PRELUDE + WATCHER)
        while "ready" not in machine.docker("logs", "holder").stdout:
            pass
        began = time.monotonic()
        done = machine.docker("exec", "slow", "true", code=None)
        assert "stopped" in machine.docker("logs", "holder").stdout  # the attempt itself works
        assert (done.returncode, done.stderr) == (1, "unable to upgrade to tcp, received 500\n")
        assert machine.docker("inspect", "--format", "{{.State.Running}}", "slow").stdout == "true\n"
        machine.docker("kill", "slow")
        assert machine.docker("wait", "slow").stdout == "137\n"
        assert time.monotonic() - began < 40
    finally:
        machine.docker("rm", "-f", "holder", "slow", code=None)
