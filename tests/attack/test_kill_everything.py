"""kill(-1, SIGKILL), and kill of every number there is: a container ends itself at most, as signals stay in its pid namespace."""

from pathlib import Path

from prison import Prison

SCRIPT = """
import signal
killed = []
for pid in range(2, 40000):
    try:
        os.kill(pid, 0)
        killed.append(pid)
    except ProcessLookupError:
        pass
print("reached", killed, flush=True)
if killed == [os.getpid()]:
    os.kill(-1, signal.SIGKILL)
"""


def test_only_itself(prison: Prison) -> None:
    machine = prison.machine
    daemon = machine.daemon_pid()
    machine.docker("run", "-d", "--name", "bystander", "host", "sleep", "1000")
    machine.docker("run", "-d", "--name", "killer", "host", "sleep", "1000")
    try:
        shim = int(Path(f"/proc/{machine.inspect('killer')['State']['Pid']}/stat").read_text().rpartition(")")[2].split()[1])
        done = machine.docker("exec", "killer", "python3", "-c", "import os" + SCRIPT, code=None)
        reached = done.stdout.partition("[")[2].partition("]")[0].split(",")
        assert len(reached) == 1, "itself"
        assert machine.daemon_pid() == daemon and Path(f"/proc/{shim}").exists()
        assert machine.inspect("bystander")["State"]["Running"] and machine.inspect("killer")["State"]["Running"], (
            "pid 1 is spared by its own"
        )
    finally:
        machine.docker("rm", "-f", "bystander", "killer")


def test_the_attempt_works_in_the_hosts_pid_namespace(prison: Prison) -> None:
    shown = prison.run(f"os.kill({prison.machine.daemon_pid()}, 0); print('reached')", "--pid", "host")
    assert "reached" in shown
