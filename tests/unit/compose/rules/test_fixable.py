"""What the catalogue says can be fixed is fixed in its own bad example, and its page says so."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from stackrun.api.stacks import StackSource
from stackrun.compose.fixes import FIXABLE, applied, fix_of
from stackrun.compose.rules.catalog import page, rules
from stackrun.compose.validation import Validation, validate
from stackrun.stack.graph import cycle_faults

_FENCE = re.compile(r"^```([a-z]*)(?: +(\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)


_NEAR = "services:\n  web:\n    image: nginx:1.27.3\n    {0}s: [{1}]\n{0}s:\n  settings: {2}\n"
EXAMPLES = {
    "undefined-config": _NEAR.format("config", "setings", "{content: x}"),
    "undefined-model": _NEAR.format("model", "setings", "{model: x}"),
    "undefined-network": _NEAR.format("network", "setings", "{}"),
    "undefined-secret": _NEAR.format("secret", "setings", "{environment: HOME}"),
    "undefined-volume": _NEAR.format("volume", "setings:/x", "{}"),
}
"""Of what is fixed where a name is near enough, which it need not be on the page."""


def _section(code: str, heading: str) -> str:
    found = re.search(rf"^## {heading}\n(.*?)(?=^## |\Z)", page(code), re.MULTILINE | re.DOTALL)
    return found[1] if found else ""


def _looked_at(folder: Path, unsaved: dict[str, str] | None = None) -> Validation:
    return validate(StackSource(str(folder), ("stack.yaml",)), graph_faults=cycle_faults, unsaved=unsaved)


def _errors(found: Validation) -> Counter[str]:
    return Counter(one.code for one in found.findings if one.level == "error")


def test_what_has_a_fix_is_a_rule() -> None:
    assert set(rules()) >= FIXABLE, FIXABLE - rules().keys()


@pytest.mark.parametrize("code", sorted(FIXABLE))
def test_the_page_says_so(code: str) -> None:
    assert "--fix" in _section(code, "Fix")


@pytest.mark.parametrize("code", sorted(rules().keys() - FIXABLE))
def test_no_other_page_says_so(code: str) -> None:
    assert "--fix" not in page(code)


@pytest.mark.parametrize("code", sorted(FIXABLE))
def test_the_bad_example_is_put_right(code: str, tmp_path: Path) -> None:
    for kind, name, text in _FENCE.findall(_section(code, "Bad")):
        (tmp_path / (name or ("stack.yaml" if kind == "yaml" else "output"))).write_text(text)
    if code in EXAMPLES:
        (tmp_path / "stack.yaml").write_text(EXAMPLES[code])
    found = _looked_at(tmp_path)
    for one in (one for one in found.findings if one.code == code):
        written = found.sources[one.place.path]
        if (fix := fix_of(one, written)) is None:
            continue
        after = _looked_at(tmp_path, {one.place.path: applied(written, [fix])[0]})
        assert (one.code, one.message) not in {(other.code, other.message) for other in after.findings}
        assert not _errors(after) - _errors(found)
        assert fix.safe or "--unsafe-fixes" in _section(code, "Fix"), "the page says which option it takes"
        return
    pytest.fail("nothing in the bad example can be fixed")
