"""A stack as rules look at it: merged, in long form, with the place of everything, and never sure to be without faults.

The accessors give an empty value where the file says nothing or something of the wrong type: that has a finding of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar, cast

from stackrun.compose.check import Edge
from stackrun.compose.faults import did_you_mean
from stackrun.compose.origins import Origins
from stackrun.compose.scalar import text_of
from stackrun.compose.source import shown
from stackrun.compose.tree import Map, Place, Seq, place_of
from stackrun.compose.written import Written

T = TypeVar("T")
_MOST_COMPARED = 200


@dataclass(frozen=True, slots=True)
class Node:
    """A mapping of the stack and where its own name stands."""

    name: str
    node: Map
    place: Place

    def get(self, *path: str | int) -> Any:
        """The value at `path`, None where there is none."""
        found: Any = self.node
        for step in path:
            if isinstance(found, Map) and isinstance(step, str):
                found = found.get(step)
            elif isinstance(found, Seq) and isinstance(step, int) and step < len(found):
                found = found[step]
            else:
                return None
        return found

    def text(self, *path: str | int) -> str:
        """A scalar as text; empty for anything else."""
        found = self.get(*path)
        return "" if found is None or isinstance(found, (dict, list)) else text_of(found)

    def map(self, *path: str | int) -> Map:
        found = self.get(*path)
        return found if isinstance(found, Map) else Map()

    def seq(self, *path: str | int) -> Seq:
        found = self.get(*path)
        return found if isinstance(found, Seq) else Seq()

    def items(self, *path: str | int) -> Iterator[tuple[Any, Place]]:
        """Each item of a list with its place."""
        found = self.seq(*path)
        return ((item, self._placed(found.item_place(index))) for index, item in enumerate(found))

    def nodes(self, *path: str | int) -> Iterator[Node]:
        """Each mapping of a list of mappings (ports, volumes); its name is its position."""
        for index, (item, place) in enumerate(self.items(*path)):
            if isinstance(item, Map):
                yield Node(str(index), item, place)

    def pairs(self, *path: str | int) -> Iterator[tuple[str, Any, Place]]:
        """Each name and value of a mapping, or of a list of NAME=VALUE; the place is the value's (the item's)."""
        found = self.get(*path)
        if isinstance(found, Map):
            for name, value in found.items():
                yield name, value, self._placed(found.value_place(name))
        elif isinstance(found, Seq):
            for index, item in enumerate(found):
                name, separator, value = text_of(item).partition("=")
                yield name, value if separator else None, self._placed(found.item_place(index))

    def at(self, *path: str | int) -> Place:
        """The place of the value at `path`, or of the nearest parent that was written."""
        return self._placed(place_of(self.node, path)) if path else self.place

    def key_at(self, *path: str | int) -> Place:
        """The same of the key."""
        return self._placed(place_of(self.node, path, key=True))

    def _placed(self, place: Place) -> Place:
        return place if place.line else self.place

    def __contains__(self, key: str) -> bool:
        return key in self.node


@dataclass(frozen=True, slots=True)
class Service(Node):
    enabled: bool = True
    """Whether the profiles asked for start it."""


@dataclass(frozen=True)
class Stack:
    """`root` and `disabled` as the loader leaves them once names and references have been checked."""

    root: Map
    disabled: Map
    directory: str
    environment: Mapping[str, str]
    origins: Origins
    edges: Sequence[Edge] = ()
    files: Sequence[str] = ()
    """Absolute paths of everything that was read."""
    env_files: Sequence[str] = ()
    """Absolute paths of the env files that variables came from (`.env`, --env-file)."""
    sources: Mapping[str, str] = field(default_factory=dict)
    """Path as shown → text of each stack file."""
    working_dir: str = ""

    def shown(self, path: str) -> str:
        """An absolute path as places have it."""
        return shown(path, self.working_dir) if self.working_dir else path

    @cached_property
    def services(self) -> tuple[Service, ...]:
        """All of them, enabled first; in the order of the file."""
        enabled = self._section("services")
        found = [(name, node, enabled.key_place(name), True) for name, node in enabled.items()]
        found += [(name, node, self.disabled.key_place(name), False) for name, node in self.disabled.items()]
        return tuple(Service(*one) for one in found if isinstance(one[1], Map))

    @cached_property
    def service(self) -> Mapping[str, Service]:
        return {one.name: one for one in self.services}

    def written(self, path: str) -> Written:
        """How a file is written; read when it is first asked for, so ask only where `rest_of_line` tells too little."""
        if path not in self._written:
            self._written[path] = Written.of(self.sources.get(path, ""), path)
        return self._written[path]

    def rest_of_line(self, place: Place) -> str:
        """What is written from a place to the end of its line; empty where no stack file has it."""
        lines = self._lines.get(place.path)
        if lines is None:
            lines = self._lines[place.path] = self.sources.get(place.path, "").splitlines()
        return lines[place.line - 1][place.column - 1 :] if 0 < place.line <= len(lines) and place.column else ""

    def once(self, work_out: Callable[[Stack], T]) -> T:
        """What several rules look at, worked out for the first of them."""
        if work_out not in self._once:
            self._once[work_out] = work_out(self)
        return cast(T, self._once[work_out])

    def near(self, word: str, known: Iterable[str]) -> str:
        """`did you mean …?`; only the first who ask are told, since to compare words takes its time."""
        self._asked.append(word)
        return did_you_mean(word, known) if len(self._asked) <= _MOST_COMPARED else ""

    @cached_property
    def _asked(self) -> list[str]:
        return []

    @cached_property
    def _once(self) -> dict[Callable[[Stack], Any], Any]:
        return {}

    @cached_property
    def _written(self) -> dict[str, Written]:
        return {}

    @cached_property
    def _lines(self) -> dict[str, list[str]]:
        return {}

    def resources(self, section: str) -> Iterator[Node]:
        """The entries of networks, volumes, configs, secrets or models that were written."""
        found = self._section(section)
        for name, node in found.items():
            if found.key_place(name).line:
                yield Node(name, node if isinstance(node, Map) else Map(), found.key_place(name))

    def _section(self, name: str) -> Map:
        found = self.root.get(name)
        return found if isinstance(found, Map) else Map()
