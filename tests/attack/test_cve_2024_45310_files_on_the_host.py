"""CVE-2024-45310: the empty file that a bind of a file is mounted on, made through a link on the host instead.

Each step of it is met on purpose in test_cve_2021_30465_mount_target_race.py.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from machine import Machine
from prison import Racer


@pytest.fixture
def racer(machine: Machine, tmp_path: Path) -> Iterator[Racer]:
    with Racer(machine, str(tmp_path)) as racing:
        yield racing


def test_no_file_is_made_outside(machine: Machine, racer: Racer, tmp_path: Path) -> None:
    for number in range(6):
        options = ("-v", f"{racer.volume}:/volume", "-v", f"/etc/hostname:/volume/target/{number}")
        machine.docker("run", "--rm", *options, "host", "true", code=None)
    assert list(tmp_path.iterdir()) == []


def test_the_attempt_works_on_whoever_opens_by_path(racer: Racer, tmp_path: Path) -> None:
    for number in range(20_000):
        with contextlib.suppress(OSError):
            (racer.directory / f"target/{number}").touch()
        if any(tmp_path.iterdir()):
            return
    raise AssertionError("the race was never won")
