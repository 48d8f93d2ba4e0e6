"""Fixes of rules about variables, mounts and images: the finding goes away, and nothing else changes."""

from __future__ import annotations

from pathlib import Path

import pytest

from stackrun.api.stacks import StackSource
from stackrun.compose.fixes import applied, fix_of
from stackrun.compose.validation import validate

_SERVICE = "services:\n  a:\n    image: x:1\n"
_DIGEST = "nginx@sha256:" + "0123456789abcdef" * 4


def _fixed(folder: Path, code: str, text: str) -> tuple[str, list[bool]]:
    """The text with the fixes of one rule, and which of them are safe."""
    (folder / "stack.yaml").write_text(text)
    found = validate(StackSource(str(folder), ("stack.yaml",)), select=(code,))
    fixes = [fix for one in found.findings if one.code == code and (fix := fix_of(one, found.sources.get("stack.yaml")))]
    return (applied(found.sources["stack.yaml"], fixes)[0] if fixes else text), [fix.safe for fix in fixes]


@pytest.mark.parametrize(
    ("code", "before", "after", "safe"),
    [
        ("ambiguous-value", "environment:\n      A: yes  # on", 'environment:\n      A: "yes"  # on', True),
        ("changed-value", "environment: {A: 0755, B: 1}", 'environment: {A: "0755", B: 1}', False),
        ("duplicate-variable", "environment:\n      - A=1\n      - B=1\n      - A=2", "environment:\n      - B=1\n      - A=2", True),
        ("repeated-mount", "volumes:\n      - ./x:/d\n      - ./y:/d", "volumes:\n      - ./y:/d", True),
        ("quotes-in-value", "environment:\n      - A=\"b c\"\n      - B='d'", 'environment:\n      - "A=b c"\n      - "B=d"', False),
    ],
)
def test_a_fix(tmp_path: Path, code: str, before: str, after: str, safe: bool) -> None:
    text, told = _fixed(tmp_path, code, f"{_SERVICE}    {before}\n")
    assert text == f"{_SERVICE}    {after}\n"
    assert told and set(told) == {safe}
    assert _fixed(tmp_path, code, text) == (text, [])


def test_a_pull_policy_without_effect_goes(tmp_path: Path) -> None:
    begin = f"services:\n  a:\n    image: {_DIGEST}\n"
    assert _fixed(tmp_path, "pull-of-fixed-image", f"{begin}    pull_policy: always\n    restart: always\n") == (
        begin + "    restart: always\n",
        [True],
    )


def test_what_an_alias_brings_elsewhere_stays(tmp_path: Path) -> None:
    text = f"{_SERVICE}    environment: &e\n      - A=1\n      - A=2\n  b:\n    image: x:1\n    environment: *e\n"
    assert _fixed(tmp_path, "duplicate-variable", text) == (text, [])
