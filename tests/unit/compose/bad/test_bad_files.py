"""Files with one fault each: its code, line and column."""

from __future__ import annotations

import importlib
import itertools
from pathlib import Path

import pytest
from unit.compose.bad.case import Case

from stackrun.api.stacks import StackSource
from stackrun.compose.rules.catalog import GROUPS
from stackrun.compose.validation import validate
from stackrun.stack.graph import cycle_faults


def _cases() -> list[Case]:
    folder = Path(__file__).parent
    modules = (importlib.import_module(f"unit.compose.bad.{name}") for name in GROUPS if (folder / f"{name}.py").is_file())
    return list(itertools.chain.from_iterable(module.CASES for module in modules))


CASES = _cases()


@pytest.mark.parametrize("case", CASES, ids=[f"{one.code}-{number}" for number, one in enumerate(CASES)])
def test_the_fault_is_told_at_its_place(case: Case, tmp_path: Path) -> None:
    for name, text in {"stack.yaml": case.text, **case.files}.items():
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    source = StackSource(files=("stack.yaml",), working_dir=str(tmp_path), environment=dict(case.environment))
    found = validate(source, graph_faults=cycle_faults).findings
    told = [(one.place.path, one.place.line, one.place.column) for one in found if one.code == case.code]
    assert told == [(case.path, case.line, case.column)], "\n".join(f"{one.place} {one.code} {one.message}" for one in found)
    errors = {one.code for one in found if one.level == "error"}
    assert errors <= {case.code}, errors


def test_there_are_at_least_two_hundred() -> None:
    assert len(CASES) >= 200
