"""Findings as GitLab's code quality report: a list in a subset of Code Climate's form.

https://docs.gitlab.com/ci/testing/code_quality/#code-quality-report-format
"""

from __future__ import annotations

import json
from typing import Any

from stackrun.cli.reports.report import from_root
from stackrun.compose.rules.rule import Level
from stackrun.compose.validation import Finding, Validation

_SEVERITIES = {"error": "critical", "warning": "minor", "note": "info"}


def render(validation: Validation, *, shown: Level, colour: bool) -> str:
    return json.dumps([_issue(one) for one in validation.open], indent=2, ensure_ascii=False) + "\n"


def _issue(one: Finding) -> dict[str, Any]:
    return {
        "type": "issue",
        "check_name": one.code,
        "description": one.message,
        "content": {"body": one.hint},
        "categories": ["Security" if one.rule.group == "security" else "Bug Risk"],
        "severity": _SEVERITIES[one.level],
        "fingerprint": one.fingerprint,
        "location": {"path": from_root(one.place.path), "lines": {"begin": max(1, one.place.line), "end": max(1, one.end[0])}},
    }
