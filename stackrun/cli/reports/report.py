"""The forms in which `validate` tells its findings."""

from __future__ import annotations

import importlib
import os
from typing import Protocol

from stackrun.compose.rules.rule import LEVELS, Level
from stackrun.compose.source import STDIN
from stackrun.compose.validation import Finding, Validation

FORMATS = ("text", "json", "sarif", "github", "gitlab", "junit")


INCOMPLETE = "not everything could be checked: a file could not be read, or there is too much"


class Report(Protocol):
    """`shown` is the least grave level that a report for people tells; reports for machines hold everything."""

    def __call__(self, validation: Validation, *, shown: Level, colour: bool) -> str: ...


def report(name: str) -> Report:
    """The renderer of a format: each is a module of its own, imported when it is asked for."""
    found: Report = importlib.import_module(f"stackrun.cli.reports.{name}").render
    return found


def from_root(path: str) -> str:
    """A path as seen from the repository's root, which CI names: there a report is read, whichever folder it is made in."""
    root = os.environ.get("GITHUB_WORKSPACE") or os.environ.get("CI_PROJECT_DIR") or ""
    if not root or path == STDIN:
        return path
    whole = os.path.abspath(path)
    inside = os.path.commonpath([whole, os.path.abspath(root)]) == os.path.abspath(root)
    return os.path.relpath(whole, root) if inside else path


def visible(text: str) -> str:
    """Without control characters, which a terminal would obey."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() or char == "\t" else "\N{REPLACEMENT CHARACTER}" for char in text)


def at_least(findings: tuple[Finding, ...], level: Level) -> tuple[Finding, ...]:
    """Those as grave as `level` or graver."""
    return tuple(one for one in findings if LEVELS.index(one.level) <= LEVELS.index(level))
