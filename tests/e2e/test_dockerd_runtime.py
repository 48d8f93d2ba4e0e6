"""A real dockerd (Debian's docker.io) whose containers are made by stackrun-runtime: `--add-runtime ours=…`."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from dockerd import Dockerd
from machine import busybox_tar

RUNTIME = Path(sys.executable).with_name("stackrun-runtime")
IMAGE = "busybox:test"


class Engine:
    def __init__(self, dockerd: Dockerd) -> None:
        self.dockerd = dockerd

    def try_docker(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["docker", "-H", self.dockerd.host, *words], capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, timeout=120
        )

    def docker(self, *words: str) -> str:
        done = self.try_docker(*words)
        assert done.returncode == 0, f"docker {' '.join(words)}: {done.stderr}"
        return done.stdout

    def try_run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return self.try_docker("run", "--rm", "--runtime", "ours", "--network", "none", *words)

    def sh(self, script: str, *options: str) -> list[str]:
        done = self.try_run(*options, IMAGE, "sh", "-c", script)
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    def start(self, name: str, *words: str) -> None:
        self.docker("run", "-d", "--runtime", "ours", "--network", "none", "--name", name, *words)

    def typed(self, *words: str) -> subprocess.CompletedProcess[str]:
        """On a terminal."""
        command = shlex.join(["docker", "-H", self.dockerd.host, *words])
        return subprocess.run(
            ["script", "-qec", command, "/dev/null"], capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, timeout=120
        )

    def inspect(self, name: str, field: str) -> str:
        return self.docker("inspect", "-f", f"{{{{{field}}}}}", name).strip()


@pytest.fixture(scope="module")
def engine(nothing_left_behind: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    dockerd = Dockerd(options=("--add-runtime", f"ours={RUNTIME}"))
    made = Engine(dockerd)
    try:
        made.docker("import", str(busybox_tar(tmp_path_factory.mktemp("image"))), IMAGE)
        yield made
        containers = made.docker("ps", "-aq").split()
        if containers:
            made.docker("rm", "-f", *containers)
    finally:
        dockerd.close()


def test_a_container_runs_and_its_exit_code_comes_back(engine: Engine) -> None:
    done = engine.try_run(IMAGE, "sh", "-c", "echo out; echo err >&2; exit 3")
    assert (done.returncode, done.stdout, done.stderr) == (3, "out\n", "err\n")


def test_the_network_of_dockerd_is_there(engine: Engine) -> None:
    """libnetwork reaches the container's namespace by a prestart hook."""
    shown = engine.docker("run", "--rm", "--runtime", "ours", IMAGE, "ip", "addr", "show", "eth0")
    assert "inet 172." in shown


@pytest.mark.parametrize(("command", "code", "words"), [
    ("/nope", 127, 'exec: "/nope": stat /nope: no such file or directory'),
    ("nope", 127, 'exec: "nope": executable file not found in $PATH'),
    ("/etc/passwd", 126, 'exec: "/etc/passwd": permission denied'),
])  # fmt: skip
def test_a_command_that_cannot_be_executed(engine: Engine, command: str, code: int, words: str) -> None:
    done = engine.try_run(IMAGE, command)
    assert done.returncode == code and words in done.stderr


def test_exec_logs_and_processes(engine: Engine) -> None:
    engine.start("long", IMAGE, "sh", "-c", "echo out; echo err >&2; exec sleep 1000")
    done = engine.try_docker("exec", "-e", "X=y", "-u", "nobody", "-w", "/tmp", "long", "sh", "-c", "id -u; pwd; echo $X; exit 7")
    assert (done.returncode, done.stdout.split()) == (7, ["65534", "/tmp", "y"])
    logged = engine.try_docker("logs", "long")
    assert (logged.stdout, logged.stderr) == ("out\n", "err\n")
    assert "sleep 1000" in engine.docker("top", "long")
    assert engine.try_docker("exec", "long", "/nope").returncode in (126, 127)


def test_terminals(engine: Engine) -> None:
    done = engine.typed("run", "--rm", "--runtime", "ours", "--network", "none", "-it", IMAGE, "sh", "-c", "tty; exit 4")
    assert done.returncode == 4 and "/dev/pts/0" in done.stdout
    engine.start("tty", "-t", IMAGE, "sleep", "1000")
    done = engine.typed("exec", "-it", "tty", "sh", "-c", "tty; exit 5")
    assert done.returncode == 5 and "/dev/pts/1" in done.stdout


