"""What can stand at the end of an unfinished command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from stackrun.cli import main
from stackrun.cli.completing import as_typed
from stackrun.compose.rules import catalog
from stackrun.compose.rules.rule import Rule

STACK = """
services:
  web: {image: nginx:1}
  worker: {image: app:1}
  debug: {image: debug:1, profiles: [tools]}
"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "compose.yaml").write_text(STACK, encoding="utf-8")
    (tmp_path / "other.yaml").write_text("services: {other: {image: x}}\n", encoding="utf-8")
    return tmp_path


def asked(capsys: pytest.CaptureFixture[str], *words: str, shell: str = "zsh") -> tuple[str, list[str]]:
    """(kind, values) for a line whose last word is unfinished."""
    assert main.run(["__complete", shell, *words]) == 0
    first, *lines = capsys.readouterr().out.splitlines()
    return first.split("\t")[0], [line.split("\t")[0] for line in lines]


def values(capsys: pytest.CaptureFixture[str], *words: str) -> list[str]:
    kind, found = asked(capsys, *words)
    assert kind == "words"
    return found


def test_every_verb_is_offered(capsys: pytest.CaptureFixture[str]) -> None:
    assert values(capsys, "") == [*main.COMMANDS, "help"]
    assert values(capsys, "gra") == ["graph"]
    assert values(capsys, "help", "gra") == ["graph"]
    assert values(capsys, "-p", "shop", "--no-color", "gra") == ["graph"]


@pytest.mark.parametrize("verb", main.COMMANDS)
def test_every_option_of_every_verb_is_offered(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Against the parsers themselves, so that a new option needs no work here."""
    parser = main._verb_parser(verb, main._module(verb))
    every = [flag for action in parser._actions for flag in action.option_strings if flag.startswith("--")]
    found = {flag for flag in every for offered in [values(capsys, verb, flag[:3])] if flag in offered}
    assert found == set(every)


@pytest.mark.parametrize("verb", main.COMMANDS)
def test_every_choice_of_every_option_is_offered(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    parser = main._verb_parser(verb, main._module(verb))
    for action in parser._actions:
        if action.choices is not None:
            expected = [str(one) for one in action.choices]
            assert values(capsys, verb, *action.option_strings[-1:], "") == expected
            if action.option_strings:
                flag = action.option_strings[-1]
                assert values(capsys, verb, f"{flag}=") == [f"{flag}={one}" for one in expected]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("logs", ""), ["debug", "web", "worker"]),
        (("logs", "w"), ["web", "worker"]),
        (("logs", "-f", "web", "wo"), ["worker"]),
        (("logs", "--tail", "5", "we"), ["web"]),
        (("logs", "-n5", "we"), ["web"]),
        (("logs", "-tn", "5", "we"), ["web"]),
        (("up", "--scale", "w"), ["web=", "worker="]),
        (("up", "--", "we"), ["web"]),
        (("exec", "we"), ["web"]),
        (("exec", "web", "w"), []),
        (("exec", "web", "ls", "-"), []),
        (("-f", "other.yaml", "logs", ""), ["other"]),
        (("--file=other.yaml", "logs", ""), ["other"]),
        (("-fother.yaml", "graph", ""), ["other"]),
        (("graph", "-f", "other.yaml", ""), ["other"]),
        (("--profile", ""), ["tools"]),
        (("up", "--profile", "t"), ["tools"]),
        (("graph", "--format", "m"), ["mermaid"]),
        (("kill", "-s", "SIGUSR"), ["SIGUSR1", "SIGUSR2"]),
        (("completion", "z"), ["zsh"]),
        (("nosuch", ""), []),
        (("version", "x"), []),
    ],
)
def test_values(words: tuple[str, ...], expected: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert values(capsys, *words) == expected


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        (("-f", ""), "files"),
        (("up", "--env-file=x"), "files"),
        (("validate", "st"), "files"),
        (("graph", "-o", ""), "files"),
        (("init", ""), "directories"),
        (("--root", ""), "directories"),
        (("--project-directory", "x"), "directories"),
    ],
)
def test_the_shell_completes_files_itself(words: tuple[str, ...], kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert asked(capsys, *words) == (kind, [])


def test_options_of_the_program_are_offered_after_the_verb_once_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert "--file" not in values(capsys, "ps", "--") and "--file" in values(capsys, "ps", "--f")


def test_descriptions_come_along(capsys: pytest.CaptureFixture[str]) -> None:
    main.run(["__complete", "fish", "grap"])
    assert capsys.readouterr().out == f"words\tgrap\ngraph\t{main.COMMANDS['graph'][1]}\n"
    main.run(["__complete", "fish", "logs", "web"])
    assert capsys.readouterr().out == "words\tweb\nweb\tnginx:1\n"


def test_a_stack_that_cannot_be_read_offers_nothing(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "compose.yaml").write_text("services: [\n", encoding="utf-8")
    assert values(capsys, "logs", "") == []
    assert values(capsys, "-f", "nosuch.yaml", "logs", "") == []
    assert values(capsys, "-f", "-", "logs", "") == []
    assert capsys.readouterr().err == ""


def test_nothing_typed_at_all(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["__complete"]) == 0 and main.run(["__complete", "bash"]) == 0
    assert capsys.readouterr().err == ""


def test_codes_of_a_list_go_on_after_the_comma(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    known = (
        Rule("privileged-container", "security", "error", "lint", "a container with every privilege"),
        Rule("cycle", "graph", "error", "lint", ""),
    )
    monkeypatch.setattr(catalog, "rules", lambda: {one.code: one for one in known})
    assert values(capsys, "validate", "--ignore", "p") == ["privileged-container", "ports"]
    assert values(capsys, "validate", "--ignore=cycle,priv") == ["--ignore=cycle,privileged-container"]
    assert values(capsys, "validate", "--explain", "") == ["privileged-container", "cycle"]
    assert values(capsys, "rules", "secu") == ["security"] and values(capsys, "validate", "--select", "warn") == ["warning"]


def test_the_codes_of_the_rules_are_offered(capsys: pytest.CaptureFixture[str]) -> None:
    assert "privileged-container" in values(capsys, "validate", "--ignore", "priv")


@pytest.mark.parametrize(
    ("pieces", "words"),
    [
        (["--format", "=", "js"], ["--format=js"]),
        (["--format", "="], ["--format="]),
        (["-H", "tcp", ":", "//a", ":", "80", "ps"], ["-H", "tcp://a:80", "ps"]),
        (["-f", '"my file.yaml"', ""], ["-f", "my file.yaml", ""]),
        (["-f", '"my fi'], ["-f", "my fi"]),
        (["up", ""], ["up", ""]),
        ([], []),
    ],
)
def test_bash_splits_words_its_own_way(pieces: list[str], words: list[str]) -> None:
    assert as_typed(pieces) == words


def test_a_verb_is_completed_without_anything_heavy() -> None:
    import subprocess
    import sys

    program = (
        "import sys; from stackrun.cli import main; main.run(['__complete', 'zsh', 'logs', '--t']);"
        "print(*sorted({'asyncio', 'rich', 'networkx', 'yaml', 'jsonschema'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == ""
