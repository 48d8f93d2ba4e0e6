"""CVE-2019-16884: a mount over /proc or a part of it makes what the runtime reads and writes there the container's own."""

from collections.abc import Callable

import pytest
from evil_layers import link
from machine import Machine
from prison import Prison

TARGETS = ("/proc", "/proc/self", "/proc/self/attr", "/proc/sys/kernel", "/proc/1/oom_score_adj", "/proc/../proc/self/attr")


@pytest.mark.parametrize("target", TARGETS)
def test_a_bind_is_refused(machine: Machine, target: str) -> None:
    for source in ("/tmp", "/etc/hostname"):
        done = machine.docker("run", "--rm", "-v", f"{source}:{target}", "host", "true", code=None)
        assert done.returncode != 0, f"{source} was mounted on {target}"


def test_a_tmpfs_is_refused(machine: Machine) -> None:
    assert machine.docker("run", "--rm", "--tmpfs", "/proc/sys", "host", "true", code=None).returncode != 0


@pytest.mark.parametrize("leads_to", ["/proc", "/proc/self/attr", "../../proc/sys"])
def test_a_link_of_the_image_leads_there_in_vain(machine: Machine, evil_image: Callable[..., str], leads_to: str) -> None:
    image = evil_image(link("innocent", leads_to))
    done = machine.docker("run", "--rm", "-v", "/tmp:/innocent", image, "true", code=None)
    assert done.returncode != 0 and "inside /proc" in done.stderr, done.stderr


def test_what_lxcfs_covers_may_be_covered(prison: Prison) -> None:
    """So the attempt works where it does no harm."""
    assert prison.run("print(len(open('/proc/uptime').read()))", "-v", "/dev/null:/proc/uptime").strip() == "0"
