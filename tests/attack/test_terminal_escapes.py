"""Escape sequences in what a container may choose (its command, its labels, its errors), shown on the operator's terminal (CWE-150).

`logs` and `attach` show output as it came, as Docker does: that is what they are for.  Everything else is quoted or stripped.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from machine import Machine

ESCAPE = "\x1b]0;owned\x07\x1b[2J"


@pytest.fixture
def stack(machine: Machine, evil_image: Callable[..., str]) -> Iterator[str]:
    image = evil_image(changes=(f'CMD ["sh", "-c", "sleep 1000 # {ESCAPE}"]'.replace("\x1b", "\\u001b").replace("\x07", "\\u0007"),))
    folder = machine.project("escapes", f"services:\n  web:\n    image: {image}\n    stop_grace_period: 0s\n")
    machine.run("up", "-d", cwd=folder)
    yield str(folder)
    machine.run("down", cwd=folder)


def test_they_do_not_reach_the_terminal(machine: Machine, stack: str) -> None:
    for words in (("ps",), ("ps", "-a"), ("ls",), ("top",), ("images",)):
        done = machine.run(*words, cwd=Path(stack), code=None)
        told = done.stdout + done.stderr
        assert "\x1b]" not in told and "\x07" not in told and "\x1b[2J" not in told, words
    assert "sleep" in machine.run("ps", cwd=Path(stack)).stdout


def test_nor_from_an_images_labels(machine: Machine, evil_image: Callable[..., str]) -> None:
    """Which stack, service and files a container belongs to are labels, which an image may bring."""
    labels = (
        "project=honest",
        f"service=web{ESCAPE}",
        f"project.config_files=/x{ESCAPE}",
        f"project.working_dir=/{ESCAPE}",
        "oneoff=False",
    )
    image = evil_image(changes=tuple(f"LABEL com.docker.compose.{one}" for one in (*labels, "container-number=1")))
    machine.docker("run", "-d", "--name", "labelled", image, "sleep", "1000")
    try:
        for words in (("ls",), ("-p", "honest", "ps")):
            told = machine.run(*words, code=None).stdout
            assert "\x1b" not in told and "\\x1b]0;owned" in told, told
    finally:
        machine.docker("rm", "-f", "labelled")


def test_nor_in_an_error(machine: Machine, stack: str) -> None:
    for words in (("exec", "-T", "web", f"/not{ESCAPE}there"), ("up", f"web{ESCAPE}"), ("-f", f"x{ESCAPE}", "ps")):
        done = machine.run(*words, cwd=Path(stack), code=None)
        assert done.returncode != 0
        assert "\x1b]" not in done.stderr and "\x07" not in done.stderr, words


def test_the_attempt_works_where_output_is_shown_as_it_comes(machine: Machine) -> None:
    assert ESCAPE in machine.docker("run", "--rm", "host", "printf", "%s", ESCAPE).stdout
