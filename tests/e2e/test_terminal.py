"""A person at a terminal: tmux types and reads the screen."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from machine import STACKRUN, Machine

STACK = """
name: term
services:
  one:
    image: busybox:test
    command: [sh, -c, "trap 'echo going; exit 0' TERM; echo one is here; while :; do sleep 0.1; done"]
  two:
    image: busybox:test
    command: [sh, -c, "trap '' TERM; echo two is here; while :; do sleep 0.1; done"]
    stop_grace_period: 60s
    depends_on: [one]
"""


class Screen:
    """A tmux session of its own server; `wait_for` looks until the pattern is there."""

    def __init__(self, name: str, cwd: Path, environment: dict[str, str]) -> None:
        self.name = name
        command = ["new-session", "-d", "-s", name, "-x", "160", "-y", "50", "-c", str(cwd)]
        options = [part for key in ("STACKRUN_ROOT",) for part in ("-e", f"{key}={environment[key]}")]
        self.tmux(*command, *options, "env PS1='$ ' sh")
        self.wait_for(r"^\$ ?$")  # what is typed sooner is echoed before the prompt, which then heads the first line of output

    def tmux(self, *args: str) -> str:
        return subprocess.run(["tmux", "-L", self.name, *args], capture_output=True, text=True, check=True).stdout

    def type(self, text: str) -> None:
        self.tmux("send-keys", "-t", self.name, text, "Enter")

    def press(self, key: str) -> None:
        self.tmux("send-keys", "-t", self.name, key)

    def text(self) -> str:
        return self.tmux("capture-pane", "-p", "-S", "-", "-t", self.name)

    def wait_for(self, pattern: str, timeout_s: float = 30) -> str:
        """tmux has no event for "the screen changed": looks every 50 ms until the deadline."""
        deadline = time.monotonic() + timeout_s
        while not re.search(pattern, text := self.text(), re.MULTILINE):
            assert time.monotonic() < deadline, f"{pattern!r} never came:\n{text}"
            time.sleep(0.05)
        return text

    def close(self) -> None:
        self.tmux("kill-server")


@pytest.fixture
def screen(machine: Machine, busybox: str) -> Iterator[Screen]:
    made = Screen(f"srt-{machine.root.name[-6:]}", machine.project("term", STACK), machine.environment)
    yield made
    made.close()
    machine.run("-p", "term", "down", "-t", "0")


def test_up_in_the_foreground_streams_logs_and_ctrl_c_stops_then_kills(machine: Machine, screen: Screen) -> None:
    screen.type(f"{STACKRUN} up; echo code=$?")
    screen.wait_for(r"^two-1 +\| two is here")
    screen.wait_for(r"^one-1 +\| one is here")
    screen.press("C-c")
    screen.wait_for(r"[Gg]racefully")
    screen.press("C-c")
    screen.wait_for(r"code=130")
    states = {one["Names"]: one["State"] for one in machine.containers()}
    assert states == {"term-one-1": "exited", "term-two-1": "exited"}


def test_up_d_shows_live_progress_and_says_what_it_waits_for(machine: Machine, screen: Screen) -> None:
    screen.type(f"{STACKRUN} up -d; echo code=$?")
    text = screen.wait_for(r"code=0")
    assert re.search(r"Container term-two-1 +Started", text), text


def test_exec_gives_a_shell_with_a_terminal(machine: Machine, screen: Screen) -> None:
    machine.run("up", "-d", cwd=machine.root / "term")
    screen.type(f"{STACKRUN} exec one sh; echo code=$?")
    screen.wait_for(r"^/ #")
    screen.type("tty; stty size")
    screen.wait_for(r"^/dev/pts/\d+")
    screen.wait_for(r"^50 160")
    screen.type("exit 5")
    screen.wait_for(r"code=5")
