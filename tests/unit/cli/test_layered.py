"""The layout: order that crosses little, boxes apart, edges around them."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stackrun.cli.layered import BOX_HEIGHT, Box, Layout, Point, layout


def placed(columns: list[list[str]], pairs: list[tuple[str, str]]) -> Layout:
    return layout(columns, pairs, {name: 50.0 for names in columns for name in names})


def test_columns_go_right_and_rows_down() -> None:
    found = placed([["a", "b"], ["c"]], [("a", "c")])
    assert found.boxes["a"].x == found.boxes["b"].x < found.boxes["c"].x - 50
    assert found.boxes["b"].y >= found.boxes["a"].y + BOX_HEIGHT
    assert found.routes["a", "c"] == (Point(50, found.boxes["a"].y + 15), Point(found.boxes["c"].x, found.boxes["c"].y + 15))


def test_crossings_are_taken_out() -> None:
    found = placed([["a", "b", "c"], ["x", "y", "z"]], [("a", "z"), ("b", "y"), ("c", "x")])
    below = {name: box.y for name, box in found.boxes.items()}
    assert (below["a"] < below["c"]) == (below["z"] < below["x"])


def test_a_long_edge_goes_around_the_box_between() -> None:
    found = placed([["a"], ["b"], ["c"]], [("a", "b"), ("b", "c"), ("a", "c")])
    _, enters, leaves, _ = found.routes["a", "c"]
    box = found.boxes["b"]
    assert (enters.x, leaves.x) == (box.x, box.x + box.width) and not box.y <= enters.y <= box.y + box.height


def test_nothing_is_placed_nowhere() -> None:
    assert placed([], []) == Layout({}, {}, 0.0, 0.0)


@st.composite
def graphs(draw: st.DrawFn) -> tuple[list[list[str]], list[tuple[str, str]]]:
    sizes = draw(st.lists(st.integers(1, 6), min_size=1, max_size=6))
    columns = [[f"{column}-{row}" for row in range(size)] for column, size in enumerate(sizes)]
    names = [(column, name) for column, row in enumerate(columns) for name in row]
    every = [(one, other) for left, one in names for right, other in names if left < right]
    return columns, draw(st.lists(st.sampled_from(every), unique=True, max_size=30)) if every else []


@given(graphs())
def test_edges_pass_columns_between_the_boxes(graph: tuple[list[list[str]], list[tuple[str, str]]]) -> None:
    columns, pairs = graph
    found = placed(columns, pairs)
    assert set(found.boxes) == {name for names in columns for name in names} and set(found.routes) == set(pairs)
    for points in found.routes.values():
        assert all(before.x < after.x for before, after in pairwise(points))
        for before, after in list(pairwise(points))[1:-1:2]:
            assert before.y == after.y and not any(_through(before, box) for box in found.boxes.values())
    assert all(box.x >= 0 and box.x + box.width <= found.width and 0 <= box.y <= found.height - box.height for box in found.boxes.values())


def _through(point: Point, box: Box) -> bool:
    return point.x == pytest.approx(box.x) and box.y < point.y < box.y + box.height
