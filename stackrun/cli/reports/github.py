"""Findings as GitHub's workflow commands, the worst first since only ten of a kind are shown, and a summary of all of them.

https://docs.github.com/actions/reference/workflow-commands-for-github-actions
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from stackrun.cli.reports.report import INCOMPLETE, at_least, from_root, visible
from stackrun.compose.rules.rule import LEVELS, Level
from stackrun.compose.validation import Finding, Validation
from stackrun.errors import InvalidArgument

_COMMANDS = {"error": "error", "warning": "warning", "note": "notice"}
_SUMMARY_BYTES = 1_000_000
"""A step's summary may have 1 MiB."""


def render(validation: Validation, *, shown: Level, colour: bool) -> str:
    told = sorted(at_least(validation.open, shown), key=lambda one: (LEVELS.index(one.level), one.place))
    summary = os.environ.get("GITHUB_STEP_SUMMARY", "")
    if summary:
        _append(summary, "".join(f"{line}\n" for line in _table(told, validation)))
    return "".join(f"{_command(one)}\n" for one in told)


def _append(path: str, text: str) -> None:
    """Whole lines of the text, as many as fit."""
    cut = text.encode("utf-8", "replace")[:_SUMMARY_BYTES]
    try:
        with Path(path).open("ab") as file:
            file.write(cut[: cut.rfind(b"\n") + 1])
    except OSError as error:
        raise InvalidArgument(f"cannot write the step's summary {path}: {(error.strerror or '').lower()}") from None


def _command(one: Finding) -> str:
    properties = {"file": from_root(one.place.path), "title": one.code}
    if one.place.line:
        properties |= {"line": str(one.place.line), "endLine": str(one.end[0])}
        if one.end[0] == one.place.line:  # columns of a finding that spans lines are not taken
            properties |= {"col": str(one.place.column), "endColumn": str(one.end[1])}
    text = ",".join(f"{key}={_property(value)}" for key, value in properties.items())
    return f"::{_COMMANDS[one.level]} {text}::{_data(_sentences(one))}"


def _sentences(one: Finding) -> str:
    notes = (f"{f'{at}: ' if at.line else ''}{sentence}" for at, sentence in one.notes)
    return "\n".join([one.message, *notes, *([f"hint: {one.hint}"] if one.hint else [])])


def _data(text: str) -> str:
    """As the runner unescapes it; what a terminal would obey is not passed on, since it also stands in the step's log."""
    return visible(text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A"))


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def _table(told: list[Finding], validation: Validation) -> Iterator[str]:
    yield "### stackrun validate"
    yield ""
    if not validation.complete:
        yield f"{INCOMPLETE.capitalize()}."
        yield ""
    if not told:
        yield "No findings."
        return
    yield "| level | place | rule | finding |"
    yield "|---|---|---|---|"
    for one in told:
        place = one.place._replace(path=from_root(one.place.path))
        yield f"| {one.level} | {_cell(str(place if place.line else place.path))} | {one.code} | {_cell(one.message)} |"


def _cell(text: str) -> str:
    """Text of a table's cell that Markdown takes as it is."""
    return re.sub(r"([\\`*_{}\[\]<>|~#$@!])", r"\\\1", visible(text.replace("\n", " ")))
