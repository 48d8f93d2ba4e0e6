"""CVE-2021-30465: a mount target inside a volume that another container exchanges for a link, while the runtime walks there."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import exchanging
import pytest
from bundles import Runtime, has_busybox, runtime_in
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


# --- the same, won at every step on purpose ---


@pytest.fixture
def runtime(short_tmp: Path) -> Iterator[Runtime]:
    with runtime_in(short_tmp) as made:
        yield made


def laid_out(runtime: Runtime, name: str, source: str, outside: Path) -> Path:
    """A volume with `target` and a link beside it, and a container with `source` bound below the target."""
    volume = runtime.root / name
    (volume / "target").mkdir(parents=True)
    os.symlink(outside, volume / "link")
    runtime.configure("cat", "/proc/self/mountinfo")
    mounts = [("/volume", str(volume)), ("/volume/target/0/deep", source)]
    binds = [{"destination": at, "type": "bind", "source": what, "options": ["rbind"]} for at, what in mounts]
    runtime.change(lambda config: config["mounts"].extend(binds))
    return volume


@pytest.mark.skipif(not has_busybox, reason="busybox-static is not installed")
@pytest.mark.parametrize("back", [False, True], ids=["for good", "for one call"])
@pytest.mark.parametrize("source", ["directory", "file"])
def test_nothing_outside_at_whichever_step_it_is_exchanged(runtime: Runtime, outside: Path, source: str, back: bool) -> None:
    log = str(runtime.root / "calls")
    bound = runtime.root / "bound"
    bound.mkdir() if source == "directory" else bound.touch()
    words = ["--root", str(runtime.root / "state"), "run", "--bundle", str(runtime.bundle), "a"]
    volume = laid_out(runtime, "untouched", str(bound), outside)
    assert exchanging.run(words, str(volume), ("target", "link"), log)[0] == 0
    named = [number for number, call in enumerate(exchanging.calls(log)) if "volume/target" in call]
    assert len(named) >= 5
    ended = set()
    for step in range(named[0], named[-1] + 2):
        volume = laid_out(runtime, f"volume{step}", str(bound), outside)
        code, told, errors = exchanging.run(words, str(volume), ("target", "link"), log, at=step, back=back)
        ended.add(code)
        points = {line.split()[4] for line in told.splitlines() if str(bound) in line}
        assert points <= {f"/volume/{name}/0/deep" for name in ("target", "link")} | {f"{outside}/0/deep"}, (step, told)
        assert code == 0 or "/volume/target" in errors, (step, errors)
        assert list(outside.iterdir()) == [], step
    assert 0 in ended
