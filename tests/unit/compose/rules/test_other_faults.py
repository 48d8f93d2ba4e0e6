"""Faults that a small file with nothing else wrong cannot show; every other one is among the bad files."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from unit.compose.bad.test_bad_files import CASES

from stackrun.api.stacks import StackSource
from stackrun.compose.faults import MAX_FINDINGS
from stackrun.compose.read import MAX_SERVICES
from stackrun.compose.rules.catalog import rules
from stackrun.compose.validation import validate

_SERVICES = "services:\n" + "".join(f"  s{number}: {{image: x}}\n" for number in range(MAX_SERVICES + 1))
_DEVICES = "devices: [{capabilities: [gpu], count: 1, device_ids: ['0']}]"
_SEEN_ELSEWHERE = {"tracked-secret"}
"""It needs a repository."""
FAULTS = {
    "device-count-conflict": (f"services: {{a: {{image: x, deploy: {{resources: {{reservations: {{{_DEVICES}}}}}}}}}}}", 1),
    "empty-document": ("services: {a: {image: x}}\n---\n---\nservices: {b: {image: x}}\n", 3),
    "engine-api": ("services: {a: {image: x, use_api_socket: true}}", 1),
    "no-content": ("", 0),  # `up` alone knows
    "too-many": (f"services:\n  a:\n    image: x\n{''.join(f'    k{number}: 1{chr(10)}' for number in range(MAX_FINDINGS + 1))}", 0),
    "too-much": (_SERVICES, MAX_SERVICES + 2),
    "undefined-model": ("services:\n  a: {image: x, models: [gone]}\n", 2),
    "yaml-limit": (f"a: {'[' * 200}{']' * 200}", 1),
}


@pytest.mark.parametrize("code", sorted(FAULTS.keys() - {"no-content"}))
def test_it_is_told(code: str, tmp_path: Path) -> None:
    text, line = FAULTS[code]
    (tmp_path / "stack.yaml").write_text(text)
    found = validate(StackSource(str(tmp_path), ("stack.yaml",))).findings
    assert [one.place.line for one in found if one.code == code] == [line]


def test_every_other_rule_has_two_bad_files() -> None:
    told = Counter(one.code for one in CASES)
    lacking = {code for code, rule in rules().items() if told[code] < 2 and rule.group not in ("host", "suppression")}
    assert lacking <= FAULTS.keys() | _SEEN_ELSEWHERE, sorted(lacking - FAULTS.keys() - _SEEN_ELSEWHERE)
