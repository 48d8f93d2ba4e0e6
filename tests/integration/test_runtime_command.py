"""stackrun-runtime on plain OCI bundles, verb by verb, as a caller of runc would use it."""

from __future__ import annotations

import json
import os
import pty
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from bundles import Runtime, has_busybox, runtime_in

pytestmark = pytest.mark.skipif(not has_busybox, reason="busybox-static is not installed")


@pytest.fixture
def runtime(short_tmp: Path) -> Iterator[Runtime]:
    with runtime_in(short_tmp) as made:
        yield made


def test_run_prints_and_ends_as_the_process_does(runtime: Runtime) -> None:
    runtime.configure("sh", "-c", "cat; exit 7")
    done = subprocess.run(runtime.command("run", "-b", str(runtime.bundle), "a"), input=b"through", capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (7, b"through", b"")
    assert runtime.run("list", "-q") == ""


def test_the_life_of_a_container(runtime: Runtime, short_tmp: Path) -> None:
    runtime.configure("sleep", "1000")
    runtime.create("a", "--pid-file", str(short_tmp / "pid"))
    state = runtime.state("a")
    assert (state["status"], state["bundle"]) == ("created", str(runtime.bundle))
    assert int((short_tmp / "pid").read_text()) == state["pid"]
    runtime.run("start", "a")
    assert runtime.state("a")["status"] == "running"
    assert "cannot start a container in the running state" in runtime.run("start", "a", code=1)
    assert json.loads(runtime.run("ps", "--format", "json", "a")) == [state["pid"]]
    runtime.run("pause", "a")
    assert runtime.state("a")["status"] == "paused"
    runtime.run("resume", "a")
    assert "cannot delete container a that is not stopped: running" in runtime.run("delete", "a", code=1)
    pid_fd = os.pidfd_open(state["pid"])
    runtime.run("kill", "a", "SIGKILL")
    assert _ended(pid_fd)
    runtime.run("delete", "a")
    assert "container does not exist" in runtime.run("state", "a", code=1)
    runtime.run("delete", "--force", "a")


def _ended(pid_fd: int) -> bool:
    import select

    try:
        return bool(select.select([pid_fd], [], [], 10)[0])
    finally:
        os.close(pid_fd)


def test_exec_in_a_running_container(runtime: Runtime) -> None:
    runtime.configure("sleep", "1000")
    runtime.create("a")
    runtime.run("start", "a")
    assert runtime.run("exec", "a", "cat", given="in and out") == "in and out"
    runtime.run("exec", "a", "sh", "-c", "exit 5", code=5)
    assert 'exec: "/nope": stat /nope: no such file or directory' in runtime.run("exec", "a", "/nope", code=255)
    assert runtime.run("exec", "--user", "12:34", "--env", "X=y", "a", "sh", "-c", "id -u; id -g; echo $X").split() == ["12", "34", "y"]


def test_a_console_socket_gets_the_terminal(runtime: Runtime, short_tmp: Path) -> None:
    runtime.configure("sh", "-c", "tty; read word; echo got $word", terminal=True)
    path = str(short_tmp / "console")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        runtime.create("a", "--console-socket", path)
        connection, _ = listener.accept()
        with connection:
            _, fds, _, _ = socket.recv_fds(connection, 100, 1)
    runtime.run("start", "a")
    os.write(fds[0], b"it\n")
    with os.fdopen(fds[0], "rb", buffering=0) as console:
        seen = b""
        while b"got it" not in seen:
            seen += console.read(100) or b""
    assert b"/dev/pts/0" in seen


def test_run_on_a_terminal(runtime: Runtime) -> None:
    runtime.configure("sh", "-c", "tty; read word; exit 3", terminal=True)
    ours, theirs = pty.openpty()
    process = subprocess.Popen(runtime.command("run", "-b", str(runtime.bundle), "a"), stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    seen = b""
    while b"/dev/pts/0" not in seen:
        seen += os.read(ours, 1000)
    os.write(ours, b"\r")
    assert process.wait(30) == 3
    os.close(ours)


def test_a_failure_is_logged_as_callers_of_runc_expect_it(runtime: Runtime, short_tmp: Path) -> None:
    runtime.configure("/nope")
    log = short_tmp / "log.json"
    runtime.run("--log", str(log), "--log-format", "json", "run", "-b", str(runtime.bundle), "a", code=1)
    entry = json.loads(log.read_text())
    assert (entry["level"], entry["msg"]) == ("error", 'exec: "/nope": stat /nope: no such file or directory')
    assert runtime.run("list", "-q") == ""


def test_ids_are_checked_and_taken_once(runtime: Runtime) -> None:
    runtime.configure("sleep", "1000")
    runtime.create("a")
    assert "already exists" in runtime.run("create", "-b", str(runtime.bundle), "a", code=1)
    for name in ("..", "a/b"):
        assert "invalid container ID format" in runtime.run("state", name, code=1)
    assert [one["id"] for one in json.loads(runtime.run("list", "-f", "json"))] == ["a"]


def test_features_and_version(runtime: Runtime) -> None:
    assert "network" in json.loads(runtime.run("features"))["linux"]["namespaces"]
    assert "stackrun-runtime version" in runtime.run("--version")


@pytest.mark.skipif(not shutil.which("runc"), reason="runc is not installed")
def test_runc_and_we_agree_on_what_a_container_sees(runtime: Runtime) -> None:
    script = "grep -E 'Cap|NoNew' /proc/self/status; ls /dev /sys/fs/cgroup; wc -l < /proc/self/mountinfo; ls /proc/self/fd"
    runtime.configure("sh", "-c", script)
    ours = subprocess.run(runtime.command("run", "-b", str(runtime.bundle), "a"), stdin=subprocess.DEVNULL, capture_output=True, check=True)
    theirs = subprocess.run(
        ["runc", "run", "-b", str(runtime.bundle), f"srt-{runtime.root.name}"], stdin=subprocess.DEVNULL, capture_output=True, check=True
    )
    assert ours.stdout == theirs.stdout
