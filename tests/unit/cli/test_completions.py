"""The scripts in the shells themselves, which ask our program: bash, zsh and fish with a Tab as a person presses it."""

from __future__ import annotations

import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from stackrun.cli.completions import SCRIPTS

WAIT_S = 30.0
SHELLS = {"bash": ["bash", "--norc", "--noprofile", "-i"], "zsh": ["zsh", "-f", "-i"]}


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A directory with a stack, and our program on a PATH of its own."""
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin/stackrun"
    program.write_text(f"#!{sys.executable}\nimport sys\nfrom stackrun.cli.main import main\nsys.exit(main())\n", encoding="utf-8")
    program.chmod(0o755)
    (tmp_path / "compose.yaml").write_text("services: {frontend: {image: x}, store: {image: x}}\n", encoding="utf-8")
    (tmp_path / "my other.yaml").write_text("services: {elsewhere: {image: x}}\n", encoding="utf-8")
    (tmp_path / "sub-directory").mkdir()
    for shell, script in SCRIPTS.items():
        (tmp_path / f"script.{shell}").write_text(script, encoding="utf-8")
    return tmp_path


def environment(directory: Path) -> dict[str, str]:
    return {
        "PATH": f"{directory}/bin:{os.environ['PATH']}", "HOME": str(directory), "TERM": "dumb", "PS1": "$ ", "LC_ALL": "C.UTF-8",
        "INPUTRC": "/dev/null",
    }  # fmt: skip


class Terminal:
    """An interactive shell on a terminal of its own."""

    def __init__(self, shell: str, directory: Path) -> None:
        self._pid, self._fd = pty.fork()
        if self._pid == 0:
            os.chdir(directory)
            os.execvpe(SHELLS[shell][0], SHELLS[shell], environment(directory))
        self.shown = ""

    def type(self, text: str) -> None:
        os.write(self._fd, text.encode())

    def expect(self, pattern: str) -> str:
        """Reads until `pattern` is shown, and gives everything since the last time."""
        end = time.monotonic() + WAIT_S
        while not re.search(pattern, self.shown):
            ready, _, _ = select.select([self._fd], [], [], max(0.0, end - time.monotonic()))
            assert ready, f"{pattern!r} was never shown, but {self.shown!r}"
            self.shown += os.read(self._fd, 65536).decode(errors="replace").replace("\r", "").replace("\a", "")
        seen, self.shown = self.shown, ""
        return seen

    def close(self) -> None:
        os.close(self._fd)
        os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)


@pytest.fixture(params=sorted(SHELLS))
def terminal(request: pytest.FixtureRequest, shop: Path) -> Iterator[Terminal]:
    shell = request.param
    if shutil.which(shell) is None:
        pytest.fail(f"{shell} is missing: make setup-test installs it")
    it = Terminal(shell, shop)
    prepare = "autoload -U compinit && compinit -u -D; unsetopt zle_bracketed_paste;" if shell == "zsh" else ""
    it.type(f"{prepare} . ./script.{shell}; printf 'rea%s\\n' dy\n")
    it.expect("ready")
    yield it
    it.close()


@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        ("stackrun grap\t", "stackrun graph "),
        ("stackrun graph --format mer\t", "--format mermaid "),
        ("stackrun graph --format=mer\t", "--format=mermaid "),
        ("stackrun graph --form\t", "--format "),
        ("stackrun logs -f fro\t", "logs -f frontend "),
        ("stackrun up --scale fro\t3", "--scale frontend=3"),
        ("stackrun init sub\t", "init sub-directory/"),
        ("stackrun validate comp\t", "validate compose.yaml "),
        ("stackrun -f 'my other.yaml' logs else\t", "logs elsewhere "),
        ("./bin/stackrun -f compose.yaml logs sto\t", "logs store "),
    ],
)
def test_a_tab_completes(terminal: Terminal, typed: str, completed: str) -> None:
    terminal.type(typed)
    assert completed in terminal.expect(re.escape(completed))


def fish(shop: Path, line: str) -> list[str]:
    command = ["fish", "--no-config", "-c", f'source script.fish; complete -C "{line}"']
    done = subprocess.run(command, cwd=shop, env=environment(shop), capture_output=True, text=True, check=True, timeout=WAIT_S)
    assert done.stderr == ""
    return done.stdout.splitlines()


@pytest.mark.parametrize(
    ("line", "completed"),
    [
        ("stackrun grap", ["graph\tshow the dependencies, the start order and the critical path"]),
        ("stackrun graph --format mer", ["mermaid"]),
        ("stackrun graph --format=mer", ["--format=mermaid"]),
        ("stackrun logs -f fro", ["frontend\tx"]),
        ("stackrun logs ", ["frontend\tx", "store\tx"]),
        ("stackrun up --scale fro", ["frontend=\tx"]),
        ("stackrun -f 'my other.yaml' logs ", ["elsewhere\tx"]),
    ],
)
def test_fish_completes(shop: Path, line: str, completed: list[str]) -> None:
    assert [one.rstrip("\t") for one in fish(shop, line)] == completed


def test_fish_completes_files(shop: Path) -> None:
    assert [one.split("\t")[0] for one in fish(shop, "stackrun validate comp")] == ["compose.yaml"]
    assert [one.split("\t")[0] for one in fish(shop, "stackrun up --env-file=comp")] == ["--env-file=compose.yaml"]
    assert [one.split("\t")[0] for one in fish(shop, "stackrun init sub")] == ["sub-directory/"]


@pytest.mark.parametrize("shell", sorted(SCRIPTS))
def test_the_shell_finds_no_fault_in_its_script(shop: Path, shell: str) -> None:
    done = subprocess.run([shell, "-n", f"script.{shell}"], cwd=shop, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
