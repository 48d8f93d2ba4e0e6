"""docs/compose-compatibility.md is true: its tables are what the code refuses and names, its options are config's."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from stackrun.cli.commands import config
from stackrun.compose.support import _ERRORS, _WARNINGS, Verdict

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "compose-compatibility.md").read_text(encoding="utf-8")


def rows(table: dict[str, Verdict]) -> str:
    return "".join(f"| `{path}` | {verdict('…')} |\n" for path, verdict in sorted(table.items()))


@pytest.mark.parametrize("table", [_ERRORS, _WARNINGS], ids=["refused", "without effect"])
def test_the_tables_are_those_of_the_code(table: dict[str, Verdict]) -> None:
    assert rows(table) in PAGE, f"write into docs/compose-compatibility.md:\n{rows(table)}"


def test_every_option_of_config_is_named() -> None:
    parser = argparse.ArgumentParser()
    config.arguments(parser, "config")
    options = {option for action in parser._actions for option in action.option_strings if option.startswith("--")}
    assert [option for option in sorted(options - {"--help"}) if f"`{option}`" not in PAGE] == []
