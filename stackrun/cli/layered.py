"""A small layered layout: columns from left to right, rows ordered so that few edges cross, long edges led between the boxes.

The usual four steps (layers, dummy nodes, ordering by barycentres, coordinates) without what a graph of a hundred services does not
need.  Layers are given: they are the waves of the start.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

SWEEPS = 8
BOX_HEIGHT = 30.0
BOX_GAP = 14.0
LANE_HEIGHT = 12.0
"""Room for an edge that passes a column."""
COLUMN_GAP = 90.0
CROWD_GAP = 6.0
"""More room between two columns for each edge that leads through there, so that a crowd of them stays apart."""
CROWD_MAX = 30

Pair = tuple[str, str]
Slot = str | tuple[Pair, int]
"""A service's name, or (pair, column) where the edge of that pair passes."""


@dataclass(frozen=True, slots=True)
class Point:
    x: float
    y: float


@dataclass(frozen=True, slots=True)
class Box:
    """Left upper corner, and size."""

    x: float
    y: float
    width: float
    height: float = BOX_HEIGHT


@dataclass(frozen=True, slots=True)
class Layout:
    """Boxes by name; of each edge the points it passes, two for each column on its way, from box to box."""

    boxes: Mapping[str, Box]
    routes: Mapping[Pair, tuple[Point, ...]]
    width: float
    height: float


def layout(columns: Sequence[Sequence[str]], pairs: Sequence[Pair], widths: Mapping[str, float]) -> Layout:
    """`pairs` lead from an earlier column to a later one; `widths` are those of the boxes."""
    column_of = {name: number for number, names in enumerate(columns) for name in names}
    chains = {pair: _chain(pair, column_of) for pair in pairs}
    rows = _ordered(columns, chains)
    lefts, sizes = _columns_x(columns, widths, chains, column_of)
    tops = _tops(rows)
    boxes = {name: Box(lefts[column_of[name]], tops[name], sizes[column_of[name]]) for names in columns for name in names}
    routes = {pair: _route(chain, column_of, boxes, lefts, sizes, tops) for pair, chain in chains.items()}
    height = max((tops[slot] + _height(slot) for row in rows for slot in row), default=0.0)
    return Layout(boxes, routes, lefts[-1] + sizes[-1] if columns else 0.0, height)


def _chain(pair: Pair, column_of: Mapping[str, int]) -> tuple[Slot, ...]:
    first, last = column_of[pair[0]], column_of[pair[1]]
    return (pair[0], *((pair, column) for column in range(first + 1, last)), pair[1])


def _height(slot: Slot) -> float:
    return BOX_HEIGHT if isinstance(slot, str) else LANE_HEIGHT


def _ordered(columns: Sequence[Sequence[str]], chains: Mapping[Pair, tuple[Slot, ...]]) -> list[list[Slot]]:
    """Columns of slots, swept there and back: each slot goes where the middle of its neighbours is. The best order seen stays."""
    rows: list[list[Slot]] = [list(names) for names in columns]
    neighbours: list[dict[Slot, list[Slot]]] = [{}, {}]
    for chain in chains.values():
        for slot in chain:
            if not isinstance(slot, str):
                rows[slot[1]].append(slot)
        for left, right in pairwise(chain):
            neighbours[0].setdefault(right, []).append(left)
            neighbours[1].setdefault(left, []).append(right)
    best = [list(row) for row in rows]
    fewest = _crossings(rows, neighbours[1])
    for sweep in range(SWEEPS):
        _sweep(rows, neighbours[sweep % 2], forward=sweep % 2 == 0)
        crossings = _crossings(rows, neighbours[1])
        if crossings < fewest:
            best, fewest = [list(row) for row in rows], crossings
    return best


def _sweep(rows: list[list[Slot]], neighbours: Mapping[Slot, Sequence[Slot]], *, forward: bool) -> None:
    order = range(1, len(rows)) if forward else range(len(rows) - 2, -1, -1)
    for number in order:
        beside = rows[number - 1 if forward else number + 1]
        where = {slot: (index + 0.5) / len(beside) for index, slot in enumerate(beside)}
        row = rows[number]
        wanted = {}
        for index, slot in enumerate(row):
            places = [where[one] for one in neighbours.get(slot, ()) if one in where]
            wanted[slot] = sum(places) / len(places) if places else (index + 0.5) / len(row)
        row.sort(key=lambda slot: wanted[slot])


def _crossings(rows: Sequence[Sequence[Slot]], onward: Mapping[Slot, Sequence[Slot]]) -> int:
    """Pairs of edges between neighbouring columns that cross: inversions, by insertion into a sorted list."""
    count = 0
    for row, following in pairwise(rows):
        where = {slot: index for index, slot in enumerate(following)}
        seen: list[int] = []
        for slot in row:
            ends = sorted(where[one] for one in onward.get(slot, ()))
            count += sum(len(seen) - bisect_right(seen, end) for end in ends)
            for end in ends:
                insort(seen, end)
    return count


def _columns_x(
    columns: Sequence[Sequence[str]], widths: Mapping[str, float], chains: Mapping[Pair, tuple[Slot, ...]], column_of: Mapping[str, int]
) -> tuple[list[float], list[float]]:
    """Left edges and widths of the columns."""
    crowds = [0] * max(len(columns), 1)
    for first, last in chains:
        for column in range(column_of[first], column_of[last]):
            crowds[column] += 1
    sizes = [max(widths[name] for name in names) for names in columns]
    lefts, x = [], 0.0
    for number, size in enumerate(sizes):
        lefts.append(x)
        x += size + COLUMN_GAP + CROWD_GAP * min(crowds[number], CROWD_MAX)
    return lefts, sizes


def _tops(rows: Sequence[Sequence[Slot]]) -> dict[Slot, float]:
    """Columns are centred on the tallest."""
    heights = [sum(_height(slot) + BOX_GAP for slot in row) - BOX_GAP for row in rows]
    tops: dict[Slot, float] = {}
    for row, height in zip(rows, heights, strict=True):
        y = (max(heights) - height) / 2
        for slot in row:
            tops[slot] = y
            y += _height(slot) + BOX_GAP
    return tops


def _route(
    chain: tuple[Slot, ...], column_of: Mapping[str, int], boxes: Mapping[str, Box], lefts: Sequence[float], sizes: Sequence[float],
    tops: Mapping[Slot, float],
) -> tuple[Point, ...]:  # fmt: skip
    first, last = boxes[str(chain[0])], boxes[str(chain[-1])]
    points = [Point(first.x + first.width, first.y + first.height / 2)]
    for column, slot in enumerate(chain[1:-1], column_of[str(chain[0])] + 1):
        y = tops[slot] + LANE_HEIGHT / 2
        points += [Point(lefts[column], y), Point(lefts[column] + sizes[column], y)]
    return (*points, Point(last.x, last.y + last.height / 2))
