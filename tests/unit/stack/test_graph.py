"""Start order, and cycles with their whole path and places."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from stackrun.api.stacks import StackSource
from stackrun.compose.check import Edge
from stackrun.compose.load import load
from stackrun.compose.tree import Place
from stackrun.errors import ComposeError
from stackrun.stack.graph import CYCLES_MAX, ordered, start_order


def edge(source: str, target: str, line: int = 1, reason: str = "depends_on") -> Edge:
    return Edge(source, target, "service_started", True, False, Place("compose.yaml", line, 7), reason)


def test_dependencies_come_first_and_names_break_ties() -> None:
    assert ordered(["web", "db", "api", "cache"], [edge("web", "api"), edge("api", "db"), edge("api", "cache")]) == (
        "cache", "db", "api", "web",
    )  # fmt: skip
    assert ordered(["c", "a", "b"], []) == ("a", "b", "c")


def test_a_cycle_is_told_with_its_path_and_the_place_of_every_edge() -> None:
    edges = [edge("a", "b", 3), edge("b", "c", 6), edge("c", "a", 9, "links"), edge("d", "a", 12)]
    with pytest.raises(ComposeError) as caught:
        ordered("abcd", edges)
    (found,) = caught.value.diagnostics
    assert (found.path, found.line, found.column, found.code) == ("compose.yaml", 3, 7, "cycle")
    assert found.message == "dependency cycle: a → b → c → a"
    assert [(place.line, sentence) for place, sentence in found.notes] == [
        (3, "a needs b (depends_on)"), (6, "b needs c (depends_on)"), (9, "c needs a (links)"),
    ]  # fmt: skip


def test_every_cycle_is_told() -> None:
    edges = [edge("a", "b", 1), edge("b", "a", 2), edge("c", "d", 3), edge("d", "c", 4), edge("e", "e", 5)]
    with pytest.raises(ComposeError) as caught:
        ordered("abcde", edges)
    told = [one.message.removeprefix("dependency cycle: ") for one in caught.value.diagnostics]
    assert told == ["a → b → a", "c → d → c", 'service "e" depends on itself']


def test_a_tangle_is_told_in_part() -> None:
    names = [f"s{number}" for number in range(9)]
    with pytest.raises(ComposeError) as caught:
        ordered(names, [edge(one, other) for one in names for other in names if one != other])
    assert len(caught.value.diagnostics) == CYCLES_MAX


def test_a_cycle_in_a_file(tmp_path: Path) -> None:
    text = "services:\n  a:\n    image: x\n    depends_on: [b]\n  b:\n    image: x\n    network_mode: service:a\n"
    (tmp_path / "compose.yaml").write_text(text)
    with pytest.raises(ComposeError) as caught:
        start_order(load(StackSource(str(tmp_path))))
    (found,) = caught.value.diagnostics
    assert found.message == "dependency cycle: a → b → a"
    assert [place.line for place, _ in found.notes] == [4, 7]


def test_networkx_is_not_imported_before_a_graph_is_asked_for() -> None:
    code = "import sys, stackrun.stack.operations; print(sorted({'networkx', 'yaml', 'jsonschema'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
