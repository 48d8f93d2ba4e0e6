"""CVE-2021-30465: a mount target inside a volume that another container exchanges for a link, while the runtime walks there."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from machine import Machine
from prison import Racer

TRIES = 6


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """The same path exists inside, where the link may lead; on the host nothing is ever made in it."""
    return tmp_path


@pytest.fixture
def racer(machine: Machine, outside: Path) -> Iterator[Racer]:
    with Racer(machine, str(outside)) as racing:
        yield racing


def test_the_runtime_makes_nothing_outside(machine: Machine, racer: Racer, outside: Path) -> None:
    other = machine.docker("volume", "create").stdout.strip()
    ended = set()
    for number in range(TRIES):
        options = ("-v", f"{racer.volume}:/volume", "-v", f"{other}:/volume/target/{number}/deep")
        done = machine.docker("run", "--rm", *options, "host", "cat", "/proc/self/mountinfo", code=None)
        ended.add(done.returncode)
        points = [line.split()[4] for line in done.stdout.splitlines() if other in line]
        inside = {f"/volume/{name}/{number}/deep" for name in ("target", "link")} | {f"{outside}/{number}/deep"}
        assert set(points) <= inside, "mounted in a place nobody asked for"
        assert done.returncode == 0 or "/volume/target" in done.stderr
    assert list(outside.iterdir()) == []
    machine.docker("volume", "rm", other)


def test_the_attempt_works_on_whoever_walks_by_path(racer: Racer, outside: Path) -> None:
    for number in range(20_000):
        with contextlib.suppress(OSError):
            (racer.directory / f"target/{number}").mkdir()
        if any(outside.iterdir()):
            return
    raise AssertionError("the race was never won")
