"""Lists in a stack file as they are written: what merging and reading have already made one of."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from stackrun.compose.rules.stack import Stack
from stackrun.compose.tree import Place

_ITEM = re.compile(r"( *-[ \t]+)(['\"]?)(.*)")


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
    for path, text in stack.sources.items():
        for name, first, second in _candidates(path, text, subject):
            written = stack.written(path)
            nodes = [written.at(place.line, place.column) for place in (first, second)]
            paths = [node.path for node in nodes if node is not None]
            if len(paths) == 2 and len(paths[1]) == 4 and paths[1][0] == "services" and paths[1][2] == key and paths[0][:3] == paths[1][:3]:
                yield Repeated(str(paths[1][1]), name, first, second)


def _candidates(path: str, text: str, subject: re.Pattern[str]) -> Iterator[tuple[str, Place, Place]]:
    indent, seen = "", dict[str, Place]()
    for number, line in enumerate(text.splitlines(), 1):
        item = _ITEM.match(line)
        if item is None:
            if line.strip() and not line.lstrip().startswith("#"):
                seen = {}
            continue
        if item[1] != indent:
            indent, seen = item[1], {}
        found = subject.match(item[3])
        if found:
            place = Place(path, number, len(item[1]) + 1)
            if found[1] in seen:
                yield found[1], seen[found[1]], place
            seen[found[1]] = place
