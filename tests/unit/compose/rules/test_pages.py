"""Every rule has a page, whose bad example it finds and whose good one it does not."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from stackrun.api.stacks import StackSource
from stackrun.compose.rules.catalog import page, rules
from stackrun.compose.validation import Finding, validate
from stackrun.stack.graph import cycle_faults

_FENCE = re.compile(r"^```([a-z]*)(?: +(\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
CODES = sorted(rules())


def _section(text: str, heading: str) -> str:
    found = re.search(rf"^## {heading}\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    assert found, f"no section {heading}"
    return found[1]


def _findings(section: str, folder: Path) -> tuple[Finding, ...] | None:
    """None when the section shows no stack file."""
    files = {name or ("stack.yaml" if kind == "yaml" else ""): text for kind, name, text in _FENCE.findall(section)}
    if "stack.yaml" not in files:
        return None
    for name, text in files.items():
        if name:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)
    return validate(StackSource(files=("stack.yaml",), working_dir=str(folder), environment={}), graph_faults=cycle_faults).findings


@pytest.mark.parametrize("code", CODES)
def test_the_bad_example_is_found(code: str, tmp_path: Path) -> None:
    found = _findings(_section(page(code), "Bad"), tmp_path)
    assert found is None or code in {one.code for one in found}, [f"{one.code} {one.message}" for one in found]


@pytest.mark.parametrize("code", CODES)
def test_the_good_example_is_not(code: str, tmp_path: Path) -> None:
    found = _findings(_section(page(code), "Good"), tmp_path)
    wrong = [f"{one.code} {one.message}" for one in found or () if one.code == code or one.level == "error"]
    assert not wrong


@pytest.mark.parametrize("code", CODES)
def test_a_page_begins_with_its_code_and_says_what_it_is_about(code: str) -> None:
    lines = page(code).splitlines()
    assert lines[0] == f"# {code}"
    assert len(lines) > 12


def test_there_are_at_least_ninety_rules() -> None:
    assert len(rules()) >= 90


def test_every_code_that_is_reported_is_a_rule() -> None:
    package = Path(__file__).parents[4] / "stackrun"
    sources = [*(package / "compose").glob("*.py"), *(package / "stack").glob("*.py")]
    reported = {code for file in sources for code in re.findall(r'\bcode="([a-z-]+)"', file.read_text())}
    assert reported <= set(rules()) | {"invalid", "notice"}, sorted(reported - set(rules()))


def test_every_page_belongs_to_a_rule() -> None:
    pages = Path(__file__).parents[4] / "stackrun" / "compose" / "rules" / "pages"
    assert {one.stem for one in pages.glob("*.md")} == set(rules())
