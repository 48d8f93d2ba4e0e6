"""How one file is written: every key, value and comment with its exact span and style.

The tree that `document` builds knows what a value is; this knows whether it stood in quotes, what followed it on its
line, and which characters to replace to change it.  It is a second pass, for whoever needs it: carets, suppressions,
fingerprints, fixes and the rules about spelling.  Nothing here raises: of broken YAML, what stands before the fault.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator
from functools import cached_property
from typing import Any, Literal, NamedTuple

import yaml

from stackrun.compose.document import MAX_DEPTH, MAX_NODES, line_of_too_many
from stackrun.compose.tree import Place

KeyPath = tuple[str | int, ...]
Kind = Literal["scalar", "mapping", "sequence", "alias"]
Style = Literal["plain", "single", "double", "literal", "folded", "flow", "block", "alias"]

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_UNREADABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\ud800-\udfff\ufffe\uffff]")
"""What YAML refuses anywhere; the finding about it is `document`'s, here it is read over."""
_BREAK = re.compile("\r\n|[\n\r\x85\u2028\u2029]")
_PROPERTY = re.compile(r"[&!][^\s,\[\]{}]*|!<[^>]*>")
_BETWEEN = re.compile(r"(?:\s|#[^\n]*)*")
_STYLES: dict[str | None, Style] = {"": "plain", None: "plain", "'": "single", '"': "double", "|": "literal", ">": "folded"}


class Position(NamedTuple):
    """Line and column from 1, and the offset in the text from 0."""

    line: int
    column: int
    offset: int


class Node(NamedTuple):
    """A key or a value.

    `path` leads to the value, from the document's root; a key has the path of its value.  `place` is where its anchor,
    its tag or itself begins, as in the tree; `start` is where it begins without them, `end` where it ends (of a block
    scalar and of a block collection: after its last character that is no white space).  `raw` is what is written there,
    quotes included; empty for a collection, whose text `Written.text_of` gives.  `value` is a scalar's text as YAML
    reads it, an alias's name, or empty.
    """

    kind: Kind
    path: KeyPath
    place: Place
    start: Position
    end: Position
    style: Style
    raw: str
    value: str
    is_key: bool
    tag: str
    anchors: tuple[str, ...]
    """The anchors that it stands in, its own last."""
    document: int
    """Which of the file's documents, from 0."""

    @property
    def in_anchor(self) -> bool:
        return bool(self.anchors)


class Comment(NamedTuple):
    """`text` without the `#` and the space around it; `alone` when nothing else stands on its line."""

    text: str
    place: Place
    offset: int
    alone: bool


