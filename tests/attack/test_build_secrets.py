"""A secret of a build is looked for in all that is left of it: layers, history, configuration, lines, cache and the state on disk."""

from __future__ import annotations

import secrets
from pathlib import Path

import pytest
from builds import sent
from evil_layers import busybox_with
from machine import Machine


@pytest.fixture(scope="module")
def busybox(machine: Machine, tmp_path_factory: pytest.TempPathFactory) -> str:
    machine.docker("import", str(busybox_with(tmp_path_factory.mktemp("image"), ())), "plain:1")
    return "plain:1"


def holding(folder: Path, text: bytes) -> list[str]:
    return [str(path) for path in folder.rglob("*") if path.is_file() and not path.is_symlink() and text in path.read_bytes()]


STEP = 'RUN --mount=type=secret,id=token --mount=type=secret,id=token,env=TOKEN test -n "$TOKEN" && wc -c < /run/secrets/token > /length'


def test_it_is_nowhere_afterwards(machine: Machine, busybox: str) -> None:
    secret = secrets.token_hex(32).encode()
    built = sent(machine.host, f"FROM {busybox}\n{STEP}\n", secrets={"token": secret})
    assert holding(machine.root, secret) == []
    assert secret.decode() not in built.text
    run = ["run", "--rm", "--network=none", built.id]
    assert machine.docker(*run, "cat", "/length").stdout.strip() == "64"
    machine.docker(*run, "ls", "/run/secrets", code=1)
    assert secret.decode() not in machine.docker(*run, "env").stdout + machine.docker("inspect", built.id).stdout


def test_while_the_command_runs_it_is_in_one_file_that_only_root_can_reach(machine: Machine, busybox: str) -> None:
    """Of a daemon whose run directory is in memory it is never on a disk."""
    secret = secrets.token_hex(32).encode()
    dockerfile = f"FROM {busybox}\n{STEP.replace('> /length', '> /length && ls -ln /run/secrets/token && cat /proc/mounts')}\n"
    built = sent(machine.host, dockerfile, secrets={"token": secret})
    assert "-r--------    1 0        0" in built.text
    mount = next(line for line in built.text.splitlines() if line.split()[1:2] == ["/run/secrets/token"])
    assert "ro" in mount.split()[3].split(",")
    assert not list((machine.state / "run" / "b").glob("*"))


def test_an_image_that_keeps_it_is_found_by_this_search(machine: Machine, busybox: str) -> None:
    """A command that copies it into the image has done so itself."""
    secret = secrets.token_hex(32).encode()
    sent(machine.host, f"FROM {busybox}\nRUN --mount=type=secret,id=token cp /run/secrets/token /kept\n", secrets={"token": secret})
    assert holding(machine.state / "image", secret)


def test_a_step_is_taken_from_the_cache_whatever_the_secret_is(machine: Machine, busybox: str) -> None:
    """So nothing of it is in the key, by which it could be guessed at."""
    sent(machine.host, f"FROM {busybox}\nLABEL once=1\n{STEP}\n", secrets={"token": b"a" * 64})
    assert " ---> Using cache\n" in sent(machine.host, f"FROM {busybox}\nLABEL once=1\n{STEP}\n", secrets={"token": b"b" * 64}).lines[-4:]
