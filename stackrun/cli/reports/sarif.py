"""Findings as SARIF 2.1.0, for GitHub's code scanning and whoever else reads it.

https://docs.oasis-open.org/sarif/sarif/v2.1.0/
"""

from __future__ import annotations

import json
import os
import re
from importlib.metadata import PackageNotFoundError, version
from typing import Any
from urllib.parse import quote

from stackrun.cli.reports.report import INCOMPLETE, from_root
from stackrun.compose.fixes import Edit, Fix, fix_of
from stackrun.compose.origins import Note
from stackrun.compose.rules.catalog import page, rules
from stackrun.compose.rules.rule import Level, Rule
from stackrun.compose.tree import Place
from stackrun.compose.validation import IN_BASELINE, Finding, Validation
from stackrun.compose.written import Written

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
MAX_RESULTS = 25_000
"""More are refused by GitHub."""
_LEVELS: dict[str, int] = {"error": 0, "warning": 1, "note": 2}


def render(validation: Validation, *, shown: Level, colour: bool) -> str:
    found = sorted(validation.findings, key=lambda one: (bool(one.suppressed), _LEVELS[one.level]))[:MAX_RESULTS]
    used = sorted({one.code for one in found})
    notifications = [] if validation.complete else [_notification(INCOMPLETE)]
    run = {
        "tool": {"driver": {"name": "stackrun", "semanticVersion": _version(), "rules": [_rule(rules()[code]) for code in used]}},
        "originalUriBaseIds": {"%SRCROOT%": {"description": {"text": "The repository, or the folder that validate was run in."}}},
        "columnKind": "unicodeCodePoints",
        "invocations": [{"executionSuccessful": validation.complete, "toolExecutionNotifications": notifications}],
        "results": [_result(one, used.index(one.code), validation.sources.get(one.place.path)) for one in found],
    }
    return json.dumps({"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}, indent=2, ensure_ascii=False) + "\n"


def _version() -> str:
    try:
        return version("stackrun")
    except PackageNotFoundError:
        return "0"


def _notification(text: str) -> dict[str, Any]:
    return {"level": "error", "message": {"text": text}}


def _rule(rule: Rule) -> dict[str, Any]:
    markdown = page(rule.code)
    return {
        "id": rule.code,
        "name": "".join(word.capitalize() for word in rule.code.split("-")),
        "shortDescription": {"text": rule.summary},
        "fullDescription": {"text": _prose(markdown) or rule.summary},
        "help": {"text": markdown, "markdown": markdown},
        "defaultConfiguration": {"level": rule.level},
        "properties": {"tags": [rule.group, rule.stage]},
    }


def _prose(markdown: str) -> str:
    """What stands between the title and the first example."""
    return re.sub(r"\s+", " ", markdown.partition("\n")[2].partition("\n## ")[0]).strip()[:1000]


def _result(one: Finding, index: int, written: Written | None) -> dict[str, Any]:
    result: dict[str, Any] = {
        "ruleId": one.code,
        "ruleIndex": index,
        "level": one.level,
        "message": {"text": f"{one.message}. {one.hint}" if one.hint else one.message},
        "locations": [{"physicalLocation": _location(one.place, one.end)}],
        "partialFingerprints": {"stackrun/v1": one.fingerprint},
    }
    related = [_related(number, note) for number, note in enumerate(one.notes) if note.place.line]
    if related:
        result["relatedLocations"] = related
    if one.suppressed:
        kind = "external" if one.suppressed == IN_BASELINE else "inSource"
        result["suppressions"] = [{"kind": kind, "status": "accepted", "justification": one.suppressed}]
    if written is not None and (fix := fix_of(one, written)) is not None:
        result["fixes"] = [_fix(fix, one.place.path, written)]
    return result


def _fix(fix: Fix, path: str, written: Written) -> dict[str, Any]:
    replacements = [{"deletedRegion": _span(edit, written), "insertedContent": {"text": edit.text}} for edit in fix.edits]
    return {
        "description": {"text": fix.description},
        "artifactChanges": [{"artifactLocation": _artifact(path), "replacements": replacements}],
    }


def _span(edit: Edit, written: Written) -> dict[str, int]:
    start, end = written.position(edit.start), written.position(edit.end)
    return {"startLine": start.line, "startColumn": start.column, "endLine": end.line, "endColumn": end.column}


def _location(place: Place, end: tuple[int, int] | None = None) -> dict[str, Any]:
    location: dict[str, Any] = {"artifactLocation": _artifact(place.path)}
    line = max(1, place.line)
    location["region"] = {"startLine": line, "startColumn": max(1, place.column)}
    if end is not None and end > (line, place.column):
        location["region"] |= {"endLine": end[0], "endColumn": max(1, end[1])}
    return location


def _artifact(path: str) -> dict[str, Any]:
    if path.startswith("/"):
        return {"uri": f"file://{quote(os.fsencode(path))}"}
    return {"uri": quote(os.fsencode(from_root(path))), "uriBaseId": "%SRCROOT%"}


def _related(number: int, note: Note) -> dict[str, Any]:
    return {"id": number, "message": {"text": note.message}, "physicalLocation": _location(note.place)}
