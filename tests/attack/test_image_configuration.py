"""What an image's configuration may ask of whoever runs it: odd values are refused in one line, odd places stay inside."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from evil_layers import file, tar
from evil_registry import EvilRegistry
from machine import Machine

LAYER = tar([file("it", "here")])
REFUSED: dict[str, Any] = {
    "labels that are a list": {"Labels": ["a"]},
    "labels that are a number": {"Labels": 5},
    "ports that are a number": {"ExposedPorts": 5},
    "volumes that are a list": {"Volumes": ["/proc"]},
    "a text": "config",
    "a health check every abc": {"Healthcheck": {"Test": ["CMD", "x"], "Interval": "abc"}},
    "a health check beyond all time": {"Healthcheck": {"Test": ["CMD", "x"], "Interval": 1 << 70}},
}


@pytest.mark.parametrize("what", REFUSED)
def test_values_of_the_wrong_kind(machine: Machine, registry: EvilRegistry, what: str) -> None:
    done = machine.docker("pull", registry.image("1", LAYER, config=REFUSED[what]), code=1)
    assert "configuration of" in done.stderr and "internal" not in done.stderr, done.stderr
    assert "Traceback" not in (machine.state / "daemon.log").read_text()


ODD: dict[str, Any] = {
    "a port of letters": {"ExposedPorts": {"abc": {}}},
    "a port of thousands of digits": {"ExposedPorts": {"9" * 5000: {}}},
    "a port beyond all": {"ExposedPorts": {"65536/tcp": {}}},
    "a signal of thousands of digits": {"StopSignal": "9" * 5000},
    "a signal above the line": {"StopSignal": "²"},
    "a user of a hundred thousand letters": {"User": "x" * 100_000},
    "a directory that is none": {"WorkingDir": "a/../.."},
    "a volume on nothing": {"Volumes": {"": {}}},
    "a volume on a relative path": {"Volumes": {"data": {}}},
    "a zero in the environment": {"Env": ["A=\0"]},
    "half a character": {"Cmd": ["\ud800"]},
    "a health check of no kind": {"Healthcheck": {"Test": ["x"]}},
}


@pytest.mark.parametrize("what", ODD)
def test_odd_values_of_the_right_kind(machine: Machine, registry: EvilRegistry, what: str) -> None:
    name = registry.image("1", LAYER, config={"Cmd": ["/it"], **ODD[what]})
    machine.docker("pull", name)
    done = machine.docker("run", "--rm", "-P", name, code=125)
    assert "Error response from daemon: " in done.stderr and "internal" not in done.stderr and "gone" not in done.stderr, done.stderr
    assert "Traceback" not in (machine.state / "daemon.log").read_text()
    assert machine.docker("ps", "-aq").stdout == ""


@pytest.mark.parametrize("nesting", ["[", '{"a":'])
def test_nesting_without_end(machine: Machine, registry: EvilRegistry, nesting: str) -> None:
    done = machine.docker("pull", registry.raw("1", (nesting * 50_000).encode()), code=1)
    assert "nested too deep" in done.stderr


@pytest.mark.parametrize("volume", ["/proc", "/proc/self", "/proc/sys/kernel", "/dev/../proc/sys"])
def test_a_volume_over_proc_is_refused(machine: Machine, evil_image: Callable[..., str], volume: str) -> None:
    """CVE-2019-16884: an image's VOLUME /proc made what the runtime wrote there the image's."""
    done = machine.docker("run", "--rm", evil_image(changes=(f"VOLUME {volume}",)), "cat", "/proc/self/attr/current", code=None)
    assert done.returncode != 0 and "/proc" in done.stderr, done.stderr


def test_a_volume_over_the_root_is_refused(machine: Machine, evil_image: Callable[..., str]) -> None:
    assert machine.docker("run", "--rm", evil_image(changes=("VOLUME /",)), "true", code=None).returncode != 0


def test_a_volume_of_dots_stays_inside(machine: Machine, evil_image: Callable[..., str]) -> None:
    image = evil_image(changes=("VOLUME /data/../../../../root/stackrun-volume",))
    assert machine.docker("run", "--rm", image, "ls", "-d", "/root/stackrun-volume").stdout == "/root/stackrun-volume\n"
    assert not Path("/root/stackrun-volume").exists()
