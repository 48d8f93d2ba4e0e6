"""Debian's podman (and its conmon) whose containers are made by stackrun-runtime: `--runtime`."""

from __future__ import annotations

import json
import os
import pty
import select
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from machine import busybox_tar

RUNTIME = Path(sys.executable).with_name("stackrun-runtime")
IMAGE = "localhost/busybox:test"

pytestmark = pytest.mark.skipif(not shutil.which("podman"), reason="podman is not installed")


class Podman:
    def __init__(self, runtime: str = str(RUNTIME)) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="srt-podman-", dir="/tmp"))
        self.runtime = runtime

    def command(self, *words: str) -> list[str]:
        folders = ("--root", f"{self.root}/root", "--runroot", f"{self.root}/run", "--tmpdir", f"{self.root}/tmp")
        drivers = ("--storage-driver", "overlay", "--cgroup-manager", "cgroupfs", "--events-backend", "file")
        return ["podman", *folders, *drivers, "--runtime", self.runtime, *words]

    def attempt(self, *words: str) -> subprocess.CompletedProcess[str]:
        return self._run(self.command(*words))

    def podman(self, *words: str) -> str:
        done = self.attempt(*words)
        assert done.returncode == 0, f"podman {' '.join(words)}: {done.stderr}"
        return done.stdout

    def try_run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return self.attempt("run", "--rm", "--network", "none", *words)

    def sh(self, script: str, *options: str) -> list[str]:
        done = self.try_run(*options, IMAGE, "sh", "-c", script)
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    def start(self, name: str, *words: str) -> None:
        self.podman("run", "-d", "--network", "none", "--name", name, *words)

    def typed(self, *words: str, until: str) -> int:
        """On a terminal: a line is typed when `until` has been seen there; the exit code.

        What a container prints right before it ends is lost by podman now and then, whoever runs the container.
        """
        master, slave = pty.openpty()
        with os.fdopen(master, "r+b", buffering=0) as screen:
            with subprocess.Popen(self.command(*words), cwd=self.root, stdin=slave, stdout=slave, stderr=slave) as client:
                os.close(slave)
                seen = b""
                while until.encode() not in seen:
                    ready, _, _ = select.select([screen], [], [], 60)
                    assert ready, seen
                    seen += screen.read(4096)
                screen.write(b"\n")
                return client.wait(60)

    def _run(self, command: list[str]) -> subprocess.CompletedProcess[str]:
        """In a folder of its own: conmon leaves a file named `oom` where it was started."""
        return subprocess.run(command, cwd=self.root, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, timeout=120)

    def inspect(self, name: str, field: str) -> str:
        return self.podman("inspect", "-f", f"{{{{{field}}}}}", name).strip()

    def close(self) -> None:
        self.podman("rm", "-a", "-f", "-t", "0")
        self.podman("rmi", "-a", "-f")
        overlay = self.root / "root/overlay"
        if overlay.is_mount():
            subprocess.run(["umount", overlay], check=True)
        shutil.rmtree(self.root)
        for parent in Path("/sys/fs/cgroup").glob("**/libpod_parent"):
            _remove_empty(parent)


def _remove_empty(group: Path) -> None:
    """podman leaves the parents of its containers' groups, and those of its conmons."""
    for below in group.iterdir():
        if below.is_dir():
            _remove_empty(below)
    try:
        group.rmdir()
    except OSError:
        pass  # somebody else's podman is at work here


@pytest.fixture(scope="module")
def podman(nothing_left_behind: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Podman]:
    made = Podman()
    made.podman("import", str(busybox_tar(tmp_path_factory.mktemp("image"))), IMAGE)
    yield made
    made.close()


def test_a_container_runs_and_its_exit_code_comes_back(podman: Podman) -> None:
    done = podman.try_run(IMAGE, "sh", "-c", "echo out; echo err >&2; exit 3")
    assert (done.returncode, done.stdout, done.stderr) == (3, "out\n", "err\n")


@pytest.mark.parametrize(("command", "code", "words"), [
    ("/nope", 127, 'exec: "/nope": stat /nope: no such file or directory'),
    ("nope", 127, 'exec: "nope": executable file not found in $PATH'),
    ("/etc/passwd", 126, 'exec: "/etc/passwd": permission denied'),
])  # fmt: skip
def test_a_command_that_cannot_be_executed(podman: Podman, command: str, code: int, words: str) -> None:
    done = podman.try_run(IMAGE, command)
    assert done.returncode == code and words in done.stderr


def test_exec_logs_and_processes(podman: Podman) -> None:
    podman.start("long", IMAGE, "sh", "-c", "echo out; echo err >&2; exec sleep 1000")
    done = podman.attempt("exec", "-e", "X=y", "-u", "nobody", "-w", "/tmp", "long", "sh", "-c", "id -u; pwd; echo $X; exit 7")
    assert (done.returncode, done.stdout.split()) == (7, ["65534", "/tmp", "y"])
    logged = podman.attempt("logs", "long")
    assert (logged.stdout, logged.stderr) == ("out\n", "err\n")
    assert "sleep 1000" in podman.podman("top", "long")
    assert podman.attempt("exec", "long", "/nope").returncode in (126, 127)


def test_input_reaches_the_process(podman: Podman) -> None:
    command = podman.command("run", "--rm", "--network", "none", "-i", IMAGE, "cat")
    assert subprocess.run(command, input="through", capture_output=True, text=True, check=True, timeout=60).stdout == "through"


