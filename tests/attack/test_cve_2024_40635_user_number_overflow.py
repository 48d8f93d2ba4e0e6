"""CVE-2024-40635: a user number beyond 31 bits that wraps round to root, from the image, `run`, `exec` and /etc/passwd."""

from collections.abc import Callable, Iterator

import pytest
from evil_layers import file
from machine import Machine

NUMBERS = ("4294967296", "2147483648", "4294967295", "18446744073709551616", "9" * 5000, "0x0", "-1", "+0", " 0", "٠", "1e0")


def is_root(machine: Machine, *words: str) -> bool:
    return machine.docker(*words, "id", "-u", code=None).stdout.strip() == "0"


@pytest.fixture(scope="module")
def running(machine: Machine) -> Iterator[str]:
    machine.docker("run", "-d", "--name", "running", "--user", "1000", "host", "sleep", "1000")
    yield "running"
    machine.docker("rm", "-f", "running")


@pytest.mark.parametrize("number", NUMBERS, ids=lambda number: str(number)[:24])
def test_run_and_exec(machine: Machine, running: str, number: str) -> None:
    assert not is_root(machine, "run", "--rm", f"--user={number}", "host")
    assert not is_root(machine, "exec", f"--user={number}", running)


@pytest.mark.parametrize("number", NUMBERS[:5], ids=lambda number: str(number)[:24])
def test_the_image_and_its_passwd(machine: Machine, evil_image: Callable[..., str], number: str) -> None:
    image = evil_image(file("etc/passwd", f"evil:x:{number}:{number}::/:/bin/sh\n"), changes=("USER evil",))
    done = machine.docker("run", "--rm", image, "id", "-u", code=None)
    assert done.returncode != 0 and done.stdout == ""
    assert "user" in done.stderr and "internal" not in done.stderr, done.stderr
    assert machine.docker("run", "--rm", "--user", "7", image, "id", "-u").stdout == "7\n", "the line does not disturb others"


def test_a_group_beyond(machine: Machine) -> None:
    for number in NUMBERS[:4]:
        assert machine.docker("run", "--rm", f"--user=1:{number}", "host", "id", "-g", code=None).returncode != 0
        assert machine.docker("run", "--rm", f"--group-add={number}", "host", "id", "-G", code=None).returncode != 0


def test_the_largest_is_taken_as_it_is(machine: Machine) -> None:
    assert machine.docker("run", "--rm", "--user", "2147483647", "host", "id", "-u").stdout == "2147483647\n"
