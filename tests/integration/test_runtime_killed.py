"""kill -9 of `stackrun-runtime` at any moment: what is left is a state that `delete --force` clears to nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from bundles import Runtime, has_busybox, runtime_in

from stackrun.kernel import cgroup

pytestmark = pytest.mark.skipif(not has_busybox, reason="busybox-static is not installed")
STEPS = 12


@pytest.fixture
def runtime(short_tmp: Path) -> Iterator[Runtime]:
    with runtime_in(short_tmp) as made:
        made.configure("sleep", "1000")
        yield made


def timed(runtime: Runtime, *words: str) -> float:
    began = time.monotonic()
    subprocess.run(runtime.command(*words), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=True)
    return time.monotonic() - began


def killed_after(runtime: Runtime, delay_s: float, *words: str) -> None:
    process = subprocess.Popen(
        runtime.command(*words), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    time.sleep(delay_s)
    process.send_signal(signal.SIGKILL)
    process.wait()


def check_gone(runtime: Runtime) -> None:
    """No group, no process, no mount, no state; a process that was on its way notices at once that nobody speaks with it."""
    deadline = time.monotonic() + 10
    while (left := _left(runtime)) and time.monotonic() < deadline:
        time.sleep(0.05)
        runtime.run("delete", "--force", "a")
    assert left == []


def _left(runtime: Runtime) -> list[str]:
    group = cgroup.Cgroup.load(cgroup.detect(), "stackrun-runtime/a")
    found = [directory for directory in group.directories if os.path.isdir(directory)]
    found += [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(runtime.root) in line]
    if (runtime.root / "state").exists():
        found += os.listdir(runtime.root / "state")
    return found


@pytest.mark.parametrize("verb", ["create", "start", "exec", "delete", "run"])
def test_at_any_moment(runtime: Runtime, verb: str) -> None:
    words = {
        "create": ("create", "-b", str(runtime.bundle), "a"),
        "start": ("start", "a"),
        "exec": ("exec", "a", "true"),
        "delete": ("delete", "--force", "a"),
        "run": ("run", "-d", "-b", str(runtime.bundle), "a"),
    }[verb]

    def prepare() -> None:
        if verb not in ("create", "run"):
            runtime.create("a")
        if verb in ("exec", "delete"):
            runtime.run("start", "a")

    prepare()
    whole_s = timed(runtime, *words)
    runtime.run("delete", "--force", "a")
    for step in range(STEPS):
        prepare()
        killed_after(runtime, whole_s * (step + 0.5) / STEPS, *words)
        runtime.run("delete", "--force", "a")
        check_gone(runtime)


def test_while_init_waits_at_its_door_already(runtime: Runtime) -> None:
    """Init outlives its `create` then, which must not hold the container's lock any more: all further commands would hang."""
    pid_file = runtime.root / "pid"
    os.mkfifo(runtime.root / ".pid")  # which `create` opens for writing last of all, and waits for a reader
    command = runtime.command("create", "-b", str(runtime.bundle), "--pid-file", str(pid_file), "a")
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True)
    deadline = time.monotonic() + 10
    while Path(f"/proc/{process.pid}/wchan").read_text() not in ("wait_for_partner", "fifo_open"):
        assert time.monotonic() < deadline, "it does not come to write the pid"
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert runtime.state("a")["status"] == "created"
    runtime.run("delete", "--force", "a")
    check_gone(runtime)


def begun(runtime: Runtime, *words: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(runtime.command(*words), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True)


def until(look: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 10
    while not look():
        assert time.monotonic() < deadline, what
        time.sleep(0.01)


def ended_by_kill(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()


def members() -> tuple[int, ...]:
    return cgroup.Cgroup.load(cgroup.detect(), "stackrun-runtime/a").pids()


def test_a_run_in_the_foreground(runtime: Runtime) -> None:
    """Its container goes on, as runc's does, and every verb works on it."""
    process = begun(runtime, "run", "-b", str(runtime.bundle), "a")
    until(lambda: "running" in runtime.run("list"), "it does not come to run")
    ended_by_kill(process)
    assert runtime.state("a")["status"] == "running"
    runtime.run("pause", "a")
    runtime.run("resume", "a")
    runtime.run("exec", "a", "true")
    runtime.run("delete", "--force", "a")
    check_gone(runtime)


def test_an_exec_whose_process_has_joined_already(runtime: Runtime) -> None:
    """Held there by the freezer; when it goes on, nobody hears it any more, and it must not become a program."""
    runtime.create("a")
    runtime.run("start", "a")
    runtime.run("pause", "a")
    init = members()
    process = begun(runtime, "exec", "--ignore-paused", "a", "sleep", "1000")
    until(lambda: len(members()) > len(init), "it does not come to join")
    ended_by_kill(process)
    runtime.run("resume", "a")
    until(lambda: members() == init, "it goes on by itself")
    assert runtime.state("a")["status"] == "running"
    runtime.run("delete", "--force", "a")
    check_gone(runtime)


@pytest.mark.parametrize("moment", ["createRuntime", "createContainer", "startContainer", "poststart"])
def test_while_a_hook_runs(runtime: Runtime, moment: str) -> None:
    """The hook is somebody else's program, and outside goes on; what is ours ends, and no lock of the command's stays with anybody."""
    fifo = runtime.root / "fifo"
    os.mkfifo(fifo)
    inside = moment == "startContainer"
    path = "/bin/busybox" if inside else str(runtime.bundle / "rootfs/bin/busybox")
    if inside:
        runtime.change(
            lambda config: config["mounts"].append({"destination": "/fifo", "type": "bind", "source": str(fifo), "options": ["bind"]})
        )
    hook = {"path": path, "args": ["cat", "/fifo" if inside else str(fifo)]}
    runtime.change(lambda config: config.update(hooks={moment: [hook]}))
    if moment in ("startContainer", "poststart"):
        runtime.create("a")
        process = begun(runtime, "start", "a")
    else:
        process = begun(runtime, "create", "-b", str(runtime.bundle), "a")
    writer = os.open(fifo, os.O_WRONLY)  # once the hook reads
    try:
        ended_by_kill(process)
        assert runtime.state("a")["status"] in ("created", "running", "stopped")
        runtime.run("delete", "--force", "a")
        check_gone(runtime)
    finally:
        os.close(writer)
