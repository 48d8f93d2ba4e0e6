"""Attempts to break out. Each file makes one attempt for real, shows that it failed, and, with a weaker set-up, that it can work at all."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from evil_layers import Entry, busybox_with
from evil_registry import EvilRegistry, evil_registry
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


@pytest.fixture(scope="module")
def evil_image(machine: Machine, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """Imports busybox with more entries (see `evil_layers`) on top; returns the image's name."""

    def make(*entries: Entry, changes: tuple[str, ...] = ()) -> str:
        folder = tmp_path_factory.mktemp("image")
        name = f"evil-{folder.name}:1"
        machine.docker("import", *(f"--change={one}" for one in changes), str(busybox_with(folder, entries)), name)
        return name

    return make


@pytest.fixture(scope="module")
def registry() -> Iterator[EvilRegistry]:
    with evil_registry() as served:
        yield served


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
    mounts = _mounts()
    yield
    assert {path: path.read_text() for path in paths} == before
    assert _mounts() <= mounts


def _mounts() -> set[str]:
    """Those of tests, this one's too, lie below /tmp/srt-…, and `nothing_left_behind` counts them."""
    found = subprocess.run(["findmnt", "-rno", "TARGET"], capture_output=True, text=True, check=True).stdout.splitlines()
    return {target for target in found if not target.startswith("/tmp/srt-")}
