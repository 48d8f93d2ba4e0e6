"""What a stack file's author has decided to live with.

    image: nginx  # stackrun: ignore[untagged-image] the base image is pinned in CI
    # stackrun: ignore[privileged-container, host-network] it is the node's own agent     (alone: it covers what follows)
    x-stackrun: {ignore: {privileged-container: it is the node's own agent}}              (a service's, or the whole file's)

A comment covers what begins on its line, with everything inside it.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from stackrun.compose.scalar import text_of
from stackrun.compose.tree import Map, Place
from stackrun.compose.written import Comment, KeyPath, Written

COMMENT = re.compile(r"stackrun:\s*ignore\[([^\]]*)\]\s*(.*)")
MARK = "stackrun:"
"""What a file must contain to have a suppression in a comment."""


@dataclass(slots=True)
class Suppression:
    """One rule silenced for one stretch of a file, or for one service, or for everything."""

    code: str
    reason: str
    place: Place
    lines: range | None = None
    service: str | None = None
    used: bool = field(default=False)

    def covers(self, code: str, place: Place, service: str) -> bool:
        if code != self.code:
            return False
        if self.lines is not None:
            return place.path == self.place.path and place.line in self.lines
        return self.service in (None, service)


def in_comments(written: Written) -> Iterator[Suppression]:
    """Of one file, in the order of the text; each at the place of its code."""
    begins, ends = _Begins(written), _ends(written)
    for comment in written.comments:
        match = COMMENT.fullmatch(comment.text)
        if match is None:
            continue
        line = begins.after(comment) if comment.alone else comment.place.line
        column = comment.place.column + written.text.index(comment.text, comment.offset) - comment.offset + match.start(1)
        for code in match[1].split(","):
            at = column + len(code) - len(code.lstrip())
            column += len(code) + 1
            place = Place(comment.place.path, comment.place.line, at)
            yield Suppression(code.strip(), match[2].strip(), place, range(line, ends.get(line, line) + 1))


class _Begins:
    """Where something begins, by offset."""

    def __init__(self, written: Written) -> None:
        self._nodes = [node for node in written.nodes if node.path]
        self._offsets = [node.start.offset for node in self._nodes]

    def after(self, comment: Comment) -> int:
        """The line of what follows a comment; its own when nothing does."""
        index = bisect_right(self._offsets, comment.offset)
        return self._nodes[index].start.line if index < len(self._nodes) else comment.place.line


def _ends(written: Written) -> dict[int, int]:
    """Line → the last line of what begins there.

    A block mapping begins where its first key does, but for whoever reads the file it is its own key that it begins with.
    """
    ends: dict[int, int] = {}
    for node in written.nodes:
        value = written.node(node.path, node.document) if node.is_key else node
        inner = node.style == "block" and not _is_item(node.path)
        if node.path and value is not None and not inner:
            ends[node.start.line] = max(ends.get(node.start.line, 0), value.end.line)
    return ends


def _is_item(path: KeyPath) -> bool:
    return bool(path) and isinstance(path[-1], int)


def in_keys(root: Map, services: Iterable[tuple[str, Any]]) -> Iterator[Suppression]:
    """Of the file's own `x-stackrun.ignore` and of each service's."""
    yield from _of(root, None)
    for name, service in services:
        if isinstance(service, Map):
            yield from _of(service, name)


def _of(node: Map, service: str | None) -> Iterator[Suppression]:
    own = node.get("x-stackrun")
    ignored = own.get("ignore") if isinstance(own, Map) else None
    if not isinstance(ignored, Map):
        return
    for code, reason in ignored.items():
        yield Suppression(code, text_of(reason).strip(), ignored.key_place(code), service=service)
