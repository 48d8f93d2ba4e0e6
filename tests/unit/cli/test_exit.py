"""What a failure looks like and which code it ends with."""

from __future__ import annotations

import errno
import os

import pytest

from stackrun import errors
from stackrun.cli import exit


@pytest.fixture(autouse=True)
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")


@pytest.mark.parametrize("kind", [kind for kind in vars(errors).values() if isinstance(kind, type) and kind.__module__ == errors.__name__])
def test_every_modelled_failure_ends_with_its_own_code(kind: type, capsys: pytest.CaptureFixture[str]) -> None:
    if kind is errors.Diagnostic:
        return
    made = (
        kind([]) if kind is errors.ComposeError else kind("mount", 2) if kind is errors.KernelError else kind("it failed", hint="try again")
    )
    assert exit.report(made) == kind.exit_code
    assert "Traceback" not in capsys.readouterr().err


def test_a_failure_is_one_line_and_a_hint(capsys: pytest.CaptureFixture[str]) -> None:
    exit.report(errors.NotFound("No such image: x:latest", hint="pull it"))
    assert capsys.readouterr().err == "error: No such image: x:latest\n  hint: pull it\n"


def test_faults_come_sorted_and_counted(capsys: pytest.CaptureFixture[str]) -> None:
    later = errors.Diagnostic("compose.yaml", 7, 5, "unknown key: comand", hint="did you mean command?")
    sooner = errors.Diagnostic("compose.yaml", 3, 1, "expected a mapping")
    assert exit.report(errors.ComposeError([later, sooner])) == 2
    assert capsys.readouterr().err == (
        "compose.yaml:3:1: expected a mapping\n"
        "compose.yaml:7:5: unknown key: comand\n"
        "  hint: did you mean command?\n"
        "error: 2 faults in compose.yaml; nothing was started\n"
    )


def test_the_causes_of_a_partial_failure_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    exit.report(errors.ExecuteFailed("up failed", ("start shop-db-1: no", "start shop-x-1: no")))
    assert capsys.readouterr().err == "error: up failed\n  start shop-db-1: no\n  start shop-x-1: no\n"


def test_an_unmodelled_exception_is_a_bug_with_a_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit.report(ZeroDivisionError("oops")) == 70
    told = capsys.readouterr().err
    assert "ZeroDivisionError: oops" in told and "bug in stackrun" in told


def test_a_file_that_cannot_be_written_is_no_bug(capfd: pytest.CaptureFixture[str]) -> None:
    before = os.dup(1)
    try:
        assert exit.report(PermissionError(errno.EACCES, "Permission denied", "/out.yaml")) == 1
    finally:
        os.dup2(before, 1)
        os.close(before)
    assert capfd.readouterr().err == "error: /out.yaml: permission denied\n"


def test_an_interrupt_is_130_and_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit.report(KeyboardInterrupt()) == 130
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(("variable", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_colours_are_for_terminals_that_want_them(monkeypatch: pytest.MonkeyPatch, variable: str, value: str) -> None:
    class Terminal:
        def isatty(self) -> bool:
            return True

    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("TERM", "xterm")
    assert exit.coloured(Terminal()) and not exit.coloured(object())
    monkeypatch.setenv(variable, value)
    assert not exit.coloured(Terminal())


def test_an_error_does_not_steer_the_terminal() -> None:
    """What it quotes may be a stranger's: escapes, bells and lines that read backwards are shown as what they are."""
    told = exit.failure(errors.StackrunError("no \x1b]0;x\x07 here\u202e", hint="\x1b[2J"))
    assert told == "error: no \\x1b]0;x\\x07 here\\u202e\n  hint: \\x1b[2J"
    assert exit.harmless("plain\n\ttext é 日") == "plain\n\ttext é 日"
