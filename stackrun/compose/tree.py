"""Plain data that remembers where it was written.

`Map` and `Seq` are a dict and a list, so every tool that reads plain data (JSON Schema, merge, rendering) reads them
as they are; beside each key and item they keep the place in the file.  Scalars are plain Python values: their place
is kept by the collection that holds them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple


class Place(NamedTuple):
    """Line and column count from 1; 0 means the file as a whole."""

    path: str = ""
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return f"{self.path}:{self.line}:{self.column}"


NOWHERE = Place()


class Map(dict[str, Any]):
    """A mapping; `keys_at` and `values_at` give the places of a key and of its value."""

    __slots__ = ("keys_at", "place", "values_at")

    def __init__(self, items: Iterable[tuple[str, Any]] | dict[str, Any] = (), place: Place = NOWHERE) -> None:
        super().__init__(items)
        self.place = place
        self.keys_at: dict[str, Place] = {}
        self.values_at: dict[str, Place] = {}

    def put(self, key: str, value: Any, key_at: Place, value_at: Place) -> None:
        self[key] = value
        self.keys_at[key] = key_at
        self.values_at[key] = value_at

    def take(self, other: Map, key: str, value: Any) -> None:
        """Set `key` with the places that it has in `other`."""
        self.put(key, value, other.key_place(key), other.value_place(key))

    def key_place(self, key: str) -> Place:
        return self.keys_at.get(key, self.place)

    def value_place(self, key: str) -> Place:
        return self.values_at.get(key, self.place)

    def rename(self, old: str, new: str) -> None:
        self.put(new, self.pop(old), self.key_place(old), self.value_place(old))


class Seq(list[Any]):
    """A list; `items_at` gives the place of each item."""

    __slots__ = ("items_at", "place")

    def __init__(self, items: Iterable[Any] = (), place: Place = NOWHERE, items_at: Iterable[Place] = ()) -> None:
        super().__init__(items)
        self.place = place
        self.items_at = list(items_at)

    def add(self, value: Any, at: Place) -> None:
        self.append(value)
        self.items_at.append(at)

    def item_place(self, index: int) -> Place:
        return self.items_at[index] if index < len(self.items_at) else self.place


def place_of(root: Map, path: Iterable[str | int], *, key: bool = False) -> Place:
    """The place of the value (or of the key) at `path`, or of the nearest parent that was written."""
    found, node = root.place, root
    for step in path:
        if isinstance(node, Map) and step in node:
            at = node.key_place(str(step)) if key else node.value_place(str(step))
            node = node[str(step)]
        elif isinstance(node, Seq) and isinstance(step, int) and step < len(node):
            at, node = node.item_place(step), node[step]
        else:
            break
        found = at if at.line or not found.line else found
    return found


def plain(value: Any) -> Any:
    """A deep copy as dict (keys sorted) and list."""
    if isinstance(value, dict):
        return {key: plain(value[key]) for key in sorted(value)}
    if isinstance(value, list):
        return [plain(item) for item in value]
    return value


def size(value: Any) -> int:
    """Keys and values in it, itself included."""
    if isinstance(value, dict):
        return 1 + len(value) + sum(map(size, value.values()))
    return 1 + sum(map(size, value)) if isinstance(value, list) else 1


def copy(value: Any) -> Any:
    """A deep copy that keeps the places."""
    if isinstance(value, Map):
        items = Map(((key, copy(item)) for key, item in value.items()), value.place)
        items.keys_at, items.values_at = dict(value.keys_at), dict(value.values_at)
        return items
    if isinstance(value, Seq):
        return Seq((copy(item) for item in value), value.place, value.items_at)
    return value
