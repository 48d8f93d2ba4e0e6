"""The command line's grammar: every verb, options before and after it, and what is wrong with the rest."""

from __future__ import annotations

import argparse
import importlib
import subprocess
import sys
from importlib.metadata import version
from typing import Any

import pytest

from stackrun.cli import main
from stackrun.cli.commands.version import VERSION
from stackrun.errors import InvalidArgument


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs a command line up to the point where the verb's module would act and returns the options it would get."""

    def parse(*argv: str) -> argparse.Namespace:
        module = importlib.import_module(f"stackrun.cli.commands.{main.COMMANDS[next(one for one in argv if one in main.COMMANDS)][0]}")
        taken: list[argparse.Namespace] = []
        monkeypatch.setattr(module, "run", lambda options: taken.append(options) or 0)
        assert main.run(list(argv)) == 0
        return taken[0]

    return parse


@pytest.mark.parametrize("verb", main.COMMANDS)
def test_every_verb_has_a_module_that_takes_no_more_than_it_needs(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main.run([verb, "--help"])
    assert ended.value.code == 0
    assert f"stackrun {verb}" in capsys.readouterr().out


def test_stack_options_stand_before_the_verb_or_after_it(parsed: Any) -> None:
    before = parsed("-f", "a.yaml", "-p", "shop", "--profile", "x", "up", "-d", "web")
    after = parsed("up", "web", "-f", "a.yaml", "-p", "shop", "-d", "--profile", "x")
    for options in (before, after):
        assert (options.files, options.project_name, options.profiles) == (["a.yaml"], "shop", ["x"])
        assert options.detach and options.services == ["web"]


def test_repeated_options_before_and_after_add_up(parsed: Any) -> None:
    assert parsed("-f", "a.yaml", "down", "-f", "b.yaml").files == ["a.yaml", "b.yaml"]


def test_the_verb_has_its_letters_first(parsed: Any) -> None:
    options = parsed("-f", "a.yaml", "logs", "-f", "--tail", "5", "web")
    assert options.follow and options.files == ["a.yaml"] and options.tail == 5


def test_services_and_options_mix(parsed: Any) -> None:
    options = parsed("up", "web", "-d", "api", "--scale", "api=3", "-t", "1m")
    assert options.services == ["web", "api"] and options.scale == [("api", 3)] and options.timeout == 60.0


def test_a_command_in_a_container_keeps_its_own_options(parsed: Any) -> None:
    options = parsed("exec", "-T", "-e", "A=1", "web", "ls", "-l", "--help", "-f")
    assert (options.service, options.argv) == ("web", ["ls", "-l", "--help", "-f"])
    assert options.no_tty and options.files is None


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["pss"], "unknown command: pss"),
        (["up", "--detatch"], "unrecognized arguments: --detatch"),
        (["up", "--scale", "web"], "not SERVICE=NUMBER"),
        (["logs", "--tail", "few"], "neither a number nor"),
        (["up", "-t", "soon"], "invalid"),
        (["--project-nam", "x", "up"], "unrecognized arguments"),
    ],
)
def test_mistakes_are_invalid_arguments_with_a_hint(argv: list[str], message: str) -> None:
    with pytest.raises(InvalidArgument) as raised:
        main.run(argv)
    assert message in raised.value.message and raised.value.hint


def test_a_near_miss_is_asked_about() -> None:
    with pytest.raises(InvalidArgument) as raised:
        main.run(["donw"])
    assert raised.value.hint == "did you mean down?"


def test_no_verb_prints_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run([]) == 0
    told = capsys.readouterr().out
    assert all(verb in told for verb in main.COMMANDS)


def test_the_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["--version"]) == 0
    assert capsys.readouterr().out.strip() == VERSION == version("stackrun")


def test_the_way_to_version_and_ps_stays_light() -> None:
    """100 ms in all is the figure; these modules alone would take them."""
    program = (
        "import sys; from stackrun.cli import main, project, tables, engines;"
        "from stackrun.cli.commands import version, ps; import stackrun.client.http;"
        "print(*sorted({'asyncio', 'rich', 'networkx', 'pyroute2', 'yaml', 'jsonschema', 'subprocess', 'ssl'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
