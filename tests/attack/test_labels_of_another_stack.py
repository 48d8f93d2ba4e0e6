"""An image's labels make its container a member of somebody else's stack: odd ones must not keep that stack from being looked after."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from machine import Machine

ODD = {
    "a number of thousands of digits": {"container-number": "9" * 5000},
    "a number of another script": {"container-number": "٣"},
    "no number": {"container-number": "../x"},
    "dependencies that are none": {"depends_on": ":::,,web:x:y"},
    "a service of dots": {"service": ".."},
    "a hash that is none": {"config-hash": "../../x"},
    "another's place": {"service": "web", "container-number": "1"},
}


@pytest.fixture(scope="module")
def shop(machine: Machine) -> Iterator[Path]:
    folder = machine.project("shop", "services:\n  web:\n    image: host\n    command: [sleep, '1000']\n    stop_grace_period: 0s\n")
    machine.run("up", "-d", cwd=folder)
    yield folder
    machine.run("down", cwd=folder)


@pytest.mark.parametrize("what", ODD)
def test_the_stack_is_looked_after_all_the_same(machine: Machine, shop: Path, evil_image: Callable[..., str], what: str) -> None:
    labels = {"project": "shop", "service": "evil", "oneoff": "False", **ODD[what]}
    image = evil_image(changes=tuple(f"LABEL com.docker.compose.{name}={value}" for name, value in labels.items()))
    machine.docker("run", "-d", "--init", "--name", "evil", image, "sleep", "1000")
    before = machine.inspect("shop-web-1")["Id"]
    try:
        assert "evil" in machine.run("ps", cwd=shop).stdout, "it is a member, as far as labels go"
        machine.run("plan", cwd=shop, code=None)
        machine.run("up", "-d", cwd=shop)
        machine.run("logs", cwd=shop)
        assert machine.inspect("shop-web-1")["Id"] == before and machine.inspect("shop-web-1")["State"]["Running"]
        assert "Traceback" not in (machine.state / "daemon.log").read_text()
    finally:
        machine.docker("rm", "-f", "evil", code=None)
