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


def test_nor_in_an_error(machine: Machine, stack: str) -> None:
    for words in (("exec", "-T", "web", f"/not{ESCAPE}there"), ("up", f"web{ESCAPE}"), ("-f", f"x{ESCAPE}", "ps")):
        done = machine.run(*words, cwd=Path(stack), code=None)
        assert done.returncode != 0
        assert "\x1b]" not in done.stderr and "\x07" not in done.stderr, words


def test_the_attempt_works_where_output_is_shown_as_it_comes(machine: Machine) -> None:
    assert ESCAPE in machine.docker("run", "--rm", "host", "printf", "%s", ESCAPE).stdout
