"""CVE-2024-21626: a working directory, or a command, by way of a descriptor that the runtime has left open on the host's files."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from bundles import Runtime, runtime_in
from evil_layers import link
from machine import Machine

NUMBERS = range(3, 14)


@pytest.fixture
def runtime(short_tmp: Path) -> Iterator[Runtime]:
    with runtime_in(short_tmp) as made:
        yield made


@pytest.fixture(scope="module")
def running(machine: Machine) -> Iterator[str]:
    machine.docker("run", "-d", "--name", "running", "host", "sleep", "1000")
    yield "running"
    machine.docker("rm", "-f", "running")


@pytest.mark.parametrize("number", NUMBERS)
def test_exec_w(machine: Machine, running: str, number: int) -> None:
    done = machine.docker("exec", "-w", f"/proc/self/fd/{number}", running, "cat", "../../../../etc/shadow", code=None)
    assert done.returncode != 0 and "root:" not in done.stdout


@pytest.mark.parametrize("where", ["/proc/1/fd/4", "/proc/thread-self/fd/5", "/proc/self/fd/3/../../.."])
def test_run_w(machine: Machine, where: str) -> None:
    done = machine.docker("run", "--rm", "-w", where, "host", "cat", "../../../../etc/shadow", code=None)
    assert done.returncode != 0 and "root:" not in done.stdout


def test_the_images_own_directory_and_a_link_of_it(machine: Machine, evil_image: Callable[..., str]) -> None:
    links = [link(f"fd{number}", f"/proc/self/fd/{number}") for number in NUMBERS]
    image = evil_image(*links, changes=("WORKDIR /proc/self/fd/7",))
    for options in ((), *(("-w", f"/fd{number}") for number in NUMBERS)):
        done = machine.docker("run", "--rm", *options, image, "cat", "../../../../etc/shadow", code=None)
        assert done.returncode != 0 and "root:" not in done.stdout


def test_a_command_by_descriptor(machine: Machine, running: str) -> None:
    for number in NUMBERS:
        assert machine.docker("exec", running, f"/proc/self/fd/{number}/../../bin/true", code=None).returncode in (126, 127)


def leaking(runtime: Runtime) -> subprocess.CompletedProcess[str]:
    """A caller that hands over a descriptor of the host's root, as `--preserve-fds` lets it."""
    command = runtime.command("run", "--bundle", str(runtime.bundle), "--preserve-fds", "1", "leak")
    shell = ["sh", "-c", 'exec "$@" 3< /', "sh", *command]
    return subprocess.run(shell, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=60)


def test_even_a_descriptor_that_is_there_is_no_working_directory(runtime: Runtime) -> None:
    runtime.configure("cat", "etc/hostname", cwd="/proc/self/fd/3")
    done = leaking(runtime)
    assert done.returncode == 1 and done.stdout == ""


def test_the_attempt_works_with_a_leaked_descriptor(runtime: Runtime) -> None:
    runtime.configure("cat", "/proc/self/fd/3/etc/hostname")
    assert leaking(runtime).stdout == Path("/etc/hostname").read_text()
