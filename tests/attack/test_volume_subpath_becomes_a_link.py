"""CVE-2021-25741, CVE-2017-1002101: a part of a volume is looked up, and is a link to the host's files when it is mounted."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from machine import Machine


@pytest.fixture
def volume(machine: Machine) -> Iterator[str]:
    name = machine.docker("volume", "create").stdout.strip()
    yield name
    machine.docker("rm", "-f", "victim", code=None)
    machine.docker("volume", "rm", name)


def inside(machine: Machine, volume: str, script: str) -> None:
    """What somebody does who may write to the volume."""
    machine.docker("run", "--rm", "-v", f"{volume}:/volume", "host", "sh", "-c", f"cd /volume; {script}")


def create(machine: Machine, volume: str, subpath: str, code: int | None = 0) -> str:
    mount = f"type=volume,source={volume},target=/data,volume-subpath={subpath}"
    done = machine.docker("create", "--name", "victim", "--mount", mount, "host", "cat", "/data/stackrun-host-secret", code=code)
    return done.stdout + done.stderr


def read(machine: Machine) -> str:
    done = machine.docker("start", "-a", "victim", code=None)
    return done.stdout + done.stderr


@pytest.mark.parametrize("target", ["/root", "../../../../../../root", "/proc/self/root/root"])
def test_exchanged_between_creation_and_start(machine: Machine, volume: str, host_secret: Path, target: str) -> None:
    inside(machine, volume, "mkdir part")
    create(machine, volume, "part")
    inside(machine, volume, f"rmdir part; ln -s {target} part")
    assert "untouched" not in read(machine)


def test_exchanged_further_up(machine: Machine, volume: str, host_secret: Path) -> None:
    inside(machine, volume, "mkdir -p up/root")
    create(machine, volume, "up/root")
    inside(machine, volume, "rm -r up; ln -s / up")
    assert "untouched" not in read(machine)


@pytest.mark.parametrize("subpath", ["..", "../..", "link", "link/root", "up/../../.."])
def test_what_leads_out_at_once_is_refused(machine: Machine, volume: str, subpath: str) -> None:
    inside(machine, volume, "ln -s / link; mkdir up")
    assert "leads out of the volume" in create(machine, volume, subpath, code=1)


def test_the_attempt_works_on_a_bind_by_path(machine: Machine, volume: str, host_secret: Path) -> None:
    """What an ordinary bind does, whose source is the caller's own business."""
    inside(machine, volume, "ln -s /root part")
    part = machine.state / "volumes" / volume / "_data/part"
    machine.docker("create", "--name", "victim", "-v", f"{part}:/data", "host", "cat", "/data/stackrun-host-secret")
    assert "untouched" in read(machine)


def test_an_honest_part_is_mounted(machine: Machine, volume: str) -> None:
    inside(machine, volume, "mkdir part; echo honest > part/stackrun-host-secret")
    create(machine, volume, "part")
    assert read(machine) == "honest\n"
