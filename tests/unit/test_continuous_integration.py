"""action.yml and .pre-commit-hooks.yaml: what they say, and their shell steps run as GitHub's runner and pre-commit run them."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from github_runner import ACTION, INSTALL, VALIDATE, Runner, validate_takes

ROOT = Path(__file__).resolve().parents[2]
(HOOK,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8"))
GOOD = "services: {web: {image: 'nginx:1.27'}}\n"
BAD = "services: {web: {imge: 'nginx:1.27'}}\n"
RECORDER = """#!/bin/bash
{ printf '%s' "$1"; shift; printf ' [%s]' "$@"; echo; } >> "$RECORD"
case "$*" in *bad*) exit 1 ;; *gone*) exit 2 ;; esac
"""
"""Stands in for the program: writes its arguments down and fails as their names say."""


@pytest.fixture
def runner(tmp_path: Path) -> Runner:
    it = Runner(tmp_path)
    it.program_is(RECORDER)
    return it


# --- the action -----------------------------------------------------------------------------------


def test_the_action_is_one_that_github_takes() -> None:
    assert {"name", "description", "runs"} <= set(ACTION) and len(ACTION["description"]) <= 125
    assert ACTION["runs"]["using"] == "composite"
    assert all(step["shell"] == "bash" for step in ACTION["runs"]["steps"])
    assert all(one["description"] and "default" in one for one in ACTION["inputs"].values())


def test_inputs_reach_a_script_through_its_environment_alone() -> None:
    """An expression inside a script is code that whoever opens a pull request may write."""
    assert not any("${{" in step["run"] for step in ACTION["runs"]["steps"])


def test_every_input_is_used_and_every_one_used_is_there() -> None:
    used = set(re.findall(r"inputs\.([a-z-]+)", yaml.safe_dump(ACTION["runs"])))
    assert used == set(ACTION["inputs"])


def test_without_inputs_the_stack_here_is_annotated(runner: Runner) -> None:
    done = runner.run(VALIDATE)
    assert (done.returncode, done.stderr) == (0, "")
    assert runner.calls() == ["validate [--format] [github]"]


def test_each_line_is_a_stack_and_the_worst_exit_code_stands(runner: Runner) -> None:
    (runner.workspace / "one.yaml").touch()
    (runner.workspace / "two.yaml").touch()
    done = runner.run(VALIDATE, files="compose.yaml prod.yaml\n\n  bad.yaml\n???.yaml\n", args="--fail-on warning --ignore a,b")
    assert done.returncode == 1
    options = "validate [--fail-on] [warning] [--ignore] [a,b] [--format] [github]"
    assert runner.calls() == [
        f"{options} [compose.yaml] [prod.yaml]", f"{options} [bad.yaml]", f"{options} [one.yaml] [two.yaml]",
    ]  # fmt: skip
    assert runner.run(VALIDATE, files="bad.yaml\ngone.yaml\ngood.yaml").returncode == 2


def test_sarif_is_written_besides(runner: Runner) -> None:
    done = runner.run(VALIDATE, files="bad.yaml", sarif="out.sarif", format="text")
    assert done.returncode == 1
    assert runner.calls() == ["validate [--format] [sarif] [-o] [out.sarif] [bad.yaml]", "validate [--format] [text] [bad.yaml]"]
    assert runner.output.read_text(encoding="utf-8") == "sarif=out.sarif\n"
    assert runner.run(VALIDATE, files="a.yaml\nb.yaml", sarif="out.sarif").returncode == 2


def test_inputs_are_never_run(runner: Runner) -> None:
    runner.run(VALIDATE, files='$(touch pwned) "; touch pwned', args="`touch pwned`", format="$(touch pwned)")
    assert list(runner.workspace.iterdir()) == []


def test_the_action_works_in_the_directory_asked_for(runner: Runner) -> None:
    (runner.workspace / "deploy").mkdir()
    (runner.workspace / "deploy/compose.yaml").touch()
    runner.run(VALIDATE, working_directory="deploy", files="*.yaml")
    assert runner.calls() == ["validate [--format] [github] [compose.yaml]"]


def test_an_old_python_is_told(runner: Runner) -> None:
    old = runner.directory / "old-python"
    old.write_text("#!/bin/sh\nexit 1\n", encoding="utf-8")
    old.chmod(0o755)
    done = runner.run(INSTALL, python=str(old))
    assert done.returncode == 2 and done.stdout.startswith("::error title=stackrun::Python 3.11 or newer is needed")


def test_the_python_that_is_asked_for_is_that_of_the_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["requires-python"] == ">=3.11" and "(3, 11)" in INSTALL["run"] and "3.11" in ACTION["inputs"]["python"]["description"]


def test_the_action_with_the_real_program(runner: Runner) -> None:
    runner.program_is(f"#!{sys.executable}\nimport sys\nfrom stackrun.cli.main import main\nsys.exit(main())\n")
    (runner.workspace / "compose.yaml").write_text(BAD, encoding="utf-8")
    step = VALIDATE if validate_takes("--format") else VALIDATE | {"run": VALIDATE["run"].replace('--format "$FORMAT"', "")}
    done = runner.run(step)
    assert done.returncode in (1, 2) and "imge" in done.stdout + done.stderr
    (runner.workspace / "compose.yaml").write_text(GOOD, encoding="utf-8")
    assert runner.run(step, args="--fail-on error" if validate_takes("--fail-on") else "").returncode == 0


# --- the hook -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "taken"),
    [
        ("stack.yaml", True), ("deploy/stackrun.yaml", True), ("compose.yaml", True), ("compose.yml", True), ("a/docker-compose.yml", True),
        ("compose.override.yaml", True), ("docker-compose.prod.yml", True), ("stack.yml", False), ("my-stack.yaml", False),
        ("compose.json", False), ("compose/other.yaml", False), ("values.yaml", False), ("decompose.yaml", False),
    ],
)  # fmt: skip
def test_the_hook_is_given_stack_files_alone(path: str, taken: bool) -> None:
    assert bool(re.search(HOOK["files"], path)) is taken


def test_the_hook_is_one_that_pre_commit_takes() -> None:
    assert (HOOK["id"], HOOK["language"], HOOK["require_serial"]) == ("stackrun-validate", "python", True)
    assert {"id", "name", "entry", "language", "files"} <= set(HOOK)


def hook(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """As pre-commit runs it: the entry's words, then `args`, then the files; `python` is that of the hook's environment."""
    program, *words = shlex.split(HOOK["entry"])
    assert program == "python"
    return subprocess.run([sys.executable, *words, *arguments], cwd=directory, capture_output=True, text=True, check=False)


def test_the_hook_checks_each_file_as_a_stack_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/compose.yaml").write_text(GOOD, encoding="utf-8")
    (tmp_path / "compose.yaml").write_text(BAD, encoding="utf-8")
    options = ["--fail-on", "error"] if validate_takes("--fail-on") else []
    done = hook(tmp_path, *options, "a/compose.yaml", "compose.yaml")
    assert done.returncode in (1, 2) and "compose.yaml:1:18: " in done.stdout + done.stderr and "Traceback" not in done.stderr
    assert hook(tmp_path, *options, "a/compose.yaml").returncode == 0
    assert hook(tmp_path).returncode == 0
    assert hook(tmp_path, "--nosuch", "compose.yaml").returncode == 2
