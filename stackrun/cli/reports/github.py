"""Findings as GitHub's workflow commands, the worst first since only ten of a kind are shown, and a summary of all of them.

https://docs.github.com/actions/reference/workflow-commands-for-github-actions
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from stackrun.cli.reports.report import at_least
from stackrun.compose.rules.rule import LEVELS, Level
from stackrun.compose.validation import Finding, Validation

_COMMANDS = {"error": "error", "warning": "warning", "note": "notice"}
_SUMMARY_BYTES = 1_000_000
"""A step's summary may have 1 MiB."""


def render(validation: Validation, *, shown: Level, colour: bool) -> str:
    told = sorted(at_least(validation.open, shown), key=lambda one: (LEVELS.index(one.level), one.place))
    summary = os.environ.get("GITHUB_STEP_SUMMARY", "")
    if summary:
        with Path(summary).open("a", encoding="utf-8") as file:
            file.write("\n".join(_table(told, validation)).encode()[:_SUMMARY_BYTES].decode(errors="ignore") + "\n")
    return "".join(f"{_command(one)}\n" for one in told)


def _command(one: Finding) -> str:
    properties = {"file": one.place.path, "title": one.code}
    if one.place.line:
        properties |= {"line": str(one.place.line), "endLine": str(one.end[0])}
        if one.end[0] == one.place.line:  # columns of a finding that spans lines are not taken
            properties |= {"col": str(one.place.column), "endColumn": str(one.end[1])}
    text = ",".join(f"{key}={_property(value)}" for key, value in properties.items())
    return f"::{_COMMANDS[one.level]} {text}::{_data(f'{one.message} ({one.hint})' if one.hint else one.message)}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def _table(told: list[Finding], validation: Validation) -> Iterator[str]:
    yield "### stackrun validate"
    yield ""
    if not validation.complete:
        yield "Not everything could be checked: something could not be read."
        yield ""
    if not told:
        yield "No findings."
        return
    yield "| level | place | rule | finding |"
    yield "|---|---|---|---|"
    for one in told:
        cells = (one.level, f"{one.place.path}:{one.place.line}:{one.place.column}", one.code, one.message)
        yield "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"
