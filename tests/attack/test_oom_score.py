"""oom_score_adj: a container cannot make itself the last to be killed, and it goes before its own shim and the engine."""

from pathlib import Path

from prison import Prison

SCRIPT = """
def write(value):
    with open("/proc/self/oom_score_adj", "w") as file:
        file.write(str(value))
attempt("lower", lambda: write(-1000))
attempt("raise", lambda: write(500))
attempt("back", lambda: write(0))
"""


def test_it_can_only_be_raised(prison: Prison) -> None:
    found = prison.lines(SCRIPT)
    assert found["lower"] == "EACCES" and found["raise"] == "ok"


def test_the_shim_and_the_engine_come_after(prison: Prison) -> None:
    machine = prison.machine
    machine.docker("run", "-d", "--name", "eater", "--oom-score-adj", "600", "host", "sleep", "1000")
    try:
        pid = machine.inspect("eater")["State"]["Pid"]
        shim = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        score = {name: int(Path(f"/proc/{one}/oom_score_adj").read_text()) for name, one in
                 {"container": pid, "shim": shim, "engine": machine.daemon_pid()}.items()}  # fmt: skip
        assert score["container"] == 600 > score["shim"] >= score["engine"], score
        entered = machine.docker("exec", "eater", "cat", "/proc/self/oom_score_adj").stdout
        assert entered == "600\n"
    finally:
        machine.docker("rm", "-f", "eater")
