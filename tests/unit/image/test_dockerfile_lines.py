"""Directives, comments, continuation lines and here-documents, and the lines that faults are told at."""

from __future__ import annotations

import pytest

from stackrun.errors import InvalidArgument
from stackrun.image.dockerfile import examine, parse
from stackrun.image.instructions import Copy, Heredoc, Instruction, Run


def instructions(text: str) -> tuple[Instruction, ...]:
    return parse(text).stages[-1].instructions


def runs(text: str) -> list[tuple[int, str]]:
    return [(one.line, one.text) for one in instructions(text) if isinstance(one, Run)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("RUN a \\\n  b", [(2, "a   b")]),
        ("RUN a\\\nb", [(2, "ab")]),
        ("RUN a \\ \t\n b", [(2, "a  b")]),
        ("RUN a \\\n# c\n  # d\n b \\\n\n \t\n c\nRUN d", [(2, "a  b  c"), (9, "d")]),
        ("RUN a \\\n", [(2, "a")]),
        ("RUN a \\", [(2, "a")]),
        ("RUN a \\\\\nRUN b", [(2, "a \\\\"), (3, "b")]),
        ("RUN a # b", [(2, "a # b")]),
        ("# RUN a\n\n   # b\nRUN c", [(5, "c")]),
        ("\\\nRUN a", [(2, "a")]),
        ("RUN \\\n  a", [(2, "a")]),
        ("RUN\\\n a", [(2, "a")]),
        ("RUN a   ", [(2, "a")]),
        ("RUN " + "a" * 65531, [(2, "a" * 65531)]),
        (f"RUN {'a' * 65530}\\\n{'b' * 65535}", [(2, "a" * 65530 + "b" * 65535)]),
        ("RUN a\u2028b\x0cc", [(2, "a\u2028b\x0cc")]),
    ],
)
def test_lines_become_instructions(text: str, expected: list[tuple[int, str]]) -> None:
    assert runs(f"FROM x\n{text}") == expected


def test_carriage_returns_and_a_byte_order_mark_are_no_part_of_it() -> None:
    text = "\ufeff# escape=\\\r\nFROM x\r\nRUN a \\\r\n# c\r\n\r\n b\r\nRUN <<E\r\nc\r\nE\r\n"
    found = parse(text)
    assert found.stages[0].base == "x"
    assert runs(text) == [(3, "a  b"), (7, "<<E")]
    assert instructions(text)[1] == Run(7, text="<<E", heredocs=(Heredoc("E", "c\r\n"),))


@pytest.mark.parametrize(
    ("head", "escape", "syntax"),
    [
        ("# escape=`\n", "`", ""),
        ("#ESCAPE = `  \n", "`", ""),
        ("# syntax=docker/dockerfile:1\n# escape=`\n# check=skip=all\n", "`", "docker/dockerfile:1"),
        ("# a comment\n# escape=`\n", "\\", ""),
        ("\n# escape=`\n", "\\", ""),
        ("# other=x\n# escape=`\n", "\\", ""),
        ("# escape=\\\n", "\\", ""),
        ("", "\\", ""),
    ],
)
def test_directives_stand_before_everything_else(head: str, escape: str, syntax: str) -> None:
    found = parse(head + "FROM x\n# escape=`\n")
    assert (found.escape, found.syntax) == (escape, syntax)


def test_a_backtick_escapes_when_it_is_said_so() -> None:
    assert runs("# escape=`\nFROM x\nRUN dir C:\\\nRUN a `\n b") == [(3, "dir C:\\"), (4, "a  b")]