class Written:
    """One file's text, read for how it is written. Offsets count characters of `text`, a byte order mark included."""

    def __init__(self, text: str, shown_path: str, nodes: tuple[Node, ...], read_to: int, aliased: frozenset[str]) -> None:
        self.text, self.path = text, shown_path
        self.nodes = nodes
        """In the order in which they begin; a collection before what is in it, a key before its value."""
        self.read_to = read_to
        """The offset of the first fault or of what is too much (see MAX_NODES), else the text's length."""
        self.aliased = aliased
        self._lines: dict[int, str] = {}
        """Those asked for: one line may have a thousand findings, and a megabyte."""
        """Anchors that an alias refers to."""

    @classmethod
    def of(cls, text: str, shown_path: str) -> Written:
        scan = _Scan(text, shown_path)
        read_to = scan.read()
        return cls(text, shown_path, tuple(node for node in scan.nodes if node is not None), read_to, frozenset(scan.aliased))

    @property
    def complete(self) -> bool:
        """Whether the text was read to its end."""
        return self.read_to == len(self.text)

    def at(self, line: int, column: int) -> Node | None:
        """What begins there; where several do, the innermost, so a block mapping's first key and not the mapping."""
        return self._at.get((line, column))

    def node(self, path: KeyPath, document: int | None = None) -> Node | None:
        """The value at a path; the first one, where documents or doubled keys give several."""
        return self._find(path, document, False)

    def key(self, path: KeyPath, document: int | None = None) -> Node | None:
        """The key of the value at a path."""
        return self._find(path, document, True)

    def text_of(self, node: Node) -> str:
        """What is written from a node's start to its end."""
        return self.text[node.start.offset : node.end.offset]

    def reached_by_alias(self, node: Node) -> bool:
        """Whether what is written there also counts elsewhere."""
        return any(anchor in self.aliased for anchor in node.anchors)

    def position(self, offset: int) -> Position:
        """The line and column of an offset."""
        line = bisect_right(self._line_starts, offset)
        begin = self._line_starts[line - 1]
        mark = 1 if line == 1 and self.text.startswith("\ufeff") else 0
        return Position(line, offset - begin - mark + 1, offset)

    def line(self, number: int) -> str:
        """One line, from 1, without its break; empty past the end."""
        if number not in self._lines:
            self._lines[number] = self._cut_line(number)
        return self._lines[number]

    def _cut_line(self, number: int) -> str:
        starts = self._line_starts
        if not 0 < number <= len(starts):
            return ""
        end = starts[number] if number < len(starts) else len(self.text)
        return _BREAK.split(self.text[starts[number - 1] : end], maxsplit=1)[0].removeprefix("\ufeff" if number == 1 else "")

    @cached_property
    def comments(self) -> tuple[Comment, ...]:
        """In the order of the text, up to `read_to`."""
        return tuple(self._comments())

    def _find(self, path: KeyPath, document: int | None, is_key: bool) -> Node | None:
        if document is not None:
            return self._by_path.get((document, is_key, path))
        return next((found for number in range(self._documents) if (found := self._by_path.get((number, is_key, path)))), None)

    @cached_property
    def _documents(self) -> int:
        return self.nodes[-1].document + 1 if self.nodes else 0

    @cached_property
    def _at(self) -> dict[tuple[int, int], Node]:
        found: dict[tuple[int, int], Node] = {}
        for node in self.nodes:
            at = (node.place.line, node.place.column)
            if node.raw or node.kind != "scalar" or at not in found:
                found[at] = node
        return found

    @cached_property
    def _by_path(self) -> dict[tuple[int, bool, KeyPath], Node]:
        found: dict[tuple[int, bool, KeyPath], Node] = {}
        for node in self.nodes:
            found.setdefault((node.document, node.is_key, node.path), node)
        return found

    @cached_property
    def _line_starts(self) -> list[int]:
        return [0, *(found.end() for found in _BREAK.finditer(self.text))]

    def _comments(self) -> Iterator[Comment]:
        spans, following = self._without_comments(), 0
        position = self.text.find("#", 0, self.read_to)
        while position >= 0:
            while following < len(spans) and spans[following][1] <= position:
                following += 1
            if following < len(spans) and spans[following][0] <= position:
                position = self.text.find("#", spans[following][1], self.read_to)
                continue
            found = _BREAK.search(self.text, position)
            end = found.start() if found else len(self.text)
            yield self._comment(position, end)
            position = self.text.find("#", end, self.read_to)

    def _comment(self, start: int, end: int) -> Comment:
        line, column, _ = self.position(start)
        alone = not self.text[self._line_starts[line - 1] : start].removeprefix("\ufeff").strip(" \t")
        return Comment(self.text[start + 1 : end].strip(), Place(self.path, line, column), start, alone)

    def _without_comments(self) -> list[tuple[int, int]]:
        """Spans of scalars with a `#`, in order; libyaml takes none in an anchor, a tag or a directive."""
        spans = []
        for node in self.nodes:
            if node.kind == "scalar" and "#" in node.raw:
                header = _BREAK.search(node.raw) if node.style in ("literal", "folded") else None
                spans.append((node.start.offset + (header.end() if header else 0), node.end.offset))
        return spans


def _properties(text: str, begin: int, end: int) -> Iterator[re.Match[str]]:
    """A node's anchor and tag; what stands between and after them is white space and comments."""
    position = begin
    while position < end and (found := _PROPERTY.match(text, position, end)):
        yield found
        between = _BETWEEN.match(text, found.end(), end)
        position = between.end() if between else end


class _Frame:
    """An open collection; `key` is the key that waits for its value."""

    __slots__ = ("anchors", "count", "is_map", "key", "path", "row")

    def __init__(self, is_map: bool, row: int, path: KeyPath, anchors: tuple[str, ...]) -> None:
        self.is_map, self.row, self.path, self.anchors = is_map, row, path, anchors
        self.count = 0
        self.key: str | None = None


