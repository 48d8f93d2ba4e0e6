"""What a stack file's author has decided to live with.

    image: nginx  # stackrun: ignore[untagged-image] the base image is pinned in CI
    # stackrun: ignore[privileged-container, host-network] it is the node's own agent     (alone: it covers what follows)
    x-stackrun: {ignore: {privileged-container: it is the node's own agent}}              (a service's, or the whole file's)

A comment covers what begins on its line, with everything inside it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from stackrun.compose.scalar import text_of
from stackrun.compose.tree import Map, Place
from stackrun.compose.written import Comment, Written

_COMMENT = re.compile(r"stackrun:\s*ignore\[([^\]]*)\]\s*(.*)")
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
    """Of one file, in the order of the text."""
    for comment in written.comments:
        if match := _COMMENT.fullmatch(comment.text):
            lines = _covered(written, comment)
            for code in match[1].split(","):
                yield Suppression(code.strip(), match[2].strip(), comment.place, lines)


def _covered(written: Written, comment: Comment) -> range:
    """The lines of what begins on the comment's line, or on the next line that has anything."""
    line = comment.place.line
    if comment.alone:
        line = next((node.start.line for node in written.nodes if node.start.offset > comment.offset and node.path), line)
    last = line
    for node in written.nodes:
        if node.start.line == line and node.path and node.is_key:
            value = written.node(node.path, node.document)
            last = max(last, value.end.line if value else line)
        elif node.start.line == line and node.path:
            last = max(last, node.end.line)
    return range(line, last + 1)


def in_keys(root: Map, services: Mapping[str, Any]) -> Iterator[Suppression]:
    """Of the file's own `x-stackrun.ignore` and of each service's."""
    yield from _of(root, None)
    for name, service in services.items():
        if isinstance(service, Map):
            yield from _of(service, name)


def _of(node: Map, service: str | None) -> Iterator[Suppression]:
    own = node.get("x-stackrun")
    ignored = own.get("ignore") if isinstance(own, Map) else None
    if not isinstance(ignored, Map):
        return
    for code, reason in ignored.items():
        yield Suppression(code, text_of(reason).strip(), ignored.key_place(code), service=service)
