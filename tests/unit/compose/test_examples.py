"""What we show others to write draws no finding, and no suppression of it is idle."""

from __future__ import annotations

from pathlib import Path

import pytest

from stackrun.api.stacks import StackSource
from stackrun.compose.validation import validate
from stackrun.stack.graph import cycle_faults

EXAMPLES = Path(__file__).parents[3] / "examples"
FILES = sorted(path.relative_to(EXAMPLES) for path in EXAMPLES.rglob("compose*.yaml"))


def test_there_are_examples() -> None:
    assert len(FILES) >= 3


@pytest.mark.parametrize("file", FILES, ids=str)
def test_it_is_as_it_should_be(file: Path) -> None:
    source = StackSource(files=(file.name,), working_dir=str(EXAMPLES / file.parent))
    found = validate(source, graph_faults=cycle_faults)
    assert found.complete
    assert [f"{one.place} {one.code}" for one in found.open if one.level != "note"] == []