@pytest.mark.parametrize(
    ("head", "message"),
    [
        ("# escape=x\n", "Dockerfile:1: invalid escape token 'x' does not match ` or \\"),
        ("# escape=`\n# escape=`\n", "Dockerfile:2: only one escape parser directive can be used"),
        ("# syntax=a\n# Syntax=b\n", "Dockerfile:2: only one syntax parser directive can be used"),
    ],
)
def test_directives_that_are_wrong(head: str, message: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        parse(head + "FROM x\n")
    assert caught.value.message == message
    assert caught.value.hint


@pytest.mark.parametrize(
    ("text", "heredocs"),
    [
        ("RUN <<E\na\n b\nE", [Heredoc("E", "a\n b\n")]),
        ("RUN <<E cat\n\nE", [Heredoc("E", "\n")]),
        ("RUN <<E\nE", [Heredoc("E", "")]),
        ("RUN <<-E\n\t\ta\n\tb\n\tE", [Heredoc("E", "a\nb\n")]),
        ("RUN <<'E'\n$a\nE", [Heredoc("E", "$a\n", False)]),
        ('RUN <<"E"\n$a\nE', [Heredoc("E", "$a\n", False)]),
        ("RUN <<-'E F'\n\ta\n\tE F", [Heredoc("E F", "a\n", False)]),
        ("RUN cat <<A <<B > c\na\nA\nb\nB", [Heredoc("A", "a\n"), Heredoc("B", "b\n")]),
        ("RUN a 3<<E\nb\nE", [Heredoc("E", "b\n")]),
        ("RUN <<E\n# a\\\n\nFROM b\nE", [Heredoc("E", "# a\\\n\nFROM b\n")]),
        ("RUN <<E \\\n cat\na\nE", [Heredoc("E", "a\n")]),
        ("RUN --mount=type=tmpfs,target=/x <<E\na\nE", [Heredoc("E", "a\n")]),
        ("RUN a <<<b", []),
        ("RUN a << b", []),
        ("RUN <<  E\na\nE", [Heredoc("E", "a\n")]),
        ("RUN <<- E > b\n\ta\n\tE", [Heredoc("E", "a\n")]),
        ("RUN echo $((1 << 2))", []),
        ("RUN <<e'o'f\na\neof", [Heredoc("eof", "a\n", False)]),
        ("RUN <<eo\\'f\na\neo'f", [Heredoc("eo'f", "a\n")]),
        ("RUN <<$E\na\n$E", [Heredoc("$E", "a\n")]),
        ("RUN echo it's <<E", []),
        ('RUN ["<<E"]', []),
        ("RUN a<<b", []),
    ],
)
def test_here_documents_of_run(text: str, heredocs: list[Heredoc]) -> None:
    found = instructions(f"FROM x\n{text}\nUSER a")
    assert isinstance(found[0], Run)
    assert list(found[0].heredocs) == heredocs
    assert found[1].line == text.count("\n") + 3


def test_here_documents_of_copy_are_no_sources() -> None:
    found = instructions("FROM x\nCOPY <<A b <<'C' /d/\n$a\nA\n$c\nC\nADD <<E /f\ne\nE\nENV A=<<B")
    assert found[0] == Copy(2, "COPY", ("b",), "/d/", (Heredoc("A", "$a\n"), Heredoc("C", "$c\n", False)))
    assert found[1] == Copy(7, "ADD", (), "/f", (Heredoc("E", "e\n"),))
    assert len(found) == 3


@pytest.mark.parametrize(
    ("text", "script"),
    [
        ("RUN a && b", "a && b"),
        ("RUN <<E\na\nb\nE", "a\nb\n"),
        ("RUN <<-E\n\ta\n\tE", "a\n"),
        ("RUN <<E\n#!/bin/x\nb\nE", "#!/bin/x\nb\n"),
        ("RUN <<E cat\na\nE", "<<E cat\na\nE"),
        ("RUN << E\na\nE", "a\n"),
        ("RUN <<'E F'\na\nE F", "a\n"),
        ("RUN cat <<A - <<B\na\nA\nb\nB", "cat <<A - <<B\na\nA\nb\nB"),
        ("RUN 3<<E\na\nE", "3<<E\na\nE"),
    ],
)
def test_what_the_shell_is_given(text: str, script: str) -> None:
    found = instructions(f"FROM x\n{text}")[0]
    assert isinstance(found, Run)
    assert found.script == script


def test_every_fault_is_told_at_its_line() -> None:
    text = (
        "# escape=x\n\nRUN a\nFRM b\nARG\nFROM c AS 1\nCOPY \\\n # d\n\n x\nENV A\nRUN <<E\nE\nUSER\n"
        "FROM a AS b\nFROM a AS B\nONBUILD ONBUILD x\nRUN <<E\nFROM\n"
    )
    faults = examine(text)[1]
    assert [(one.line, one.message.split(" at least")[0][:40]) for one in faults] == [
        (1, "invalid escape token 'x' does not match "),
        (3, "no build stage in current context"),
        (4, "unknown instruction: FRM"),
        (5, "ARG requires"),
        (6, "invalid name for build stage: \"1\", name "),
        (7, "COPY requires"),
        (11, "ENV must have two arguments"),
        (14, "USER requires exactly one argument"),
        (16, "b stage name already used"),
        (17, "Chaining ONBUILD via `ONBUILD ONBUILD` i"),
        (18, "unterminated heredoc"),
    ]  # fmt: skip
    assert all(one.hint for one in faults)
    with pytest.raises(InvalidArgument) as caught:
        parse(text, "web.Dockerfile")
    lines = caught.value.message.split("\n")
    assert len(lines) == 2 * len(faults)
    assert lines[4:6] == ["web.Dockerfile:4: unknown instruction: FRM", '  hint: did you mean "FROM"?']


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "Dockerfile: file with no instructions"),
        ("\n \n# c\n", "Dockerfile: file with no instructions"),
        ("\\\n", "Dockerfile: file with no instructions"),
        ("ARG A", "Dockerfile: dockerfile contains no stages to build"),
        ("RUN a", "Dockerfile:1: no build stage in current context"),
        ("FROM x\nRUN " + "a" * 65532, "Dockerfile:2: dockerfile line greater than max allowed size of 65535"),
        ("FROM x\nRUN a\0", "Dockerfile:2: the file is no text: it has a NUL character"),
    ],
)
def test_a_file_without_a_stage(text: str, message: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        parse(text)
    assert caught.value.message == message
    assert caught.value.hint


def test_a_file_that_is_something_else_is_not_told_line_by_line() -> None:
    faults = examine("FRM x\n" * 1000)[1]
    assert len(faults) == 51
    assert faults[-1].message == "too many faults: the rest of the file was not read"
