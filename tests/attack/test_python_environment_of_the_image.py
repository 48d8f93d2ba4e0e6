"""PYTHON* variables of an image, of `run -e` and `exec -e`: they are for the container's program, not for the runtime on its way there."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from machine import Machine

VARIABLES = {
    "PYTHONPATH": "/evil", "PYTHONHOME": "/evil", "PYTHONSTARTUP": "/evil/start.py", "PYTHONINSPECT": "1", "PYTHONUSERBASE": "/evil",
    "PYTHONPLATLIBDIR": "evil", "PYTHONEXECUTABLE": "/evil", "PYTHONBREAKPOINT": "os.abort", "PYTHONWARNINGS": "error",
    "PYTHONFAULTHANDLER": "1", "PYTHONMALLOC": "debug", "PYTHONIOENCODING": "idna",
}  # fmt: skip


def environment_of(pid: int) -> dict[str, str]:
    raw = Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace").split("\0")
    return dict(one.partition("=")[::2] for one in raw if one)


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def test_they_reach_the_program_alone(machine: Machine) -> None:
    options = [word for name, value in VARIABLES.items() for word in ("-e", f"{name}={value}")]
    machine.docker("run", "-d", "--name", "evil", *options, "host", "sleep", "1000")
    try:
        found = machine.docker("exec", *options, "evil", "env").stdout.splitlines()
        assert {f"{name}={value}" for name, value in VARIABLES.items()} <= set(found)
        pid = machine.inspect("evil")["State"]["Pid"]
        assert VARIABLES.items() <= environment_of(pid).items()
        shim = parent(pid)
        assert Path(f"/proc/{shim}/comm").read_text() == "stackrun-shim\n"
        for process in (shim, parent(shim)):
            assert not [name for name in environment_of(process) if name in VARIABLES], "the runtime has none of them"
    finally:
        machine.docker("rm", "-f", "evil")


@pytest.mark.parametrize("isolated", [True, False], ids=["-I, as the runtime's is", "the attempt works without"])
def test_the_interpreter_asks_for_none(tmp_path: Path, isolated: bool) -> None:
    (tmp_path / "sitecustomize.py").write_text("print('evil')")
    command = [sys.executable, *(["-I", "-S"] if isolated else []), "-B", "-c", ""]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, check=True)
    assert (done.stdout == "") is isolated
