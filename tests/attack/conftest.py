"""Attempts to break out. Each file makes one attempt for real, shows that it failed, and, with a weaker set-up, that it can work at all."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from machine import Machine
from prison import Prison


@pytest.fixture(scope="module")
def machine(nothing_left_behind: None) -> Iterator[Machine]:
    made = Machine()
    try:
        made.run("info")
        yield made
    finally:
        made.close()


@pytest.fixture(scope="module")
def prison(machine: Machine) -> Prison:
    return Prison(machine)


@pytest.fixture
def host_secret() -> Iterator[Path]:
    """A file of the host that no container may read or change."""
    path = Path("/root/stackrun-host-secret")
    path.write_text("untouched")
    yield path
    assert path.read_text() == "untouched"
    path.unlink()


@pytest.fixture(autouse=True, scope="session")
def _kernel_is_untouched() -> Iterator[None]:
    """Host-wide settings that the attempts go for."""
    names = ("core_pattern", "hostname", "modprobe", "sysrq", "randomize_va_space")
    paths = [Path("/proc/sys/kernel") / name for name in names if (Path("/proc/sys/kernel") / name).exists()]
    before = {path: path.read_text() for path in paths}
    mounts = subprocess.run(["findmnt", "-rno", "TARGET"], capture_output=True, text=True, check=True).stdout
    yield
    assert {path: path.read_text() for path in paths} == before
    assert subprocess.run(["findmnt", "-rno", "TARGET"], capture_output=True, text=True, check=True).stdout == mounts
