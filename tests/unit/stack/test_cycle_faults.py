"""A cycle is one fault among the others of a file, found in the same run."""

from __future__ import annotations

from pathlib import Path

from stackrun.api.stacks import StackSource
from stackrun.compose.load import check
from stackrun.stack.graph import cycle_faults

STACK = """services:
  a: {image: x, depends_on: [b], comand: x}
  b: {image: x, links: [a]}
  c: {image: x, depends_on: [c]}
  d: {image: x, depends_on: [a]}
"""


def test_cycles_are_told_with_everything_else(tmp_path: Path) -> None:
    (tmp_path / "compose.yaml").write_text(STACK)
    found = check(StackSource(working_dir=str(tmp_path)), graph_faults=cycle_faults)
    assert [(one.line, one.column, one.message) for one in found] == [
        (2, 30, "dependency cycle: a → b → a"),
        (2, 34, 'unknown key "comand" in service "a"'),
        (4, 30, 'service "c" depends on itself'),
    ]


def test_no_cycle_no_fault(tmp_path: Path) -> None:
    (tmp_path / "compose.yaml").write_text("services:\n  a: {image: x, depends_on: [b]}\n  b: {image: x}\n")
    assert not check(StackSource(working_dir=str(tmp_path)), graph_faults=cycle_faults)