class _Scan:
    """Walks libyaml's events without recursion, so that no text is too deep for it."""

    def __init__(self, text: str, path: str) -> None:
        self.text, self.path = text, path
        self.mark = 1 if text.startswith("\ufeff") else 0
        self.nodes: list[Node | None] = []
        self.frames: list[_Frame] = []
        self.aliased: set[str] = set()
        self.keys: dict[str, str] = {}
        """Anchored scalars' text: an alias may stand as a key."""
        self.document = -1
        self.last = Position(1, 1, self.mark)
        """Where the last thing written ends."""

    def read(self) -> int:
        """Fills `nodes`; returns the offset up to which the text could be read."""
        if line_of_too_many(self.text):
            return 0
        stopped = len(self.text)
        try:
            for event in yaml.parse(_UNREADABLE.sub("\ufffd", self.text), Loader=_LOADER):
                if not self._take(event):
                    stopped = self.last.offset
                    break
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            stopped = max(self.last.offset, min(len(self.text), mark.index + self.mark)) if mark else self.last.offset
        except yaml.YAMLError:
            stopped = self.last.offset
        while self.frames:
            self._close(self.last)
        return stopped

    def _take(self, event: Any) -> bool:
        kind = type(event)
        if kind is yaml.ScalarEvent:
            self._scalar(event)
        elif kind is yaml.MappingStartEvent or kind is yaml.SequenceStartEvent:
            self._open(event, kind is yaml.MappingStartEvent)
        elif kind is yaml.MappingEndEvent or kind is yaml.SequenceEndEvent:
            self._close(self._position(event.end_mark))
        elif kind is yaml.AliasEvent:
            self._alias(event)
        elif kind is yaml.DocumentStartEvent:
            self.document += 1
        return len(self.nodes) < MAX_NODES and len(self.frames) <= MAX_DEPTH

    def _position(self, mark: Any) -> Position:
        return Position(mark.line + 1, mark.column + 1, mark.index + self.mark)

    def _step(self, key: str) -> tuple[KeyPath, bool]:
        """Path of what begins now, and whether it is a key; moves on. `key` is its text if it is one."""
        if not self.frames:
            return (), False
        frame = self.frames[-1]
        if not frame.is_map:
            frame.count += 1
            return (*frame.path, frame.count - 1), False
        if frame.key is None:
            frame.key = key
            return (*frame.path, key), True
        path = (*frame.path, frame.key)
        frame.key = None
        return path, False

    def _anchors(self, event: Any) -> tuple[str, ...]:
        outer = self.frames[-1].anchors if self.frames else ()
        return (*outer, event.anchor) if event.anchor else outer

    def _begin(self, event: Any, tag: str | None) -> tuple[Place, Position]:
        """Where an event's node begins with its properties, and where without."""
        at = self._position(event.start_mark)
        place = Place(self.path, at.line, at.column)
        if not tag and not event.anchor:
            return place, at
        end = offset = event.end_mark.index + self.mark
        for found in _properties(self.text, at.offset, end):
            between = _BETWEEN.match(self.text, found.end(), end)
            offset = between.end() if between else end
        return place, self._moved(at, offset)

    def _moved(self, at: Position, offset: int) -> Position:
        """The position of a later offset."""
        line, column, begin = at.line, at.column, at.offset
        for found in _BREAK.finditer(self.text, at.offset, offset):
            line, column, begin = line + 1, 1, found.end()
        return Position(line, column + offset - begin, offset)

    def _scalar(self, event: Any) -> None:
        place, start = self._begin(event, event.tag)
        end = self._position(event.end_mark)
        style = _STYLES.get(event.style, "plain")
        raw = self.text[start.offset : end.offset]
        if style in ("literal", "folded"):
            raw = raw.rstrip()
            end = self._moved(start, start.offset + len(raw))
        if event.anchor:
            self.keys[event.anchor] = event.value
        path, is_key = self._step(event.value)
        anchors = self._anchors(event)
        self.nodes.append(Node("scalar", path, place, start, end, style, raw, event.value, is_key, event.tag or "", anchors, self.document))
        self.last = end

    def _alias(self, event: Any) -> None:
        start, end = self._position(event.start_mark), self._position(event.end_mark)
        name = event.anchor or ""
        self.aliased.add(name)
        path, is_key = self._step(self.keys.get(name, name))
        anchors = self.frames[-1].anchors if self.frames else ()
        place, raw = Place(self.path, start.line, start.column), self.text[start.offset : end.offset]
        self.nodes.append(Node("alias", path, place, start, end, "alias", raw, name, is_key, "", anchors, self.document))
        self.last = end

    def _open(self, event: Any, is_map: bool) -> None:
        anchors = self._anchors(event)
        path, is_key = self._step("?")
        place, start = self._begin(event, event.tag)
        style: Style = "flow" if event.flow_style else "block"
        kind: Kind = "mapping" if is_map else "sequence"
        self.nodes.append(Node(kind, path, place, start, start, style, "", "", is_key, event.tag or "", anchors, self.document))
        self.frames.append(_Frame(is_map, len(self.nodes) - 1, path, anchors))

    def _close(self, end: Position) -> None:
        frame = self.frames.pop()
        node = self.nodes[frame.row]
        assert node is not None
        self.last = max(self.last, end) if node.style == "flow" else max(self.last, node.start)
        self.nodes[frame.row] = node._replace(end=self.last)
