"""Findings for a program: one versioned object."""

from __future__ import annotations

import json
from typing import Any

from stackrun.compose.rules.rule import Level
from stackrun.compose.validation import Finding, Validation

VERSION = 1
"""Raised when a key changes its meaning or goes; new keys may come without."""


def render(validation: Validation, *, shown: Level, colour: bool) -> str:
    document = {
        "version": VERSION,
        "tool": "stackrun",
        "complete": validation.complete,
        "files": list(validation.files),
        "findings": [_finding(one) for one in validation.findings],
    }
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _finding(one: Finding) -> dict[str, Any]:
    return {
        "code": one.code,
        "group": one.rule.group,
        "stage": one.rule.stage,
        "level": one.level,
        "message": one.message,
        "hint": one.hint,
        "path": one.place.path,
        "line": one.place.line,
        "column": one.place.column,
        "end_line": one.end[0],
        "end_column": one.end[1],
        "service": one.service,
        "key": list(one.path),
        "notes": [{"path": place.path, "line": place.line, "column": place.column, "message": text} for place, text in one.notes],
        "fingerprint": one.fingerprint,
        "suppressed": one.suppressed or None,
    }
