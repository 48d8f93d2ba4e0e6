"""Lists in a stack file as they are written: what merging and reading have already made one of."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from stackrun.compose.rules.stack import Stack
from stackrun.compose.tree import Place

_ITEM = re.compile(r"( *-[ \t]+)['\"]?(.*)")


class Repeated(NamedTuple):
    """Two items of one list of a service that say something about the same thing."""

    service: str
    subject: str
    first: Place
    second: Place


def repeated(stack: Stack, key: str, subject: re.Pattern[str]) -> Iterator[Repeated]:
    """Items of `services.*.KEY` whose `subject` (group 1, matched after an opening quote) is that of an earlier item.

    Neighbouring lines are compared first; only for what looks repeated is the file read for how it is written.
    """
    written_at_all = any(f"{key}:" in text for text in stack.sources.values())
    for items in stack.once(_lists) if written_at_all else ():
        seen: dict[str, Place] = {}
        for place, text in items:
            found = subject.match(text)
            if found is None:
                continue
            first = seen.get(found[1])
            if first is not None and (service := _service_of(stack, key, first, place)):
                yield Repeated(service, found[1], first, place)
            seen[found[1]] = place


def _service_of(stack: Stack, key: str, first: Place, second: Place) -> str:
    """The service in whose list `key` both items are; empty when they are elsewhere."""
    written = stack.written(second.path)
    one, other = written.at(first.line, first.column), written.at(second.line, second.column)
    if one is None or other is None or len(other.path) != 4 or other.path[0] != "services" or other.path[2] != key:
        return ""
    return str(other.path[1]) if one.path[:3] == other.path[:3] else ""


def _lists(stack: Stack) -> list[list[tuple[Place, str]]]:
    """Runs of two and more lines that are items of one list, each item without its opening quote."""
    runs: list[list[tuple[Place, str]]] = []
    for path, text in stack.sources.items():
        indent = ""
        for number, line in enumerate(text.splitlines(), 1):
            item = _ITEM.match(line)
            if item is not None:
                if item[1] != indent or not runs:
                    indent = item[1]
                    runs.append([])
                runs[-1].append((Place(path, number, len(indent) + 1), item[2]))
            elif line and not line.isspace() and not line.lstrip().startswith("#"):
                indent = ""
    return [run for run in runs if len(run) > 1]
