"""Findings for a program: one versioned object."""

from __future__ import annotations

import json
from typing import Any

from stackrun.compose.fixes import Fix, fix_of
from stackrun.compose.rules.rule import Level
from stackrun.compose.validation import Finding, Validation
from stackrun.compose.written import Written

VERSION = 1
"""Raised when a key changes its meaning or goes; new keys may come without."""


def render(validation: Validation, *, shown: Level, colour: bool) -> str:
    document = {
        "version": VERSION,
        "tool": "stackrun",
        "complete": validation.complete,
        "files": list(validation.files),
        "findings": [_finding(one, validation.sources.get(one.place.path)) for one in validation.findings],
    }
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _finding(one: Finding, written: Written | None) -> dict[str, Any]:
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
        "fix": _fix(fix_of(one, written), written) if written is not None else None,
    }


def _fix(fix: Fix | None, written: Written) -> dict[str, Any] | None:
    if fix is None:
        return None
    edits = [{"start": _at(written, edit.start), "end": _at(written, edit.end), "text": edit.text} for edit in fix.edits]
    return {"description": fix.description, "safe": fix.safe, "edits": edits}


def _at(written: Written, offset: int) -> dict[str, int]:
    """Line and column count from 1, the offset counts characters from 0."""
    return written.position(offset)._asdict()