def test_terminals(podman: Podman) -> None:
    assert podman.typed("run", "--rm", "--network", "none", "-it", IMAGE, "sh", "-c", "tty; read line; exit 4", until="/dev/pts/0") == 4
    podman.start("tty", "-t", IMAGE, "sleep", "1000")
    assert podman.typed("exec", "-it", "tty", "sh", "-c", "tty; read line; exit 5", until="/dev/pts/1") == 5


def test_limits(podman: Podman) -> None:
    files = "cd /sys/fs/cgroup; cat memory/memory.limit_in_bytes pids/pids.max cpu/cpu.cfs_quota_us"
    if os.path.exists("/sys/fs/cgroup/cgroup.controllers"):
        files = "cd /sys/fs/cgroup; cat memory.max pids.max; cut -d' ' -f1 cpu.max"
    assert podman.sh(files, "-m", "32m", "--pids-limit", "50", "--cpus", "0.5") == [str(32 << 20), "50", "50000"]
    done = podman.try_run("-m", "16m", "--memory-swap", "16m", IMAGE, "tail", "/dev/zero")
    assert done.returncode == 137


def test_pause_and_stats(podman: Podman) -> None:
    podman.start("paused", IMAGE, "sleep", "1000")
    podman.podman("pause", "paused")
    assert podman.inspect("paused", ".State.Status") == "paused"
    podman.podman("unpause", "paused")
    assert podman.inspect("paused", ".State.Status") == "running"
    (stats,) = json.loads(podman.podman("stats", "--no-stream", "--format", "json", "paused"))
    assert stats["pids"] == "1"


def test_stop_start_kill_and_restart(podman: Podman) -> None:
    script = "echo born; trap 'exit 5' TERM; sleep 1000 & wait"
    podman.start("life", IMAGE, "sh", "-c", script)
    podman.podman("restart", "life")
    podman.podman("stop", "life")
    assert podman.inspect("life", ".State.ExitCode") == "5"
    podman.podman("start", "life")
    assert podman.podman("logs", "life").split() == ["born"] * 3
    podman.podman("kill", "life")
    assert podman.podman("wait", "life").strip() == "137"
    assert podman.inspect("life", ".OCIRuntime") == str(RUNTIME)
    podman.podman("rm", "life")


def test_who_and_what_a_process_may_be(podman: Podman) -> None:
    script = "id -u; id -g; (touch /x) 2>/dev/null || echo ro; grep CapEff /proc/self/status; touch /tmp/x && echo rw"
    seen = podman.sh(script, "--read-only", "--user", "1000:1001", "--cap-drop", "all")
    assert seen == ["1000", "1001", "ro", "CapEff:\t0000000000000000", "rw"]
    options = ("--ulimit", "nofile=100:200", "--hostname", "box", "--umask", "0027")
    assert podman.sh("ulimit -n; hostname; umask", *options) == ["100", "box", "0027"]
    assert int(podman.sh("ps | grep -c .", "--pid", "host")[0]) > 5


def test_a_tmpfs_begins_with_what_it_covers(podman: Podman) -> None:
    assert podman.sh("cat /etc/group; touch /etc/new && echo rw", "--tmpfs", "/etc") == ["root:x:0:", "rw"]


def test_volumes(podman: Podman, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("given\n")
    assert podman.sh("cat /v/file; (touch /v/x) 2>/dev/null || echo ro", "-v", f"{tmp_path}:/v:ro") == ["given", "ro"]
    assert podman.sh("stat -c %u /v/file", "-v", f"{tmp_path}:/v:idmap", "--uidmap", "0:100000:1000", "--gidmap", "0:100000:1000") == ["0"]


def test_a_user_namespace(podman: Podman) -> None:
    script = "id -u; cat /proc/self/uid_map; touch /made && stat -c %u /made"
    words = " ".join(podman.sh(script, "--uidmap", "0:100000:65536", "--gidmap", "0:100000:65536")).split()
    assert words == ["0", "0", "100000", "65536", "0"]


def test_containers_share_namespaces(podman: Podman) -> None:
    podman.start("first", "--hostname", "shared", IMAGE, "sleep", "1000")
    spaces = [option for kind in ("pid", "ipc", "uts") for option in (f"--{kind}", "container:first")]
    done = podman.attempt("run", "--rm", "--network", "container:first", *spaces, IMAGE, "sh", "-c", "hostname; cat /proc/1/comm")
    assert (done.returncode, done.stdout.split()) == (0, ["shared", "sleep"]), done.stderr


def test_hooks_of_a_directory(podman: Podman, tmp_path: Path) -> None:
    """What an administrator puts into hooks.d, as the drivers of graphics cards do."""
    hook = tmp_path / "hook.sh"
    hook.write_text(f"#!/bin/sh\ncat > {tmp_path}/state.json\n")
    hook.chmod(0o755)
    description = {
        "version": "1.0.0",
        "hook": {"path": str(hook), "args": ["hook", "x"]},
        "when": {"always": True},
        "stages": ["createRuntime"],
    }
    (tmp_path / "hook.json").write_text(json.dumps(description))
    done = podman.attempt("--hooks-dir", str(tmp_path), "run", "--rm", "--network", "none", IMAGE, "true")
    assert done.returncode == 0, done.stderr
    state = json.loads((tmp_path / "state.json").read_text())
    assert state["status"] == "creating" and state["pid"] > 1
