"""CAP_SYS_PTRACE in the container: a process that enters by exec is stopped on its way, and looked into by who may.

It can be; what it holds by then must not be worth it: the rights its program will have, the container's filter, no descriptor but
its streams and its word to the runtime.  The cpu quota makes the way long enough to be met on for certain.
"""

import pytest
from prison import PRELUDE, Prison

from stackrun.kernel import caps

WATCHER = """
import signal
def text(pid, name):
    try:
        return open(f"/proc/{pid}/{name}").read()
    except OSError:
        return ""
def met(pid):
    try:
        os.kill(pid, signal.SIGSTOP)
    except OSError:
        return False
    while "State:\\tT" not in text(pid, "status"):
        if not text(pid, "comm").startswith("stackrun"):
            return False
    return text(pid, "comm").startswith("stackrun")
print("ready", flush=True)
while True:
    found = [int(name) for name in os.listdir("/proc") if name.isdigit() and text(name, "comm").startswith("stackrun")]
    for pid in found:
        if met(pid):
            fields = dict(line.split(":\\t", 1) for line in text(pid, "status").splitlines() if ":\\t" in line)
            for name in ("CapPrm", "CapEff", "CapBnd", "Seccomp"):
                print(name, fields[name].strip())
            attempt("memory", lambda: os.close(os.open(f"/proc/{pid}/mem", os.O_RDWR)))
            attempt("peek", lambda: open(f"/proc/{pid}/mem", "rb").close())
            print("kinds", *sorted({os.readlink(f"/proc/{pid}/fd/{n}").partition(":")[0] for n in os.listdir(f"/proc/{pid}/fd")}))
            print("number", len(os.listdir(f"/proc/{pid}/fd")), flush=True)
            os.kill(pid, signal.SIGCONT)
            sys.exit()
        try:
            os.kill(pid, signal.SIGCONT)
        except OSError:
            pass
"""


def met(prison: Prison, *options: str) -> dict[str, str]:
    """What a neighbour in the pid namespace finds in a process that enters a container of `options`."""
    machine = prison.machine
    machine.docker("run", "-d", "--name", "slow", "--cpus", "0.02", *options, "host", "sleep", "1000")
    try:
        tracer = ("--cap-add", "SYS_PTRACE", "--pid", "container:slow")
        machine.docker("run", "-d", "--name", "tracer", *tracer, "host", "python3", "-u", "-c", PRELUDE + WATCHER)
        while "ready" not in machine.docker("logs", "tracer").stdout:
            pass
        assert machine.docker("exec", "slow", "echo", "in").stdout == "in\n"
        machine.docker("wait", "tracer")
        lines = machine.docker("logs", "tracer").stdout.splitlines()
    finally:
        machine.docker("rm", "-f", "tracer", "slow", code=None)
    return {name: rest for name, _, rest in (line.partition(" ") for line in lines)}


@pytest.mark.parametrize("options", [(), ("--security-opt", "no-new-privileges"), ("--security-opt", "seccomp=unconfined")])
def test_what_it_holds_is_what_its_program_may(prison: Prison, options: tuple[str, ...]) -> None:
    found = met(prison, "--cap-add", "SYS_PTRACE", *options)
    assert found["memory"] == "ok", found  # the attempt itself works
    wanted = prison.machine.docker("run", "--rm", "--cap-add", "SYS_PTRACE", *options, "host", "grep", "^Cap\\|^Sec", "/proc/self/status")
    program = dict(line.split(":\t") for line in wanted.stdout.splitlines())
    assert {name: found[name] for name in ("CapPrm", "CapEff", "CapBnd", "Seccomp")} == {
        name: program[name] for name in ("CapPrm", "CapEff", "CapBnd", "Seccomp")
    }
    assert set(found["kinds"].split()) <= {"/dev/null", "pipe", "socket"} and int(found["number"]) == 4, found


def test_without_that_capability_the_last_right_is_given_up_inside(prison: Prison) -> None:
    """Where nobody of the container may trace, the filter goes on last of all: a stranger, let in by --pid, sees the right kept for it."""
    found = met(prison)
    assert int(found["CapEff"], 16) & caps.SYS_ADMIN and found["Seccomp"] == "0", found
    assert set(found["kinds"].split()) <= {"/dev/null", "pipe", "socket"} and int(found["number"]) == 4, found
