"""A state root on a disk that is full, or that became read-only: a clear error, and nothing is lost."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from machine import Machine, busybox_tar

STACK = """
name: full
services:
  a: {{image: busybox:test, command: [sleep, "100000"], stop_grace_period: 0s, environment: {{V: "{value}"}}, secrets: [s]}}
  b: {{image: busybox:test, command: [sh, -c, "while :; do date; sleep 0.2; done"], stop_grace_period: 0s, volumes: ["data:/data"]}}
volumes: {{data: {{}}}}
secrets: {{s: {{environment: SECRET}}}}
"""
DISK_MB = 64


@pytest.fixture(scope="module")
def disk(nothing_left_behind: None) -> Iterator[Machine]:
    """A machine whose state root is a small disk of its own."""
    made = Machine()
    made.state = Path(tempfile.mkdtemp(prefix="srt-disk-", dir="/tmp"))
    made.environment["STACKRUN_ROOT"] = str(made.state)
    mount(made, "-t", "tmpfs", "-o", f"size={DISK_MB}m", "small")
    try:
        yield made
    finally:
        made.close()
        subprocess.run(["umount", str(made.state)], check=True)
        made.state.rmdir()


@contextmanager
def read_only(disk: Machine) -> Iterator[None]:
    """For all who open something there now, as after an error of a disk; what is open for writing stays so."""
    mount(disk, "--bind", str(disk.state))
    try:
        mount(disk, "-o", "remount,bind,ro")
        yield
    finally:
        subprocess.run(["umount", str(disk.state)], check=True)


def mount(disk: Machine, *words: str) -> None:
    subprocess.run(["mount", *words, str(disk.state)], check=True)


@pytest.fixture(scope="module")
def stack(disk: Machine) -> Path:
    disk.run("import", str(busybox_tar(disk.root)), "busybox:test")
    folder = disk.project("full", STACK.format(value=1))
    disk.run("up", "-d", cwd=folder, env={"SECRET": "hush"})
    return folder


def fill(disk: Machine) -> Path:
    """Down to the last byte."""
    ballast = disk.state / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for size in (1 << 20, 4096, 1):
            try:
                while file.write(b"x" * size):
                    pass
            except OSError:
                continue
    return ballast


def pids(disk: Machine) -> dict[str, int]:
    return {one: disk.inspect(f"full-{one}-1")["State"]["Pid"] for one in ("a", "b")}


def records(disk: Machine) -> None:
    for path in (*disk.state.glob("containers/*/*.json"), *disk.state.glob("networks/*.json"), *disk.state.glob("volumes/*/volume.json")):
        json.loads(path.read_bytes())
    assert "Traceback" not in (disk.state / "daemon.log").read_text()


def test_a_full_disk_is_told_and_costs_nothing(disk: Machine, stack: Path) -> None:
    before = pids(disk)
    ballast = fill(disk)
    disk.project("full", STACK.format(value=2))
    failed = disk.run("up", "-d", cwd=stack, env={"SECRET": "other"}, code=1)
    assert "ENOSPC" in failed.stderr and "Traceback" not in failed.stderr
    assert len(disk.containers()) >= 2 and pids(disk)["b"] == before["b"]
    assert disk.run("ps", "-q", cwd=stack).stdout.count("\n") == 2
    disk.run("why", "a", cwd=stack)
    ballast.unlink()
    records(disk)
    disk.run("up", "-d", "--wait", cwd=stack, env={"SECRET": "other"})
    assert "V=2" in disk.inspect("full-a-1")["Config"]["Env"] and pids(disk)["b"] == before["b"]


def test_a_daemon_starts_on_a_full_disk_and_finds_everything(disk: Machine, stack: Path) -> None:
    before = pids(disk)
    ballast = fill(disk)
    disk.kill_daemon()
    assert disk.run("ps", "-q", cwd=stack).stdout.count("\n") == 2
    assert pids(disk) == before
    refused = disk.run("stop", "a", cwd=stack, code=1)  # else the keeper, who cannot be told, would start it again
    assert "ENOSPC" in refused.stderr and pids(disk) == before
    disk.run("down", cwd=stack, env={"SECRET": "other"})
    assert disk.containers() == [] and os.listdir(disk.state / "containers") == []
    ballast.unlink()
    records(disk)
    disk.run("up", "-d", "--wait", cwd=stack, env={"SECRET": "other"})


def test_a_disk_that_became_read_only(disk: Machine, stack: Path) -> None:
    before = pids(disk)
    disk.project("full", STACK.format(value=3))
    with read_only(disk):
        failed = disk.run("up", "-d", cwd=stack, env={"SECRET": "other"}, code=1)
        assert "EROFS" in failed.stderr and "Traceback" not in failed.stderr
        assert disk.run("ps", "-q", cwd=stack).stdout.count("\n") == 2
        assert pids(disk) == before
        disk.kill_daemon()
        refused = disk.run("ps", cwd=stack, code=None)
        assert refused.returncode in (1, 4) and "read-only file system" in refused.stderr.lower(), refused.stderr
        assert "Traceback" not in refused.stderr
    disk.run("ps", cwd=stack)
    assert pids(disk) == before
    disk.run("up", "-d", "--wait", cwd=stack, env={"SECRET": "other"})
    assert "V=3" in disk.inspect("full-a-1")["Config"]["Env"]
    records(disk)
