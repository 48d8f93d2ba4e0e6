"""A new volume is filled with what the image has there, while another container has it already and puts a link where a directory was."""

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from evil_layers import file
from machine import Machine

SWAP = """
import os, time
os.chdir("/volume")
print("ready", flush=True)
deadline = time.monotonic() + 20
while not os.path.isdir("target") and time.monotonic() < deadline:
    pass
os.rename("target", "moved")
os.symlink(OUTSIDE, "target")
print("swapped", flush=True)
"""


@pytest.fixture
def volume(machine: Machine, tmp_path: Path) -> Iterator[str]:
    name = machine.docker("volume", "create").stdout.strip()
    script = SWAP.replace("OUTSIDE", repr(str(tmp_path)))
    machine.docker("run", "-d", "--name", "swapper", "-v", f"{name}:/volume", "host", "python3", "-c", script)
    while "ready" not in machine.docker("logs", "swapper").stdout:
        time.sleep(0.02)
    yield name
    machine.docker("rm", "-f", "swapper", "victim", code=None)
    machine.docker("volume", "rm", name)


def swapped(machine: Machine) -> bool:
    machine.docker("wait", "swapper")
    return "swapped" in machine.docker("logs", "swapper").stdout


def test_nothing_is_written_where_the_link_leads(machine: Machine, evil_image: Callable[..., str], volume: str, tmp_path: Path) -> None:
    image = evil_image(*(file(f"data/target/{number:04}", "planted") for number in range(1500)))
    machine.docker("run", "--name", "victim", "-v", f"{volume}:/data", image, "true", code=None)
    assert swapped(machine) and (machine.state / "volumes" / volume / "_data/moved").is_dir()
    assert list(tmp_path.iterdir()) == []


def test_the_attempt_works_on_whoever_copies_by_path(machine: Machine, volume: str, tmp_path: Path) -> None:
    target = machine.state / "volumes" / volume / "_data/target"
    target.mkdir()
    for number in range(200_000):
        with contextlib.suppress(FileNotFoundError):  # for a moment there is neither
            (target / str(number)).touch()
        if any(tmp_path.iterdir()):
            break
    assert swapped(machine) and any(tmp_path.iterdir())