def test_limits_at_the_start_and_later(engine: Engine) -> None:
    files = "cd /sys/fs/cgroup; cat memory/memory.limit_in_bytes pids/pids.max cpu/cpu.cfs_quota_us"
    if os.path.exists("/sys/fs/cgroup/cgroup.controllers"):
        files = "cd /sys/fs/cgroup; cat memory.max pids.max; cut -d' ' -f1 cpu.max"
    limits = ("-m", "32m", "--memory-swap", "32m", "--pids-limit", "50", "--cpus", "0.5")
    assert engine.sh(files, *limits) == [str(32 << 20), "50", "50000"]
    engine.start("limited", IMAGE, "sleep", "1000")
    engine.docker("update", "-m", "64m", "--memory-swap", "64m", "--cpus", "0.25", "--pids-limit", "40", "limited")
    assert engine.docker("exec", "limited", "sh", "-c", files).split() == [str(64 << 20), "40", "25000"]


def test_want_of_memory_is_seen(engine: Engine) -> None:
    done = engine.try_docker(
        "run", "--runtime", "ours", "--network", "none", "--name", "oom", "-m", "16m", "--memory-swap", "16m", IMAGE, "tail", "/dev/zero"
    )
    assert done.returncode == 137
    assert engine.inspect("oom", ".State.OOMKilled") == "true"


def test_pause_and_stats(engine: Engine) -> None:
    engine.start("paused", IMAGE, "sleep", "1000")
    engine.docker("pause", "paused")
    assert engine.inspect("paused", ".State.Status") == "paused"
    engine.docker("unpause", "paused")
    assert engine.inspect("paused", ".State.Status") == "running"
    stats = json.loads(engine.docker("stats", "--no-stream", "--format", "{{json .}}", "paused"))
    assert stats["PIDs"] == "1"


def test_stop_start_kill_and_restart(engine: Engine) -> None:
    script = "echo born; trap 'exit 5' TERM; sleep 1000 & wait"
    engine.start("life", IMAGE, "sh", "-c", script)
    engine.docker("restart", "life")
    engine.docker("stop", "life")
    assert engine.inspect("life", ".State.ExitCode") == "5"
    engine.docker("start", "life")
    assert engine.docker("logs", "life").split() == ["born"] * 3
    engine.docker("kill", "life")
    assert engine.docker("wait", "life").strip() == "137"
    engine.docker("rm", "life")


def test_who_and_what_a_process_may_be(engine: Engine) -> None:
    script = "id -u; id -g; (touch /x) 2>/dev/null || echo ro; grep CapEff /proc/self/status; touch /tmp/x && echo rw"
    seen = engine.sh(script, "--read-only", "--user", "1000:1001", "--cap-drop", "all", "--tmpfs", "/tmp")
    assert seen == ["1000", "1001", "ro", "CapEff:\t0000000000000000", "rw"]
    options = ("--ulimit", "nofile=100:200", "--sysctl", "net.ipv4.ip_forward=1", "--hostname", "box")
    assert engine.sh("ulimit -n; hostname; cat /proc/sys/net/ipv4/ip_forward", *options) == ["100", "box", "1"]
    assert int(engine.sh("ps | grep -c .", "--pid", "host")[0]) > 5


def test_volumes_and_an_init(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("given\n")
    tmp_path.chmod(0o755)
    script = "cat /v/file; (touch /v/x) 2>/dev/null || echo ro; cat /proc/1/comm"
    assert engine.sh(script, "-v", f"{tmp_path}:/v:ro", "--init") == ["given", "ro", "docker-init"]


def test_both_runtimes_show_the_same_container(engine: Engine) -> None:
    """Debian's runc under the same dockerd is the oracle; only what covers a masked path has stricter flags here."""
    script = (
        "grep -E 'Cap|NoNew|Seccomp:' /proc/self/status; ls -a / /dev; cut -d' ' -f5 /proc/self/mountinfo | sort;"
        "cat /proc/self/oom_score_adj; ls /proc/self/fd; umask; pwd; id;"
        "env | grep -v HOSTNAME | sort; cat /proc/self/timerslack_ns; ulimit -a; cat /proc/self/attr/current"
    )
    ours, theirs = (
        engine.try_docker("run", "--rm", "--runtime", name, "--network", "none", IMAGE, "sh", "-c", script) for name in ("ours", "runc")
    )
    assert theirs.returncode == ours.returncode
    assert ours.stdout.splitlines() == theirs.stdout.splitlines()
