"""A pid in a record of ours belongs to somebody else by now: it must be neither signalled, nor entered, nor taken for the container.

Whoever is root inside can let processes begin and end until the number comes round; here clone3(2) is asked for it (set_tid).
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from bundles import Runtime, has_busybox, runtime_in
from machine import Machine

from stackrun.kernel import process, syscalls
from stackrun.runtime import state

CLONE3 = 435
SUBREAPER = 36
pytestmark = pytest.mark.skipif(not has_busybox, reason="busybox-static is not installed")


@pytest.fixture(autouse=True, scope="module")
def _orphans_are_ours() -> Iterator[None]:
    """So that this process decides when a number is free again."""
    syscalls.prctl(SUBREAPER, 1)
    yield
    syscalls.prctl(SUBREAPER, 0)


class Victim:
    """A process of the host's with the number `pid`, which must be free."""

    def __init__(self, pid: int) -> None:
        numbers = (ctypes.c_int * 1)(pid)
        arguments = ctypes.create_string_buffer(struct.pack("=11Q", 0, 0, 0, 0, signal.SIGCHLD, 0, 0, 0, ctypes.addressof(numbers), 1, 0))
        found = ctypes.CDLL(None, use_errno=True).syscall(CLONE3, arguments, ctypes.c_size_t(88))
        if not found:
            os.execv("/bin/sleep", ["sleep", "1000"])
        assert found == pid, os.strerror(ctypes.get_errno())
        self.pid = pid

    @property
    def lives(self) -> bool:
        return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None and not self._is_stopped()

    def _is_stopped(self) -> bool:
        return "State:\tT" in Path(f"/proc/{self.pid}/status").read_text()

    def end(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)


def gone(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


@pytest.fixture
def runtime(short_tmp: Path) -> Iterator[Runtime]:
    with runtime_in(short_tmp) as made:
        made.start("a", "sleep", "1000")
        yield made


def successor(runtime: Runtime) -> Victim:
    pid = runtime.state("a")["pid"]
    gone(pid)
    return Victim(pid)


def test_no_verb_of_the_runtime_touches_it(runtime: Runtime) -> None:
    victim = successor(runtime)
    try:
        assert runtime.state("a") | {"status": "stopped", "pid": 0} == runtime.state("a")
        for words in ("kill a KILL", "pause a", "resume a", "update --memory 64M a", "start a", "events a"):
            runtime.run(*words.split(), code=1)
        runtime.run("exec", "a", "true", code=255)
        runtime.run("kill", "--all", "a", "KILL")
        assert runtime.run("ps", "--format", "json", "a").strip() == "[]"
        runtime.run("delete", "--force", "a")
        assert victim.lives
    finally:
        victim.end()


def test_the_attempt_works_on_whoever_trusts_the_number(runtime: Runtime) -> None:
    victim = successor(runtime)
    record = runtime.root / "state/a/container.json"
    record.write_text(json.dumps(json.loads(record.read_text()) | {"start_ticks": state.start_ticks(victim.pid)}))
    runtime.run("kill", "a", "KILL")
    assert process.exit_code(os.waitpid(victim.pid, 0)[1]) == (137, 9)


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/status").read_text().partition("PPid:\t")[2].split()[0])


def lost(machine: Machine, name: str) -> Path:
    """A container whose daemon, shim and init were killed: its record of a running one."""
    machine.docker("run", "-d", "--network", "none", "--name", name, "host", "sleep", "1000")
    found = machine.inspect(name)
    pid, daemon = found["State"]["Pid"], machine.daemon_pid()
    shim = parent(pid)
    zygote = parent(shim)
    machine.kill_daemon()
    for one in (daemon, zygote):  # which ends by itself
        os.waitpid(one, 0)
    gone(shim)
    gone(pid)
    path: Path = machine.state / "run/c" / found["Id"][:16] / "state.json"
    assert json.loads(path.read_text())["pid"] == pid
    return path


def test_no_new_daemon_takes_it_for_the_container(machine: Machine) -> None:
    path = lost(machine, "lost")
    victim = Victim(json.loads(path.read_text())["pid"])
    try:
        machine.run("info")
        assert machine.inspect("lost")["State"]["Status"] == "exited"
        assert machine.docker("exec", "lost", "true", code=None).returncode
        assert machine.docker("kill", "lost", code=None).returncode
        machine.docker("rm", "-f", "lost")
        assert victim.lives
    finally:
        victim.end()


def test_the_attempt_works_where_the_record_has_its_start_too(machine: Machine) -> None:
    path = lost(machine, "lost")
    victim = Victim(json.loads(path.read_text())["pid"])
    path.write_text(json.dumps(json.loads(path.read_text()) | {"start_ticks": state.start_ticks(victim.pid)}))
    machine.run("info")
    assert process.exit_code(os.waitpid(victim.pid, 0)[1]) == (137, 9)
    machine.docker("rm", "-f", "lost")
