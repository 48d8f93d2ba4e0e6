"""CVE-2025-31133: files are masked with the container's /dev/null; were it a link, what it names would be bound over the mask."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from machine import Machine

PROBE = ("sh", "-c", "head -c 1 /proc/kcore | wc -c; (: >> /proc/sys/kernel/core_pattern) 2> /dev/null && echo WRITABLE")


@pytest.fixture
def dev(machine: Machine) -> Iterator[Path]:
    """A volume that is to be the container's whole /dev; returns where it is."""
    name = machine.docker("volume", "create").stdout.strip()
    path = machine.state / "volumes" / name / "_data"
    for below in ("pts", "shm", "mqueue"):
        (path / below).mkdir()
    yield path
    machine.docker("volume", "rm", name)


def run(machine: Machine, dev: Path, *options: str) -> tuple[int, str, str]:
    done = machine.docker("run", "--rm", "-v", f"{dev.parent.name}:/dev", *options, "host", *PROBE, code=None)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("target", ["/proc/sys/kernel/core_pattern", "/proc/kcore", "/etc/passwd", "/dev/null"])
def test_a_link_is_refused(machine: Machine, dev: Path, target: str) -> None:
    (dev / "null").symlink_to(target)
    code, out, told = run(machine, dev)
    assert code != 0 and out == "", told


@pytest.mark.parametrize("kind", ["file", "fifo", "directory", "another device"])
def test_anything_else_is_refused(machine: Machine, dev: Path, kind: str) -> None:
    null = dev / "null"
    match kind:
        case "file":
            null.touch()
        case "fifo":
            os.mkfifo(null)
        case "directory":
            null.mkdir()
        case _:
            os.mknod(null, stat.S_IFCHR | 0o666, os.makedev(1, 5))
    code, out, told = run(machine, dev)
    assert code != 0 and out == "", told


def test_the_null_device_is_taken(machine: Machine, dev: Path) -> None:
    os.mknod(dev / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    _, out, told = run(machine, dev)
    assert out == "0\n", told
