"""docs/validating.md: its examples can be read, and name nothing that is not there."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from github_runner import ACTION, validate_takes

from stackrun.cli import main

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/validating.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def commands() -> list[list[str]]:
    """Every command line of the page: in indented examples, in blocks, in running text."""
    indented = re.findall(r"^    (?:.*\$\()?(stackrun [^)#\n]*)", PAGE, re.MULTILINE)
    blocks = re.findall(r"(?:- |entry: )(stackrun [^\n]*)", PAGE)
    text = [one for one in re.findall(r"`(stackrun [^`]*)`", PAGE) if "CODE" not in one]
    lines = [re.split(r"[|\"]|> ", one)[0] for one in (*indented, *blocks, *text)]
    return [shlex.split(line)[1:] for line in lines]


@pytest.mark.parametrize("argv", commands(), ids=" ".join)
def test_every_command_is_one_that_is_taken(argv: list[str]) -> None:
    if argv[0] == "rules" and "rules" not in main.COMMANDS:
        pytest.xfail("the rules are not listed yet")
    if argv[0] == "validate" and any(one.startswith("--") for one in argv) and not validate_takes("--format"):
        pytest.xfail("validate has no options yet")
    options = main.parsed(argv[0], argv[1:])
    assert options.command == [argv[0]]


def test_there_are_commands_to_look_at() -> None:
    assert len(commands()) >= 15 and {argv[0] for argv in commands()} >= {"validate", "graph", "schema", "init", "completion"}


def test_the_examples_are_yaml_and_json() -> None:
    assert len(BLOCKS) == 5 and all(isinstance(yaml.safe_load(block), dict) for block in BLOCKS)
    assert all(json.loads(block) for block in re.findall(r"^```json\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))


def test_the_action_is_given_inputs_that_it_has() -> None:
    steps: list[Any] = [step for block in BLOCKS[:2] for job in yaml.safe_load(block)["jobs"].values() for step in job["steps"]]
    ours = [step for step in steps if step.get("uses", "").startswith("OWNER/stackrun")]
    assert len(ours) == 2 and all(set(step["with"]) <= set(ACTION["inputs"]) for step in ours)


def test_the_hook_is_called_by_its_name() -> None:
    (hook,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8"))
    assert f"- id: {hook['id']}" in PAGE
