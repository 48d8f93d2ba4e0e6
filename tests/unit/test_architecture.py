"""docs/architecture.md tells the truth: its tables and its layers against the code."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

from stackrun import errors

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")


def section(title: str) -> str:
    return PAGE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def rows(title: str) -> list[list[str]]:
    table = [line for line in section(title).splitlines() if line.startswith("|")]
    return [[cell.strip().strip("`") for cell in line.strip("|").split("|")] for line in table[2:]]


def test_the_packages_are_those_of_the_code() -> None:
    code = {path.stem for path in (ROOT / "stackrun").iterdir() if path.suffix == ".py" or (path.is_dir() and path.name != "__pycache__")}
    assert {name for name, _ in rows("Packages")} == code - {"__init__"}


def test_the_layers_are_those_of_the_import_contract() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]["contracts"]
    drawn = [line.strip() for line in section("Layers").splitlines() if line.startswith("    ")]
    assert drawn == next(one["layers"] for one in contracts if one["type"] == "layers")


def test_the_failures_have_the_codes_of_the_code() -> None:
    classes = [one for one in vars(errors).values() if isinstance(one, type) and issubclass(one, errors.StackrunError)]
    code = {one.__name__: (one.http_status, one.exit_code) for one in classes if one is not errors.StackrunError}
    assert {name: (int(status), int(exit_code)) for name, status, exit_code in rows("Failures")} == code


def test_package_files_stay_empty() -> None:
    assert [path for path in (ROOT / "stackrun").rglob("__init__.py") if path.read_text(encoding="utf-8").strip()] == []


def test_files_and_functions_stay_small() -> None:
    """A file of more than 650 lines holds more than one noun; a function of more than 60, its docstring aside, does more than one thing."""
    long = []
    for path in sorted((ROOT / "stackrun").rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        if text.count("\n") > 650:
            long.append(f"{path.name}: {text.count(chr(10))} lines")
        functions = (node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
        long += [f"{path.name}:{one.lineno} {one.name}" for one in functions if length(one) > 60]
    assert long == []


def length(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    docstring = (ast.get_docstring(function, clean=False) or "").count("\n")
    return (function.end_lineno or 0) - function.lineno + 1 - docstring


def test_every_verb_of_the_command_line_is_in_the_readme() -> None:
    from stackrun.cli.main import COMMANDS

    commands = (ROOT / "README.md").read_text(encoding="utf-8").partition("\n## Commands\n")[2].partition("\n**The file**")[0]
    assert set(COMMANDS) <= set(re.findall(r"`([a-z]+)`", commands))
