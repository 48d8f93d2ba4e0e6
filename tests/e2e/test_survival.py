"""kill -9 of everything in turn: container, daemon, the middle of `up`, zygote, shim."""

from __future__ import annotations

import os
import random
import select
import signal
import subprocess
from pathlib import Path

import pytest
from free_ports import free_port
from machine import STACKRUN, Machine, http_get

STACK = """
name: hard
services:
  keep:
    image: busybox:test
    command: [sh, -c, "echo began; exec sleep 100000"]
    restart: always
    stop_grace_period: 0s
  web:
    image: busybox:test
    command: [httpd, -f, -p, "80", -h, /etc]
    ports: ["127.0.0.1:{port}:80"]
    stop_grace_period: 0s
  talk:
    image: busybox:test
    command: [sh, -c, "trap 'echo bye; exit 3' TERM; i=0; while :; do echo line $$i; i=$$((i+1)); sleep 0.1; done"]
"""


@pytest.fixture(scope="module")
def port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def stack(machine: Machine, busybox: str, port: int) -> Path:
    folder = machine.project("hard", STACK.format(port=port))
    machine.run("up", "-d", cwd=folder)
    return folder


def test_a_killed_container_is_restarted_by_its_policy(machine: Machine, stack: Path) -> None:
    before = machine.inspect("hard-keep-1")
    with machine.followed("container=hard-keep-1", "event=start") as events:
        os.kill(before["State"]["Pid"], signal.SIGKILL)
        next(events)
    after = machine.inspect("hard-keep-1")
    assert after["State"]["Running"] and after["State"]["Pid"] != before["State"]["Pid"]
    assert after["RestartCount"] == before["RestartCount"] + 1
    assert machine.run("logs", "--no-log-prefix", "keep", cwd=stack).stdout.count("began") == 2


def test_containers_outlive_the_daemon_and_the_next_one_adopts_them(machine: Machine, stack: Path, port: int) -> None:
    before = {name: machine.inspect(f"hard-{name}-1")["State"]["Pid"] for name in ("keep", "web", "talk")}
    lines = len(machine.run("logs", "--no-log-prefix", "talk", cwd=stack).stdout.splitlines())
    machine.kill_daemon()
    assert http_get(f"http://127.0.0.1:{port}/passwd").startswith("root:"), "the published port works without the daemon"
    rows = machine.run("ps", "--format", "json", cwd=stack).stdout.splitlines()
    assert len(rows) == 3, "a command starts the next daemon by itself"
    assert {name: machine.inspect(f"hard-{name}-1")["State"]["Pid"] for name in before} == before
    assert len(machine.run("logs", "--no-log-prefix", "talk", cwd=stack).stdout.splitlines()) > lines
    assert "root" in machine.run("exec", "-T", "web", "cat", "/etc/passwd", cwd=stack).stdout
    machine.run("stop", "talk", cwd=stack)
    assert machine.inspect("hard-talk-1")["State"]["ExitCode"] == 3
    machine.run("start", "talk", cwd=stack)


def test_an_exit_while_the_daemon_is_away_is_learnt(machine: Machine, stack: Path) -> None:
    web, keep = (machine.inspect(f"hard-{name}-1")["State"]["Pid"] for name in ("web", "keep"))
    machine.kill_daemon()
    for pid in (web, keep):
        pid_fd = os.pidfd_open(pid)
        signal.pidfd_send_signal(pid_fd, signal.SIGKILL)
        select.select([pid_fd], [], [], 10)
        os.close(pid_fd)
    machine.run("ps", cwd=stack)
    state = machine.inspect("hard-web-1")["State"]
    assert state["Status"] == "exited" and state["ExitCode"] == 137
    machine.run("up", "-d", "--wait", cwd=stack)
    assert machine.inspect("hard-keep-1")["State"]["Pid"] != keep


def test_a_killed_zygote_is_replaced(machine: Machine, stack: Path) -> None:
    zygote = _child_of(machine.daemon_pid(), "zygote")
    os.kill(zygote, signal.SIGKILL)
    machine.run("restart", "-t", "0", "web", cwd=stack)
    assert machine.inspect("hard-web-1")["State"]["Running"]


def test_a_killed_shim_costs_its_container_alone(machine: Machine, stack: Path) -> None:
    before = {name: machine.inspect(f"hard-{name}-1")["State"]["Pid"] for name in ("keep", "web", "talk")}
    parent = int(Path(f"/proc/{before['keep']}/stat").read_text().rpartition(")")[2].split()[1])
    with machine.followed("container=hard-keep-1", "event=start") as events:
        os.kill(parent, signal.SIGKILL)
        next(events)
    after = {name: machine.inspect(f"hard-{name}-1")["State"]["Pid"] for name in before}
    assert {name for name in before if before[name] != after[name]} == {"keep"}
    assert not _alive(before["keep"])


@pytest.mark.parametrize("seed", range(6))
def test_kill_in_the_middle_of_up_then_up_converges(machine: Machine, stack: Path, seed: int) -> None:
    """The daemon is killed at the n-th line that `up` prints; the next `up` finishes the work."""
    text = "name: mid\nservices:\n" + "".join(
        f"  s{number}:\n    image: busybox:test\n    command: [sleep, '100000']\n    stop_grace_period: 0s\n    volumes: ['data:/v']\n"
        + (f"    depends_on: [s{number - 1}]\n" if number else "")
        for number in range(6)
    )
    folder = machine.project("mid", text + "volumes: {data: {}}\n")
    stop_after = random.Random(seed).randrange(1, 14)
    with machine.start("up", "-d", cwd=folder, bufsize=1) as up:
        assert up.stdout and up.stderr
        for count, _ in enumerate(up.stderr, 1):
            if count == stop_after:
                machine.kill_daemon()
                break
        up.communicate(timeout=60)
    machine.run("up", "-d", "--wait", cwd=folder)
    running = [one for one in machine.containers(all=False) if one["Names"].startswith("mid-")]
    assert len(running) == 6
    machine.run("down", "-v", "-t", "0", cwd=folder)
    assert not [one for one in machine.containers() if one["Names"].startswith("mid-")]


def test_two_commands_that_both_find_no_daemon_share_one(machine: Machine, stack: Path) -> None:
    machine.run("daemon", "stop")
    both = [subprocess.Popen([STACKRUN, "ps"], cwd=stack, env=machine.environment, stdout=subprocess.PIPE) for _ in range(4)]
    assert [one.wait(30) for one in both] == [0] * 4
    for one in both:
        assert one.stdout
        one.stdout.close()


def _alive(pid: int) -> bool:
    """A zombie that the host's first process has not reaped yet is dead."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def _child_of(pid: int, name: str) -> int:
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        if name in Path(f"/proc/{child}/cmdline").read_bytes().decode() + Path(f"/proc/{child}/comm").read_text():
            return int(child)
    raise AssertionError(f"process {pid} has no child {name}")
