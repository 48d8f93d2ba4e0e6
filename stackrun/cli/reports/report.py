"""The forms in which `validate` tells its findings."""

from __future__ import annotations

import importlib
from typing import Protocol

from stackrun.compose.rules.rule import LEVELS, Level
from stackrun.compose.validation import Finding, Validation

FORMATS = ("text", "json", "sarif", "github", "gitlab", "junit")


class Report(Protocol):
    """`shown` is the least grave level that a report for people tells; reports for machines hold everything."""

    def __call__(self, validation: Validation, *, shown: Level, colour: bool) -> str: ...


def report(name: str) -> Report:
    """The renderer of a format: each is a module of its own, imported when it is asked for."""
    found: Report = importlib.import_module(f"stackrun.cli.reports.{name}").render
    return found


def at_least(findings: tuple[Finding, ...], level: Level) -> tuple[Finding, ...]:
    """Those as grave as `level` or graver."""
    return tuple(one for one in findings if LEVELS.index(one.level) <= LEVELS.index(level))
