"""A process that a build's step leaves in the background: it would write into the layer, or go on with what the step was given."""

from __future__ import annotations

import pytest
from builds import sent
from evil_layers import busybox_with
from leftovers import host_state
from machine import Machine


@pytest.fixture(scope="module")
def busybox(machine: Machine, tmp_path_factory: pytest.TempPathFactory) -> str:
    machine.docker("import", str(busybox_with(tmp_path_factory.mktemp("image"), ())), "plain:1")
    return "plain:1"


STAYING = "trap '' TERM HUP INT; while :; do echo x >> /written; done"


@pytest.mark.parametrize(
    "step",
    [
        f"sh -c \"{STAYING}\" > /dev/null 2>&1 &",
        f"setsid sh -c \"{STAYING}\" > /dev/null 2>&1 < /dev/null & true",
        f"sh -c \"{STAYING}\" & sleep 0.1; exit 0",
    ],
)  # fmt: skip
def test_it_is_gone_before_the_layer_is_made(machine: Machine, busybox: str, step: str) -> None:
    before = host_state().processes
    built = sent(machine.host, f"FROM {busybox}\nRUN touch /written; {step}\nRUN ps > /seen; wc -l < /written > /count\n", no_cache=True)
    assert not [line for line in host_state().processes - before if "/written" in line]
    run = ["run", "--rm", "--network=none", built.id]
    assert "trap" not in machine.docker(*run, "cat", "/seen").stdout
    counts = [machine.docker(*run, "sh", "-c", "wc -l < /written").stdout.strip() for _ in range(2)]
    assert counts[0] == counts[1] == machine.docker(*run, "cat", "/count").stdout.strip()


def test_it_is_gone_when_the_step_fails(machine: Machine, busybox: str) -> None:
    before = host_state().processes
    with pytest.raises(Exception, match="non-zero code: 9"):
        sent(machine.host, f'FROM {busybox}\nRUN setsid sh -c "{STAYING}" > /dev/null 2>&1 & exit 9\n')
    assert not [line for line in host_state().processes - before if "/written" in line]
